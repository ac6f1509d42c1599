"""Densities, outliers, and missing cells on numeric tables: VAE and DLGM with defaults against scikit-learn.

- Outliers: the models train on half of the largest class of a table (3 splits), standardized by its own statistics and
  without constant columns; missing cells are set to the column mean. The other half gives the held-out nats per row. It
  is also ranked against the rows of all other classes, the outliers; the measure is ROC AUC. FactorAnalysis chooses its
  number of components by cross-validation, GaussianMixture its components and covariance type by BIC, and KernelDensity
  its bandwidth by cross-validation. All other settings are defaults, except reg_covar=1e-3 in the mixture: without it,
  its nats on small tables fall to thousands below the others.
- Imputation: 10, 30, or 50 % of the cells of a standardized table are hidden at random (2 seeds). Each method is fitted
  to these incomplete rows; the measure is the root mean squared error over the hidden cells.
- Correlated columns: the rows are (a, aW + 0.05 noise), with 4 + 4 columns. 1,000 rows train, 1,000 are held out, and
  1,000 with 0.2 noise are the outliers.
- Every run uses one thread. The tables in the list DEVELOPMENT of few_labels.py were used while the defaults were
  chosen, so the report also gives the ranks on the other tables.

    SKDGM_DATA=... python examples/benchmarks/densities.py                        # everything; resumes
    SKDGM_DATA=... python examples/benchmarks/densities.py --parts imputation --methods VAE --tables wine --n-jobs 2
    python examples/benchmarks/densities.py --report                              # tables and page from the results

To label the runs of an older checkout "before", as in few_labels.py:

    SKDGM_DATA=... PYTHONPATH=old/checkout python examples/benchmarks/densities.py --version before --methods VAE DLGM
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import few_labels as common  # first, because it sets one thread before numpy and torch are loaded
import numpy as np
import pandas as pd
import torch
from _runs import finished
from few_labels import Task, by_setting, fixed, halves, label, markdown, ranks_by_table
from sklearn.datasets import load_diabetes
from sklearn.decomposition import FactorAnalysis
from sklearn.ensemble import ExtraTreesRegressor, IsolationForest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

EXPERIMENT = "densities"
OUTLIER_TABLES = ("wine", "wheat_seeds", "glass", "ecoli", "sonar", "ionosphere", "pima_diabetes", "breast_cancer")
OUTLIER_TABLES += ("banknote", "digits")
IMPUTATION_TABLES = ("wine", "wheat_seeds", "ionosphere", "diabetes", "breast_cancer", "banknote")
TABLES = tuple(dict.fromkeys([*OUTLIER_TABLES, *IMPUTATION_TABLES, "correlated"]))
PARTS = ("outliers", "imputation", "correlated")
HIDDEN_SHARES = (0.1, 0.3, 0.5)
N_SPLITS = 3
IMPUTATION_SEEDS = 2

OURS = ("VAE", "DLGM")
N_COMPONENTS = (1, 2, 3, 5, 8, 13, 21, 34)
BANDWIDTHS = np.geomspace(0.05, 5, 16)
MIXTURE_SIZES = range(1, 6)
COVARIANCES = ("full", "tied", "diag")
MIXTURE_PARAMS = {"reg_covar": 1e-3}


# ---------------------------------------------------------------------------------------------------------- densities


def factor_analysis(X: np.ndarray, seed: int) -> Any:
    """Components by 5-fold cross-validation, at most half of the columns and fewer than a fold's training rows."""
    most = max(min(X.shape[1] // 2, len(X) * 4 // 5 - 1), 1)
    grid = {"n_components": [k for k in N_COMPONENTS if k <= most]}
    return GridSearchCV(FactorAnalysis(random_state=seed), grid).fit(X).best_estimator_


def gaussian_mixture(X: np.ndarray, seed: int) -> Any:
    """Components and covariances by BIC."""
    pairs = [(k, kind) for k in MIXTURE_SIZES for kind in COVARIANCES]
    fits = [GaussianMixture(k, covariance_type=kind, **MIXTURE_PARAMS, random_state=seed).fit(X) for k, kind in pairs]
    return min(fits, key=lambda model: model.bic(X))


def kernel_density(X: np.ndarray, seed: int) -> Any:
    """Bandwidth by 5-fold cross-validation."""
    return GridSearchCV(KernelDensity(), {"bandwidth": BANDWIDTHS}).fit(X).best_estimator_


def fitted(make: Callable[[int], Any], X: np.ndarray, seed: int) -> Any:
    return make(seed).fit(X)


DENSITIES: dict[str, Callable[[np.ndarray, int], Any]] = {
    "FactorAnalysis": factor_analysis,
    "GaussianMixture": gaussian_mixture,
    "KernelDensity": kernel_density,
    "VAE": partial(fitted, partial(common.ours, "VAE")),
    "DLGM": partial(fitted, partial(common.ours, "DLGM")),
}
RANKERS: dict[str, Callable[[np.ndarray, int], Any]] = {
    "IsolationForest": partial(fitted, lambda seed: IsolationForest(random_state=seed)),
    "LocalOutlierFactor": partial(fitted, lambda seed: LocalOutlierFactor(novelty=True)),
    "OneClassSVM": partial(fitted, lambda seed: OneClassSVM()),
}
CORRELATED: dict[str, Callable[[np.ndarray, int], Any]] = {
    "GaussianMixture": partial(fitted, lambda seed: GaussianMixture(1)),
    "VAE": partial(fitted, lambda seed: common.ours("VAE", seed, 4)),
}
CORRELATED_PARAMS = {"GaussianMixture": {"n_components": 1}, "VAE": {"n_components": 4}}


def outlier_rows(table: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training inliers, held-out inliers and outliers."""
    X, y, _ = common.load(table, fewest=1)
    inlier = y == np.bincount(y).argmax()
    train, held_out = train_test_split(X[inlier], test_size=0.5, random_state=seed)
    imputer = SimpleImputer().fit(train)
    train, held_out, others = (imputer.transform(rows) for rows in (train, held_out, X[~inlier]))
    varied = np.ptp(train, axis=0) > 0
    scaler = StandardScaler().fit(train[:, varied])
    return tuple(scaler.transform(rows[:, varied]) for rows in (train, held_out, others))


def correlated_rows(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training rows, held-out rows and rows with four times the noise."""
    rng = np.random.RandomState(seed)
    W = rng.standard_normal((4, 4))

    def rows(noise: float) -> np.ndarray:
        a = rng.standard_normal((1000, 4))
        return np.hstack([a, a @ W + noise * rng.standard_normal((1000, 4))])

    return rows(0.05), rows(0.05), rows(0.2)


def judge_density(
    fit: Callable, seed: int, is_density: bool, train: np.ndarray, held_out: np.ndarray, others: np.ndarray
) -> tuple[dict[str, float], dict[str, Any]]:
    """Held-out nats per row, for densities, and how well held-out rows are separated from outliers."""
    start = time.perf_counter()
    model = fit(train, seed)
    seconds = time.perf_counter() - start
    inliers, outliers = model.score_samples(held_out), model.score_samples(others)
    is_outlier = np.arange(len(inliers) + len(outliers)) >= len(inliers)
    auc = roc_auc_score(is_outlier, -np.concatenate([inliers, outliers]))
    facts = {"n_train": len(train), "n_columns": train.shape[1], "n_outliers": len(others)}
    facts |= {"chosen": chosen(model), "fit_seconds": round(seconds, 4)}
    facts |= {"training_nats": round(float(model.score_samples(train).mean()), 4)} if is_density else {}
    nats = {"held_out_nats": round(float(inliers.mean()), 4)} if is_density else {}
    return nats | {"roc_auc": round(float(auc), 5)}, facts


def chosen(model: Any) -> dict[str, Any]:
    """The parameters that a peer's search chose."""
    names = {
        "FactorAnalysis": ["n_components"],
        "GaussianMixture": ["n_components", "covariance_type"],
        "KernelDensity": ["bandwidth"],
    }
    return {name: getattr(model, name) for name in names.get(type(model).__name__, [])}


# --------------------------------------------------------------------------------------------------------- imputation


def extra_trees(seed: int) -> IterativeImputer:
    """An imputer like missForest."""
    trees = ExtraTreesRegressor(n_estimators=50, random_state=seed)
    return IterativeImputer(trees, max_iter=10, random_state=seed)


# (method, its inner estimator): makes the imputer for a seed
IMPUTERS: dict[tuple[str, str], Callable[[int], Any]] = {
    ("SimpleImputer", ""): lambda seed: SimpleImputer(),
    ("KNNImputer", ""): lambda seed: KNNImputer(),
    ("IterativeImputer", "BayesianRidge"): lambda seed: IterativeImputer(random_state=seed),
    ("IterativeImputer", "ExtraTreesRegressor"): extra_trees,
    ("VAE", ""): partial(common.ours, "VAE"),
    ("DLGM", ""): partial(common.ours, "DLGM"),
}
INNER_PARAMS = {"ExtraTreesRegressor": {"n_estimators": 50, "max_iter": 10}}


def complete_rows(table: str) -> np.ndarray:
    """A table without its classes, standardized, without constant columns."""
    X = load_diabetes().data if table == "diabetes" else common.load(table, fewest=1)[0]
    return StandardScaler().fit_transform(X[:, np.ptp(X, axis=0) > 0])


def hidden_cells(shape: tuple[int, int], share: float, seed: int) -> np.ndarray:
    """Mask of hidden cells: independent with the same probability, but never all of a row or a column."""
    rng = np.random.RandomState(seed)
    hidden = rng.random_sample(shape) < share
    columns = np.flatnonzero(hidden.all(axis=0))
    hidden[rng.randint(shape[0], size=len(columns)), columns] = False
    rows = np.flatnonzero(hidden.all(axis=1))
    hidden[rows, rng.randint(shape[1], size=len(rows))] = False
    return hidden


def judge_imputer(
    make: Callable, seed: int, X: np.ndarray, hidden: np.ndarray
) -> tuple[dict[str, float], dict[str, Any]]:
    """Root mean squared error over the hidden cells."""
    rows = np.where(hidden, np.nan, X)
    start = time.perf_counter()
    model = make(seed).fit(rows)
    filled = model.impute(rows) if hasattr(model, "impute") else model.transform(rows)
    seconds = time.perf_counter() - start
    facts = {"n_rows": len(X), "n_columns": X.shape[1], "share_hidden": round(float(hidden.mean()), 4)}
    error = np.sqrt(np.mean((filled - X)[hidden] ** 2))
    return {"rmse": round(float(error), 5)}, facts | {"fit_seconds": round(seconds, 4)}


# -------------------------------------------------------------------------------------------------------------- runs


def tasks(args: argparse.Namespace) -> Iterator[Task]:
    """All requested runs, part by part."""
    makers = {"outliers": outlier_tasks, "imputation": imputation_tasks, "correlated": correlated_tasks}
    for part in args.parts:
        yield from makers[part](args)


def outlier_tasks(args: argparse.Namespace) -> Iterator[Task]:
    for table in (table for table in OUTLIER_TABLES if table in args.tables):
        for seed in (seed for seed in range(N_SPLITS) if seed in args.seeds):
            for name in (name for name in [*DENSITIES, *RANKERS] if name in args.methods):
                fit = (DENSITIES | RANKERS)[name]
                metrics = ("held_out_nats", "roc_auc") if name in DENSITIES else ("roc_auc",)
                data = partial(density_data, fit, seed, name in DENSITIES, partial(outlier_rows, table, seed))
                params = MIXTURE_PARAMS if name == "GaussianMixture" else {}
                yield Task(key(name, {"table": table}, seed, args.version), metrics, params, judge_density, data)


def density_data(fit: Callable, seed: int, is_density: bool, rows: Callable) -> tuple[Any, ...]:
    """Arguments of judge_density."""
    return fit, seed, is_density, *rows()


def correlated_tasks(args: argparse.Namespace) -> Iterator[Task]:
    for seed in (seed for seed in range(N_SPLITS) if "correlated" in args.tables and seed in args.seeds):
        for name in (name for name in CORRELATED if name in args.methods):
            data = partial(density_data, CORRELATED[name], seed, True, partial(correlated_rows, seed))
            params = CORRELATED_PARAMS[name]
            known = key(name, {"table": "correlated"}, seed, args.version)
            yield Task(known, ("held_out_nats", "roc_auc"), params, judge_density, data)


def imputation_tasks(args: argparse.Namespace) -> Iterator[Task]:
    for table in (table for table in IMPUTATION_TABLES if table in args.tables):
        for seed in (seed for seed in range(IMPUTATION_SEEDS) if seed in args.seeds):
            for share in HIDDEN_SHARES:
                for name, inner in (pair for pair in IMPUTERS if pair[0] in args.methods):
                    setting = {"table": table, "missing": share} | ({"estimator": inner} if inner else {})
                    known, params = key(name, setting, seed, args.version), INNER_PARAMS.get(inner, {})
                    data = partial(imputer_data, IMPUTERS[name, inner], seed, table, share)
                    yield Task(known, ("rmse",), params, judge_imputer, data)


def imputer_data(make: Callable, seed: int, table: str, share: float) -> tuple[Any, ...]:
    """Arguments of judge_imputer."""
    X = complete_rows(table)
    return make, seed, X, hidden_cells(X.shape, share, seed)


def key(method: str, setting: dict[str, Any], seed: int, version: str) -> dict[str, Any]:
    """The key of a run, without its metric."""
    setting = setting | ({"version": version} if method in OURS else {})
    return {"experiment": EXPERIMENT, "method": method, "setting": setting, "seed": seed}


# ------------------------------------------------------------------------------------------------------------ report

HIGHER_IS_BETTER = {"held_out_nats": True, "roc_auc": True, "rmse": False}
DIGITS = {"held_out_nats": 2, "roc_auc": 3, "rmse": 3}
ORDER = ("VAE", "DLGM", *(name for name in [*DENSITIES, *RANKERS] if name not in OURS))
ORDER += ("SimpleImputer", "KNNImputer", "IterativeImputer")


def frame_of(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per run and metric."""
    rows = [
        {
            "label": label(run),
            "method": run["method"],
            "version": run["setting"].get("version", ""),
            "table": run["setting"]["table"],
            "missing": run["setting"].get("missing", 0.0),
            "seed": run["seed"],
            "seconds": run["facts"]["fit_seconds"],
            run["metric"]: run["value"],
        }
        for run in runs
    ]
    frame = pd.DataFrame(rows, columns=[*rows[0], *(name for name in HIGHER_IS_BETTER if name not in rows[0])])
    frame["table"] = pd.Categorical(frame["table"], TABLES)
    frame["method"] = pd.Categorical(frame["method"], ORDER)
    return frame.sort_values(["method", "label"], kind="stable")


def section(frame: pd.DataFrame, metric: str, index: list[str]) -> list[str]:
    """Ranks of a metric, and its means over splits by setting."""
    of = frame[frame[metric].notna()]
    if of.empty:
        return ["Not run."]
    return [*overview(of, metric, index), "", *details(of, metric, index)]


def overview(frame: pd.DataFrame, metric: str, index: list[str]) -> list[str]:
    """Mean ranks and means: each version of ours among the peers, and the peers against the first version."""
    versions = sorted({v for v in frame["version"] if v}, key=lambda v: (v != "now", v)) or [""]
    header = ["method", "mean rank", "development tables", "other tables", "mean", "seconds a fit", "settings"]
    lines = []
    for version in versions:
        names = list(dict.fromkeys(frame["label"][frame["version"].isin(["", version])]))
        for name in names:
            is_ours = name.startswith(OURS)
            if is_ours or version == versions[0]:
                lines.append(overview_row(frame, name, names, metric, index, is_ours))
    return markdown(header, lines)


def overview_row(
    frame: pd.DataFrame, name: str, names: list[str], metric: str, index: list[str], is_ours: bool
) -> list[str]:
    """Ranks and means of one method, over the settings and splits that all methods have."""
    wide, seconds = by_setting(frame, names, metric, index), by_setting(frame, names, "seconds", index)
    if name not in wide:
        return [name]
    ranks = [part.get(name) for part in halves(ranks_by_table(wide, HIGHER_IS_BETTER[metric]))]
    cells = [f"**{name}**" if is_ours else name, *map(fixed, ranks), fixed(wide[name].mean(), DIGITS[metric])]
    return [*cells, fixed(seconds[name].mean()), str(len(wide))]


def details(frame: pd.DataFrame, metric: str, index: list[str]) -> list[str]:
    """Means over splits of every setting and method."""
    names = list(dict.fromkeys(frame["label"]))
    wide = frame.pivot_table(index=index, columns="label", values=metric, observed=True)
    places = [place if isinstance(place, tuple) else (place,) for place in wide.index]
    rows = [
        [*place, *(fixed(row[n], DIGITS[metric]) for n in names)] for place, row in zip(places, wide.iloc, strict=True)
    ]
    return markdown([*index, *names], rows)


def correlated_section(frame: pd.DataFrame) -> list[str]:
    """Nats, AUC and seconds on the correlated rows."""
    names = [name for name in dict.fromkeys(frame["label"])]
    means = frame.groupby("label")[["held_out_nats", "roc_auc", "seconds"]].mean()
    rows = [[name, *(fixed(value, 3) for value in means.loc[name])] for name in names]
    return markdown(["method", "held-out nats", "ROC AUC", "seconds a fit"], rows)


def page(frame: pd.DataFrame, runs: list[dict[str, Any]], figure: list[str]) -> list[str]:
    """Lines of the page."""
    is_correlated = frame["table"] == "correlated"
    real = frame[~is_correlated]
    lines = ["# Densities, outliers, and missing cells on numeric tables", ""]
    lines += [
        "`examples/benchmarks/densities.py --report` generates this page.",
        "",
        *common.protocol(__doc__),
        "",
        *NOTES,
        *figure,
    ]
    lines += ["", "## Held-out nats per row", "", *section(real, "held_out_nats", ["table"])]
    lines += ["", "## ROC AUC of outliers", "", *section(real, "roc_auc", ["table"])]
    lines += ["", "## Root mean squared error on hidden cells", "", *section(real, "rmse", ["table", "missing"])]
    lines += ["", "## Correlated columns", "", *correlated_section(frame[is_correlated])]
    return [*lines, "", "## Measured with", "", *common.provenance(runs)]


NOTES = [
    "Ranks are averaged over the settings of a table, then over tables; rank 1 is the best. VAE, DLGM, and",
    "scikit-learn's estimators are ranked together, over the settings and splits that all of them have; the means",
    "use the same settings and splits. Nats differ by hundreds between tables, so the ranks say more than the mean.",
    "In the figure, a bar joins methods whose mean ranks differ by less than the critical difference of Nemenyi's",
    "test at the 5 % level over tables (Demsar 2006).",
]
PANELS = {"held_out_nats": ["table"], "roc_auc": ["table"], "rmse": ["table", "missing"]}


def save_figure(frame: pd.DataFrame, path: Path) -> list[str]:
    """Draw diagrams of our first version among the peers; return lines of the page, none without results."""
    of = frame[(frame["table"] != "correlated") & frame["version"].isin(["", "now"])]
    wide = {
        metric: by_setting(of, set(of["label"][of[metric].notna()]), metric, index) for metric, index in PANELS.items()
    }
    panels = {m: ranks_by_table(w, HIGHER_IS_BETTER[m]) for m, w in wide.items() if len(w) and w.shape[1] > 1}
    if not panels:
        return []
    titles = {"held_out_nats": "held-out nats", "roc_auc": "ROC AUC of outliers", "rmse": "error on hidden cells"}
    common.save_diagrams(path, {f"Mean rank, {titles[metric]}": ranks for metric, ranks in panels.items()})
    return ["", f"![mean ranks and critical differences]({path.parent.name}/{path.name})"]


def report(folder: Path, doc: Path) -> None:
    """Print everything, and write the page and its figure."""
    runs = finished(EXPERIMENT, folder)
    if not runs:
        raise SystemExit(f"No results in {folder}.")
    frame = frame_of(runs)
    text = "\n".join(page(frame, runs, save_figure(frame, doc / "images" / "densities.png")))
    (doc / "benchmarks_densities.md").write_text(text + "\n")
    print(text)


def main() -> None:
    """Do the requested runs that are not in the results, or report."""
    methods = [*DENSITIES, *RANKERS, *(name for name, _ in IMPUTERS)]
    parser = common.options(__doc__, TABLES, methods, N_SPLITS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    if args.report:
        report(args.results, args.doc)
        return
    common.check_version(args.version)
    torch.set_num_threads(1)
    failed = common.run_tasks(tasks(args), args.results, args.n_jobs)
    if failed:
        raise SystemExit(f"{failed} runs failed; see above.")


if __name__ == "__main__":
    main()
