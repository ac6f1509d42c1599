"""Base class of the estimators: conversion of arrays to tensors, seeds, devices, training, and prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from os import PathLike
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor, nn

from skdgm import training
from skdgm._sklearn_compat import CallbackSupportMixin, Interval, StrOptions
from skdgm._warnings import warn_user
from skdgm.averaging import Progress
from skdgm.checkpoints import Checkpoint
from skdgm.distributed._rows import ShardedReader
from skdgm.distributed._sums import any_process, copy_weights_from_first, in_training, stop_of_any
from skdgm.estimators._arrays import (
    CHUNK,
    checked_codes,
    chunk_size,
    finite_log_densities,
    in_dtype,
    map_chunks,
    pad_rows,
)
from skdgm.estimators._callbacks import EpochTasks
from skdgm.estimators._checkpoints import next_training, random_state_of_fit
from skdgm.estimators._input import LIKELIHOOD_PARAMETER, BaseReader
from skdgm.estimators._interrupt import interrupts_end_training
from skdgm.estimators._options import (
    MIN_BFLOAT16,
    check_n_samples,
    check_same_architecture,
    chosen_precision,
    generator,
    layer_sizes,
    resolve_device,
)
from skdgm.estimators._shards import of_process, own_device, own_terms, same_random, sharded_source
from skdgm.estimators._state import ModuleState
from skdgm.estimators._streams import (
    LOOK_BYTES,
    Table,
    blocks,
    fits_in_memory,
    in_blocks,
    is_sparse,
    matrix_of,
)
from skdgm.models.adaptive import DRAWS_PER_DRAW
from skdgm.networks import ACTIVATIONS
from skdgm.noise import RowNoise
from skdgm.readers import Rows
from skdgm.sources import BlockwiseSource, DynamicBinarization, ResidentSource, Source
from skdgm.sparse import SparseSource
from skdgm.training_state import Stateful

# Smaller tables hold out no rows; instead, a prior that counts as this many rows keeps the variances from shrinking.
MIN_ROWS_TO_HOLD_OUT = 50
N_PSEUDO_ROWS = 1.0
# Factor on the learning rate of log-variances that all rows share. Adam moves a number by at most one learning rate per
# step. The log-variance starts near 0, but for a column that other columns determine it is -6 or below.
VARIANCE_RATE_FACTOR = 30.0
# The same for the components of p(z): they must keep up with the codes.
PRIOR_RATE_FACTOR = 10.0
# Without held-out rows nothing would end a long fit before it overfits: max_iter=None is at most this many epochs.
MAX_EPOCHS_WITHOUT_VALIDATION = 300
# n_iter_no_change=None: this many steps, but a number of epochs within these limits.
PATIENCE_IN_STEPS, MIN_PATIENCE, MAX_PATIENCE = 1_500, 5, 40
# The trained weights are averaged over about this many steps.
N_AVERAGED = 300
# Rows are drawn so many at a time, fewer if they have many columns.
MAX_ROWS_TO_DRAW, MIN_ROWS_TO_DRAW, CELLS_TO_DRAW = 4096, 64, 1 << 22
# After this many epochs, the bound should not be below that of independent columns,
MIN_EPOCHS_FOR_WARNING = 30
# by more than this slack, in nats per column,
BASELINE_SLACK = 0.3
# over some of the rows.
MAX_ROWS_TO_LOOK_AT = 5000

NoisyFunction = Callable[[Tensor, RowNoise, Tensor | None], Tensor]
RowFunction = Callable[[np.ndarray], np.ndarray]


class BaseDeepGenerative(CallbackSupportMixin, ModuleState, BaseReader):
    """Abstract base of the estimators that train a module.

    An estimator builds its module (``_build``) and passes terms of the objective to the engine. This class handles
    arrays, devices, and seeds.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": [Interval(Integral, 1, None, closed="left"), tuple, list, np.ndarray],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "likelihood": LIKELIHOOD_PARAMETER,
        "weight_prior": [Interval(Real, 0, None, closed="neither"), None],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "learning_rate": [StrOptions(set(training.LEARNING_RATES))],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "checkpoint": [str, PathLike, Checkpoint, None],
        "device": [str],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "random_state": ["random_state"],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
    }

    # With max_iter=None, a fit has this many epochs, but a number of steps within these limits.
    _n_epochs, _min_steps, _max_steps = 0, 20_000, 20_000

    history_: Any
    validation_scores_: Any

    # --- X is an array, x is a tensor ---------------------------------------------------------------------------

    @property
    def _clips_inputs(self) -> bool:
        """Whether the encoder reads rows through a smooth clip; it does if there are standardized columns."""
        return bool(self._columns.is_standardized.any())

    def _to_tensors(self, X: np.ndarray, *, training: bool = False) -> tuple[Tensor, Tensor | None]:
        """Convert rows to what the module reads, on the device, with the mask of observed cells (None for all)."""
        x = self._columns.transform(X, training=training)
        if not np.isnan(x.sum()):  # faster than a mask: most tables miss no cells
            return self._tensor(x), None
        observed = ~np.isnan(x)
        return self._tensor(np.where(observed, x, 0)), self._tensor(observed)

    def _tensor(self, array: np.ndarray) -> Tensor:
        """Convert an array to a tensor on the device."""
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(self.device_)

    def _source(self, X: Table, y: Tensor | None = None, *, binary: bool = False) -> Source:
        """Make the source of training rows: on the device if they fit, otherwise read in blocks from where they are."""
        read = partial(self._to_tensors, training=True)
        source: Source
        if isinstance(X, Rows) and isinstance(X.reader, ShardedReader):
            own, bounds = X.reader.split(X.indices)
            source = sharded_source(bounds, y, lambda own_y: self._source(own, own_y), self.device_)
        elif isinstance(X, Rows) and is_sparse(X):
            source = self._sparse_source(X, y)
        elif isinstance(X, np.ndarray) and fits_in_memory(X.shape):
            source = ResidentSource(*read(X), y)
        else:
            source = BlockwiseSource(X, read, torch.device(self.device_), y)
        return DynamicBinarization(source) if binary and self.likelihood_ == "bernoulli" else source

    def _sparse_source(self, rows: Rows, y: Tensor | None) -> Source:
        """Put the stored cells of a sparse matrix on the device."""
        matrix = matrix_of(rows)[np.asarray(rows.indices)]
        values = self._columns.transform_cells(matrix.data, matrix.indices)
        starts, columns = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        cells = self._tensor(starts), self._tensor(columns), self._tensor(values)
        return SparseSource(*cells, rows.shape[1], y)

    # --- training -----------------------------------------------------------------------------------------------

    def _start(self) -> np.random.RandomState:
        """Choose the device; return the random state that seeds this fit."""
        self.device_ = own_device(resolve_device(self.device))
        return same_random(random_state_of_fit(self.random_state))

    def _generator(self, random: np.random.RandomState, device: str | None = None) -> Generator:
        return generator(random, device or self.device_)

    def _new_module(self, architecture: dict[str, Any], random: np.random.RandomState) -> nn.Module:
        """Build the module; under ``warm_start``, load the weights of the previous fit."""
        previous = self.module_ if self._is_warm_start else None
        rng = self._generator(random, "cpu")  # draw weights on the CPU: they are the same for every device
        module = self._build(architecture, rng).to(self.device_)
        if previous is not None:
            check_same_architecture(self._architecture, architecture, type(self).__name__)
            module.load_state_dict(previous.state_dict(), strict=False)  # weights for missing cells may be new
        self._architecture = architecture
        self._noise_seed = int(random.randint(np.iinfo(np.int32).max))
        return module

    def _settings(
        self, n_rows: int, n_steps: int, sizes: Sequence[int] | None = None, break_even: int = MIN_BFLOAT16
    ) -> training.Settings:
        """Collect the settings to train on ``n_rows`` rows, in epochs of ``n_steps`` steps.

        Layers have ``sizes``, or ``hidden_layer_sizes``. From ``break_even`` rows times units on, bfloat16 is faster.
        """
        size = self._batch_size(n_rows) * min(sizes or layer_sizes(self.hidden_layer_sizes), default=0)
        self.precision_ = chosen_precision(self.precision, size, break_even, self.device_)
        return training.Settings(
            max_iter=self._planned_epochs(n_rows, n_steps) if self.max_iter is None else int(self.max_iter),
            learning_rate_init=self.learning_rate_init,
            learning_rate=self.learning_rate,
            weight_prior=self._weight_prior_sd,
            n_rows=n_rows,
            rate_factors={"decoder.shared": VARIANCE_RATE_FACTOR, "p_z": PRIOR_RATE_FACTOR},
            precision=self.precision_,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change or patience(n_steps),
            n_steps=n_steps,
            reduce_rate_on_plateau=self.early_stopping == "auto",
            n_averaged=N_AVERAGED,
        )

    def _planned_epochs(self, n_rows: int, n_steps: int) -> int:
        """The number of epochs of ``n_steps`` steps that ``max_iter=None`` means, within limits on all steps."""
        planned = math.ceil(np.clip(self._n_epochs * n_steps, self._min_steps, self._max_steps) / n_steps)
        return planned if self._holds_out(n_rows) else min(planned, MAX_EPOCHS_WITHOUT_VALIDATION)

    @property
    def _weight_prior_sd(self) -> float | None:
        """Standard deviation of the normal prior on weights; None for no prior."""
        return self.weight_prior

    def _batch_size(self, n_rows: int) -> int:
        """Number of rows per step; "auto" takes about 12 steps per epoch, of 32 to 500 rows."""
        auto = min(500, max(32, n_rows // 12))
        return min(n_rows, auto if self.batch_size == "auto" else self.batch_size)

    def _train(
        self,
        terms: Sequence[training.Term],
        random: np.random.RandomState,
        n_rows: int,
        epochs: EpochTasks,
        validation: training.Term | None = None,
        *,
        kl_warmup: float = 0,
        penalties: Mapping[str, float] = MappingProxyType({}),
        rate_factors: Mapping[str, float] = MappingProxyType({}),
        stateful: Sequence[Stateful] = (),
    ) -> None:
        """Train ``module_`` and set the attributes of its history; ``kl_warmup`` is the value of the parameter."""
        one_pass = terms[0].source.n_rows if len({id(term.source) for term in terms}) == 1 else n_rows
        n_steps = math.ceil(one_pass / self._batch_size(one_pass))
        settings = self._settings(n_rows, n_steps)
        settings = replace(
            settings,
            kl_warmup=kl_warmup * (1 if isinstance(kl_warmup, Integral) else settings.max_iter),
            penalties=penalties,
            rate_factors={**settings.rate_factors, **rate_factors},
        )
        epochs.n_epochs = settings.max_iter
        with interrupts_end_training() as interrupt:
            requested = interrupt.is_requested
            history = self._run_engine(
                self.module_, terms, settings, random, epochs, validation, interrupted=requested, stateful=stateful
            )
        self.history_ = history.terms
        self.loss_curve_ = [-bound for bound in history.terms["bound"]]
        self.validation_scores_ = history.validation or None
        self.n_iter_ = len(self.loss_curve_)
        interrupt.warn(epochs.title, self.n_iter_)
        planned = self._planned_epochs(n_rows, n_steps)
        self._warn_if_still_rising(epochs.title, settings.max_iter, planned, history.final_rise)

    def _warn_if_still_rising(self, title: str, n_epochs: int, planned: int, rise: float) -> None:
        """Warn if training ended at its limit while the bound still rose by ``rise`` nats per row.

        ``planned`` is the number of epochs that ``max_iter=None`` means.
        """
        if rise:
            way_out = (
                f"Raise max_iter above {n_epochs} (None means up to {planned} here)."
                if planned > n_epochs
                else f"Set max_iter={2 * n_epochs}."
            )
            warn_user(
                f"{title} reached its {n_epochs} epochs while the bound still rose, by {rise:.2g} nats per row within "
                f"a fifth of the epochs at full learning rate. {way_out}",
                ConvergenceWarning,
            )

    def _run_engine(
        self,
        module: nn.Module,
        terms: Sequence[training.Term],
        settings: training.Settings,
        random: np.random.RandomState,
        epochs: EpochTasks,
        validation: training.Term | None = None,
        rate_name: str = "learning_rate_init",
        *,
        interrupted: Callable[[], bool] = lambda: False,
        stateful: Sequence[Stateful] = (),
        progress: Progress | None = None,
    ) -> training.History:
        """Train a module in place and leave it in evaluation mode; with ``progress``, without a checkpoint."""
        module.train().requires_grad_(True)
        copy_weights_from_first(module)
        terms, validation = own_terms(terms, validation)
        try:
            with (
                next_training(epochs.title if progress is None else None) as store,
                in_training(training.NonFiniteError),
            ):
                return training.train(
                    module,
                    terms,
                    settings,
                    of_process(self._generator(random)),
                    validation=validation,
                    before_epoch=epochs.begin,
                    on_epoch=lambda epoch, history: any_process(epochs.end(epoch, history)),
                    interrupted=stop_of_any(interrupted),
                    progress=progress,
                    store=store,
                    stateful=stateful,
                )
        except training.NonFiniteError as error:
            raise ValueError(
                f"{type(self).__name__}: {error}, likelihood={self.likelihood_!r}, after {training.MAX_ROLLBACKS} "
                f"restarts at half the rate. Lower {rate_name}, or scale X (StandardScaler)."
            ) from error
        finally:
            module.eval().requires_grad_(False)

    def _split_validation(
        self, n_rows: int, random: np.random.RandomState, wanted: bool | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return sorted indices of training and held-out rows; ``wanted`` overrides ``early_stopping``."""
        if not (self._holds_out(n_rows) if wanted is None else wanted) or n_rows < 2:
            return np.arange(n_rows), np.arange(0)
        n_validation = min(n_rows - 1, max(1, round(self.validation_fraction * n_rows)))
        shuffled = random.permutation(n_rows)
        return np.sort(shuffled[n_validation:]), np.sort(shuffled[:n_validation])

    def _warn_if_worse_than_baseline(self, X: Table, n_classes: int = 1) -> None:
        """Warn if independent columns, each with its mean and variance, model the training rows better."""
        if self.n_iter_ < MIN_EPOCHS_FOR_WARNING or len(X) < MIN_ROWS_TO_HOLD_OUT:
            return
        baseline = self._independent_log_density(some(X)) - math.log(n_classes)
        bound = max(self.validation_scores_ or self.history_["bound"][-1:])
        if bound < baseline - BASELINE_SLACK * X.shape[1]:
            warn_user(
                f"{type(self).__name__} ended at a bound of {bound:.4g} nats per row, but independent columns reach "
                f"{baseline:.4g}: the fit is worse than a model with independent columns. Lower "
                f"learning_rate_init={self.learning_rate_init:g}, or raise max_iter (this fit had {self.n_iter_}).",
                ConvergenceWarning,
            )

    def _independent_log_density(self, X: np.ndarray) -> float:
        """Mean log-density, in the units of the bound, of rows under independent columns with their own means."""
        return self._columns.independent_log_density(X)

    def _holds_out(self, n_rows: int) -> bool:
        """Tell whether rows are held out of the bound."""
        return n_rows >= MIN_ROWS_TO_HOLD_OUT if self.early_stopping == "auto" else bool(self.early_stopping)

    def _variance_prior(self, module: Any, source: Source, n_rows: int) -> list[training.Term]:
        """Return the prior on the variances as a term if early_stopping="auto" found too few rows to hold any out."""
        if self.early_stopping != "auto" or self._holds_out(n_rows) or not module.decoder.shared.numel():
            return []

        return [self._parameter_prior(module.decoder.variance_log_prior, N_PSEUDO_ROWS / n_rows, source)]

    def _parameter_prior(self, log_prior: Callable[[], Tensor], weight: float, source: Source) -> training.Term:
        """Return a log-density of parameters as a term; the bound of the history is without it."""

        def of_every_row(batch, rng):
            return log_prior().expand(len(batch.x))

        return training.Term(None, source, of_every_row, weight, self._batch_size(source.n_rows), history_weight=0.0)

    # --- prediction ---------------------------------------------------------------------------------------------

    @property
    def _n_draws(self) -> int:
        """Draws per row; True counts as 1 among parameters, but not among sizes of tensors."""
        self._validate_params()  # prediction reads it, and it may have been set after fit
        return int(self.n_importance_samples)

    def _apply(
        self, function: Callable[[Tensor, Tensor | None], Tensor], X: np.ndarray, chunk: int = CHUNK
    ) -> np.ndarray:
        """Apply a function of (x, observed) in chunks; a row's result is bitwise the same in any batch."""
        return map_chunks(lambda rows: function(*self._padded(rows, chunk)), chunk, X)

    def _apply_with_noise(self, function: NoisyFunction, X: Table, n_draws: int) -> np.ndarray:
        """Like ``_apply``, for functions that draw: a row's noise depends on the fit's seed and its own values.

        Rows with missing cells come in chunks of their own, with more draws.
        """
        complete = partial(self._apply_in_chunks, function, n_draws=n_draws)
        holed = partial(self._apply_in_chunks, function, n_draws=DRAWS_PER_DRAW * n_draws)
        return self._by_holes(X, complete, holed, learned=np.asarray(False))

    def _by_holes(
        self, X: Table, function: RowFunction, of_holed: RowFunction, learned: np.ndarray | None = None
    ) -> np.ndarray:
        """Apply a function to rows, and ``of_holed`` to those with missing cells in columns that are not ``learned``.

        None means the columns whose missing cells the networks have learned to read.
        """
        if isinstance(X, Rows):
            return in_blocks(partial(self._by_holes, function=function, of_holed=of_holed, learned=learned), X)
        holed = self._columns.misses_cells(X, self._learned_holes if learned is None else learned)
        if holed.all() or not holed.any():
            return (of_holed if holed.any() else function)(X)
        of_complete = function(X[~holed])
        result = np.empty((len(X), *of_complete.shape[1:]), of_complete.dtype)
        result[~holed], result[holed] = of_complete, of_holed(X[holed])
        return result

    @property
    def _learned_holes(self) -> np.ndarray:
        """For each column or for all, whether the networks have learned to read its missing cells."""
        return np.asarray(self._architecture.get("missing_indicator", False))

    def _apply_in_chunks(self, function: NoisyFunction, X: np.ndarray, n_draws: int) -> np.ndarray:
        chunk = chunk_size(n_draws)

        def apply(rows: np.ndarray) -> Tensor:
            x, observed = self._padded(rows, chunk)
            key = pad_rows(self._tensor(self._columns.noise_key(rows)), chunk)
            return function(x, RowNoise(self._noise_seed, key), observed)

        return map_chunks(apply, chunk, X)

    def _padded(self, rows: np.ndarray, length: int) -> tuple[Tensor, Tensor | None]:
        """As ``_to_tensors``, padded with rows of zeros up to ``length`` rows."""
        x, observed = self._to_tensors(rows)
        return pad_rows(x, length), None if observed is None else pad_rows(observed, length)

    def _feature_dtype(self, X: Table) -> type:
        return np.float32 if X.dtype == np.float32 else np.float64

    def _densities(self, X: Any, function: NoisyFunction, n_draws: int) -> np.ndarray:
        """Compute log-densities of X in its own units from those of the standardized rows."""
        parts = [
            finite_log_densities(self._apply_with_noise(function, block, n_draws))
            - self._columns.log_scale(block)
            - self._columns.out_of_range_penalty(block)
            for block in self._checked_blocks(self._read(X))
        ]
        return np.concatenate(parts)

    def _checked_blocks(self, rows: Table) -> Iterator[np.ndarray]:
        """Read rows block by block, and raise an error for rows that have no density."""
        for start, block in blocks(rows):
            yield self._columns.check_density_range(block, lambda row, column: start + row)  # noqa: B023

    def _read_codes(self, Z: Any) -> np.ndarray:
        """Validate latent codes: they need as many columns as ``transform`` returns."""
        return checked_codes(Z, self._n_features_out, type(self).__name__)

    def _decode(self, Z: np.ndarray, function: Callable[..., Tensor], *labels: np.ndarray) -> np.ndarray:
        """Decode codes, and ``labels`` if given, to rows in the units of X, in chunks."""

        def decode(*parts: np.ndarray) -> Tensor:
            return function(*(pad_rows(self._tensor(part), CHUNK) for part in parts))

        x = map_chunks(decode, CHUNK, Z.astype(np.float32), *labels)
        return in_dtype(self._columns.inverse(x), self._feature_dtype(Z))

    @torch.no_grad()
    def _draw(self, n_samples: int, function: Callable[[slice], Tensor]) -> Any:
        """Draw rows from the module, in the units of X; ``function`` draws those of a slice, which need more memory."""
        check_n_samples(n_samples)
        n_columns = len(self._columns.kinds)
        step = min(MAX_ROWS_TO_DRAW, max(MIN_ROWS_TO_DRAW, CELLS_TO_DRAW // n_columns))
        slices = (slice(start, min(start + step, n_samples)) for start in range(0, n_samples, step))
        parts = (self._columns.inverse(function(part).cpu().numpy().astype(np.float64)) for part in slices)
        return self._format.restore_parts(parts)

    # --- fitted or not ------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def _check_fitted(self) -> None:
        check_is_fitted(self)


def some(rows: Table) -> np.ndarray:
    """Enough rows for a look at all of them: always the same, in order, but at random, as rows may be periodic."""
    n_rows = MAX_ROWS_TO_LOOK_AT
    if isinstance(rows, Rows):
        n_rows = min(n_rows, max(1, LOOK_BYTES // (rows.dtype.itemsize * rows.shape[1])))
    if len(rows) > n_rows:
        rows = rows[np.sort(np.random.RandomState(0).permutation(len(rows))[:n_rows])]
    return np.asarray(rows)


def in_memory(rows: Table) -> np.ndarray:
    """All rows of an array, some rows of a stream."""
    return rows if isinstance(rows, np.ndarray) else some(rows)


def missing_columns(misses_cells: np.ndarray) -> bool | list[bool]:
    """The architecture's missing_indicator for columns with missing cells."""
    return misses_cells.tolist() if misses_cells.any() else False


def patience(n_steps: int) -> int:
    """Resolve n_iter_no_change=None for epochs of ``n_steps`` steps."""
    return min(MAX_PATIENCE, max(MIN_PATIENCE, math.ceil(PATIENCE_IN_STEPS / n_steps)))
