"""Real tensors: those that come with tensorly, and the digits of scikit-learn."""

import numpy as np

from sktf._docs import documented
from sktf.datasets.entries import Entries, entries_from_dense


def load_bundled(name):
    """Return the tensor of a loader of tensorly, NaN where a cell is missing."""
    import tensorly as tl
    from tensorly import datasets

    with tl.backend_context("numpy", local_threadsafe=True):
        bunch = getattr(datasets, name)()
    # Kinetic stores 0 in missing cells and flags them: True is missing, unlike `parafac(mask=)`.
    missing = bunch.get("missing_values_position", False)
    return np.where(missing, np.nan, bunch.tensor)


_LOADED = """\
Returns
-------
entries : Entries
    ``X, y, shape`` with {cells}.

Examples
--------
>>> from sktf.datasets import {name}
>>> {name}().shape
{size}"""


@documented(loaded=_LOADED, name="load_il2", size="(13, 4, 12, 8)", cells="4,800 cells")
def load_il2():
    """Load the responses of immune cells to IL-2 muteins, 13 x 4 x 12 x 8, 3.8 % missing.

    Modes: ligand, time (4, 2, 1, 0.5), dose (from 84 to 0.000474, evenly on a log scale), cell
    type. Values are signals without unit, from 0 to 1; 828 are 0, which is data. The 192 missing
    cells are two whole blocks: ligands 3 and 4 (counted from 0) at the last time.

    {loaded}

    References
    ----------
    .. [1] B. Orcutt-Jahns et al., "Multivalency enhances the specificity of Fc-cytokine fusions",
       bioRxiv 2021. MIT license, copyright 2021 The Regents of the University of California.
    """
    return _as_entries(load_bundled("load_IL2data"))


@documented(loaded=_LOADED, name="load_kinetic", size="(64, 12, 10, 60)", cells="459,046 cells")
def load_kinetic():
    """Load kinetic fluorescence measurements, 64 x 12 x 10 x 60, 0.4 % missing.

    Modes: measurement, emission wavelength (472 to 554.5 nm), excitation wavelength (362 to
    416 nm), time (1/3 to 20 minutes). Values are fluorescence intensities in the instrument's unit,
    from -36 to 2,773. 1,754 cells are missing. Measurements 34, 35, 44, 45 and 63 (counted from 0)
    are known outliers.

    {loaded}

    References
    ----------
    .. [1] R. P. H. Nikolajsen, K. S. Booksh, A. M. Hansen, R. Bro, "Quantifying catecholamines
       using multi-way kinetic modelling", Analytica Chimica Acta 475, 2003. For public use; its
       makers ask for this citation.
    """
    return _as_entries(load_bundled("load_kinetic"))


@documented(loaded=_LOADED, name="load_covid19_serology", size="(438, 6, 11)", cells="28,908 cells")
def load_covid19_serology():
    """Load antibody measurements of COVID-19 patients and controls, 438 x 6 x 11, complete.

    Modes: sample, antigen, receptor. Values are standardized binding signals, from -4.5 to 3.6, of
    mean 0. The data are noisy and only roughly of low CP rank.

    {loaded}

    References
    ----------
    .. [1] T. Zohar et al., "Compromised humoral functional evolution tracks with SARS-CoV-2
       mortality", Cell 183, 2020.
    .. [2] Z. C. Tan et al., "Tensor-structured decomposition improves systems serology analysis",
       Molecular Systems Biology 17, 2021. MIT license, copyright 2022 The Regents of the
       University of California.
    """
    return _as_entries(load_bundled("load_covid19_serology"))


@documented(
    loaded=_LOADED,
    name="load_indian_pines",
    size="(145, 145, 200)",
    cells="4,205,000 cells (135 MB)",
)
def load_indian_pines():
    """Load a hyperspectral image of farmland in Indiana, 145 x 145 x 200, complete.

    Modes: pixel row, pixel column, spectral band (from 400 to 2,499 nm, without the bands that
    water absorbs). Values are sensor counts, from 955 to 9,604.

    {loaded}

    References
    ----------
    .. [1] M. F. Baumgardner, L. L. Biehl, D. A. Landgrebe, "220 Band AVIRIS Hyperspectral Image
       Data Set: June 12, 1992 Indian Pine Test Site 3", Purdue University Research Repository,
       2015, doi:10.4231/R7RX991C. CC BY 3.0.
    """
    return _as_entries(load_bundled("load_indian_pines"))


@documented(loaded=_LOADED, name="load_digits_tensor", size="(1797, 8, 8)", cells="115,008 cells")
def load_digits_tensor():
    """Load scikit-learn's images of handwritten digits, 1797 x 8 x 8, complete.

    Modes: image, pixel row, pixel column. Values are gray levels, integers from 0 (background) to
    16.

    {loaded}

    References
    ----------
    .. [1] E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", test set, UCI
       Machine Learning Repository, 1998.
    """
    from sklearn.datasets import load_digits

    return _as_entries(load_digits().images)


def _as_entries(tensor):
    return Entries(*entries_from_dense(tensor), tensor.shape)
