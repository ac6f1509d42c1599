"""MNIST with few labels: table 1 of Kingma et al. 2014 (arXiv 1406.5298), by its protocol, and SVMs and 1-NN on pixels.

Of the 50,000 training rows, a few keep their label, balanced over the classes. Another 10,000 rows are for validation,
and the 10,000 test rows give the error. The seed of a run determines its labels and its initial weights. The M1 is
fitted without labels and shared by all runs of a method. Hyper-parameters were chosen on the validation rows. You can
stop the script at any time; it resumes where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_few_labels.py            # everything, hours on 2 cores
    SKDGM_DATA=... python examples/replication/mnist_few_labels.py --methods M1M2Classifier --seeds 0
    python examples/replication/mnist_few_labels.py --table                   # the table from the results file
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import joblib
import numpy as np
from _runs import CACHE, finished, markdown, mean_and_sd, run_once
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from skdgm import VAE, M1Classifier, M1M2Classifier, M2Classifier, TransductiveSVC
from skdgm.datasets import load_mnist, mask_labels

EXPERIMENT = "mnist_few_labels"
N_TRAIN = 50_000

# Defaults at the time of the recorded runs.
OLD_DEFAULTS: dict[str, Any] = {"weight_prior": 1.0, "n_iter_no_change": 10, "early_stopping": False}
OLD_DEFAULTS_OF_CLASSIFIERS: dict[str, Any] = OLD_DEFAULTS | {"class_prior": "uniform", "kl_warmup": 0}
M1 = OLD_DEFAULTS | {
    "prior": "normal",
    "input_noise": None,
    "activation": "softplus",
    "n_components": 50,
    "hidden_layer_sizes": (500, 500),
    "likelihood": "bernoulli",
    "kl_warmup": 13,
    "learning_rate_init": 1.5e-3,
    "batch_size": 250,
    "max_iter": 140,
    "random_state": 0,
}
LONG_M1 = M1 | {"max_iter": 400}  # an SVM depends on every nat; the upper layer of M1+M2 does not
M1_SVM = {"C": 0.3}
M1_N_DRAWS = 20
TSVM: dict[str, Any] = {"class_ratio": "labeled", "C": 10.0, "C_unlabeled": 1.0}
PIXEL_SVM = {"C": 10.0}
M2 = OLD_DEFAULTS_OF_CLASSIFIERS | {
    "activation": "relu",
    "n_components": 50,
    "hidden_layer_sizes": (500,),
    "likelihood": "bernoulli",
    "dynamic_binarization": True,
    "alpha": 10.0,
    "alpha_normalization": "paper",
    "n_enumerated": 1,
    "batch_size": 500,
    "learning_rate_init": 3e-3,
    "max_iter": 160,
}
M1M2 = OLD_DEFAULTS_OF_CLASSIFIERS | {
    "passthrough": False,
    "alpha": 0.1,
    "alpha_normalization": "paper",
    "activation": "relu",
    "n_components": 50,
    "hidden_layer_sizes": (500,),
    "n_enumerated": 1,
    "batch_size": 500,
    "learning_rate_init": 3e-3,
    "max_iter": 300,
}
ENCODERS = {"M1Classifier": LONG_M1, "M1M2Classifier": M1}

N_LABELED = (100, 600, 1000, 3000)
# The paper's errors, %, by method and inner estimator. It has a nearest neighbor and transductive SVMs only.
PAPER: dict[tuple[str, str | None], tuple[float, ...] | None] = {
    ("KNeighborsClassifier", None): (25.81, 11.44, 10.7, 6.04),
    ("SVC", None): None,
    ("TransductiveSVC", None): (16.81, 6.16, 5.38, 3.45),
    ("M1Classifier", "SVC"): None,
    ("M1Classifier", "TransductiveSVC"): (11.82, 5.72, 4.24, 3.49),
    ("M2Classifier", None): (11.97, 4.94, 3.60, 3.92),
    ("M1M2Classifier", None): (3.33, 2.59, 2.40, 2.18),
}


def load() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training, validation and test rows."""
    X, y = load_mnist(return_X_y=True)
    return {
        "train": (X[:N_TRAIN], y[:N_TRAIN]),
        "valid": (X[N_TRAIN:60_000], y[N_TRAIN:60_000]),
        "test": (X[60_000:], y[60_000:]),
    }


def shared_m1(X: np.ndarray, params: dict[str, Any]) -> VAE:
    """The M1 that all runs of a method share, fitted once and kept in the cache."""
    path = CACHE / f"m1_{joblib.hash(params)}.joblib"
    if path.exists():
        return joblib.load(path)
    start = time.perf_counter()
    vae = VAE(**params, verbose=1).fit(X)
    CACHE.mkdir(exist_ok=True)
    joblib.dump(vae, path)
    print(f"M1: {time.perf_counter() - start:.0f} s, training bound {vae.history_['bound'][-1]:.2f} nats", flush=True)
    return vae


def params_of(method: str, estimator: str | None) -> dict[str, Any]:
    """All parameters of a method, those of its M1 included."""
    svm = {"SVC": PIXEL_SVM, "TransductiveSVC": TSVM, "KNeighborsClassifier": {"n_neighbors": 1}}
    if method == "M1Classifier":
        inner = M1_SVM | {"n_draws": M1_N_DRAWS} if estimator == "SVC" else TSVM
        return inner | {"m1": LONG_M1}
    return {"M2Classifier": M2, "M1M2Classifier": M1M2 | {"m1": M1}}.get(method) or svm[method]


def make(method: str, estimator: str | None, seed: int, vae: VAE | None) -> Any:
    """The classifier of a run."""
    if method == "M2Classifier":
        return M2Classifier(**M2, random_state=seed)
    if method == "M1M2Classifier":
        return M1M2Classifier(encoder=FrozenEstimator(vae), **M1M2, random_state=seed)
    if method == "M1Classifier":
        inner = SVC(**M1_SVM) if estimator == "SVC" else TransductiveSVC(**TSVM, random_state=seed)
        draws = {"n_draws": M1_N_DRAWS} if estimator == "SVC" else {}
        return M1Classifier(inner, encoder=FrozenEstimator(vae), passthrough=False, **draws, random_state=seed)
    if method == "TransductiveSVC":
        return TransductiveSVC(**TSVM, random_state=seed)
    return SVC(**PIXEL_SVM) if method == "SVC" else KNeighborsClassifier(1)


def error_percent(model: Any, X: np.ndarray, y: np.ndarray) -> float:
    """The percentage of misclassified rows."""
    return round(100 * float(np.mean(model.predict(X) != y)), 3)


def one_run(
    method: str, estimator: str | None, n_labeled: int, seed: int, data: dict, vae: VAE | None, experiment: str
) -> None:
    """Fit and test one classifier, unless it is in the results."""
    model = make(method, estimator, seed, vae)
    setting: dict[str, Any] = {"n_labeled": n_labeled} | ({"estimator": estimator} if estimator else {})

    def work() -> tuple[float, dict[str, Any]]:
        X, y = data["train"]
        y = mask_labels(y, n_labeled, random_state=seed)
        used = slice(None) if method not in ("SVC", "KNeighborsClassifier") else y >= 0
        model.fit(X[used], y[used])
        return error_percent(model, *data["test"]), {"validation_error_percent": error_percent(model, *data["valid"])}

    params = params_of(method, estimator)
    key = {"experiment": experiment, "method": method, "setting": setting, "seed": seed, "metric": "test_error_percent"}
    run_once(key, params, work)


def table() -> str:
    """The results as a Markdown table, the paper's values beside ours."""
    header, rows = ["method", "labels", "skdgm, %", "seeds", "seconds per run", "paper, %"], []
    for (method, estimator), of_paper in PAPER.items():
        for n_labeled, value in zip(N_LABELED, of_paper or [None] * len(N_LABELED), strict=True):
            setting = {"n_labeled": n_labeled} | ({"estimator": estimator} if estimator else {})
            runs = [run for run in finished(EXPERIMENT) if run["method"] == method and run["setting"] == setting]
            errors = [run["value"] for run in runs]
            ours = mean_and_sd(errors) if errors else "not run"
            seconds = f"{np.mean([run['seconds'] for run in runs]):.0f}" if runs else ""
            name, paper = f"{method}({estimator})" if estimator else method, "" if value is None else f"{value:.2f}"
            rows.append([name, n_labeled, ours, len(errors), seconds, paper])
    return markdown(header, rows)


def main() -> None:
    """Do the requested runs that are not in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(dict.fromkeys(method for method, _ in PAPER)))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--experiment", default=EXPERIMENT, help="name of the results, to run a later version again")
    parser.add_argument("--labels", nargs="+", type=int, default=N_LABELED)
    parser.add_argument("--m1-only", action="store_true", help="fit and cache the M1s, nothing else")
    parser.add_argument("--table", action="store_true", help="print the table of the finished runs, nothing else")
    args = parser.parse_args()
    if args.table:
        print(table())
        return
    data = load()
    wanted = {name: params for name, params in ENCODERS.items() if name in args.methods}
    encoders = {name: shared_m1(data["train"][0], params) for name, params in wanted.items()}
    runs = [(seed, n_labeled, *names) for seed in args.seeds for n_labeled in args.labels for names in PAPER]
    for seed, n_labeled, method, estimator in () if args.m1_only else runs:
        if method in args.methods:
            one_run(method, estimator, n_labeled, seed, data, encoders.get(method), args.experiment)


if __name__ == "__main__":
    main()
