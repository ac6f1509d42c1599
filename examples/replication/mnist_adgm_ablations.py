"""What matters for SDGM and ADGM on MNIST with 100 labels: one change at a time, judged by the validation rows.

The runs are those of mnist_adgm.py with the recipe "short_batch_norm", in float32. The seed determines the labels and
the initial weights. A run takes two or three minutes on a GPU beside seven others, and most of an hour on one core.
The script resumes where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_adgm_ablations.py
    python examples/replication/mnist_adgm_ablations.py --table
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from _runs import finished, markdown, mean_and_sd, requested_changes, run_once
from mnist_adgm import N_LABELED, PAPER, SHORT
from mnist_few_labels import error_percent, load

from skdgm import ADGMClassifier
from skdgm.datasets import mask_labels

EXPERIMENT = "mnist_adgm_ablations"
BASE = SHORT | {"precision": "float32"}
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no batch normalization": {"batch_norm": False},
    "300 epochs": {"max_iter": 300},
    "alpha=1": {"alpha": 1.0},
    "alpha=50": {"alpha": 50.0},
    'alpha=0.1, alpha_normalization="balanced"': {"alpha": 0.1, "alpha_normalization": "balanced"},
    "KL warm-up over a fifth": {"kl_warmup": 0.2},
    "sum over all classes": {"n_enumerated": None},
    "learning rate 1e-3": {"learning_rate_init": 1e-3},
    "100 rows per step": {"batch_size": 100},
    "gray pixels instead of drawn ones": {"dynamic_binarization": False},
    "no weight prior": {"weight_prior": None},
    "softplus": {"activation": "softplus"},
    "20 auxiliary dimensions": {"n_auxiliary": 20},
    "50 latent and auxiliary dimensions": {"n_components": 50, "n_auxiliary": 50},
    "estimated class prior": {"class_prior": "estimated"},
}


def run(name: str, model: str, seed: int, data: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Fit and judge one classifier, unless it is in the results."""
    params = BASE | CHANGES[name] | {"skip": model == "SDGM"}
    X, y = data["train"]

    def work() -> tuple[float, dict[str, Any]]:
        classifier = ADGMClassifier(**params, random_state=seed).fit(X, mask_labels(y, N_LABELED, random_state=seed))
        return error_percent(classifier, *data["valid"]), {"bound": classifier.history_["bound"][-1]}

    key = {"experiment": EXPERIMENT, "method": "ADGMClassifier", "setting": {"model": model, "changed": name}}
    run_once(key | {"seed": seed, "metric": "validation_error_percent"}, params, work)


def table() -> str:
    """The results as a Markdown table."""
    header = ["what is changed", *(f"{model}, validation error, %" for model in PAPER), "seeds"]
    rows = []
    for name in CHANGES:
        runs = [run for run in finished(EXPERIMENT) if run["setting"]["changed"] == name]
        if not runs:
            continue
        errors = [[run["value"] for run in runs if run["setting"]["model"] == model] for model in PAPER]
        cells = [name, *(mean_and_sd(of_model) if of_model else "" for of_model in errors), max(map(len, errors))]
        rows.append(cells)
    return markdown(header, rows)


def main() -> None:
    """Do the requested runs that are not in the results, then print the table."""
    runs = requested_changes(__doc__, CHANGES, [0])
    data = load() if runs else {}
    for (seed, name), model in product(runs, PAPER):
        run(name, model, seed, data)
    print(table())


if __name__ == "__main__":
    main()
