"""Read a table once: describe its columns, count its labels, and draw the rows that a model is trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skdgm.command_line.columns import Column, typed
from skdgm.command_line.messages import CommandError, counted, listed, note, progress_bar
from skdgm.command_line.tables import TableFile

# A target with more different labels than this is not one.
MAX_LABELS = 10_000


@dataclass
class Scan:
    """What one pass over a table has found.

    Attributes
    ----------
    table : TableFile
    columns : dict of str to Column
    sample : pyarrow.Table
        The rows to train on, in their order in the file.
    n_rows : int
    labels : Counter
        How often each label is in the target; other columns are not counted.
    """

    table: TableFile
    columns: dict[str, Column]
    sample: pa.Table
    n_rows: int = 0
    labels: Counter[Any] = field(default_factory=Counter)

    def update(self, rows: pa.Table, target: str | None) -> None:
        """Take note of more rows."""
        self.n_rows += rows.num_rows
        for name, cells in zip(rows.column_names, rows.columns, strict=True):
            if name not in self.columns:
                self.columns[name] = Column(name, cells.type, self.table.is_text, self.table.decimal_comma)
            self.columns[name].update(cells.combine_chunks())
        if target is not None and len(self.labels) <= MAX_LABELS:
            pairs = rows[target].drop_null().value_counts().to_pylist()
            self.labels.update({pair["values"]: pair["counts"] for pair in pairs})

    @property
    def n_labeled(self) -> int:
        """Number of rows with a label."""
        return sum(self.labels.values())


class RowSample:
    """Rows drawn at random from blocks of a table; labeled ones come first.

    Parameters
    ----------
    limit : int
        Most rows that are drawn.
    seed : int
    """

    def __init__(self, limit: int, seed: int) -> None:
        self.limit, self.random = limit, np.random.default_rng(seed)
        self.tables: list[pa.Table] = []
        self.keys = np.empty(0)  # one for each row; the smallest are kept

    def add(self, table: pa.Table, labeled: np.ndarray | None) -> None:
        """Consider the rows of a block."""
        keys = self.random.random(table.num_rows) - (0 if labeled is None else labeled)
        if len(self.keys) >= self.limit:
            wanted = keys < self.keys.max()
            table, keys = table.filter(pa.array(wanted)), keys[wanted]
        self.tables.append(table)
        self.keys = np.r_[self.keys, keys]
        if len(self.keys) > 2 * self.limit:
            self._reduce()

    def _reduce(self) -> None:
        table = pa.concat_tables(self.tables)
        if len(self.keys) > self.limit:
            kept = np.sort(np.argpartition(self.keys, self.limit)[: self.limit])
            table, self.keys = table.take(pa.array(kept)), self.keys[kept]
        self.tables = [table]

    def drawn(self) -> pa.Table:
        """Return the drawn rows in their order."""
        self._reduce()
        return self.tables[0].combine_chunks()


def scan(table: TableFile, limit: int, seed: int, target: str | None = None) -> Scan:
    """Read a table once.

    Parameters
    ----------
    table : TableFile
    limit : int
        Most rows to train on; rows with a label come first.
    seed : int
        Seeds the choice of these rows.
    target : str, default=None
        Column with the labels.

    Returns
    -------
    Scan

    Raises
    ------
    CommandError
        If the table has no rows, or if they cannot be read.
    """
    found, sample = Scan(table, {}, pa.table({})), RowSample(limit, seed)
    with progress_bar(f"reading {table.path.name}", table.size) as advance:
        for block in table.blocks(advance):
            found.update(block.table, target)
            labeled = None if target is None else pc.is_valid(block.table[target]).to_numpy()
            sample.add(block.table, labeled)
    if not found.n_rows:
        raise CommandError(f"{table.path} has no rows below the names of its columns.")
    found.sample = sample.drawn()
    has_points = any(column.decimals > 0 and not column.comma for column in found.columns.values())
    table.writes_commas &= not has_points or any(column.comma for column in found.columns.values())
    return found


def usable_columns(found: Scan, ignore: Sequence[str], keep: Sequence[str]) -> list[str]:
    """Choose the columns that a model reads, and tell which are left out, and why.

    Parameters
    ----------
    found : Scan
    ignore : sequence of str
        Columns to leave out.
    keep : sequence of str
        Columns to read whatever they look like.

    Returns
    -------
    list of str

    Raises
    ------
    CommandError
        If a column does not exist, or none is left.
    """
    check_names_exist([*ignore, *keep], found.table)
    reasons = {name: "" for name in found.columns if name not in ignore}
    for name in reasons:
        if name not in keep:
            reasons[name] = found.columns[name].reason_to_leave_out(found.sample[name])
    for name, reason in reasons.items():
        if reason:
            note(f"{name!r} is left out: {reason}.")
        elif found.columns[name].mark:
            note(f"{name!r} is read as text, because {found.columns[name].mark}.")
    names = [name for name, reason in reasons.items() if not reason]
    for name in names:
        if found.columns[name].has_thousands:
            note(f"{name!r} has numbers such as 1.234, read as decimals. If they are thousands, remove the points.")
    if not names:
        raise CommandError(f"{found.table.path} has no column that a model could read. Choose some with --keep.")
    return names


def check_names_exist(names: Sequence[str], table: TableFile) -> None:
    """Raise an error for a name that no column has."""
    unknown = [name for name in names if name not in table.names]
    if unknown:
        raise CommandError(f"{table.path} has no column {unknown[0]!r}. Its columns are {listed(table.names, 30)}.")


def model_schema(found: Scan, names: Sequence[str]) -> pa.Schema:
    """Return names and types of the columns that a model is trained on."""
    return pa.schema([(name, found.columns[name].model_type) for name in names])


def typed_rows(table: pa.Table, schema: pa.Schema, *, decimal_comma: bool) -> pa.Table:
    """Return rows as a model reads them."""
    cells = [
        typed(table[field.name].combine_chunks(), field.type, field.name, decimal_comma=decimal_comma)
        for field in schema
    ]
    return pa.table(cells, schema=schema)


def tell_rows(found: Scan, n_columns: int, what: str = "") -> None:
    """Print the size of the table."""
    print(f"{found.table.path.name}: {counted(found.n_rows, 'row')}{what}, {counted(n_columns, 'column')} read.")
    if found.sample.num_rows < found.n_rows:
        note(f"the model is trained on {found.sample.num_rows:,} of the rows; --rows changes that.")
