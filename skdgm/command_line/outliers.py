"""``outliers``: find the rows with the lowest density, and the cells that make them so."""

from __future__ import annotations

import heapq
from argparse import Namespace
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skdgm.command_line.columns import Column
from skdgm.command_line.files import check_output, complete_file, open_table
from skdgm.command_line.messages import CommandError, aligned, progress_bar
from skdgm.command_line.models import check_model_file, density
from skdgm.command_line.rows import scan, typed_rows

SCORE = "outlier_score"
# A cell is named if it costs this many nats more than is usual in its column, and at most so many of a row are.
UNUSUAL_NATS, MAX_CELLS = 3.0, 3
# Rows from which it is told what is usual, and the widest table in which cells are named: each is left out in turn.
ROWS_FOR_USUAL, MAX_COLUMNS = 30, 100
# Rows that tell what score is typical with some cells missing, and patterns of missing cells for which they do.
ROWS_PER_PATTERN, MAX_PATTERNS = 100, 50


def run(arguments: Namespace) -> None:
    """Score the rows of a table, and print the most unusual ones.

    Parameters
    ----------
    arguments : Namespace
        As ``__main__`` parses them.

    Raises
    ------
    CommandError
        If the arguments do not fit the table.
    """
    table = open_table(arguments.data, arguments.missing, arguments.encoding)
    out = arguments.out and check_output(arguments.out, force=arguments.force, like=table)
    check_model_file(arguments)
    if out and SCORE in table.names:
        raise CommandError(f"{table.path} already has a column {SCORE!r}. Rename it or remove it first.")
    found = scan(table, arguments.rows, arguments.seed)
    model, schema = density(arguments, found)
    training_rows = typed_rows(found.sample.select(schema.names), schema, decimal_comma=table.decimal_comma)
    typical, unusual = TypicalScores(model, training_rows), MostUnusual(arguments.top)
    with ExitStack() as stack:
        advance = stack.enter_context(progress_bar("scoring", table.size))
        writer = out and stack.enter_context(
            table.writer(stack.enter_context(complete_file(out)), [(SCORE, pa.float64())])
        )
        for block in table.blocks(advance):
            rows = typed_rows(block.table.select(schema.names), schema, decimal_comma=table.decimal_comma)
            scores = typical.of(rows) - model.score_samples(rows)
            unusual.update(rows, scores, block.start)
            if writer:
                writer.append(block, {SCORE: pa.array(scores)})
    columns = {name: found.columns[name] for name in schema.names}
    unusual.tell(Explanation(model, training_rows, columns) if len(columns) <= MAX_COLUMNS else None)
    if out:
        print(f"Wrote {out}: all columns, and {SCORE!r}.")


class TypicalScores:
    """Median log-densities of training rows that miss the same cells: densities of other cells have other units.

    Parameters
    ----------
    model : estimator
    rows : pyarrow.Table
        The rows that the model was trained on.
    """

    def __init__(self, model: Any, rows: pa.Table) -> None:
        self.model, self.rows, self.observed = model, rows, observed_cells(rows)
        self.found: dict[bytes, float] = {}

    def of(self, rows: pa.Table) -> np.ndarray:
        """Return the typical score of rows with the missing cells of each row, (n_rows,)."""
        patterns, index = np.unique(observed_cells(rows), axis=0, return_inverse=True)
        return np.array([self._of_pattern(pattern) for pattern in patterns])[index.ravel()]

    def _of_pattern(self, pattern: np.ndarray) -> float:
        """Return that of one pattern of observed cells; of the most similar one, once there are very many."""
        key = pattern.tobytes()
        if key not in self.found:
            if len(self.found) == MAX_PATTERNS:
                return min(self.found.items(), key=lambda one: (np.frombuffer(one[0], bool) != pattern).sum())[1]
            self.found[key] = self._median(pattern)
        return self.found[key]

    def _median(self, pattern: np.ndarray) -> float:
        candidates = np.flatnonzero(self.observed[:, pattern].all(1))
        candidates = candidates if len(candidates) else np.arange(self.rows.num_rows)
        if not pattern.all():
            chosen = np.linspace(0, len(candidates) - 1, min(len(candidates), ROWS_PER_PATTERN)).astype(int)
            candidates = candidates[chosen]
        rows = self.rows.take(pa.array(candidates))
        for name, is_observed in zip(rows.column_names, pattern, strict=True):
            rows = rows if is_observed else without(rows, name)
        return float(np.median(self.model.score_samples(rows)))


class MostUnusual:
    """The rows with the highest scores.

    Parameters
    ----------
    n_kept : int
    """

    def __init__(self, n_kept: int) -> None:
        self.n_kept, self.rows = n_kept, [(0.0, 0, pa.table({}))][:0]  # a heap; the least unusual first

    def update(self, rows: pa.Table, scores: np.ndarray, start: int) -> None:
        """Consider the rows of a block, the first of which is row ``start`` of the table."""
        for row in np.argsort(-scores, kind="stable")[: self.n_kept]:
            heapq.heappush(self.rows, (float(scores[row]), -(start + int(row) + 1), rows.slice(row, 1)))
            if len(self.rows) > self.n_kept:
                heapq.heappop(self.rows)

    def tell(self, explanation: Explanation | None) -> None:
        """Print the rows, and the cells that make them unusual."""
        if not self.n_kept:
            return
        lines = [
            [f"{-row:,}", f"{score:.1f}", explanation.of(cells) if explanation else ""]
            for score, row, cells in sorted(self.rows, key=lambda kept: kept[:2], reverse=True)
        ]
        print("Most unusual rows (1 is the first below the header; typical rows score about 0):")
        print(aligned([["row", "score", "because of" if explanation else ""], *lines]))


class Explanation:
    """Tells which cells make a row unusual: those that are improbable given its other cells.

    Parameters
    ----------
    model : estimator
    rows : pyarrow.Table
        The rows that the model was trained on.
    columns : dict of str to Column
    """

    def __init__(self, model: Any, rows: pa.Table, columns: dict[str, Column]) -> None:
        self.model, self.columns = model, columns
        some = rows.take(pa.array(np.linspace(0, rows.num_rows - 1, min(rows.num_rows, ROWS_FOR_USUAL)).astype(int)))
        costs = np.ma.masked_invalid(self._costs(some))
        self.usual = np.ma.median(costs, axis=0).filled(0.0)  # 0 for a column that all these rows miss

    def _costs(self, rows: pa.Table) -> np.ndarray:
        """Return -log p(cell | other cells of the row) for each cell, in nats; NaN for missing ones."""
        tables = [rows, *(without(rows, name) for name in self.columns)]
        whole, *rest = np.split(self.model.score_samples(pa.concat_tables(tables)), len(tables))
        return np.where(observed_cells(rows), np.transpose(rest) - whole[:, None], np.nan)

    def of(self, row: pa.Table) -> str:
        """Describe the cells that make a row unusual, the worst first, and what would be expected in their place."""
        parts = []
        for _ in range(MAX_CELLS):
            excess = np.nan_to_num(self._costs(row)[0] - self.usual, nan=-np.inf)
            if excess.max() < UNUSUAL_NATS:
                break
            name = list(self.columns)[excess.argmax()]
            rest = without(row, name)  # a wrong cell makes the right ones of its row improbable, too
            parts.append(f"{name} {self._text(row, name)} (expected {self._text(self.model.impute(rest), name)})")
            row = rest
        return ", ".join(parts)

    def _text(self, row: pa.Table, name: str) -> str:
        cell = self.columns[name].native(row[name].combine_chunks())[0].as_py()
        return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def observed_cells(rows: pa.Table) -> np.ndarray:
    """Tell which cells are observed, (n_rows, n_columns)."""
    return np.column_stack([pc.is_valid(column).to_numpy() for column in rows.columns])


def without(rows: pa.Table, name: str) -> pa.Table:
    """Return rows whose cells of a column are missing."""
    j = rows.schema.get_field_index(name)
    return rows.set_column(j, rows.schema.field(j), pa.nulls(rows.num_rows, rows.schema.field(j).type))
