"""What helps M2 on MNIST with few labels: one change at a time, judged by the validation rows.

The runs are those of M2 in mnist_few_labels.py, with 100 or 1,000 labels and 80 epochs unless the name of the change
says otherwise. The test rows are not read. The seed determines the labels and the initial weights. The script resumes
where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_m2_screening.py
    SKDGM_DATA=... python examples/replication/mnist_m2_screening.py --changes nothing "160 epochs" --seeds 1
    python examples/replication/mnist_m2_screening.py --table
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _runs import finished, markdown, mean_and_sd, requested_changes, run_once
from mnist_few_labels import M2, error_percent, load

from skdgm import M2Classifier
from skdgm.datasets import mask_labels

EXPERIMENT, N_LABELED = "mnist_m2_screening", (100, 1000)
SHORT: dict[str, Any] = M2 | {"max_iter": 80}
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "40 epochs": {"max_iter": 40},
    "160 epochs": {"max_iter": 160},
    "320 epochs": {"max_iter": 320},
    "alpha=1": {"alpha": 1.0},
    "alpha=100": {"alpha": 100.0},
    'alpha_normalization="balanced"': {"alpha": 0.1, "alpha_normalization": "balanced"},
    "learning rate 0.001": {"learning_rate_init": 1e-3},
    "batches of 250 rows": {"batch_size": 250},
    "100 labels per step": {"labeled_batch_size": 100},
    "two hidden layers": {"hidden_layer_sizes": (500, 500)},
    "1,000 hidden units": {"hidden_layer_sizes": (1000,)},
    "20 dimensions": {"n_components": 20},
    "gray pixels": {"dynamic_binarization": False},
    "no weight prior": {"weight_prior": None},
    "KL warm-up over a third": {"kl_warmup": 1 / 3},
}


def run(name: str, n_labeled: int, seed: int, data: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Fit and judge one classifier, unless it is in the results."""
    params = SHORT | CHANGES[name]

    def work() -> tuple[float, dict[str, Any]]:
        X, y = data["train"]
        model = M2Classifier(**params, random_state=seed).fit(X, mask_labels(y, n_labeled, random_state=seed))
        return error_percent(model, *data["valid"]), {"final_bound": round(float(model.history_["bound"][-1]), 2)}

    setting = {"changed": name, "n_labeled": n_labeled}
    key = {"experiment": EXPERIMENT, "method": "M2Classifier", "setting": setting, "seed": seed}
    run_once(key | {"metric": "validation_error_percent"}, params, work)


def table() -> str:
    """The results as a Markdown table."""
    header = ["what is changed", *(f"{n_labeled:,} labels: validation error, %" for n_labeled in N_LABELED), "seeds"]
    runs, rows = finished(EXPERIMENT), []
    for name in CHANGES:
        errors = [
            [run["value"] for run in runs if run["setting"] == {"changed": name, "n_labeled": n_labeled}]
            for n_labeled in N_LABELED
        ]
        if any(errors):
            cells = [mean_and_sd(values) if values else "not run" for values in errors]
            rows.append([name, *cells, " / ".join(str(len(values)) for values in errors)])
    return markdown(header, rows)


def main() -> None:
    """Do the requested runs that are not in the results, then print the table."""
    runs = requested_changes(__doc__, CHANGES, [0])
    data = load() if runs else {}
    for seed, name in runs:
        for n_labeled in N_LABELED:
            run(name, n_labeled, seed, data)
    print(table())


if __name__ == "__main__":
    main()
