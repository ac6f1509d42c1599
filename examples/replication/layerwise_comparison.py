"""Layer-wise training: rich and tied autoencoders and stacked RBMs (Arnold & Ollivier 2012, arXiv 1212.1524).

Their two data sets are not public. The script builds two similar ones, so no number can be compared with theirs:

- ``mnist_center``: the central 10 x 10 pixels of MNIST's training images, drawn as 0 and 1 with their gray values as
  probabilities; 4,000 training, validation and test rows each.
- ``teapot_cups``: a teapot and five cups of three fill levels each, 10 x 10 pixels. The teapot contains the part of the
  10 units that is not in the cups: 243 images, 81 / 81 / 81.

For each method, 60 models of depth 2 (and as many single RBMs) with random hyper-parameters are compared by their exact
log-likelihood on the validation rows. A budget b is a number of generative parameters (the encoder is not counted); the
result of a method at b is the best of its models with at most b parameters. The figures are those of the paper: bound
against likelihood, and likelihood against budget. The script resumes where it stopped.

    SKDGM_DATA=... python examples/replication/layerwise_comparison.py              # an hour or two on one core
    python examples/replication/layerwise_comparison.py --table                     # tables and figures from the file
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from _runs import RESULTS, finished, markdown, run_once
from scipy.stats import spearmanr

from skdgm import StackedAutoencoder
from skdgm.datasets import load_mnist

EXPERIMENT = "layerwise_comparison"
N_TRIALS = 60
METHODS = ("rich", "vanilla", "srbm", "rbm")
NAMES = {"rich": "rich + RBM", "vanilla": "vanilla + RBM", "srbm": "stacked RBMs", "rbm": "single RBM"}
EPOCHS = {"mnist_center": (20, 150), "teapot_cups": (200, 1500)}
N_BUDGETS = 30
SAME_FOR_ALL: dict[str, Any] = {"likelihood": "bernoulli", "weight_prior": None, "input_noise": None}
SAME_FOR_ALL |= {"early_stopping": False, "n_bound_samples": 1, "centered": False}


# --- data ---------------------------------------------------------------------------------------------------------


def mnist_center() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test rows."""
    X, _ = load_mnist(return_X_y=True, subset="train")
    rng = np.random.default_rng(0)
    rows = X[rng.choice(len(X), 12_000, replace=False)].reshape(-1, 28, 28)[:, 9:19, 9:19].reshape(-1, 100)
    binary = (rng.random(rows.shape) < rows).astype(np.float32)
    return binary[:4000], binary[4000:8000], binary[8000:]


def teapot_cups() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test rows."""
    images = np.stack([teapot_and_cups(levels) for levels in product(range(3), repeat=5)]).reshape(-1, 100)
    shuffled = np.random.default_rng(0).permutation(images)
    return shuffled[:81], shuffled[81:162], shuffled[162:]


def teapot_and_cups(levels: tuple[int, ...]) -> np.ndarray:
    """Draw five cups of 2 x 2 cells below a pot of 5 x 8: what is not in the cups fills the pot from its bottom."""
    image = np.zeros((10, 10), np.float32)
    image[0, 4:6] = image[6] = image[2:5, 0] = image[1:4, 9] = 1  # lid, table, handle, spout
    for cup, level in enumerate(levels):
        image[10 - level : 10, 2 * cup : 2 * cup + 2] = 1
    for unit in range(10 - sum(levels)):
        row, half = 5 - unit // 2, unit % 2
        image[row, 1 + 4 * half : 5 + 4 * half] = 1
    return image


DATA: dict[str, Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    "mnist_center": mnist_center,
    "teapot_cups": teapot_cups,
}


# --- the random search --------------------------------------------------------------------------------------------


def drawn_params(method: str, data: str, trial: int) -> dict[str, Any]:
    """Hyper-parameters of a trial."""
    rng = np.random.default_rng([trial, METHODS.index(method)])

    def between(low: float, high: float) -> float:
        """Log-uniform."""
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    lower, top = round(between(4, 13)), round(between(5, 60))
    params: dict[str, Any] = {
        "n_components": [round(between(2, 20))] if method == "rbm" else [lower, top],
        "rbm_learning_rate_init": round(between(1e-3, 3e-2), 5),
        "rbm_max_iter": round(between(*EPOCHS[data])),
    }
    if method in ("rich", "vanilla"):
        params |= {"inference": method, "max_iter": round(between(*EPOCHS[data]))}
        params |= {"learning_rate_init": round(between(1e-3, 3e-2), 5)}
    if method == "rich":
        params["hidden_layer_sizes"] = [round(between(20, 200))]
    return params | ({"inference": "rbm"} if method == "srbm" else {})


def n_generative(sizes: list[int]) -> int:
    """Number of parameters for 100 columns and layers of these sizes: weights, biases of x and of every code."""
    widths = [100, *sizes]
    return sum(a * b for a, b in zip(widths[:-1], widths[1:], strict=True)) + sum(widths)


def run_trial(method: str, data: str, trial: int) -> None:
    """Train and score one model, unless it is in the results."""
    params = drawn_params(method, data, trial)

    def work() -> tuple[float, dict[str, Any]]:
        train, valid, test = DATA[data]()
        model = StackedAutoencoder(**params, **SAME_FOR_ALL, random_state=trial).fit(train)
        assert model.is_exact_
        facts = {"n_parameters": n_generative(params["n_components"])}
        facts |= {"train": model.score(train), "test": model.score(test)}
        if method != "rbm":
            for name, rows in {"train": train, "valid": valid}.items():
                bound = model.latent_marginal_bound(rows, certify=False)
                facts[f"{name}_q_bound"] = bound.q_lower_bound
                facts[f"{name}_autoencoder_bound"] = bound.autoencoder_bound
            honest = model.latent_marginal_bound(valid, codes_of=train, certify=False)
            facts["valid_q_bound_of_training_codes"] = honest.q_lower_bound
        rounded = {name: round(value, 4) for name, value in facts.items()}
        return round(model.score(valid), 4), rounded

    setting = {"data": data, "model": method, "trial": trial}
    key = {"experiment": EXPERIMENT, "method": "StackedAutoencoder", "setting": setting, "seed": trial}
    run_once(key | {"metric": "valid_log_likelihood_nats"}, params, work)


# --- results ------------------------------------------------------------------------------------------------------


def trials(data: str, method: str) -> list[dict[str, Any]]:
    """The finished trials of a method."""
    runs = [run for run in finished(EXPERIMENT) if run["setting"].get("model") == method]
    return [run for run in runs if run["setting"]["data"] == data and run["metric"] == "valid_log_likelihood_nats"]


def best_within(runs: list[dict[str, Any]], budgets: np.ndarray) -> np.ndarray:
    """The best validation log-likelihood of models within each budget of parameters; -inf if there is none."""
    sizes = np.array([run["facts"]["n_parameters"] for run in runs])
    values = np.array([run["value"] for run in runs])
    return np.array([values[sizes <= budget].max(initial=-np.inf) for budget in budgets])


def summary(data: str) -> tuple[dict[str, Any], np.ndarray, dict[str, np.ndarray]]:
    """The metrics of a data set, the grid of budgets, and each method's best over it."""
    runs = {method: trials(data, method) for method in METHODS}
    sizes = {method: [run["facts"]["n_parameters"] for run in runs[method]] for method in METHODS}
    low = max(min(sizes[method]) for method in METHODS)
    high = max(max(sizes[method]) for method in METHODS)
    budgets = np.geomspace(low, high, N_BUDGETS)
    best = {method: best_within(runs[method], budgets) for method in METHODS}
    common = budgets <= max(sizes["rbm"])
    deep = np.maximum.reduce([best[method] for method in METHODS[:3]])
    metrics = {
        "share_of_budgets_rich_over_srbm": float((best["rich"] > best["srbm"]).mean()),
        "share_of_budgets_rich_over_vanilla": float((best["rich"] > best["vanilla"]).mean()),
        "share_of_budgets_deep_over_rbm": float((deep > best["rbm"])[common].mean()),
    }
    for method in [*METHODS[:3], "pooled"]:
        chosen = [run for name in (METHODS[:3] if method == "pooled" else [method]) for run in runs[name]]
        rank = spearmanr([run["facts"]["valid_q_bound"] for run in chosen], [run["value"] for run in chosen]).statistic
        suffix = "" if method == "pooled" else f"_{method}"
        metrics[f"rank_correlation_bound_likelihood{suffix}"] = float(rank)
    return {name: round(value, 3) for name, value in metrics.items()}, budgets, best


def record_summary(data: str) -> None:
    """Append the metrics once all trials are finished."""
    for metric, value in summary(data)[0].items():
        key = {"experiment": EXPERIMENT, "method": "StackedAutoencoder", "setting": {"data": data}, "seed": 0}
        run_once(key | {"metric": metric}, {"n_trials": N_TRIALS}, lambda value=value: (value, {}))


def table(data: str) -> str:
    """Best models as Markdown."""
    rows = []
    for method in METHODS:
        runs = trials(data, method)
        best = max(runs, key=lambda run: run["value"])
        median = np.median([run["value"] for run in runs])
        facts = best["facts"]
        cells = [NAMES[method], f"{best['value']:.2f}", f"{facts['test']:.2f}", facts["n_parameters"], f"{median:.2f}"]
        rows.append(cells)
    return markdown([data, "best valid.", "its test", "parameters", "median valid."], rows)


def draw(data: str) -> None:
    """Draw the paper's two figures: final likelihood against the bound, and against the budget."""
    import matplotlib.pyplot as plt

    _, budgets, best = summary(data)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    colors = dict(zip(METHODS, ("tab:green", "tab:blue", "tab:red", "black"), strict=True))
    lowest = np.quantile([run["value"] for method in METHODS for run in trials(data, method)], 0.1)
    for method in METHODS:
        runs = trials(data, method)
        if method != "rbm":
            bounds = [run["facts"]["valid_q_bound"] for run in runs]
            left.plot(bounds, [run["value"] for run in runs], ".", color=colors[method], label=NAMES[method])
        right.plot([r["facts"]["n_parameters"] for r in runs], [r["value"] for r in runs], ".", color=colors[method])
        right.step(budgets, best[method], where="post", color=colors[method], label=NAMES[method])
    left.axline((lowest, lowest), slope=1, color="gray", linewidth=0.8)
    top = max(line.max() for line in best.values()) + 1
    left.set(xlabel="bound of the bottom layer, validation rows, nats", xlim=(lowest, None), ylim=(lowest, top))
    left.set(ylabel="log-likelihood of the whole, validation rows, nats", title=data.replace("_", " "))
    right.set(xlabel="generative parameters", ylim=(lowest, top), title="best within a budget")
    left.legend(), right.legend(loc="lower right")
    figure.savefig(RESULTS / f"layerwise_comparison_{data}.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Run what is missing; print tables and draw figures for the complete data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--table", action="store_true", help="tables and figures only")
    arguments = parser.parse_args()
    for data in arguments.data:
        if not arguments.table:
            for trial, method in product(range(N_TRIALS), METHODS):
                run_trial(method, data, trial)
        if all(len(trials(data, method)) >= N_TRIALS for method in METHODS):
            record_summary(data)
        print(table(data), *(f"- {name}: {value}" for name, value in summary(data)[0].items()), sep="\n", end="\n\n")
        draw(data)


if __name__ == "__main__":
    main()
