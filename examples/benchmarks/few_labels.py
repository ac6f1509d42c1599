"""Few labels on real tables: skdgm's estimators with defaults against scikit-learn's, one setting for all tables.

- Tables: 15; adult is cut to 5,000 rows. Classes of fewer than 8 rows are dropped. "adult_full" is adult with 26,000
  training rows and 100 or 1,000 labels.
- Splits and labels: a split holds out 30 % of the rows, stratified by class. 10, 30, or 100 training rows keep their
  label. They are drawn "even" (the same number from each class) or "random" (from all rows, redrawn until each class
  has a label). There are 10 splits, 3 for adult_full, 2 for M1Classifier and M1M2Classifier, and 1 for "before".
  ADGMClassifier was run on 10 tables, with 10 and 30 labels drawn evenly and 2 splits; the penalty of its auxiliary
  variable was chosen on eight of them.
- Preprocessing, by the training rows only: categories are one-hot encoded, missing numbers are set to the mean, and
  numbers are standardized for scikit-learn's estimators except trees. Digits are divided by 16 for all methods.
- "native" runs, on the tables with categories, get the data frame as it was read, with text, categories, and missing
  cells: skdgm's estimators, gradient boosting, and self-training with it (categorical_features, NaN).
- Supervised estimators get the labeled rows only. Every run uses one thread. The seconds of skdgm's recorded runs were
  measured with 16 runs at a time on 16 cores; those of M1Classifier, M1M2Classifier, ADGMClassifier, and M2Classifier
  on numbers, with several runs at a time on two cores.
- M1Classifier on adult, with 3 splits, was run when prior="normal" was the default of its VAE.
- The tables in the list DEVELOPMENT of few_labels.py were used while the defaults were chosen, so the report also gives
  the ranks on the other tables.

    SKDGM_DATA=... python examples/benchmarks/few_labels.py                       # everything; resumes, hours
    SKDGM_DATA=... python examples/benchmarks/few_labels.py --methods M2Classifier --tables wine --n-jobs 2
    python examples/benchmarks/few_labels.py --report                             # tables and page from the results

To label the runs of an older checkout "before" (only its estimators are used; data and protocol are those of this one):

    SKDGM_DATA=... PYTHONPATH=old/checkout python examples/benchmarks/few_labels.py --methods M2Classifier \\
        --version before
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy, torch and scikit-learn are loaded

import argparse
import itertools
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy.stats import studentized_range
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "replication"))
from _frames import FrameBoosting, as_array, datasets, is_category, load_frame
from _runs import append, finished, is_finished

EXPERIMENT = "few_labels"
RESULTS = Path(__file__).resolve().parent / "results"
DOC = ROOT / "doc"

TABLES = ("wine", "wheat_seeds", "glass", "sonar", "breast_cancer_recurrence", "ecoli", "penguins", "horse_colic")
TABLES += ("ionosphere", "breast_cancer", "pima_diabetes", "german_credit", "banknote", "digits", "adult", "adult_full")
DEVELOPMENT = ("penguins", "adult", "german_credit", "digits", "sonar", "ecoli", "wine", "ionosphere")
N_LABELED = (10, 30, 100)
DRAWS = ("even", "random")
COLUMNS = ("numbers", "native")
N_SPLITS = 10
FEWER_SPLITS = 3

FEWEST_ROWS_OF_A_CLASS = 8
ADULT_FULL = {"n_train": 26_000, "n_labeled": (100, 1_000)}
MIXED = ("penguins", "adult", "german_credit", "horse_colic", "breast_cancer_recurrence", "adult_full")


# --------------------------------------------------------------------------------------- resumable runs in processes


@dataclass
class Task:
    """A run that gives one value for each of its metrics.

    Attributes
    ----------
    key : dict
        Experiment, method, setting and seed.
    metrics : tuple of str
        What ``work`` measures.
    params : dict
        Parameters that differ from the method's defaults.
    work : callable
        Takes what ``data`` returns; returns the values by metric, and facts to keep. May run in another process.
    data : callable
        Makes the arguments of ``work``; called only if the run is not in the results.
    """

    key: dict[str, Any]
    metrics: tuple[str, ...]
    params: dict[str, Any]
    work: Callable[..., tuple[dict[str, float], dict[str, Any]]]
    data: Callable[[], tuple[Any, ...]]


def run_tasks(tasks: Iterable[Task], folder: Path, n_jobs: int) -> int:
    """Do the tasks that are not in the results, append each run as it ends, and return how many failed."""
    waiting = (task for task in tasks if not all(is_finished(task.key | {"metric": m}, folder) for m in task.metrics))
    calls = (delayed(measured)(task.key, task.params, task.work, task.data()) for task in waiting)
    outcomes = Parallel(n_jobs=n_jobs, return_as="generator_unordered", max_nbytes=None)(calls)  # no memmaps
    return sum(not keep(*outcome, folder) for outcome in outcomes)


def measured(key: dict, params: dict, work: Callable, data: tuple) -> tuple[dict, dict, dict | str, dict, float]:
    """Values (or the error's text), facts and seconds of a run on one thread; the facts include its warnings."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            values, facts = work(*data)
        except Exception:
            return key, params, traceback.format_exc(), {}, 0.0
    facts["warnings"] = sorted({warning.category.__name__ for warning in caught})
    return key, params, values, facts, time.perf_counter() - start


def keep(key: dict, params: dict, values: dict | str, facts: dict, seconds: float, folder: Path) -> bool:
    """Append a run to the results, or print why it failed."""
    name = f"{key['method']} {' '.join(map(str, key['setting'].values()))}, seed {key['seed']}"
    if isinstance(values, str):
        print(f"FAILED: {name}\n{values}", flush=True)
        return False
    for metric, value in values.items():
        if not is_finished(key | {"metric": metric}, folder):
            append(key | {"metric": metric}, params, value, facts, seconds, folder)
    print(f"{name}: {values}, {seconds:.1f} s", flush=True)
    return True


def check_version(version: str) -> None:
    """Exit if runs would be labeled as those of another checkout."""
    path = Path(import_module("skdgm").__file__).resolve()
    if version in ("now", "before") and path.is_relative_to(ROOT) != (version == "now"):
        raise SystemExit(
            f"--version {version} found skdgm in {path.parent}. 'now' is the checkout of this script, 'before' another "
            "one: name its folder in PYTHONPATH."
        )


# ------------------------------------------------------------------------------------------------------------ tables


@cache
def rows_of(table: str, fewest: int = FEWEST_ROWS_OF_A_CLASS) -> tuple[pd.DataFrame, np.ndarray]:
    """The raw columns and the classes as 0, 1, …; without classes that have fewer rows."""
    frame, y = load_frame(table)
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    frequent = counts[codes] >= fewest
    return frame[frequent].reset_index(drop=True), np.unique(codes[frequent], return_inverse=True)[1]


@cache
def load(table: str, fewest: int = FEWEST_ROWS_OF_A_CLASS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, y, and the mask of categorical columns."""
    frame, y = rows_of(table, fewest)
    return as_array(frame), y, is_category(frame)


@dataclass(frozen=True)
class Split:
    """Training and test rows as numbers, standardized or not, and as they come."""

    raw: tuple[np.ndarray, np.ndarray]
    scaled: tuple[np.ndarray, np.ndarray]
    native: tuple[pd.DataFrame, pd.DataFrame]
    y: tuple[np.ndarray, np.ndarray]


@lru_cache(maxsize=1)
def split(table: str, seed: int) -> Split:
    """A split of a table, with columns preprocessed by the training rows."""
    X, y, categorical = load(table)
    size = {"train_size": ADULT_FULL["n_train"]} if table == "adult_full" else {"test_size": 0.3}
    frame = rows_of(table)[0]
    train, test, *native, y_train, y_test = train_test_split(X, frame, y, **size, stratify=y, random_state=seed)
    raw = ready(train, test, categorical, StandardScaler(with_mean=False, with_std=False))
    scaled = raw if table == "digits" else ready(train, test, categorical, StandardScaler())
    return Split(raw, scaled, tuple(native), (y_train, y_test))


def ready(train: np.ndarray, test: np.ndarray, categorical: np.ndarray, scaler: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers imputed and scaled, categories one-hot."""
    numbers = make_pipeline(SimpleImputer(keep_empty_features=True), scaler)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((numbers, ~categorical), (one_hot, categorical))
    return columns.fit_transform(train).astype(float), columns.transform(test).astype(float)


def few(y: np.ndarray, n_labeled: int, draw: str, seed: int) -> np.ndarray:
    """Labels of n_labeled rows, -1 elsewhere."""
    if draw == "even":
        return datasets().mask_labels(y, n_labeled, random_state=seed)
    rng, n_classes = np.random.RandomState(seed), len(np.unique(y))
    while True:
        rows = rng.choice(len(y), n_labeled, replace=False)
        if len(np.unique(y[rows])) == n_classes:
            return np.where(np.isin(np.arange(len(y)), rows), y, -1)


# ----------------------------------------------------------------------------------------------------------- methods


@dataclass(frozen=True)
class Method:
    """An estimator with its defaults.

    Attributes
    ----------
    name : str
        Name of the estimator.
    make : callable
        Takes the seed, returns the estimator.
    setting : dict
        What distinguishes it from other methods of the same name.
    params : dict
        Parameters that differ from the defaults.
    reads_all : bool
        Whether it is fitted to the unlabeled rows too.
    columns : {"raw", "scaled", "native"}
        Raw numbers, standardized ones, or the data frame with its categories and missing cells.
    is_ours, n_splits
        Whether it belongs to skdgm, and for how many splits it runs.
    on_adult_full : bool
        Whether it runs on the table "adult_full".
    """

    name: str
    make: Callable[[int], Any]
    setting: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    reads_all: bool = False
    columns: str = "scaled"
    is_ours: bool = False
    n_splits: int = N_SPLITS
    on_adult_full: bool = False


def natively(method: Method) -> Method:
    """The method on data frames."""
    return replace(method, setting=method.setting | NATIVE, columns="native")


NATIVE = {"columns": "native"}
LR = {"max_iter": 1000}
WITH_LR = {"estimator": "LogisticRegression"}


def ours(name: str, seed: int, *arguments: Any, **params: Any) -> Any:
    """An estimator of skdgm, from whichever checkout is imported."""
    return getattr(import_module("skdgm"), name)(*arguments, **params, random_state=seed)


def spreading(kernel: str) -> Method:
    """LabelSpreading with a kernel."""
    setting = {"kernel": kernel}
    return Method("LabelSpreading", lambda seed: LabelSpreading(**setting), setting, setting, reads_all=True)


def adgm(*, skip: bool) -> Method:
    """ADGMClassifier: the paper's ADGM, or its SDGM."""
    setting, params = {"model": "SDGM" if skip else "ADGM"}, {"skip": skip}
    make = partial(ours, "ADGMClassifier", **params)
    options: dict[str, Any] = {"reads_all": True, "columns": "raw", "is_ours": True, "n_splits": FEWER_SPLITS}
    return Method("ADGMClassifier", make, setting, params, **options)


METHODS = [
    Method("LogisticRegression", lambda seed: LogisticRegression(**LR), params=LR, on_adult_full=True),
    Method("SVC", lambda seed: SVC()),
    Method(
        "HistGradientBoostingClassifier",
        lambda seed: HistGradientBoostingClassifier(random_state=seed),
        columns="raw",
    ),
    Method("MLPClassifier", lambda seed: MLPClassifier(random_state=seed)),
    Method(
        "SelfTrainingClassifier",
        lambda seed: SelfTrainingClassifier(LogisticRegression(**LR)),
        WITH_LR,
        params=LR,
        reads_all=True,
    ),
    spreading("rbf"),
    spreading("knn"),
    Method(
        "M2Classifier",
        partial(ours, "M2Classifier"),
        reads_all=True,
        columns="raw",
        is_ours=True,
        on_adult_full=True,
    ),
    Method(
        "M1Classifier",
        lambda seed: ours("M1Classifier", seed, LogisticRegression(**LR)),
        WITH_LR,
        params=LR,
        reads_all=True,
        columns="raw",
        is_ours=True,
        n_splits=FEWER_SPLITS,
    ),
    Method(
        "M1M2Classifier",
        partial(ours, "M1M2Classifier"),
        reads_all=True,
        columns="raw",
        is_ours=True,
        n_splits=FEWER_SPLITS,
    ),
    adgm(skip=False),
    adgm(skip=True),
    Method("TransductiveSVC", partial(ours, "TransductiveSVC"), reads_all=True, is_ours=True),
]
OURS = tuple(method.name for method in METHODS if method.is_ours)
METHODS += [
    natively(Method("HistGradientBoostingClassifier", lambda seed: FrameBoosting(seed), on_adult_full=True)),
    natively(
        Method(
            "SelfTrainingClassifier",
            lambda seed: FrameBoosting(seed, self_training=True),
            {"estimator": "HistGradientBoostingClassifier"},
            reads_all=True,
            on_adult_full=True,
        )
    ),
    *(natively(method) for method in METHODS if method.is_ours and method.name != "TransductiveSVC"),
]


# -------------------------------------------------------------------------------------------------------------- runs


def tasks(args: argparse.Namespace) -> Iterator[Task]:
    """All requested runs, the smallest tables first."""
    for table in (table for table in TABLES if table in args.tables):
        for seed in range(N_SPLITS):
            for n_labeled, draw in settings(table, args):
                for method in methods_of(table, seed, args):
                    yield task(method, table, n_labeled, draw, seed, args.version)


def settings(table: str, args: argparse.Namespace) -> list[tuple[int, str]]:
    """The requested settings of a table that are possible."""
    asked = [(n, draw) for n in n_labeled_of(table, args) for draw in args.draws]
    return [(n, draw) for n, draw in asked if not why_left_out(table, n)]


def n_labeled_of(table: str, args: argparse.Namespace) -> list[int]:
    known = ADULT_FULL["n_labeled"] if table == "adult_full" else N_LABELED
    return [n for n in known if n in args.labels]


@cache
def why_left_out(table: str, n_labeled: int) -> str:
    """Why a number of labels is not possible; empty if it is."""
    y, n_classes = split(table, 0).y[0], len(np.unique(load(table)[1]))
    if n_labeled < n_classes:
        return f"{n_classes} classes"
    return f"{len(y)} training rows" if n_labeled > len(y) else ""


def methods_of(table: str, seed: int, args: argparse.Namespace) -> list[Method]:
    """The requested methods of a split."""
    asked = [m for m in METHODS if m.name in args.methods and m.columns in columns_of(table, args)]
    if table == "adult_full":
        return [m for m in asked if m.on_adult_full and seed in args.seeds and seed < FEWER_SPLITS]
    return [m for m in asked if seed in args.seeds and seed < m.n_splits]


def columns_of(table: str, args: argparse.Namespace) -> list[str]:
    """The requested forms of the columns; tables without categories have one form."""
    numbers = ["raw", "scaled"] if "numbers" in args.columns else []
    return numbers + (["native"] if "native" in args.columns and table in MIXED else [])


def task(method: Method, table: str, n_labeled: int, draw: str, seed: int, version: str) -> Task:
    """One run."""
    setting = {"table": table, "n_labeled": n_labeled, "draw": draw} | method.setting
    setting |= {"version": version} if method.is_ours else {}
    key = {"experiment": EXPERIMENT, "method": method.name, "setting": setting, "seed": seed}

    def data() -> tuple[Any, ...]:
        of = split(table, seed)
        X_train, X_test = getattr(of, method.columns)
        return method.make, seed, X_train, few(of.y[0], n_labeled, draw, seed), X_test, of.y[1], method.reads_all

    return Task(key, ("accuracy",), method.params, fit_and_judge, data)


def fit_and_judge(
    make: Callable, seed: int, X: Any, y: np.ndarray, X_test: Any, y_test: np.ndarray, reads_all: bool
) -> tuple[dict[str, float], dict[str, Any]]:
    """Accuracy on the test rows, and other measures as facts."""
    rows = slice(None) if reads_all else y >= 0
    start = time.perf_counter()
    model = make(seed).fit(X[rows], y[rows])
    seconds = time.perf_counter() - start
    found = model.predict(X_test)
    P = model.predict_proba(X_test) if hasattr(model, "predict_proba") else None
    counts = np.bincount(y[y >= 0])
    facts = {
        "balanced_accuracy": round(float(balanced_accuracy_score(y_test, found)), 5),
        "log_loss": None if P is None else round(log_loss(P, y_test), 5),
        "ece": None if P is None else round(calibration_error(P, y_test), 5),
        "n_train": len(X),
        "n_columns": X.shape[1],
        "n_classes": len(counts),
        "labels": counts.tolist(),
        "fit_seconds": round(seconds, 4),
    }
    return {"accuracy": round(float(np.mean(found == y_test)), 5)}, facts


def probabilities(P: np.ndarray) -> np.ndarray:
    """Make rows sum to one without zeros; a row of NaN (LabelSpreading far from all rows) becomes uniform."""
    P = np.clip(np.where(np.isnan(P).any(axis=1, keepdims=True), 1, P), 1e-15, None)
    return P / P.sum(axis=1, keepdims=True)


def log_loss(P: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(probabilities(P)[np.arange(len(y)), y]).mean())


def calibration_error(P: np.ndarray, y: np.ndarray, n_bins: int = 15) -> float:
    """Expected calibration error of the predicted class: bins of equal width, weighted by their rows."""
    P = probabilities(P)
    confidence, right = P.max(axis=1), P.argmax(axis=1) == y
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, right - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y))


# ----------------------------------------------------------------------------------------------- ranks, of any results


def by_setting(frame: pd.DataFrame, members: Iterable[str], metric: str, index: list[str]) -> pd.DataFrame:
    """Means over splits, one column per method, over the splits and settings that all members have.

    Members without the metric are left out, such as SVC, which has no log-loss.
    """
    chosen = frame[frame["label"].isin(list(members)) & frame[metric].notna()]
    wide = chosen.pivot_table(index=[*index, "seed"], columns="label", values=metric, observed=True)
    return wide.dropna().groupby(level=index, observed=True).mean()


def ranks_by_table(wide: pd.DataFrame, higher_is_better: bool) -> pd.DataFrame:
    """Mean ranks over the settings of each table: rank 1 is best, ties share a rank."""
    return wide.rank(axis=1, ascending=not higher_is_better).groupby(level="table", observed=True).mean()


def halves(ranks: pd.DataFrame) -> list[pd.Series]:
    """Mean ranks over all tables, over those of DEVELOPMENT, and over the others."""
    looked_at = ranks.index.isin(DEVELOPMENT)
    return [part.mean() for part in (ranks, ranks[looked_at], ranks[~looked_at])]


def critical_difference(n_methods: int, n_tables: int, level: float = 0.05) -> float:
    """Mean ranks that differ by less may be equal (Nemenyi's test, as in J. Demsar, JMLR 7, 2006)."""
    q = studentized_range.ppf(1 - level, n_methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_tables)))


def not_told_apart(ranks: np.ndarray, difference: float) -> list[tuple[float, float]]:
    """First and last rank of each maximal group of sorted ranks within the critical difference."""
    last = [ranks[ranks <= rank + difference].max() for rank in ranks]
    spans = [(a, b) for position, (a, b) in enumerate(zip(ranks, last, strict=True)) if b > max([a, *last[:position]])]
    return spans


def draw_ranks(axes: Any, by_table: pd.DataFrame, title: str) -> None:
    """Draw Demsar's diagram: mean ranks on a line, with bars over methods that are not told apart."""
    ranks = by_table.mean().sort_values()
    n, difference = len(ranks), critical_difference(len(ranks), len(by_table))
    axes.plot([1, n], [0, 0], color="black", linewidth=1)
    for tick in range(1, n + 1):
        axes.plot([tick, tick], [0, 0.15], color="black", linewidth=1)
        axes.text(tick, 0.3, str(tick), ha="center", va="bottom")
    for position, (name, rank) in enumerate(ranks.items()):
        draw_name(axes, f"{name}  {rank:.2f}", rank, position, n)
    spans = not_told_apart(ranks.to_numpy(), difference)
    for position, (first, last) in enumerate(spans):
        height = -0.15 - 0.7 * position / len(spans)
        axes.plot([first - 0.04, last + 0.04], [height, height], color="black", linewidth=3)
    axes.plot([1, 1 + difference], [1.5, 1.5], color="black", linewidth=1, marker="|")
    axes.text(1 + difference + 0.1, 1.5, f"critical difference {difference:.2f}", va="center")
    axes.set_title(title)
    axes.set_axis_off()


def draw_name(axes: Any, text: str, rank: float, position: int, n: int) -> None:
    """Draw a line from a method's rank to its name, with the better half at the left."""
    at_left = position < (n + 1) // 2
    height, end = (-1 - position, 0.8) if at_left else (position - n, n + 0.2)
    axes.plot([rank, rank, end], [0, height, height], color="black", linewidth=0.7)
    axes.text(end, height, f" {text} ", ha="right" if at_left else "left", va="center")


def save_diagrams(path: Path, panels: dict[str, pd.DataFrame]) -> None:
    """Save diagrams of ranks by table, one below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3 * len(panels)), layout="constrained")
    for axes, (title, ranks) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        draw_ranks(axes, ranks, title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def markdown(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> list[str]:
    """Lines of a table in Markdown; NaN and None are empty cells."""
    names = list(header)
    lines = [names, ["---"] * len(names), *rows]
    return ["| " + " | ".join("" if pd.isna(cell) else str(cell) for cell in line) + " |" for line in lines]


def fixed(value: float | None, digits: int = 2, factor: float = 1) -> str:
    """A number with this many digits, or an empty string."""
    return "" if value is None or pd.isna(value) else f"{factor * value:.{digits}f}"


MARKS = ("estimator", "model", "kernel", "imputer", "columns")


def label(run: dict[str, Any]) -> str:
    """The name of a run's method in the report."""
    setting = run["setting"]
    version = setting.get("version", "now")
    marks = ", ".join(setting[name] for name in MARKS if name in setting)
    return run["method"] + (f"({marks})" if marks else "") + ("" if version == "now" else f" [{version}]")


# ------------------------------------------------------------------------------------------------------------ report

SETTING = ["table", "n_labeled", "draw"]
METRICS = {"accuracy": True, "log_loss": False}  # whether higher is better


def frame_of(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per run."""
    names = ("log_loss", "ece", "fit_seconds")
    rows = [
        {"label": label(run), "method": run["method"], "seed": run["seed"], "accuracy": run["value"]}
        | {name: run["setting"][name] for name in SETTING}
        | {"is_native": "columns" in run["setting"]}
        | {name: run["facts"][name] for name in names}
        for run in runs
    ]
    frame = pd.DataFrame(rows)
    frame["table"] = pd.Categorical(frame["table"], TABLES)
    return frame.assign(**{name: frame[name].astype(float) for name in names})


def members(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Methods of skdgm and peers that have runs, each in the order of METHODS."""
    found = list(dict.fromkeys(frame["label"]))
    order = {name: position for position, name in enumerate(dict.fromkeys(method.name for method in METHODS))}
    found.sort(key=lambda name: (order.get(name.split("(")[0].split(" ")[0], len(order)), name))
    is_ours = [name.startswith(OURS) for name in found]
    return [n for n, mine in zip(found, is_ours, strict=True) if mine], [
        n for n, mine in zip(found, is_ours, strict=True) if not mine
    ]


def contest(frame: pd.DataFrame, mine: list[str], peers: list[str], metric: str) -> pd.DataFrame:
    """Ranks by table of one of our methods among the peers."""
    wide = by_setting(frame, [*mine, *peers], metric, SETTING)
    return ranks_by_table(wide, METRICS[metric])


def overview(frame: pd.DataFrame) -> list[str]:
    """Mean ranks and means of every method: each of ours among the peers, and the peers against the first of ours."""
    mine, peers = members(frame)
    header = ["method", "rank, accuracy", "development / other tables", "rank, log-loss", "development / other tables"]
    header += ["accuracy, %", "log-loss", "calibration error", "seconds a fit", "settings"]
    first = [overview_row(frame, name, mine[:1], peers) for name in [*mine[:1], *peers]]
    others = [overview_row(frame, name, [name], peers) for name in mine[1:]]
    return markdown(header, [*first, *others])


def overview_row(frame: pd.DataFrame, name: str, mine: list[str], peers: list[str]) -> list[str]:
    """Ranks and means of one method, over the settings and splits that all in its contest have."""
    cells: list[str] = [f"**{name}**" if name in mine else name]
    for metric in METRICS:
        ranks = [part.get(name) for part in halves(contest(frame, mine, peers, metric))]
        cells += [fixed(ranks[0]), f"{fixed(ranks[1])} / {fixed(ranks[2])}"]
    means = {m: by_setting(frame, [*mine, *peers], m, SETTING) for m in (*METRICS, "ece", "fit_seconds")}
    value = {metric: wide[name].mean() if name in wide else None for metric, wide in means.items()}
    cells += [fixed(value["accuracy"], 1, 100), fixed(value["log_loss"], 3), fixed(value["ece"], 3)]
    return [*cells, fixed(value["fit_seconds"], 2), str(len(means["accuracy"]))]


@dataclass(frozen=True)
class Difference:
    """A method minus the better of others in one setting, over paired splits."""

    setting: tuple[Any, ...]
    against: str
    mean: float
    error: float
    n_splits: int

    @property
    def is_clear(self) -> bool:
        """Whether its size exceeds two standard errors and one point of accuracy."""
        return abs(self.mean) > max(2 * self.error, 0.01)


SUPERVISED = ("LogisticRegression", "SVC")


def differences(frame: pd.DataFrame, name: str, others: Sequence[str] = SUPERVISED) -> list[Difference]:
    """A method against the better of others, setting by setting."""
    chosen = frame[frame["label"].isin([name, *others])]
    found = [difference(setting, part, name) for setting, part in chosen.groupby(SETTING, observed=True)]
    return [one for one in found if one is not None]


def difference(setting: tuple[Any, ...], part: pd.DataFrame, name: str) -> Difference | None:
    wide = part.pivot_table(index="seed", columns="label", values="accuracy").dropna()
    if name not in wide or wide.shape[1] < 2 or len(wide) < 2:
        return None
    better = wide.drop(columns=name).mean().idxmax()
    gap = wide[name] - wide[better]
    return Difference(setting, better, gap.mean(), gap.std() / np.sqrt(len(gap)), len(gap))


def worse(frame: pd.DataFrame, name: str, others: Sequence[str] = SUPERVISED) -> list[str]:
    """The settings in which a method is clearly worse, and the numbers in which it is clearly worse or better."""
    found = differences(frame, name, others)
    losses = [one for one in found if one.is_clear and one.mean < 0]
    gains = sum(one.is_clear and one.mean > 0 for one in found)
    text = f"{name}: clearly worse in {len(losses)} of {len(found)} settings, clearly better in {gains}."
    if others != SUPERVISED:
        below, mean = sum(one.mean < -0.01 for one in found), fixed(np.mean([one.mean for one in found]), 2, 100)
        text = f"{text[:-1]}, against {others[0]}: {mean} points in the mean, more than a point below in {below}."
    header = ["table", "labels", "draw", "against", "difference, points", "standard error", "splits"]
    rows = [
        [*one.setting, one.against, fixed(one.mean, 1, 100), fixed(one.error, 1, 100), one.n_splits] for one in losses
    ]
    return [text, "", *(markdown(header, rows) if rows else [])]


def by_labels(frame: pd.DataFrame, metric: str, digits: int) -> list[str]:
    """Means over the settings and splits that all methods with probabilities have, by number of labels."""
    wide = frame.pivot_table(index=[*SETTING, "seed"], columns="label", values=metric, observed=True)
    names = [name for name in itertools.chain(*members(frame)) if name in wide and not name.endswith("[before]")]
    means = wide[names].dropna().groupby(level=SETTING[1]).mean()
    rows = [[n, *(fixed(row[name], digits, 1) for name in names)] for n, row in means.iterrows()]
    return markdown(["labels", *names], rows)


def details(frame: pd.DataFrame, metric: str, digits: int, factor: float) -> list[str]:
    """Means over splits of every setting and method."""
    mine, peers = members(frame)
    wide = frame.pivot_table(index=SETTING, columns="label", values=metric, observed=True)
    names = [name for name in [*mine, *peers] if name in wide]
    rows = [[*position, *(fixed(row[name], digits, factor) for name in names)] for position, row in wide.iterrows()]
    return markdown(["table", "labels", "draw", *names], rows)


def report(folder: Path, doc: Path) -> None:
    """Print everything, and write the page and its figure."""
    runs = finished(EXPERIMENT, folder)
    if not runs:
        raise SystemExit(f"No results in {folder}.")
    frame = frame_of(runs)
    figure = save_figure(frame[~frame["is_native"]], doc / "images" / "few_labels.png")
    text = "\n".join(page(frame, runs, figure))
    (doc / "benchmarks_few_labels.md").write_text(text + "\n")
    print(text)


def save_figure(frame: pd.DataFrame, path: Path) -> list[str]:
    """Draw the diagram of our first method among the peers; return lines of the page, none without a contest."""
    mine, peers = members(frame)
    panels = {metric: contest(frame, mine[:1], peers, metric) for metric in METRICS}
    panels = {title: ranks for title, ranks in panels.items() if len(ranks) and ranks.shape[1] > 1}
    if not panels:
        return []
    save_diagrams(path, {f"Mean rank, {title.replace('_', '-')}": ranks for title, ranks in panels.items()})
    return ["", f"![mean ranks and critical differences]({path.parent.name}/{path.name})"]


def mixed_section(frame: pd.DataFrame) -> list[str]:
    """Ranks on the mixed tables by number of labels: each of ours among the peers, which are ranked against the first.

    Ours that read data frames come first.
    """
    mixed = frame[frame["table"].isin(MIXED) & (frame["table"] != "adult_full")]
    mine, peers = members(mixed)
    natives = set(frame["label"][frame["is_native"]])
    mine = [n for n in sorted(mine, key=lambda n: n not in natives) if "[" not in n]
    titles = [f"{metric.replace('_', '-')}, {n} labels" for metric in METRICS for n in N_LABELED]
    rows = [mixed_row(mixed, name, mine[:1], peers) for name in [*mine[:1], *peers]]
    rows += [mixed_row(mixed, name, [name], peers) for name in mine[1:]]
    pairs = [(name, plain(name)) for name in mine if name in natives and plain(name) in mine]
    lines = [line for name, other in pairs for line in ("", *worse(mixed, name, (other,)))]
    full = frame[frame["table"] == "adult_full"]
    lines += [
        line for m, n, by in (("accuracy", 1, 100), ("log_loss", 3, 1)) for line in ("", *details(full, m, n, by))
    ]
    return [*MIXED_NOTES, "", *markdown(["method", *titles], rows), *lines]


def mixed_row(frame: pd.DataFrame, name: str, mine: list[str], peers: list[str]) -> list[str]:
    """Mean ranks of a method over tables, by measure and number of labels."""
    cells = [f"**{name}**" if name in mine else name]
    for metric, higher_is_better in METRICS.items():
        ranks = by_setting(frame, [*mine, *peers], metric, SETTING).rank(axis=1, ascending=not higher_is_better)
        means = ranks.groupby(level=["n_labeled", "table"], observed=True).mean().groupby(level="n_labeled").mean()
        cells += [fixed(means[name].get(n)) if name in means else "" for n in N_LABELED]
    return cells


def plain(name: str) -> str:
    """The label of the same method on preprocessed columns."""
    return name.replace(", native", "").replace("(native)", "")


def page(everything: pd.DataFrame, runs: list[dict[str, Any]], figure: list[str]) -> list[str]:
    """Lines of the page."""
    frame = everything[~everything["is_native"]]
    classifiers = [name for name in members(frame)[0] if name.startswith("M2Classifier")]
    lines = ["# Few labels on real tables", "", "`examples/benchmarks/few_labels.py --report` generates this page.", ""]
    lines += [*protocol(__doc__), "", *overview(frame), "", *NOTES, *figure]
    lines += ["", "## Worse than logistic regression or an SVC", "", *WORSE]
    lines += [line for name in classifiers for line in ("", *worse(frame, name))]
    lines += ["", "## Against their own parts", "", *PARTS]
    lines += [
        line
        for name, part in PART_OF.items()
        if name in set(frame["label"])
        for line in ("", *worse(frame, name, (part,)))
    ]
    for title, metric in (("Log-loss", "log_loss"), ("Calibration error", "ece")):
        lines += ["", f"## {title} by number of labels", "", *by_labels(frame, metric, 3)]
    lines += ["", "## Accuracy, %", "", *details(frame, "accuracy", 1, 100)]
    lines += ["", "## Log-loss", "", *details(frame, "log_loss", 3, 1)]
    lines += ["", "## Tables with categories, as they come", "", *mixed_section(everything)]
    return [*lines, "", "## Measured with", "", *provenance(runs)]


NOTES = [
    "Ranks are averaged over the settings of a table, then over tables; rank 1 is the best. Each estimator of skdgm is",
    "ranked separately among scikit-learn's, over the settings and splits that all of them have; the means use the",
    "same settings and splits. The ranks of scikit-learn's estimators are those against the first line. In the figure,",
    "a bar joins methods whose mean ranks differ by less than the critical difference of Nemenyi's test at the 5 %",
    "level (Demsar 2006). The test is over tables, because settings of the same table are not independent.",
    '"[before]" marks an older version of skdgm.',
]
MIXED_NOTES = [
    'Mean ranks over the mixed tables. A method that is marked "native" reads the data frame with its text,',
    "categories, and missing cells; all others get the preprocessed columns. Each of ours is ranked separately among",
    "scikit-learn's, whose own ranks are those against the first line. Below are the numbers of settings in which a",
    "native fit is clearly worse or better than the same estimator on preprocessed columns (as above), and accuracy",
    "and log-loss on adult_full.",
]
PART_OF = {
    "M1Classifier(LogisticRegression)": "LogisticRegression",
    "ADGMClassifier(ADGM)": "M2Classifier",
    "ADGMClassifier(SDGM)": "M2Classifier",
    "M1M2Classifier": "M2Classifier",
    "TransductiveSVC": "SVC",
}
PARTS = [
    "M1 against its classifier on the columns, ADGM, SDGM, and M1+M2 against M2, and the transductive SVC against the",
    "SVC, as above.",
]
WORSE = [
    "The table lists the settings in which M2Classifier is clearly worse than the better of the two: the mean",
    "difference over paired splits exceeds two standard errors and one percentage point.",
]


def protocol(doc: str) -> list[str]:
    """The paragraph of a script's docstring that states the protocol."""
    return doc.split("\n\n")[1].splitlines()


def provenance(runs: list[dict[str, Any]]) -> list[str]:
    """Versions, threads and hours behind the figures."""
    versions = sorted({", ".join(f"{k} {v}" for k, v in run["versions"].items()) for run in runs})
    fits = {(run["method"], str(run["setting"]), run["seed"]): run["seconds"] for run in runs}
    hours = sum(fits.values()) / 3600
    return [f"- {text}, one thread" for text in versions] + [f"- {len(fits)} fits, {hours:.1f} hours in all"]


# ------------------------------------------------------------------------------------------------------ command line


def options(doc: str, tables: Iterable[str], methods: Iterable[str], n_splits: int) -> argparse.ArgumentParser:
    """Command-line options of all benchmarks of this kind."""
    tables, methods = list(tables), list(dict.fromkeys(methods))
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables, metavar="TABLE")
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods, metavar="ESTIMATOR")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(n_splits)))
    parser.add_argument("--version", default="now", help="label of our runs: 'now', or 'before' for another checkout")
    parser.add_argument("--n-jobs", type=int, default=1, help="runs at a time, each in its process on one thread")
    parser.add_argument("--report", action="store_true", help="print and write the report of the finished runs only")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results file")
    parser.add_argument("--doc", type=Path, default=DOC, help="folder to write the report to")
    return parser


def main() -> None:
    """Do the requested runs that are not in the results, or report."""
    parser = options(__doc__, TABLES, (method.name for method in METHODS), N_SPLITS)
    parser.add_argument("--draws", nargs="+", choices=DRAWS, default=DRAWS)
    parser.add_argument("--labels", nargs="+", type=int, default=sorted({*N_LABELED, *ADULT_FULL["n_labeled"]}))
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=COLUMNS)
    args = parser.parse_args()
    if args.report:
        report(args.results, args.doc)
        return
    check_version(args.version)
    torch.set_num_threads(1)
    failed = run_tasks(tasks(args), args.results, args.n_jobs)
    left_out = [(table, n) for table in args.tables for n in n_labeled_of(table, args) if why_left_out(table, n)]
    print("Left out:", "; ".join(f"{t}, {n} labels ({why_left_out(t, n)})" for t, n in left_out) or "nothing")
    if failed:
        raise SystemExit(f"{failed} runs failed; see above.")


if __name__ == "__main__":
    main()
