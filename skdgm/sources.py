"""Sources of training rows: ``rows(indices, rng)`` returns a batch on the device, however the rows are stored.

``ResidentSource`` gathers from tensors on the device; ``BlockwiseSource`` reads larger arrays block by block.
``DynamicBinarization``, ``GaussianCodeSource`` and ``EncodedSource`` draw new rows whenever they are read;
``CorruptedSource`` draws noisy rows for the encoder; ``WeightedSource`` adds weights; ``Subset`` selects rows of
another source. ``order`` is the shuffled order in which a source is best read: one that reads in blocks defines its
own, and a source that wraps another returns that source's order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from skdgm.noise import sample_bernoulli


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


def at(column: Tensor | None, indices: Tensor) -> Tensor | None:
    """Select entries of a column; None stays None."""
    return None if column is None else column.index_select(0, indices)


class BlockwiseSource:
    """Rows of an array that is not copied to the device (such as a memmap), read in shuffled blocks.

    Parameters
    ----------
    array : ndarray of shape (n_rows, n_columns)
    prepare : callable
        Turns a block of rows into x and observed on the device.
    device : torch.device
    block : int, default=256
        Number of neighboring rows read together. A step mixes rows of many blocks; larger blocks read faster and mix
        less.
    """

    def __init__(
        self,
        array: np.ndarray,
        prepare: Callable[[np.ndarray], tuple[Tensor, Tensor | None]],
        device: torch.device,
        y: Tensor | None = None,
        weight: Tensor | None = None,
        block: int = 256,
    ) -> None:
        self.n_rows = len(array)
        self.array, self.prepare, self.device, self.block = array, prepare, device, block
        self.y, self.weight = y, weight

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Read the rows in the array's order, which is faster on disk, and return them in the requested order."""
        wanted = indices.cpu().numpy()
        ascending = np.argsort(wanted, kind="stable")
        block = self.array[wanted[ascending]]
        back = np.empty_like(ascending)
        back[ascending] = np.arange(len(wanted))
        return Batch(*self.prepare(block[back]), at(self.y, indices), at(self.weight, indices))

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Return a random order in which consecutive rows come from few blocks."""
        order = self.shuffled_blocks(rng)
        return order if indices is None else torch.argsort(torch.argsort(order)[indices])

    def shuffled_blocks(self, rng: Generator | None) -> Tensor:
        """Shuffle the blocks, then the rows within every 64 blocks in a row."""
        blocks = torch.arange(self.n_rows, device=self.device).split(self.block)
        shuffled = torch.cat(
            [blocks[i] for i in torch.randperm(len(blocks), generator=rng, device=self.device).tolist()]
        )
        pools = shuffled.split(64 * self.block)
        return torch.cat([pool[torch.randperm(len(pool), generator=rng, device=self.device)] for pool in pools])


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

    Columns ``side`` of the rows follow the codes.
    """

    def __init__(
        self,
        mean: Tensor,
        sd: Tensor,
        y: Tensor | None = None,
        weight: Tensor | None = None,
        side: Tensor | None = None,
    ) -> None:
        super().__init__(ResidentSource(mean, None, y, weight))
        self.sd, self.side = sd, side

    def means(self, indices: Tensor) -> Batch:
        """The means of the codes instead of draws."""
        batch = self.source.rows(indices, None)
        return batch._replace(x=self.with_side(batch.x, indices))

    def with_side(self, codes: Tensor, indices: Tensor) -> Tensor:
        """The codes of these rows and the columns beside them."""
        return codes if self.side is None else torch.cat([codes, self.side[indices]], -1)

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Draw the codes."""
        batch = self.source.rows(indices, rng)
        noise = torch.randn(batch.x.shape, generator=rng, device=batch.x.device)
        return batch._replace(x=self.with_side(batch.x + self.sd[indices] * noise, indices))


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
