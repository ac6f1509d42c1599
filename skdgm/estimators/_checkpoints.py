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

from skdgm.checkpoints import Checkpoint, CheckpointFolder, TrainingFiles
from skdgm.estimators._fingerprint import fingerprint

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
    folder = CheckpointFolder(
        given if isinstance(given, Checkpoint) else Checkpoint(given),
        lambda: fingerprint(estimator, dict(data)),
        lambda: new_seed(estimator.random_state),
        verbose=bool(estimator.verbose),
    )
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)
        folder.close()


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
    seed = None if folder is None else folder.seed
    return check_random_state(seed if random_state is None else random_state)


@contextmanager
def next_training(title: str | None) -> Iterator[TrainingFiles | None]:
    """The files of the next training of the present fit; the body trains the model.

    They are None without a checkpoint, and for a training without a title, which is no part of it.
    """
    folder = _folder.get()
    files = None if folder is None or title is None else folder.training(title)
    token = _folder.set(None)
    try:
        yield files
    finally:
        _folder.reset(token)
