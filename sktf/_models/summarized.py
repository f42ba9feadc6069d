"""Estimators that sum up what they have found: ``summary()``, and it on their HTML page."""

from sklearn import config_context
from sklearn.utils.validation import check_is_fitted

from sktf._models.facts import (
    record_of,
    rows_of_cells,
    rows_of_end,
    rows_of_extension,
    rows_of_held_out,
    rows_of_offset,
    rows_of_rank,
    table_of_components,
    table_of_modes,
)
from sktf._models.sklearn_types import BaseEstimator
from sktf._models.summary import Summary


class Summarized(BaseEstimator):
    """What ``summary`` tells of a single fit; an estimator of several says other parts."""

    def summary(self) -> Summary:
        """Sum up the fit: cells, modes, offset, components, held-out error, end and warnings.

        Returns
        -------
        summary : Summary
            Prints as a table and shows as HTML in a notebook. Its ``rows``, pairs of a name and a
            value, ``tables``, lists of dicts by name, and ``warnings`` are plain Python, to log.
            What the fit does not know is left out.

        Raises
        ------
        NotFittedError
            Before ``fit``.

        Notes
        -----
        The standard error of the held-out R^2, ``1 - sum_e a_e / sum_e b_e`` with squared
        residuals a_e and squared deviations b_e from the mean of the held-out cells, is that of the
        delta method for a ratio of sums [1]_, without a term for cells that chose the model::

            sqrt(sum_e (a_e - b_e sum(a) / sum(b))^2) / sum(b)

        The share of variance of a component c of the predictions T (without ``clip``) is
        ``cov(c, T) / var(T)`` over all cells whose indices have cells. Shares add up to 1, with
        that of additive terms; where components cancel, one may be negative.

        After ``extend`` the counts of cells of the other modes, and what held-out cells say, are
        those of the fit before. ``distinct cells`` are told of up to 2^18 rows.

        References
        ----------
        .. [1] W. G. Cochran, "Sampling Techniques", 3rd edition, Wiley 1977, section 6.

        Examples
        --------
        >>> from sktf import CPCompletion
        >>> from sktf.datasets import make_low_rank, sample_entries
        >>> tensor, _ = make_low_rank((12, 12, 12), 2, random_state=0)
        >>> X, y = sample_entries(tensor, 0.3, random_state=0)
        >>> summary = CPCompletion(random_state=0).fit(X, y).summary()
        >>> dict(summary.rows)["cells"], dict(summary.rows)["rank"]
        (518, 2)
        >>> summary.tables["modes"][0]["seen"]
        12
        """
        check_is_fitted(self)
        with config_context(print_changed_only=True):
            title = repr(self)
        rows, tables = self._summary_parts()
        told = list(dict.fromkeys(record_of(self).get("warnings", [])))
        return Summary(title, rows, {name: table for name, table in tables.items() if table}, told)

    def _summary_parts(self):
        """Return the rows and the tables of the summary."""
        rows = [
            *rows_of_cells(self),
            *rows_of_offset(self),
            *rows_of_rank(self),
            *rows_of_held_out(self),
            *rows_of_end(self),
            *rows_of_extension(self),
        ]
        return rows, {"modes": table_of_modes(self), "components": table_of_components(self)}

    def _get_params_html(self, *args, **options):
        """Return scikit-learn's table of parameters, of a fit with the summary below."""
        params = super()._get_params_html(*args, **options)
        try:
            check_is_fitted(self)
            below = self.summary().to_html()
        except Exception:  # a page without a summary is better than none
            return params
        above = params._html_repr
        params._html_repr = lambda: above() + below
        return params
