"""What all faces share: arrays become tensors here alone; seeds, devices, state, and the way to the engine."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor, nn

from skdgm import training
from skdgm._sklearn_compat import (
    CallbackSupportMixin,
    Interval,
    RealNotInt,
    StrOptions,
    _fit_context,
    validate_data,
)
from skdgm.distributions import RowNoise
from skdgm.likelihoods import LIKELIHOODS
from skdgm.networks import ACTIVATIONS
from skdgm.sources import Corrupted, OnDisk, Resident, SampledBinary, Source

# Rows are predicted in zero-padded chunks of one size: float32 products depend on a batch's shape in the last bits, and
# a row's result must not depend on its neighbours.
CHUNK = 512
# Importance-weighted bounds hold n_importance_samples draws per row at once.
MAX_DRAWS_PER_CHUNK = 4096
NOISE_TAPE = 1 << 20
# Rows that take more float32 bytes than this are read from where they lie, block by block.
RESIDENT_BYTES = 4 << 30
# Rows of a batch and units of a layer, at least, for bfloat16 to pay for its conversions.
MIN_BFLOAT16 = 256
# Standardised values are cut here, so that their squares stay finite in float32.
MAX_STANDARDIZED = 1e6
ALL_LIKELIHOODS = ["auto", *LIKELIHOODS]

NoisyFunction = Callable[[Tensor, RowNoise, Tensor | None], Tensor]


def fitting(method: Callable) -> Callable:
    """Decorate ``fit``: parameters are validated, callbacks torn down, and a failure leaves the estimator as it was."""

    @functools.wraps(method)
    def fit(self: DeepGenerative, *args: Any, **kwargs: Any) -> DeepGenerative:
        with unchanged_on_error(self):
            return method(self, *args, **kwargs)

    return _fit_context(prefer_skip_nested_validation=True)(fit)


@contextmanager
def unchanged_on_error(estimator: BaseEstimator):  # type: ignore[no-untyped-def]
    """Give an estimator its old attributes back when the body fails."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        callbacks = {name: value for name, value in vars(estimator).items() if "callback" in name}
        vars(estimator).clear()
        vars(estimator).update(before | callbacks)  # scikit-learn still has to tear its callbacks down
        raise


def like_input(method: Callable) -> Callable:
    """Decorate a method of X: for a tensor it answers with a tensor on that tensor's device."""

    @functools.wraps(method)
    def answer(self: DeepGenerative, X: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, as_host_array(X), *args, **kwargs)
        if isinstance(result, tuple):
            return tuple(like(X, part) for part in result)
        return like(X, result)

    return answer


def like(X: Any, result: Any) -> Any:
    """Numbers as a tensor on the device of X, where that is one; else as they are."""
    if isinstance(X, Tensor) and isinstance(result, np.ndarray) and result.dtype.kind in "fiub":
        return torch.as_tensor(result, device=X.device)
    return result


def as_host_array(X: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    if not isinstance(X, Tensor):
        return X
    return (X.float() if X.dtype == torch.bfloat16 else X).detach().cpu().numpy()  # numpy has no bfloat16


class KeepsFloatType:
    """Mixin, left of TransformerMixin: float32 X gives float32 features."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class DeepGenerative(CallbackSupportMixin, BaseEstimator):
    """Abstract base of the estimators that train a module.

    A face says which module it wants (``_build``), and gives the engine terms; all else about arrays, devices, seeds
    and state is here.
    """

    _doc_link_module = "skdgm"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": [Interval(Integral, 1, None, closed="left"), tuple, list, np.ndarray],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "likelihood": [StrOptions(set(ALL_LIKELIHOODS))],
        "weight_prior": [Interval(Real, 0, None, closed="neither"), None],
        "warmup": [Interval(Integral, 0, None, closed="left"), Interval(RealNotInt, 0, 1, closed="both")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "learning_rate": [StrOptions(set(training.LEARNING_RATES))],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "device": [str],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "random_state": ["random_state"],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
    }

    _missing_cells_allowed: ClassVar[bool] = False

    module_: Any
    likelihood_: str
    device_: str
    history_: Any
    validation_scores_: Any
    _columns: Columns
    _architecture: dict[str, Any]

    # --- abstract -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _build(self, architecture: dict[str, Any], rng: Generator | None) -> nn.Module:
        """Make the module from plain values; used by ``fit`` and when a pickle opens."""

    # --- X is an array, x is a tensor ---------------------------------------------------------------------------

    def _read(self, X: Any, *, reset: bool = False) -> np.ndarray:
        """Validate X; float32 stays, all else becomes float64. NaN marks a missing cell where those are allowed."""
        finite = "allow-nan" if self._missing_cells_allowed else True
        X = validate_data(self, as_host_array(X), reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=finite)
        if reset and self._missing_cells_allowed:
            check_no_empty_column(X, getattr(self, "feature_names_in_", None), type(self).__name__)
        return X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._missing_cells_allowed
        return tags

    def _choose_likelihood(self, X: np.ndarray) -> None:
        """Set ``likelihood_`` and the units that go with it; a warm start keeps those of the first fit."""
        if self.warm_start and hasattr(self, "module_"):
            wanted = self.likelihood_ if self.likelihood == "auto" else self.likelihood
            check_same_architecture({"likelihood": self.likelihood_}, {"likelihood": wanted}, type(self).__name__)
            self._columns.check_density_range(X)
            return
        self.likelihood_ = resolve_likelihood(self.likelihood, X)
        self._columns = Columns.of(X, self.likelihood_)

    def _to_tensors(self, X: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Rows as the module reads them, on the device, and which of their cells are observed; None for all."""
        x = self._columns.inside(X)
        if not np.isnan(x.sum()):  # a pass without a mask of its own: most rows miss nothing
            return torch.from_numpy(x).to(self.device_), None
        observed = ~np.isnan(x)
        return torch.from_numpy(np.where(observed, x, 0)).to(self.device_), torch.from_numpy(observed).to(self.device_)

    def _source(self, X: np.ndarray, y: Tensor | None = None, weight: Tensor | None = None) -> Source:
        """Training rows: on the device where they fit, else read from where they lie."""
        if X.size * 4 <= RESIDENT_BYTES:
            return self._sampled(Resident(*self._to_tensors(X), y, weight))
        return self._sampled(OnDisk(X, self._to_tensors, torch.device(self.device_), y, weight))

    def _sampled(self, source: Source) -> Source:
        return SampledBinary(source) if self.binarize and self.likelihood_ == "bernoulli" else source

    # --- from the engine's side ---------------------------------------------------------------------------------

    def _start(self) -> np.random.RandomState:
        """Choose the device, and the seed that everything random in this fit comes from."""
        self.device_ = resolve_device(self.device)
        return check_random_state(self.random_state)

    def _generator(self, random: np.random.RandomState, device: str | None = None) -> Generator:
        return Generator(device or self.device_).manual_seed(int(random.randint(np.iinfo(np.int32).max)))

    def _new_module(self, architecture: dict[str, Any], random: np.random.RandomState) -> nn.Module:
        """Make the module, or go on from the last fit's weights under ``warm_start``."""
        previous = getattr(self, "module_", None) if self.warm_start else None
        rng = self._generator(random, "cpu")  # weights are drawn on the CPU: the same on every device
        module = self._build(architecture, rng).to(self.device_)
        if previous is not None:
            check_same_architecture(self._architecture, architecture, type(self).__name__)
            module.load_state_dict(previous.state_dict(), strict=False)  # weights of missing cells may be new
        self._architecture = architecture
        self._noise_seed = int(random.randint(np.iinfo(np.int32).max))
        return module

    def _settings(self, n_rows: int, sizes: Sequence[int] | None = None) -> training.Settings:
        """How to train on so many rows a module with layers of these sizes, ``hidden_layer_sizes`` for None."""
        return training.Settings(
            max_iter=self.max_iter,
            learning_rate_init=self.learning_rate_init,
            learning_rate=self.learning_rate,
            warmup=round(self.warmup * (1 if isinstance(self.warmup, Integral) else self.max_iter)),
            weight_prior=self.weight_prior,
            n_rows=n_rows,
            precision=self._chosen_precision(n_rows, sizes or layer_sizes(self.hidden_layer_sizes)),
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
        )

    def _chosen_precision(self, n_rows: int, sizes: Sequence[int]) -> str:
        """For "auto": bfloat16 where the device multiplies it, for products that are large enough to gain by it."""
        if self.precision != "auto":
            return self.precision
        smallest = min([self._batch_size(n_rows), *sizes])
        return "bfloat16" if smallest >= MIN_BFLOAT16 and multiplies_bfloat16(self.device_) else "float32"

    def _batch_size(self, n_rows: int) -> int:
        """Rows per step; "auto" takes some 12 steps per epoch, of 32 to 500 rows."""
        auto = min(500, max(32, n_rows // 12))
        return min(n_rows, auto if self.batch_size == "auto" else self.batch_size)

    def _train(
        self,
        terms: Sequence[training.Term],
        random: np.random.RandomState,
        n_rows: int,
        epochs: EpochTasks,
        watched: training.Term | None = None,
    ) -> None:
        """Run the engine on ``module_`` and keep what it leaves."""
        history = self._run_engine(self.module_, terms, self._settings(n_rows), random, epochs, watched)
        self.history_ = history.epochs
        self.loss_curve_ = [-bound for bound in history.epochs["bound"]]
        self.validation_scores_ = history.validation or None
        self.n_iter_ = len(self.loss_curve_)

    def _run_engine(
        self,
        module: nn.Module,
        terms: Sequence[training.Term],
        settings: training.Settings,
        random: np.random.RandomState,
        epochs: EpochTasks,
        watched: training.Term | None = None,
        rate_name: str = "learning_rate_init",
    ) -> training.History:
        """Train a module in place; it comes back in evaluation mode."""
        module.train().requires_grad_(True)
        try:
            return training.train(
                module,
                terms,
                settings,
                self._generator(random),
                watched=watched,
                before_epoch=epochs.begin,
                on_epoch=epochs.end,
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
        """Sorted places of the rows to train on and of those to watch: none without early_stopping, or ``wanted``."""
        if not (self.early_stopping if wanted is None else wanted) or n_rows < 2:
            return np.arange(n_rows), np.arange(0)
        n_watched = min(n_rows - 1, max(1, round(self.validation_fraction * n_rows)))
        shuffled = random.permutation(n_rows)
        return np.sort(shuffled[n_watched:]), np.sort(shuffled[:n_watched])

    # --- prediction ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _apply(
        self, function: Callable[[Tensor, Tensor | None], Tensor], X: np.ndarray, chunk: int = CHUNK
    ) -> np.ndarray:
        """Apply a function of (x, observed) chunk by chunk; a row's result is the same in every company, to the bit."""
        parts = []
        for start in range(0, len(X), chunk):
            rows = X[start : start + chunk]
            x, observed = self._to_tensors(rows)
            mask = None if observed is None else padded(observed, chunk)
            parts.append(function(padded(x, chunk), mask)[: len(rows)].cpu().numpy())
        return np.concatenate(parts)

    def _apply_with_noise(self, function: NoisyFunction, X: np.ndarray, n_draws: int) -> np.ndarray:
        """As ``_apply``, for a function of (x, noise, observed): the fit's seed and a row's bytes fix its noise."""
        tape = torch.randn(NOISE_TAPE, generator=Generator().manual_seed(self._noise_seed)).to(self.device_)
        return self._apply(lambda x, observed: function(x, RowNoise(tape, x), observed), X, chunk_of(n_draws))

    def _feature_dtype(self, X: np.ndarray) -> type:
        return np.float32 if X.dtype == np.float32 else np.float64

    def _densities(self, X: Any, function: NoisyFunction, n_draws: int) -> np.ndarray:
        """Log-densities of X in its own units, from those of the standardised rows."""
        X = self._columns.check_density_range(self._read(X))
        return self._apply_with_noise(function, X, n_draws).astype(np.float64) - self._columns.log_scale(~np.isnan(X))

    def _read_codes(self, Z: Any) -> np.ndarray:
        """Validate codes: as many columns as ``transform`` gives."""
        Z = check_array(as_host_array(Z), dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, {type(self).__name__} has codes of {self._n_features_out}. Give codes as "
                "transform returns them."
            )
        return Z

    @torch.no_grad()
    def _decode(self, Z: np.ndarray, function: Callable[..., Tensor], *labels: np.ndarray) -> np.ndarray:
        """Decode codes, chunk by chunk, to rows in the units of X; ``labels`` run along."""
        parts = []
        for start in range(0, len(Z), CHUNK):
            part = slice(start, start + CHUNK)
            z = torch.from_numpy(Z[part].astype(np.float32)).to(self.device_)
            rest = (torch.from_numpy(label[part]).to(self.device_) for label in labels)
            parts.append(function(z, *rest).cpu().numpy())
        return self._columns.outside(np.concatenate(parts)).astype(self._feature_dtype(Z))

    @torch.no_grad()
    def _draw(self, n_samples: int, function: Callable[[], Tensor]) -> np.ndarray:
        """Rows that the module draws, in the units of X."""
        check_n_samples(n_samples)
        return self._columns.outside(function().cpu().numpy().astype(np.float64))

    # --- state --------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Weights as numpy arrays: a pickle holds no torch object and no device."""
        state = dict(super().__getstate__())
        if "module_" in state:
            state["module_"] = {name: value.cpu().numpy() for name, value in self.module_.state_dict().items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "module_" in state:
            self.device_ = available_device(self.device)
            module = self._build(self._architecture, Generator())  # not the global one; the draws are overwritten
            module.load_state_dict({name: torch.tensor(value) for name, value in state["module_"].items()})
            self.module_ = module.to(self.device_).eval().requires_grad_(False)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def _check_fitted(self) -> None:
        check_is_fitted(self)


class EpochTasks:
    """The bridge to scikit-learn's callbacks: one task per epoch, each of which may ask to stop."""

    def __init__(
        self,
        estimator: DeepGenerative,
        context: Any,
        X: Any,
        y: Any = None,
        *,
        part: str = "",
        n_epochs: int | None = None,
    ) -> None:
        self.estimator, self.context, self.data = estimator, context, {"X": X, "y": y}
        self.title, self.n_epochs = type(estimator).__name__ + part, n_epochs or estimator.max_iter
        self.task: Any = None

    def begin(self, epoch: int) -> None:
        """Tell the callbacks that an epoch begins."""
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, epoch: int, history: training.History) -> bool:
        """Tell the callbacks that it ended; whether one of them asks to stop."""
        if self.estimator.verbose:
            watched = f", watched bound {history.validation[-1]:.4f}" if history.validation else ""
            bound = history.epochs["bound"][-1]
            print(f"{self.title} epoch {epoch + 1}/{self.n_epochs}: bound {bound:.4f}{watched}")
        return self.task.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes=dict)


def check_n_samples(n_samples: Any) -> None:
    """Raise unless ``n_samples`` is a positive int."""
    if not isinstance(n_samples, Integral) or n_samples < 1:
        raise ValueError(f"n_samples must be an int >= 1, got {n_samples!r}. Ask for at least one row.")


def resolve_likelihood(likelihood: str, X: np.ndarray) -> str:
    """Choose for "auto": bernoulli if all X lie in [0, 1] and at least a third of the cells are exactly 0 or 1."""
    if likelihood != "auto":
        return likelihood
    in_range = np.nanmin(X) >= 0 and np.nanmax(X) <= 1
    n_observed = X.size - np.isnan(X).sum()
    return "bernoulli" if in_range and np.isin(X, (0, 1)).sum() >= n_observed / 3 else "gaussian"


@dataclass(frozen=True)
class Columns:
    """The units of X: how a row looks inside a module, and back.

    Attributes
    ----------
    likelihood : str
    center, scale : ndarray of float64 of shape (n_columns,), or None
        None where the likelihood takes X as it is.
    """

    likelihood: str
    center: np.ndarray | None = None
    scale: np.ndarray | None = None

    @classmethod
    def of(cls, X: np.ndarray, likelihood: str) -> Columns:
        """Units of training rows; raises where they lie outside the likelihood's range."""
        if LIKELIHOODS[likelihood].standardize:
            return cls(likelihood, *center_and_scale(X))
        units = cls(likelihood)
        units.check_density_range(X)
        return units

    def check_density_range(self, X: np.ndarray) -> np.ndarray:
        """Give X back if it has a density here. Recognition alone takes any finite row."""
        low, high = np.nanmin(X, initial=np.inf), np.nanmax(X, initial=-np.inf)
        if self.center is None and (low < 0 or high > 1):
            raise ValueError(
                f"likelihood={self.likelihood!r} needs X in [0, 1], got values in [{low:.4g}, {high:.4g}]. Scale X "
                "(MinMaxScaler(clip=True)) or use likelihood='gaussian'."
            )
        return X

    def inside(self, X: np.ndarray) -> np.ndarray:
        """Rows as a module reads them: standardised in float64, then float32."""
        x = X if self.center is None else (X - self.center) / self.scale
        return np.clip(x, -MAX_STANDARDIZED, MAX_STANDARDIZED, out=np.empty(x.shape, np.float32), casting="same_kind")

    def outside(self, x: np.ndarray) -> np.ndarray:
        """Decoded rows in the units of X."""
        return x if self.center is None or self.scale is None else x * self.scale + self.center

    def log_scale(self, observed: np.ndarray) -> np.ndarray | float:
        """What standardising adds to a row's log-density by its observed cells: log p(X) = log p(x) - log_scale."""
        return 0.0 if self.scale is None else (observed * np.log(self.scale)).sum(1)


def center_and_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the columns' observed cells in float64; 1 for a column that never varies."""
    X = X.astype(np.float64, copy=False)
    missing = bool(np.isnan(X).any())
    mean, high, low = (np.nanmean, np.nanmax, np.nanmin) if missing else (np.mean, np.max, np.min)
    center, least = mean(X, 0), low(X, 0)
    spread = high(np.abs(X - center), 0)
    still = (high(X, 0) == least) | (spread <= 10 * np.finfo(np.float64).eps * np.abs(center))
    center = np.where(still, least, center)  # the mean of equal values is rounded
    spread = np.where(still, 1.0, spread)
    scale = spread * np.sqrt(mean(((X - center) / spread) ** 2, 0))  # by the spread first: squares of 1e200 overflow
    return center, np.where(still, 1.0, scale)


def chunk_of(n_draws: int) -> int:
    """Rows predicted together where each draws so often."""
    n_rows = max(16, MAX_DRAWS_PER_CHUNK // n_draws)
    return min(CHUNK, 1 << (n_rows.bit_length() - 1))  # a power of 2: no odd rows at a vector's end


def padded(rows: Tensor, length: int) -> Tensor:
    """Rows with rows of zeros behind them, ``length`` in all; True for False in a mask, so that none is empty."""
    fill = rows.new_full((length - len(rows), rows.shape[1]), rows.dtype == torch.bool)
    return torch.cat([rows, fill]) if len(fill) else rows


def check_no_empty_column(X: np.ndarray, names: np.ndarray | None, owner: str) -> None:
    """Raise for a column without any value."""
    empty = np.flatnonzero(np.isnan(X).all(0))
    if len(empty):
        named = [repr(names[place]) if names is not None else str(place) for place in empty]
        raise ValueError(
            f"X has {len(empty)} column(s) missing in every row: {', '.join(named[:10])}. {owner} cannot learn what it "
            "never sees. Drop them, or give rows that hold a value there."
        )


def with_input_noise(source: Source, kind: str | None, level: float, likelihood: str) -> Source:
    """Training rows of which recognition reads a noisy copy; "auto" flips bits of binary rows, and blurs real ones."""
    if kind is None:
        return source
    if kind == "auto":
        kind = "flip" if likelihood == "bernoulli" else "gaussian"
    if kind == "flip" and likelihood != "bernoulli":
        raise ValueError(
            f"input_noise='flip' turns x into 1 - x and needs the Bernoulli likelihood, got {likelihood!r}. "
            "Use input_noise='gaussian' or 'dropout'."
        )
    if kind != "gaussian" and level >= 1:
        raise ValueError(
            f"input_noise_level must be a share of cells in (0, 1) for input_noise={kind!r}, got "
            f"{level!r}. Use for example 0.1."
        )
    return Corrupted(source, kind, level)


def resolve_device(device: str) -> str:
    """The device that a parameter names; "auto" is the first GPU, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} is not available here ({str(error).splitlines()[0]}). Use device='cpu', or 'auto' for "
            "a GPU where there is one."
        ) from error
    return str(torch.device(device))


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device has units for products in bfloat16. Without them they are slower than in float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def available_device(device: str) -> str:
    """As ``resolve_device``, and the CPU where there is no such device: a model from a GPU opens anywhere."""
    try:
        return resolve_device(device)
    except ValueError:
        return "cpu"


def check_same_architecture(old: dict[str, Any], new: dict[str, Any], name: str) -> None:
    """Raise unless a warm start finds the module it left."""
    changed = [key for key in new if old.get(key) != new[key] and key != "told_missing"]  # those weights begin at 0
    if changed:
        raise ValueError(
            f"warm_start=True goes on from the last fit, but {', '.join(changed)} changed since: {name} had "
            f"{[old.get(key) for key in changed]}, wanted {[new[key] for key in changed]}. Use warm_start=False."
        )


def layer_sizes(given: Any, name: str = "hidden_layer_sizes") -> list[int]:
    """Layer sizes as a list; an int is one layer."""
    sizes = list(np.atleast_1d(np.asarray(given, dtype=object)))
    bad = [size for size in sizes if not isinstance(size, Integral) or isinstance(size, bool) or size < 1]
    if bad:
        raise ValueError(f"{name} must hold integers >= 1, got {bad[0]!r}. Use for example (50,) or 50.")
    return [int(size) for size in sizes]
