"""Missing cells in rows to predict: M2Classifier on incomplete rows against imputation followed by classification.

- Tables: 8; rows of penguins with a missing cell are left out. A split (5 seeds) holds out 30 % of the rows, stratified
  by class. Training rows are complete; 30 % of the cells of the test rows are hidden, each with the same probability,
  but never all of a row. 30 or 100 training rows, the same number from each class, or "all" keep their label.
- M2Classifier predicts incomplete rows itself, and so does HistGradientBoostingClassifier. The other methods get test
  rows whose cells were filled by an imputer that was fitted to the training rows, labeled or not: means and most
  frequent categories (SimpleImputer), or chained equations with ridge and logistic regression, 5 rounds
  (ChainedImputer in _imputers.py, which does for tables with categories what IterativeImputer does for numbers).
- All methods have defaults and are fitted once to the same complete rows, M2Classifier to all of them and the others
  to the labeled ones. Logistic regression gets standardized numbers and one-hot categories, the others the frame with
  its categories. Boosting cannot split 30 rows, because its leaves have at least 20.
- "accuracy without holes" is that of the same classifier on the complete test rows. Every run uses one thread.

    SKDGM_DATA=... python examples/benchmarks/holes_at_prediction.py             # everything; resumes, an hour
    SKDGM_DATA=... python examples/benchmarks/holes_at_prediction.py --methods M2Classifier --tables wine
    python examples/benchmarks/holes_at_prediction.py --report                   # the page from the results
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import few_labels as common  # first, because it sets one thread before numpy and torch are loaded
import numpy as np
import pandas as pd
from _frames import Coding, FrameBoosting
from _imputers import TableImputer, chained_linear
from _ranks import Benchmark, Measure, key
from densities import hidden_cells
from few_labels import Task, fixed, markdown
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

TABLES = ("wine", "wheat_seeds", "penguins", "ionosphere", "breast_cancer", "german_credit", "banknote", "digits")
N_LABELED = ("30", "100", "all")
SHARE = 0.3
N_SEEDS = 5
MEASURES = (
    Measure("accuracy", "accuracy", True),
    Measure("log_loss", "log-loss", False),
    Measure("complete_accuracy", "accuracy without holes", None),
)


# ----------------------------------------------------------------------------------------------------------- methods


class FrameLogisticRegression:
    """LogisticRegression on standardized numbers and one-hot categories."""

    def __init__(self, coding: Coding) -> None:
        self.coding = coding

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> FrameLogisticRegression:
        """Learn from labeled rows."""
        self.model = LogisticRegression(**common.LR).fit(self.coding.encode(X), y)
        return self

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Return the probabilities of the classes."""
        return self.model.predict_proba(self.coding.encode(X))


def logistic_regression(seed: int, X: pd.DataFrame, y: np.ndarray) -> FrameLogisticRegression:
    """Fit to the labeled rows, in units of all of them."""
    return FrameLogisticRegression(Coding.of(X)).fit(X[y >= 0], y[y >= 0])


def boosting(seed: int, X: pd.DataFrame, y: np.ndarray) -> FrameBoosting:
    """Fit to the labeled rows."""
    return FrameBoosting(seed).fit(X[y >= 0], y[y >= 0])


def m2(seed: int, X: pd.DataFrame, y: np.ndarray) -> Any:
    """Fit to all rows."""
    return common.ours("M2Classifier", seed).fit(X, y)


OURS = ("M2Classifier",)
CLASSIFIERS: dict[str, Callable[[int, pd.DataFrame, np.ndarray], Any]] = {
    "M2Classifier": m2,
    "LogisticRegression": logistic_regression,
    "HistGradientBoostingClassifier": boosting,
}
IMPUTERS: dict[str, Callable[[int], Any]] = {
    "SimpleImputer": lambda seed: TableImputer(SimpleImputer()),
    "ChainedImputer": chained_linear,
}
# "" stands for the incomplete rows themselves
METHODS = [(name, imputer) for name in CLASSIFIERS for imputer in ("", *IMPUTERS)]
METHODS.remove(("LogisticRegression", ""))
PARAMS = {"LogisticRegression": common.LR}


# -------------------------------------------------------------------------------------------------------------- runs


@lru_cache(maxsize=1)
def split(table: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """Complete training and test rows, and their classes."""
    frame, y = common.rows_of(table)
    complete = frame.notna().all(axis=1).to_numpy()
    return train_test_split(frame[complete], y[complete], test_size=0.3, stratify=y[complete], random_state=seed)


@lru_cache(maxsize=len(IMPUTERS) + 1)
def test_rows(table: str, seed: int, imputer: str) -> pd.DataFrame:
    """Test rows with hidden cells, filled unless ``imputer`` is empty."""
    train, test, _, _ = split(table, seed)
    incomplete = test.mask(hidden_cells(test.shape, SHARE, seed))
    return IMPUTERS[imputer](seed).fit(train).transform(incomplete) if imputer else incomplete


@lru_cache(maxsize=1)
def fitted(name: str, table: str, n_labeled: str, seed: int) -> tuple[Any, float]:
    """A classifier and the seconds of its fit; kept for the imputers, which come one after the other."""
    train, _, y, _ = split(table, seed)
    labels = y if n_labeled == "all" else common.few(y, int(n_labeled), "even", seed)
    start = time.perf_counter()
    model = CLASSIFIERS[name](seed, train, labels)
    return model, time.perf_counter() - start


def judge(name: str, imputer: str, table: str, n_labeled: str, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Accuracy and log-loss on the test rows."""
    model, seconds = fitted(name, table, n_labeled, seed)
    train, test, _, y = split(table, seed)
    P, complete = (model.predict_proba(rows) for rows in (test_rows(table, seed, imputer), test))
    values = {"accuracy": np.mean(P.argmax(axis=1) == y), "log_loss": common.log_loss(P, y)}
    values["complete_accuracy"] = np.mean(complete.argmax(axis=1) == y)
    facts = {"n_train": len(train), "n_columns": train.shape[1], "fit_seconds": round(seconds, 4)}
    return {measure: round(float(value), 5) for measure, value in values.items()}, facts


def tasks(args: Namespace) -> Iterator[Task]:
    """All requested runs, the smallest tables first."""
    for table in (table for table in TABLES if table in args.tables):
        for seed in (seed for seed in range(N_SEEDS) if seed in args.seeds):
            for n_labeled in N_LABELED:
                for name, imputer in (method for method in METHODS if method[0] in args.methods):
                    setting = {"table": table, "n_labeled": n_labeled} | ({"imputer": imputer} if imputer else {})
                    version = args.version if name in OURS else None
                    known = key("holes_at_prediction", name, setting, seed, version)
                    data = partial(tuple, (name, imputer, table, n_labeled, seed))
                    yield Task(known, tuple(m.name for m in MEASURES), PARAMS.get(name, {}), judge, data)


# ------------------------------------------------------------------------------------------------------------ report


def labels_section(frame: pd.DataFrame) -> list[str]:
    """Mean ranks over tables by number of labels."""
    ranked = [measure for measure in MEASURES if measure.higher_is_better is not None]
    wide = {m: BENCHMARK.wide(frame, m.name).rank(axis=1, ascending=not m.higher_is_better) for m in ranked}
    means = {m: ranks.groupby(level="n_labeled", observed=True).mean() for m, ranks in wide.items()}
    names = dict.fromkeys(frame["label"])
    rows = [[name, *(fixed(means[m][name].get(n)) for m in ranked for n in N_LABELED)] for name in names]
    header = [f"{m.title}, {n} labels" for m in ranked for n in N_LABELED]
    return ["", "## Mean ranks by number of labels", "", *markdown(["method", *header], rows)]


BENCHMARK = Benchmark(
    name="holes_at_prediction",
    title="Missing cells in rows to predict",
    doc=__doc__,
    index={"table": TABLES, "n_labeled": N_LABELED},
    methods=tuple(CLASSIFIERS),
    ours=OURS,
    n_seeds=N_SEEDS,
    measures=MEASURES,
    tasks=tasks,
    sections=labels_section,
)

if __name__ == "__main__":
    BENCHMARK.main()
