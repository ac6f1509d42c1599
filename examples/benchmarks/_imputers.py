"""Peers that fill the missing cells of frames with numbers and categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from _frames import Coding
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import BayesianRidge, LogisticRegression

N_ROUNDS = 5
N_TREES = 20


class TableImputer:
    """A numeric imputer on the matrix of a frame: dummies of a missing category are imputed, and the largest counts.

    So SimpleImputer fills in the mean of a number and the most frequent category.
    """

    def __init__(self, imputer: Any) -> None:
        self.imputer = imputer

    def fit(self, frame: pd.DataFrame) -> TableImputer:
        """Learn from a frame."""
        self.coding = Coding.of(frame)
        self.imputer.fit(self.coding.encode(frame))
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Fill the missing cells."""
        return self._filled(frame, self.imputer.transform(self.coding.encode(frame)))

    def fit_transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Learn from a frame and fill its missing cells."""
        self.coding = Coding.of(frame)
        return self._filled(frame, self.imputer.fit_transform(self.coding.encode(frame)))

    def _filled(self, frame: pd.DataFrame, Z: np.ndarray) -> pd.DataFrame:
        filled = self.coding.decode(Z).set_axis(frame.index)
        return pd.DataFrame({name: frame[name].where(frame[name].notna(), filled[name]) for name in frame})


class ChainedImputer:
    """Chained equations: in rounds, each column is predicted from all others, whose missing cells are filled.

    Numbers are regressed and categories classified, from standardized numbers and one-hot categories, columns with
    fewer missing cells first; the start is SimpleImputer's, and final for a column with one category. IterativeImputer
    on one-hot categories would predict a dummy from the other dummies of the same category, which are missing with it,
    and so hardly leave the start.
    ``transform`` runs the same rounds with the models of the last one.
    """

    def __init__(self, regressor: Any, classifier: Any, n_rounds: int = N_ROUNDS) -> None:
        self.regressor = regressor
        self.classifier = classifier
        self.n_rounds = n_rounds

    def fit(self, frame: pd.DataFrame) -> ChainedImputer:
        """Learn from a frame."""
        self.fit_transform(frame)
        return self

    def fit_transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Learn from a frame and fill its missing cells; without any, one round learns all."""
        self.start = TableImputer(SimpleImputer()).fit(frame)
        self.coding = self.start.coding
        n_missing = frame.isna().sum()
        varied = [name for name in n_missing.index if len(self.coding.categories.get(name, [0, 1])) > 1]
        self.order = list(n_missing[varied].sort_values(kind="stable").index)
        Z = self.coding.encode(self.start.transform(frame))
        for _ in range(self.n_rounds if n_missing.any() else 1):
            self.models = {name: self._learn_and_fill(name, frame, Z) for name in self.order}
        return self._filled(frame, Z)

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Fill the missing cells."""
        Z = self.coding.encode(self.start.transform(frame))
        for _ in range(self.n_rounds):
            for name in self.order:
                self._fill(name, frame, Z, self.models[name])
        return self._filled(frame, Z)

    def _learn_and_fill(self, name: str, frame: pd.DataFrame, Z: np.ndarray) -> Any:
        """Fit the model of a column to its observed cells, and fill the others in Z."""
        seen, own = frame[name].notna().to_numpy(), self.coding.columns_of(name)
        target, inputs = Z[seen][:, own], np.delete(Z[seen], own, axis=1)
        if name in self.coding.numbers:
            model = clone(self.regressor).fit(inputs, target[:, 0])
        else:
            model = clone(self.classifier).fit(inputs, target.argmax(axis=1))
        self._fill(name, frame, Z, model)
        return model

    def _fill(self, name: str, frame: pd.DataFrame, Z: np.ndarray, model: Any) -> None:
        """Write a model's predictions into the missing cells of a column."""
        missing, own = frame[name].isna().to_numpy(), self.coding.columns_of(name)
        if missing.any():
            found = model.predict(np.delete(Z[missing], own, axis=1))
            is_number = name in self.coding.numbers
            Z[np.ix_(missing, own)] = found[:, None] if is_number else found[:, None] == np.arange(len(own))

    def _filled(self, frame: pd.DataFrame, Z: np.ndarray) -> pd.DataFrame:
        return self.start._filled(frame, Z)


def chained_linear(seed: int) -> ChainedImputer:
    """Ridge and logistic regression, as IterativeImputer by default does for numbers."""
    return ChainedImputer(BayesianRidge(), LogisticRegression(max_iter=1000))


def chained_trees(seed: int) -> ChainedImputer:
    """Random trees, like missForest."""
    options = {"n_estimators": N_TREES, "random_state": seed}
    return ChainedImputer(ExtraTreesRegressor(**options), ExtraTreesClassifier(**options))
