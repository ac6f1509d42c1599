"""What matters for M1+M2 on MNIST with 100 labels: one change at a time, judged by the validation rows.

The runs are those of mnist_few_labels.py, with a third of the epochs, so that all of them take hours rather than a day:
the errors are higher than there, and only their differences count. A run changes a parameter of the upper layer or the
M1 below it. The seed determines the labels and the initial weights. The script resumes where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_ablations.py
    python examples/replication/mnist_ablations.py --table
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _runs import finished, markdown, mean_and_sd, requested_changes, run_once
from mnist_few_labels import LONG_M1, M1, M1M2, error_percent, load, shared_m1
from sklearn.frozen import FrozenEstimator

from skdgm import M1M2Classifier
from skdgm.datasets import mask_labels

EXPERIMENT, N_LABELED = "mnist_ablations", 100
SHORT = M1M2 | {"max_iter": M1M2["max_iter"] // 3}
# What is changed: of the upper layer, and of the M1.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "M1 of 35 epochs": ({}, {"max_iter": M1["max_iter"] // 4}),
    "M1 of 400 epochs": ({}, {"max_iter": LONG_M1["max_iter"]}),
    "M1 with a mixture prior": ({}, {"prior": "mixture"}),
    "M1 of 10 dimensions": ({}, {"n_components": 10}),
    "all dimensions of the M1, also inactive ones": ({"active_threshold": 0.0}, {}),
    "codes not drawn again": ({"resample_codes": False}, {}),
    "pixels beside the codes": ({"passthrough": True}, {}),
    'alpha_normalization="balanced"': ({"alpha_normalization": "balanced"}, {}),
    'alpha="auto"': ({"alpha": "auto"}, {}),
    "alpha=1": ({"alpha": 1.0}, {}),
    "KL warm-up over a third": ({"kl_warmup": 1 / 3}, {}),
    "no weight prior": ({"weight_prior": None}, {}),
    "20 labels per step": ({"labeled_batch_size": 20}, {}),
    "softplus": ({"activation": "softplus"}, {}),
    "200 hidden units": ({"hidden_layer_sizes": (200,)}, {}),
    "sum over all classes": ({"n_enumerated": None}, {}),
    "300 epochs": ({"max_iter": 300}, {}),
    "600 epochs": ({"max_iter": 600}, {}),
    "sum over all classes, 300 epochs": ({"n_enumerated": None, "max_iter": 300}, {}),
    "estimated class prior": ({"class_prior": "estimated"}, {}),
}


def run(name: str, seed: int, data: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Fit and judge one classifier, unless it is in the results."""
    of_upper, of_m1 = CHANGES[name]
    X, y = data["train"]

    def work() -> tuple[float, dict[str, Any]]:
        encoder = FrozenEstimator(shared_m1(X, M1 | of_m1))
        model = M1M2Classifier(encoder=encoder, **SHORT | of_upper, random_state=seed)
        model.fit(X, mask_labels(y, N_LABELED, random_state=seed))
        return error_percent(model, *data["valid"]), {"n_active": len(model.active_)}

    key = {"experiment": EXPERIMENT, "method": "M1M2Classifier", "setting": {"changed": name}, "seed": seed}
    run_once(key | {"metric": "validation_error_percent"}, SHORT | of_upper | {"m1": M1 | of_m1}, work)


def table() -> str:
    """The results as a Markdown table."""
    header = ["what is changed", "validation error, %", "active dimensions", "seeds"]
    rows = []
    for name in CHANGES:
        runs = [run for run in finished(EXPERIMENT) if run["setting"]["changed"] == name]
        if not runs:
            continue
        errors = [run["value"] for run in runs]
        cells = [name, mean_and_sd(errors), runs[0]["facts"]["n_active"], len(runs)]
        rows.append(cells)
    return markdown(header, rows)


def main() -> None:
    """Do the requested runs that are not in the results, then print the table."""
    runs = requested_changes(__doc__, CHANGES, [0, 1])
    data = load() if runs else {}
    for seed, name in runs:
        run(name, seed, data)
    print(table())


if __name__ == "__main__":
    main()
