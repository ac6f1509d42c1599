"""Are centered RBMs a good default? Held-out log-likelihood of StackedAutoencoder with centered=True and False.

Digits as gray values and as 0 and 1, and breast_cancer and wine, standardized; 30 % of the rows held out, 3 splits. The
models are an RBM of 12 codes, and one of 8 codes above an autoencoder of 12, so that log p(x) is exact. RBMs are
trained by CD-1, which is the default, or by persistent chains at a rate of 0.003. All else has its default.

    OMP_NUM_THREADS=1 python examples/benchmarks/centered_rbms.py            # resumes; four minutes
    python examples/benchmarks/centered_rbms.py --report
"""

from __future__ import annotations

import argparse
import sys
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from skdgm import StackedAutoencoder

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "replication"))
from _runs import finished, run_once

EXPERIMENT, RESULTS, SEEDS = "centered_rbms", HERE / "results", range(3)
DATA = {
    "digits": lambda: load_digits().data / 16,
    "digits, 0/1": lambda: (load_digits().data > 8).astype(float),
    "breast_cancer": lambda: scale(load_breast_cancer().data),
    "wine": lambda: scale(load_wine().data),
}
SIZES = ([12], [12, 8])
CHAINS: dict[str, dict[str, Any]] = {"CD-1": {}, "persistent": {"persistent": True, "rbm_learning_rate_init": 3e-3}}


def held_out(data: str, params: dict[str, Any], seed: int) -> tuple[float, dict[str, Any]]:
    """Mean log p(x) of the rows that are held out, in nats."""
    train, test = train_test_split(DATA[data](), test_size=0.3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = StackedAutoencoder(**params, random_state=seed).fit(train)
    return round(model.score(test), 4), {"is_exact": model.is_exact_}


def report() -> None:
    """Print the means over the splits, and how much centering gains in each."""
    runs = {(*run["setting"].values(), run["seed"]): run["value"] for run in finished(EXPERIMENT, RESULTS)}
    print("| data | layers | chains | not centered | centered | gains of the splits |\n|---|---|---|---|---|---|")
    for data, sizes, chains in product(DATA, SIZES, CHAINS):
        plain, centered = (
            np.array([runs[data, str(sizes), chains, is_centered, seed] for seed in SEEDS])
            for is_centered in (False, True)
        )
        gains = ", ".join(f"{gain:.2f}" for gain in centered - plain)
        print(f"| {data} | {sizes} | {chains} | {plain.mean():.2f} | {centered.mean():.2f} | {gains} |")


def main() -> None:
    """Do the runs that are not in the results, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true", help="only print the table of the finished runs")
    only_report = parser.parse_args().report
    for data, sizes, chains, is_centered, seed in product(DATA, SIZES, CHAINS, (False, True), SEEDS):
        params = {"n_components": sizes, "centered": is_centered} | CHAINS[chains]
        setting = {"data": data, "sizes": str(sizes), "chains": chains, "centered": is_centered}
        key = {"experiment": EXPERIMENT, "method": "StackedAutoencoder", "setting": setting, "seed": seed}
        if not only_report:
            run_once(
                key | {"metric": "log_likelihood_nats"}, params, lambda a=(data, params, seed): held_out(*a), RESULTS
            )
    report()


if __name__ == "__main__":
    main()
