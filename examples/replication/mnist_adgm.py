"""MNIST with 100 labels by ADGM and SDGM: the recipe of Maaløe et al. 2016 (arXiv 1602.05473), as far as skdgm has it.

The protocol is that of mnist_few_labels.py: of the 50,000 training rows, 100 keep their label, ten of each class.
Another 10,000 rows are for validation, and the 10,000 test rows give the error. The seed of a run determines its labels
and its initial weights.

The paper reports errors of 0.96 ± 0.02 % (ADGM) and 1.32 ± 0.07 % (SDGM). Of its recipe, these are the sizes of the
networks, the steps of 100 labeled and 100 unlabeled rows, the weight 0.1 N / N_labeled of the classification term, with
the bounds of labeled and unlabeled rows averaged separately, the binary rows that are drawn anew at each visit, and the
number of epochs. These differ: no batch normalization, one draw of the latent variables instead of five, another
schedule of the learning rate, and 50,000 rows instead of 60,000.

A run takes about a day on one core. You can stop the script at any time; it resumes where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_adgm.py --models ADGM --seeds 0
    python examples/replication/mnist_adgm.py --table                     # the table from the results file
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _runs import CACHE, finished, run_once
from mnist_few_labels import error_percent, load

from skdgm import ADGMClassifier
from skdgm.datasets import mask_labels

EXPERIMENT = "mnist_adgm"
N_LABELED = 100
PAPER = {"ADGM": 0.96, "SDGM": 1.32}
PARAMS: dict[str, Any] = {
    "n_components": 100,
    "n_auxiliary": 100,
    "hidden_layer_sizes": (500, 500),
    "network": "mlp",
    "activation": "relu",
    "likelihood": "bernoulli",
    "dynamic_binarization": True,
    "alpha": 0.1,
    "alpha_normalization": "balanced",
    "class_prior": "uniform",
    "class_weight": None,
    "labeled_batch_size": 100,
    "n_enumerated": None,
    "proba_method": "classifier",
    "calibration_cv": None,
    "weight_prior": 1.0,
    "kl_warmup": 200,
    "learning_rate_init": 3e-4,
    "learning_rate": "linear",
    "batch_size": 100,
    "max_iter": 1000,
    "early_stopping": False,
    "precision": "float32",
}


def make(model: str, seed: int, **params: Any) -> ADGMClassifier:
    """The classifier of a run."""
    return ADGMClassifier(**PARAMS | params, skip=model == "SDGM", random_state=seed)


def one_run(model: str, seed: int, data: dict[str, tuple[np.ndarray, np.ndarray]], experiment: str) -> None:
    """Fit and test one classifier, unless its run is in the results; a fit continues from its checkpoint."""
    classifier = make(model, seed, checkpoint=CACHE / f"{experiment}_{model}_{seed}", verbose=True)

    def work() -> tuple[float, dict[str, Any]]:
        X, y = data["train"]
        classifier.fit(X, mask_labels(y, N_LABELED, random_state=seed))
        facts = {"validation_error_percent": error_percent(classifier, *data["valid"])}
        return error_percent(classifier, *data["test"]), facts

    key = {"experiment": experiment, "method": "ADGMClassifier", "setting": {"n_labeled": N_LABELED, "model": model}}
    run_once(key | {"seed": seed, "metric": "test_error_percent"}, PARAMS | {"skip": model == "SDGM"}, work)


def table() -> str:
    """The results as a Markdown table."""
    rows = ["| model | labels | skdgm, % | seeds | paper, % |", "|---|---|---|---|---|"]
    for model, paper in PAPER.items():
        errors = [run["value"] for run in finished(EXPERIMENT) if run["setting"]["model"] == model]
        ours = f"{np.mean(errors):.2f} ± {np.std(errors):.2f}" if errors else "not run"
        rows.append(f"| {model} | {N_LABELED} | {ours} | {len(errors)} | {paper} |")
    return "\n".join(rows)


def main() -> None:
    """Do the requested runs that are not in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(PAPER), default=list(PAPER))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--experiment", default=EXPERIMENT, help="name of the results, to run a later version again")
    parser.add_argument("--table", action="store_true", help="print the table of the finished runs, nothing else")
    args = parser.parse_args()
    if args.table:
        print(table())
        return
    data = load()
    for seed in args.seeds:
        for model in args.models:
            one_run(model, seed, data, args.experiment)


if __name__ == "__main__":
    main()
