"""Drawn rows of mixed tables: skdgm's estimators with defaults against SDV, a Gaussian mixture, and the bootstrap.

- Tables: 7, with the target as one more column, a category; adult is cut to 5,000 rows. A split (3 seeds) trains on
  70 % of the rows, stratified by the target. As many rows are drawn and compared with the other 30 %.
- Column shapes: mean over columns of 1 - the Kolmogorov-Smirnov statistic (numbers) or 1 - total variation
  (categories). Pair trends: mean over pairs of columns of 1 - half the difference of correlations (two numbers) or 1 -
  total variation of the table of pairs (all others; numbers are cut at the deciles of the training rows). Missing
  cells are left out.
- Train on drawn, test on real: HistGradientBoostingClassifier learns the target from the drawn rows; accuracy,
  log-loss, and ROC AUC (one against the rest, mean over classes) on the test rows.
- Memorization: the share of drawn rows whose closest training row is closer (Gower's distance) than their closest test
  row, among as many training as test rows (0.5 is expected of fresh rows; "bootstrap" shows what copies reach), and the
  share of drawn rows that equal a training row. They are not ranked.
- Classifiers draw rows and classes; VAE and DLGM are fitted to the table with its target. SDV's synthesizers have
  their defaults, get the kinds of the columns, and draw missing cells, too. GaussianMixture (full covariances,
  reg_covar=1e-3, components by BIC) is fitted to standardized numbers and one-hot categories, missing cells imputed by
  the mean; drawn numbers are clipped to the range of the training rows and rounded where these are whole, and the
  largest of the dummies is the category. "independent columns" draws each cell from its column. "bootstrap" draws
  training rows: it is what a copyist would reach.
- Every run uses one thread.

    SKDGM_DATA=... python examples/benchmarks/synthesis.py                       # everything; resumes, hours
    SKDGM_DATA=... python examples/benchmarks/synthesis.py --methods VAE --tables wine penguins --n-jobs 2
    python examples/benchmarks/synthesis.py --report                             # the page from the results

SDV goes into an environment of its own, because it needs pandas 2: pip install sdv==2.0.0. Without it, its methods are
left out.
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
import torch
from _frames import Coding, FrameBoosting, categories_as, is_category
from _measures import column_shapes, memorization, pair_trends
from _ranks import Benchmark, Measure, key, package_of
from few_labels import Task
from sklearn.dummy import DummyClassifier
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split

TABLES = ("wine", "penguins", "breast_cancer_recurrence", "horse_colic", "pima_diabetes", "german_credit", "adult")
TARGET = "target"
N_SEEDS = 3
MIXTURE_SIZES = (1, 2, 3, 5, 8)
MIXTURE_PARAMS = {"reg_covar": 1e-3}
MEASURES = (
    Measure("shapes", "column shapes", True, 3),
    Measure("trends", "pair trends", True, 3),
    Measure("accuracy", "accuracy", True, 3),
    Measure("log_loss", "log-loss", False, 3),
    Measure("auc", "ROC AUC", True, 3),
    Measure("closer_to_training", "closer to training rows", None, 3),
    Measure("copies", "copies", None, 3),
)


# ----------------------------------------------------------------------------------------------------------- methods


def bootstrap(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Training rows, drawn with replacement."""
    return train.sample(n, replace=True, random_state=seed, ignore_index=True)


def independent_columns(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Each cell drawn from its column."""
    rng = np.random.RandomState(seed)
    return pd.DataFrame(
        {name: train[name].sample(n, replace=True, random_state=rng, ignore_index=True) for name in train}
    )


def gaussian_mixture(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """A mixture on standardized numbers and dummies; the mean of a standardized number is 0."""
    coding = Coding.of(train)
    Z = coding.encode(train)
    Z = np.where(np.isnan(Z), np.nanmean(Z, axis=0), Z)
    fits = [GaussianMixture(k, **MIXTURE_PARAMS, random_state=seed).fit(Z) for k in MIXTURE_SIZES]
    drawn = coding.decode(min(fits, key=lambda model: model.bic(Z)).sample(n)[0])
    return drawn.assign(**{name: as_whole(drawn[name], train[name]) for name in coding.numbers})


def as_whole(drawn: pd.Series, train: pd.Series) -> pd.Series:
    """Clip to the range of the training rows, and round if these are whole."""
    is_whole = (train.dropna() % 1 == 0).all()
    drawn = drawn.clip(train.min(), train.max())
    return drawn.round() if is_whole else drawn


def sdv(name: str, train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """A synthesizer of SDV, told which columns are categories."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    kinds = dict(zip(train, is_category(train), strict=True))
    columns = {name: {"sdtype": "categorical" if is_text else "numerical"} for name, is_text in kinds.items()}
    metadata = import_module("sdv.metadata").Metadata.load_from_dict({"tables": {"table": {"columns": columns}}})
    options = {} if name == "GaussianCopulaSynthesizer" else {"enable_gpu": False}
    model = getattr(import_module("sdv.single_table"), name)(metadata, **options)
    model.fit({"table": categories_as(object, train)})
    return model.sample(n)["table"]


def ours(name: str, train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Rows of a density of skdgm, fitted to all columns."""
    return common.ours(name, seed).fit(train).sample(n, random_state=seed)


def our_classifier(name: str, train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Rows and classes of a classifier of skdgm."""
    model = common.ours(name, seed).fit(train.drop(columns=TARGET), train[TARGET].to_numpy(object))
    X, y = model.sample(n, random_state=seed)
    return X.assign(**{TARGET: y})


OURS: dict[str, Callable[[pd.DataFrame, int, int], pd.DataFrame]] = {
    "VAE": partial(ours, "VAE"),
    "DLGM": partial(ours, "DLGM"),
    "M2Classifier": partial(our_classifier, "M2Classifier"),
    "M1M2Classifier": partial(our_classifier, "M1M2Classifier"),
}
METHODS = OURS | {
    "GaussianCopulaSynthesizer": partial(sdv, "GaussianCopulaSynthesizer"),
    "TVAESynthesizer": partial(sdv, "TVAESynthesizer"),
    "CTGANSynthesizer": partial(sdv, "CTGANSynthesizer"),
    "GaussianMixture": gaussian_mixture,
    "independent columns": independent_columns,
    "bootstrap": bootstrap,
}
PACKAGES = {name: "sdv" for name in METHODS if name.endswith("Synthesizer")}
PARAMS = {"GaussianMixture": MIXTURE_PARAMS | {"n_components": list(MIXTURE_SIZES)}}


# -------------------------------------------------------------------------------------------------------------- runs


@lru_cache(maxsize=1)
def split(table: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows with their target."""
    X, y = common.rows_of(table)
    frame = X.assign(**{TARGET: pd.Categorical(y.astype(str))})
    parts = train_test_split(frame, test_size=0.3, stratify=y, random_state=seed)
    return tuple(part.reset_index(drop=True) for part in parts)


def judge(
    draw: Callable, package: str, seed: int, train: pd.DataFrame, test: pd.DataFrame
) -> tuple[dict[str, float], dict[str, Any]]:
    """All measures of the rows that a method draws."""
    start = time.perf_counter()
    drawn = draw(train, len(train), seed)[list(train)]
    seconds = time.perf_counter() - start
    values = {"shapes": column_shapes(test, drawn), "trends": pair_trends(test, drawn, train)}
    values |= train_on_drawn(drawn, train, test, seed) | memorization(drawn, train, test, seed)
    facts = {"n_train": len(train), "n_columns": train.shape[1], "fit_seconds": round(seconds, 4)}
    facts |= {"copies_in_test_rows": round(memorization(test, train, test, seed)["copies"], 4)}
    return {name: round(float(value), 5) for name, value in values.items()}, facts | package_of(package)


def train_on_drawn(drawn: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, float]:
    """Accuracy, log-loss, and ROC AUC on test rows of a classifier that learned from drawn ones."""
    classes = train[TARGET].cat.categories
    y, y_test = (pd.Categorical(frame[TARGET], classes).codes for frame in (drawn, test))
    drawn = drawn.drop(columns=TARGET)[y >= 0]
    model = (FrameBoosting(seed) if len(set(y[y >= 0])) > 1 else DummyClassifier()).fit(drawn, y[y >= 0])
    P = np.zeros((len(test), len(classes)))
    P[:, model.classes_] = model.predict_proba(test[list(drawn)])
    aucs = [roc_auc_score(y_test == k, P[:, k]) for k in range(len(classes))]
    accuracy = np.mean(P.argmax(axis=1) == y_test)
    return {"accuracy": accuracy, "log_loss": common.log_loss(P, y_test), "auc": np.mean(aucs)}


def tasks(args: Namespace) -> Iterator[Task]:
    """All requested runs, the smallest tables first."""
    for table in (table for table in TABLES if table in args.tables):
        for seed in (seed for seed in range(N_SEEDS) if seed in args.seeds):
            for name in (name for name in METHODS if name in args.methods):
                known = key("synthesis", name, {"table": table}, seed, args.version if name in OURS else None)
                data = partial(judge_data, name, table, seed)
                yield Task(known, tuple(m.name for m in MEASURES), PARAMS.get(name, {}), judge, data)


def judge_data(name: str, table: str, seed: int) -> tuple[Any, ...]:
    """Arguments of judge."""
    return METHODS[name], PACKAGES.get(name, ""), seed, *split(table, seed)


BENCHMARK = Benchmark(
    name="synthesis",
    title="Drawn rows of mixed tables",
    doc=__doc__,
    index={"table": TABLES},
    methods=tuple(METHODS),
    ours=tuple(OURS),
    n_seeds=N_SEEDS,
    measures=MEASURES,
    packages=PACKAGES,
    tasks=tasks,
)

if __name__ == "__main__":
    BENCHMARK.main()
