"""The training engine: maximize a weighted sum of bounds by stochastic gradients, for any model.

A fit is a list of terms (source, weight, bound per row); the loss is minus the weighted sum of their means. An epoch
has ``n_steps`` steps or, by default, one pass over the longest source; shorter sources repeat. Nothing in an epoch
waits for the device, except for a step that is recorded (see ``step_graphs``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

from skdgm.averaging import Progress, WeightAverage
from skdgm.distributed._processes import current
from skdgm.distributed._sums import reduce_gradient, sum_over_processes
from skdgm.optimizer import Adam, ParameterVector, value_of_longest_prefix
from skdgm.sources import Batch, Source
from skdgm.step_graphs import CudaRecorder, StepGraphs, can_record
from skdgm.training_state import Resumption, SnapshotStore, Stateful, stateful_among

MAX_ROLLBACKS = 3
# Beyond these standard deviations, a prior on weights means "all are 0" or nothing, and its penalty would overflow.
SMALLEST_PRIOR, LARGEST_PRIOR = 1e-9, 1e9
# How often, and by what factor, the learning rate is cut when the validation bound has stopped rising.
MAX_REDUCTIONS, RATE_FACTOR = 1, 0.3
# The bound still rises if its mean over a fifth of the epochs at full rate exceeds that over the fifth before by this
# many nats per row, or by this share of its absolute value, whichever is more.
SHARE_COMPARED, RISE_IN_NATS, RELATIVE_RISE = 0.2, 0.1, 0.01
# The numbers of an epoch's steps are kept in blocks of so many steps.
STEPS_PER_BLOCK = 4096


class BoundTerms(Protocol):
    """A bound per row in its named terms."""

    def total(self, kl_weight: float | Tensor) -> Tensor:
        """The bound, with its KL weighted by ``kl_weight``."""
        ...

    def _asdict(self) -> dict[str, Any]: ...


# Returns BoundTerms, or a Tensor of shape (n,). An objective without a bound writes the gradients of the loss itself,
# and returns a monitored value without gradient.
Objective = Callable[[Batch, Generator | None], Any]


@dataclass(frozen=True, eq=False)
class Joint:
    """An objective of several terms, next to each other: ``values`` takes their batches and returns their values.

    The networks see the rows of all terms in one pass.
    """

    values: Callable[[Sequence[Batch], Generator | None], Sequence[Any]]


@dataclass(frozen=True)
class Term:
    """One part of the objective: ``weight`` times the mean of ``objective`` over rows.

    ``name`` is the prefix of its entries in the history; with None there are none. In the history's bound the term has
    weight ``history_weight``; None means ``weight``, and 0 is for terms that are not part of the bound.
    """

    name: str | None
    source: Source
    objective: Objective | Joint
    weight: float
    batch_size: int
    history_weight: float | None = None

    @property
    def weight_in_bound(self) -> float:
        """Weight of the term in the history's bound."""
        return self.weight if self.history_weight is None else self.history_weight


@dataclass(frozen=True)
class Settings:
    """How to train; names are those of the estimators' parameters.

    The keys of ``penalties`` and ``rate_factors`` are prefixes of parameter names; the longest matching key applies. A
    penalty adds 0.5 penalty ||w||^2 to the loss and replaces the one from ``weight_prior``; a rate factor multiplies
    the learning rate. An epoch has ``n_steps`` steps, or as many as a pass over the longest source takes. With
    ``reduce_rate_on_plateau``, training continues at a lower rate when the validation bound has stopped rising. With
    ``n_averaged``, a moving average of the weights over about as many steps is validated and returned. ``kl_warmup`` is
    in epochs.
    """

    max_iter: int
    learning_rate_init: float
    learning_rate: str = "linear"
    kl_warmup: float = 0
    weight_prior: float | None = None
    n_rows: int = 1
    penalties: Mapping[str, float] = field(default_factory=dict)
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    precision: str = "float32"
    tol: float = 1e-4
    n_iter_no_change: int = 10
    n_steps: int | None = None
    reduce_rate_on_plateau: bool = False
    n_averaged: int = 0

    def rate(self, epochs: float) -> float:
        """Learning rate after this many epochs, and fractions of an epoch."""
        return self.learning_rate_init * LEARNING_RATES[self.learning_rate](epochs / self.max_iter)

    @property
    def n_epochs_at_full_rate(self) -> int:
        """Number of epochs before the schedule lowers the learning rate markedly."""
        return self.max_iter if self.learning_rate == "constant" else self.max_iter // 2

    def penalty(self, name: str) -> float:
        """L2 penalty of a weight matrix; a normal prior on weights gives 1 / (sd^2 N) for a loss per row."""
        sd = None if self.weight_prior is None else min(max(self.weight_prior, SMALLEST_PRIOR), LARGEST_PRIOR)
        prior = 0.0 if sd is None else 1.0 / (sd**2 * self.n_rows)
        return value_of_longest_prefix(self.penalties, name, prior)

    def kl_weight(self, epochs: float) -> float:
        """Weight of the KL after this many epochs, and fractions of an epoch: it rises to 1 over ``kl_warmup``."""
        return min(1.0, epochs / self.kl_warmup) if self.kl_warmup else 1.0


LEARNING_RATES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: min(1.0, max(2 * (1 - done), 0.01)),
    "cosine": lambda done: max(0.5 * (1 + math.cos(math.pi * done)), 0.01),
}


class LearningRateSchedule:
    """The learning rate: its schedule, cut when the validation bound has stopped rising or numbers are not finite."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.factor = settings, 1.0
        self.max_reductions = self.n_reductions = MAX_REDUCTIONS if settings.reduce_rate_on_plateau else 0

    def rate(self, epochs: float) -> float:
        """Learning rate after this many epochs, and fractions of an epoch."""
        return self.factor * self.settings.rate(epochs)

    def reduce(self) -> bool:
        """Lower the rate for the rest of the fit; return False if no cuts are left."""
        self.n_reductions -= 1
        self.factor *= RATE_FACTOR
        return self.n_reductions >= 0

    @property
    def is_reduced(self) -> bool:
        """Whether the bound had stopped rising, and the rate was reduced."""
        return self.n_reductions < self.max_reductions

    def halve(self) -> None:
        """Halve the rate for the rest of the fit, after an epoch with non-finite numbers."""
        self.factor /= 2


@dataclass
class History:
    """Record of a fit: the means of all terms per epoch, and the validation bound if there is one.

    ``final_rise`` is by how many nats per row the bound still rose when training reached ``max_iter``, within a fifth
    of the epochs at full rate; 0 if it had settled, or if training ended earlier.
    """

    terms: dict[str, list[float]] = field(default_factory=dict)
    validation: list[float] = field(default_factory=list)
    final_rise: float = 0.0

    def add(self, record: dict[str, float]) -> None:
        """Append one epoch."""
        for name, value in record.items():
            self.terms.setdefault(name, []).append(value)


class NonFiniteError(ValueError):
    """Training repeatedly produced infinite or undefined numbers."""


def train(
    module: nn.Module,
    terms: Sequence[Term],
    settings: Settings,
    rng: Generator | None,
    *,
    validation: Term | None = None,
    before_epoch: Callable[[int], None] = lambda epoch: None,
    on_epoch: Callable[[int, History], bool] = lambda epoch, history: False,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    store: SnapshotStore | None = None,
    stateful: Sequence[Stateful] = (),
) -> History:
    """Maximize the terms over the module's parameters, in place.

    Parameters
    ----------
    module : nn.Module
    terms : sequence of Term
    settings : Settings
    rng : Generator or None
        Shuffles the rows and draws the noise.
    validation : Term or None
        Held-out rows. When their bound has not grown by ``tol`` for ``n_iter_no_change`` epochs, the weights of the
        best epoch are restored. Training then ends or, with ``reduce_rate_on_plateau``, continues at a lower rate.
    before_epoch : callable
        Called before each epoch.
    on_epoch : callable
        Called after each epoch, with the averaged weights; training stops when it returns True.
    interrupted : callable
        Called before each step; training stops when it returns True, and discards the epoch that is not complete.
    progress : Progress or None
        Training continues from there, and stores where it ends; for training without held-out rows.
    store : SnapshotStore or None
        Training continues from its last snapshot, and saves more of them; an interrupted training is not complete.
    stateful : sequence of Stateful
        What ``before_epoch`` changes beside the module; a part of the snapshots, as objectives with a state are.

    Returns
    -------
    History

    Raises
    ------
    NonFiniteError
        If the fit needs more than ``MAX_ROLLBACKS`` rollbacks.
    KeyboardInterrupt
        If training is interrupted in the first epoch.
    """
    trainer, history = Trainer(module, terms, settings, rng, interrupted, progress), History()
    stateful = [*stateful, *stateful_among(term.objective for term in terms)]
    resumption = Resumption(store, trainer, history, stateful)
    try:
        epoch = resumption.begin()
        if resumption.is_complete:
            return history
        run_epochs(trainer, history, epoch, validation, before_epoch, on_epoch, resumption.epoch_ended)
        if progress is not None:
            progress.store(trainer.average, trainer.adam)
        if validation is not None:
            trainer.stopping.restore()
        else:
            trainer.average.load()
    finally:
        trainer.release()
    if not interrupted():
        resumption.training_ended()
    return history


def run_epochs(
    trainer: Trainer,
    history: History,
    epoch: int,
    validation: Term | None,
    before_epoch: Callable[[int], None],
    on_epoch: Callable[[int, History], bool],
    epoch_ended: Callable[[int], None],
) -> None:
    """Train from ``epoch`` to the end of ``train``; ``epoch_ended`` is called last if training goes on."""
    settings, stopping = trainer.settings, trainer.stopping
    while epoch < settings.max_iter:
        before_epoch(epoch)
        record = trainer.finite_epoch(epoch)
        if record is None:
            trainer.rollback.discard_epoch(epoch)
            break
        history.add(record)
        with trainer.average.applied():
            if validation is not None:
                history.validation.append(validation_bound(trainer.module, validation, trainer.rng))
                stopping.update(epoch, history.validation[-1])
            is_stopped = on_epoch(epoch, history)
        if is_stopped or trainer.interrupted():
            break
        epoch += 1
        if validation is not None and stopping.is_stale(epoch - 1) and not trainer.goes_on_at_lower_rate(epoch):
            break
        epoch_ended(epoch)
    if epoch == settings.max_iter and not trainer.schedule.is_reduced:
        history.final_rise = rise_at_full_rate(history.validation or history.terms["bound"], settings)


def rise_at_full_rate(bounds: Sequence[float], settings: Settings) -> float:
    """By how much the bound rose within the last fifth of the epochs at full rate; 0 if that is not clearly a rise."""
    at_full_rate = bounds[: settings.n_epochs_at_full_rate]
    n = max(1, round(SHARE_COMPARED * len(at_full_rate)))
    if len(at_full_rate) < 2 * n:
        return 0.0
    last, before = at_full_rate[-n:], at_full_rate[-2 * n : -n]
    rise = (math.fsum(last) - math.fsum(before)) / n
    return rise if rise > max(RISE_IN_NATS, RELATIVE_RISE * abs(last[-1])) else 0.0


@contextmanager
def subnormals_flushed() -> Iterator[None]:
    """Treat subnormal numbers as 0 on this thread, and restore its mode at the end.

    Gradients of rows whose class is certain shrink below 1e-38, where a CPU multiplies many times more slowly: late
    epochs of an M2 took five times as long as early ones.
    """
    smallest = torch.tensor(torch.finfo(torch.float32).tiny)
    already = bool(smallest * 0.5 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


class Trainer:
    """What epochs change: weights, their average, the optimizer, the learning rate; arguments as in ``train``."""

    def __init__(
        self,
        module: nn.Module,
        terms: Sequence[Term],
        settings: Settings,
        rng: Generator | None,
        interrupted: Callable[[], bool],
        progress: Progress | None,
    ) -> None:
        self.module, self.terms, self.settings, self.rng, self.interrupted = module, terms, settings, rng, interrupted
        self.parameters = ParameterVector(module)
        self.average = WeightAverage(self.parameters.values, settings.n_averaged)
        self.adam = Adam(self.parameters, settings)
        if progress is not None:
            progress.apply(self.average, self.adam)
        self.rollback = Rollback(module, self.average)
        self.stopping = EarlyStopping(module, settings)
        self.schedule = LearningRateSchedule(settings)
        self.graphs: StepGraphs | None = None
        if current() is None and can_record(module):
            device = self.parameters.values.device
            self.graphs = StepGraphs(self.step, CudaRecorder(device, rng), device)

    def finite_epoch(self, epoch: int) -> dict[str, float] | None:
        """Train for one epoch, again at half the rate as long as numbers are not finite; None if interrupted."""
        with subnormals_flushed():
            while True:
                record = self.epoch(epoch)
                if record is None or self.rollback.accepts(record):
                    return record
                self.rollback.restore(epoch, self.schedule.rate(epoch))
                self.schedule.halve()
                self.adam.reset()

    def epoch(self, epoch: int) -> dict[str, float] | None:
        """Train for one epoch, and return the mean of every term, or None as soon as training is interrupted."""
        means, settings = Means(), self.settings
        n_steps = settings.n_steps or max(map(n_batches, self.terms))
        take_step = self.graphs or self.step
        for index, batches in enumerate(iterate_batches(self.terms, self.rng, n_steps)):
            if self.interrupted():
                return None
            kl_weight = settings.kl_weight(epoch + (index + 1) / n_steps)
            rate, share = self.schedule.rate(epoch + index / n_steps), self.average.next_share()
            means.add_step(take_step(batches, kl_weight, rate, share))
        return means.read()

    def step(
        self, batches: Sequence[Batch], kl_weight: float | Tensor, rate: float | Tensor, share: float | Tensor
    ) -> dict[str, Tensor]:
        """Take a step, whose weights get this share in the average; return the means of the terms."""
        means: dict[str, Tensor] = {}
        try:
            loss = step(self.terms, batches, self.settings, self.rng, kl_weight, means)
            if loss.requires_grad:  # else the objective has written the gradients itself
                loss.backward()
        except BaseException:
            self.parameters.discard_gradient()  # another attempt would add to it
            raise
        self.parameters.collect_gradient()
        reduce_gradient(self.parameters.gradient)
        self.parameters.clip_gradient()
        self.adam.step(rate)
        self.average.update(share)
        return means

    def release(self) -> None:
        """Free what belongs to training only."""
        self.parameters.release()
        if self.graphs is not None:
            self.graphs = None  # it refers to this object, too
            torch.cuda.empty_cache()  # nothing else can use the memory of graphs

    def goes_on_at_lower_rate(self, epoch: int) -> bool:
        """Return to the best weights and lower the rate, if it may be lowered once more."""
        if not self.schedule.reduce():
            return False
        self.stopping.restore()
        self.average.restart()
        self.rollback.keep()
        self.stopping.last_gain = epoch
        return True


def step(
    terms: Sequence[Term],
    batches: Sequence[Batch],
    settings: Settings,
    rng: Generator | None,
    kl_weight: float | Tensor,
    means: dict[str, Tensor],
) -> Tensor:
    """The loss of one step: minus the weighted sum of the terms' means. The minus sign is only in this function.

    It adds the means to ``means``, without gradients.
    """
    objective = bound = torch.zeros((), device=batches[0].x.device)
    with linear_layers_in(settings.precision, batches[0].x.device.type):
        values = evaluate(terms, batches, rng)
    for term, batch, value in zip(terms, batches, values, strict=True):
        objective = objective + term.weight * row_mean(total_bound(value, kl_weight), batch.weight)
        if term.weight_in_bound:
            with torch.no_grad():
                bound = bound + term.weight_in_bound * row_mean(total_bound(value), batch.weight)
        if term.name is not None:
            means |= means_of(term.name, value, batch.weight)
    means["bound"] = bound
    if settings.kl_warmup or any(term.history_weight is not None for term in terms):
        means["objective"] = objective.detach()
    return -objective


def evaluate(terms: Sequence[Term], batches: Sequence[Batch], rng: Generator | None) -> list[Any]:
    """The values of the objectives, one per term."""
    values: list[Any] = []
    for objective, group in groupby(zip(terms, batches, strict=True), key=lambda pair: pair[0].objective):
        of_group = [batch for _, batch in group]
        if isinstance(objective, Joint):
            values += objective.values(of_group, rng)
        else:
            values += [objective(batch, rng) for batch in of_group]
    return values


def linear_layers_in(precision: str, device: str) -> AbstractContextManager[object]:
    """Autocast linear layers to bfloat16, or leave them in float32."""
    return torch.autocast(device, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def total_bound(value: BoundTerms | Tensor, kl_weight: float | Tensor = 1.0) -> Tensor:
    """The bound per row, from the value of an objective."""
    return value if isinstance(value, Tensor) else value.total(kl_weight)


def row_mean(bound: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over rows of weight times bound. Dividing by the batch's sum of weights would bias the gradient."""
    return bound.mean() if weight is None else (weight * bound).mean()


def means_of(name: str, value: BoundTerms | Tensor, weight: Tensor | None = None) -> dict[str, Tensor]:
    """Means over the rows of a value per row, or of the parts of a bound, which get the prefix ``name``.

    ``weight`` holds the weights of the rows; None means 1.
    """
    if isinstance(value, Tensor):
        return {name: row_mean(value.detach(), weight)}
    parts = value._asdict().items()
    return {f"{name}_{part}" if name else part: row_mean(rows.detach(), weight) for part, rows in parts}


class Means:
    """Means of named terms over an epoch's steps, kept on the device until its end.

    The numbers of a step are a row of a block: a small tensor for each would leave the heap in pieces.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.blocks: list[Tensor] = []
        self.n_steps = 0

    def add_step(self, means: Mapping[str, Tensor]) -> None:
        """Keep the numbers of a step, which has the same names as all others."""
        values, position = torch.stack(list(means.values())), self.n_steps % STEPS_PER_BLOCK
        if not position:
            self.blocks.append(values.new_empty(STEPS_PER_BLOCK, len(values)))
        self.blocks[-1][position] = values
        self.n_steps += 1
        self.names = list(means)

    def read(self) -> dict[str, float]:
        """Synchronize with the device and return the means."""
        means = sum_over_processes(torch.cat(self.blocks)[: self.n_steps].mean(0))
        return dict(zip(self.names, means.tolist(), strict=True))


def iterate_batches(terms: Sequence[Term], rng: Generator | None, n_steps: int | None = None) -> Iterator[list[Batch]]:
    """The batches of an epoch, one per term; terms that share a source see the same rows."""
    streams = {id(term.source): cycle_batches(term, rng) for term in terms}
    for _ in range(n_steps or max(map(n_batches, terms))):
        drawn = {key: next(stream) for key, stream in streams.items()}
        yield [drawn[id(term.source)] for term in terms]


def n_batches(term: Term) -> int:
    """Number of batches of a pass over a term's rows."""
    return math.ceil(term.source.n_rows / term.batch_size)


def cycle_batches(term: Term, rng: Generator | None) -> Iterator[Batch]:
    """Endless batches of a source, reshuffled at each pass; sizes differ by at most one, with no tiny last batch."""
    while True:
        for indices in term.source.order(rng).tensor_split(n_batches(term)):
            yield term.source.rows(indices, rng)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


class Rollback:
    """Discards an epoch with non-finite numbers, which then runs again at half the learning rate."""

    def __init__(self, module: nn.Module, average: WeightAverage) -> None:
        self.module, self.average = module, average
        self.keep()
        self.rollbacks = 0

    def keep(self) -> None:
        """Keep the present weights and their average for ``return_to_kept``."""
        self.last_finite, self.last_average = snapshot(self.module), self.average.state()

    def return_to_kept(self) -> None:
        """Restore the last finite weights and their average."""
        self.module.load_state_dict(self.last_finite)
        self.average.set_state(self.last_average)

    def accepts(self, record: dict[str, float]) -> bool:
        """Whether every mean and every weight is finite; if so, keep these weights."""
        norms = torch.stack([p.detach().norm() for p in self.module.parameters()])
        finite = all(map(math.isfinite, record.values())) and bool(norms.isfinite().all())
        if finite:
            self.keep()
        return finite

    def restore(self, epoch: int, rate: float) -> None:
        """Restore the last finite weights; raise after ``MAX_ROLLBACKS`` of these."""
        self.rollbacks += 1
        if self.rollbacks > MAX_ROLLBACKS:
            raise NonFiniteError(f"the bound is not finite in epoch {epoch + 1} at learning rate {rate:.3g}")
        self.return_to_kept()

    def discard_epoch(self, epoch: int) -> None:
        """Restore the weights of the last complete epoch; raise if there is none."""
        if epoch == 0:
            raise KeyboardInterrupt("training was interrupted before its first epoch was complete")
        self.return_to_kept()


class EarlyStopping:
    """Keeps the best validation bound so far, and its weights."""

    def __init__(self, module: nn.Module, settings: Settings) -> None:
        self.module, self.settings = module, settings
        self.bound, self.last_gain, self.weights = -math.inf, 0, snapshot(module)
        self.reference_bound = -math.inf

    def update(self, epoch: int, bound: float) -> None:
        """Record an epoch's validation bound."""
        if bound > self.bound:
            self.bound, self.weights = bound, snapshot(self.module)
        if bound > self.reference_bound + self.settings.tol:
            self.reference_bound, self.last_gain = bound, epoch

    def is_stale(self, epoch: int) -> bool:
        """Whether the bound has not grown by ``tol`` for ``n_iter_no_change`` epochs, not counting the KL warm-up."""
        return epoch - max(self.last_gain, self.settings.kl_warmup) >= self.settings.n_iter_no_change

    def restore(self) -> None:
        """Restore the best weights."""
        self.module.load_state_dict(self.weights)


@torch.no_grad()
def validation_bound(module: nn.Module, term: Term, rng: Generator | None) -> float:
    """Weighted mean bound of held-out rows in nats, in float32, with the same noise at every call."""
    device = next(module.parameters()).device
    noise = None if rng is None else Generator(device).manual_seed(0)
    parts = torch.arange(term.source.n_rows, device=device).split(term.batch_size)
    bounds, weights = [], []
    for part in parts:
        batch = term.source.rows(part, noise)
        bounds.append(total_bound(*evaluate([term], [batch], noise)))
        weights += [] if batch.weight is None else [batch.weight]
    return sum_over_processes(row_mean(torch.cat(bounds), torch.cat(weights) if weights else None)).item()
