"""The categorical likelihood: columns of codes without an order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdgm.distributions import linear, sum_observed, zero_fill
from skdgm.likelihoods.base import Arguments, Likelihood
from skdgm.likelihoods.levels import CategoryDistribution, Levels

# A column with more levels is described by an embedding: a one-hot code would give it most of the networks' weights.
MAX_ONE_HOT = 30
MAX_EMBEDDING = 16


class CategoricalLikelihood(Likelihood):
    """Each cell is one of the codes 0..K-1 of its column; the decoder gives logits relative to the log of their shares.

    Networks read one-hot codes. A column of more than ``MAX_ONE_HOT`` levels has a learned embedding of length
    e = ceil(sqrt(K)), at most ``MAX_EMBEDDING``: networks read it, and the logits are its product with e outputs.

    Parameters
    ----------
    n_columns : int
    arguments : sequence of mappings
        ``shares``: the share of each level, above 0. ``values``: the standardized number of each code, which networks
        read as well, or None. Fixed features are the number alone, if there is one: few labels learn more from it.
    """

    values: Tensor
    log_shares: Tensor
    valued: Tensor
    of_labels: Tensor
    is_number: Tensor

    def __init__(self, n_columns: int, arguments: Sequence[Arguments]) -> None:
        super().__init__(n_columns)
        shares = [of_column["shares"] for of_column in arguments]
        sizes = [len(of_column) for of_column in shares]
        values = [of_column["values"] or [0.0] * k for of_column, k in zip(arguments, sizes, strict=True)]
        self.levels = Levels(sizes)
        self.embedded = [column for column in self.levels.order.tolist() if sizes[column] > MAX_ONE_HOT]
        self.tables = nn.ParameterList([embedding(sizes[column], seed=column) for column in self.embedded])
        self.n_one_hot = sum(size for size in sizes if size <= MAX_ONE_HOT)
        lengths = [table.shape[1] for table in self.tables]
        self.output_sizes = [self.n_one_hot, *lengths]
        self.n_outputs = sum(self.output_sizes)
        valued = [column for column, of_column in enumerate(arguments) if of_column["values"] is not None]
        self.owners = [column for column, length in zip(self.embedded, lengths, strict=True) for _ in range(length)]
        self.n_features = self.n_outputs + len(valued)
        of_labels = torch.tensor([column not in valued for column in self.levels.column.tolist()], dtype=torch.bool)
        self.keep(
            is_number=torch.tensor([of_column["values"] is not None for of_column in arguments]),
            of_labels=of_labels.nonzero()[:, 0],
            log_shares=torch.log(self.levels.flat(shares)),
            values=self.levels.flat(values),
            valued=torch.tensor(valued, dtype=torch.long),
        )

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> IndependentCategorical:
        one_hot, *embedded = outputs.split(self.output_sizes, -1)
        products = [linear(part, table).float() for part, table in zip(embedded, self.tables, strict=True)]
        logits = torch.cat([one_hot, *products], -1) + self.log_shares
        return IndependentCategorical(logits, self.levels, observed, self.is_number)

    def features(self, x: Tensor) -> Tensor:
        embedded = [F.embedding(x[..., j].long(), table) for j, table in zip(self.embedded, self.tables, strict=True)]
        return torch.cat([self.levels.one_hot(x, self.n_one_hot), *embedded, self.values_of(x)], -1)

    @property
    def column_of_feature(self) -> list[int]:
        return [*self.levels.column[: self.n_one_hot].tolist(), *self.owners, *self.valued.tolist()]

    def fixed_features(self, x: Tensor) -> Tensor:
        return torch.cat([self.levels.one_hot(x, len(self.levels.level))[..., self.of_labels], self.values_of(x)], -1)

    @property
    def column_of_fixed_feature(self) -> list[int]:
        return [*self.levels.column[self.of_labels].tolist(), *self.valued.tolist()]

    def values_of(self, x: Tensor) -> Tensor:
        """The numbers that codes stand for, of the columns that have them."""
        return self.values[self.levels.places(x)[..., self.valued]]


class IndependentCategorical(CategoryDistribution):
    """Independent columns of codes. The center of codes that stand for numbers is their median.

    Parameters
    ----------
    logits : Tensor of shape (..., n, n_levels)
        Unnormalized log-probabilities, in the flat order of ``levels``.
    levels, observed
        As in ``CategoryDistribution``.
    is_number : Tensor of bool of shape (n_columns,) or None
        Columns whose codes stand for numbers.
    """

    def __init__(
        self,
        logits: Tensor,
        levels: Levels,
        observed: Tensor | None = None,
        is_number: Tensor | None = None,
    ) -> None:
        super().__init__(levels, observed)
        self.logits, self.is_number = logits, is_number

    def center(self, mean_parameters: Tensor) -> Tensor:
        """The most probable code of each cell; of numbers, the median."""
        modes = super().center(mean_parameters)
        return (
            modes
            if self.is_number is None
            else torch.where(self.is_number, self.levels.medians(mean_parameters), modes)
        )

    @property
    def mean_parameters(self) -> Tensor:
        return torch.cat([F.softmax(part, -1).flatten(-2) for part in self.levels.by_run(self.logits)], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over columns of the log-probability of the cell's code, of shape (..., n)."""
        places = self.levels.places(zero_fill(x, self.observed))
        lead = torch.broadcast_shapes(self.logits.shape[:-1], places.shape[:-1])
        chosen = self.logits.expand(*lead, -1).gather(-1, places.expand(*lead, -1))
        sums = self.levels.log_sum_exp(self.logits)
        mask = None if self.observed is None else self.observed[..., self.levels.order]
        return sum_observed(chosen, self.observed) - sum_observed(sums, mask)


def embedding(n_levels: int, seed: int) -> nn.Parameter:
    """Initial embedding of levels, (n_levels, e), of length about 1. Fixed noise, which only has to break symmetry."""
    length = min(MAX_EMBEDDING, math.ceil(math.sqrt(n_levels)))
    rng = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(n_levels, length, generator=rng) / math.sqrt(length))
