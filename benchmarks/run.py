"""All benchmarks in one process on pinned threads; every goal once more at the end.

    python benchmarks/run.py [--quick] [gradient race ...]

The extra ``benchmark`` of the package installs the peers. race, practice, phase and study keep what
they measure, and the three last take hours to fill their caches; the others take minutes.
SKTF_BENCHMARK_THREADS sets the threads (default 2).
"""

import argparse
import importlib
import platform
import time

import common

_ALL = (
    "gradient",
    "roofline",
    "papers",
    "race",
    "memory",
    "search",
    "steps",
    "rounds",
    "practice",
    "phase",
    "study",
    "recovery",
    "ranks",
)


def main():
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"among {', '.join(_ALL)}")
    parser.add_argument("--quick", action="store_true", help="smaller problems, fewer repeats")
    options = parser.parse_args()
    unknown = set(options.names) - set(_ALL)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose among {', '.join(_ALL)}")
    print(f"Python {platform.python_version()}, {platform.machine()}, {common.THREADS} threads")
    for name in options.names or _ALL:
        start = time.perf_counter()
        importlib.import_module(name).main(options.quick)
        print(f"\n[{name}: {time.perf_counter() - start:.0f} s]", flush=True)
    common.print_goals()


if __name__ == "__main__":
    main()
