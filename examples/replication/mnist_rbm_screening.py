"""What makes RBMs better on fixed binarized MNIST: short runs that differ in one respect, judged by validation rows.

All have 500 hidden units and ten epochs, so that only differences count: the likelihoods of mnist_stack_nll.py are
higher. A step has 1,000 updates of Gibbs chains in every run: 200 chains for five steps, 1,000 chains for one step, or
100 chains at ten temperatures for one step. Annealing gives a log-likelihood that is too high on average, annealing in
reverse one that is too low. A change that raises the first and lowers the second is not to be trusted: the RBM has
modes that chains do not reach. The script resumes where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_rbm_screening.py
    python examples/replication/mnist_rbm_screening.py --table
"""

from __future__ import annotations

from functools import partial
from typing import Any

from _runs import finished, markdown, requested_changes, run_once

from skdgm import StackedAutoencoder
from skdgm.datasets import load_binarized_mnist

EXPERIMENT = "mnist_rbm_screening"
N_ROWS = 200  # validation rows that are scored, and from which annealing goes in reverse
BASE: dict[str, Any] = {"n_components": 500, "likelihood": "bernoulli", "batch_size": 200, "rbm_max_iter": 10}
BASE |= {"rbm_learning_rate_init": 3e-3, "learning_rate": "linear", "weight_prior": None, "early_stopping": False}
BASE |= {"persistent": True, "n_gibbs_steps": 5, "n_chains": None, "n_temperatures": 1, "centered": False}
BASE |= {"n_annealing_steps": 1000, "n_annealing_chains": 100, "n_bound_samples": 100, "precision": "auto"}

CENTERED = {"centered": True}
MORE_CHAINS = {"n_chains": 1000, "n_gibbs_steps": 1}
TEMPERED = {"n_chains": 100, "n_temperatures": 10, "n_gibbs_steps": 1}
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "centered": CENTERED,
    "1,000 chains": MORE_CHAINS,
    "tempered": TEMPERED,
    "centered, 1,000 chains": CENTERED | MORE_CHAINS,
    "centered, tempered": CENTERED | TEMPERED,
    "centered, weight prior 0.3": CENTERED | {"weight_prior": 0.3},
    "centered, rate 0.001": CENTERED | {"rbm_learning_rate_init": 1e-3},
    "centered, rate 0.01": CENTERED | {"rbm_learning_rate_init": 1e-2},
    "centered, constant rate": CENTERED | {"learning_rate": "constant"},
}


def judged(params: dict[str, Any], seed: int) -> tuple[float, dict[str, Any]]:
    """Log-likelihood of validation rows by annealing, and what annealing in reverse says."""
    model = StackedAutoencoder(**params, random_state=seed)
    model.fit(load_binarized_mnist(return_X_y=True, subset="train")[0])
    X = load_binarized_mnist(return_X_y=True, subset="valid")[0][:N_ROWS]
    minus_energy = model.score_samples(X).mean() + model.log_partition_
    bracket = model.bracket_log_partition(X, random_state=0)
    facts = {"log_p_by_reverse_annealing": round(float(minus_energy - bracket.upper), 3)}
    facts |= {"bracket": {name: round(value, 3) for name, value in bracket._asdict().items()}}
    facts |= {"precision": model.precision_}
    return round(float(minus_energy - bracket.lower), 3), facts


def table() -> str:
    """The results as a Markdown table."""
    header = ["what is changed", "log p, nats", "log p by reverse annealing", "standard errors"]
    rows = []
    runs = finished(EXPERIMENT)
    for run in sorted(runs, key=lambda run: list(CHANGES).index(run["setting"]["changed"])):
        facts, bracket = run["facts"], run["facts"]["bracket"]
        cells = [run["setting"]["changed"], f"{run['value']:.1f}", f"{facts['log_p_by_reverse_annealing']:.1f}"]
        cells += [f"{bracket['lower_error']:.1f}, {bracket['upper_error']:.1f}"]
        rows.append(cells)
    return markdown(header, rows)


def main() -> None:
    """Do the requested runs that are not in the results, then print the table."""
    for seed, name in requested_changes(__doc__, CHANGES, [0]):
        params = BASE | CHANGES[name]
        key = {"experiment": EXPERIMENT, "method": "StackedAutoencoder", "setting": {"changed": name}, "seed": seed}
        run_once(key | {"metric": "validation_log_likelihood_nats"}, params, partial(judged, params, seed))
    print(table())


if __name__ == "__main__":
    main()
