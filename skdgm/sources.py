"""Where training rows come from: ``rows(indices, rng)`` gives a batch on the device, whatever lies behind it.

``Resident`` gathers from tensors that lie on the device; ``OnDisk`` reads arrays too large for that block by block.
``SampledBinary``, ``Codes`` and ``Encoded`` draw their rows anew at each visit, ``Corrupted`` draws what the encoder
reads of them; ``Subset`` shows some rows of another source. What reads in blocks says so by its ``order``, which every
source above it asks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from skdgm.noise import bits


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
        How much each row counts; None means 1.
    encoder_input : pair of x and observed, or None
        What the encoder reads in place of x and observed; None means these.
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
        """Give the rows of ``indices``; a source that samples draws from ``rng``."""
        ...

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Shuffle the rows as it is best to read them: positions in ``indices``, in all rows for None."""
        ...


class Resident:
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
        """Give a random permutation."""
        n_rows = self.n_rows if indices is None else len(indices)
        return torch.randperm(n_rows, generator=rng, device=self.columns.x.device)


def at(column: Tensor | None, indices: Tensor) -> Tensor | None:
    """Some entries of a column, where there is one."""
    return None if column is None else column.index_select(0, indices)


class OnDisk:
    """Rows of an array that stays where it is (a memmap, say) and is read in shuffled blocks.

    Parameters
    ----------
    array : ndarray of shape (n_rows, n_columns)
    prepare : callable
        Turns a block of rows into x and observed on the device.
    device : torch.device
    block : int, default=256
        Neighboring rows read together. A step mixes rows of many blocks; larger blocks read faster and mix less.
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
        """Read the rows, in the array's order for the disk's sake, and give them in the order asked for."""
        wanted = indices.cpu().numpy()
        ascending = np.argsort(wanted, kind="stable")
        block = self.array[wanted[ascending]]
        back = np.empty_like(ascending)
        back[ascending] = np.arange(len(wanted))
        return Batch(*self.prepare(block[back]), at(self.y, indices), at(self.weight, indices))

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Give a random order in which each stretch of rows lies in few blocks."""
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


class Wrapper:
    """Rows made anew at each visit from those of another source, in that source's order."""

    def __init__(self, source: Source) -> None:
        self.n_rows, self.source = source.n_rows, source

    @abstractmethod
    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Make the rows of ``indices``."""

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Give the order of the source below."""
        return self.source.order(rng, indices)


class SampledBinary(Wrapper):
    """Rows of gray values in [0, 1], drawn as 0/1 anew at each visit."""

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Draw each cell with its gray value as probability."""
        batch = self.source.rows(indices, rng)
        return batch._replace(x=bits(batch.x, rng))


class Encoded(Wrapper):
    """What ``encode`` draws for the rows of another source, anew at each visit."""

    def __init__(self, source: Source, encode: Callable[[Tensor, Generator | None], Tensor]) -> None:
        super().__init__(source)
        self.encode = encode

    @torch.no_grad()
    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Draw the codes of the rows."""
        return Batch(self.encode(self.source.rows(indices, rng).x, rng))


class Codes(Wrapper):
    """Codes N(mean, sd^2) of rows that another model has encoded, drawn anew at each visit."""

    def __init__(self, mean: Tensor, sd: Tensor, y: Tensor | None = None, weight: Tensor | None = None) -> None:
        super().__init__(Resident(mean, None, y, weight))
        self.sd = sd

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Draw the codes."""
        batch = self.source.rows(indices, rng)
        noise = torch.randn(batch.x.shape, generator=rng, device=batch.x.device)
        return batch._replace(x=batch.x + self.sd[indices] * noise)


class Corrupted(Wrapper):
    """Rows of which the encoder reads a noisy copy, while the bound keeps the clean one.

    Parameters
    ----------
    source : Source
    kind : {"flip", "dropout", "gaussian"}
        Turn x into 1 - x, call a cell missing, or add normal noise.
    level : float
        Share of cells (for "dropout" the largest, each row has its own), or the noise's standard deviation.
    """

    def __init__(self, source: Source, kind: str, level: float) -> None:
        super().__init__(source)
        self.corrupt, self.level = CORRUPTIONS[kind], level

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Draw the noise of each cell."""
        batch = self.source.rows(indices, rng)
        return batch._replace(encoder_input=self.corrupt(batch, self.level, rng))


def flipped(batch: Batch, share: float, rng: Generator | None) -> tuple[Tensor, Tensor | None]:
    """A share of the cells turned from x to 1 - x."""
    return torch.where(chosen_cells(batch.x, share, rng), 1 - batch.x, batch.x), batch.observed


def dropped(batch: Batch, share: float, rng: Generator | None) -> tuple[Tensor, Tensor | None]:
    """Cells taken for missing: of each row a share of its own, uniform up to ``share``.

    The encoder has to read complete rows and sparse ones; of one share only, it would be lost at all others.
    """
    kept = ~chosen_cells(batch.x, share * torch.rand(len(batch.x), 1, generator=rng, device=batch.x.device), rng)
    return batch.x, kept if batch.observed is None else kept & batch.observed


def noisy(batch: Batch, sd: float, rng: Generator | None) -> tuple[Tensor, Tensor | None]:
    """Normal noise on every cell."""
    return batch.x + sd * torch.randn(batch.x.shape, generator=rng, device=batch.x.device), batch.observed


def chosen_cells(x: Tensor, share: float | Tensor, rng: Generator | None) -> Tensor:
    """A mask of cells, each chosen with probability ``share``."""
    return torch.rand(x.shape, generator=rng, device=x.device) < share


CORRUPTIONS = {"flip": flipped, "dropout": dropped, "gaussian": noisy}


class Subset:
    """Some rows of another source, by index."""

    def __init__(self, source: Source, indices: Tensor) -> None:
        self.n_rows, self.source, self.indices = len(indices), source, indices

    def rows(self, indices: Tensor, rng: Generator | None) -> Batch:
        """Give the source's rows behind ``indices``."""
        return self.source.rows(self.indices[indices], rng)

    def order(self, rng: Generator | None, indices: Tensor | None = None) -> Tensor:
        """Shuffle these rows as the source likes to read them."""
        return self.source.order(rng, self.indices if indices is None else self.indices[indices])
