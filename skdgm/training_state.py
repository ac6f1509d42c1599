"""The state of a training between two epochs: all that it needs to continue as if it had not stopped, to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Snapshot(NamedTuple):
    """The state of a training as plain values, which JSON can hold, and tensors by name.

    ``numbers`` has "n_epochs", how many are done, and "is_complete", whether training has ended.
    """

    numbers: dict[str, Any]
    arrays: dict[str, Tensor]


class SnapshotStore(Protocol):
    """Where the snapshots of one training are kept.

    Among several processes that train one model, ``newest`` and ``is_due`` answer alike in all of them, and one
    process writes.
    """

    def newest(self) -> Snapshot | None:
        """Return the last snapshot, None if there is none."""
        ...

    def is_due(self, n_epochs: int) -> bool:
        """Tell whether to save after this many epochs."""
        ...

    def save(self, snapshot: Snapshot) -> None:
        """Keep a snapshot."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """What changes during training beside the module: an objective, or what happens before each epoch."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Come back to a state."""
        ...


class Resumption:
    """Continue a training from the last snapshot in a store, and save snapshots there; without a store, do nothing.

    Parameters
    ----------
    store : SnapshotStore or None
    trainer : Trainer
    history : History
    stateful : sequence of Stateful
        What else changes.
    """

    def __init__(self, store: SnapshotStore | None, trainer: Any, history: Any, stateful: Sequence[Stateful]) -> None:
        self.store, self.trainer, self.history = store, trainer, history
        self.stateful = stateful
        self.is_complete = False

    def begin(self) -> int:
        """Come back to the last snapshot; return how many epochs are done."""
        snapshot = None if self.store is None else self.store.newest()
        if snapshot is None:
            return 0
        self._check_fits(snapshot)
        self.is_complete = snapshot.numbers["is_complete"]
        self._restore_results(snapshot)
        if not self.is_complete:
            self._restore_progress(snapshot)
        return int(snapshot.numbers["n_epochs"])

    def epoch_ended(self, n_epochs: int) -> None:
        """Save if it is time to."""
        if self.store is not None and self.store.is_due(n_epochs):
            results, progress = self._results(n_epochs, is_complete=False), self._progress()
            self.store.save(Snapshot(results.numbers | progress.numbers, results.arrays | progress.arrays))

    def training_ended(self) -> None:
        """Save the end of training."""
        if self.store is not None:
            self.store.save(self._results(len(self.history.terms["bound"]), is_complete=True))

    # --- results: what is left of a training that has ended -----------------------------------------------------

    def _results(self, n_epochs: int, *, is_complete: bool) -> Snapshot:
        history = self.history
        curves = {"validation": history.validation} | under("history", history.terms)
        numbers = {
            "n_epochs": n_epochs,
            "is_complete": is_complete,
            "terms": list(history.terms),
            "final_rise": history.final_rise,
        }
        arrays = under("weights", self.trainer.module.state_dict())
        arrays |= {name: torch.tensor(values, dtype=torch.float64) for name, values in curves.items()}
        for i, one in enumerate(self.stateful):
            arrays |= under(f"stateful.{i}", one.state_dict())
        return Snapshot(numbers, arrays)

    def _restore_results(self, snapshot: Snapshot) -> None:
        numbers, arrays = snapshot
        self.trainer.module.load_state_dict(part(arrays, "weights"))
        for name in numbers["terms"]:
            self.history.terms[name] = arrays[f"history.{name}"].tolist()
        self.history.validation[:] = arrays["validation"].tolist()
        self.history.final_rise = numbers["final_rise"]
        for i, one in enumerate(self.stateful):
            one.load_state_dict(part(arrays, f"stateful.{i}"))

    def _check_fits(self, snapshot: Snapshot) -> None:
        """Raise an error for the snapshot of a module with other weights."""
        found, expected = part(snapshot.arrays, "weights"), self.trainer.module.state_dict()
        if {name: value.shape for name, value in found.items()} != {n: value.shape for n, value in expected.items()}:
            raise ValueError(
                "The checkpoint is of a model with other weights than this fit trains, although data and parameters "
                "are the same: something in the fit depends on chance or on time. Delete the checkpoint, or name "
                "another one."
            )

    # --- progress: what a training needs to go on ---------------------------------------------------------------

    def _progress(self) -> Snapshot:
        trainer, stopping = self.trainer, self.trainer.stopping
        n_averaged, average = trainer.average.state()
        numbers = {
            "n_averaged": n_averaged,
            "n_steps": int(trainer.adam.n_steps),
            "n_rollbacks": trainer.rollback.rollbacks,
            "rate_factor": trainer.schedule.factor,
            "n_reductions": trainer.schedule.n_reductions,
            "last_gain": stopping.last_gain,
        }
        arrays = {"average": average, "moments.mean": trainer.adam.mean, "moments.square": trainer.adam.square}
        arrays["bounds"] = torch.tensor([stopping.bound, stopping.reference_bound], dtype=torch.float64)
        if stopping.bound > -torch.inf:  # otherwise the best weights are still those at the start
            arrays |= under("best", stopping.weights)
        if trainer.rng is not None:
            arrays["generator"] = trainer.rng.get_state()
        return Snapshot(numbers, arrays)

    def _restore_progress(self, snapshot: Snapshot) -> None:
        trainer, stopping, (numbers, arrays) = self.trainer, self.trainer.stopping, snapshot
        trainer.average.set_state((numbers["n_averaged"], arrays["average"]))
        trainer.adam.set_state(numbers["n_steps"], arrays["moments.mean"], arrays["moments.square"])
        trainer.rollback.keep()
        trainer.rollback.rollbacks = numbers["n_rollbacks"]
        trainer.schedule.factor, trainer.schedule.n_reductions = numbers["rate_factor"], numbers["n_reductions"]
        stopping.bound, stopping.reference_bound = arrays["bounds"].tolist()
        stopping.last_gain = numbers["last_gain"]
        stopping.weights |= {name: like(stopping.weights[name], best) for name, best in part(arrays, "best").items()}
        if trainer.rng is not None and "generator" in arrays:  # a process that is new has its own
            trainer.rng.set_state(arrays["generator"])


def like(present: Tensor, stored: Tensor) -> Tensor:
    """A copy of a stored tensor on the device and with the order in memory of the present one."""
    return torch.empty_like(present, requires_grad=False).copy_(stored)


def under(name: str, parts: Mapping[Any, Any]) -> dict[str, Any]:
    """Put parts under a common name."""
    return {f"{name}.{key}": value for key, value in parts.items()}


def part(arrays: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """What ``under`` has put under this name."""
    return {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}


def stateful_among(candidates: Iterable[Any]) -> list[Stateful]:
    """Those that have a state."""
    return [one for one in candidates if isinstance(one, Stateful)]
