"""MNIST with all labels: M2's error as a Bayes classifier, a manifold per class, analogies, and samples of each class.

They correspond to section 4.4 and figure 1 of Kingma et al. 2014 (arXiv 1406.5298). The Bayes classifier takes the
class of the largest p(y | x), from importance weights (the paper: 0.96 %). The analogies begin with the test images
that the original authors chose. The figures are written to results/m2_*.png. The Bayes classifier is trained on gray
images and on images of which each pixel is drawn anew at each step; the validation rows tell which is better. Fitted
models are kept in the cache, and a finished run is not repeated.

    SKDGM_DATA=... python examples/replication/mnist_all_labels.py           # an hour on one core
    SKDGM_DATA=... python examples/replication/mnist_all_labels.py --parts manifold
    python examples/replication/mnist_all_labels.py --table
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import joblib
import matplotlib.pyplot as plt
from _runs import CACHE, RESULTS, finished, markdown, run_once

from skdgm import M2Classifier
from skdgm.datasets import load_mnist
from skdgm.display import AnalogyDisplay, ConditionalSamplesDisplay, ManifoldDisplay

EXPERIMENT, PAPER, N_DRAWS = "mnist_all_labels", 0.96, 50
SHAPE, N_TRAIN, N_VALID = (28, 28), 50_000, 10_000
OF_PAPER = [7910, 8150, 3623, 2645, 4066, 9660, 5083, 948, 2595, 2]  # rows of the test set
CLASSES_SHOWN = (2, 3, 4)
PARAMS: dict[str, Any] = {
    "activation": "relu",
    "hidden_layer_sizes": (500, 500),
    "likelihood": "bernoulli",
    "dynamic_binarization": False,
    "alpha": 0.1,
    "alpha_normalization": "paper",
    "class_prior": "uniform",
    "weight_prior": 1.0,
    "kl_warmup": 0,
    "batch_size": 500,
    "labeled_batch_size": 500,
    "learning_rate_init": 1e-3,
    "learning_rate": "linear",
    "max_iter": 40,
    "early_stopping": False,
    "random_state": 0,
}
# Two dimensions for the figure that shows a manifold per class, 50 for the analogies.
MANIFOLD, ANALOGIES = PARAMS | {"n_components": 2}, PARAMS | {"n_components": 50}
# A Bayes classifier needs a good p(x | y); the paper's has no weight prior here, and takes 18,000 epochs.
BAYES = ANALOGIES | {"weight_prior": None, "class_prior": "estimated", "max_iter": 100}


def fitted(params: dict[str, Any]) -> M2Classifier:
    """The M2 of a figure or of a run, trained with all labels and kept in the cache."""
    path = CACHE / f"m2_{joblib.hash(params)}.joblib"
    if not path.exists():
        X, y = load_mnist(return_X_y=True, subset="train")
        CACHE.mkdir(exist_ok=True)
        joblib.dump(M2Classifier(**params, verbose=1).fit(X[:N_TRAIN], y[:N_TRAIN]), path)
    return joblib.load(path)


def draw_manifold() -> None:
    """Decode a grid of codes for a few classes."""
    model = fitted(MANIFOLD)
    _, axes = plt.subplots(1, len(CLASSES_SHOWN), figsize=(6 * len(CLASSES_SHOWN), 6), layout="constrained")
    for ax, y in zip(axes, CLASSES_SHOWN, strict=True):
        ManifoldDisplay.from_estimator(model, image_shape=SHAPE, n=15, y=y, ax=ax)


def draw_analogies() -> None:
    """Decode the codes of test images with each class, beside samples of each class."""
    X, _ = load_mnist(return_X_y=True, subset="test")
    model = fitted(ANALOGIES)
    _, (left, right) = plt.subplots(1, 2, figsize=(15, 7), layout="constrained")
    AnalogyDisplay.from_estimator(model, X[OF_PAPER], image_shape=SHAPE, ax=left)
    left.set_title("test images, and their style in each class")
    ConditionalSamplesDisplay.from_estimator(model, image_shape=SHAPE, random_state=0, ax=right)
    right.set_title("samples of each class")


def errors(params: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Test error of the Bayes classifier, its validation error, and both errors of q(y | x); in percent."""
    X, y = load_mnist(return_X_y=True)
    rows = {"validation": slice(N_TRAIN, N_TRAIN + N_VALID), "test": slice(N_TRAIN + N_VALID, None)}
    model, found = fitted(params), {}
    for method in ("bayes", "classifier"):
        model.set_params(proba_method=method, n_importance_samples=N_DRAWS)
        for name, those in rows.items():
            found[f"{method}_{name}_error_percent"] = round(
                100 * float((model.predict(X[those]) != y[those]).mean()), 3
            )
    return found.pop("bayes_test_error_percent"), found | {"n_draws": N_DRAWS}


def measure() -> None:
    """Record the errors of both kinds of training."""
    for is_dynamic in (True, False):
        params = BAYES | {"dynamic_binarization": is_dynamic}
        setting = {"n_labeled": N_TRAIN, "dynamic_binarization": is_dynamic}
        key = {"experiment": EXPERIMENT, "method": "M2Classifier", "setting": setting, "seed": 0}
        run_once(key | {"metric": "test_error_percent"}, params, partial(errors, params))


def table() -> str:
    """The results as a Markdown table."""
    header = ["M2 with all labels", "Bayes: validation error, %", "test error, %", "paper, %"]
    header += ["q(y given x): validation error, %", "test error, %", "seconds"]
    rows = []
    for run in finished(EXPERIMENT):
        facts, name = run["facts"], "drawn pixels" if run["setting"]["dynamic_binarization"] else "gray pixels"
        cells = [name, f"{facts['bayes_validation_error_percent']:.2f}", f"{run['value']:.2f}", PAPER]
        cells += [f"{facts[f'classifier_{part}_error_percent']:.2f}" for part in ("validation", "test")]
        rows.append([*cells, f"{run['seconds']:.0f}"])
    return markdown(header, rows)


PICTURES = {"manifold": draw_manifold, "analogies": draw_analogies}


def main() -> None:
    """Do the requested parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=[*PICTURES, "error"], default=[*PICTURES, "error"])
    parser.add_argument("--table", action="store_true", help="print the table of the finished runs, nothing else")
    arguments = parser.parse_args()
    for name in [] if arguments.table else arguments.parts:
        if name == "error":
            measure()
            continue
        PICTURES[name]()
        plt.savefig(RESULTS / f"m2_{name}.png", dpi=80, bbox_inches="tight")
        plt.close()
    print(table())


if __name__ == "__main__":
    main()
