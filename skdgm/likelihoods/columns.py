"""Combine one likelihood per group of columns of a table into one distribution over rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from skdgm.distributions import Distribution, sum_of
from skdgm.likelihoods import LIKELIHOODS, Arguments, Likelihood
from skdgm.noise import Rng


class ColumnGroup(NamedTuple):
    """Columns under one likelihood.

    Attributes
    ----------
    likelihood : str
        Name in ``LIKELIHOODS``.
    columns : sequence of int
    arguments : sequence of mappings
        For each column, what the likelihood needs to know of it; empty if it needs nothing.
    """

    likelihood: str
    columns: Sequence[int]
    arguments: Sequence[Arguments] = ()


Groups = Sequence[ColumnGroup]


class MixedLikelihood(nn.Module):
    """p(x | z) from a decoder's outputs: each group of columns has its own likelihood, independent given z.

    Parameters
    ----------
    groups : str or sequence of ColumnGroup
        The groups in the order in which the decoder gives their outputs; a name in ``LIKELIHOODS`` for all columns.
    n_columns : int
    """

    columns: Tensor
    back: Tensor
    column_of_feature: Tensor
    feature_order: Tensor | None
    column_of_fixed_feature: Tensor
    fixed_feature_order: Tensor | None
    fillers: Tensor

    def __init__(self, groups: str | Groups, n_columns: int) -> None:
        super().__init__()
        if isinstance(groups, str):
            groups = [ColumnGroup(groups, range(n_columns))]
        self.groups = [ColumnGroup(*group) for group in groups]
        made = [LIKELIHOODS[group.likelihood](len(group.columns), group.arguments) for group in self.groups]
        self.likelihoods = nn.ModuleList(made)
        self.sizes = [len(group.columns) for group in self.groups]
        self.n_outputs = [likelihood.n_outputs for likelihood in made]
        self.n_shared = [likelihood.n_shared for likelihood in made]
        self.n_features = sum(likelihood.n_features for likelihood in made)
        self.n_fixed_features = sum(likelihood.n_fixed_features for likelihood in made)
        order = torch.tensor([column for group in self.groups for column in group.columns], dtype=torch.long)
        back = torch.argsort(order)
        filler = torch.tensor([one.filler for one, size in zip(made, self.sizes, strict=True) for _ in range(size)])
        features = in_column_order(self.groups, [likelihood.column_of_feature for likelihood in made])
        fixed_features = in_column_order(self.groups, [likelihood.column_of_fixed_feature for likelihood in made])
        self.feature_owners: list[int] = features[0].tolist()
        for name, buffer in {
            "columns": order,
            "back": back,
            "fillers": filler[back],
            "column_of_feature": features[0],
            "feature_order": features[1],
            "column_of_fixed_feature": fixed_features[0],
            "fixed_feature_order": fixed_features[1],
        }.items():
            self.register_buffer(name, buffer, persistent=False)
        # a table under one likelihood needs no reordering, and its distribution is that of the likelihood
        self.is_single = len(made) == 1 and order.tolist() == list(range(n_columns))

    @property
    def parts(self) -> list[Likelihood]:
        """The likelihoods of the groups."""
        return cast("list[Likelihood]", list(self.likelihoods))

    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Distribution:
        """p(x | z) from ``outputs`` of shape (..., n, sum of ``n_outputs``) and ``shared`` (sum of ``n_shared``,)."""
        if self.is_single:
            return self.parts[0](outputs, shared, observed)
        parts = zip(self.parts, outputs.split(self.n_outputs, -1), shared.split(self.n_shared), strict=True)
        masks = (
            [None] * len(self.sizes)
            if observed is None
            else observed.index_select(-1, self.columns).split(self.sizes, -1)
        )
        groups = [likelihood(out, numbers, mask) for (likelihood, out, numbers), mask in zip(parts, masks, strict=True)]
        return ProductDistribution(groups, self.sizes, self.columns, self.back)

    def features(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """What networks read of rows, (n, n_features): 0 for missing cells, in the order of the columns."""
        parts = [likelihood.features(cells) for likelihood, cells in self.cells(x, observed)]
        return joined(parts, self.feature_order, self.column_of_feature, observed)

    def fixed_features(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Features that do not change in training, (n, n_fixed_features), ordered as ``features``."""
        parts = [likelihood.fixed_features(cells) for likelihood, cells in self.cells(x, observed)]
        return joined(parts, self.fixed_feature_order, self.column_of_fixed_feature, observed)

    def cells(self, x: Tensor, observed: Tensor | None) -> list[tuple[Likelihood, Tensor]]:
        """Each likelihood with its columns, valid cells in place of missing ones."""
        if observed is not None:
            x = torch.where(observed, x, self.fillers)
        split = [x] if self.is_single else x.index_select(-1, self.columns).split(self.sizes, -1)
        return list(zip(self.parts, split, strict=True))

    def positions_of(self, likelihood: str) -> tuple[list[int], slice, slice, list[int]]:
        """Columns, outputs, shared numbers and features of a likelihood that has one of each per column."""
        outputs = shared = 0
        for group, n_outputs, n_shared in zip(self.groups, self.n_outputs, self.n_shared, strict=True):
            if group.likelihood == likelihood:
                columns = list(group.columns)
                features = [self.feature_owners.index(column) for column in columns]
                return columns, slice(outputs, outputs + n_outputs), slice(shared, shared + n_shared), features
            outputs, shared = outputs + n_outputs, shared + n_shared
        return [], slice(0), slice(0), []


class ProductDistribution:
    """The joint distribution of independent groups of columns.

    Parameters
    ----------
    parts : sequence of Distribution
    sizes : sequence of int
        Number of columns of each part.
    columns, back : Tensor of int of shape (n_columns,)
        The columns in the order of the parts, and the inverse order.
    """

    def __init__(self, parts: Sequence[Distribution], sizes: Sequence[int], columns: Tensor, back: Tensor) -> None:
        self.parts, self.sizes, self.columns, self.back = parts, list(sizes), columns, back

    @property
    def mean(self) -> Tensor:
        """Center of each cell, of shape (..., n, n_columns): the mean, or the mode of categories."""
        return self.in_order([part.mean for part in self.parts])

    @property
    def mean_parameters(self) -> Tensor:
        """Mean parameters of all parts, one after the other; (..., n, n_mean_parameters)."""
        return torch.cat([part.mean_parameters for part in self.parts], -1)

    def center(self, mean_parameters: Tensor) -> Tensor:
        """Center of each cell of a distribution with these mean parameters; (..., n, n_columns)."""
        sizes = [part.mean_parameters.shape[-1] for part in self.parts]
        split = mean_parameters.split(sizes, -1)
        return self.in_order([part.center(numbers) for part, numbers in zip(self.parts, split, strict=True)])

    def rsample(self, rng: Rng) -> Tensor:
        """One draw per row, of shape (..., n, n_columns)."""
        return self.in_order([part.rsample(rng) for part in self.parts])

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum of the parts' log-densities, of shape (..., n)."""
        split = x.index_select(-1, self.columns).split(self.sizes, -1)
        return sum_of([part.log_prob(columns) for part, columns in zip(self.parts, split, strict=True)])

    def in_order(self, values: Sequence[Tensor]) -> Tensor:
        """Put the parts' columns into the order of the table."""
        return torch.cat(list(values), -1).index_select(-1, self.back)


def in_column_order(groups: Groups, owners: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
    """Sort features by column: their columns, and the order that sorts them, None if they are sorted already.

    ``owners`` holds, for each group, which of its columns each feature belongs to.
    """
    columns = [group.columns[owner] for group, of_group in zip(groups, owners, strict=True) for owner in of_group]
    sorted_columns, order = torch.sort(torch.tensor(columns, dtype=torch.long), stable=True)
    return sorted_columns, None if columns == sorted_columns.tolist() else order


def joined(parts: Sequence[Tensor], order: Tensor | None, columns: Tensor, observed: Tensor | None) -> Tensor:
    """The groups' features in the order of the columns, 0 for missing cells."""
    features = parts[0] if len(parts) == 1 else torch.cat(list(parts), -1)
    features = features if order is None else features.index_select(-1, order)
    return features if observed is None else torch.where(observed.index_select(-1, columns), features, 0.0)
