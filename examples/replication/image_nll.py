"""Gray and color images: negative log-likelihood in bits per dimension, beside a Gaussian mixture and factor analysis.

Frey faces, 1,965 frames of 560 pixels, and 25,000 patches of CIFAR-10, 8 x 8 pixels of three channels. A random fifth
of the rows is held out; neighboring frames resemble each other. Noise that is uniform over a gray level makes the
densities comparable: their logarithm is at most that of the probabilities of the 256 levels (Theis et al. 2016, arXiv
1511.01844). The models have normal columns, 100 dimensions, and their defaults otherwise (n_components="auto" takes 20
or 50 here). The mixture has full covariances; it and FactorAnalysis have a size that was chosen on a tenth of the
training rows. The script resumes where it stopped.

    SKDGM_DATA=... python examples/replication/image_nll.py
    python examples/replication/image_nll.py --table
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _runs import finished, markdown, run_once
from sklearn.base import clone
from sklearn.decomposition import FactorAnalysis
from sklearn.mixture import GaussianMixture

from skdgm import DLGM, VAE
from skdgm.datasets import load_cifar_patches, load_frey_faces

EXPERIMENT, LEVELS = "image_nll", 256
PARAMS = {"n_components": 100, "likelihood": "gaussian"}
N_COMPONENTS, N_FACTORS = (1, 3, 10, 30), (10, 30, 60, 100)
METHODS = ("VAE", "DLGM", "GaussianMixture", "FactorAnalysis")
DATA = ("frey", "cifar patches")


def load(data: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows in [0, 1], with uniform noise over each gray level."""
    rng = np.random.default_rng(seed)
    X = load_frey_faces().data if data == "frey" else load_cifar_patches(25_000, patch_size=8, random_state=seed).data
    levels = np.round(X.astype(np.float64) * (LEVELS - 1))
    noisy = (levels + rng.random(levels.shape)) / LEVELS
    order = rng.permutation(len(X))
    return noisy[order[len(X) // 5 :]], noisy[order[: len(X) // 5]]


def fitted(method: str, X: np.ndarray, seed: int) -> Any:
    """The model; peers choose their size on every tenth row."""
    if method in ("VAE", "DLGM"):
        return {"VAE": VAE, "DLGM": DLGM}[method](**PARAMS, random_state=seed).fit(X)
    if method == "GaussianMixture":
        made: list[Any] = [GaussianMixture(k, reg_covar=1e-4, random_state=seed) for k in N_COMPONENTS]
    else:
        made = [FactorAnalysis(k, random_state=seed) for k in N_FACTORS]
    is_valid = np.arange(len(X)) % 10 == 0
    scores = [model.fit(X[~is_valid]).score(X[is_valid]) for model in made]
    return clone(made[int(np.argmax(scores))]).fit(X)


def bits_per_dimension(log_density: np.ndarray, n_columns: int) -> float:
    """Mean of -log2 p of the gray levels, from densities in units of [0, 1]."""
    return float(-log_density.mean() / (n_columns * math.log(2)) + math.log2(LEVELS))


def judged(method: str, data: str, seed: int) -> tuple[float, dict[str, Any]]:
    """Bits per dimension of the test rows."""
    train, test = load(data, seed)
    model = fitted(method, train, seed)
    facts = {"n_train": len(train), "n_test": len(test), "n_columns": train.shape[1]}
    facts |= {"n_components": model.get_params()["n_components"]}
    return round(bits_per_dimension(model.score_samples(test), test.shape[1]), 4), facts


def table() -> str:
    """The results as a Markdown table."""
    runs = finished(EXPERIMENT)
    rows = []
    for method in METHODS:
        of_method = [[run for run in runs if run["method"] == method and run["setting"]["data"] == d] for d in DATA]
        cells = [
            f"{np.mean([run['value'] for run in found]):.3f} ({np.mean([run['seconds'] for run in found]):.0f} s)"
            if found
            else "not run"
            for found in of_method
        ]
        rows.append([method, *cells])
    return markdown(["method", *DATA], rows)


def main() -> None:
    """Do the runs that are not in the results, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="print the table only")
    arguments = parser.parse_args()
    todo = [(m, d, s) for s in arguments.seeds for d in arguments.data for m in arguments.methods]
    for method, data, seed in [] if arguments.table else todo:
        key = {"experiment": EXPERIMENT, "method": method, "setting": {"data": data}, "seed": seed}
        work: Callable[[], tuple[float, dict[str, Any]]] = partial(judged, method, data, seed)
        run_once(key | {"metric": "bits_per_dimension"}, PARAMS if method in ("VAE", "DLGM") else {}, work)
    print(table())


if __name__ == "__main__":
    main()
