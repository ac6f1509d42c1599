"""``sample``: draw new rows that resemble those of a table."""

from __future__ import annotations

from argparse import Namespace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skdgm.command_line.columns import Column
from skdgm.command_line.files import check_output, format_of, new_table, open_table
from skdgm.command_line.messages import CommandError, counted, progress_bar
from skdgm.command_line.models import as_table, check_model_file, density, opened
from skdgm.command_line.rows import scan

ROWS_PER_BLOCK = 10_000


def run(arguments: Namespace) -> None:
    """Draw rows.

    Parameters
    ----------
    arguments : Namespace
        As ``__main__`` parses them.

    Raises
    ------
    CommandError
        If there is neither a table nor a model, or both.
    """
    if (arguments.data is None) == (arguments.use_model is None):
        raise CommandError("name either a table to learn from, or a saved model with --use-model.")
    out = check_output(arguments.out, force=arguments.force)
    check_model_file(arguments)
    if arguments.use_model:
        model, schema = opened(arguments.use_model)
        columns = {field.name: Column(field.name, field.type, reads_numbers=True, decimals=-1) for field in schema}
    else:
        found = scan(open_table(arguments.data, arguments.missing, arguments.encoding), arguments.rows, arguments.seed)
        model, schema = density(arguments, found)
        columns = {name: found.columns[name] for name in schema.names}
    if hasattr(model, "classes_") and arguments.target in schema.names:
        raise CommandError(f"the rows have a column {arguments.target!r}. Name the classes otherwise, with --target.")
    write(model, columns, out, arguments)
    print(f"Wrote {arguments.out}: {counted(arguments.number, 'row')}.")


def write(model: Any, columns: dict[str, Column], out: Path, arguments: Namespace) -> None:
    """Draw rows and write them, in parts."""
    random, as_text = np.random.RandomState(arguments.seed), format_of(out) != "parquet"
    parts = [min(ROWS_PER_BLOCK, arguments.number - start) for start in range(0, arguments.number, ROWS_PER_BLOCK)]
    tables = (drawn(model, n, random, arguments.target) for n in parts)
    first = next(tables)
    with new_table(out, first.schema) as write_rows, progress_bar("drawing", arguments.number) as advance:
        for rows in chain([first], tables):
            write_rows(texts(rows, columns) if as_text else rows)
            advance(rows.num_rows)


def drawn(model: Any, n_rows: int, random: np.random.RandomState, target: str) -> pa.Table:
    """Draw rows as a table, with their classes if the model has some."""
    rows = model.sample(n_rows, random_state=random)
    rows, *classes = rows if isinstance(rows, tuple) else (rows,)
    table = as_table(rows)
    for labels in classes:
        table = table.append_column(target, pa.array(labels.tolist()))
    return table


def texts(rows: pa.Table, columns: dict[str, Column]) -> pa.Table:
    """Return rows as text, numbers with as many decimals as in the table that the model was trained on."""
    cells = [
        columns[name].native(rows[name].combine_chunks()) if name in columns else rows[name]
        for name in rows.schema.names
    ]
    return pa.table(cells, names=rows.schema.names)
