"""Fixed binarized MNIST: test -log p(x) of DLGM, by the protocol of Rezende et al. 2014 (arXiv 1401.4082).

The data are the file of Larochelle and Murray: 50,000 training, 10,000 validation, and 10,000 test rows of 0 and 1,
drawn once. The scores are the importance-weighted bound on log p(x) with 5,000 draws per row, that with 500 draws after
100 steps that refine the posterior of each row, and the evidence lower bound, all over all test rows; for the best
model, "..._refined" adds that with 5,000 draws after refinement. The models are trained by the importance-weighted
bound from the start, first with 5 draws and then with 20, or by the evidence lower bound alone ("..._elbo"), with a few
bits of the encoder's input flipped. Hyper-parameters were chosen on the validation rows. The table also has factor
analysis (a linear DLGM with Bernoulli columns) and a mixture of Bernoullis. You can stop the script at any time; it
resumes where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_fixed_nll.py                    # everything, hours on 2 cores
    SKDGM_DATA=... python examples/replication/mnist_fixed_nll.py --runs rank_one diagonal
    python examples/replication/mnist_fixed_nll.py --table                           # the table from the results file
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
from _runs import CACHE, finished, markdown, run_once
from joblib import Parallel, delayed
from scipy.special import logsumexp

from skdgm import DLGM
from skdgm.datasets import load_binarized_mnist
from skdgm.distributions import log_mean_exp

EXPERIMENT = "mnist_fixed_nll"
EVIDENCE_BOUND = "mnist_fixed_nll_evidence_bound"  # the ablation
DIFFERENCE = "mnist_fixed_nll_difference"
REFINED, BEST = "mnist_fixed_nll_refined", "top_down_mixture_noisier"  # the best model, with all draws refined
N_DRAWS = 5000  # of test rows; validation rows get FEWER_DRAWS
FEWER_DRAWS = 500
ROWS_AT_ONCE, ROWS_AT_ONCE_REFINED = 50, 20  # with refined posteriors, all draws of a row are in memory at once
ROWS_PER_BLOCK = 500  # of test rows, whose scores are computed side by side and kept
N_REFINEMENT_STEPS = 100

COMMON: dict[str, Any] = {
    "prior": "normal",
    "n_components": 200,
    "hidden_layer_sizes": (200, 200),
    "likelihood": "bernoulli",
    "batch_size": 200,
    "learning_rate_init": 2e-3,
    "max_iter": 550,
    "kl_warmup": 50,
    "weight_prior": 0.3,
    "input_noise": "flip",
    "input_noise_level": 0.03,
    "n_iter_no_change": 10,
    "early_stopping": False,
}
# With the importance-weighted bound from the start, then with more draws, and with the smaller batches these allow.
IMPORTANCE: dict[str, Any] = COMMON | {
    "n_importance_samples_train": 5,
    "learning_rate_init": 1.5e-3,
    "max_iter": 300,
    "kl_warmup": 30,
    "weight_prior": 0.5,
    "input_noise_level": 0.01,
    "precision": "bfloat16",
}
MORE_DRAWS: dict[str, Any] = {
    "warm_start": True,
    "n_importance_samples_train": 20,
    "learning_rate_init": 1e-3,
    "batch_size": 50,
    "max_iter": 150,
    "kl_warmup": 0,
}
SLOWER: dict[str, Any] = {"learning_rate_init": 5e-4, "max_iter": 90}
DIAGONAL: dict[str, Any] = {"posterior": "diagonal"}
RANK_ONE: dict[str, Any] = {"posterior": "low_rank", "rank": 1}
# Two layers and a mixture prior, with more noise against overfitting and a wider weight prior. Most of 200 dimensions
# become inactive, so there are 50.
NOISIER: dict[str, Any] = DIAGONAL | {
    "n_components": (50, 50),
    "prior": "mixture",
    "n_prior_components": 100,
    "max_iter": 200,
    "weight_prior": 1.0,
    "input_noise_level": 0.03,
}
TOP_DOWN: dict[str, Any] = {"inference": "top_down"}
SHORTER: dict[str, Any] = MORE_DRAWS | {"learning_rate_init": 5e-4, "max_iter": 30}
STAGES: dict[str, list[dict[str, Any]]] = {
    "diagonal": [IMPORTANCE | DIAGONAL, MORE_DRAWS, SLOWER],
    "rank_one": [IMPORTANCE | RANK_ONE, MORE_DRAWS, SLOWER],
    "two_layers": [
        IMPORTANCE | DIAGONAL | {"n_components": (200, 100), "batch_size": 100, "max_iter": 150},
        MORE_DRAWS | {"learning_rate_init": 5e-4},
    ],
    "two_layers_mixture": [
        IMPORTANCE | DIAGONAL | {"n_components": (200, 100), "prior": "mixture", "max_iter": 200},
        MORE_DRAWS | {"learning_rate_init": 5e-4, "max_iter": 60},
    ],
    "two_layers_mixture_noisier": [IMPORTANCE | NOISIER, SHORTER],
    "top_down_mixture_preset": [IMPORTANCE | NOISIER | TOP_DOWN],
    "top_down_mixture_noisier": [IMPORTANCE | NOISIER | TOP_DOWN, SHORTER],
    "diagonal_elbo": [COMMON | DIAGONAL],
    "rank_one_elbo": [COMMON | RANK_ONE],
    "factor_analysis": [
        COMMON
        | {"n_components": 50, "hidden_layer_sizes": (), "posterior": "full", "input_noise": None}
        | {"max_iter": 40, "kl_warmup": 5}
    ],
}
MIXTURE = {"n_components": 500, "n_iterations": 100}
PAPER = {"diagonal": 87.30, "rank_one": 86.60, "factor_analysis": 106.00, "mixture": 137.64}
PAPER |= {"diagonal_elbo": 87.30, "rank_one_elbo": 86.60}


def load(subset: str) -> np.ndarray:
    """Rows of 0 and 1."""
    return load_binarized_mnist(return_X_y=True, subset=subset)[0]


def fitted(stages: list[dict[str, Any]], seed: int) -> DLGM:
    """The model after its stages, kept in the cache."""
    changed = stages[0] | {"random_state": seed} if len(stages) == 1 else [*stages, seed]
    path = CACHE / f"dlgm_{joblib.hash(changed)}.joblib"
    if not path.exists():
        model = DLGM(random_state=seed) if len(stages) == 1 else fitted(stages[:-1], seed)
        start = time.perf_counter()
        model.set_params(**stages[-1], verbose=1).fit(load("train"))
        model.training_seconds = getattr(model, "training_seconds", 0) + time.perf_counter() - start
        CACHE.mkdir(exist_ok=True)
        joblib.dump(model, path)
    return joblib.load(path)


class Scores(NamedTuple):
    """Of each row: log p(x) from all draws, its Monte-Carlo variance, log p(x) from FEWER_DRAWS, the ELBO, and log p(x)
    from FEWER_DRAWS of a posterior that is refined for this row.
    """

    log_p: np.ndarray
    variance: np.ndarray
    looser: np.ndarray
    elbo: np.ndarray
    refined: np.ndarray

    @property
    def monte_carlo_sd(self) -> float:
        """Standard deviation of the mean log p(x) over other draws."""
        return float(np.sqrt(self.variance.sum())) / len(self.variance)


@torch.no_grad()
def estimated(module: Any, x: torch.Tensor, n_draws: int, rng: torch.Generator) -> torch.Tensor:
    """The scores of a few rows, (5, n)."""
    parts = [module.log_weights(x, rng, FEWER_DRAWS).double() for _ in range(n_draws // FEWER_DRAWS)]
    log_w = torch.cat(parts)
    log_p = log_mean_exp(log_w)
    variance = (torch.exp(log_mean_exp(2 * log_w) - 2 * log_p) - 1) / n_draws
    elbo = module.elbo(x, rng, 10)
    refined = module.log_likelihood(x, rng, FEWER_DRAWS, None, N_REFINEMENT_STEPS)
    return torch.stack([log_p, variance, log_mean_exp(parts[0]), elbo, refined])


@torch.no_grad()
def refined(module: Any, x: torch.Tensor, n_draws: int, rng: torch.Generator) -> torch.Tensor:
    """log p(x) of a few rows from all draws of refined posteriors, (1, n)."""
    return module.log_likelihood(x, rng, n_draws, None, N_REFINEMENT_STEPS)[None]


def scores(stages: list[dict[str, Any]], seed: int, subset: str, n_draws: int) -> Scores:
    """Scores of all rows."""
    return Scores(*of_rows(estimated, ROWS_AT_ONCE, stages, seed, subset, n_draws))


def of_rows(
    estimate: Callable[..., torch.Tensor],
    rows_at_once: int,
    stages: list[dict[str, Any]],
    seed: int,
    subset: str,
    n_draws: int,
) -> np.ndarray:
    """What ``estimate`` computes for all rows, in blocks side by side; finished blocks are kept in the cache."""

    def of_block(block: int) -> np.ndarray:
        # the name of the estimate is left out for "estimated", so that scores of earlier versions are found
        name = [*stages, seed, subset, n_draws, block] + [estimate.__name__] * (estimate is not estimated)
        path = CACHE / f"dlgm_scores_{joblib.hash(name)}.joblib"
        if not path.exists():
            rows = torch.from_numpy(load(subset)[block * ROWS_PER_BLOCK : (block + 1) * ROWS_PER_BLOCK])
            module, rng = fitted(stages, seed).module_, torch.Generator().manual_seed(block)
            found = [estimate(module, x, n_draws, rng) for x in rows.split(rows_at_once)]
            joblib.dump(torch.cat(found, 1).numpy(), path)
        return joblib.load(path)

    n_blocks = len(load(subset)) // ROWS_PER_BLOCK
    return np.concatenate(Parallel(n_jobs=-1)(delayed(of_block)(block) for block in range(n_blocks)), 1)


def run_dlgm(name: str, seed: int, n_draws: int) -> None:
    """Fit and score a model, unless it is in the results."""
    stages = STAGES[name]
    params = {key: value for stage in stages for key, value in stage.items()}
    posterior = params["posterior"]
    setting: dict[str, Any] = {"posterior": posterior, "rank": params["rank"] if posterior == "low_rank" else None}
    setting["n_layers"] = len(np.atleast_1d(params["n_components"]))
    if params["prior"] != "normal":
        setting["prior"] = params["prior"]
    if not params["hidden_layer_sizes"]:
        setting["hidden_layer_sizes"] = []
    setting |= {key: params[key] for key in ("n_prior_components", "inference") if key in params}
    if name.endswith("_preset"):
        setting["preset"] = "binary_images"
    experiment = EVIDENCE_BOUND if name.endswith("_elbo") else EXPERIMENT
    key = {"experiment": experiment, "method": "DLGM", "setting": setting, "seed": seed, "metric": "nll_nats"}
    run_once(key, {"stages": stages}, partial(judged, name, stages, seed, n_draws))


def judged(name: str, stages: list[dict[str, Any]], seed: int, n_draws: int) -> tuple[float, dict[str, Any]]:
    """Test -log p(x), and facts to keep."""
    model = fitted(stages, seed)
    test, valid = scores(stages, seed, "test", n_draws), scores(stages, seed, "valid", FEWER_DRAWS)
    facts: dict[str, Any] = {"run": name, "n_draws": n_draws, "nll_500_draws": mean_nll(test.looser)}
    facts |= {"nll_refined": mean_nll(test.refined), "test_elbo": -mean_nll(test.elbo)}
    facts |= {"monte_carlo_sd": round(test.monte_carlo_sd, 4), "valid_nll_500_draws": mean_nll(valid.looser)}
    facts |= {"valid_nll_refined": mean_nll(valid.refined), "active_units": model.active_units_.tolist()}
    facts |= {"last_training_bound": round(model.history_["bound"][-1], 3)}
    facts |= {"training_seconds": round(model.training_seconds)}
    return mean_nll(test.log_p), facts | {"epochs": sum(stage["max_iter"] for stage in stages)}


def mean_nll(log_p: np.ndarray) -> float:
    """Mean -log p(x), in nats."""
    return round(-float(log_p.mean()), 3)


def run_refined(name: str, seed: int, n_draws: int) -> None:
    """Score a fitted model again with all draws from refined posteriors, unless it is in the results."""

    def work() -> tuple[float, dict[str, Any]]:
        fitted(STAGES[name], seed)  # not in each of the processes that score it
        log_p = of_rows(refined, ROWS_AT_ONCE_REFINED, STAGES[name], seed, "test", n_draws)
        return mean_nll(log_p), {"n_refinement_steps": N_REFINEMENT_STEPS}

    setting = {"run": name, "n_draws": n_draws}
    key = {"experiment": REFINED, "method": "DLGM", "setting": setting, "seed": seed, "metric": "nll_nats"}
    run_once(key, {"stages": STAGES[name]}, work)


def run_difference(seed: int, n_draws: int) -> None:
    """Record the gain of rank one over diagonal: mean over the same test rows, with its standard error over rows."""

    def work() -> tuple[float, dict[str, Any]]:
        rank_one, diagonal = (scores(STAGES[name], seed, "test", n_draws).log_p for name in ("rank_one", "diagonal"))
        gain = rank_one - diagonal
        return round(float(gain.mean()), 3), {"standard_error_over_rows": round(gain.std() / len(gain) ** 0.5, 4)}

    setting = {"posterior": "low_rank", "rank": 1, "n_layers": 1, "against": "diagonal"}
    key = {"experiment": DIFFERENCE, "method": "DLGM", "setting": setting, "seed": seed, "metric": "gain_nats"}
    run_once(key, {"stages": STAGES["rank_one"]}, work)


def run_mixture(seed: int, _: int) -> None:
    """Fit a mixture of Bernoullis by EM, and score it."""

    def work() -> tuple[float, dict[str, Any]]:
        log_weights, p = bernoulli_mixture(load("train"), seed, **MIXTURE)
        return round(-float(mixture_log_p(load("test"), log_weights, p).mean()), 3), {"run": "mixture"}

    setting = {"n_components": MIXTURE["n_components"]}
    key = {"experiment": EXPERIMENT, "method": "BernoulliMixture", "setting": setting, "seed": seed}
    run_once(key | {"metric": "nll_nats"}, MIXTURE, work)


def bernoulli_mixture(X: np.ndarray, seed: int, n_components: int, n_iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-weights and probabilities by EM, started at blurred training rows; a pseudo-count of one gray row each."""
    rng = np.random.default_rng(seed)
    p = 0.25 + 0.5 * X[rng.choice(len(X), n_components, replace=False)]
    log_weights = np.full(n_components, -np.log(n_components), np.float32)
    for _ in range(n_iterations):
        joint = mixture_log_joint(X, log_weights, p)
        share = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        counts = share.sum(0)
        p = (share.T @ X + X.mean(0)) / (counts[:, None] + 1)
        log_weights = np.log((counts + 1) / (len(X) + n_components)).astype(np.float32)
    return log_weights, p


def mixture_log_joint(X: np.ndarray, log_weights: np.ndarray, p: np.ndarray) -> np.ndarray:
    """log weight + log p(x | component); (n, n_components)."""
    p = np.clip(p, 1e-4, 1 - 1e-4).astype(np.float32)
    return X @ (np.log(p) - np.log1p(-p)).T + np.log1p(-p).sum(1) + log_weights


def mixture_log_p(X: np.ndarray, log_weights: np.ndarray, p: np.ndarray) -> np.ndarray:
    """log p(x); (n,)."""
    return logsumexp(mixture_log_joint(X, log_weights, p), axis=1)


RUNS = {name: partial(run_dlgm, name) for name in STAGES} | {"mixture": run_mixture, "difference": run_difference}
RUNS |= {f"{BEST}_refined": partial(run_refined, BEST)}


def table() -> str:
    """The results as a Markdown table, the paper's values beside ours."""
    header = ["model", "-log p (nats)", "draws", "with 500 draws", "with 500 draws refined", "all draws refined"]
    header += ["Monte-Carlo sd", "-ELBO", "paper", "seed", "epochs", "training seconds"]
    rows = []
    all_refined = {(run["setting"]["run"], run["seed"]): f"{run['value']:.2f}" for run in finished(REFINED)}
    for run in [*finished(EXPERIMENT), *finished(EVIDENCE_BOUND)]:
        facts = run["facts"]
        elbo = f"{-facts['test_elbo']:.2f}" if "test_elbo" in facts else ""
        looser = facts.get("nll_500_draws", run["value"] if elbo else None)
        cells = [f"{run['method']} {facts['run']}", f"{run['value']:.2f}", facts.get("n_draws", "exact")]
        tighter = f"{facts['nll_refined']:.2f}" if "nll_refined" in facts else ""
        cells += [f"{looser:.2f}" if looser else "", tighter, all_refined.get((facts["run"], run["seed"]), "")]
        cells += [facts.get("monte_carlo_sd", "")]
        cells += [elbo, PAPER.get(facts["run"], "")]
        cells += [run["seed"], facts.get("epochs", ""), f"{facts.get('training_seconds', run['seconds']):.0f}"]
        rows.append(cells)
    return markdown(header, rows)


def main() -> None:
    """Do the requested runs, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--draws", type=int, default=N_DRAWS, help="draws per test row, a multiple of 500")
    parser.add_argument("--table", action="store_true", help="print the table only")
    arguments = parser.parse_args()
    if not arguments.table:
        for seed in arguments.seeds:
            for name in arguments.runs:
                RUNS[name](seed, arguments.draws)
    print(table())
    for run in finished(DIFFERENCE):
        error = run["facts"]["standard_error_over_rows"]
        print(f"-log p of diagonal minus that of rank one: {run['value']} ± {error} nats, seed {run['seed']}")


if __name__ == "__main__":
    main()
