"""The checkpoint of a fit: which one the trainings of this thread belong to.

A fit sets it for all trainings in it, also for those of estimators that are its parts and have no checkpoint of their
own. While a model trains there is none: callbacks may fit other models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import signature
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skdgm.checkpoints import Checkpoint, CheckpointFolder
from skdgm.distributed._processes import current
from skdgm.distributed._snapshots import shared
from skdgm.estimators._fingerprint import fingerprint, sum_of_rows
from skdgm.estimators._shards import is_first
from skdgm.training_state import SnapshotStore

_folder: ContextVar[CheckpointFolder | None] = ContextVar("_folder", default=None)


@contextmanager
def checkpoint_of(
    estimator: Any, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[None]:
    """Within the body, a call of ``fit``, trainings belong to the checkpoint of the estimator, if it has one.

    ``partial_fit`` has none: what to do again after its process died is for the caller to know.
    """
    given = getattr(estimator, "checkpoint", None)
    if given is None or method.__name__ != "fit":
        yield
        return
    _, *data = signature(method).bind(estimator, *args, **kwargs).arguments.items()
    of_all = of_processes(estimator, dict(data))
    folder = CheckpointFolder(
        given if isinstance(given, Checkpoint) else Checkpoint(given),
        lambda: of_all or fingerprint(estimator, dict(data)),
        lambda: new_seed(estimator.random_state),
        verbose=bool(estimator.verbose),
    )
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)
        if is_first():
            folder.close()


def of_processes(estimator: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Describe a fit of several processes; empty if there is one.

    It is the same for any number of processes, which have other shards of the same rows: another number may continue
    the fit.
    """
    processes = current()
    if processes is None:
        return {}
    shards = processes.exchange(fingerprint(estimator, data))
    found = {name: value for name, value in shards[0].items() if is_of_all(name, shards)}
    for name in (name.removeprefix("shape of ") for name in list(found) if name.startswith("shape of ")):
        counts = [shard.get(f"shape of {name}", [0])[0] for shard in shards]
        n_rows, start = sum(counts), sum(counts[: processes.rank])
        own = data.get(name)
        sums = processes.exchange(0 if own is None else sum_of_rows(own, start, n_rows))
        found[f"shape of {name}"] = [n_rows, *found[f"shape of {name}"][1:]]
        found[f"the rows of {name}"] = f"{sum(sums) % (1 << 256):064x}"
    return found


def is_of_all(name: str, shards: list[dict[str, Any]]) -> bool:
    """Whether an entry describes the whole table, not a shard: categories may be declared by each process."""
    if name.startswith("the types of"):
        return all(shard.get(name) == shards[0][name] for shard in shards)
    return not name.startswith("the cells of")


def new_seed(random_state: Any) -> int | None:
    """A seed for a fit that the user has not seeded, otherwise None."""
    return None if random_state is not None else int(check_random_state(None).randint(np.iinfo(np.int32).max))


def random_state_of_fit(random_state: Any) -> np.random.RandomState:
    """As ``check_random_state``, but None is the seed with which the checkpoint began.

    Raises
    ------
    ValueError
        If the checkpoint is that of another fit.
    """
    folder = _folder.get()
    seed = None if folder is None or not is_first() else folder.seed
    return check_random_state(seed if random_state is None else random_state)


@contextmanager
def next_training(title: str | None) -> Iterator[SnapshotStore | None]:
    """The store of the next training of the present fit; the body trains the model.

    It is None without a checkpoint, and for a training without a title, which is no part of it. Among several
    processes, the first one has the files.
    """
    folder = _folder.get()
    store = None
    if folder is not None and title is not None:
        store = shared(folder.training(title) if is_first() else None)
    token = _folder.set(None)
    try:
        yield store
    finally:
        _folder.reset(token)
