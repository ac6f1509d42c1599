"""What test_distributed.py runs under torchrun: each function is a case, and returns what the test compares.

``python -m torch.distributed.run ... distributed_fits.py folder`` writes what each process found to
``folder/<rank>.json``. The same functions run in the test, in one process, are the reference.
"""

import hashlib
import json
import os
import runpy
import signal
import sys
import warnings
from contextlib import chdir, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from sklearn.datasets import load_digits

from skdgm import (
    DLGM,
    VAE,
    ADGMClassifier,
    DeepImputer,
    M1Classifier,
    M1M2Classifier,
    M2Classifier,
    SemiSupervisedMetaClassifier,
    StackedAutoencoder,
    TransductiveSVC,
    distributions,
    training,
)
from skdgm.datasets import mask_labels
from skdgm.distributed import ProcessError, alone, gather_rows, is_active
from skdgm.estimators import _streams

N_ROWS = 600
RANK = int(os.environ.get("RANK", "0"))
SMALL = {"hidden_layer_sizes": (16,), "max_iter": 3, "random_state": 0, "n_importance_samples": 5}


def digits():
    """Rows of the digits, and labels of 60 of them, all among the first half."""
    X, y = load_digits(return_X_y=True)
    X, y = (X[:N_ROWS] / 16).astype(np.float32), y[:N_ROWS]
    return X, np.concatenate([mask_labels(y[:300], 60, random_state=0), np.full(300, -1)])


def own(*arrays):
    """The first 400 rows on one process, the last 200 on the other; all rows without processes."""
    part = [slice(0, 400), slice(400, None)][RANK] if is_active() else slice(None)
    return arrays[0][part] if len(arrays) == 1 else [array[part] for array in arrays]


def bits(module):
    """A hash of the weights and buffers."""
    return hashlib.sha256(b"".join(v.cpu().numpy().tobytes() for v in module.state_dict().values())).hexdigest()


# --- every estimator --------------------------------------------------------------------------------------------------


def estimators():
    encoder = VAE(5, **SMALL)
    return {
        "VAE": encoder,
        "DLGM": DLGM((4, 2), **SMALL),
        "DLGM, top-down": DLGM((4, 2), inference="top_down", **SMALL),
        "M2": M2Classifier(4, calibration_cv=2, **SMALL),
        "ADGM": ADGMClassifier(4, skip=True, **SMALL),
        "M1": M1Classifier(TransductiveSVC(n_stages=2), encoder=encoder, n_draws=2, random_state=0),
        "M1M2": M1M2Classifier(4, encoder=VAE(5, hidden_layer_sizes=(16,), max_iter=3), **SMALL),
        "stack": StackedAutoencoder((12, 6), rbm_max_iter=3, early_stopping=True, persistent=True, **SMALL),
        "imputer": DeepImputer(encoder, add_indicator=True),
        "TransductiveSVC": TransductiveSVC(n_stages=2),
    }


def modules_of(estimator):
    parts = [estimator, *(getattr(estimator, name, None) for name in ("encoder_", "estimator_"))]
    return [part.module_ for part in parts if hasattr(part, "module_")]


def every_estimator():
    """Bits of the weights, and whether predictions of the shards are those of all rows, in order and to the bit."""
    X, y = digits()
    holed = np.where(np.arange(64) == N_ROWS % 64, np.nan, X)
    found = {}
    for name, estimator in estimators().items():
        rows = holed if name == "imputer" else X
        estimator.fit(own(rows), *([own(y)] if hasattr(estimator, "predict") else []))
        methods = [m for m in ("predict", "transform", "score_samples", "impute") if hasattr(estimator, m)]
        of_all = [getattr(estimator, m)(rows) for m in methods]
        of_shards = [gather_rows(getattr(estimator, m)(own(rows))) for m in methods]
        found[name] = {
            "bits": [bits(module) for module in modules_of(estimator)],
            "history": repr(getattr(estimator, "history_", None)),
            "validation": repr(getattr(estimator, "validation_scores_", None)),
            "same": [np.array_equal(a, b, equal_nan=True) for a, b in zip(of_all, of_shards, strict=True)],
        }
    return found


# --- gradients --------------------------------------------------------------------------------------------------------


@contextmanager
def without_noise(record):
    """Let draws of codes be their means, and record the weights and the gradient of the first step."""
    train, reduce_gradient, noise = training.train, training.reduce_gradient, distributions.standard_normal

    def recorded_start(module, *args, **options):
        record["start"] = bits(module)
        return train(module, *args, **options)

    def recorded(gradient):
        reduce_gradient(gradient)
        record.setdefault("gradient", gradient.tolist())

    training.train, training.reduce_gradient = recorded_start, recorded
    distributions.standard_normal = lambda shape, rng, like: like.new_zeros(shape)
    try:
        yield
    finally:
        training.train, training.reduce_gradient, distributions.standard_normal = train, reduce_gradient, noise


def first_step(estimator, *arrays, **weights):
    """Start, gradient, and history of a fit whose batches hold all rows; labels are on the first process only."""
    record = {}
    estimator.set_params(batch_size=N_ROWS, max_iter=1, kl_warmup=0)
    with without_noise(record):
        weights = {name: own(weight) for name, weight in weights.items()}
        estimator.fit(*(own(array) for array in arrays), **weights)
    return record | {"history": estimator.history_, "validation": estimator.validation_scores_}


def gradients():
    """The step of two shards is that of the whole batch: also with weights, labels on one process, missing cells."""
    X, y = digits()
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 3, N_ROWS).astype(float)  # some rows are left out
    holed = np.where(rng.random(X.shape) < 0.1, np.nan, X)
    options = {"hidden_layer_sizes": (16,), "random_state": 0}
    m2 = M2Classifier(4, labeled_batch_size=N_ROWS, class_weight="balanced", **options)
    all_labeled = M2Classifier(4, labeled_batch_size=N_ROWS, early_stopping=False, **options)
    return {
        "VAE": first_step(VAE(4, input_noise=None, **options), X, sample_weight=weight),
        "VAE, few rows": first_step(VAE(4, early_stopping=False, input_noise=None, **options), holed),
        "M2": first_step(m2, X, y, sample_weight=weight),
        "M2, all labeled": first_step(all_labeled, X, load_digits().target[:N_ROWS]),
        "M2 by the paper": first_step(m2.set_params(alpha=0.1, class_weight={0: 3.0}, early_stopping=True), X, y),
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def tables():
    """What is learned of the columns of frames, sparse matrices, and tables that are read in blocks."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(20, 70, 600), "income": rng.lognormal(size=600).round(3)})
    frame["city"] = np.where(np.arange(600) < 450, rng.choice(["b", "c"], 600), rng.choice(["a", "c"], 600))
    sizes = pd.CategoricalDtype(["small", "medium", "large"], ordered=True)
    frame["size"] = pd.Series(rng.choice(["large", "small"], 600)).astype(sizes)
    sparse = scipy.sparse.random(600, 30, 0.1, "csr", np.float32, random_state=0)
    found = {}
    resident, _streams.RESIDENT_BYTES = _streams.RESIDENT_BYTES, 1000
    try:
        memmap = np.memmap(Path(sys.argv[-1]) / "X.dat", np.float32, "r", shape=(N_ROWS, 64))
        for name, X in {"frame": frame, "sparse": sparse, "memmap": memmap}.items():
            vae = VAE(3, **SMALL).fit(own(X.iloc if name == "frame" else X))
            columns = {
                "likelihoods": repr(vae.likelihoods_),
                "scales": repr(vae._columns.scale.tolist()),
                "categories": repr([column.categories for column in vae._format.columns]),
            }
            found[name] = columns | {"bits": [bits(vae.module_)], "bound": vae.history_["bound"][-1]}
    finally:
        _streams.RESIDENT_BYTES = resident
    return found


# --- decisions --------------------------------------------------------------------------------------------------------


def with_step(change, estimator, X):
    """Fit with a change of the fifth step's loss on the last process; return the number of steps."""
    step, calls = training.step, []

    def changed(*args):
        calls.append(step(*args))
        return change(calls[-1]) if len(calls) == 5 and RANK else calls[-1]

    training.step = changed
    try:
        estimator.fit(own(X))
    finally:
        training.step = step
    return len(calls)


def interrupt(loss):
    os.kill(os.getpid(), signal.SIGINT)
    return loss


def decisions():
    """Steps after Ctrl-C on one process, and after a loss that is not finite on one process."""
    X, _ = digits()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interrupted, rolled_back = (VAE(3, batch_size=200, **SMALL) for _ in range(2))
        n_interrupted = with_step(interrupt, interrupted, X)
        n_rolled_back = with_step(lambda loss: loss * float("nan"), rolled_back, X)
    return {
        "n_steps": [n_interrupted, n_rolled_back],
        "n_iter": [interrupted.n_iter_, rolled_back.n_iter_],
        "bits": [bits(interrupted.module_), bits(rolled_back.module_)],
    }


def long_fit():
    """The bound of held-out rows after a longer fit."""
    X, y = digits()
    m2 = M2Classifier(4, hidden_layer_sizes=(32,), max_iter=15, random_state=0).fit(own(X), own(y))
    return {"bound": max(m2.validation_scores_), "prior": m2.class_prior_.tolist(), "bits": [bits(m2.module_)]}


# --- errors -----------------------------------------------------------------------------------------------------------


def error_of(function):
    try:
        function()
    except (ValueError, TypeError, ProcessError) as error:
        return type(error).__name__, str(error)
    return None


def errors():
    """The error on each process for input that is wrong on one of them, or that does not fit together."""
    X, y = digits()
    mine, labels = own(X), own(y)
    vae, m2 = VAE(3, **SMALL), M2Classifier(3, **SMALL)
    last = bool(RANK)
    infinite = np.where(np.arange(64) == last, np.inf, mine) if last else mine
    found = {
        "parameter": error_of(lambda: VAE(3 + RANK, **SMALL).fit(mine)),
        "estimator": error_of(lambda: [vae, m2][RANK].fit(mine, labels)),
        "columns": error_of(lambda: vae.fit(mine[:, RANK:])),
        "empty": error_of(lambda: vae.fit(mine[: 0 if last else None])),
        "infinite": error_of(lambda: vae.fit(infinite)),
        "labels": error_of(lambda: m2.fit(mine, np.full(len(mine), -1))),
        "types": error_of(lambda: m2.fit(mine, np.array(["a", "b"], object)[labels % 2] if last else labels)),
        "weights": error_of(lambda: vae.fit(mine, sample_weight=np.ones(len(mine)) if last else None)),
        "lengths": error_of(lambda: m2.fit(mine, labels[last:])),
        "parts": error_of(lambda: vae.partial_fit(mine)),
        "meta": error_of(lambda: SemiSupervisedMetaClassifier(m2).fit(mine, labels)),
        "shapes": error_of(lambda: gather_rows(mine[:, RANK:])),
    }
    with alone():
        apart = bits(VAE(3, **SMALL).fit(mine).module_)
    return {"errors": found, "apart": apart, "bits": [bits(vae.fit(mine).module_)]}


def example():
    """The script of the user guide."""
    with chdir(sys.argv[-1]):
        found = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "data_parallel.py"))
    return {"accuracy": float((found["predicted"] == found["y_true"]).mean())}


CASES = [every_estimator, gradients, tables, decisions, long_fit, errors, example]


def main(folder):
    found = {case.__name__: case() for case in CASES}
    (folder / f"{RANK}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(Path(sys.argv[-1]))
