"""Is layer-wise training better than joint training? DLGMs beside the stacks of layerwise_comparison.py, at equal size.

Arnold & Ollivier 2012 (arXiv 1212.1524) train a deep generative model one layer after the other. Here, the data and the
stacks are those of layerwise_comparison.py, and the other side is a DLGM, whose decoder and encoder are trained
together: one of normal codes below which a hidden layer lies, or of two layers of normal codes. Both kinds of model
have the same widths, but binary codes hold less. For each kind, 30 models with random hyper-parameters are trained,
and the best within a budget of generative parameters is chosen by the validation rows. A stack's log-likelihood is
exact. That of a DLGM is a lower bound, from importance weights with 1,000 draws per row. The script resumes where it
stopped.

    SKDGM_DATA=... python examples/replication/joint_training.py               # half an hour on one core
    python examples/replication/joint_training.py --table
"""

from __future__ import annotations

import argparse
import warnings
from itertools import product
from typing import Any

import numpy as np
from _runs import finished, markdown, run_once
from layerwise_comparison import DATA, METHODS, best_within
from layerwise_comparison import trials as trials_of_stacks
from sklearn.exceptions import ConvergenceWarning

from skdgm import DLGM

EXPERIMENT, N_TRIALS, N_DRAWS = "joint_training", 30, 1000
NAMES = {"hidden layer": "DLGM, a hidden layer", "two layers": "DLGM, two layers of codes"}
EPOCHS = {"mnist_center": (20, 150), "teapot_cups": (200, 1500)}
BUDGETS = (750, 1000, 1250, 1500, 1750, 2000)
COMMON: dict[str, Any] = {"likelihood": "bernoulli", "prior": "normal", "weight_prior": None, "input_noise": None}
COMMON |= {"early_stopping": False, "n_iter_no_change": None, "posterior": "diagonal"}


def drawn_params(kind: str, data: str, trial: int) -> dict[str, Any]:
    """Hyper-parameters of a trial."""
    rng = np.random.default_rng([trial, list(NAMES).index(kind)])

    def between(low: float, high: float) -> float:
        """Log-uniform."""
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    lower, top = round(between(2, 13)), round(between(2, 13))
    params: dict[str, Any] = {"n_components": top, "hidden_layer_sizes": (lower,)}
    if kind == "two layers":
        params = {"n_components": (lower, top), "hidden_layer_sizes": (lower,)}
    params |= {"max_iter": round(between(*EPOCHS[data])), "learning_rate_init": round(between(1e-3, 3e-2), 5)}
    return params | {"n_importance_samples_train": int(rng.choice([1, 5]))}


def n_generative(model: DLGM) -> int:
    """Number of parameters of p(x, z)."""
    is_encoder = [name.startswith("encoder") for name, _ in model.module_.named_parameters()]
    sizes = [parameter.numel() for parameter in model.module_.parameters()]
    return sum(size for size, skipped in zip(sizes, is_encoder, strict=True) if not skipped)


def run_trial(kind: str, data: str, trial: int) -> None:
    """Train and score one model, unless it is in the results."""
    params = drawn_params(kind, data, trial)

    def work() -> tuple[float, dict[str, Any]]:
        train, valid, test = DATA[data]()
        model = DLGM(**params, **COMMON, n_importance_samples=N_DRAWS, random_state=trial)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is drawn at random
            model.fit(train)
        facts = {"n_parameters": n_generative(model), "test": round(model.score(test), 4)}
        return round(model.score(valid), 4), facts

    key = {"experiment": EXPERIMENT, "method": "DLGM", "setting": {"data": data, "kind": kind}, "seed": trial}
    run_once(key | {"metric": "valid_log_likelihood_nats"}, COMMON | params, work)


def trials(data: str, kind: str) -> list[dict[str, Any]]:
    """The finished trials of a kind."""
    return [run for run in finished(EXPERIMENT) if run["setting"] == {"data": data, "kind": kind}]


def table(data: str) -> str:
    """The best of each kind within each budget, by validation rows, as Markdown: log-likelihood of the test rows."""
    kinds = {"the best stack": [run for method in METHODS for run in trials_of_stacks(data, method)]}
    kinds |= {name: trials(data, kind) for kind, name in NAMES.items()}
    rows = []
    for budget in BUDGETS:
        cells = [str(budget)]
        for runs in kinds.values():
            best = best_within(runs, np.array([budget]))[0]
            found = [run for run in runs if run["value"] == best and run["facts"]["n_parameters"] <= budget]
            cells.append(f"{found[0]['facts']['test']:.2f}" if found else "")
        rows.append(cells)
    return markdown([f"{data}: parameters, at most", *kinds], rows)


def main() -> None:
    """Do the runs that are missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the tables of the finished runs, nothing else")
    arguments = parser.parse_args()
    for trial, data, kind in [] if arguments.table else product(range(N_TRIALS), DATA, NAMES):
        run_trial(kind, data, trial)
    print(*(table(data) for data in DATA), sep="\n\n")


if __name__ == "__main__":
    main()
