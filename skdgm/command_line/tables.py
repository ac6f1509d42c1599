"""What commands know of the files that they read and write, whatever the format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from skdgm.command_line.messages import Advance, CommandError

CELLS_PER_BLOCK = 500_000


class Block(NamedTuple):
    """Some neighboring rows of a file.

    Attributes
    ----------
    start : int
        Number of rows before it.
    table : pyarrow.Table
        Cells without the spaces around them; null is missing.
    original : list of str, or pyarrow.Table
        The rows as they are in the file: text, or the columns of a Parquet file.
    """

    start: int
    table: pa.Table
    original: Any


class Fill(NamedTuple):
    """Cells of a column to fill: ascending positions in the block, and a value for each, in the file's type."""

    positions: np.ndarray
    values: pa.Array


class RowWriter(Protocol):
    """Writes the rows of a table, changed in one of two ways."""

    def append(self, block: Block, added: Mapping[str, pa.Array]) -> None:
        """Write the rows of a block with more columns."""

    def fill(self, block: Block, fills: Mapping[str, Fill]) -> None:
        """Write the rows of a block with some cells filled."""


class TableFile(Protocol):
    """A table in a file.

    Attributes
    ----------
    path : Path
    names : list of str
        Names of the columns.
    size : int
        What progress counts up to: bytes, or rows.
    is_text : bool
        Whether all cells are text.
    decimal_comma : bool
        Whether numbers may have a comma before their fraction.
    writes_commas : bool
        Whether numbers of new columns get a decimal comma.
    """

    path: Path
    names: list[str]
    size: int
    is_text: bool
    decimal_comma: bool
    writes_commas: bool

    def blocks(self, advance: Advance = ...) -> Iterator[Block]:
        """Read the file from start to end; ``advance`` is called with what has been read of ``size``."""

    def type_of(self, name: str) -> pa.DataType | None:
        """Type of the cells of a column in the file; None if there is no such column and no type for all."""

    def writer(self, path: Path, added: Sequence[tuple[str, pa.DataType]] = ...) -> AbstractContextManager[RowWriter]:
        """Write a file with these columns and the added ones."""


def check_names(names: Sequence[str], path: Path) -> None:
    """Raise an error if the first line does not name the columns."""
    if not names:
        raise CommandError(f"{path} is empty. It needs a first line with the names of the columns.")
    if all(re.fullmatch(r"[+-]?[\d.,]+", name) for name in names):
        raise CommandError(
            f"{path} has numbers ({', '.join(names[:3])}, ...) in its first line, where the names of the columns are "
            "expected. Add a line with names at its top."
        )
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise CommandError(f"{path} has several columns with the name {repeated[0]!r}. Rename all but one.")
