"""The command line, ``python -m skdgm`` or ``skdgm``: parse arguments, run a command, and tell errors in a line.

Commands are imported when they run, so ``--help`` is fast.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from skdgm._version import __version__

DESCRIPTION = """\
Work on tables (.csv, .tsv, .parquet) with deep generative models.

  label     fill the empty labels of a column, from the rows that have one
  impute    fill empty cells
  outliers  find unusual rows, and the cells that make them so
  sample    draw new rows that resemble those of a table
"""
EPILOG = """\
example:
  skdgm label data.csv --target species --out labeled.csv

"skdgm label --help" explains a command and its options. Files are read in
blocks, so they may be larger than memory.
"""
LABEL = """\
Fill the empty cells of a column of classes. A model learns from all rows,
with and without a label.

The output has the columns of the table, unchanged, and two more:
TARGET_filled, the label or else the most probable class, and
TARGET_probability, the probability of a class that was filled in. The
command prints how many labels a cross-validation predicts right, and the
rows that the model is least sure of: label these next.
"""
IMPUTE = """\
Fill the empty cells of a table by what the other cells of the row say:
numbers by their mean, text by the most probable one. All other cells stay
unchanged.
"""
OUTLIERS = """\
List the most unusual rows of a table, and the cells that make them so, each
with the value to expect from the other cells of its row.

With --out, the output has the columns of the table, unchanged, and one more,
outlier_score: the number of nats by which the log-density of the row is below
the median. Typical rows score about 0.
"""
SAMPLE = """\
Draw new rows that resemble those of a table, or from a saved model. They are
new, but no guarantee of privacy.
"""
INTERRUPTED, TERMINATED = 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, default=None
        Words after the program's name; None takes those of this process.

    Returns
    -------
    int
        Exit code: 0 for success, 1 for an error of the data or files, 130 after Ctrl-C. Wrong arguments raise
        SystemExit with code 2.
    """
    parsed = parser().parse_args(arguments)
    if parsed.command is None:
        parser().print_help()
        return 0
    # a job in the background of a shell ignores Ctrl-C, and so does the command then
    handled = [name for name in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(name) != signal.SIG_IGN]
    before = [(name, signal.signal(name, stop)) for name in handled]
    try:
        return run(parsed)
    except KeyboardInterrupt:
        print("\nskdgm: interrupted. Unfinished files have been removed.", file=sys.stderr)
        return INTERRUPTED
    finally:
        for name, handler in before:
            signal.signal(name, handler)


def stop(number: int, frame: FrameType | None) -> None:
    """End the command, also within a fit, which would keep what it has learned after a plain Ctrl-C."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(TERMINATED)


def run(parsed: argparse.Namespace) -> int:
    """Run the command of parsed arguments; return the exit code."""
    try:
        from skdgm.command_line.messages import CommandError, warnings_as_notes

        command = import_module(f"skdgm.command_line.{parsed.command}")
    except ImportError as error:
        print(f"skdgm: error: {error}. Run: pip install 'skdgm[cli]'", file=sys.stderr)
        return 1
    try:
        with warnings_as_notes():
            command.run(parsed)
    except CommandError as error:
        print(f"skdgm: error: {error}", file=sys.stderr)
    except BrokenPipeError:  # the reader of the report, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"skdgm: error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    else:
        return 0
    return 1


# --- arguments -------------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    whole = argparse.ArgumentParser(
        "skdgm",
        usage="skdgm COMMAND [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"skdgm {__version__}")
    commands = whole.add_subparsers(prog="skdgm", dest="command", metavar="COMMAND", help=argparse.SUPPRESS)
    label = new_command(commands, "label", "DATA --target COLUMN --out FILE", LABEL)
    label.add_argument("data", metavar="DATA", help="the table")
    label.add_argument("--target", required=True, metavar="COLUMN", help="column of labels, some of them empty")
    label.add_argument("--out", required=True, metavar="FILE", help="where to write the table with labels")
    label.add_argument("--top", type=natural, default=5, metavar="N", help="number of unsure rows to list (5)")
    impute = new_command(commands, "impute", "DATA --out FILE", IMPUTE)
    impute.add_argument("data", metavar="DATA", help="the table")
    impute.add_argument("--out", required=True, metavar="FILE", help="where to write the filled table")
    draws = "write N tables, FILE_1 to FILE_N, filled with draws: how much results differ shows what is not known"
    impute.add_argument("--draws", type=positive, metavar="N", help=draws)
    outliers = new_command(commands, "outliers", "DATA", OUTLIERS)
    outliers.add_argument("data", metavar="DATA", help="the table")
    outliers.add_argument("--out", metavar="FILE", help="where to write the table with a score for each row")
    outliers.add_argument("--top", type=natural, default=5, metavar="N", help="number of rows to list (5)")
    sample = new_command(commands, "sample", "DATA -n N --out FILE", SAMPLE)
    sample.add_argument("data", nargs="?", metavar="DATA", help="the table; leave it out with --use-model")
    sample.add_argument("-n", "--number", type=positive, required=True, metavar="N", help="number of rows to draw")
    sample.add_argument("--out", required=True, metavar="FILE", help="where to write them")
    sample.add_argument("--target", default="class", metavar="COLUMN", help="name for the classes of a model of label")
    for command in (label, impute, outliers, sample):
        add_common(command)
    return whole


def new_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, usage: str, description: str
) -> argparse.ArgumentParser:
    """Add a command. Its usage names the table first: an option that takes several words would take it, too."""
    return commands.add_parser(
        name,
        usage=f"skdgm {name} {usage} [options]",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_common(command: argparse.ArgumentParser) -> None:
    """Add the arguments that all commands have."""
    reading = command.add_argument_group("what is read")
    reading.add_argument(
        "--missing", nargs="+", default=[], metavar="TEXT", help="texts that mark a missing cell, as '?' or NA"
    )
    reading.add_argument("--ignore", nargs="+", default=[], metavar="COLUMN", help="columns to leave out")
    reading.add_argument(
        "--keep", nargs="+", default=[], metavar="COLUMN", help="columns to read although they look like identifiers"
    )
    reading.add_argument("--encoding", default="utf-8", help="encoding of a text file (utf-8)")
    reading.add_argument(
        "--rows", type=positive, default=20_000, metavar="N", help="rows to train on, at random, labeled first (20000)"
    )
    models = command.add_argument_group("models and files")
    either = models.add_mutually_exclusive_group()
    either.add_argument("--save-model", metavar="FILE", help="save the model")
    either.add_argument("--use-model", metavar="FILE", help="use a saved model instead of training one")
    models.add_argument("--force", action="store_true", help="replace files that exist")
    models.add_argument("--seed", type=natural, default=0, metavar="N", help="same seed, same result (0)")


def natural(text: str) -> int:
    """Parse an integer, at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """Parse an integer, at least 1."""
    if natural(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
