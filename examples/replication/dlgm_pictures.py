"""Figures of DLGM: the map of MNIST in two dimensions, and samples of MNIST, Frey faces, CIFAR-10, and color digits.

They correspond to the figures of Rezende et al. 2014 (arXiv 1401.4082) and are written to results/dlgm_*.png. Color
digits stand in for SVHN, and patches of 8 x 8 pixels for the images of CIFAR-10. Fitted models are kept in the cache.

    SKDGM_DATA=... python examples/replication/dlgm_pictures.py                # minutes to half an hour on 2 cores
    SKDGM_DATA=... python examples/replication/dlgm_pictures.py --pictures map frey
"""

from __future__ import annotations

import argparse
from typing import Any

import joblib
import matplotlib.pyplot as plt
import numpy as np
from _runs import CACHE, RESULTS
from color_digits import N_TRAIN, SIZE, color_digits

from skdgm import DLGM
from skdgm.datasets import load_binarized_mnist, load_cifar_patches, load_frey_faces
from skdgm.display import ImageGridDisplay, LatentMapDisplay

N_IMAGES = 100
PARAMS: dict[str, dict[str, Any]] = {
    "map": {"n_components": 2, "hidden_layer_sizes": (400, 400), "learning_rate_init": 1e-3, "max_iter": 30},
    "mnist": {"n_components": 50, "hidden_layer_sizes": (200, 200), "learning_rate_init": 1e-3, "max_iter": 40},
    "frey": {"n_components": 10, "hidden_layer_sizes": (200, 200), "learning_rate_init": 1e-3, "max_iter": 300},
    "cifar": {"n_components": 60, "hidden_layer_sizes": (400, 400), "learning_rate_init": 1e-3, "max_iter": 25},
    "color": {"n_components": 20, "hidden_layer_sizes": (400, 400), "learning_rate_init": 2e-3, "max_iter": 60},
}
for params in PARAMS.values():  # defaults at the time of the recorded runs
    params |= {
        "prior": "normal",
        "weight_prior": 1.0,
        "kl_warmup": 0.5,
        "input_noise": None,
        "n_iter_no_change": 10,
        "early_stopping": False,
    }
SHAPES = {"map": (28, 28), "mnist": (28, 28), "frey": (28, 20), "cifar": (8, 8, 3), "color": (SIZE, SIZE, 3)}


def load(name: str) -> np.ndarray:
    """The rows of a picture."""
    if name == "color":
        return color_digits("train", N_TRAIN)[0]
    if name == "cifar":
        return load_cifar_patches(100_000, patch_size=8, random_state=0).data
    return load_frey_faces().data if name == "frey" else load_binarized_mnist(return_X_y=True)[0]


def fitted(name: str) -> DLGM:
    """The fitted model of a picture, kept in the cache."""
    params = PARAMS[name] | {"random_state": 0}
    path = CACHE / f"picture_{name}_{joblib.hash(params)}.joblib"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        joblib.dump(DLGM(**params, verbose=1).fit(load(name)), path)
    return joblib.load(path)


def draw_map() -> None:
    """Draw test digits at their posterior means, and the decoder's means over the latent plane."""
    X, y = load_binarized_mnist(return_X_y=True, subset="test")
    model = fitted("map")
    _, (left, right) = plt.subplots(1, 2, figsize=(16, 8))
    LatentMapDisplay.from_estimator(model, X, y, ax=left)
    axis = np.linspace(-2.5, 2.5, 20)
    plane = np.stack(np.meshgrid(axis, -axis), -1).reshape(-1, 2)
    ImageGridDisplay.from_data(model.inverse_transform(plane), image_shape=(28, 28), n_columns=20, ax=right)


def draw_samples(name: str) -> None:
    """Draw rows of the data, and as many means of rows sampled from the model."""
    X, model, rng = load(name), fitted(name), np.random.default_rng(0)
    real = X[rng.choice(len(X), N_IMAGES, replace=False)]
    made = model.inverse_transform(rng.standard_normal((N_IMAGES, model.n_components)))
    _, (left, right) = plt.subplots(1, 2, figsize=(16, 8))
    for images, ax, title in ((real, left, "data"), (made, right, "model")):
        clipped = np.clip(images, 0, 1)
        ImageGridDisplay.from_data(clipped, image_shape=SHAPES[name], n_columns=10, ax=ax)
        ax.set_title(title)


def main() -> None:
    """Draw the requested pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", choices=list(PARAMS), default=list(PARAMS))
    for name in parser.parse_args().pictures:
        draw_map() if name == "map" else draw_samples(name)
        plt.savefig(RESULTS / f"dlgm_{name}.png", dpi=70, bbox_inches="tight")
        plt.close()


if __name__ == "__main__":
    main()
