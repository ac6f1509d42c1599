"""Base class of VAE and DLGM: a density with Gaussian latent codes, fitted to rows with or without missing cells."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_scalar
from torch import Tensor

from skdgm._sklearn_compat import Interval, RealNotInt, StrOptions, check_sample_weight
from skdgm._warnings import warn_user
from skdgm.estimators._arrays import (
    CHUNK,
    PreservesFloatDtype,
    as_host_array,
    map_chunks,
    pad_rows,
    tensor_in_tensor_out,
)
from skdgm.estimators._base import MIN_EPOCHS_FOR_WARNING, BaseDeepGenerative, in_memory, missing_columns, some
from skdgm.estimators._callbacks import EpochTasks, fitting
from skdgm.estimators._diagnosis import are_dependent
from skdgm.estimators._factors import factor_analysis
from skdgm.estimators._imputation import BaseImputation
from skdgm.estimators._options import NETWORK_PARAMETERS, check_n_samples, layer_sizes, with_input_noise
from skdgm.estimators._partial_fit import BaseIncremental, Parts
from skdgm.estimators._streams import Table, look
from skdgm.estimators._weights import drawn_by_weight, relative, weighted_rows, with_weights
from skdgm.likelihoods.columns import Groups
from skdgm.models.factor_analysis import Factors, init_from_factors
from skdgm.models.holes import N_FILLS
from skdgm.models.refinement import DRAWS_IN_MEMORY
from skdgm.noise import Rng
from skdgm.sources import CORRUPTIONS, Source
from skdgm.training import Objective, Term

ACTIVE_VARIANCE = 0.01
MIN_ROWS_FOR_FACTORS = 10
# Each component of p(z) is held near N(0, I) by a prior that counts as so many rows.
N_ROWS_OF_COMPONENT = 1.0
# weight_prior="auto": the sd, and the rows per column below which it is smaller for all but the linear paths.
SD_OF_WEIGHTS, ENOUGH_ROWS_PER_COLUMN = 0.5, 16
# Default levels of input noise: share of cells to hide; share of bits to flip, or sd of normal noise.
DROPOUT_LEVEL, NOISE_LEVEL = 0.5, 0.1


class BaseLatentDensity(
    PreservesFloatDtype,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    DensityMixin,
    BaseImputation,
    BaseIncremental,
):
    """Abstract base of VAE and DLGM.

    An estimator defines its module (``_architecture_args``, ``_build``), what training maximizes (``_objective``), and
    which latent dimensions ``transform`` returns (``_code_indices``).
    """

    _missing_cells_allowed = _reads_streams = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDeepGenerative._parameter_constraints,
        **NETWORK_PARAMETERS,
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "dynamic_binarization": ["boolean"],
        "kl_warmup": [Interval(Integral, 0, None, closed="left"), Interval(RealNotInt, 0, 1, closed="both")],
        "weight_prior": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"}), None],
        "handle_unknown": [StrOptions({"warn", "error", "ignore"})],
        "input_noise": [StrOptions({"auto", *CORRUPTIONS}), None],
        "input_noise_level": [Interval(Real, 0, None, closed="neither"), None],
        "prior": [StrOptions({"mixture", "normal"})],
        "n_prior_components": [Interval(Integral, 1, None, closed="left")],
        "n_refinement_steps": [Interval(Integral, 0, None, closed="left")],
    }
    _max_components: ClassVar[int]  # maximum for n_components="auto"

    prior: str
    module_: Any  # a GaussianLatentModule

    # --- abstract -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _architecture_args(self, n_rows: int, n_columns: int, likelihood: str | Groups) -> dict[str, Any]:
        """Return the arguments of the module."""

    @abstractmethod
    def _objective(self, *, noisy: bool) -> Objective:
        """Return the bound: with training noise to maximize it, without noise to judge held-out rows."""

    @property
    @abstractmethod
    def _code_indices(self) -> np.ndarray:
        """Indices of the latent dimensions that ``transform`` returns."""

    # --- fit ----------------------------------------------------------------------------------------------------

    @fitting
    def fit(self, X, y=None, sample_weight=None):
        """Fit the model to all rows.

        Parameters
        ----------
        X : array-like, frame, sparse matrix, table in a file, or torch.Tensor of shape (n_samples, n_features)
            NaN marks a missing cell; the bound is that of the observed cells. Values must be in [0, 1] under
            ``likelihood="bernoulli"``.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows: a row of weight 2 counts like two equal rows, in the bound and in the bound of held-out
            rows. Only their ratios count. Rows of weight 0 are left out. Scales of columns and priors do not depend on
            weights.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            For infinite values, values outside the range of a named likelihood, a column that is missing in every row,
            invalid layer sizes, weights that are negative, NaN, or all 0, a device that is not available, or a bound
            that stays non-finite. The estimator is then left unchanged.
        KeyboardInterrupt
            If Ctrl-C is pressed before the first epoch of the model is complete, outside its training, or twice within
            two seconds. The estimator is then left unchanged.

        Warns
        -----
        UserWarning
            If cells are extremely far from all others in their column, if a layer has no active units although columns
            are correlated, or if Ctrl-C ended the training after a complete epoch, and the estimator is fitted.
        ConvergenceWarning
            If the fit ended at a bound clearly below that of independent columns, or while it still rose.
        """
        context = self._init_callback_context(max_subtasks=self.max_iter)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        given = weighted_rows(X, None, sample_weight, type(self).__name__)
        rows = self._read(given.X, reset=True)
        random = self._start()
        is_warm_start = self._is_warm_start
        n_rows, n_columns = rows.shape
        self._begin(rows, random)
        trained, validation = self._split_validation(n_rows, random)
        trained_rows = rows[trained] if len(validation) else rows
        weight, of_held_out = relative(given.weight, trained), relative(given.weight, validation)
        typical_rows = drawn_by_weight(trained_rows, weight, random)
        if not is_warm_start:
            self._init_from_factors(in_memory(typical_rows), random)
        source = self._with_noise(self._make_source(trained_rows, weight))
        terms = self._terms(source, n_rows)
        held_out = None
        if len(validation):
            held_out = self._term(self._make_source(rows[validation], of_held_out), self._objective(noisy=False))
        tasks, penalties = EpochTasks(self, context, X), self._penalties(n_rows, n_columns)
        self._train(terms, random, n_rows, tasks, held_out, kl_warmup=self.kl_warmup, penalties=penalties)
        self._parts = Parts(n_rows)
        self.active_units_ = self._count_active(in_memory(trained_rows))
        self.reconstruction_r2_ = self._reconstruction_r2(trained_rows)
        self._warn_if_worse_than_baseline(typical_rows)
        self._warn_if_collapsed(trained_rows)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _begin(self, rows: Table, random: np.random.RandomState) -> None:
        """Choose likelihoods, scales and the architecture by training rows, and build the module."""
        self._choose_likelihood(rows)
        self._misses_cells = np.isnan(look(rows)).any(0)
        n_rows, n_columns = rows.shape
        self.module_ = self._new_module(self._architecture_args(n_rows, n_columns, self._columns.groups), random)

    @fitting
    def partial_fit(self, X, y=None, sample_weight=None):
        """Train for one epoch on some rows; further calls continue with other rows.

        The first call learns from its rows what ``fit`` learns from all rows before training: likelihoods, scales,
        categories, the architecture, and the start of the weights. It should have typical rows, not only a few of them.
        Missing cells in later calls need missing cells in the first one, or ``input_noise="dropout"``.

        Every call passes once over its rows, in steps of ``batch_size`` rows, at the constant rate
        ``learning_rate_init``. The moments of Adam and the average of the weights are kept between calls; predictions
        use the average. There are no held-out rows, no early stop, and no KL warm-up. Priors count the rows of all
        calls.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            As in ``fit``. A category that the first call did not have is treated as ``handle_unknown`` says.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, relative to the other rows of the call; rows of weight 0 are left out.

        Returns
        -------
        self : estimator
            This estimator. After ``fit``, calls continue from it; ``fit`` starts anew.

        Raises
        ------
        ValueError
            As in ``fit``, and for rows with other columns than before. The estimator is then left unchanged.
        KeyboardInterrupt
            If Ctrl-C is pressed. The estimator is then left unchanged.
        """
        given = weighted_rows(X, None, sample_weight, type(self).__name__)
        is_first = self._is_first_part
        rows = self._read(given.X, reset=is_first)
        random = self._start_part(len(rows))
        if is_first:
            self._begin(rows, random)
            self._init_from_factors(in_memory(drawn_by_weight(rows, given.relative, random)), random)
        else:
            self._check_part(rows)
            self._check_same_likelihood("partial_fit")
            auto = {"n_latent", "n_latents"} if isinstance(self.n_components, str) else set()
            self._check_same_model(self._architecture_args(len(rows), rows.shape[1], self._columns.groups), auto)
            self.module_ = copy.deepcopy(self.module_).to(self.device_)
        n_rows, source = self._parts.n_rows, self._with_noise(self._make_source(rows, given.relative))
        terms = self._terms(source, n_rows)
        self._train_part(terms, random, len(rows), penalties=self._penalties(n_rows, rows.shape[1]))
        self.active_units_ = self._count_active(in_memory(rows))
        self.reconstruction_r2_ = self._reconstruction_r2(rows)
        return self

    def _init_from_factors(self, rows: np.ndarray, random: np.random.RandomState) -> None:
        """Initialize one layer of latent codes by factor analysis of the Gaussian columns."""
        columns, *_ = self.module_.decoder.likelihood.positions_of("gaussian")
        if len(self.module_.n_latents) > 1 or len(columns) < 2 or len(rows) < MIN_ROWS_FOR_FACTORS:
            return
        x = self._columns.transform(rows, training=True)[:, columns]
        model = factor_analysis(x, self.module_.n_latent, random)
        parts = model.mean_, model.components_.T, model.noise_variance_
        init_from_factors(
            self.module_.encoder, self.module_.decoder, Factors(*(torch.from_numpy(part) for part in parts))
        )

    @property
    def _weight_prior_sd(self) -> float | None:
        return SD_OF_WEIGHTS if self.weight_prior == "auto" else self.weight_prior

    def _penalties(self, n_rows: int, n_columns: int) -> dict[str, float]:
        """L2 penalties of all but the linear paths if weight_prior="auto" finds few rows per column."""
        share = n_rows / (ENOUGH_ROWS_PER_COLUMN * n_columns)
        if self.weight_prior != "auto" or share >= 1 or not len(layer_sizes(self.hidden_layer_sizes)):
            return {"p_z": 0.0}
        names = [name for name, _ in self.module_.named_parameters() if ".layers." in name and ".skip." not in name]
        return {"p_z": 0.0} | dict.fromkeys(names, 1 / (SD_OF_WEIGHTS**2 * n_rows * share))

    def _make_source(self, rows: Table, weight: np.ndarray | None = None) -> Source:
        return with_weights(self._source(rows, binary=self.dynamic_binarization), weight, self.device_)

    def _terms(self, source: Source, n_rows: int) -> list[Term]:
        """The bound, and the priors of parameters, which count as a few of ``n_rows`` rows."""
        terms = [self._term(source, self._objective(noisy=True)), *self._variance_prior(self.module_, source, n_rows)]
        if self.prior == "mixture":
            terms.append(self._parameter_prior(self.module_.p_z.log_hyperprior, N_ROWS_OF_COMPONENT / n_rows, source))
        return terms

    def _term(self, source: Source, objective: Objective) -> Term:
        return Term("", source, objective, 1.0, self._batch_size(source.n_rows))

    def _auto_components(self, n_rows: int, n_columns: int) -> int:
        """Resolve n_components="auto": two thirds of the columns, at most a tenth of the rows."""
        if self._is_warm_start:
            return int(self.module_.n_latents[0])
        return min(self._max_components, max(2, math.ceil(2 * n_columns / 3)), max(2, n_rows // 10))

    @property
    def _noise_kind(self) -> str | None:
        """Resolve ``input_noise`` for these rows."""
        if self.input_noise != "auto":
            return self.input_noise
        return "dropout" if self._misses_cells.any() else None

    def _with_noise(self, source: Source) -> Source:
        """Add input noise to what the encoder reads of the training rows."""
        level = self.input_noise_level
        if level is None:
            level = DROPOUT_LEVEL if self.input_noise == "dropout" else NOISE_LEVEL
        return with_input_noise(source, self._noise_kind, level, self.likelihood_)

    def _missing_indicator(self) -> bool | list[bool]:
        """Columns of which the encoder is told what cells are missing, all with dropout; a warm start keeps them."""
        if self._noise_kind == "dropout":
            return True
        known = self._architecture["missing_indicator"] if self._is_warm_start else False
        return missing_columns(self._misses_cells | np.asarray(known))

    def _count_active(self, rows: np.ndarray) -> np.ndarray:
        """Count the active units per layer: their posterior mean has a variance above 0.01 (Burda et al. 2016)."""
        active = self._means(rows).var(0) > ACTIVE_VARIANCE
        return np.array([layer.sum() for layer in np.split(active, np.cumsum(self.module_.n_latents)[:-1])])

    def _reconstruction_r2(self, rows: Table) -> np.ndarray:
        """Share of each column's variance that the reconstruction from the posterior mean explains."""
        rows = some(rows)
        codes, x = self._means(rows), self._columns.transform(rows).astype(np.float64)
        squares = np.ma.masked_invalid((x - self._apply_to_codes(codes)) ** 2)
        variance = np.ma.masked_invalid(x).var(0).filled(np.nan)  # a column may be missing in all of these rows
        return 1 - squares.mean(0).filled(np.nan) / np.where(variance > 0, variance, np.nan)

    def _apply_to_codes(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes of all latent dimensions to the scale of the module."""
        return map_chunks(lambda z: self.module_.p_x(pad_rows(self._tensor(z), CHUNK)).mean, CHUNK, codes)

    def _warn_if_collapsed(self, rows: Table) -> None:
        """Warn if a layer has no active units although the columns depend on each other."""
        if (
            self.n_iter_ < MIN_EPOCHS_FOR_WARNING
            or self.active_units_.all()
            or not are_dependent(self._columns.transform(some(rows)))
        ):
            return
        layers = ", ".join(str(layer + 1) for layer in np.flatnonzero(self.active_units_ == 0))
        warn_user(
            f"{type(self).__name__} has no active units in layer {layers} of {len(self.active_units_)} (from X "
            "upward): its codes carry nothing, although columns are correlated. Use fewer layers, a longer warm-up "
            "(kl_warmup=0.5), or a smaller learning_rate_init.",
        )

    # --- transformer and density --------------------------------------------------------------------------------

    @tensor_in_tensor_out
    def transform(self, X):
        """Encode rows as posterior means E_q[z | x].

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Any finite values; NaN marks a missing cell.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            float32 for float32 X, otherwise float64; a tensor if X is a tensor.
        """
        self._check_fitted()
        X = self._read(X)
        return self._means(X)[:, self._code_indices].astype(self._feature_dtype(X))

    @tensor_in_tensor_out
    def posterior_moments(self, X):
        """Compute the mean and the covariance of q(z | x), the encoder's normal distribution of a row's code.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Any finite values; NaN marks a missing cell.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_features_out)
            As ``transform`` returns it.
        covariance : ndarray of shape (n_samples, n_features_out, n_features_out)
            Diagonal under a diagonal posterior, and 0 between layers. Near the identity in a dimension of which the row
            says nothing. If cells are missing that were not missing in ``fit``, it is the covariance of a mixture over
            fills of these cells. Under ``inference="top_down"`` of DLGM, a lower layer has the moments that it has
            given the means of the layers above.
        """
        self._check_fitted()
        X = self._read(X)
        moments = self._of_posterior(X, lambda q: torch.cat([q.mean.unsqueeze(-2), q.covariance], -2))
        kept = self._code_indices
        moments = moments[..., kept].astype(self._feature_dtype(X))
        return moments[:, 0], moments[:, 1 + kept]

    def _means(self, rows: Table) -> np.ndarray:
        """Posterior means of all latent dimensions, float32."""
        return self._of_posterior(rows, lambda q: q.mean)

    def _of_posterior(self, rows: Table, read: Callable[[Any], Tensor]) -> np.ndarray:
        """Apply a function to the encoder's distributions of the codes, float32."""
        return self._by_holes(
            rows,
            lambda rows: self._apply(lambda x, observed: read(self.module_.q_z(x, observed)), rows),
            lambda rows: self._apply_in_chunks(
                lambda x, noise, observed: read(self.module_.proposal(x, noise, observed)), rows, N_FILLS
            ),
        )

    @tensor_in_tensor_out
    def inverse_transform(self, Z):
        """Decode latent codes to E[x | z], in the units of X.

        Parameters
        ----------
        Z : array-like or torch.Tensor of shape (n_samples, n_features_out)
            Codes as ``transform`` returns them. Latent dimensions that it leaves out are set to 0, their prior mean.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        self._check_fitted()
        codes = self._read_codes(Z)
        whole = np.zeros((len(codes), self.module_.n_latent), codes.dtype)
        whole[:, self._code_indices] = codes
        return self._decode(whole, lambda z: self.module_.p_x(z).mean)

    @tensor_in_tensor_out
    def score_samples(self, X):
        """Estimate log p(x) by an importance-weighted bound, a lower bound in expectation, in nats per row.

        More ``n_importance_samples`` and ``n_refinement_steps`` tighten it.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Values must be in [0, 1] under ``likelihood="bernoulli"``, where only 0/1 rows have a density. NaN marks a
            missing cell.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-density of X in its own units: it accounts for the standardization. For rows with missing cells it is
            that of the observed cells, and 0 if there are none. Where "auto" chose Bernoulli, a cell out of range is
            scored as the nearest value in range, minus 10 nats.
        """
        self._check_fitted()
        draws, n_steps = self._n_draws, int(self.n_refinement_steps)

        def log_likelihood(x: Tensor, rng: Rng, observed: Tensor | None) -> Tensor:
            return self.module_.log_likelihood(x, rng, draws, observed, n_steps)

        if not n_steps:
            return self._densities(X, log_likelihood, draws)
        with torch.inference_mode(False):  # refinement takes gradients
            return self._densities(X, log_likelihood, max(draws, DRAWS_IN_MEMORY))

    @tensor_in_tensor_out
    def elbo_samples(self, X):
        """Evidence lower bound E_q[log p(x | z)] - KL(q(z | x) || p(z)), in nats per row.

        The KL has a closed form under ``prior="normal"``. Under a mixture, it is estimated from the same draws of z.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            In expectation, these are not above ``score_samples``. E_q is a mean over ``n_importance_samples`` draws.
        """
        self._check_fitted()
        draws = self._n_draws
        return self._densities(X, lambda x, rng, observed: self.module_.elbo(x, rng, draws, observed), draws)

    def score(self, X, y=None, sample_weight=None) -> float:
        """Mean of ``score_samples`` over the rows, in nats; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : Ignored
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows in the mean.

        Returns
        -------
        float
        """
        weight = None if sample_weight is None else check_sample_weight(as_host_array(sample_weight), X)
        return float(np.average(as_host_array(self.score_samples(X)), weights=weight))

    def sample(self, n_samples=1, random_state=None) -> Any:
        """Draw rows from p(x).

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray, frame or sparse matrix of shape (n_samples, n_features)
            Of the kind of the training rows. Bernoulli columns hold 0 and 1. For their probabilities, such as a smooth
            image, decode drawn codes instead: ``inverse_transform(sample_codes(n_samples))``.
        """
        self._check_fitted()
        rng = self._generator(check_random_state(random_state))
        return self._draw(n_samples, lambda part: self.module_.sample(part.stop - part.start, rng))

    @torch.no_grad()
    def sample_codes(self, n_samples=1, random_state=None) -> np.ndarray:
        """Draw latent codes from the prior p(z).

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            Codes as ``transform`` returns them. ``inverse_transform`` decodes them to means of rows, without the noise
            of the columns that ``sample`` adds.
        """
        self._check_fitted()
        check_n_samples(n_samples)
        rng = self._generator(check_random_state(random_state))
        codes = self.module_.p_z.sample((n_samples, self.module_.n_latent), rng, like=next(self.module_.parameters()))
        return codes.cpu().numpy().astype(np.float64)[:, self._code_indices]

    # --- missing cells ------------------------------------------------------------------------------------------

    @tensor_in_tensor_out
    def impute(self, X, *, method="importance", n_draws=None, n_steps=100, random_state=None):
        """Fill in missing cells; leave observed cells unchanged to the bit.

        Parameters
        ----------
        X : array-like, frame or torch.Tensor of shape (n_samples, n_features)
            NaN, None and pandas.NA mark a missing cell. All cells of a row may be missing.
        method : {"importance", "chain"}, default="importance"
            "importance" weighs draws of the latent code by how well they explain the observed cells. "chain" runs the
            paper's Markov chain. It starts from a row drawn from the model; each step encodes the row, draws a new row
            from the decoder, and restores the observed cells. Errors of the encoder add up: if few cells are observed,
            long chains can drift far away.
        n_draws : int or None, default=None
            None fills each cell once: "importance" with the mean E[x_missing | x_observed] of a number or the most
            probable category, "chain" with the last state of the chain. An integer returns that many independent draws
            of the missing cells (multiple imputation).
        n_steps : int, default=100
            Number of steps of the chain, at least 1. More steps make it forget its start, and drift farther.
            ("importance" draws ``n_importance_samples`` codes per row and proposal.)
        random_state : int, RandomState instance or None, default=None
            Seeds the draws. The mean of "importance" does not need it: like ``score_samples``, it uses noise that is
            determined by the seed of the fit and the values of each row.

        Returns
        -------
        ndarray or frame of shape (n_samples, n_features); for ``n_draws``, (n_draws, n_samples, n_features) or a list
            A frame like X if X is a frame, and a list of ``n_draws`` frames: observed cells, index, and dtypes are
            those of X. Otherwise an array. Draws in columns of integers are integers; means are not, unless the dtype
            of X demands it.

        Raises
        ------
        ValueError
            For an unknown method, ``n_draws`` or ``n_steps`` below 1, or observed cells outside the range of a named
            likelihood.
        TypeError
            If ``n_draws`` or ``n_steps`` is not an integer.

        References
        ----------
        D. J. Rezende, S. Mohamed, D. Wierstra, "Stochastic backpropagation and approximate inference in deep
        generative models", ICML 2014, appendix F. arXiv:1401.4082
        """
        self._check_fitted()
        if method not in ("importance", "chain"):
            raise ValueError(f"method must be 'importance' or 'chain', got {method!r}.")
        check_scalar(n_steps, "n_steps", Integral, min_val=1)
        rows = self._read(X)
        mean: Any = partial(self._expected, function=self.module_.expected)
        draw = partial(self._resampled, function=self.module_.resampled)
        if method == "chain":
            mean, draw = None, partial(self._chain, n_steps=n_steps)
        return self._filled(X, rows, mean, draw, n_draws, random_state)

    def _chain(self, rows: np.ndarray, rng: torch.Generator, n_steps: int) -> np.ndarray:
        """Last states of the Markov chain over missing cells."""
        bounds = self._columns.bounds

        def run(x: Tensor, observed: Tensor) -> Tensor:
            low, high = (torch.from_numpy(bound).to(x) for bound in bounds)
            x = torch.where(observed, x, self.module_.sample(len(x), rng))
            for _ in range(n_steps):
                x = self.module_.chain_step(x, rng, observed).clamp(low, high)
            return x

        return self._drawn(rows, run)

    @property
    def _draws_per_row(self) -> int:
        return self._n_draws

    @property
    def _n_features_out(self) -> int:
        return len(self._code_indices)
