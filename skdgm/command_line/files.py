"""Open tables by the ending of their name, and write files that are either complete or not there."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from skdgm.command_line.messages import CommandError
from skdgm.command_line.parquet_files import ParquetTable
from skdgm.command_line.tables import TableFile
from skdgm.command_line.text_files import TextTable, delimiter_of

TEXT, PARQUET = (".csv", ".tsv", ".tab", ".txt"), (".parquet", ".pq")


def open_table(path: str, missing: Sequence[str], encoding: str) -> TableFile:
    """Open a table.

    Parameters
    ----------
    path : str
        File that ends in .csv, .tsv, .tab, .txt, .parquet or .pq.
    missing : sequence of str
        Texts that mark a missing cell.
    encoding : str
        Encoding of a file of text.

    Returns
    -------
    TextTable or ParquetTable

    Raises
    ------
    CommandError
        If there is no such file, or it cannot be read as a table.
    """
    file = Path(path)
    if not file.is_file():
        raise CommandError(f"there is no file {path}" + (", only a folder of this name." if file.is_dir() else "."))
    ending = checked_ending(file)
    return ParquetTable(file, missing) if ending in PARQUET else TextTable(file, missing, encoding)


def checked_ending(path: Path) -> str:
    """Return the ending of a file's name; raise an error if no table ends so."""
    ending = path.suffix.lower()
    if ending not in TEXT + PARQUET:
        hint = " Save the spreadsheet as CSV." if ending in (".xlsx", ".xls", ".ods") else ""
        raise CommandError(f"{path} should end in .csv, .tsv or .parquet, which tells how to read or write it.{hint}")
    return ending


def check_output(path: str, *, force: bool, like: TableFile | None = None) -> Path:
    """Check, before the work begins, that a file can be written.

    Parameters
    ----------
    path : str
    force : bool
        Whether to replace a file.
    like : table, default=None
        A table that is written with its rows as they are, hence in the same format.

    Returns
    -------
    Path
    """
    file = Path(path)
    if file.is_dir() or (file.exists() and not force):
        way_out = "Name a file." if file.is_dir() else "Choose another name, or replace it with --force."
        raise CommandError(f"{path} is a folder. {way_out}" if file.is_dir() else f"{path} exists. {way_out}")
    if not file.parent.is_dir():
        raise CommandError(f"there is no folder {file.parent} to write {file.name} to. Create it first.")
    if not os.access(file.parent, os.W_OK):
        raise CommandError(f"the folder {file.parent} cannot be written to.")
    if like is not None and format_of(file) != format_of(like.path):
        raise CommandError(
            f"{path} should end in {like.path.suffix}, like {like.path.name}: the rows are written as they are there."
        )
    return file


def format_of(path: Path) -> str:
    """Return "parquet", or the delimiter of files of text with this ending."""
    return "parquet" if checked_ending(path) in PARQUET else delimiter_of(path, "")


@contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """Give a temporary file beside ``path``, which takes its place if the body succeeds, and is removed otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_table(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Write a new table in parts: give a function that writes some rows."""
    with complete_file(path) as temporary:
        if format_of(path) == "parquet":
            with pq.ParquetWriter(temporary, schema) as file:
                yield file.write_table
        else:
            with open(temporary, "w", encoding="utf-8", newline="") as text:
                rows = csv.writer(text, delimiter=format_of(path), lineterminator="\n")
                rows.writerow(schema.names)
                yield lambda table: rows.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))
