"""MNIST with 100 labels as a newcomer would try it: estimators with their defaults, and their presets, on fewer rows.

The labels, the validation rows, and the test rows are those of mnist_few_labels.py, but the training rows are its first
2,000, 10,000, or all 50,000. Each run fits its own M1 and gets nothing but the images and the labels. One default
was chosen on MNIST, by 5,000 validation rows with 2,000 training rows: that M1M2Classifier standardizes its codes. The
presets were chosen on the validation rows with 50,000 training rows. The seed determines the labels and the initial
weights. The script resumes where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_defaults.py
    SKDGM_DATA=... python examples/replication/mnist_defaults.py --rows 10000 --methods M2Classifier --seeds 0
    python examples/replication/mnist_defaults.py --table
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from _runs import finished, markdown, mean_and_sd, run_once
from mnist_few_labels import N_TRAIN, error_percent, load
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skdgm import M1Classifier, M1M2Classifier, M2Classifier
from skdgm.datasets import mask_labels

EXPERIMENT, N_LABELED = "mnist_defaults", 100
N_ROWS = (2_000, 10_000, N_TRAIN)
METHODS: dict[str, Callable[[int], Any]] = {
    "LogisticRegression": lambda seed: LogisticRegression(random_state=seed),
    "M2Classifier": lambda seed: M2Classifier(random_state=seed),
    "M1Classifier": lambda seed: M1Classifier(random_state=seed),
    "M1M2Classifier": lambda seed: M1M2Classifier(random_state=seed),
    "M1Classifier, preset": lambda seed: M1Classifier.from_preset("images_few_labels", random_state=seed),
    "M1M2Classifier, preset": lambda seed: M1M2Classifier.from_preset("images_few_labels", random_state=seed),
}


def run(name: str, n_rows: int, seed: int, data: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Fit and test one classifier, unless it is in the results."""
    X, truth = (part[:n_rows] for part in data["train"])

    def work() -> tuple[float, dict[str, Any]]:
        y = mask_labels(truth, N_LABELED, random_state=seed)
        used = y >= 0 if name == "LogisticRegression" else slice(None)
        model = METHODS[name](seed).fit(X[used], y[used])
        facts: dict[str, Any] = {"validation_error_percent": error_percent(model, *data["valid"])}
        if hasattr(model, "predict_proba"):
            facts["test_log_loss"] = round(log_loss(data["test"][1], model.predict_proba(data["test"][0])), 4)
        return error_percent(model, *data["test"]), facts

    key = {"experiment": EXPERIMENT, "method": name, "setting": {"n_rows": n_rows}, "seed": seed}
    run_once(key | {"metric": "test_error_percent"}, {"n_labeled": N_LABELED}, work)


def table() -> str:
    """The results as a Markdown table."""
    header = ["training rows", "method", "test error, %", "test log-loss", "seeds", "seconds per run"]
    rows = []
    for n_rows, name in product(N_ROWS, METHODS):
        runs = [run for run in finished(EXPERIMENT) if run["method"] == name and run["setting"]["n_rows"] == n_rows]
        if runs:
            losses = [run["facts"].get("test_log_loss", np.nan) for run in runs]
            cells = [f"{n_rows:,}", name, mean_and_sd([run["value"] for run in runs])]
            cells += ["" if np.isnan(losses).any() else mean_and_sd(losses), len(runs)]
            rows.append([*cells, f"{np.mean([run['seconds'] for run in runs]):.0f}"])
    return markdown(header, rows)


def main() -> None:
    """Do the requested runs that are not in the results, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--rows", nargs="+", type=int, choices=N_ROWS, default=N_ROWS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--table", action="store_true", help="print the table of the finished runs, nothing else")
    args = parser.parse_args()
    if not args.table:
        data = load()
        for seed, n_rows, name in product(args.seeds, args.rows, args.methods):
            run(name, n_rows, seed, data)
    print(table())


if __name__ == "__main__":
    main()
