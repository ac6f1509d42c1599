"""Ctrl-C during training: the first one ends the fit after its last complete epoch, a second one raises an error.

Nothing is raised in the middle of a step: a signal handler only sets a flag, which training reads between two steps.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from types import FrameType
from typing import ClassVar

from skdgm._warnings import warn_user

# A second Ctrl-C within this many seconds raises KeyboardInterrupt.
SECONDS_TO_RAISE = 2.0

_trains_a_part: ContextVar[bool] = ContextVar("_trains_a_part", default=False)


class Interrupt:
    """Handler of SIGINT that sets ``requested``, or raises KeyboardInterrupt soon after the previous signal.

    The time of the last signal belongs to the class, so that a second Ctrl-C also counts in the next fit of a search.
    """

    last_time: ClassVar[float] = -math.inf

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        now, before = monotonic(), Interrupt.last_time
        Interrupt.last_time = now
        if now - before < SECONDS_TO_RAISE:
            # first, because the error may be raised within the code that would restore this handler
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self.requested = True

    def is_requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self.requested

    def warn(self, title: str, n_epochs: int) -> None:
        """Warn if Ctrl-C was pressed, and tell after which epoch the training ended."""
        if self.requested:
            warn_user(
                f"Training interrupted by user: {title} ended after epoch {n_epochs}. The estimator is fitted. To "
                f"raise KeyboardInterrupt instead, for instance to stop a search, press Ctrl-C twice within "
                f"{SECONDS_TO_RAISE:g} seconds.",
            )


@contextmanager
def interrupts_end_training(*, is_final: bool = True) -> Iterator[Interrupt]:
    """Within the body, Ctrl-C sets a flag instead of raising KeyboardInterrupt.

    The body trains the final model of a fit; with ``is_final=False``, or if it trains a part of another estimator, an
    interrupt raises as usual. So it does in other threads, in the workers of a parallel search, and if somebody else
    handles the signal.
    """
    interrupt = Interrupt()
    if not (is_final and raises_by_default()):
        yield interrupt
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def raises_by_default() -> bool:
    """Whether Ctrl-C raises KeyboardInterrupt here, and the model in training is not a part of another one."""
    return (
        not _trains_a_part.get()
        and threading.current_thread() is threading.main_thread()
        and multiprocessing.parent_process() is None
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """Within the body, Ctrl-C raises KeyboardInterrupt also during ``fit``: it fits a part of another estimator."""
    token = _trains_a_part.set(True)
    try:
        yield
    finally:
        _trains_a_part.reset(token)
