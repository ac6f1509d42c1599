"""A row's predictions are the same to the bit in any batch, in any order of rows and of memory."""

import copy
import functools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from skdgm import (
    DLGM,
    VAE,
    ADGMClassifier,
    M1Classifier,
    M1M2Classifier,
    M2Classifier,
    StackedAutoencoder,
    TransductiveSVC,
)

N_ROWS = 120
SMALL = {"hidden_layer_sizes": 12, "max_iter": 2, "random_state": 0, "n_importance_samples": 3}
ON_CODES = {"encoder": VAE(4, **SMALL), "active_threshold": 0, "random_state": 0}
DEEP = {"max_iter": 2, "random_state": 0, "n_importance_samples": 3, "n_annealing_steps": 50, "n_annealing_chains": 10}

DENSITIES = {
    "VAE": lambda: VAE(4, **SMALL),
    "DLGM": lambda: DLGM((5, 2), posterior="low_rank", **SMALL),
    "DLGM, top-down": lambda: DLGM((5, 2), inference="top_down", **SMALL),
    "DLGM, rank 3": lambda: DLGM((5,), posterior="low_rank", rank=3, **SMALL),
    "DLGM, full": lambda: DLGM((4,), posterior="full", **SMALL),
}
STACKS = {
    "StackedAutoencoder": lambda: StackedAutoencoder((6, 3), max_iter=2, random_state=0),
    "RBM": lambda: StackedAutoencoder((5,), max_iter=2, random_state=0),
    "StackedAutoencoder, rich": lambda: StackedAutoencoder((18, 6), **DEEP),
    "StackedAutoencoder, vanilla": lambda: StackedAutoencoder((17, 6), inference="vanilla", **DEEP),
    "StackedAutoencoder, RBMs": lambda: StackedAutoencoder((17, 6), inference="rbm", **DEEP),
}
CLASSIFIERS = {
    "M1, LogisticRegression": lambda: M1Classifier(LogisticRegression(), **ON_CODES),
    "M1, TransductiveSVC": lambda: M1Classifier(TransductiveSVC(), **ON_CODES),
    "M2Classifier": lambda: M2Classifier(4, **SMALL),
    "ADGMClassifier": lambda: ADGMClassifier(4, n_auxiliary=3, **SMALL),
    "SDGM": lambda: ADGMClassifier(4, n_auxiliary=3, skip=True, **SMALL),
    "SDGM, batch norm": lambda: ADGMClassifier(4, n_auxiliary=3, skip=True, batch_norm=True, **SMALL),
    "M1M2Classifier": lambda: M1M2Classifier(3, **{**SMALL, **ON_CODES}),
    "TransductiveSVC": lambda: TransductiveSVC(),
    "TransductiveSVC, linear": lambda: TransductiveSVC(kernel="linear"),
}
MAKERS = {**DENSITIES, **STACKS, **CLASSIFIERS}
READ_CODES_IN_THEIR_TYPE = ("M1", "Trans")  # scikit-learn's arithmetic on float32 rows is float32
METHODS = [
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "score_samples",
    "elbo_samples",
    "impute",
]
CASES = [
    *[(name, kind, d, 3) for name in DENSITIES for kind in ("bernoulli", "gaussian", "missing") for d in (3, 10, 37)],
    *[(name, kind, d, 3) for name in STACKS for kind in ("bernoulli", "gaussian") for d in (3, 10, 37)],
    *[
        (name, kind, d, k)
        for name in CLASSIFIERS
        for kind in ("bernoulli", "gaussian")
        for d in (3, 10, 37)
        for k in (2, 3, 10)
    ],
]


@functools.cache
def data(kind, d, k):
    """Rows in float64 that float32 holds, read-only, and their labels, six a class."""
    rng, truth = np.random.default_rng(0), np.arange(N_ROWS) % k
    X = 2 * rng.standard_normal((k, d))[truth] + rng.standard_normal((N_ROWS, d))
    X = (X > 0).astype(float) if kind == "bernoulli" else X.astype(np.float32).astype(float)
    if kind == "missing":
        X[rng.random(X.shape) < 0.15] = np.nan
    X.flags.writeable = False
    return X, np.where(np.arange(N_ROWS) < 6 * k, truth, -1)


@functools.cache
def fitted(name, kind, d, k):
    return MAKERS[name]().fit(*data(kind, d, k))


def answers(model, X):
    """All that a model says of rows."""
    found = {method: getattr(model, method)(X) for method in METHODS if hasattr(model, method)}
    if hasattr(model, "inverse_transform"):
        found["inverse_transform"] = model.inverse_transform(found["transform"])
    if hasattr(model, "proba_method"):
        model.set_params(proba_method="bayes")
        found["predict_proba, bayes"] = model.predict_proba(X)
        model.set_params(proba_method="classifier")
    return found


def batches():
    """Indices of rows: one after the other, in another order, some of them, some of them twice and more."""
    rng = np.random.default_rng(1)
    yield "a permutation", rng.permutation(N_ROWS)
    yield "backwards", np.arange(N_ROWS)[::-1]
    for n in (1, 2, 7, 50):
        yield f"{n} rows", rng.choice(N_ROWS, n, replace=False)
    yield "duplicates, more than a chunk", rng.integers(0, N_ROWS, 530)


def memory_orders(X):
    """The same rows, otherwise laid out."""
    yield "Fortran order", np.asfortranarray(X)
    wide = np.zeros((2 * len(X), 3 * X.shape[1]))
    wide[::2, ::3] = X
    yield "every other row and third column of a table", wide[::2, ::3]
    yield "columns backwards in memory", np.ascontiguousarray(X[:, ::-1])[:, ::-1]


def assert_same_bits(found, expected, what):
    assert found.keys() == expected.keys() and found
    for method, values in found.items():
        assert np.array_equal(values, expected[method], equal_nan=values.dtype.kind == "f"), f"{method}: {what}"


def check(model, X):
    """All batches and all memory orders."""
    expected = answers(model, X)
    for what, rows in batches():
        assert_same_bits(answers(model, X[rows]), {name: found[rows] for name, found in expected.items()}, what)
    for what, Z in memory_orders(X):
        assert_same_bits(answers(model, Z), expected, what)


@pytest.fixture(params=[1, 2])
def n_threads(request):
    """So many threads, and the number before them afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "kind", "d", "k"), CASES)
def test_a_rows_predictions_are_the_same_in_any_batch(name, kind, d, k):
    """Every estimator, every method; likelihoods, numbers of columns and of classes that vary how sums are grouped."""
    check(fitted(name, kind, d, k), data(kind, d, k)[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("name", MAKERS)
def test_rows_that_float32_holds_are_predicted_the_same_in_it(name, kind):
    """Up to the type of the answer, which is that of X for some methods."""
    if name.startswith(READ_CODES_IN_THEIR_TYPE):
        pytest.skip("scikit-learn's arithmetic on float32 rows is float32")
    X, _ = data(kind, 10, 3)
    found, expected = (answers(fitted(name, kind, 10, 3), rows) for rows in (X.astype(np.float32), X))
    assert_same_bits(*({key: as_float32(value) for key, value in one.items()} for one in (found, expected)), "float32")


def as_float32(values):
    return values.astype(np.float32) if values.dtype.kind == "f" else values


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MAKERS)
def test_many_draws_and_two_threads_change_nothing(name, n_threads):
    """Chunks are of few rows then, and sums long enough to be split between threads."""
    kind = "missing" if name in DENSITIES else "gaussian"
    model, X = copy.deepcopy(fitted(name, kind, 37, 3)), data(kind, 37, 3)[0][:40]
    if "n_importance_samples" in model.get_params(deep=False):
        model.set_params(n_importance_samples=50 if n_threads == 1 else 12)  # two wait for each other in small products
    expected, rows = answers(model, X), np.random.default_rng(2).permutation(len(X))[:30]
    assert_same_bits(answers(model, X[rows]), {method: found[rows] for method, found in expected.items()}, "30 rows")
