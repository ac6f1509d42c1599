"""Base class of likelihoods p(x | z): from a decoder's output to a distribution over a group of columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skdgm.distributions import Distribution

Arguments = Mapping[str, Any]  # what is known of a column before training, as plain numbers and lists


class Likelihood(nn.Module):
    """p(x | z) of a group of columns, and what networks read of these columns.

    Parameters
    ----------
    n_columns : int
    arguments : sequence of mappings
        For each column, what the likelihood needs to know of it before training. Empty for likelihoods without a need.

    Attributes
    ----------
    standardize : bool
        Whether columns are centered and scaled before they come here.
    is_binary : bool
        Whether cells are 0 or 1.
    filler : float
        A valid cell, in place of missing ones.
    n_outputs, n_shared, n_features : int
        Numbers of decoder outputs, of learned log-variances that all rows share, and of features, for all columns.
        Outputs of 0 give the columns' distribution over all rows, as far as the arguments describe it.
    """

    standardize: ClassVar[bool] = False
    is_binary: ClassVar[bool] = False
    filler: ClassVar[float] = 0.0

    def __init__(self, n_columns: int, arguments: Sequence[Arguments] = ()) -> None:
        super().__init__()
        self.n_columns = self.n_outputs = self.n_features = n_columns
        self.n_shared = 0

    def keep(self, **numbers: Tensor) -> None:
        """Keep what is known before training as buffers. They are made from the arguments again, so never saved."""
        for name, value in numbers.items():
            self.register_buffer(name, value, persistent=False)

    @abstractmethod
    def forward(self, outputs: Tensor, shared: Tensor, observed: Tensor | None = None) -> Distribution:
        """p(x | z) from ``outputs`` of shape (..., n, n_outputs) and ``shared`` of shape (n_shared,)."""

    def features(self, x: Tensor) -> Tensor:
        """What networks read of valid cells x, (..., n, n_columns), with a spread of about 1; (..., n, n_features)."""
        return x

    @property
    def column_of_feature(self) -> list[int]:
        """The column to which each feature belongs."""
        return list(range(self.n_columns))

    def fixed_features(self, x: Tensor) -> Tensor:
        """Features that do not change in training, (..., n, n_fixed_features), for networks that need them fixed."""
        return self.features(x)

    @property
    def column_of_fixed_feature(self) -> list[int]:
        """The column to which each fixed feature belongs."""
        return self.column_of_feature

    @property
    def n_fixed_features(self) -> int:
        """Number of fixed features of all columns."""
        return len(self.column_of_fixed_feature)


def numbers_of(arguments: Sequence[Arguments], name: str) -> Tensor:
    """The argument ``name`` of all columns: (n_columns,), or (n_columns, k) if it is a list of k numbers."""
    return torch.tensor([of_column[name] for of_column in arguments], dtype=torch.float32)
