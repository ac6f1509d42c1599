"""Sources of training rows: ``rows(indices, rng)`` returns a batch on the device, however the rows are stored.

``ResidentSource`` gathers from tensors on the device; ``BlockwiseSource`` reads larger arrays block by block.
``DynamicBinarization``, ``GaussianCodeSource`` and ``EncodedSource`` draw new rows whenever they are read;
``CorruptedSource`` draws noisy rows for the encoder; ``WeightedSource`` adds weights; ``Subset`` selects rows of
another source. ``order`` is the shuffled order in which a source is best read: one that reads in blocks defines its
own, and a source that wraps another returns that source's order.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Thread
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor

from skdgm.noise import sample_bernoulli
from skdgm.readers import RowReader, Rows

# Sizes in float32 of the blocks in which a table is shuffled, of the rows that are in memory at once, and of those that
# are prepared at once: NumPy allocates the latter in large pages, which is faster.
BLOCK_BYTES, POOL_BYTES, PART_BYTES = 1 << 18, 1 << 26, 1 << 23
# Smallest number of blocks in memory, if the chunks of a file are large.
MIN_BLOCKS = 4

T = TypeVar("T")
# x and observed, as in a Batch
Prepared: TypeAlias = tuple[Tensor, Tensor | None]


class Batch(NamedTuple):
    """Rows of a training step.

    Attributes
    ----------
    x : Tensor of shape (n, n_columns)
    observed : Tensor of bool of shape (n, n_columns) or None
        Cells that are not missing; None means all.
    y : Tensor of int of shape (n,) or None
        Class indices.
    weight : Tensor of shape (n,) or None
        Weight of each row; None means 1.
    encoder_input : pair of x and observed, or None
        What the encoder reads instead of x and observed; None means x and observed.
    """

    x: Tensor
    observed: Tensor | None = None
    y: Tensor | None = None
    weight: Tensor | None = None
    encoder_input: tuple[Tensor, Tensor | None] | None = None


class Source(Protocol):
    """Rows by index."""

    n_rows: int

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Return the rows at ``indices``; a source that samples draws from ``rng``."""
        ...

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return a shuffled order that is fast to read: positions in ``indices``, or in all rows if None."""
        ...

    def subset(self, indices: Tensor) -> Source:
        """Return some of the rows as a source."""
        ...


class ResidentSource:
    """Rows in tensors on the device."""

    def __init__(
        self, x: Tensor, observed: Tensor | None = None, y: Tensor | None = None, weight: Tensor | None = None
    ) -> None:
        self.n_rows = len(x)
        self.columns = Batch(x, observed, y, weight)

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Gather the rows."""
        x, observed, y, weight, _ = self.columns
        return Batch(x.index_select(0, indices), at(observed, indices), at(y, indices), at(weight, indices))

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return a random permutation."""
        n_rows = self.n_rows if indices is None else len(indices)
        return torch.randperm(n_rows, generator=rng, device=self.columns.x.device)

    def subset(self, indices: Tensor) -> Source:
        """Return some of the rows, without a copy."""
        return Subset(self, indices)


def at(column: Tensor | None, indices: Tensor) -> Tensor | None:
    """Select entries of a column; None stays None."""
    return None if column is None else column.index_select(0, indices)


class BlockwiseSource:
    """Rows of a table that is not copied to the device, such as a memmap, read in shuffled blocks.

    An order shuffles blocks of neighboring rows, and then the rows within pools of many blocks. Steps in this order get
    their rows from a pool in memory, while a thread reads the next one.

    Parameters
    ----------
    table : Rows, RowReader or ndarray of shape (n_rows, n_columns)
    prepare : callable
        Turns rows into x and observed on the device. A thread calls it, too.
    device : torch.device
    y, weight : Tensor of shape (n_rows,), default=None
    block : int, default=None
        Number of neighboring rows that stay in one pool. None is about 256 kB in float32, but whole chunks of the file.
    blocks_per_pool : int, default=None
        A step mixes rows of so many blocks. None is about 64 MB, but at least 4 blocks.
    """

    def __init__(
        self,
        table: Rows | RowReader | np.ndarray,
        prepare: Callable[[np.ndarray], Prepared],
        device: torch.device,
        y: Tensor | None = None,
        weight: Tensor | None = None,
        block: int | None = None,
        blocks_per_pool: int | None = None,
    ) -> None:
        self.table = Rows.of(table)
        self.prepare, self.device, self.y, self.weight = prepare, device, y, weight
        self.n_rows, n_columns = self.table.shape
        chunk = self.table.chunk_rows
        self.block = block or chunk * math.ceil(n_rows_of(BLOCK_BYTES, n_columns) / chunk)
        self.blocks_per_pool = blocks_per_pool or max(MIN_BLOCKS, n_rows_of(POOL_BYTES, n_columns) // self.block)
        self.pools: PoolReader | None = None

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Return the rows: from the pools if ``indices`` are a slice of the last order, otherwise read them."""
        x, observed = joined(self.parts_in_pools(indices) or self.parts(indices.cpu().numpy()))
        return Batch(x, observed, at(self.y, indices), at(self.weight, indices))

    def parts_in_pools(self, indices: Tensor) -> list[Prepared]:
        """The rows in the pools of the last order; none if ``indices`` are no slice of it."""
        start = None if self.pools is None else position_of_slice(indices, self.pools.order)
        return [] if self.pools is None or start is None else self.pools.rows(start, start + len(indices))

    def parts(self, indices: np.ndarray) -> list[Prepared]:
        """Read rows, and prepare them in parts: what that takes in between can be many times the result."""
        ascending = np.unique(indices)
        rows, positions = self.table.read(ascending), np.searchsorted(ascending, indices)
        size = n_rows_of(PART_BYTES, self.table.shape[1])
        return [self.prepare(rows[part]) for part in np.split(positions, range(size, len(positions), size))]

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return a random order in which consecutive rows come from few blocks."""
        pools = self.shuffled_pools(rng)
        order = torch.cat(pools)
        if indices is not None:
            return torch.argsort(torch.argsort(order)[indices])
        self.pools = PoolReader(order, [len(pool) for pool in pools], self.parts)
        return order

    def shuffled_pools(self, rng: Generator | None) -> list[Tensor]:
        """Shuffle the blocks, then the rows within the pools."""
        starts = torch.arange(0, self.n_rows, self.block, device=self.device)
        blocks = starts[torch.randperm(len(starts), generator=rng, device=self.device)]
        return [self.shuffled_pool(pool.tolist(), rng) for pool in blocks.split(self.blocks_per_pool)]

    def shuffled_pool(self, starts: list[int], rng: Generator | None) -> Tensor:
        """Shuffle the rows of the blocks that begin at these rows."""
        stops = [min(start + self.block, self.n_rows) for start in starts]
        rows = torch.cat([torch.arange(*ends, device=self.device) for ends in zip(starts, stops, strict=True)])
        return rows[torch.randperm(len(rows), generator=rng, device=self.device)]

    def subset(self, indices: Tensor) -> Source:
        """Return some of the rows, best ascending ones: in memory if they are no more than a pool."""
        y, weight, selected = at(self.y, indices), at(self.weight, indices), indices.cpu().numpy()
        if len(selected) <= self.block * self.blocks_per_pool:
            return ResidentSource(*joined(self.parts(selected)), y, weight)
        return BlockwiseSource(
            self.table[selected], self.prepare, self.device, y, weight, self.block, self.blocks_per_pool
        )


class PoolReader:
    """Rows in a known order, pool by pool, while a thread reads the next pool.

    Parameters
    ----------
    order : Tensor of int of shape (n_rows,)
    sizes : list of int
        Numbers of rows of the pools.
    read : callable
        Reads rows at indices, in parts.
    """

    def __init__(self, order: Tensor, sizes: list[int], read: Callable[[np.ndarray], list[Prepared]]) -> None:
        self.order, self.read = order, read
        self.stops = np.cumsum(sizes)
        self.starts = self.stops - sizes
        self.indices = np.split(order.cpu().numpy(), self.stops[:-1])
        self.reading: dict[int, Future[list[Prepared]]] = {}  # the pool in use and the next one

    def rows(self, start: int, stop: int) -> list[Prepared]:
        """The rows from ``start`` to ``stop`` of the order, in parts."""
        first, last = np.searchsorted(self.stops, [start, stop - 1], side="right").tolist()
        begins = [(k, int(self.starts[k])) for k in range(first, last + 1)]
        return [part for k, begin in begins for part in slice_of(self.pool(k), start - begin, stop - begin)]

    def pool(self, k: int) -> list[Prepared]:
        """Wait for pool k, and begin to read the next one."""
        if k not in self.reading:
            self.reading = {k: in_thread(self.read, self.indices[k])}
        parts = self.reading[k].result()
        if k + 1 < len(self.indices) and k + 1 not in self.reading:
            self.reading = {k: self.reading[k], k + 1: in_thread(self.read, self.indices[k + 1])}
        return parts


def in_thread(function: Callable[..., T], *args: Any) -> Future[T]:
    """Call a function in a thread of its own, which ends with the call."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:  # raised where the result is awaited
            future.set_exception(error)

    Thread(target=call).start()
    return future


def n_rows_of(n_bytes: int, n_columns: int) -> int:
    """Number of rows that take about so many bytes in float32, at least 1."""
    return max(1, n_bytes // (4 * max(1, n_columns)))


def position_of_slice(part: Tensor, order: Tensor) -> int | None:
    """Where a slice of ``order`` begins, without reading either from the device; None for any other tensor."""
    is_slice = part.untyped_storage().data_ptr() == order.untyped_storage().data_ptr() and part.is_contiguous()
    return int(part.storage_offset()) if is_slice and len(part) else None


def slice_of(parts: list[Prepared], start: int, stop: int) -> Iterator[Prepared]:
    """The rows from ``start`` to ``stop``, which may lie outside, of consecutive parts."""
    for x, observed in parts:
        if start < len(x) and stop > 0:
            inside = slice(max(start, 0), stop)
            yield x[inside], None if observed is None else observed[inside]
        start, stop = start - len(x), stop - len(x)


def joined(parts: list[Prepared]) -> Prepared:
    """Copy parts into one; None is a mask of observed cells only."""
    x = torch.cat([x for x, _ in parts])  # also of one part: new memory is aligned, on which the last bits may depend
    if all(observed is None for _, observed in parts):
        return x, None
    masks = [torch.ones_like(x, dtype=torch.bool) if observed is None else observed for x, observed in parts]
    return x, torch.cat(masks)


class SourceWrapper:
    """Rows computed from those of another source whenever they are read, in that source's order."""

    def __init__(self, source: Source) -> None:
        self.n_rows, self.source = source.n_rows, source

    @abstractmethod
    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Compute the rows at ``indices``."""

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return the order of the wrapped source."""
        return self.source.order(rng, indices)

    def subset(self, indices: Tensor) -> Source:
        """Wrap some of the rows of the wrapped source."""
        subset = copy.copy(self)
        subset.n_rows, subset.source = len(indices), self.source.subset(indices)
        return subset


class DynamicBinarization(SourceWrapper):
    """Rows of gray values in [0, 1], drawn as 0 or 1 again whenever they are read."""

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Draw each cell with its gray value as the probability of a 1."""
        batch = self.source.rows(indices, rng)
        return batch._replace(x=sample_bernoulli(batch.x, rng))


class WeightedSource(SourceWrapper):
    """Rows with weights in place of those that they have."""

    def __init__(self, source: Source, weight: Tensor) -> None:
        super().__init__(source)
        self.weight = weight

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Return the rows with their weights."""
        return self.source.rows(indices, rng)._replace(weight=self.weight.index_select(0, indices))

    def subset(self, indices: Tensor) -> Source:
        """Return some of the rows with their weights."""
        return WeightedSource(self.source.subset(indices), self.weight.index_select(0, indices))


class EncodedSource(SourceWrapper):
    """Codes that ``encode`` draws for the rows of another source, again whenever they are read."""

    def __init__(self, source: Source, encode: Callable[[Tensor, Generator | None], Tensor]) -> None:
        super().__init__(source)
        self.encode = encode

    @torch.no_grad()
    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Draw the codes of the rows."""
        return Batch(self.encode(self.source.rows(indices, rng).x, rng))


class GaussianCodeSource(SourceWrapper):
    """Codes of rows that another model has encoded, drawn from N(mean, sd^2) again whenever they are read.

    Columns of the rows, from the source ``side``, follow the codes.
    """

    def __init__(
        self,
        mean: Tensor,
        sd: Tensor,
        y: Tensor | None = None,
        weight: Tensor | None = None,
        side: Source | None = None,
    ) -> None:
        super().__init__(ResidentSource(mean, None, y, weight))
        self.sd, self.side = sd, side

    def means(self, indices: Tensor) -> Batch:
        """The means of the codes instead of draws."""
        batch = self.source.rows(indices, None)
        return batch._replace(x=self.with_side(batch.x, indices))

    def with_side(self, codes: Tensor, indices: Tensor) -> Tensor:
        """The codes of these rows and the columns beside them."""
        return codes if self.side is None else torch.cat([codes, self.side.rows(indices, None).x], -1)

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Draw the codes."""
        batch = self.source.rows(indices, rng)
        noise = torch.randn(batch.x.shape, generator=rng, device=batch.x.device)
        return batch._replace(x=self.with_side(batch.x + self.sd[indices] * noise, indices))

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return the order of the columns beside the codes, which may be slower to read."""
        return (self.side or self.source).order(rng, indices)

    def subset(self, indices: Tensor) -> Source:
        """Return some of the rows."""
        subset = copy.copy(self)
        subset.n_rows, subset.source, subset.sd = len(indices), self.source.subset(indices), self.sd[indices]
        subset.side = None if self.side is None else self.side.subset(indices)
        return subset


class CorruptedSource(SourceWrapper):
    """Rows with a noisy copy for the encoder; the bound uses the clean rows.

    Parameters
    ----------
    source : Source
    kind : {"flip", "dropout", "gaussian"}
        Replace x by 1 - x, mark cells as missing, or add normal noise.
    level : float
        Share of cells (for "dropout" the largest share; each row has its own), or the noise's standard deviation.
    """

    def __init__(self, source: Source, kind: str, level: float) -> None:
        super().__init__(source)
        self.corrupt, self.level = CORRUPTIONS[kind], level

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Draw the noise of each cell."""
        batch = self.source.rows(indices, rng)
        return batch._replace(encoder_input=self.corrupt(batch, self.level, rng))


def flip_cells(batch: Batch, share: float, rng: Generator | None) -> tuple[Tensor, Tensor | None]:
    """Replace x by 1 - x in a share of the cells."""
    return torch.where(chosen_cells(batch.x, share, rng), 1 - batch.x, batch.x), batch.observed


def drop_cells(batch: Batch, share: float, rng: Generator | None) -> tuple[Tensor, Tensor | None]:
    """Mark cells as missing: a different share in each row, uniform up to ``share``.

    The encoder has to read both complete and sparse rows; trained with a single share, it would fail at all others.
    """
    kept = ~chosen_cells(batch.x, share * torch.rand(len(batch.x), 1, generator=rng, device=batch.x.device), rng)
    return batch.x, kept if batch.observed is None else kept & batch.observed


def add_noise(batch: Batch, sd: float, rng: Generator | None) -> tuple[Tensor, Tensor | None]:
    """Add normal noise to every cell."""
    return batch.x + sd * torch.randn(batch.x.shape, generator=rng, device=batch.x.device), batch.observed


def chosen_cells(x: Tensor, share: float | Tensor, rng: Generator | None) -> Tensor:
    """A mask of cells, each chosen with probability ``share``."""
    return torch.rand(x.shape, generator=rng, device=x.device) < share


CORRUPTIONS = {"flip": flip_cells, "dropout": drop_cells, "gaussian": add_noise}


class Subset:
    """Some rows of another source, by index."""

    def __init__(self, source: Source, indices: Tensor) -> None:
        self.n_rows, self.source, self.indices = len(indices), source, indices

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Return the source's rows for these positions in the subset."""
        return self.source.rows(self.indices[indices], rng)

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return the source's order of these rows."""
        return self.source.order(rng, self.indices if indices is None else self.indices[indices])

    def subset(self, indices: Tensor) -> Source:
        """Return some of these rows."""
        return self.source.subset(self.indices[indices])
