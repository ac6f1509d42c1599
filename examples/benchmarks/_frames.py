"""Raw tables as data frames, and the numeric matrices that estimators without categories or missing cells need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import OrdinalEncoder
from sklearn.semi_supervised import SelfTrainingClassifier

ROOT = Path(__file__).resolve().parents[2]
ADULT_ROWS = 5_000

# ------------------------------------------------------------------------------------------------------------ tables


@cache
def datasets() -> ModuleType:
    """skdgm.datasets of this checkout, even if the estimators are those of an older one."""
    spec = spec_from_file_location("_datasets_of_this_checkout", ROOT / "skdgm" / "datasets.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def load_frame(table: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The raw columns of a table, and its target."""
    return LOADERS.get(table, partial(from_folder, table))()


def from_folder(table: str) -> tuple[pd.DataFrame, np.ndarray]:
    """A table from the folder SKDGM_DATA."""
    bunch = datasets().load_table(table, as_frame=True)
    return bunch.data, bunch.target.to_numpy()


def numeric(loader: Callable, scale: float = 1) -> tuple[pd.DataFrame, np.ndarray]:
    """A table from scikit-learn without categories."""
    X, y = loader(return_X_y=True, as_frame=True)
    return X / scale, y.to_numpy()


def penguins() -> tuple[pd.DataFrame, np.ndarray]:
    """The Palmer penguins; the year of the measurement is not a feature."""
    try:
        package = import_module("palmerpenguins")
    except ImportError as error:
        raise ImportError(
            "The table penguins needs palmerpenguins: pip install palmerpenguins, or skdgm[bench]."
        ) from error
    frame = package.load_penguins()
    return frame.drop(columns=["year", "species"]), frame["species"].to_numpy(object)


def adult() -> tuple[pd.DataFrame, np.ndarray]:
    """5,000 rows of adult, always the same."""
    frame, y = from_folder("adult")
    rows = np.random.RandomState(0).permutation(len(y))[:ADULT_ROWS]
    return frame.iloc[rows].reset_index(drop=True), y[rows]


LOADERS: dict[str, Callable[[], tuple[pd.DataFrame, np.ndarray]]] = {
    "wine": partial(numeric, load_wine),
    "breast_cancer": partial(numeric, load_breast_cancer),
    "diabetes": partial(numeric, load_diabetes),
    "digits": partial(numeric, load_digits, 16),
    "penguins": penguins,
    "adult": adult,
    "adult_full": partial(from_folder, "adult"),
}


def is_category(frame: pd.DataFrame) -> np.ndarray:
    """Mask of the columns that hold categories."""
    return np.array([not is_numeric_dtype(dtype) for dtype in frame.dtypes], dtype=bool)


def as_array(frame: pd.DataFrame) -> np.ndarray:
    """A float array, or, with categories, an object array in which a missing category is None."""
    categorical = is_category(frame)
    if not categorical.any():
        return frame.to_numpy(float)
    X = frame.astype(object)
    return X.where(X.notna() | ~categorical, None).to_numpy()


def categories_as(dtype: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with another dtype of its categorical columns."""
    return frame.astype(dict.fromkeys(frame.columns[is_category(frame)], dtype))


# -------------------------------------------------------------------------------------------------- frames as numbers


@dataclass(frozen=True)
class Coding:
    """How a frame is written as numbers: numbers standardized, categories one-hot.

    A missing cell is NaN in all of its columns. A category that is not among the known ones is zero in all of them.

    Attributes
    ----------
    numbers : dict
        Mean and standard deviation of each numeric column.
    categories : dict
        The categories of each other column.
    dtypes : Series
        Of all columns, in their order.
    """

    numbers: dict[str, tuple[float, float]]
    categories: dict[str, pd.Index]
    dtypes: pd.Series

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Coding:
        """Learn from the observed cells; a constant column is only centered."""
        categorical = is_category(frame)
        scales = {name: (frame[name].mean(), frame[name].std(ddof=0) or 1.0) for name in frame.columns[~categorical]}
        known = {name: pd.Index(np.unique(frame[name].dropna())) for name in frame.columns[categorical]}
        return cls(scales, known, frame.dtypes)

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the matrix of a frame."""
        return np.hstack([self._encoded(name, frame[name]) for name in self.dtypes.index])

    def _encoded(self, name: str, column: pd.Series) -> np.ndarray:
        if name in self.numbers:
            mean, sd = self.numbers[name]
            return ((column.to_numpy(float) - mean) / sd)[:, None]
        codes = self.categories[name].get_indexer(column.astype(object))
        one_hot = (codes[:, None] == np.arange(len(self.categories[name]))).astype(float)
        one_hot[column.isna()] = np.nan
        return one_hot

    def decode(self, Z: np.ndarray) -> pd.DataFrame:
        """Return the frame of a matrix: the category with the largest value counts."""
        return pd.DataFrame({name: self._decoded(name, Z[:, self.columns_of(name)]) for name in self.dtypes.index})

    def columns_of(self, name: str) -> np.ndarray:
        """Positions of a column in the matrix."""
        widths = [len(self.categories.get(name, [0])) for name in self.dtypes.index]
        position = list(self.dtypes.index).index(name)
        return sum(widths[:position]) + np.arange(widths[position])

    def _decoded(self, name: str, block: np.ndarray) -> pd.Series:
        if name in self.numbers:
            mean, sd = self.numbers[name]
            return pd.Series(block[:, 0] * sd + mean)
        return pd.Series(self.categories[name][block.argmax(axis=1)]).astype(self.dtypes[name])


class FrameBoosting:
    """HistGradientBoostingClassifier that splits by categories and reads missing cells, on frames.

    The categories are written as codes first, because SelfTrainingClassifier turns a frame into an array without
    dtypes; a category that was not in the rows of ``fit`` is read as missing. Columns without an observed cell in the
    labeled rows are left out, because the binning of scikit-learn fails on them.
    """

    def __init__(self, seed: int, self_training: bool = False) -> None:
        self.seed = seed
        self.self_training = self_training

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> FrameBoosting:
        """Learn from a frame; a label of -1 marks an unlabeled row if it trains itself."""
        categorical = is_category(X)
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        self.codes = make_column_transformer((codes, categorical), remainder="passthrough")
        Z = self.codes.fit_transform(X)
        self.used = ~np.isnan(Z[y >= 0]).all(axis=0)
        columns = list(range(self.used[: categorical.sum()].sum()))  # the transformer puts the codes first
        model = HistGradientBoostingClassifier(categorical_features=columns, random_state=self.seed)
        self.model = SelfTrainingClassifier(model) if self.self_training else model
        self.model.fit(Z[:, self.used], y)
        self.classes_ = self.model.classes_
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Return the most probable classes."""
        return self.model.predict(self.codes.transform(X)[:, self.used])

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Return the probabilities of the classes."""
        return self.model.predict_proba(self.codes.transform(X)[:, self.used])
