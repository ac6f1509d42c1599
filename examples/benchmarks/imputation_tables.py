"""Missing cells of mixed tables: skdgm's imputers with defaults against scikit-learn's and miceforest.

- Tables: 6, without their target; adult is cut to 5,000 rows. 10, 30, or 50 % of the observed cells are hidden (3
  seeds), either "at random", each with the same probability, or "by value": with a probability in proportion to the
  rank of the value in its column (categories: in alphabetical order, ties share a rank). A column or a row is never
  hidden completely. Cells that are missing in the table stay missing and do not count.
- Each method is fitted to the incomplete table and fills it. The measures are the root mean squared error over hidden
  numeric cells, in units of the column's standard deviation, and the accuracy over hidden categorical cells.
- DeepImputer and VAE read the frame. SimpleImputer, KNNImputer, and IterativeImputer get standardized numbers and
  one-hot categories, with NaN in all dummies of a missing cell; the largest of the imputed dummies is the category, so
  SimpleImputer fills in means and most frequent categories. IterativeImputer hardly leaves them, as the dummies of
  a category predict each other. ChainedImputer (_imputers.py) does what it should: in 5 rounds, each column is
  regressed on or classified by all others, with ridge and logistic regression ("linear") or with 20 extra-trees,
  similar to missForest ("trees"). miceforest makes 5 data sets in 3 rounds; the mean of the numbers and the most
  frequent category count; categories are drawn from their probabilities ("fast"), since the matching of its default
  fails where one is certain. To save hours, DeepImputer, IterativeImputer, ChainedImputer, and miceforest have one seed
  on adult, and miceforest has one on breast_cancer and german_credit.
- Every run uses one thread. hyperimpute was not run: it installs TensorFlow, Jupyter, and another version of PyTorch.

    SKDGM_DATA=... python examples/benchmarks/imputation_tables.py               # everything; resumes, hours
    SKDGM_DATA=... python examples/benchmarks/imputation_tables.py --methods DeepImputer --tables wine --n-jobs 2
    python examples/benchmarks/imputation_tables.py --report                     # the page from the results

Without miceforest, it is left out: pip install miceforest==6.0.5 lightgbm==4.5.0 (it fails with LightGBM 4.7).
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import few_labels as common  # first, because it sets one thread before numpy and torch are loaded
import numpy as np
import pandas as pd
from _frames import categories_as, is_category, load_frame
from _imputers import N_ROUNDS, N_TREES, TableImputer, chained_linear, chained_trees
from _ranks import Benchmark, Measure, key, package_of
from densities import hidden_cells
from few_labels import Task, fixed, markdown
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

TABLES = ("wine", "breast_cancer", "diabetes", "penguins", "german_credit", "adult")
SHARES = (0.1, 0.3, 0.5)
MECHANISMS = ("at random", "by value")
N_SEEDS = 3
NEAR = 0.02  # within this share of the best
MEASURES = (Measure("rmse", "RMSE of numbers", False), Measure("accuracy", "accuracy of categories", True))

MICE = {"num_datasets": 5, "iterations": 3}


# ----------------------------------------------------------------------------------------------------------- methods


def numeric(make: Callable[[int], Any], frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """An imputer of scikit-learn on standardized numbers and dummies."""
    return TableImputer(make(seed)).fit_transform(frame)


def miceforest(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Chained equations with boosted trees: the mean or the most frequent category of several data sets."""
    kinds = dict(zip(frame, is_category(frame), strict=True))
    options = {"mean_match_strategy": {name: "fast" if is_text else "normal" for name, is_text in kinds.items()}}
    options |= {"num_datasets": MICE["num_datasets"], "random_state": seed}
    kernel = import_module("miceforest").ImputationKernel(categories_as("category", frame), **options)
    kernel.mice(MICE["iterations"], num_threads=1)
    filled = [kernel.complete_data(i).astype(object) for i in range(MICE["num_datasets"])]
    columns = {name: pd.concat([one[name] for one in filled], axis=1) for name in frame}
    return pd.DataFrame({n: c.mode(axis=1)[0] if kinds[n] else c.mean(axis=1) for n, c in columns.items()})


def deep_imputer(frame: pd.DataFrame, seed: int) -> Any:
    return common.ours("DeepImputer", seed).fit_transform(frame)


def vae(frame: pd.DataFrame, seed: int) -> Any:
    return common.ours("VAE", seed).fit(frame).impute(frame)


OURS = ("DeepImputer", "VAE")
# (method, its inner estimator): fills a frame
METHODS: dict[tuple[str, str], Callable[[pd.DataFrame, int], Any]] = {
    ("DeepImputer", ""): deep_imputer,
    ("VAE", ""): vae,
    ("SimpleImputer", ""): partial(numeric, lambda seed: SimpleImputer()),
    ("KNNImputer", ""): partial(numeric, lambda seed: KNNImputer()),
    ("IterativeImputer", "BayesianRidge"): partial(numeric, lambda seed: IterativeImputer(random_state=seed)),
    ("ChainedImputer", "linear"): lambda frame, seed: chained_linear(seed).fit_transform(frame),
    ("ChainedImputer", "trees"): lambda frame, seed: chained_trees(seed).fit_transform(frame),
    ("miceforest", ""): miceforest,
}
PARAMS = {
    ("ChainedImputer", "linear"): {"n_rounds": N_ROUNDS, "max_iter": 1000},
    ("ChainedImputer", "trees"): {"n_rounds": N_ROUNDS, "n_estimators": N_TREES},
    ("miceforest", ""): MICE,
}
# the tables on which a slow peer has one seed
ONE_SEED = {
    "IterativeImputer": ("adult",),
    "ChainedImputer": ("adult",),
    "miceforest": ("breast_cancer", "german_credit", "adult"),
}
PACKAGES = {"miceforest": "miceforest"}


# -------------------------------------------------------------------------------------------------------------- runs


@lru_cache(maxsize=1)
def holed(table: str, share: float, mechanism: str, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A table and the mask of its hidden cells."""
    frame = load_frame(table)[0]
    return frame, hidden_cells(frame.shape, probabilities(frame, share, mechanism), seed)


def probabilities(frame: pd.DataFrame, share: float, mechanism: str) -> np.ndarray:
    """Probability that a cell is hidden: its mean over the observed cells of a column is the share. NaN if missing."""
    if mechanism == "at random":
        return np.where(frame.notna(), share, np.nan)
    ranks = categories_as(object, frame).rank()
    return (2 * share * ranks / (frame.notna().sum() + 1)).to_numpy()


def judge(
    impute: Callable, package: str, seed: int, frame: pd.DataFrame, hidden: np.ndarray
) -> tuple[dict[str, float], dict[str, Any]]:
    """The error of the numbers and the accuracy of the categories, as far as the table has them."""
    start = time.perf_counter()
    filled = impute(frame.mask(hidden), seed)
    seconds = time.perf_counter() - start
    found, truth, categorical = np.asarray(filled, dtype=object), frame.to_numpy(object), is_category(frame)
    values = {"rmse": rmse(*(part[:, ~categorical] for part in (found, truth, hidden)))}
    if categorical.any():
        right = (found == truth)[:, categorical]
        values["accuracy"] = float(right[hidden[:, categorical]].mean())
    facts = {"n_rows": len(frame), "n_columns": frame.shape[1], "share_hidden": round(float(hidden.mean()), 4)}
    facts |= {"fit_seconds": round(seconds, 4)} | package_of(package)
    return {name: round(value, 5) for name, value in values.items()}, facts


def rmse(found: np.ndarray, truth: np.ndarray, hidden: np.ndarray) -> float:
    """Root mean squared error over hidden cells, in units of the columns' standard deviations."""
    truth = truth.astype(float)
    gaps = (found.astype(float) - truth) / np.nanstd(truth, axis=0)
    return float(np.sqrt(np.mean(gaps[hidden] ** 2)))


def tasks(args: Namespace) -> Iterator[Task]:
    """All requested runs, the smallest tables first."""
    for table in (table for table in TABLES if table in args.tables):
        for seed in (seed for seed in range(N_SEEDS) if seed in args.seeds):
            for share in SHARES:
                for mechanism in MECHANISMS:
                    yield from setting_tasks(table, share, mechanism, seed, args)


def setting_tasks(table: str, share: float, mechanism: str, seed: int, args: Namespace) -> Iterator[Task]:
    """The runs of one incomplete table."""
    metrics = ("rmse", "accuracy") if is_category(load_frame(table)[0]).any() else ("rmse",)
    for name, inner in METHODS:
        if name in args.methods and not (seed and table in ONE_SEED.get(name, ())):
            setting = {"table": table, "missing": share, "mechanism": mechanism}
            setting |= {"estimator": inner} if inner else {}
            known = key("imputation_tables", name, setting, seed, args.version if name in OURS else None)
            data = partial(judge_data, name, inner, seed, (table, share, mechanism, seed))
            yield Task(known, metrics, PARAMS.get((name, inner), {}), judge, data)


def judge_data(name: str, inner: str, seed: int, setting: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments of judge."""
    return METHODS[name, inner], PACKAGES.get(name, ""), seed, *holed(*setting)


# ------------------------------------------------------------------------------------------------------------ report


def cells_section(frame: pd.DataFrame) -> list[str]:
    """Mean ranks over all cells: a table, share, mechanism, and measure; and how often a method is among the best."""
    wide = {measure: BENCHMARK.wide(frame, measure.name) for measure in MEASURES}
    ranks = pd.concat([w.rank(axis=1, ascending=not m.higher_is_better) for m, w in wide.items()])
    near = pd.concat([is_near_best(w, m.higher_is_better) for m, w in wide.items()])
    rows = [[name, fixed(ranks[name].mean()), fixed(near[name].mean(), 0, 100)] for name in ranks]
    header = ["method", "mean rank", "best or within 2 % of the best, % of cells"]
    return ["", "## All cells", "", f"{len(ranks)} cells: {CELLS}", "", *markdown(header, rows)]


def is_near_best(wide: pd.DataFrame, higher_is_better: bool) -> pd.DataFrame:
    """Whether a value is the best of its setting or within 2 % of it."""
    if higher_is_better:
        return wide.ge(wide.max(axis=1) * (1 - NEAR), axis=0)
    return wide.le(wide.min(axis=1) * (1 + NEAR), axis=0)


CELLS = "a table, a share, a mechanism, and a measure, over the splits that all methods have."
BENCHMARK = Benchmark(
    name="imputation_tables",
    title="Missing cells of mixed tables",
    doc=__doc__,
    index={"table": TABLES, "missing": SHARES, "mechanism": MECHANISMS},
    methods=tuple(dict.fromkeys(name for name, _ in METHODS)),
    ours=OURS,
    n_seeds=N_SEEDS,
    measures=MEASURES,
    tasks=tasks,
    packages=PACKAGES,
    sections=cells_section,
)

if __name__ == "__main__":
    BENCHMARK.main()
