"""Imputation of missing pixels: MNIST and Frey faces, 60 % and 80 % missing at random, and a missing square.

Every method is fitted to complete training rows and fills missing pixels of test rows that it has not seen. The result
is the root mean squared error over missing pixels, in units of the gray scale [0, 1]. Frey faces are video frames, so
blocks of consecutive frames are held out. MNIST has 10,000 training rows and 1,000 test rows, in gray. The script
resumes where it stopped. It also plots the Markov chain of Rezende et al. 2014 (arXiv 1401.4082), appendix F, into
results/imputation_*.png.

    SKDGM_DATA=... python examples/replication/imputation.py            # everything, an hour on 2 cores
    SKDGM_DATA=... python examples/replication/imputation.py --data frey --methods DLGM SimpleImputer
    python examples/replication/imputation.py --table
"""

from __future__ import annotations

import argparse
import functools
import warnings
from typing import Any

import joblib
import numpy as np
from _runs import CACHE, RESULTS, finished, markdown, run_once
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from skdgm import DLGM
from skdgm.datasets import load_frey_faces, load_mnist
from skdgm.display import ImageGridDisplay

EXPERIMENT = "imputation"
SHAPES = {"mnist": (28, 28), "frey": (28, 20)}
HOLES = ["random 60 %", "random 80 %", "square"]
# Defaults at the time of the recorded runs.
OLD_DEFAULTS: dict[str, Any] = {"prior": "normal", "weight_prior": 1.0, "kl_warmup": 0.5}
OLD_DEFAULTS |= {"n_iter_no_change": 10, "early_stopping": False}
DLGM_PARAMS: dict[str, dict[str, Any]] = {
    "mnist": OLD_DEFAULTS
    | {
        "n_components": 50,
        "hidden_layer_sizes": (400, 400),
        "likelihood": "bernoulli",
        "input_noise": "dropout",
        "input_noise_level": 0.9,
        "learning_rate_init": 1e-3,
        "batch_size": 100,
        "max_iter": 200,
        "n_importance_samples": 200,
        "random_state": 0,
    },
    "frey": OLD_DEFAULTS
    | {
        "n_components": 20,
        "hidden_layer_sizes": (200, 200),
        "likelihood": "gaussian",
        "input_noise": "dropout",
        "input_noise_level": 0.9,
        "learning_rate_init": 1e-3,
        "batch_size": 50,
        "max_iter": 300,
        "n_importance_samples": 200,
        "random_state": 0,
    },
}
CHAIN = {"method": "chain", "n_draws": 20, "n_steps": 30, "random_state": 0}
METHODS = ["SimpleImputer", "KNNImputer", "IterativeImputer", "DLGM", "DLGM chain"]
PICTURED_STEPS = (1, 2, 3, 5, 10, 15)


@functools.cache
def load(data: str) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows in [0, 1]."""
    if data == "mnist":
        X = load_mnist(return_X_y=True)[0].astype(np.float32)
        return X[:10_000], X[60_000:][::10]
    X = load_frey_faces().data
    held_out = np.arange(len(X)) // 100 % 5 == 2  # every fifth block of 100 frames
    return X[~held_out], X[held_out]


def with_holes(X: np.ndarray, holes: str, shape: tuple[int, int]) -> np.ndarray:
    """X with NaN for missing pixels; the square covers the middle half of each side."""
    if holes == "square":
        missing = np.zeros(shape, bool)
        missing[shape[0] // 4 : -(shape[0] // 4), shape[1] // 4 : -(shape[1] // 4)] = True
        return np.where(missing.ravel(), np.nan, X)
    share = float(holes.split()[1]) / 100
    return np.where(np.random.default_rng(0).random(X.shape) < share, np.nan, X)


@functools.cache
def dlgm(data: str) -> DLGM:
    """The model of a data set, fitted once and kept in the cache."""
    params = DLGM_PARAMS[data]
    path = CACHE / f"impute_{data}_{joblib.hash(params)}.joblib"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        joblib.dump(DLGM(**params, verbose=1).fit(load(data)[0]), path)
    return joblib.load(path)


def fill(method: str, data: str, rows: np.ndarray) -> np.ndarray:
    """Rows imputed by one method."""
    if method == "DLGM":
        return dlgm(data).impute(rows)
    if method == "DLGM chain":
        return dlgm(data).impute(rows, **CHAIN).mean(0)
    iterative = IterativeImputer(max_iter=5, n_nearest_features=50, min_value=0, max_value=1, random_state=0)
    imputer = {"SimpleImputer": SimpleImputer(), "KNNImputer": KNNImputer(), "IterativeImputer": iterative}[method]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return imputer.set_params(keep_empty_features=True).fit(load(data)[0]).transform(rows)


def one_run(method: str, data: str, holes: str) -> None:
    """Impute the test rows, unless the run is in the results."""

    def work() -> tuple[float, dict[str, Any]]:
        X = load(data)[1]
        rows = with_holes(X, holes, SHAPES[data])
        missing = np.isnan(rows)
        error = float(np.sqrt(np.mean((fill(method, data, rows) - X)[missing] ** 2)))
        return round(error, 5), {"n_test": len(X), "share_missing": round(float(missing.mean()), 3)}

    key = {"experiment": EXPERIMENT, "method": method, "setting": {"data": data, "missing": holes}, "seed": 0}
    params = {"DLGM": DLGM_PARAMS[data], "DLGM chain": DLGM_PARAMS[data] | CHAIN}.get(method, {})
    run_once(key | {"metric": "pixel_rmse"}, params, work)


def draw(data: str) -> None:
    """Draw a PNG of the chain from its start: truth, missing pixels, states, and the importance-weighted mean."""
    import matplotlib.pyplot as plt

    X = load(data)[1]
    chosen, shape = X[np.linspace(0, len(X) - 1, 4).astype(int)], SHAPES[data]
    rows = np.concatenate([with_holes(chosen, holes, shape) for holes in HOLES])
    model, truth = dlgm(data), np.tile(chosen, (len(HOLES), 1))
    states = [model.impute(rows, method="chain", n_steps=n, random_state=0) for n in PICTURED_STEPS]
    columns = [truth, np.nan_to_num(rows, nan=0.5), *states, model.impute(rows)]
    labels = ["truth", "seen", *(f"step {n}" for n in PICTURED_STEPS), "mean"]
    images = np.stack(columns, axis=1).reshape(-1, *shape)
    ImageGridDisplay.from_data(
        images.reshape(len(images), -1), image_shape=shape, n_columns=len(columns), column_labels=labels
    )
    plt.savefig(RESULTS / f"imputation_{data}.png", dpi=100, bbox_inches="tight")
    plt.close()


def table() -> str:
    """The results as a Markdown table: one line per method, one column per kind of missing pixels."""
    found = {(run["method"], run["setting"]["data"], run["setting"]["missing"]): run for run in finished(EXPERIMENT)}
    columns = [(data, holes) for data in SHAPES for holes in HOLES]
    rows = []
    for method in METHODS:
        runs = [found.get((method, *column)) for column in columns]
        cells = [f"{run['value']:.4f} ({run['seconds']:.0f} s)" if run else "not run" for run in runs]
        rows.append([method, *cells])
    return markdown(["method", *(f"{data}, {holes}".replace(" %", "%") for data, holes in columns)], rows)


def main() -> None:
    """Do the requested runs, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--table", action="store_true", help="print the table only")
    arguments = parser.parse_args()
    if not arguments.table:
        for data in arguments.data:
            for method in arguments.methods:
                for holes in HOLES:
                    one_run(method, data, holes)
            draw(data)
    print(table())


if __name__ == "__main__":
    main()
