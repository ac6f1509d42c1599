"""What VAE and DLGM share: a density with Gaussian codes, fitted to rows whose cells may be missing."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar
from warnings import warn

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_scalar
from torch import Tensor

from skdgm._sklearn_compat import Interval, RealNotInt, StrOptions
from skdgm.estimators._arrays import KeepsFloatType, chunk_of, like_input
from skdgm.estimators._base import DeepGenerative
from skdgm.estimators._callbacks import EpochTasks, fitting
from skdgm.estimators._columns import MAX_STANDARDIZED
from skdgm.estimators._factors import factor_analysis
from skdgm.estimators._options import layer_sizes, with_input_noise
from skdgm.likelihoods.columns import Groups
from skdgm.models.factor_analysis import Factors, start_at_factors
from skdgm.sources import CORRUPTIONS, Source
from skdgm.training import Objective, Term

ACTIVE_VARIANCE = 0.01
MIN_ROWS_FOR_FACTORS = 10
# weight_prior="auto": the sd, and rows per column below which it is smaller for what goes beyond the linear paths.
SD_OF_WEIGHTS, ENOUGH_ROWS_PER_COLUMN = 0.5, 16
# Levels of input noise where none is named: share of cells hidden, and of bits flipped or sd of normal noise.
DROPOUT_LEVEL, NOISE_LEVEL = 0.5, 0.1


class LatentDensity(KeepsFloatType, ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, DeepGenerative):
    """Abstract base of VAE and DLGM.

    An estimator says which module it wants (``_plan``, ``_build``), what is maximized (``_objective``), and which codes
    it gives (``_code_indices``).
    """

    _missing_cells_allowed = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DeepGenerative._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "dynamic_binarization": ["boolean"],
        "kl_warmup": [Interval(Integral, 0, None, closed="left"), Interval(RealNotInt, 0, 1, closed="both")],
        "weight_prior": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"}), None],
        "input_noise": [StrOptions({"auto", *CORRUPTIONS}), None],
        "input_noise_level": [Interval(Real, 0, None, closed="neither"), None],
    }
    _most_components: ClassVar[int]  # that n_components="auto" takes

    module_: Any  # a GaussianLatentModule

    # --- abstract -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _plan(self, n_rows: int, n_columns: int, likelihood: str | Groups) -> dict[str, Any]:
        """The arguments of the module."""

    @abstractmethod
    def _objective(self, *, noisy: bool) -> Objective:
        """The bound: with the noise of training to be maximized, without it to judge rows held out."""

    @property
    @abstractmethod
    def _code_indices(self) -> np.ndarray:
        """Places in the module's code of the columns that ``transform`` gives."""

    # --- fit ----------------------------------------------------------------------------------------------------

    @fitting
    def fit(self, X, y=None):
        """Fit the model to all rows.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            NaN marks a missing cell; the bound sums over the others. In [0, 1] under ``likelihood="bernoulli"``.
        y : Ignored
            There for the API.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            For infinite values or values outside a named likelihood's range, a column missing in every row, layer sizes
            that cannot be, a device that is not there, or a bound that stays non-finite; the estimator is then as it
            was before.

        Warns
        -----
        UserWarning
            Where cells lie absurdly far from all others of their column.
        ConvergenceWarning
            Where the fit ended at a bound clearly below that of independent columns.
        """
        context = self._init_callback_context(max_subtasks=self.max_iter)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        rows = self._read(X, reset=True)
        random = self._start()
        self._choose_likelihood(rows)
        self._has_missing = bool(np.isnan(rows).any())
        goes_on = self._is_warm_start
        n_rows, n_columns = rows.shape
        self.module_ = self._new_module(self._plan(n_rows, n_columns, self._columns.groups), random)
        trained, validation = self._split_validation(n_rows, random)
        trained_rows = rows[trained] if len(validation) else rows
        if not goes_on:
            self._start_at_factors(trained_rows, random)
        source = self._shown(self._rows_of(trained_rows))
        terms = [self._term(source, self._objective(noisy=True))]
        terms += self._variance_prior(self.module_, source, n_rows)
        held_out = None
        if len(validation):
            held_out = self._term(self._rows_of(rows[validation]), self._objective(noisy=False))
        tasks, penalties = EpochTasks(self, context, X), self._penalties(n_rows, n_columns)
        self._train(terms, random, n_rows, tasks, held_out, kl_warmup=self.kl_warmup, penalties=penalties)
        self.active_units_ = self._count_active(trained_rows)
        self._warn_if_worse_than_constant(trained_rows)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _start_at_factors(self, rows: np.ndarray, random: np.random.RandomState) -> None:
        """Begin as factor analysis of the Gaussian columns, where there is one layer of codes."""
        columns, _ = self.module_.decoder.outputs_of("gaussian")
        if len(self.module_.n_latents) > 1 or len(columns) < 2 or len(rows) < MIN_ROWS_FOR_FACTORS:
            return
        x = self._columns.transform(rows, training=True)[:, columns]
        model = factor_analysis(x, self.module_.n_latent, random)
        parts = model.mean_, model.components_.T, model.noise_variance_
        start_at_factors(
            self.module_.encoder, self.module_.decoder, Factors(*(torch.from_numpy(part) for part in parts))
        )

    @property
    def _sd_of_weights(self) -> float | None:
        return SD_OF_WEIGHTS if self.weight_prior == "auto" else self.weight_prior

    def _penalties(self, n_rows: int, n_columns: int) -> dict[str, float]:
        """L2 penalties of what goes beyond the linear paths, where "auto" finds few rows per column."""
        share = n_rows / (ENOUGH_ROWS_PER_COLUMN * n_columns)
        if self.weight_prior != "auto" or share >= 1 or not len(layer_sizes(self.hidden_layer_sizes)):
            return {}
        names = [name for name, _ in self.module_.named_parameters() if ".mlp.layers." in name]
        return dict.fromkeys(names, 1 / (SD_OF_WEIGHTS**2 * n_rows * share))

    def _rows_of(self, rows: np.ndarray) -> Source:
        return self._source(rows, binary=self.dynamic_binarization)

    def _term(self, source: Source, objective: Objective) -> Term:
        return Term("", source, objective, 1.0, self._batch_size(source.n_rows))

    def _auto_components(self, n_rows: int, n_columns: int) -> int:
        """Dimensions for n_components="auto": two thirds of the columns, at most a tenth of the rows."""
        if self._is_warm_start:
            return int(self.module_.n_latents[0])
        return min(self._most_components, max(2, math.ceil(2 * n_columns / 3)), max(2, n_rows // 10))

    @property
    def _noise_kind(self) -> str | None:
        """What ``input_noise`` means for these rows."""
        if self.input_noise != "auto":
            return self.input_noise
        return "dropout" if self._has_missing else None

    def _shown(self, source: Source) -> Source:
        """The training rows, with what recognition reads of them."""
        level = self.input_noise_level
        if level is None:
            level = DROPOUT_LEVEL if self.input_noise == "dropout" else NOISE_LEVEL
        return with_input_noise(source, self._noise_kind, level, self.likelihood_)

    def _must_tell(self) -> bool:
        """Whether recognition is told what is missing; a warm start goes on doing so."""
        told = self._has_missing or self._noise_kind == "dropout"
        return told or (self._is_warm_start and self._architecture["told_missing"])

    def _count_active(self, rows: np.ndarray) -> np.ndarray:
        """Units of each layer whose posterior mean varies over the rows: variance above 0.01 (Burda et al. 2016)."""
        active = self._means(rows).var(0) > ACTIVE_VARIANCE
        return np.array([layer.sum() for layer in np.split(active, np.cumsum(self.module_.n_latents)[:-1])])

    # --- transformer and density --------------------------------------------------------------------------------

    @like_input
    def transform(self, X):
        """Posterior means E_q[z | x].

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Any finite values; NaN marks a missing cell.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            float32 for float32 X, else float64; a tensor for a tensor.
        """
        self._check_fitted()
        X = self._read(X)
        return self._means(X)[:, self._code_indices].astype(self._feature_dtype(X))

    def _means(self, rows: np.ndarray) -> np.ndarray:
        """Posterior means of the whole code, float32."""
        return self._apply(lambda x, observed: self.module_.q_z(x, observed).mean, rows)

    @like_input
    def inverse_transform(self, Z):
        """Decode codes: E[x | z], in the units of X.

        Parameters
        ----------
        Z : array-like or torch.Tensor of shape (n_samples, n_features_out)
            As ``transform`` gives them; codes that it leaves out are at their prior mean 0.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        self._check_fitted()
        codes = self._read_codes(Z)
        whole = np.zeros((len(codes), self.module_.n_latent), codes.dtype)
        whole[:, self._code_indices] = codes
        return self._decode(whole, lambda z: self.module_.p_x(z).mean)

    @like_input
    def score_samples(self, X):
        """Importance-weighted lower bound (in expectation) on log p(x), in nats per row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            In [0, 1] under ``likelihood="bernoulli"``; only 0/1 rows have a density there. NaN marks a missing cell.

        Returns
        -------
        ndarray of shape (n_samples,)
            The density of X in its own units: standardization is accounted for. With missing cells, that of
            the observed ones; 0 for a row without any. Where "auto" chose Bernoulli, a cell out of range counts as the
            nearest value in range, less 10 nats.
        """
        self._check_fitted()
        draws = self.n_importance_samples
        return self._densities(X, lambda x, rng, observed: self.module_.log_likelihood(x, rng, draws, observed), draws)

    @like_input
    def elbo_samples(self, X):
        """The bound E_q[log p(x | z)] - KL(q(z | x) || p(z)), with the exact KL, in nats per row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Below ``score_samples`` in expectation; the expectation is a mean of ``n_importance_samples`` draws.
        """
        self._check_fitted()
        draws = self.n_importance_samples
        return self._densities(X, lambda x, rng, observed: self.module_.elbo(x, rng, draws, observed), draws)

    def score(self, X, y=None):
        """Mean of ``score_samples`` over the rows, in nats; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : Ignored

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean())

    def sample(self, n_samples=1, random_state=None):
        """Draw rows from p(x).

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Columns of 0 and 1 under the Bernoulli likelihood. For the smooth image behind each draw, decode codes:
            ``inverse_transform(rng.standard_normal((n_samples, n_codes)))``, of as many columns as ``transform`` gives.
        """
        self._check_fitted()
        rng = self._generator(check_random_state(random_state))
        return self._draw(n_samples, lambda: self.module_.sample(n_samples, rng))

    # --- missing cells ------------------------------------------------------------------------------------------

    @like_input
    def impute(self, X, *, method="importance", n_draws=None, n_steps=100, random_state=None):
        """Fill missing cells; observed ones stay bit for bit.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            NaN marks a missing cell. A row may miss all of them.
        method : {"importance", "chain"}, default="importance"
            "importance" weighs draws of the code by how well they explain the observed cells. "chain" runs the paper's
            Markov chain: from a row drawn from the model, encode, draw the row anew, put the observed cells back.
        n_draws : int or None, default=None
            None fills once: with the mean E[x_missing | x_observed] for "importance", with the chain's last state for
            "chain". An integer gives that many independent draws of the missing cells.
        n_steps : int, default=100
            Steps of the chain, at least 1; more forget its start. "importance" draws ``n_importance_samples`` codes a
            row instead.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws. The mean by "importance" draws nothing at random: like ``score_samples`` it uses noise
            fixed by the fit's seed and each row's content.

        Returns
        -------
        ndarray of shape (n_samples, n_features), or (n_draws, n_samples, n_features)
            float32 for float32 X, else float64.

        Raises
        ------
        ValueError
            For an unknown method, numbers below 1, or observed cells outside a named likelihood's range.
        TypeError
            For numbers that are no integers.

        Warns
        -----
        UserWarning
            Where cells are missing but ``fit`` met no missing cell and made none by ``input_noise="dropout"``: then
            recognition reads each as the middle of its column.

        References
        ----------
        D. J. Rezende, S. Mohamed, D. Wierstra, "Stochastic backpropagation and approximate inference in deep
        generative models", ICML 2014, appendix F. arXiv:1401.4082
        """
        self._check_fitted()
        if method not in ("importance", "chain"):
            raise ValueError(f"method must be 'importance' or 'chain', got {method!r}.")
        check_scalar(n_steps, "n_steps", Integral, min_val=1)
        X = self._columns.check_density_range(self._read(X))
        if not self._architecture["told_missing"] and np.isnan(X).any():
            warn(
                f"{type(self).__name__} was fitted to rows without missing cells and reads each as the middle of its "
                "column: filled cells may be off, and drawn ones too much alike. Fit with input_noise='dropout', or "
                "with rows that miss cells.",
                UserWarning,
                stacklevel=3,
            )
        if n_draws is None and method == "importance":
            return self._filled(X, self._expected(X))
        check_scalar(1 if n_draws is None else n_draws, "n_draws", Integral, min_val=1)
        rng = self._generator(check_random_state(random_state))
        fill = self._chain(rng, n_steps) if method == "chain" else self._resampling(rng)
        draws = [self._filled(X, self._fill(X, fill)) for _ in range(n_draws or 1)]
        return draws[0] if n_draws is None else np.stack(draws)

    def _filled(self, X: np.ndarray, filled: np.ndarray) -> np.ndarray:
        """X with the missing cells of ``filled``, which holds rows as the module knows them."""
        return np.where(np.isnan(X), self._columns.inverse(filled), X).astype(self._feature_dtype(X))

    def _expected(self, X: np.ndarray) -> np.ndarray:
        draws = self.n_importance_samples
        return self._apply_with_noise(
            lambda x, noise, observed: self.module_.expected(x, noise, draws, all_of(x, observed)), X, draws
        )

    def _fill(self, X: np.ndarray, fill: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
        """Apply a function of (x, observed) that draws, chunk by chunk."""
        chunk = chunk_of(self.n_importance_samples)
        return self._apply(lambda x, observed: fill(x, all_of(x, observed)), X, chunk)

    def _chain(self, rng: torch.Generator, n_steps: int) -> Callable[[Tensor, Tensor], Tensor]:
        def run(x, observed):
            x = torch.where(observed, x, self.module_.sample(len(x), rng))
            for _ in range(n_steps):
                x = self.module_.chain_step(x, rng, observed).clamp(-MAX_STANDARDIZED, MAX_STANDARDIZED)
            return x

        return run

    def _resampling(self, rng: torch.Generator) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, observed: self.module_.resampled(x, rng, self.n_importance_samples, observed)

    @property
    def _n_features_out(self) -> int:
        return len(self._code_indices)


def all_of(x: Tensor, observed: Tensor | None) -> Tensor:
    """The mask itself, or one of all cells."""
    return torch.ones_like(x, dtype=torch.bool) if observed is None else observed
