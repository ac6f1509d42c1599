"""Kill fits at random moments: a fit that is run again must end with the same bits as one that was never killed.

Each fit runs in a process of its own, forked from this one, and gets SIGKILL after a random share of the time that a
whole fit takes. A second process runs the same fit again, from its checkpoint, and SHA-256 of its weights, its history,
and what it says of rows is compared with that of a fit without a checkpoint. The results are appended to
``results/kill_test.jsonl``, one line per estimator. It needs an operating system with fork and takes a few minutes::

    OMP_NUM_THREADS=1 python examples/robustness/kill_test.py            # 20 kills of each estimator
    OMP_NUM_THREADS=1 python examples/robustness/kill_test.py --kills 2 --estimators VAE,M2Classifier --no-record
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import BaggingClassifier

from skdgm import (
    DLGM,
    VAE,
    Checkpoint,
    DeepImputer,
    M1Classifier,
    M1M2Classifier,
    M2Classifier,
    SemiSupervisedMetaClassifier,
    StackedAutoencoder,
)

RESULTS = Path(__file__).parent / "results" / "kill_test.jsonl"
# A kill comes after a share of a whole fit's time; a fit that has ended before does not count, and is tried again.
LARGEST_SHARE, MAX_TRIES = 0.95, 20
SMALL = {"hidden_layer_sizes": (16,), "max_iter": 10, "batch_size": 30, "n_importance_samples": 2, "device": "cpu"}
QUICK = {"n_annealing_steps": 50, "n_annealing_chains": 10, "n_sampling_steps": 10, "random_state": 0}
STACK = {"hidden_layer_sizes": (8,), "max_iter": 10, "rbm_max_iter": 20, "batch_size": 30, "device": "cpu", **QUICK}


def every(folder: Path, name: str = "fit", **params: Any) -> Checkpoint:
    """A checkpoint in a subfolder."""
    return Checkpoint(folder / name, every_minutes=None, every_epochs=2, **params)


# Estimator: a function of the checkpoint's folder, None for no checkpoint. TransductiveSVC does not train in epochs.
MAKERS: dict[str, Callable[[Callable[..., Checkpoint | None]], Any]] = {
    "VAE": lambda at: VAE(3, **SMALL, checkpoint=at(), random_state=0),
    "DLGM": lambda at: DLGM((4, 2), **SMALL, checkpoint=at(), random_state=0),
    "M2Classifier": lambda at: M2Classifier(
        3, **SMALL, dynamic_binarization=True, likelihood="bernoulli", checkpoint=at(), random_state=0
    ),
    "M1M2Classifier": lambda at: M1M2Classifier(
        2, **SMALL, encoder=VAE(3, **SMALL), calibration_cv=2, checkpoint=at(), random_state=0
    ),
    "StackedAutoencoder": lambda at: StackedAutoencoder(
        (6, 4), **STACK, persistent=True, early_stopping=True, checkpoint=at()
    ),
    "M1Classifier": lambda at: M1Classifier(
        M2Classifier(2, **SMALL, checkpoint=at("inner")),
        encoder=VAE(3, **SMALL, checkpoint=at("encoder")),
        random_state=0,
    ),
    "DeepImputer": lambda at: DeepImputer(VAE(3, **SMALL, checkpoint=at()), random_state=0),
    "SemiSupervisedMetaClassifier": lambda at: SemiSupervisedMetaClassifier(
        BaggingClassifier(M2Classifier(2, **SMALL, checkpoint=at(subfolders=True)), n_estimators=2, random_state=0)
    ),
}


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """120 gray images of digits, with 24 labels, and with missing cells for an imputer."""
    X, truth = load_digits(n_class=4, return_X_y=True)
    X = X[:120] / 16
    if name == "DeepImputer":
        X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    return X, np.where(np.arange(120) < 24, truth[:120], -1)


def digest(name: str, folder: Path | None) -> str:
    """Fit, and return SHA-256 of all that the fitted estimator is and says."""
    warnings.simplefilter("ignore")
    X, y = data(name)
    model = MAKERS[name](lambda *args, **params: None if folder is None else every(folder, *args, **params)).fit(X, y)
    found = hashlib.sha256()
    for part in (model, getattr(model, "encoder_", None), getattr(model, "estimator_", None)):
        found.update(repr([getattr(part, a, None) for a in ("history_", "validation_scores_", "n_iter_")]).encode())
        for key, weights in getattr(part, "module_", None).state_dict().items() if hasattr(part, "module_") else ():
            found.update(key.encode() + weights.numpy().tobytes())
    for method in ("transform", "predict_proba", "score_samples"):
        if hasattr(model, method):
            found.update(np.ascontiguousarray(getattr(model, method)(X)).tobytes())
    return found.hexdigest()


def start(name: str, folder: Path | None) -> tuple[int, int]:
    """Fit in another process; return its number, and the end of a pipe from which its digest can be read."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    os.close(reading)
    code = 1
    try:
        os.write(writing, digest(name, folder).encode())
        code = 0
    finally:
        os._exit(code)


def finish(process: int, reading: int) -> str:
    """Wait for the process; return its digest, "" if it was killed."""
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(process, 0)
    return answer


def killed(name: str, folder: Path, seconds: float) -> bool:
    """Fit in another process, and kill it after so many seconds; tell whether it was still running."""
    process, reading = start(name, folder)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return finish(process, reading) == ""


def kill_once(name: str, seconds: float, random: np.random.Generator) -> tuple[float, int, str]:
    """Kill a fit and run it again; return the share of its time, the number of files it left, and the digest."""
    for _ in range(MAX_TRIES):
        share = LARGEST_SHARE * random.random()
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            if killed(name, folder, share * seconds):
                n_files = len(list(folder.rglob("training-*.safetensors")))
                return share, n_files, finish(*start(name, folder))
    raise RuntimeError(f"{name}: {MAX_TRIES} fits ended before they were killed")


def check(name: str, n_kills: int, seed: int) -> dict[str, Any]:
    """Kill fits of one estimator; return what was found."""
    expected = finish(*start(name, None))
    with tempfile.TemporaryDirectory() as place:
        begun = time.perf_counter()
        is_same = finish(*start(name, Path(place))) == expected != ""
        seconds = time.perf_counter() - begun
    random = np.random.default_rng(seed)
    kills = [kill_once(name, seconds, random) for _ in range(n_kills)]
    return {
        "estimator": name,
        "kills": n_kills,
        "same_bits": sum(found == expected for _, _, found in kills),
        "same_bits_without_kill": is_same,
        "resumed_from_a_state": sum(n_files > 0 for _, n_files, _ in kills),
        "shares_of_time": [round(share, 3) for share, _, _ in kills],
        "seconds_of_a_fit": round(seconds, 2),
        "seed": seed,
        "versions": {library: version(library) for library in ("numpy", "scikit-learn", "torch")},
    }


def main() -> int:
    """Kill fits of all estimators, print and record what was found; return 1 if any bits differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="number of kills of each estimator")
    parser.add_argument("--estimators", default=",".join(MAKERS), help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="write nothing to the results")
    args = parser.parse_args()
    is_right = True
    digest("M2Classifier", None)  # imports what a first fit imports, so that each process need not do it
    for name in args.estimators.split(","):
        found = check(name, args.kills, args.seed)
        is_right &= found["same_bits"] == found["kills"] and found["same_bits_without_kill"]
        print(
            f"{name}: {found['same_bits']} of {found['kills']} with the same bits, {found['resumed_from_a_state']} of "
            f"them from a state; a fit takes {found['seconds_of_a_fit']} s",
            flush=True,
        )
        if not args.no_record:
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(found) + "\n")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
