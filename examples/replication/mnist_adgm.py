"""MNIST with 100 labels by ADGM and SDGM: the recipe of Maaløe et al. 2016 (arXiv 1602.05473), and a short one.

The protocol is that of mnist_few_labels.py: of the 50,000 training rows, 100 keep their label, ten of each class.
Another 10,000 rows are for validation, and the 10,000 test rows give the error. The seed of a run determines its labels
and its initial weights.

The paper reports errors of 0.96 ± 0.02 % (ADGM) and 1.32 ± 0.07 % (SDGM). Of its recipe, "paper" has the sizes of the
networks, the steps of 100 labeled and 100 unlabeled rows, the weight 0.1 N / N_labeled of the classification term, with
the bounds of labeled and unlabeled rows averaged separately, the binary rows that are drawn anew at each visit, the
number of epochs, and batch normalization. These differ: one draw of the latent variables instead of five, another
schedule of the learning rate, and 50,000 rows instead of 60,000. A run takes about a day on one core.

"short" and "short_batch_norm" take about half an hour. They differ from "paper" in what trials of 6 to 40 epochs chose
by the validation error of one split, mostly of SDGM without batch normalization.

You can stop the script at any time; it resumes where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_adgm.py --recipes short --models SDGM --seeds 0
    python examples/replication/mnist_adgm.py --table                     # the table from the results file
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

import numpy as np
from _runs import CACHE, finished, markdown, mean_and_sd, run_once
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
    "batch_norm": True,
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
SHORT = PARAMS | {
    "alpha": 10.0,
    "alpha_normalization": "paper",
    "n_enumerated": 1,
    "kl_warmup": 0,
    "learning_rate_init": 3e-3,
    "batch_size": 250,
    "max_iter": 100,
    "precision": "bfloat16",
}
RECIPES = {"short": SHORT | {"batch_norm": False}, "short_batch_norm": SHORT, "paper": PARAMS}


def one_run(
    recipe: str, model: str, seed: int, data: dict[str, tuple[np.ndarray, np.ndarray]], experiment: str
) -> None:
    """Fit and test one classifier, unless its run is in the results; a fit continues from its checkpoint."""
    params = RECIPES[recipe] | {"skip": model == "SDGM"}
    checkpoint = CACHE / f"{experiment}_{recipe}_{model}_{seed}"
    classifier = ADGMClassifier(**params, random_state=seed, checkpoint=checkpoint, verbose=True)

    def work() -> tuple[float, dict[str, Any]]:
        X, y = data["train"]
        classifier.fit(X, mask_labels(y, N_LABELED, random_state=seed))
        facts = {"validation_error_percent": error_percent(classifier, *data["valid"])}
        return error_percent(classifier, *data["test"]), facts

    setting = {"n_labeled": N_LABELED, "model": model, "recipe": recipe}
    key = {"experiment": experiment, "method": "ADGMClassifier", "setting": setting, "seed": seed}
    run_once(key | {"metric": "test_error_percent"}, params, work)


def table() -> str:
    """The results as a Markdown table."""
    header = ["model", "recipe", "validation error, %", "test error, %", "seeds", "seconds per run", "paper, %"]
    rows = []
    for recipe, (model, paper) in product(RECIPES, PAPER.items()):
        setting = {"n_labeled": N_LABELED, "model": model, "recipe": recipe}
        runs = [run for run in finished(EXPERIMENT) if run["setting"] == setting]
        cells = [model, recipe, "", "not run", 0, "", paper]
        if runs:
            of_validation = [run["facts"]["validation_error_percent"] for run in runs]
            cells[2:5] = [mean_and_sd(of_validation), mean_and_sd([run["value"] for run in runs]), len(runs)]
            cells[5] = f"{np.mean([run['seconds'] for run in runs]):.0f}"
        rows.append(cells)
    return markdown(header, rows)


def main() -> None:
    """Do the requested runs that are not in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--models", nargs="+", choices=list(PAPER), default=list(PAPER))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--experiment", default=EXPERIMENT, help="name of the results, to run a later version again")
    parser.add_argument("--table", action="store_true", help="print the table of the finished runs, nothing else")
    args = parser.parse_args()
    if args.table:
        print(table())
        return
    data = load()
    for recipe, seed, model in product(args.recipes, args.seeds, args.models):
        one_run(recipe, model, seed, data, args.experiment)


if __name__ == "__main__":
    main()
