"""How tight is score_samples? More draws per row against a few steps that refine the posterior of each row.

Digits, breast_cancer, and wine, in their own units; 30% of the rows held out, 3 splits. VAE and DLGM have their
defaults. The values are lower bounds on the mean log p(x) of the held-out rows, from one model per split: the higher,
the closer to it.

    OMP_NUM_THREADS=1 python examples/benchmarks/refined_densities.py            # resumes; three minutes
    python examples/benchmarks/refined_densities.py --report
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skdgm import DLGM, VAE

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "replication"))
from _runs import finished, run_once

EXPERIMENT, RESULTS, SEEDS = "refined_densities", HERE / "results", range(3)
DATA = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine}
MODELS = {"VAE": VAE, "DLGM": DLGM}
# draws per row, and steps of refinement
ESTIMATES = [(50, 0), (500, 0), (5000, 0), (50, 30), (50, 100), (500, 100)]


@cache
def fitted(data: str, model: str, seed: int) -> tuple[Any, np.ndarray]:
    """The model, and the rows that are held out."""
    train, test = train_test_split(DATA[data]().data, test_size=0.3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MODELS[model](random_state=seed).fit(train), test


def held_out(data: str, model: str, seed: int, n_draws: int, n_steps: int) -> tuple[float, dict[str, Any]]:
    """Mean bound on log p(x) of the rows that are held out, in nats, and milliseconds per row."""
    estimator, X = fitted(data, model, seed)
    start = time.perf_counter()
    score = estimator.set_params(n_importance_samples=n_draws, n_refinement_steps=n_steps).score(X)
    return round(score, 4), {"ms_per_row": round(1e3 * (time.perf_counter() - start) / len(X), 3)}


def report() -> None:
    """Print the means over the splits, and the milliseconds per row."""
    runs = finished(EXPERIMENT, RESULTS)
    print("| data | model | draws | steps | log p(x), nats per row | ms per row |\n|---|---|---|---|---|---|")
    for data, model, (n_draws, n_steps) in product(DATA, MODELS, ESTIMATES):
        setting = {"data": data, "n_draws": n_draws, "n_steps": n_steps}
        these = [run for run in runs if run["setting"] == setting and run["method"] == model]
        nats, ms = np.mean([(run["value"], run["facts"]["ms_per_row"]) for run in these], 0)
        print(f"| {data} | {model} | {n_draws} | {n_steps} | {nats:.2f} | {ms:.1f} |")


def main() -> None:
    """Do the runs that are not in the results, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true", help="only print the table of the finished runs")
    only_report = parser.parse_args().report
    for data, model, seed, (n_draws, n_steps) in product(DATA, MODELS, SEEDS, ESTIMATES):
        key: dict[str, Any] = {"experiment": EXPERIMENT, "method": model, "seed": seed, "metric": "log_likelihood_nats"}
        key["setting"] = {"data": data, "n_draws": n_draws, "n_steps": n_steps}
        if not only_report:
            run_once(key, {}, lambda a=(data, model, seed, n_draws, n_steps): held_out(*a), RESULTS)
    report()


if __name__ == "__main__":
    main()
