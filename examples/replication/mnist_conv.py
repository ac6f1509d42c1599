"""MNIST with 100 labels by a convolutional M1+M2: `M1M2Classifier` on the codes of `VAE(network=Convolutional(...))`.

The protocol is that of mnist_few_labels.py, where MLPs err on 2.53 %: of the 50,000 training rows, 100 keep their
label, ten of each class. Another 10,000 rows are for validation, and the 10,000 test rows give the error. The seed of a
run determines its labels and the initial weights of its M2; the M1, which sees no labels, is fitted once and shared.
All choices were made on the validation rows. You can stop the script at any time; it resumes where it stopped.

    SKDGM_DATA=... python examples/replication/mnist_conv.py --m1-only   # fit and cache the M1
    SKDGM_DATA=... python examples/replication/mnist_conv.py --seeds 0 1 2
    python examples/replication/mnist_conv.py --table                    # the table from the results file
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import joblib
import numpy as np
from _runs import CACHE, finished, markdown, mean_and_sd, run_once
from mnist_few_labels import M1M2, error_percent, load
from sklearn.frozen import FrozenEstimator

from skdgm import VAE, M1M2Classifier
from skdgm.datasets import mask_labels
from skdgm.networks import Convolutional

EXPERIMENT = "mnist_conv"
N_LABELED = 100
CONVOLUTIONS: dict[str, Any] = {"channels": (16, 32), "kernel_size": 3}
M1: dict[str, Any] = {
    "prior": "normal",
    "n_components": 50,
    "hidden_layer_sizes": (500,),
    "activation": "relu",
    "likelihood": "bernoulli",
    "image_shape": (28, 28),
    "weight_prior": 1.0,
    "kl_warmup": 5,
    "learning_rate_init": 1.5e-3,
    "batch_size": 250,
    "max_iter": 40,
    "early_stopping": False,
    "precision": "bfloat16",
    "random_state": 0,
}
UPPER: dict[str, Any] = M1M2 | {"hidden_layer_sizes": (250,), "max_iter": 100}


def shared_m1(X: np.ndarray, params: dict[str, Any]) -> VAE:
    """The convolutional VAE that all runs share, fitted once and kept in the cache."""
    path = CACHE / f"conv_m1_{joblib.hash([params, CONVOLUTIONS])}.joblib"
    if path.exists():
        return joblib.load(path)
    start = time.perf_counter()
    vae = VAE(network=Convolutional(**CONVOLUTIONS), **params, verbose=1).fit(X)
    CACHE.mkdir(exist_ok=True)
    joblib.dump(vae, path)
    print(f"M1: {time.perf_counter() - start:.0f} s, training bound {vae.history_['bound'][-1]:.2f} nats", flush=True)
    return vae


def one_run(seed: int, data: dict[str, tuple[np.ndarray, np.ndarray]], vae: VAE, experiment: str) -> None:
    """Fit and test the M2 on the codes, unless its run is in the results."""
    model = M1M2Classifier(encoder=FrozenEstimator(vae), **UPPER, random_state=seed)

    def work() -> tuple[float, dict[str, Any]]:
        X, y = data["train"]
        model.fit(X, mask_labels(y, N_LABELED, random_state=seed))
        facts = {"validation_error_percent": error_percent(model, *data["valid"]), "n_active": len(model.active_)}
        return error_percent(model, *data["test"]), facts

    key = {"experiment": experiment, "method": "M1M2Classifier", "setting": {"n_labeled": N_LABELED}, "seed": seed}
    params = UPPER | {"m1": M1 | {"network": {"Convolutional": CONVOLUTIONS}}}
    run_once(key | {"metric": "test_error_percent"}, params, work)


def table() -> str:
    """The results as a Markdown table."""
    runs = finished(EXPERIMENT)
    errors, seconds = [run["value"] for run in runs], [run["seconds"] for run in runs]
    of_validation = [run["facts"]["validation_error_percent"] for run in runs]
    cells = [
        "conv",
        f"{runs[0]['facts']['n_active']} of {M1['n_components']}",
        N_LABELED,
        f"{np.mean(of_validation):.2f}",
    ]
    cells += [mean_and_sd(errors), len(runs), f"{np.mean(seconds):.0f}"]
    header = ["M1", "active dimensions", "labels", "validation error, %", "test error, %", "seeds", "seconds of the M2"]
    return markdown(header, [cells])


def main() -> None:
    """Do the requested runs that are not in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--experiment", default=EXPERIMENT, help="name of the results, to run a later version again")
    parser.add_argument("--m1-only", action="store_true", help="fit and cache the M1, nothing else")
    parser.add_argument("--table", action="store_true", help="print the table of the finished runs, nothing else")
    args = parser.parse_args()
    if args.table:
        print(table())
        return
    data = load()
    vae = shared_m1(data["train"][0], M1)
    for seed in () if args.m1_only else args.seeds:
        one_run(seed, data, vae, args.experiment)


if __name__ == "__main__":
    main()
