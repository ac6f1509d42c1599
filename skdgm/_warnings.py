"""Warnings that point at the user's line, and ways to silence them that fits in other threads do not notice.

The filters of Python's module ``warnings`` are those of the whole process. Two threads that change them at the same
time, each by ``catch_warnings``, can leave all later warnings of the program ignored.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock

# Packages in whose lines a warning does not help the user: it should point at the call of fit.
INTERNAL = ("skdgm", "sklearn", "torch", "contextlib", "joblib", "concurrent", "threading")

_is_silent: ContextVar[bool] = ContextVar("_is_silent", default=False)
_filters = RLock()


def warn_user(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn, as if the user's line that led here did, unless within ``silenced``."""
    if not _is_silent.get():
        warnings.warn(message, category, stacklevel=levels_to_user())


@contextmanager
def silenced() -> Iterator[None]:
    """Within the body, ``warn_user`` does nothing, in this thread only."""
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


@contextmanager
def ignored(category: type[Warning]) -> Iterator[None]:
    """Ignore warnings of other libraries in a short body; one thread at a time, since the filters are shared."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def levels_to_user() -> int:
    """The ``stacklevel`` with which a warning of the caller points at the user's code."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in INTERNAL:
        level, frame = level + 1, frame.f_back
    return level
