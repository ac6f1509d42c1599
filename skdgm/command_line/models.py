"""Train a model on rows of a table, save it, and open a saved one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from skdgm.command_line.files import check_output, complete_file
from skdgm.command_line.messages import CommandError, FitProgress, progress_bar
from skdgm.command_line.rows import Scan, model_schema, tell_rows, typed_rows, usable_columns
from skdgm.command_line.tables import TableFile


def density(arguments: Namespace, found: Scan) -> tuple[Any, pa.Schema]:
    """Train a DLGM on all columns of a table, or open the saved model; return it with the columns that it reads."""
    if arguments.use_model:
        return opened(arguments.use_model, found.table)
    from skdgm import DLGM

    names = usable_columns(found, arguments.ignore, arguments.keep)
    schema = model_schema(found, names)
    tell_rows(found, len(names))
    rows = typed_rows(found.sample, schema, decimal_comma=found.table.decimal_comma)
    with training("training") as prepared:
        model = prepared(DLGM(random_state=arguments.seed)).fit(rows)
    save(model, arguments)
    return model, schema


@contextmanager
def training(title: str, n_fits: int = 1) -> Iterator[Any]:
    """Show the progress of fits, and tell errors of the data as those of a user.

    The body gets a function that prepares an estimator, so that its fits advance the bar.
    """
    with progress_bar(title, n_fits) as advance:

        def prepared(estimator: Any) -> Any:
            has_callbacks = hasattr(estimator, "set_callbacks")  # scikit-learn 1.9
            return estimator.set_callbacks(FitProgress(advance)) if has_callbacks else estimator

        try:
            yield prepared
        except (ValueError, TypeError) as error:
            raise CommandError(f"a model cannot be trained on these rows. {error}") from error


def check_model_file(arguments: Namespace) -> None:
    """Check that the model can be saved, or that the saved one exists and may be used, before the work begins."""
    if arguments.use_model and not Path(arguments.use_model).is_file():
        raise CommandError(f"there is no file {arguments.use_model}. Save a model with --save-model, then use it.")
    given = [f"--{name}" for name in ("ignore", "keep") if getattr(arguments, name)]
    if arguments.use_model and given:
        raise CommandError(
            f"the model of {arguments.use_model} decides which columns are read. Leave out {' and '.join(given)}, or "
            "train another model."
        )
    if arguments.save_model:
        check_output(arguments.save_model, force=arguments.force)


def save(model: Any, arguments: Namespace) -> None:
    """Save a model if the user wants it."""
    if not arguments.save_model:
        return
    import skdgm

    if hasattr(model, "set_callbacks"):
        model.set_callbacks()
    with complete_file(Path(arguments.save_model)) as temporary:
        skdgm.save(model, temporary)
    print(f"Wrote {arguments.save_model}: the model.")


def opened(path: str, table: TableFile | None = None) -> tuple[Any, pa.Schema]:
    """Open a saved model; return it with the columns that it reads.

    Raises
    ------
    CommandError
        If the file holds no model, or one of other columns.
    """
    import skdgm

    try:
        model = skdgm.load(path)
    except (ValueError, OSError) as error:
        raise CommandError(f"{path} cannot be opened as a model. {error}") from error
    schema = schema_of(model, path)
    lacking = [name for name in schema.names if table and name not in table.names]
    if table and lacking:
        raise CommandError(f"{table.path} has no column {lacking[0]!r}, which the model of {path} reads.")
    return model, schema


def schema_of(model: Any, path: str) -> pa.Schema:
    """Names and types of the columns that a model reads: those of a row that it draws."""
    if not hasattr(model, "sample"):
        raise CommandError(f"{path} holds a {type(model).__name__}, which the command line cannot use.")
    drawn = model.sample(1, random_state=0)
    rows = drawn[0] if isinstance(drawn, tuple) else drawn
    if not hasattr(rows, "columns"):
        raise CommandError(
            f"the model of {path} was trained on an array. The command line uses models of tables whose columns have "
            "names: train it here, or on a frame."
        )
    return as_table(rows).schema


def as_table(frame: Any) -> pa.Table:
    """Return a frame of any library as a table of PyArrow."""
    table: pa.Table = import_module("narwhals.stable.v2").from_native(frame, eager_only=True).to_arrow()
    return table
