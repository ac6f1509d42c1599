"""``impute``: fill the empty cells of a table, with means and most probable texts, or several times with draws."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skdgm.command_line.columns import Column
from skdgm.command_line.files import check_output, complete_file, open_table
from skdgm.command_line.messages import CommandError, aligned, counted, note, progress_bar
from skdgm.command_line.models import check_model_file, density
from skdgm.command_line.rows import scan, typed_rows
from skdgm.command_line.tables import Fill


def run(arguments: Namespace) -> None:
    """Fill the empty cells of a table.

    Parameters
    ----------
    arguments : Namespace
        As ``__main__`` parses them.

    Raises
    ------
    CommandError
        If the arguments do not fit the table, or if it has no empty cell.
    """
    table = open_table(arguments.data, arguments.missing, arguments.encoding)
    outs = [check_output(path, force=arguments.force, like=table) for path in output_names(arguments)]
    check_model_file(arguments)
    found = scan(table, arguments.rows, arguments.seed)
    if all(column.n_observed == column.n_rows for column in found.columns.values()):
        raise CommandError(f"{table.path} has no empty cell. Name texts that mark missing cells with --missing.")
    model, schema = density(arguments, found)
    columns = {name: found.columns[name] for name in schema.names}
    random, n_filled = np.random.RandomState(arguments.seed), Counter[str]()
    with ExitStack() as stack:
        advance = stack.enter_context(progress_bar("filling", table.size))
        writers = [stack.enter_context(table.writer(stack.enter_context(complete_file(out)))) for out in outs]
        for block in table.blocks(advance):
            rows = typed_rows(block.table.select(schema.names), schema, decimal_comma=table.decimal_comma)
            for writer, fills in zip(writers, filled(model, rows, columns, arguments.draws, random), strict=True):
                writer.fill(block, fills)
            n_filled.update({name: rows[name].null_count for name in schema.names})
    tell(n_filled, found.columns)
    print(f"Wrote {', '.join(map(str, outs))}.")


def output_names(arguments: Namespace) -> list[str]:
    """Names of the files to write: one, or one for each draw."""
    out = Path(arguments.out)
    if arguments.draws is None:
        return [arguments.out]
    return [str(out.with_name(f"{out.stem}_{n}{out.suffix}")) for n in range(1, arguments.draws + 1)]


def filled(
    model: Any, rows: pa.Table, columns: dict[str, Column], n_draws: int | None, random: Any
) -> Iterator[dict[str, Fill]]:
    """Return what to write into the empty cells of a block, for each file."""
    misses = np.logical_or.reduce([pc.is_null(cells).to_numpy() for cells in rows.columns])
    positions = {name: np.flatnonzero(pc.is_null(rows[name]).to_numpy()) for name in columns}
    if not misses.any():
        return iter([{} for _ in range(n_draws or 1)])
    incomplete = rows.filter(pa.array(misses))
    tables = model.impute(incomplete, n_draws=n_draws, random_state=random)
    place = np.cumsum(misses) - 1  # of each row among the incomplete ones
    return (
        {
            name: Fill(where, columns[name].native(table[name].combine_chunks().take(pa.array(place[where]))))
            for name, where in positions.items()
            if len(where)
        }
        for table in ([tables] if n_draws is None else tables)
    )


def tell(n_filled: Counter[str], columns: dict[str, Column]) -> None:
    """Print how many cells of each column have been filled, and which columns keep empty cells."""
    rows = [
        [name, f"{count:,}", f"{100 * count / columns[name].n_rows:.1f}%"] for name, count in n_filled.most_common()
    ]
    print(f"Filled {counted(sum(n_filled.values()), 'cell')}:")
    print(aligned([["column", "cells", "share"], *(row for row in rows if row[1] != "0")]))
    kept = [name for name, column in columns.items() if name not in n_filled and column.n_observed < column.n_rows]
    if kept:
        note(f"the empty cells of {', '.join(map(repr, kept))} stay empty.")
