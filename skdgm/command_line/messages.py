"""What a command tells: errors of users, notes, small tables of text, and progress bars."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from textwrap import fill
from typing import Any

from sklearn.exceptions import ConvergenceWarning

Advance = Callable[[float], None]


class CommandError(Exception):
    """A mistake that the user can mend. Its text is all that is printed."""


def note(text: str) -> None:
    """Print a remark to the standard error stream."""
    sys.stdout.flush()  # it may be the same file or terminal
    print(fill(f"note: {text}", 100, subsequent_indent="  ", break_on_hyphens=False), file=sys.stderr)


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Within the body, print warnings as notes: each once, and none that concern developers."""
    seen: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        text = plain(str(message), category)
        if text not in seen:
            note(text)
        seen.add(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        warnings.showwarning = show
        yield


def plain(text: str, category: type[Warning]) -> str:
    """Leave out of a warning what helps in Python only: parameters, and the number of a row within a block."""
    if issubclass(category, ConvergenceWarning):
        return f"{text.split('. ')[0]}. A fit from Python has parameters that may help."
    unknown = re.match(r"X has the (unknown category .* in column .*), row \d+\.", text)
    return f"{unknown[1]} is read as missing: the rows trained on do not have it." if unknown else text


def aligned(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Set rows of text in columns, with spaces between them; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Join names with commas; the last ones are only counted if there are many."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, and {len(names) - limit} more"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, such as "1 row" or "1,200 rows"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


@contextmanager
def progress_bar(title: str, total: float) -> Iterator[Advance]:
    """Show a progress bar on a terminal, and nothing elsewhere. The body calls what it gets with each step done."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    try:
        bars, console = import_module("rich.progress"), import_module("rich.console").Console(stderr=True)
    except ImportError:
        print(f"{title} ...", file=sys.stderr)
        yield lambda step: None
        return
    with bars.Progress(console=console, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda step: bar.advance(task, step)


class FitProgress:
    """Callback of scikit-learn that advances a bar by one for each fit.

    Parameters
    ----------
    advance : callable
        Called with a share of a fit after each epoch, and with the rest when the fit ends.
    """

    def __init__(self, advance: Advance) -> None:
        self.advance, self.done = advance, 0.0

    def setup(self, estimator: Any, context: Any) -> None:
        """Start a fit."""
        self.done = 0.0

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Advance by a fiftieth of what is left: how many epochs there will be is not known."""
        self._advance((1 - self.done) / 50)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Advance to the end of the fit."""
        self._advance(1 - self.done)

    def _advance(self, step: float) -> None:
        self.done += step
        self.advance(step)
