"""Base class of M2Classifier and ADGMClassifier: the model is one of the rows themselves, not of their codes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from skdgm._sklearn_compat import NoCallbacks, StrOptions
from skdgm.estimators._options import NETWORK_PARAMETERS
from skdgm.estimators._partial_labels import BaseIncrementalClassifier
from skdgm.estimators._semi_supervised import TrainingData
from skdgm.estimators._streams import Table, look
from skdgm.models.m2 import M2Module


class BaseRowClassifier(BaseIncrementalClassifier):
    """Abstract base of M2Classifier and ADGMClassifier, which have the parameters of the columns of X."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseIncrementalClassifier._parameter_constraints,
        **NETWORK_PARAMETERS,
        "dynamic_binarization": ["boolean"],
        "handle_unknown": [StrOptions({"warn", "error", "ignore"})],
    }

    def _training_source(
        self, X: Any, y: Tensor, sample_weight: np.ndarray | None, random: np.random.RandomState, context: Any
    ) -> TrainingData:
        rows = self._read(X, reset=True)
        self._misses_cells = np.isnan(look(rows)).any(0)
        self._choose_likelihood(rows)
        return self._data(rows, y)

    def _source_of_part(
        self, X: Any, y: Tensor, sample_weight: np.ndarray | None, random: np.random.RandomState
    ) -> TrainingData:
        if self._is_first_part:
            return self._training_source(X, y, sample_weight, random, NoCallbacks())
        rows = self._check_part(self._read(X))
        self._check_same_likelihood("partial_fit")
        return self._data(rows, y)

    def _data(self, rows: Table, y: Tensor) -> TrainingData:
        source = self._source(rows, y, binary=self.dynamic_binarization)
        return TrainingData(rows, source, rows.shape[1], self._columns.groups)

    def _epoch_context(self, context: Any) -> Any:
        return context

    @property
    def _n_fit_tasks(self) -> int:
        return self.max_iter

    @property
    def _model(self) -> M2Module:
        return self.module_
