"""Pickles that carry the version of the package, as those of scikit-learn do."""

import warnings

from sktf import __version__


class VersionedPickle:
    """Puts the version into the pickled state, and warns where another version loads it.

    What is fitted has private parts that may change from one version to the next.
    """

    def __getstate__(self):
        return {**super().__getstate__(), "_sktf_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        version = state.pop("_sktf_version", "of unknown version")
        if version != __version__:
            warnings.warn(
                f"This {type(self).__name__} was pickled by sktf {version} and is loaded by sktf "
                f"{__version__}; it may fail, or predict otherwise. Load it with the version that "
                "made it, or fit it again.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)
