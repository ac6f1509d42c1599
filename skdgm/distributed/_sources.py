"""Sources of rows of which every process holds a shard.

A ``ShardedSource`` has the rows of all processes, numbered in the order of the processes. Outside of training it
returns any of them, to all processes; in training, ``OwnBatches`` and ``OwnRows`` take those of this process only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from skdgm.distributed._processes import Processes
from skdgm.sources import Batch, Source, SourceWrapper, position_of_slice


class ShardedSource:
    """Rows of all processes.

    Parameters
    ----------
    processes : Processes
    own : Source
        The rows of this process. If it has none, another row, to have something to compute with.
    bounds : sequence of int of length n_processes + 1
        The rows of process r are those from ``bounds[r]`` to ``bounds[r + 1]``.
    device : torch.device or str
    """

    def __init__(self, processes: Processes, own: Source, bounds: Sequence[int], device: torch.device | str) -> None:
        self.processes, self.own, self.bounds, self.device = processes, own, list(bounds), device
        self.n_rows = self.bounds[-1]
        self.start, self.stop = self.bounds[processes.rank : processes.rank + 2]
        self.reads_own = False
        self.own_order = self.last_order = torch.empty(0, dtype=torch.long)

    @property
    def counts(self) -> np.ndarray:
        """Number of rows of each process."""
        return np.diff(self.bounds)

    @contextmanager
    def only_own(self) -> Iterator[None]:
        """Within the body, the rows are those of this process, without any exchange."""
        self.reads_own = True
        try:
            yield
        finally:
            self.reads_own = False

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Return the rows at ``indices``: within ``only_own``, rows of this process, otherwise the same to all."""
        if not self.reads_own:
            return self.gathered(self.own.rows, indices, rng)
        if self.start == self.stop:
            return self.own.rows(torch.zeros_like(indices), rng)
        start = position_of_slice(indices, self.last_order)
        if start is None:
            return self.own.rows(indices - self.start, rng)
        return self.own.rows(self.own_order[start : start + len(indices)], rng)  # what a source of blocks recognizes

    def any_own(self, n: int) -> Tensor:
        """Indices of rows that stand in where this process has none."""
        return torch.full((n,), min(self.start, self.n_rows - 1), device=self.device)

    def means(self, indices: Tensor) -> Batch:
        """The rows without noise, of sources that have these."""
        return self.gathered(lambda own, rng: self.own.means(own), indices, None)  # type: ignore[attr-defined]

    def gathered(
        self, read: Callable[[Tensor, Generator | None], Batch], indices: Tensor, rng: Generator | None
    ) -> Batch:
        """Let every process read those rows that it has, and return all of them in the order of ``indices``."""
        if not len(indices):
            none = read(torch.zeros(1, dtype=torch.long, device=self.device), rng)[:3]
            return Batch(*(None if one is None else one[:0] for one in none))  # type: ignore[arg-type]
        mine = torch.nonzero((indices >= self.start) & (indices < self.stop)).flatten()
        part = read(indices[mine] - self.start, rng) if len(mine) else None
        message = None if part is None else (mine.cpu(), *(None if one is None else one.cpu() for one in part[:3]))
        parts = [found for found in self.processes.exchange(message) if found is not None]
        position = torch.argsort(torch.cat([of_part for of_part, *_ in parts]))
        x, observed, y = (joined_column([part[k] for part in parts], parts, k) for k in (1, 2, 3))
        chosen = [None if one is None else one[position].to(self.device) for one in (x, observed, y)]
        return Batch(chosen[0], chosen[1], chosen[2])  # type: ignore[arg-type]

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return a random order of all rows, the same for all processes, or of the rows of this process."""
        if indices is not None or not self.reads_own:
            n_rows = self.n_rows if indices is None else len(indices)
            return torch.randperm(n_rows, generator=rng, device=self.device)
        self.own_order = self.own.order(rng)
        self.last_order = self.own_order + self.start
        return self.last_order

    def subset(self, indices: Tensor) -> ShardedSource:
        """Return some of the rows, at ascending indices."""
        bounds = torch.searchsorted(indices, torch.tensor(self.bounds, device=indices.device)).tolist()
        own = indices[bounds[self.processes.rank] : bounds[self.processes.rank + 1]] - self.start
        source = self.own.subset(own if len(own) else torch.zeros(1, dtype=torch.long, device=indices.device))
        return ShardedSource(self.processes, source, bounds, self.device)


def joined_column(columns: list[Tensor | None], parts: Sequence[Any], k: int) -> Tensor | None:
    """Join the column of a batch of all parts; a mask that is None is one of observed cells only."""
    if all(column is None for column in columns):
        return None
    masks = [torch.ones_like(parts[i][1], dtype=torch.bool) if c is None else c for i, c in enumerate(columns)]
    return torch.cat(masks)


def shard_of(source: Any) -> ShardedSource:
    """Return the sharded source that others wrap."""
    while not isinstance(source, ShardedSource):
        source = source.source
    return source


class OwnBatches(SourceWrapper):
    """Batches of the rows of all processes, of which each has its part, with weights that make up for its size.

    All processes pass over their rows in the same number of batches. The weighted mean over a part is the part's share
    of the mean over the whole batch, so the sum over the processes is that mean, whatever the sizes of the parts. A
    process that has no row in a batch gets one of weight 0.
    """

    def __init__(self, source: Source, n_batches: int) -> None:
        super().__init__(source)
        self.shard, self.n_batches = shard_of(source), n_batches
        self.last_order = torch.empty(0, dtype=torch.long)

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return a random order of the rows of this process."""
        with self.shard.only_own():
            self.last_order = self.source.order(rng, indices)
        if self.shard.start == self.shard.stop:
            self.last_order = self.last_order[:0]
        return self.last_order

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Return this process's part of a batch: a slice of the last order."""
        share = self.share(indices)
        if not len(indices):
            indices = self.shard.any_own(1)
        with self.shard.only_own():
            batch = self.source.rows(indices, rng)
        y = batch.y if share or batch.y is None else batch.y.clamp(min=0)  # a row that stands in may have no label
        return weighted(batch._replace(y=y), share)

    def share(self, indices: Tensor) -> float:
        """Return this process's share of the rows of a batch, from the place of its part in the order."""
        start = position_of_slice(indices, self.last_order)
        if start is None:
            return 0.0
        k = batch_at(start, len(self.last_order), self.n_batches)
        return len(indices) / sum(size_of_batch(k, int(n), self.n_batches) for n in self.shard.counts)


def weighted(batch: Batch, factor: float) -> Batch:
    """Multiply the weights of a batch by a factor."""
    weight = batch.x.new_ones(len(batch.x)) if batch.weight is None else batch.weight
    return batch._replace(weight=weight * factor)


def size_of_batch(k: int, n_rows: int, n_batches: int) -> int:
    """Number of rows of batch k, if the rows are split into batches whose sizes differ by at most one."""
    return n_rows // n_batches + (k < n_rows % n_batches)


def batch_at(position: int, n_rows: int, n_batches: int) -> int:
    """Number of the batch that has the row at a position."""
    size, n_larger = divmod(n_rows, n_batches)
    if position < n_larger * (size + 1):
        return position // (size + 1)
    return n_larger + (position - n_larger * (size + 1)) // size


class OwnRows(SourceWrapper):
    """The rows of this process, with weights whose means over the processes add up to the mean over all rows."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.shard = shard_of(source)
        n_own = self.shard.stop - self.shard.start
        self.share, self.n_rows = n_own / self.shard.n_rows, max(1, n_own)

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Return rows of this process."""
        own = indices + self.shard.start if self.share else self.shard.any_own(len(indices))
        with self.shard.only_own():
            return weighted(self.source.rows(own, rng), self.share)
