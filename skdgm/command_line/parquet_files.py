"""Read and write Parquet files block by block; types, columns and metadata stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skdgm.command_line.messages import Advance, CommandError
from skdgm.command_line.tables import CELLS_PER_BLOCK, Block, Fill, check_names


class ParquetTable:
    """A Parquet file.

    Parameters
    ----------
    path : Path
    missing : sequence of str
        Texts that mark a missing cell in columns of text; nulls and NaN always do.

    Attributes
    ----------
    names : list of str
    size : int
        Number of rows, in which progress is counted.
    """

    is_text = False
    decimal_comma = writes_commas = False

    def __init__(self, path: Path, missing: Sequence[str] = ()) -> None:
        self.path, self.missing = path, pa.array(list(missing), pa.string())
        try:
            with pq.ParquetFile(path) as file:
                self.schema, self.size = file.schema_arrow, file.metadata.num_rows
        except pa.ArrowException as error:
            raise CommandError(f"{path} is not a Parquet file, or a damaged one: {error}.") from error
        self.names = list(self.schema.names)
        check_names(self.names, path)

    def blocks(self, advance: Advance = lambda step: None) -> Iterator[Block]:
        """Read the file from start to end; ``advance`` is called with the number of rows that were read."""
        start = 0
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(max(1, CELLS_PER_BLOCK // len(self.names))):
                table = pa.Table.from_batches([batch])
                columns = [self._without_missing(column.combine_chunks()) for column in table.columns]
                yield Block(start, pa.table(columns, names=self.names), table)
                start += table.num_rows
                advance(table.num_rows)

    def _without_missing(self, column: pa.Array) -> pa.Array:
        """Put nulls in the place of NaN and of the texts that mark a missing cell."""
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_floating(column.type):
            return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if column.type == pa.uint64():  # the largest of them are no int64
            return column.cast(pa.float64(), safe=False)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or is_view(column.type):
            column = column.cast(pa.string())
            return pc.if_else(pc.is_in(column, self.missing), pa.scalar(None, pa.string()), column)
        return column

    def type_of(self, name: str) -> pa.DataType | None:
        """Type of a column in the file, that of its values if they are encoded; None without such a column."""
        if name not in self.names:
            return None
        type_ = self.schema.field(name).type
        return type_.value_type if pa.types.is_dictionary(type_) else type_

    @contextmanager
    def writer(self, path: Path, added: Sequence[tuple[str, pa.DataType]] = ()) -> Iterator[ParquetWriter]:
        """Write a file with these columns and the added ones."""
        schema = self.schema
        for name, type_ in added:
            schema = schema.append(pa.field(name, type_))
        with pq.ParquetWriter(path, schema) as file:
            yield ParquetWriter(file, schema)


def is_view(type_: pa.DataType) -> bool:
    """Tell whether a type is that of views of text, which PyArrow cannot compare."""
    return hasattr(pa.types, "is_string_view") and pa.types.is_string_view(type_)


class ParquetWriter:
    """Writes rows of a ParquetTable, with more columns or with filled cells."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self.file, self.schema = file, schema

    def append(self, block: Block, added: Mapping[str, pa.Array]) -> None:
        """Write the rows of a block with more columns."""
        columns = [*block.original.columns, *added.values()]
        self.file.write_table(pa.table(columns, schema=self.schema))

    def fill(self, block: Block, fills: Mapping[str, Fill]) -> None:
        """Write the rows of a block with some cells replaced."""
        table = block.original
        for name, (positions, values) in fills.items():
            j, type_ = table.schema.get_field_index(name), self.schema.field(name).type
            mask = np.zeros(table.num_rows, bool)
            mask[positions] = True
            cells = getattr(type_, "value_type", type_)
            column = table[name].combine_chunks().cast(cells)
            filled = pc.replace_with_mask(column, pa.array(mask), values.cast(cells)).cast(type_)
            table = table.set_column(j, self.schema.field(name), filled)
        self.file.write_table(table)
