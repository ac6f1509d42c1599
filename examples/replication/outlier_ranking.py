"""Outliers ranked by score_samples: DLGM compared with GaussianMixture, KernelDensity, and IsolationForest.

One class of a labeled data set provides the inliers; the other classes are outliers that no model sees in training. The
models train on half of the inliers, standardized; the other half and the outliers are ranked. The measure is ROC AUC
over 5 splits. Each model has one setting for all data: DLGM has five components and 50 hidden units, GaussianMixture
chooses its covariance type by BIC, KernelDensity chooses its bandwidth by cross-validation, and IsolationForest has its
defaults. The script resumes where it stopped.

    python examples/replication/outlier_ranking.py
    python examples/replication/outlier_ranking.py --table
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _runs import finished, markdown, run_once
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdgm import DLGM

EXPERIMENT = "outlier_ranking"
INLIERS = {"breast_cancer": 1, "wine": 1, "digits": 3}
SETS = {"breast_cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
DLGM_PARAMS: dict[str, Any] = {"n_components": 5, "hidden_layer_sizes": (50,), "likelihood": "gaussian"}
DLGM_PARAMS |= {"weight_prior": 1.0, "kl_warmup": 0.5, "max_iter": 100, "input_noise": None}  # as in the recorded runs
DLGM_PARAMS |= {"n_iter_no_change": 10, "early_stopping": False, "prior": "normal"}
METHODS = ["GaussianMixture", "KernelDensity", "IsolationForest", "DLGM"]
N_SPLITS = 5


def mixture(X: np.ndarray, seed: int) -> GaussianMixture:
    """Components and covariances by BIC."""
    tried = [
        GaussianMixture(k, covariance_type=kind, reg_covar=1e-3, random_state=seed).fit(X)
        for k in (1, 2, 3, 5)
        for kind in ("diag", "full")
    ]
    return min(tried, key=lambda model: model.bic(X))


def fitted(method: str, X: np.ndarray, seed: int) -> Any:
    """A model fitted to standardized inliers."""
    if method == "GaussianMixture":
        return mixture(X, seed)
    if method == "KernelDensity":
        return GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.1, 3, 12)}).fit(X).best_estimator_
    if method == "IsolationForest":
        return IsolationForest(random_state=seed).fit(X)
    return DLGM(**DLGM_PARAMS, random_state=seed).fit(X)


def one_run(method: str, data: str, seed: int) -> None:
    """Fit to half of the inliers and rank the rest, unless it is in the results."""

    def work() -> tuple[float, dict[str, Any]]:
        X, y = SETS[data](return_X_y=True)
        inlier = y == INLIERS[data]
        train, kept = train_test_split(X[inlier], test_size=0.5, random_state=seed)
        scaler = make_pipeline(StandardScaler()).fit(train)
        rows = scaler.transform(np.vstack([kept, X[~inlier]]))
        scores = fitted(method, scaler.transform(train), seed).score_samples(rows)
        is_outlier = np.arange(len(rows)) >= len(kept)
        return round(float(roc_auc_score(is_outlier, -scores)), 5), {"n_train": len(train), "n_ranked": len(rows)}

    key = {"experiment": EXPERIMENT, "method": method, "setting": {"data": data}, "seed": seed, "metric": "roc_auc"}
    run_once(key, DLGM_PARAMS if method == "DLGM" else {}, work)


def table() -> str:
    """Mean and sd over splits as a Markdown table."""
    rows = []
    for method in METHODS:
        cells = [method]
        for data in SETS:
            values = [r["value"] for r in finished(EXPERIMENT) if (r["method"], r["setting"]["data"]) == (method, data)]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "not run")
        rows.append(cells)
    return markdown(["method", *SETS], rows)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the table only")
    if not parser.parse_args().table:
        for data in SETS:
            for seed in range(N_SPLITS):
                for method in METHODS:
                    one_run(method, data, seed)
    print(table())


if __name__ == "__main__":
    main()
