"""What a report of a bug should say of the machine and of what is installed."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from sktf import __version__

_NEEDED = ["numpy", "scipy", "scikit-learn", "numba", "llvmlite", "threadpoolctl", "lazy_loader"]
_TABLES = ["pandas", "polars", "xarray"]
_PACKAGES = [*_NEEDED, "tensorly", "torch", "cvxpy", "scs", "matplotlib", *_TABLES]


def show_versions() -> None:
    """Print the versions of sktf, Python and the packages it uses, and how many threads they take.

    Add it to a report of a bug. Optional packages are looked up, not imported.

    Examples
    --------
    >>> from sktf import show_versions
    >>> show_versions()  # doctest: +ELLIPSIS
    System
                 sktf: ...
    """
    packages = {name: _version_of(name) for name in _PACKAGES}
    for title, lines in {"System": _system(), "Packages": packages, "Threads": _threads()}.items():
        print(title)
        for name, value in lines.items():
            print(f"{name:>17}: {value}")


def _version_of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _system():
    return {
        "sktf": __version__,
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
    }


def _threads():
    """Cores, and threads of numba and of the libraries that NumPy and SciPy call."""
    import scipy.linalg  # noqa: F401, so that its library is counted
    from numba import config
    from threadpoolctl import threadpool_info

    libraries = {
        f"{pool['internal_api']} {n}": f"{pool['num_threads']}, version {pool['version']}"
        for n, pool in enumerate(threadpool_info(), 1)
    }
    return {"cores": os.cpu_count(), "numba threads": config.NUMBA_NUM_THREADS, **libraries}
