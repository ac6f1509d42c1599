"""A fit by several processes, each with a shard of the rows, as the fit of one process on all of them.

Rows of X stay where they are. What holds one number per row, such as labels and weights, is known to all processes, and
so are those rows from which columns are described and weights are initialized: all of a small table, a sample of a
large one. Every process therefore decides alike. In a fit of one process, these functions return what they get.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from skdgm.distributed._processes import current
from skdgm.distributed._rows import ShardedReader
from skdgm.distributed._sources import OwnBatches, OwnRows, ShardedSource
from skdgm.estimators._frames import rows_at
from skdgm.estimators._streams import Extremes, Stream, Table, blocks, matrix_of
from skdgm.readers import Rows
from skdgm.sources import Source
from skdgm.training import Term, n_batches

SAME_TABLE = "Give each process rows of the same table."


def refuse(estimator: Any, method: str) -> None:
    """Raise an error for a method that trains on the rows of one process."""
    processes = current()
    if processes is not None:
        raise ValueError(
            f"{type(estimator).__name__}.{method} trains on the rows of one process, but {processes.n} processes fit "
            "together. Call it within skdgm.distributed.alone()."
        )


def is_sharded() -> bool:
    """Tell whether other processes have other rows of the fit."""
    return current() is not None


def exchanged(value: Any) -> list[Any]:
    """Return the values of all processes; without other processes, this one."""
    processes = current()
    return [value] if processes is None else processes.exchange(value)


# --- rows -------------------------------------------------------------------------------------------------------------


class ShardedStream(Stream):
    """Training rows of all processes; ``looked`` is the same on all of them."""

    reader: ShardedReader

    def _look(self) -> np.ndarray:
        """Let every process read all of its rows once."""
        reader, extremes = self.reader, Extremes(self.shape[1], self.dtype)
        if matrix_of(self) is not None:
            extremes.add_sparse(matrix_of(reader.own))
        else:
            for _, block in blocks(reader.own):
                extremes.add(block)
        for other in reader.processes.exchange(extremes):
            extremes.merge(other)
        return np.concatenate([np.asarray(self[self.sampled]), extremes.rows()])

    def row_of(self, position: int, column: int) -> int:
        """Return the number of a row with a cell of ``looked``."""
        if position < len(self.sampled):
            return int(self.sampled[position])
        reader, value = self.reader, self.looked[position, column]
        found = [
            start + int(at[0]) for start, b in blocks(reader.own) if len(at := np.flatnonzero(b[:, column] == value))
        ]
        return min(
            row for row in reader.processes.exchange(reader.start + found[0] if found else None) if row is not None
        )


def training_rows(rows: Table) -> Table:
    """Return the training rows of all processes, which stay where they are; lazy ones as a stream."""
    processes = current()
    if processes is not None:
        return ShardedStream(Rows(ShardedReader(processes, rows, SAME_TABLE)))
    return Stream(rows) if isinstance(rows, Rows) else rows


def gathered(array: np.ndarray) -> np.ndarray:
    """Return the rows of all processes as an array: for few numbers per row."""
    processes = current()
    return array if processes is None else np.concatenate(processes.exchange(array))


def own_part(array: Any, rows: Any) -> Any:
    """Return this process's part of an array with an entry for every row, whose own rows are ``rows``."""
    processes = current()
    if processes is None or array is None:
        return array
    counts = processes.exchange(rows.shape[0])
    start = sum(counts[: processes.rank])
    return array[start : start + rows.shape[0]]


def of_rows(function: Callable[[Any], np.ndarray], X: Any, indices: np.ndarray) -> np.ndarray:
    """Apply a function to rows, each of them by the process that has it; X holds the rows of this process."""
    processes = current()
    if processes is None:
        return function(rows_at(X, indices))
    start = sum(processes.exchange(X.shape[0])[: processes.rank])
    mine = np.flatnonzero((indices >= start) & (indices < start + X.shape[0]))
    part = function(rows_at(X, indices[mine] - start)) if len(mine) else None
    parts = [found for found in processes.exchange((mine, part)) if len(found[0])]
    if not parts:
        return function(rows_at(X, np.arange(1)))[:0]
    return np.concatenate([one for _, one in parts])[np.argsort(np.concatenate([at for at, _ in parts]))]


def summary_of_missing(missing: np.ndarray) -> np.ndarray:
    """Return two rows of the table of all processes: whether some, and whether all cells of a column are missing."""
    processes = current()
    if processes is None:
        return missing
    some, every = zip(*processes.exchange((missing.any(0), missing.all(0))), strict=True)
    return np.stack([np.any(some, axis=0), np.all(every, axis=0)])


# --- labels, weights and randomness -----------------------------------------------------------------------------------


def all_classes(classes: np.ndarray) -> np.ndarray:
    """Return the classes of all processes one after the other."""
    processes = current()
    if processes is None:
        return classes
    found = [of_one for of_one in processes.exchange(classes) if len(of_one)]
    types = {of_one.dtype.kind for of_one in found}
    return np.concatenate([of_one.astype(object) for of_one in found] if len(types) > 1 else found or [classes])


def all_targets(classes: np.ndarray, targets: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Return the class indices of the rows of all processes, -1 for unlabeled rows.

    Parameters
    ----------
    classes, targets : ndarray
        Classes of this process, and the indices among them of its rows.
    every : ndarray of shape (n_classes,)
        The sorted classes of all processes.
    """
    if current() is None:
        return targets
    place = np.append(np.searchsorted(every, classes), -1)  # index -1 stays -1
    small = np.min_scalar_type(-len(every))  # the fewest bytes
    return gathered(place[targets].astype(small)).astype(np.int64)


def all_weights(weight: np.ndarray | None) -> np.ndarray | None:
    """Return the weights of the rows of all processes; all or none of these must have weights."""
    processes = current()
    if processes is None:
        return weight
    processes.check_same({"whether sample_weight is given": weight is not None}, "Pass it on all of them, or on none.")
    return None if weight is None else gathered(weight)


def same_random(random: np.random.RandomState) -> np.random.RandomState:
    """Return a random state with the same numbers on all processes: those of the process of rank 0."""
    processes = current()
    if processes is not None:
        random.set_state(processes.exchange(random.get_state())[0])
    return random


def of_process(rng: Generator) -> Generator:
    """Seed a generator for this process, which has noise and an order of rows of its own; rank 0 keeps its seed."""
    processes = current()
    if processes is None or not processes.rank:
        return rng
    seeds = np.random.SeedSequence((rng.initial_seed(), processes.rank)).generate_state(1, np.uint64)
    return rng.manual_seed(int(seeds[0] >> 1))


def own_device(device: str) -> str:
    """Return the GPU of this process out of those of its machine, unless the user has named one."""
    if device != "cuda" or current() is None:
        return device
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def is_first() -> bool:
    """Tell whether this is the process that prints and writes files."""
    processes = current()
    return processes is None or not processes.rank


# --- training ---------------------------------------------------------------------------------------------------------


def sharded_source(
    bounds: Sequence[int], y: Tensor | None, make: Callable[[Tensor | None], Source], device: str
) -> ShardedSource:
    """Make the source of the rows of all processes.

    Parameters
    ----------
    bounds : sequence of int of length n_processes + 1
        The first row of each process, and the number of rows.
    y : Tensor of shape (n_rows,) or None
        The labels of all processes.
    make : callable
        Makes the source of the rows of this process from their labels.
    device : str
    """
    processes = current()
    assert processes is not None
    first, last = bounds[processes.rank : processes.rank + 2]
    own_y = None if y is None else y[first : max(last, first + 1)] if first < len(y) else y[:1]
    return ShardedSource(processes, make(own_y), bounds, device)


def source_of_shards(n_own: int, y: Tensor, make: Callable[[Tensor | None], Source], device: str) -> Source:
    """As ``sharded_source``, for ``n_own`` rows of this process; without other processes, what ``make`` makes."""
    processes = current()
    if processes is None:
        return make(y)
    return sharded_source([0, *accumulate(processes.exchange(n_own))], y, make, device)


def own_terms(terms: Sequence[Term], validation: Term | None) -> tuple[list[Term], Term | None]:
    """Return the terms of a training with this process's parts of their sources."""
    if current() is None:
        return list(terms), validation
    parts = {id(term.source): OwnBatches(term.source, n_batches(term)) for term in reversed(terms)}
    own = [replace(term, source=parts[id(term.source)]) for term in terms]
    return own, None if validation is None else replace(validation, source=OwnRows(validation.source))
