"""How many latent dimensions should VAE have on images? Held-out log p(x) per row, and what a fit and its scores cost.

10,000 rows of MNIST, gray, and 10,000 patches of CIFAR-10, of 8 x 8 pixels in three channels, each with 2,000 more rows
held out; and 1,965 Frey faces, of which a random fifth is held out. MNIST's rows are training rows. All parameters but
the number of dimensions have their defaults, with image_shape given.

    SKDGM_DATA=... OMP_NUM_THREADS=1 python examples/benchmarks/latent_dimensions.py     # resumes
    python examples/benchmarks/latent_dimensions.py --report
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skdgm import VAE
from skdgm.datasets import load_cifar_patches, load_frey_faces, load_mnist

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "replication"))
from _runs import finished, run_once

EXPERIMENT, RESULTS, SEEDS = "latent_dimensions", HERE / "results", range(2)
N_COMPONENTS = (20, 50, 100)
N_ROWS, N_TEST, N_MNIST_TRAIN = 12_000, 2_000, 50_000
DATA = {
    "mnist": ((28, 28), lambda: load_mnist(return_X_y=True)[0][:N_MNIST_TRAIN]),
    "frey": ((28, 20), lambda: load_frey_faces().data),
    "cifar patches": ((8, 8, 3), lambda: load_cifar_patches(N_ROWS, patch_size=8, random_state=0).data),
}


def held_out(data: str, n_components: int, seed: int) -> tuple[float, dict[str, Any]]:
    """Mean log p(x) of the rows that are held out, in nats."""
    shape, load = DATA[data]
    X = load()
    rows = np.random.default_rng(seed).permutation(len(X))[:N_ROWS]
    train, test = train_test_split(X[rows], test_size=N_TEST if len(rows) == N_ROWS else 0.2, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = VAE(n_components, image_shape=shape, random_state=seed).fit(train)
    start = time.perf_counter()
    score = model.score(test)
    facts = {"active": int(model.active_units_.sum()), "epochs": model.n_iter_}
    return round(score, 3), facts | {"seconds_of_scores": round(time.perf_counter() - start, 2)}


def report() -> None:
    """Print the means over the splits."""
    print(
        "| data | dimensions | log p(x), nats | each split | active | seconds | of these, scores |\n" + "|---" * 7 + "|"
    )
    for data, n_components in product(DATA, N_COMPONENTS):
        setting = {"data": data, "n_components": n_components}
        runs = [run for run in finished(EXPERIMENT, RESULTS) if run["setting"] == setting]
        if not runs:
            continue
        scores, facts = [run["value"] for run in runs], [run["facts"] for run in runs]
        cells: list[Any] = [data, n_components, f"{np.mean(scores):.1f}", ", ".join(f"{score:.1f}" for score in scores)]
        cells += [", ".join(str(fact["active"]) for fact in facts), f"{np.mean([run['seconds'] for run in runs]):.0f}"]
        cells += [f"{np.mean([fact['seconds_of_scores'] for fact in facts]):.0f}"]
        print(f"| {' | '.join(map(str, cells))} |")


def main() -> None:
    """Do the runs that are not in the results, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true", help="only print the table of the finished runs")
    only_report = parser.parse_args().report
    for seed, data, n_components in [] if only_report else product(SEEDS, DATA, N_COMPONENTS):
        key = {"experiment": EXPERIMENT, "method": "VAE", "setting": {"data": data, "n_components": n_components}}
        key |= {"seed": seed, "metric": "log_density_nats"}
        work = partial(held_out, data, n_components, seed)
        run_once(key, {"n_components": n_components, "image_shape": DATA[data][0]}, work, RESULTS)
    report()


if __name__ == "__main__":
    main()
