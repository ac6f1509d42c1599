"""Training in parts: each call of ``partial_fit`` trains for one epoch on its rows, from where the last one ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from skdgm._sklearn_compat import NoCallbacks
from skdgm.averaging import Progress
from skdgm.estimators._base import BaseDeepGenerative
from skdgm.estimators._callbacks import EpochTasks
from skdgm.estimators._options import check_same_architecture
from skdgm.estimators._streams import Table, check_keeps_zeros, is_sparse
from skdgm.training import Term


@dataclass(frozen=True)
class Parts:
    """What is known of the parts so far, in numbers and NumPy arrays; ``fit`` is the first part.

    Attributes
    ----------
    n_rows : int
        Number of rows so far. A row counts each time that it comes.
    n_calls : int
        Number of calls of ``partial_fit`` so far.
    weights, mean, square, n_steps, n_averaged
        Those of a ``Progress``.
    """

    n_rows: int = 0
    n_calls: int = 0
    weights: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    mean: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    square: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    n_steps: int = 0
    n_averaged: int = 0

    def progress(self) -> Progress:
        """Where training continues."""
        weights, mean, square = map(torch.tensor, (self.weights, self.mean, self.square))
        return Progress(weights, mean, square, self.n_steps, self.n_averaged)

    def after(self, progress: Progress) -> Parts:
        """The same, with the place where training ended."""
        weights, mean, square = (part.cpu().numpy() for part in (progress.weights, progress.mean, progress.square))
        numbers = {"n_steps": progress.n_steps, "n_averaged": progress.n_averaged}
        return replace(self, weights=weights, mean=mean, square=square, **numbers)


class BaseIncremental(BaseDeepGenerative):
    """Abstract base of the estimators with ``partial_fit``."""

    _parts: Parts = Parts()

    @property
    def _is_first_part(self) -> bool:
        """Whether there is no model yet."""
        return not hasattr(self, "module_")

    def _check_part(self, rows: Table) -> Table:
        """Return the rows of a further part of the training rows; raise an error if the model cannot hold them."""
        if is_sparse(rows):
            check_keeps_zeros(self._columns.kinds)
        for _ in self._checked_blocks(rows):
            pass
        return rows

    def _check_same_model(self, architecture: dict[str, Any], auto: Set[str]) -> None:
        """Raise an error if parameters that shape the model changed, except what the first part chose: ``auto``."""
        chosen = {name: value for name, value in architecture.items() if name not in auto}
        check_same_architecture(self._architecture, chosen, type(self).__name__, continued_by="partial_fit")

    def _start_part(self, n_rows: int) -> np.random.RandomState:
        """Count a call and its rows; return its random state, which depends on the first call's and their number."""
        random = self._start()
        if not self._is_first_part:
            random = np.random.RandomState([self._noise_seed, self._parts.n_calls])
        self._parts = replace(self._parts, n_calls=self._parts.n_calls + 1, n_rows=self._parts.n_rows + n_rows)
        return random

    def _train_part(
        self,
        terms: Sequence[Term],
        random: np.random.RandomState,
        n_rows: int,
        *,
        penalties: Mapping[str, float] = MappingProxyType({}),
        rate_factors: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Train ``module_`` for one pass over ``n_rows`` rows, and append the epoch to the history."""
        settings = self._settings(n_rows, math.ceil(n_rows / self._batch_size(n_rows)))
        settings = replace(
            settings,
            max_iter=1,
            learning_rate="constant",
            n_rows=self._parts.n_rows,
            penalties=penalties,
            rate_factors={**settings.rate_factors, **rate_factors},
        )
        tasks = EpochTasks(self, NoCallbacks(), None, part=f", call {self._parts.n_calls},", n_epochs=1)
        progress = self._parts.progress()
        history = self._run_engine(self.module_, terms, settings, random, tasks, progress=progress)
        self._parts = self._parts.after(progress)
        self._extend_history(history.terms)

    def _extend_history(self, epoch: Mapping[str, list[float]]) -> None:
        """Append the terms of an epoch; those that it lacks are NaN."""
        before, n_before = getattr(self, "history_", {}), len(getattr(self, "loss_curve_", []))
        self.history_ = {
            name: [*before.get(name, [math.nan] * n_before), *epoch.get(name, [math.nan])]
            for name in {**before, **epoch}
        }
        self.loss_curve_ = [-bound for bound in self.history_["bound"]]
        self.n_iter_ = len(self.loss_curve_)
        self.validation_scores_ = None
