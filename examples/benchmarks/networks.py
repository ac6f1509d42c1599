"""Layers next to the columns: "mlp", "conv", and "resnet" with their defaults, on images and on tables.

Prints, for each data set and network, the mean over splits of the test accuracy of `M2Classifier` from 50 labels, of
the test density of `VAE` in nats per row, and the seconds that both take. Each network takes less than a minute for a
split on an idle core.

    python examples/benchmarks/networks.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skdgm import VAE, M2Classifier
from skdgm.datasets import mask_labels

N_LABELED = 50


def datasets() -> dict[str, tuple[np.ndarray, np.ndarray, tuple[int, int] | None]]:
    """Rows, classes, and the form of images."""
    digits, of_digits = load_digits(return_X_y=True)
    return {
        "digits": (digits / 16, of_digits, (8, 8)),
        "breast cancer": (*load_breast_cancer(return_X_y=True), None),
    }


def one_run(X: np.ndarray, y: np.ndarray, seed: int, **options: object) -> tuple[float, float, float, float]:
    """Accuracy, density, and the processor seconds of both fits."""
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
    start = time.process_time()
    m2 = M2Classifier(**options, random_state=seed).fit(X_train, mask_labels(y_train, N_LABELED, random_state=seed))
    middle = time.process_time()
    vae = VAE(**options, random_state=seed).fit(X_train)
    end = time.process_time()
    return m2.score(X_test, y_test), vae.score(X_test), middle - start, end - middle


def main() -> None:
    """Print a line for each data set and network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--networks", nargs="+", default=["mlp", "resnet", "conv"])
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"{'data':14} {'network':8} accuracy  density  seconds of M2, VAE")
    for name, (X, y, image_shape) in datasets().items():
        for network in args.networks if image_shape else [name for name in args.networks if name != "conv"]:
            runs = [one_run(X, y, seed, network=network, image_shape=image_shape) for seed in args.seeds]
            accuracy, density, of_m2, of_vae = np.mean(runs, axis=0)
            print(f"{name:14} {network:8} {accuracy:8.3f} {density:8.2f} {of_m2:6.0f} {of_vae:6.0f}", flush=True)


if __name__ == "__main__":
    main()
