"""Gibbs sampling from where gradient descent has ended: the mean of what the data leave open."""

from dataclasses import KW_ONLY, dataclass
from functools import partial, reduce
from numbers import Integral
from typing import Self

import numpy as np
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.parallel import delayed

from sktf._averages.chains import Begun, Chain, run_chain
from sktf._averages.draws import Draws
from sktf._averages.jobs import one_by_one, prepared, reading_numbers, reading_parameters
from sktf._averages.posterior_choice import choose, split
from sktf._averages.posterior_extension import Extending
from sktf._averages.posterior_space import Space
from sktf._averages.summaries import summary_of_chains
from sktf._cells.identifiability import CompletionWarning, warn_of_cells
from sktf._cells.record import current_record, holding_back, note, note_cells, tell_once, warn
from sktf._cells.validation import check_held_out, check_observations
from sktf._docs import documented
from sktf._models.base import BaseCompletion
from sktf._models.cp import CPCompletion
from sktf._models.honesty import warn_nothing_learned, warn_wild_predictions
from sktf._models.pickles import VersionedPickle
from sktf._models.ranks import fit_on_ranks
from sktf._models.restoring import restoring_features
from sktf._models.scoring import ScoresAnyUnit
from sktf._models.sklearn_types import (
    BaseEstimator,
    CallbackSupportMixin,
    MetaEstimatorMixin,
    checks_parameters,
)
from sktf._models.summarized import Summarized
from sktf._models.verdict import held_out_facts
from sktf._objective.links import LINKS

# Chains agree where the median of the split-R-hats of so many cells is at most so large.
_AGREE, _LOOKED_AT = 1.1, 256


@documented(BaseCompletion)
@dataclass(eq=False, repr=False)
class PosteriorCompletion(
    VersionedPickle,
    Extending,
    CallbackSupportMixin,
    MetaEstimatorMixin,
    ScoresAnyUnit,
    Summarized,
):
    r"""Mean of Gibbs chains in the CP model, with the uncertainty of every prediction.

    Gradient descent finds rank and basin. From there, and from small random factors, short chains
    draw all factors from what the cells leave possible; their mean has less error than one
    solution, and their spread says how far off it may be.

    Parameters
    ----------
    estimator : estimator object, default=None
        A completion estimator with one factor for each mode, such as ``CPCompletion``,
        ``DeepCPCompletion`` or ``CPALSCompletion``. None: ``CPCompletion()``.
    n_components : int, default=None
        Number of components of the chains. None: held-out cells choose, from the rank that the
        estimator finds up to 40, or twice the rank; below 100 cells, ten or the rank.
    n_samples : int, default=25
        Draws that each chain keeps, four sweeps apart.
    n_warmup : int, default=20
        Sweeps of each chain before its first draw.
    n_chains : int, default=4
        Number of chains.
    n_jobs : int, default=None
        Chains at a time, as in joblib. None: one after another, the rows of each on all cores.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the chains of the fit before, on the same data, to a larger
        ``n_samples``: the draws are those of one fit.
    verbose : int, default=0
        1: a line for each number of components that is tried, and for each chain.
    random_state : int, RandomState instance or None, default=None
        Draws held-out cells and chains, and the ``random_state`` of the estimator.

    Attributes
    ----------
    estimator_ : estimator
        The descent: fitted to all cells, or, where ``weight_`` is 1, to those not held out. Its
        methods tell of components: ``factor_frame``, ``nearest`` and ``to_cp_tensor``.
    n_components_ : int
        Number of components of the chains.
    weight_ : float
        Weight of the chains in what is predicted, beside that of the descent, chosen on held-out
        cells; 1 unless at least 100 of these ask for the descent by two standard errors.
    noise_std_ : float
        Standard deviation of a value about its mean, that of the chains (root mean square).
    r_hat_ : float
        Median of the split-R-hats of the predictions of 256 cells drawn at random: near 1 where
        the chains agree. NaN of a single chain, or of fewer than four draws a chain.
    validation_score_ : float or None
        R^2 on the held-out cells of what short chains on the others predict, with the weight of
        the descent. It flatters, as these cells have chosen. None without held-out cells.
    rank_ : int
        That of ``estimator_``.
    {shape_ ... categories_}

    See Also
    --------
    CompletionEnsemble : Mean of several fits.

    Notes
    -----
    .. math:: y_e = \mu + \sum_r \prod_n F_n[i_n, r] + \sum_n b_n[i_n]
        + \varepsilon_e / \sqrt{w_e \alpha}

    with standard normal :math:`\varepsilon_e` and weights :math:`w_e` of mean 1. On values of
    variance 1, the rows :math:`(F_n[i], b_n[i])` of a mode are normal draws whose mean and
    precision have a normal-Wishart prior (:math:`\beta_0 = 1`, :math:`\nu_0` the number of
    columns, :math:`W_0 = I`), and :math:`\alpha` has a gamma prior (shape and rate .001), as in
    [1]_ and, for tensors, in [2]_. That rate bounds the deviation of the noise of n cells from
    below, at about sqrt(.002 / n) of that of y. A row is drawn from its normal equations; an index
    without cells has the distribution of the rows of its mode. Chains that have found different
    solutions are averaged: the mean has less error than each, and their disagreement is part of
    the deviation.

    References
    ----------
    .. [1] R. Salakhutdinov and A. Mnih, "Bayesian probabilistic matrix factorization using Markov
       chain Monte Carlo", ICML 2008.
    .. [2] L. Xiong, X. Chen, T.-K. Huang, J. Schneider and J. G. Carbonell, "Temporal
       collaborative filtering with Bayesian probabilistic tensor factorization", SDM 2010.

    Examples
    --------
    >>> from sktf import PosteriorCompletion
    >>> from sktf.datasets import make_low_rank, sample_entries
    >>> tensor, _ = make_low_rank((12, 12, 12), 2, random_state=0)
    >>> X, y = sample_entries(tensor, 0.3, noise=0.1, random_state=0)
    >>> model = PosteriorCompletion(random_state=0).fit(X, y)
    >>> mean, std = model.predict(X[:2], return_std=True)
    >>> low, high = model.predict_quantiles(X[:2], [0.05, 0.95])
    >>> bool((low < mean).all() and (mean < high).all())
    True
    """

    __module__ = "sktf"

    estimator: BaseEstimator | None = None
    _: KW_ONLY
    n_components: int | None = None
    n_samples: int = 25
    n_warmup: int = 20
    n_chains: int = 4
    n_jobs: int | None = None
    warm_start: bool = False
    verbose: int = 0
    random_state: int | np.random.RandomState | None = None

    _parameter_constraints = {
        "estimator": [BaseCompletion, None],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_warmup": [Interval(Integral, 0, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }
    _doc_link_module = "sktf"
    _doc_link_template = BaseCompletion._doc_link_template

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._inner())
        tags.input_tags = inner.input_tags
        tags.regressor_tags = inner.regressor_tags
        return tags

    __dask_tokenize__ = BaseCompletion.__dask_tokenize__

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_draws")

    def _inner(self):
        return CPCompletion() if self.estimator is None else self.estimator

    _summary_parts = summary_of_chains

    @checks_parameters(skip_nested=False)
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        """Fit the estimator to the observed cells, and draw chains from there.

        Parameters
        ----------
        {X ... y}
        sample_weight : array-like of shape (n_observed,), default=None
            Precisions of the values, relative to each other: the variance of a value is that of
            the noise over its weight. A row of weight zero counts as absent.
        X_val, y_val : array-like, default=None
            Held-out cells to choose by, in place of a share of X.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C. The draws made so far are kept; where there are none, it is as before.
        ValueError
            When the estimator has not one factor for each mode, when ``warm_start=True`` and the
            draws are more than ``n_samples`` or of other data or parameters, or for what the
            estimator raises.
        TypeError
            When a column of X holds labels or dates, unless the estimator has ``encode=True``.
        """
        with restoring_features(self):
            inner = self._inner()
            inner._validate_params()
            if getattr(inner, "loss", None) in LINKS:
                raise ValueError(
                    f'loss="{inner.loss}": chains are of normal noise; take "auto", or a '
                    "CompletionEnsemble of this estimator."
                )
            if getattr(inner, "distributed", False):
                told = X, y, sample_weight, X_val, y_val
                return fit_on_ranks(self, self._fit_cells, *told, read_as=inner)
            labels = () if inner.encode else None
            observations = check_observations(self, X, y, sample_weight, inner.shape, labels)
            given = check_held_out(self, X_val, y_val, observations.shape)
            return self._fit_cells(observations, given, {"X": X, "y": y})

    def _fit_cells(self, observations, given, data):
        """Fit the model to observations, and those held out or None; callbacks get ``data``."""
        note_cells(observations)
        root = self._init_callback_context(max_subtasks=self.n_chains)
        root.call_on_fit_task_begin(estimator=self, **data)
        seen = _checksum(observations, given)
        begun = self._go_on(seen) or self._begin(self._inner(), observations, given)
        chains, stopped = self._drawn(begun, observations, root)
        if stopped:
            note(ended="interrupted")
        self._set_fitted(begun, chains, observations, seen)
        root.call_on_fit_task_end(estimator=self, **data)
        if stopped:
            raise KeyboardInterrupt("The draws made so far are kept.")
        self._warn(observations, begun)
        return self

    def _begin(self, inner, observations, given):
        """Fit the estimator, and let held-out cells choose how the chains begin."""
        rng = check_random_state(self.random_state)
        training, held_out = (observations, given) if given else split(observations, rng)
        say = print if self.verbose else lambda line: None
        with holding_back() as held:
            model = _fit_inner(inner, training, held_out, rng)
            how = self.n_components, rng, say
            choice = choose(model, training, held_out, *how)
            if choice.weight < 1 and given is None:
                model = _fit_inner(inner, observations, None, rng)
        if choice.weight < 1:
            tell_once(held, 4)
        seeds = rng.randint(np.iinfo(np.int32).max, size=int(self.n_chains))
        return Begun(Space.of(observations), model, choice, [Chain(int(seed)) for seed in seeds])

    def _go_on(self, seen):
        """Return the chains of the fit before, to go on with; None without."""
        if not (self.warm_start and getattr(self, "_begun", None)):
            return None
        if seen != self._seen:
            raise ValueError(
                "warm_start=True goes on with the chains of other data; pass the X, y, "
                "sample_weight, X_val and y_val of the fit before, or set warm_start=False."
            )
        settings = self._settings()
        changed = sorted(
            k for k in settings | self._made_with if settings.get(k) != self._made_with.get(k)
        )
        if changed:
            raise ValueError(
                f"warm_start=True goes on with chains of another {changed[0]}; keep all parameters "
                "but n_samples, or set warm_start=False."
            )
        chains = self._begun.chains
        if max(len(chain.kept) for chain in chains) > self.n_samples:
            raise ValueError(
                f"warm_start=True goes on with chains of {len(chains[0].kept)} draws; n_samples="
                f"{self.n_samples} must not be less."
            )
        return self._begun

    def _settings(self):
        """Return all parameters that chains depend on, as text."""
        free = "n_samples", "n_jobs", "verbose", "warm_start"
        return {name: repr(value) for name, value in self.get_params().items() if name not in free}

    def _drawn(self, begun, observations, root):
        """Return the chains with all their draws, or those made so far, and whether it is these."""
        sampler, chains = begun.space.sampler(observations), list(begun.chains)
        run = delayed(partial(run_chain, begun, sampler, self.n_warmup, self.n_samples))
        runs = (run(number, chain) for number, chain in enumerate(chains))
        # Cells of several ranks are read by one chain after another.
        n_jobs = self.n_jobs if observations.ranks is None else None
        jobs, interrupted = one_by_one(n_jobs, ordered=True), False
        try:
            for number, (chain, ended) in enumerate(jobs(runs)):
                chains[number], interrupted = chain, not ended
                if self.verbose:
                    print(f"Chain {number + 1} of {len(chains)}: {len(chain.kept)} draws")
                task = root.subcontext(task_name="chain").call_on_fit_task_begin(estimator=self)
                if interrupted or task.call_on_fit_task_end(estimator=self):
                    break
        except KeyboardInterrupt:
            interrupted = True
        if not any(chain.kept for chain in chains):
            raise KeyboardInterrupt
        return chains, interrupted

    def _set_fitted(self, begun, chains, observations, seen):
        """Set all fitted attributes at once."""
        space, model, choice, _ = begun
        draws = Draws.of([chain.kept for chain in chains if chain.kept])
        rng = np.random.RandomState(0)
        looked_at = [rng.randint(size, size=_LOOKED_AT) for size in space.frame.sizes]
        r_hats = draws.disagreement(np.column_stack(looked_at))
        note(**held_out_facts(choice.verdict))
        # It was fitted to an array, of the numbers of labels.
        named = {k: v for k, v in vars(self).items() if k in ("categories_", "feature_names_in_")}
        vars(model).update(named, **reading_parameters(self._inner()))
        noise = space.frame.offset.scale * np.sqrt(np.mean(draws.deviations**2))
        vars(self).update(
            estimator_=model,
            n_components_=choice.n_components,
            weight_=choice.weight,
            noise_std_=float(noise),
            r_hat_=float(np.median(r_hats)),
            validation_score_=choice.verdict and choice.verdict.score,
            rank_=model.rank_,
            shape_=observations.shape,
            _draws=draws,
            _space=space,
            _range=observations.bounds(),
            _begun=begun._replace(chains=chains) if self.warm_start else None,
            _seen=seen,
            _made_with=self._settings(),
            _record=current_record(),
        )

    def _warn(self, observations, begun):
        """Warn of what the cells cannot tell, and of chains that do not agree."""
        warn_of_cells(observations, begun.space.frame, 5)
        # Chains have additive terms, whatever the offset of the estimator is.
        warn_nothing_learned(begun.choice.verdict, (0.0,), False, 5)
        if self.estimator_.clip is None:
            told = self._at, self.shape_, observations.bounds(), self.noise_std_
            warn_wild_predictions(*told, 5)
        if self.r_hat_ > _AGREE:
            warn(
                f"The chains do not agree (r_hat_ = {self.r_hat_:.2f}): the cells leave several "
                "solutions open, or n_warmup and n_samples are too small. Their mean has less "
                "error than each, and their differences are part of return_std; more chains "
                "(n_chains) find more of the solutions, more cells settle which is right.",
                CompletionWarning,
                5,  # the caller of fit
            )


def _fit_inner(inner, observations, held_out, rng):
    """Return a fit of the estimator, with cells held out to stop on if it can."""
    model, given = reading_numbers(prepared(inner, observations.shape, rng)), {}
    model.set_params(shape=observations.shape)  # that of the labels, where it encodes
    if held_out is not None and getattr(model, "early_stopping", True) is not False:
        given = {"X_val": held_out.coords, "y_val": held_out.values}
    if observations.ranks is None:
        model.fit(observations.coords, observations.values, observations.weights, **given)
    else:
        told = held_out._replace(weights=np.ones(len(held_out.values))) if given else None
        model._fit_read(observations, told)
    order = len(observations.shape)
    if model._mode_groups(order) != tuple((mode,) for mode in range(order)):
        raise ValueError(
            f"estimator={inner!r} has not one factor for each of the {order} modes; pass "
            "CPCompletion(), DeepCPCompletion() or CPALSCompletion()."
        )
    return model


def _checksum(*data):
    """Return a number that other data hardly have."""
    given = [cells for cells in data if cells is not None]
    return reduce(lambda before, cells: cells.checksum(before), given, 0)
