"""Codes as features: logistic regression on raw pixels, PCA, scikit-learn's RBM, VAE and StackedAutoencoder.

Digits and MNIST, 100 and 1,000 labels, 5 splits. The features are learned without labels on all training rows (for
MNIST, 20,000 rows drawn for each split). The classifier is fitted to the labeled rows with standardized features, and
its C is chosen on them by cross-validation. The result is the test accuracy in percent. Every method gives 50 features
and has one setting for both data sets. The script resumes where it stopped.

    SKDGM_DATA=... python examples/replication/codes_few_labels.py
    python examples/replication/codes_few_labels.py --table
"""

from __future__ import annotations

import argparse
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
from _runs import finished, markdown, run_once
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skdgm import VAE, StackedAutoencoder
from skdgm.datasets import load_mnist

EXPERIMENT = "codes_few_labels"
N_CODES, N_SPLITS = 50, 5
N_TRAIN = {"digits": 1300, "mnist": 20_000}
PARAMS: dict[str, dict[str, Any]] = {
    "raw": {},
    "PCA": {"n_components": N_CODES},
    "BernoulliRBM": {"n_components": N_CODES, "learning_rate": 0.06, "n_iter": 20, "batch_size": 100},
    "VAE": {"n_components": N_CODES, "hidden_layer_sizes": (200,), "likelihood": "bernoulli", "max_iter": 40}
    | {"prior": "normal", "weight_prior": 1.0, "kl_warmup": 0.5, "input_noise": None}
    | {"n_iter_no_change": 10, "early_stopping": False},
    "StackedAutoencoder": {"n_components": (200, N_CODES), "hidden_layer_sizes": (200,), "max_iter": 40}
    | {"rbm_max_iter": 20, "likelihood": "bernoulli", "weight_prior": 1.0, "input_noise": None}
    | {"early_stopping": False, "centered": True},
}
MAKERS = {"raw": FunctionTransformer, "PCA": PCA, "BernoulliRBM": BernoulliRBM}
MAKERS |= {"VAE": VAE, "StackedAutoencoder": StackedAutoencoder}


@cache
def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows in [0, 1] and their classes."""
    if name == "mnist":
        return load_mnist(return_X_y=True)
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


@cache
def codes(method: str, name: str, split: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features of training and test rows, and their classes."""
    X, y = data(name)
    rows = train_test_split(X, y, train_size=N_TRAIN[name], stratify=y, random_state=split)
    encoder = MAKERS[method](**PARAMS[method])
    if "random_state" in encoder.get_params():
        encoder.set_params(random_state=split)
    encoder.fit(rows[0])
    return encoder.transform(rows[0]), encoder.transform(rows[1]), rows[2], rows[3]


def accuracy(method: str, name: str, n_labeled: int, split: int) -> tuple[float, dict[str, Any]]:
    """Test accuracy in percent."""
    train, test, y_train, y_test = codes(method, name, split)
    few, _, y_few, _ = train_test_split(train, y_train, train_size=n_labeled, stratify=y_train, random_state=split)
    model = LogisticRegressionCV(
        Cs=np.geomspace(1e-4, 1e1, 6),
        cv=3,
        scoring="accuracy",
        max_iter=2000,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    classifier = make_pipeline(StandardScaler(), model).fit(few, y_few)
    return round(100 * classifier.score(test, y_test), 3), {}


def table() -> str:
    """Mean ± sd over splits as a Markdown table."""
    runs = finished(EXPERIMENT)
    settings = sorted({tuple(run["setting"].values()) for run in runs})
    rows = []
    for method in PARAMS:
        cells = [method]
        for setting in settings:
            found = [r["value"] for r in runs if r["method"] == method and tuple(r["setting"].values()) == setting]
            cells.append(f"{np.mean(found):.1f} ± {np.std(found, ddof=1):.1f}" if len(found) > 1 else "")
        rows.append(cells)
    return markdown(["features", *(f"{name}, {n} labels" for name, n in settings)], rows)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(N_TRAIN), default=list(N_TRAIN))
    parser.add_argument("--table", action="store_true", help="print the table only")
    arguments = parser.parse_args()
    if not arguments.table:
        for name, split, method, n_labeled in product(arguments.data, range(N_SPLITS), PARAMS, (100, 1000)):
            setting = {"data": name, "n_labeled": n_labeled}
            key = {"experiment": EXPERIMENT, "method": method, "setting": setting, "seed": split}
            params = PARAMS[method]
            run_once(
                key | {"metric": "test_accuracy_percent"}, params, partial(accuracy, method, name, n_labeled, split)
            )
    print(table())


if __name__ == "__main__":
    main()
