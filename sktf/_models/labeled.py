"""What a fitted model says by label: factors and predictions as tables, and the nearest indices."""

from math import prod
from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sktf._cells.labels import number_of
from sktf._cells.unfolding import is_large, side_sizes
from sktf._cells.validation import check_mode, check_observations


class PredictsFrames:
    """Predicts the rows of a DataFrame as one."""

    def predict_frame(self, X, **options):
        """Predict the cells of a table, and return them with it.

        Parameters
        ----------
        X : pandas.DataFrame of shape (n_cells, n_modes)
            The cells, as for ``predict``.
        **options
            Those of ``predict``, such as ``return_std=True`` of the averages.

        Returns
        -------
        frame : pandas.DataFrame
            X, its index and columns, with a column "prediction", and "std" where asked for.

        Raises
        ------
        TypeError
            When X is no DataFrame.
        ValueError
            When X has one of these columns itself, or for what ``predict`` raises.
        """
        if not hasattr(X, "assign"):
            raise TypeError(f"X is a {type(X).__name__}, no pandas DataFrame; call predict.")
        taken = {"prediction", "std"} & set(X.columns)
        if taken:
            raise ValueError(f"X has a column {min(taken)!r} already; rename it, or call predict.")
        found = self.predict(X, **options)
        found = found if isinstance(found, tuple) else (found,)
        return X.assign(**dict(zip(("prediction", "std"), found, strict=False)))


class LabeledFactors(PredictsFrames):
    """Reads labels, and tells of factors by label, for models of components."""

    encode: bool

    def _read(self, X, y, sample_weight):
        """Return what is observed: of indices, or of labels, which become ``categories_``."""
        categories = self._known_labels() if self.encode else None
        return check_observations(self, X, y, sample_weight, self.shape, categories)

    def _known_labels(self):
        """Return the labels of the fit to go on from, () without."""
        return ()

    def factor_frame(self, mode, *, labels=None):
        """Return the factor of a mode as a table, its rows named by labels.

        Parameters
        ----------
        mode : int or str
            The mode, by number or by its name in ``feature_names_in_``.
        labels : sequence, default=None
            Names of the indices of the mode; None: ``categories_``, or numbers.

        Returns
        -------
        frame : pandas.DataFrame of shape (shape_[mode], n_nonzero)
            The columns of ``factors_`` that are not zero, by number of the component, the largest
            first. As there, the product of all factors is in the units of y, and an index without
            cells has the mean row. Of a mode that the model reads together with others, rows are
            those of the side: an index of several levels.

        Raises
        ------
        ImportError
            When pandas is not installed.
        ValueError
            When there is no such mode, ``labels`` are not as many as its indices, or it is read
            together with others that have too many for a row each.

        Examples
        --------
        >>> from sktf import CPCompletion
        >>> X = [["ann", "tea"], ["ann", "rye"], ["bob", "tea"], ["bob", "rye"]]
        >>> model = CPCompletion(1, encode=True, random_state=0).fit(X, [1.0, 2.0, 3.0, 6.0])
        >>> model.factor_frame(0).index.tolist()
        ['ann', 'bob']
        """
        import pandas as pd

        _, group, factor = self._side_of(mode)
        names = list(getattr(self, "feature_names_in_", [None] * len(self.shape_)))
        levels = [self._labels_of(other) for other in group]
        if labels is not None:
            own = group.index(check_mode(self, mode, len(self.shape_)))
            if len(labels) != len(levels[own]):
                raise ValueError(
                    f"labels has {len(labels)} entries, but mode={mode!r} has "
                    f"{len(levels[own])} indices; give one for each."
                )
            levels[own] = labels
        names = [names[other] for other in group]
        if len(group) == 1:
            index = pd.Index(levels[0], name=names[0])
        else:
            index = pd.MultiIndex.from_product(levels, names=names)
        alive = np.flatnonzero(self.component_norms_)
        return pd.DataFrame(factor[:, alive], index, pd.Index(alive, name="component"))

    def nearest(self, mode, label, n=5):
        """Return the indices of a mode whose slices are most like that of a given one.

        Parameters
        ----------
        mode : int or str
            The mode, by number or by its name in ``feature_names_in_``.
        label : object
            The label of an index, which with ``encode=True`` may be a number; without, its number.
        n : int, default=5
            How many to return at most.

        Returns
        -------
        labels : ndarray of shape (n_found,)
            Those of the most similar indices that have cells, the nearest first, without
            ``label``.
        similarity : ndarray of shape (n_found,)
            The cosine of the angle between what the components predict for the two indices in all
            cells of the other modes: 1 where they are proportional, 0 where one is zero. The
            offset is no part of it.

        Raises
        ------
        ValueError
            When there is no such mode or label, n is below 1, or the mode is read together with
            others that have too many indices for a row each.

        Notes
        -----
        With the rows f_i of the mode's factor and H the elementwise product of ``F^T F`` over the
        other factors F, the inner product of two slices is ``f_i^T H f_j`` (T. G. Kolda and
        B. W. Bader, "Tensor Decompositions and Applications", SIAM Review 2009, section 3), so
        that no slice is built.

        Examples
        --------
        >>> from sktf import CPCompletion
        >>> X = [["ann", "tea"], ["ann", "rye"], ["bob", "tea"], ["bob", "rye"]]
        >>> model = CPCompletion(1, encode=True, random_state=0).fit(X, [1.0, 2.0, 3.0, 6.0])
        >>> labels, similarity = model.nearest(0, "ann")
        >>> labels.tolist(), similarity.round(3).tolist()
        (['bob'], [1.0])
        """
        check_scalar(n, "n", Integral, min_val=1)
        side, group, factor = self._side_of(mode)
        mode = check_mode(self, mode, len(self.shape_))
        number, dims = self._number_of(label, mode), [self.shape_[other] for other in group]
        rows = _along(_scaled(factor), dims, group.index(mode))
        others = [_scaled(other) for n, other in enumerate(self.factors_) if n != side]
        H = np.prod([other.T @ other for other in others], axis=0)
        inner = np.einsum("kr,ikr->i", rows[number] @ H, rows)
        norms = np.sqrt(np.maximum(np.einsum("ikr,ikr->i", rows @ H, rows), 0.0))
        size = norms * norms[number]
        similarity = np.divide(inner, size, out=np.zeros_like(inner), where=size > 0).clip(-1, 1)
        listed = _along(self._has_cells(side), dims, group.index(mode)).any(axis=(1, 2))
        listed[number] = False
        listed = np.flatnonzero(listed)
        nearest = listed[np.argsort(-similarity[listed], kind="stable")[:n]]
        return self._labels_of(mode)[nearest], similarity[nearest]

    def _side_of(self, mode):
        """Return the number of the factor that reads a mode, its modes, and the factor."""
        check_is_fitted(self)
        mode = check_mode(self, mode, len(self.shape_))
        groups = self._mode_groups(len(self.shape_))
        side = next(n for n, group in enumerate(groups) if mode in group)
        if is_large(prod(self.shape_[other] for other in groups[side]), groups[side]):
            raise ValueError(
                f"mode={mode} is read together with others, modes {groups[side]}, which have too "
                "many indices for a row each; choose other row_modes, or a mode of its own."
            )
        return side, groups[side], self.factors_[side]

    def _has_cells(self, side):
        """Return, as a column, which rows of a factor have cells."""
        size = side_sizes(self.shape_, self._mode_groups(len(self.shape_)))[side]
        seen, has = self._stored[side], np.zeros((size, 1), bool)
        has[slice(None) if seen is None else seen, 0] = self._counts[side] > 0
        return has

    def _labels_of(self, mode):
        known = getattr(self, "categories_", None)
        return np.arange(self.shape_[mode]) if known is None else known[mode]

    def _number_of(self, label, mode):
        if hasattr(self, "categories_"):
            return number_of(label, mode, self.categories_)
        if label not in range(self.shape_[mode]):
            raise ValueError(
                f"label={label!r}: mode {mode} has the indices 0 to {self.shape_[mode] - 1}."
            )
        return int(label)


def _along(rows, dims, place):
    """Return the rows of a side as an array (n_indices, n_others, R), for one of its modes."""
    whole = np.moveaxis(rows.reshape(*dims, rows.shape[1]), place, 0)
    return whole.reshape(dims[place], -1, rows.shape[1])


def _scaled(factor):
    """Return a factor of largest entry 1, so that no square over- or underflows."""
    return factor / (np.abs(factor).max(initial=0.0) or 1.0)
