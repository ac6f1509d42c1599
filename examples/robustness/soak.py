"""Soak and load: memory over many fits and many predictions, and bits of predictions and fits in threads.

Prints one JSON object per check, of those that are named or of all, and exits with an error if one fails:

    OMP_NUM_THREADS=1 python examples/robustness/soak.py | tee examples/robustness/results/soak.jsonl

Resident memory is read after a garbage collection. What PyTorch, NumPy, and the allocator keep for later grows during a
warm-up; from then on, it must stay within 20 MB.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import sklearn
import torch

import skdgm

LIMIT_MB = 20
N_THREADS_TO_PREDICT, N_THREADS_TO_FIT = 8, 4
SMALL = {"hidden_layer_sizes": (16,), "max_iter": 2, "n_importance_samples": 5}
MAKERS = {
    "VAE": lambda seed: skdgm.VAE(2, **SMALL, random_state=seed),
    "DLGM": lambda seed: skdgm.DLGM((3, 2), **SMALL, random_state=seed),
    "StackedAutoencoder": lambda seed: skdgm.StackedAutoencoder((4, 2), rbm_max_iter=2, **SMALL, random_state=seed),
    "M1Classifier": lambda seed: skdgm.M1Classifier(encoder=skdgm.VAE(2, **SMALL), random_state=seed),
    "M2Classifier": lambda seed: skdgm.M2Classifier(2, **SMALL, random_state=seed),
    "M1M2Classifier": lambda seed: skdgm.M1M2Classifier(2, encoder=skdgm.VAE(2, **SMALL), **SMALL, random_state=seed),
    "TransductiveSVC": lambda seed: skdgm.TransductiveSVC(random_state=seed),
}
METHODS = ["predict", "predict_proba", "transform", "score_samples", "impute"]


def rows(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two clouds, and labels of a third of them."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=n)
    return rng.normal(size=(n, 6)) + 2 * truth[:, None], np.where(np.arange(n) < n // 3, truth, -1)


def answers(model: Any, X: np.ndarray) -> list[np.ndarray]:
    """What a fitted estimator says of rows, by all methods that it has."""
    return [getattr(model, method)(X) for method in METHODS if hasattr(model, method)]


def same_bits(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    """Whether two lists of answers are equal to the bit."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def resident_mb() -> float:
    """Memory of this process, after what nobody refers to is gone."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def growth(work: Iterator[Any], n: int, n_warm_up: int, n_readings: int = 20) -> dict[str, float]:
    """Let ``n`` pieces of work run; return the range of the resident memory after the first ``n_warm_up`` pieces."""
    start, readings = time.perf_counter(), []
    for i, _ in enumerate(itertools.islice(work, n), 1):
        if i >= n_warm_up and (i - n_warm_up) % max(1, (n - n_warm_up) // n_readings) == 0:
            readings.append(resident_mb())
    return {
        "n": n,
        "n_warm_up": n_warm_up,
        "mb_after_warm_up": round(readings[0], 1),
        "mb_at_end": round(readings[-1], 1),
        "growth_mb": round(max(readings) - readings[0], 1),
        "seconds": round(time.perf_counter() - start, 1),
    }


def fits() -> Iterator[None]:
    """Fit one estimator after the other to other rows, and ask it about them."""
    for i, make in enumerate(itertools.cycle(MAKERS.values())):
        X, y = rows(seed=i)
        answers(make(i).fit(X, y), X)
        yield


def calls() -> Iterator[None]:
    """Ask two fitted classifiers about one row at a time, or about a few."""
    X, y = rows()
    models = [MAKERS[name](0).fit(X, y) for name in ("M1Classifier", "M2Classifier")]
    for i in itertools.count():
        models[i % 2].predict(X[i % 100 : i % 100 + 1 + i % 3])
        yield


def check_predictions_in_threads(n_rounds: int) -> dict[str, Any]:
    """Eight threads share each fitted estimator, in which nothing may change while it answers."""
    X, y = rows()
    parts = [X[i : i + 40] for i in range(N_THREADS_TO_PREDICT)] * n_rounds
    is_same = {}
    for name, make in MAKERS.items():
        model = make(0).fit(X, y)
        expected = [answers(model, part) for part in parts]
        is_same[name] = all(map(same_bits, in_threads(lambda part, m=model: answers(m, part), parts), expected))
    return {"n": len(parts), "threads": N_THREADS_TO_PREDICT, "same_bits": is_same}


def check_fits_in_threads(n_rounds: int) -> dict[str, Any]:
    """Four threads fit at once, each its own estimator."""
    X, y = rows()

    def fitted(seed: int, make: Callable[[int], Any]) -> list[np.ndarray]:
        return answers(make(seed).fit(X, y), X)

    seeds, is_same = range(N_THREADS_TO_FIT * n_rounds), {}
    for name, make in MAKERS.items():
        expected = [fitted(seed, make) for seed in seeds]
        found = in_threads(lambda seed, m=make: fitted(seed, m), seeds, N_THREADS_TO_FIT)
        is_same[name] = all(map(same_bits, found, expected))
    return {"n": len(seeds), "threads": N_THREADS_TO_FIT, "same_bits": is_same}


def in_threads(function: Callable[[Any], Any], inputs: Any, n_threads: int = N_THREADS_TO_PREDICT) -> list[Any]:
    """Apply a function to all inputs in threads; return the results in order."""
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, inputs))


def main() -> None:
    warnings.simplefilter("ignore")  # two epochs are too few to learn anything
    ok = True
    checks: dict[str, Callable[[], dict[str, Any]]] = {
        # memory first: what threads leave free could hide a leak
        "predict": lambda: growth(calls(), 100_000, 2_000),
        "fit_and_predict": lambda: growth(fits(), 1_000, 200),
        "predictions_in_threads": lambda: check_predictions_in_threads(20),
        "fits_in_threads": lambda: check_fits_in_threads(5),
    }
    versions = {library.__name__: library.__version__ for library in (skdgm, sklearn, np, torch)}
    for name in sys.argv[1:] or checks:
        result = checks[name]()
        passed = result.get("growth_mb", 0) <= LIMIT_MB and all(result.get("same_bits", {}).values())
        ok &= passed
        about = {"torch_threads": torch.get_num_threads(), "cores": os.cpu_count(), "python": platform.python_version()}
        print(json.dumps({"check": name, "passed": passed, **result, **about, "versions": versions}), flush=True)
    sys.exit(not ok)


if __name__ == "__main__":
    main()
