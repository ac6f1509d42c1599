"""Read and write CSV and TSV files block by block, as text: what a command does not change stays as it was written.

The ``csv`` module of Python reads the cells. Unlike the readers of pandas, polars and pyarrow, it consumes a line at a
time, so the text of each row is at hand and can be written unchanged: quotes, spaces, digits, and line ends.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from skdgm.command_line.messages import Advance, CommandError
from skdgm.command_line.tables import CELLS_PER_BLOCK, Block, Fill, check_names

DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon"}
BYTE_ORDER_MARK = "\ufeff"


class TextTable:
    """A CSV or TSV file.

    Parameters
    ----------
    path : Path
    missing : sequence of str
        Texts that mark a missing cell, besides empty cells.
    encoding : str

    Attributes
    ----------
    names : list of str
        Names of the columns.
    size : int
        Bytes of the file.
    """

    is_text = True

    def __init__(self, path: Path, missing: Sequence[str] = (), encoding: str = "utf-8") -> None:
        self.path, self.encoding, self.size = path, encoding, path.stat().st_size
        self.missing = pa.array(["", *missing], pa.string())
        with self._open() as file:
            self.delimiter = delimiter_of(path, next((line for line in file if not is_blank(line)), ""))
        with self._open() as file:
            self.header, names = next(records(file, self.delimiter), ("", []))
        self.names = [name.strip() for name in names]
        check_names(self.names, path)
        self.decimal_comma = self.writes_commas = self.delimiter == ";"

    def blocks(self, advance: Advance = lambda step: None) -> Iterator[Block]:
        """Read the file from start to end; ``advance`` is called with the bytes that were read."""
        n_rows, start = max(1, CELLS_PER_BLOCK // len(self.names)), 0
        with self._open() as file:
            rows = records(file, self.delimiter)
            next(rows, None)
            numbered = ((record, self._checked(cells, n)) for n, (record, cells) in enumerate(rows, 1))
            while part := list(islice(numbered, n_rows)):
                texts, cells = zip(*part, strict=True)
                yield Block(start, self._table(cells), texts)
                start += len(part)
                advance(sum(map(len, texts)))

    def _table(self, cells: Sequence[Sequence[str]]) -> pa.Table:
        columns = [self._without_missing(pa.array(column, pa.string())) for column in zip(*cells, strict=True)]
        return pa.table(columns, names=self.names)

    def _without_missing(self, column: pa.Array) -> pa.Array:
        column = pc.utf8_trim_whitespace(column)
        return pc.if_else(pc.is_in(column, self.missing), pa.scalar(None, pa.string()), column)

    def _checked(self, cells: list[str], row: int) -> list[str]:
        if len(cells) != len(self.names):
            mark = DELIMITERS[self.delimiter]
            way_out = f"Put a cell with a {mark} in it into double quotes"
            if len(cells) < len(self.names):
                way_out = f"Put a {mark} for each empty cell"
            raise CommandError(
                f"{self.path}: row {row} below the header has {len(cells)} cells, but the header has {len(self.names)} "
                f"({mark}-separated). {way_out}."
            )
        return cells

    @contextmanager
    def _open(self) -> Iterator[io.TextIOBase]:
        """Open the file; explain errors of encoding and quoting."""
        try:
            with open(self.path, encoding=self.encoding, newline="") as file:
                yield file
        except (UnicodeError, LookupError) as error:
            raise CommandError(
                f"{self.path} cannot be read as {self.encoding} ({error}). Save it as UTF-8, or name its encoding, for "
                "instance --encoding latin-1, or --encoding utf-16 for Excel's Unicode text."
            ) from error
        except csv.Error as error:
            raise CommandError(f"{self.path} cannot be read: {error}. Is a double quote not closed?") from error

    def type_of(self, name: str) -> pa.DataType | None:
        """Type of a column in the file."""
        return pa.string()

    # --- write --------------------------------------------------------------------------------------------------

    @contextmanager
    def writer(self, path: Path, added: Sequence[tuple[str, pa.DataType]] = ()) -> Iterator[TextWriter]:
        """Write a file with these columns and the added ones."""
        with open(path, "w", encoding=self.encoding, newline="") as file:
            writer = TextWriter(file, self)
            writer.write_record(self.header, [name for name, _ in added])
            yield writer


class TextWriter:
    """Writes rows of a TextTable, with more cells or with filled ones."""

    def __init__(self, file: Any, table: TextTable) -> None:
        self.file, self.delimiter, self.names = file, table.delimiter, table.names
        self.writes_commas = table.writes_commas

    def append(self, block: Block, added: Mapping[str, pa.Array]) -> None:
        """Write the rows of a block with more cells at the end of each."""
        columns = [self._texts(column) for column in added.values()]
        for record, *cells in zip(block.original, *columns, strict=True):
            self.write_record(record, cells)

    def fill(self, block: Block, fills: Mapping[str, Fill]) -> None:
        """Write the rows of a block with some cells replaced."""
        replaced: dict[int, dict[int, str]] = {}
        for name, (positions, values) in fills.items():
            for row, text in zip(positions.tolist(), self._texts(values), strict=True):
                replaced.setdefault(row, {})[self.names.index(name)] = text
        for row, record in enumerate(block.original):
            self.file.write(self._filled(record, replaced[row]) if row in replaced else record)

    def write_record(self, record: str, added: Sequence[str]) -> None:
        """Write a row as it was, and more cells."""
        body = record.rstrip("\r\n")
        self.file.write(self.delimiter.join([body, *map(self._quoted, added)]) + record[len(body) :])

    def _filled(self, record: str, replaced: dict[int, str]) -> str:
        body = record.rstrip("\r\n")
        cells = split_record(body, self.delimiter)
        for position, text in replaced.items():
            cells[position] = self._quoted(text)
        return self.delimiter.join(cells) + record[len(body) :]

    def _texts(self, column: pa.Array) -> list[str]:
        """Cells as text; numbers with four decimals."""
        if pa.types.is_floating(column.type):
            texts = ["" if value is None else f"{value:.4f}" for value in column.to_pylist()]
            return [text.replace(".", ",") for text in texts] if self.writes_commas else texts
        return ["" if value is None else str(value) for value in column.to_pylist()]

    def _quoted(self, text: str) -> str:
        if self.delimiter not in text and not re.search(r'["\r\n]', text):
            return text
        return '"' + text.replace('"', '""') + '"'


def records(file: Any, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Read rows, each as it stands in the file, and as cells. Blank lines are left out."""
    first, lines = next(file, ""), list[str]()
    mark = BYTE_ORDER_MARK if first.startswith(BYTE_ORDER_MARK) else ""
    # a quote after the mark would not be one to csv; the text of the first row keeps the mark
    unmarked = chain([first.removeprefix(BYTE_ORDER_MARK)], file)

    def remembered() -> Iterator[str]:
        for line in unmarked:
            lines.append(line)
            yield line

    for cells in csv.reader(remembered(), delimiter=delimiter):
        if len(lines) > 1 and len(split_record("".join(lines).rstrip("\r\n"), delimiter)) != len(cells):
            raise csv.Error(f"a row goes on for {len(lines)} lines to the end of the file")
        if cells:
            yield mark + "".join(lines), cells
            mark = ""
        lines.clear()


def is_blank(line: str) -> bool:
    """Tell whether a line has no cells: ``records`` leaves it out."""
    return not line.strip(f"{BYTE_ORDER_MARK}\r\n")


def split_record(body: str, delimiter: str) -> list[str]:
    """Split a row into cells with their quotes and spaces."""
    cell = rf'"(?:[^"]|"")*"[^{delimiter}]*|[^{delimiter}]*'
    return re.findall(rf"(?:^|{delimiter})({cell})", body)


def delimiter_of(path: Path, header: str) -> str:
    """Return the delimiter: that of the header line, or a tab in a .tsv file."""
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    unquoted = re.sub(r'"[^"]*"', "", header)
    return max(",;\t", key=unquoted.count)
