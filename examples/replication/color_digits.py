"""Color digits, in the place of SVHN: analogies and samples of M2, as in figure 1 of Kingma et al. 2014.

The paper has house numbers, cut from photographs (arXiv 1406.5298). Here a digit of MNIST is drawn in one color over an
enlarged patch of a CIFAR-10 photograph. Class and color are independent, so analogies must keep the colors of digit and
background, and change the shape only. M2 is trained with all labels. The figure is written to results/m2_color.png. The
fitted model is kept in the cache.

    SKDGM_DATA=... python examples/replication/color_digits.py               # five minutes on one core
"""

from __future__ import annotations

from typing import Any

import joblib
import matplotlib.pyplot as plt
import numpy as np
from _runs import CACHE, RESULTS
from scipy.ndimage import zoom

from skdgm import M2Classifier
from skdgm.datasets import load_cifar_patches, load_mnist
from skdgm.display import AnalogyDisplay, ConditionalSamplesDisplay

SIZE, PATCH = 28, 4  # pixels
N_TRAIN, N_SHOWN = 20_000, 10
PARAMS: dict[str, Any] = {
    "n_components": 12,  # with 50, the code holds the shape of the digit, too, and the class changes nothing
    "hidden_layer_sizes": (500, 500),
    "activation": "relu",
    "likelihood": "gaussian",
    "alpha": 0.1,
    "alpha_normalization": "paper",
    "class_prior": "uniform",
    "weight_prior": 1.0,
    "kl_warmup": 0,
    "batch_size": 250,
    "labeled_batch_size": 250,
    "learning_rate_init": 2e-3,
    "learning_rate": "linear",
    "max_iter": 40,
    "early_stopping": False,
    "random_state": 0,
}


def color_digits(subset: str, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first digits of a subset in color, float32 of shape (n_rows, 28 * 28 * 3) in [0, 1], and their labels."""
    X, y = load_mnist(return_X_y=True, subset=subset)
    patches = load_cifar_patches(n_rows, patch_size=PATCH, subset=subset, random_state=0).images
    background = np.clip(zoom(patches, (1, SIZE / PATCH, SIZE / PATCH, 1), order=1), 0, 1)
    # Half of the range away from the mean of the background, in each channel, so that every digit can be read.
    color = (background.mean((1, 2), keepdims=True) + 0.5) % 1
    digit = X[:n_rows].reshape(-1, SIZE, SIZE, 1)
    return (digit * color + (1 - digit) * background).reshape(n_rows, -1).astype(np.float32), y[:n_rows]


def fitted() -> M2Classifier:
    """The M2 of the figure, kept in the cache."""
    path = CACHE / f"m2_color_{joblib.hash(PARAMS)}.joblib"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        joblib.dump(M2Classifier(**PARAMS, verbose=1).fit(*color_digits("train", N_TRAIN)), path)
    return joblib.load(path)


def main() -> None:
    """Draw analogies of test digits, beside samples of each class."""
    model, (X, _) = fitted(), color_digits("test", N_SHOWN)
    _, (left, right) = plt.subplots(1, 2, figsize=(15, 7), layout="constrained")
    AnalogyDisplay.from_estimator(model, X, image_shape=(SIZE, SIZE, 3), ax=left)
    left.set_title("test images, and their style in each class")
    ConditionalSamplesDisplay.from_estimator(model, image_shape=(SIZE, SIZE, 3), random_state=0, ax=right)
    right.set_title("samples of each class")
    plt.savefig(RESULTS / "m2_color.png", dpi=80, bbox_inches="tight")


if __name__ == "__main__":
    main()
