"""Fuzz: for any input, every estimator gives finite answers or a clear error, and leaves all else as it was.

Hypothesis draws tables (shapes, types, memory layouts, holes, extreme values), labels, and parameters. A clear error is
a ValueError or TypeError that skdgm or scikit-learn raises, not PyTorch or NumPy. It leaves the estimator as it was.
Input and global state are never changed: random generators, threads, floating-point modes, warning filters.

By default, examples are few and the same in every run. `make fuzz` sets FUZZ_EXAMPLES, the number of random ones per
test.
"""

import contextlib
import os
import pickle
import random
import signal
import traceback
import warnings
from functools import cache
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.svm import SVC
from sklearn.utils import check_array

import skdgm
from skdgm.likelihoods import LIKELIHOODS
from skdgm.svm import solvers

MANY = os.environ.get("FUZZ_EXAMPLES")
FUZZ = settings(
    max_examples=int(MANY or 12),
    derandomize=not MANY,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
RAISED_BY = [Path(package.__file__).parent for package in (skdgm, sklearn)]

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 2, "n_importance_samples": 3, "random_state": 0}
ESTIMATORS = {
    "VAE": lambda: skdgm.VAE(2, **SMALL),
    "DLGM": lambda: skdgm.DLGM((3, 2), **SMALL),
    "DLGM, top-down": lambda: skdgm.DLGM((3, 2), inference="top_down", **SMALL),
    "DeepImputer": lambda: skdgm.DeepImputer(skdgm.VAE(2, **SMALL), random_state=0),
    "StackedAutoencoder": lambda: skdgm.StackedAutoencoder((4, 2), rbm_max_iter=2, **SMALL),
    # without a limit, libsvm takes minutes at weights of 1e30
    "M1Classifier": lambda: skdgm.M1Classifier(SVC(max_iter=1000), encoder=skdgm.VAE(2, **SMALL), random_state=0),
    "M2Classifier": lambda: skdgm.M2Classifier(2, **SMALL),
    "ADGMClassifier": lambda: skdgm.ADGMClassifier(2, **SMALL),
    "M1M2Classifier": lambda: skdgm.M1M2Classifier(2, encoder=skdgm.VAE(2, **SMALL), **SMALL),
    "TransductiveSVC": lambda: skdgm.TransductiveSVC(random_state=0),
    "SemiSupervisedMetaClassifier": lambda: skdgm.SemiSupervisedMetaClassifier(skdgm.TransductiveSVC(random_state=0)),
}
OF_ROWS = [
    "transform",
    "score_samples",
    "elbo_samples",
    "posterior_moments",
    "impute",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "predict",
]

# Each makes a column of n cells.
COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "binary": lambda rng, n: rng.integers(2, size=n),
    "gray": lambda rng, n: np.clip(rng.normal(size=n), 0, 1),
    "counts": lambda rng, n: rng.poisson(3, size=n),
    "levels": lambda rng, n: rng.choice([-1.0, 2.0, 7.0], size=n),
    "constant": lambda rng, n: np.full(n, rng.normal()),
    "zero": lambda rng, n: np.zeros(n),
    "huge": lambda rng, n: 1e30 * rng.normal(size=n),
    "tiny": lambda rng, n: 1e-30 * rng.normal(size=n),
    "huge constant": lambda rng, n: np.full(n, -1e30),
    "offset": lambda rng, n: 1e9 + rng.normal(size=n),
    "beyond float32": lambda rng, n: 1e300 * rng.normal(size=n),
    "subnormal": lambda rng, n: 1e-310 * rng.normal(size=n),
    "any magnitude": lambda rng, n: 10.0 ** rng.uniform(-30, 30, size=n),
    "positive": lambda rng, n: rng.lognormal(0, 3, size=n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(size=n) ** 3,
    "one far cell": lambda rng, n: np.where(np.arange(n) == n // 2, 1e30, rng.normal(size=n)),
    "holes": lambda rng, n: np.where(rng.random(n) < 0.5, np.nan, rng.normal(size=n)),
    "binary with holes": lambda rng, n: np.where(rng.random(n) < 0.3, np.nan, rng.integers(2, size=n)),
    "empty": lambda rng, n: np.full(n, np.nan),
    "one infinite cell": lambda rng, n: np.where(np.arange(n) == 0, np.inf, rng.normal(size=n)),
}
HARMLESS = ["normal", "binary", "gray", "counts", "levels", "constant", "zero", "positive", "offset"]
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "reversed": lambda X: X[::-1, ::-1],
    "read-only": lambda X: np.frombuffer(np.ascontiguousarray(X).tobytes(), X.dtype).reshape(X.shape),
}
CONTAINERS = {
    "array": lambda X: X,
    "list": lambda X: X.tolist(),
    "frame": pd.DataFrame,
    "tensor": lambda X: torch.from_numpy(np.array(X)),
    "sparse": lambda X: scipy.sparse.csr_array(X if X.dtype != np.float16 else X.astype(np.float32)),
    "objects": lambda X: X.astype(object),
    "text": lambda X: np.char.add("v", X.astype(str)).astype(object),
}
DTYPES = ["float64", "float32", "float16", "int64", "uint8", "bool"]
LABELS = {
    "two classes": lambda rng, n: rng.integers(2, size=n),
    "few labels": lambda rng, n: np.where(rng.random(n) < 0.1, rng.integers(3, size=n), -1),
    "one label": lambda rng, n: np.where(np.arange(n) == 0, 1, -1),
    "no labels": lambda rng, n: np.full(n, -1),
    "one class": lambda rng, n: np.zeros(n, int),
    "many classes": lambda rng, n: np.arange(n) % 40,
    "rare class": lambda rng, n: (np.arange(n) == 0).astype(int),
    "text": lambda rng, n: rng.choice(np.array(["a", "b", None], object), size=n),
    "large numbers": lambda rng, n: rng.choice([-(10**15), 10**15, -1], size=n),
    "floats": lambda rng, n: rng.choice([0.5, 1.5, np.nan], size=n),
    "too few": lambda rng, n: np.arange(n - 1) % 2,
    "two columns": lambda rng, n: np.zeros((n, 2), int),
}
WEIGHTS = {
    "ordinary": lambda rng, n: rng.exponential(size=n),
    "some are 0": lambda rng, n: rng.integers(2, size=n).astype(float),
    "all are 0": lambda rng, n: np.zeros(n),
    "any magnitude": lambda rng, n: 10.0 ** rng.uniform(-30, 30, size=n),
    "negative": lambda rng, n: rng.normal(size=n),
    "NaN": lambda rng, n: np.where(np.arange(n) == 0, np.nan, 1.0),
    "too many": lambda rng, n: np.ones(n + 1),
    "text": lambda rng, n: np.full(n, "x"),
}

# Values of parameters that depend on the data.
CHOICES = {
    "likelihood": ["auto", *LIKELIHOODS],
    "n_components": [1, 20],
    "hidden_layer_sizes": [(), (3, 3)],
    "class_prior": ["estimated", "uniform", {0: 0.5, 1: 0.3, 9: 0.2}],
    "class_weight": [None, "balanced", {0: 1e6}],
    "alpha": ["auto", 0.1, 1e6],
    "batch_size": ["auto", 8, 1000],
    "early_stopping": ["auto", True, False],
    "learning_rate_init": [1e-3, 1.0, 1e6],
    "weight_prior": [None, 1e-6, 1e6],
    "input_noise": ["auto", "gaussian", "flip", "dropout"],
    "dynamic_binarization": [False, True],
    "n_enumerated": [None, 1],
    "proba_method": ["classifier", "bayes"],
    "calibration_cv": [None, 2],
    "kernel": ["rbf", "linear"],
    "gamma": ["scale", 1e6],
    "C": [1e-6, 1e6],
    "prior": ["normal", "mixture"],
    "posterior": ["diagonal", "low_rank", "full"],
    "passthrough": [True, False],
    "keep_empty_features": [True, False],
    "sample_posterior": [True, False],
    "handle_unknown": ["error", "warn", "ignore"],
    "warm_start": [True],
}
# What somebody may give for a parameter by mistake.
MISTAKES = [
    None,
    -1,
    0,
    0.5,
    3,
    1e-308,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    (),
    (0,),
    [None],
    {},
    {"a": 1},
    True,
    b"x",
]
WIDTHS = st.sampled_from([4, 4, 4, 3, 5])  # mostly that of the table that estimators were fitted to


@st.composite
def tables(draw, max_rows=300, max_columns=40, n_columns=None):
    """A table of any container, and how it was made."""
    n_rows = draw(st.one_of(st.integers(1, 8), st.integers(1, max_rows)))
    n_columns = n_columns or draw(st.one_of(st.integers(1, 4), st.integers(1, max_columns)))
    names = st.sampled_from(HARMLESS) if draw(st.booleans()) else st.sampled_from(list(COLUMNS))
    kinds = draw(st.lists(names, min_size=1, max_size=min(4, n_columns)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = np.column_stack([COLUMNS[kinds[j % len(kinds)]](rng, n_rows) for j in range(n_columns)])
    if draw(st.integers(0, 4)) == 0:
        X = X[rng.integers(max(1, n_rows // 4), size=n_rows)]  # duplicates
    dtype = draw(st.sampled_from(DTYPES)) if draw(st.booleans()) else "float64"
    with np.errstate(all="ignore"):
        X = X.astype(dtype)
    layout = draw(st.sampled_from(list(LAYOUTS)))
    container = draw(st.sampled_from(list(CONTAINERS))) if draw(st.booleans()) else "array"
    return CONTAINERS[container](LAYOUTS[layout](X))


@st.composite
def made(draw, makers, n_rows):
    """What one of the makers makes for so many rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return makers[draw(st.sampled_from(list(makers)))](rng, n_rows)


@st.composite
def rows_to_fit(draw, method, X):
    """Arguments of ``fit`` or ``partial_fit``: X, labels, and in one case of four weights."""
    given = {"X": X, "y": draw(made(LABELS, n_rows_of(X)))}
    if has_parameter(method, "sample_weight") and draw(st.integers(0, 3)) == 0:
        given["sample_weight"] = draw(made(WEIGHTS, n_rows_of(X)))
    return given


def has_parameter(method, name):
    return name in signature(method).parameters


@st.composite
def parameters(draw, estimator):
    """Values of some parameters that depend on the data."""
    known = [name for name in CHOICES if name in estimator.get_params(deep=False)]
    chosen = draw(st.lists(st.sampled_from(known), max_size=2, unique=True)) if known else []
    return {name: draw(st.sampled_from(CHOICES[name])) for name in chosen}


def n_rows_of(X):
    return X.shape[0] if hasattr(X, "shape") else len(X)


@cache
def pickled(name):
    """An estimator that was fitted to an ordinary table of four columns, pickled."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(60, 2)), rng.integers(2, size=60), rng.poisson(3, size=60)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.dumps(ESTIMATORS[name]().fit(X, np.where(np.arange(60) < 30, np.arange(60) % 2, -1)))


def global_state():
    """What no estimator may change."""
    smallest = torch.tensor([torch.finfo(torch.float32).tiny, np.finfo(np.float64).tiny], dtype=torch.float64)
    return {
        "generators": pickle.dumps((random.getstate(), np.random.get_state(), torch.get_rng_state().numpy())),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "subnormals": ((smallest.float() / 2)[0].item(), (smallest / 2)[1].item()),
        "errors": np.geterr(),
        "warnings": list(warnings.filters),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "defaults": (torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()),
        "matmul": torch.get_float32_matmul_precision(),
        "scikit-learn": sklearn.get_config(),
        "environment": dict(os.environ),
        "signals": signal.getsignal(signal.SIGINT),
    }


def contents(inputs):
    """The inputs in bytes."""
    return pickle.dumps([(X.data, X.indices, X.indptr) if scipy.sparse.issparse(X) else X for X in inputs])


def is_clear(error):
    """Whether skdgm or scikit-learn raised an error because of the input."""
    if not isinstance(error, ValueError | TypeError) or not str(error):
        return False
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return any(folder in raised_in.parents for folder in RAISED_BY)


def attempt(model, work, *inputs, may_fail=True):
    """Call ``work``; return what it returned, or None if there was a clear error. Check that nothing else changed."""
    before, of_inputs, everywhere = pickle.dumps(model.__getstate__()), contents(inputs), global_state()
    try:
        result = work()
    except Exception as error:
        if not (may_fail and is_clear(error)):
            raise
        result = None
        assert pickle.dumps(model.__getstate__()) == before, "a failure changed the estimator"
    after = global_state()
    assert not [name for name in after if after[name] != everywhere[name]], "global state was changed"
    assert contents(inputs) == of_inputs, "the input was changed"
    return result


@pytest.fixture(autouse=True, scope="module")
def _modules():
    """Import what is imported with the first fit: PyTorch's compiler sets a warning filter and the environment."""
    pickled("VAE")


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory):
    """Any text is a path of a checkpoint."""
    with contextlib.chdir(tmp_path_factory.mktemp("checkpoints")):
        yield


@pytest.fixture(autouse=True)
def _short_svms(monkeypatch):
    """Some tables are so badly scaled that an SVM takes all of its iterations; these are for speed."""
    monkeypatch.setattr(solvers, "MAX_SVC_ITER", 1_000)


@pytest.fixture(autouse=True)
def _warnings():
    """Estimators may warn of strange input, but NumPy and PyTorch may not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        # scikit-learn's check for infinite cells, if both inf and -inf are among them
        warnings.filterwarnings("ignore", "invalid value encountered in reduce", RuntimeWarning)
        yield


def assert_finite(values, what):
    """No NaN and nothing infinite in an array of numbers, a frame, a tensor, a sparse matrix, or several of them."""
    if isinstance(values, tuple):
        for part in values:
            assert_finite(part, what)
        return
    if scipy.sparse.issparse(values):
        values = values.data
    cells = np.asarray(values)
    assert not pd.isna(cells).any(), f"{what}: NaN"
    if cells.dtype.kind == "f":
        assert np.isfinite(cells).all(), f"{what}: infinite"


def answers(model, X, may_fail):
    """Every answer of a fitted estimator about rows, by the name of the method."""

    def ask(name, *inputs, **kwargs):
        return attempt(model, lambda: getattr(model, name)(*inputs, **kwargs), *inputs, may_fail=may_fail)

    for name in OF_ROWS:
        if hasattr(model, name) and not (name == "impute" and scipy.sparse.issparse(X)):  # it would make them dense
            yield name, ask(name, X)
    if hasattr(model, "inverse_transform"):
        codes = ask("transform", X)
        yield "inverse_transform", None if codes is None else ask("inverse_transform", codes)
    if hasattr(model, "sample"):
        yield "sample", ask("sample", 5, random_state=0)


def check_answers(model, X, *, may_fail):
    """All answers are finite, or a clear error if they may fail: rows that were fitted have answers."""
    for name, values in answers(model, X, may_fail):
        if name == "predict_log_proba":  # -inf is the logarithm of a probability that rounds to 0
            values = np.exp(values) if values is not None else values
        if values is not None:
            assert_finite(values, name)


@pytest.mark.parametrize("name", ESTIMATORS)
@FUZZ
@given(st.data())
def test_fit(name, data):
    """Fit to any table with any labels, from an estimator that is fitted."""
    model = pickle.loads(pickled(name))
    model.set_params(**data.draw(parameters(model)))
    rows = data.draw(rows_to_fit(model.fit, data.draw(tables())))
    if attempt(model, lambda: model.fit(**rows), *rows.values()) is not None:
        check_answers(model, rows["X"], may_fail=False)


@pytest.mark.parametrize("name", ESTIMATORS)
@FUZZ
@given(st.data())
def test_parameters(name, data):
    """Any value of any parameter, and an ordinary table."""
    X, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 2
    model = pickle.loads(pickled(name))
    names = sorted(model.get_params(deep=False).keys() - {"verbose", "n_annealing_steps", "max_iter", "random_state"})
    model.set_params(**{data.draw(st.sampled_from(names)): data.draw(st.sampled_from(MISTAKES))})
    if attempt(model, lambda: model.fit(X, y), X, y) is not None:
        has_no_density = getattr(model, "stop_after", None) is not None  # a stack without its upper layers
        check_answers(model, X, may_fail=has_no_density)


@pytest.mark.parametrize("name", ESTIMATORS)
@FUZZ
@given(st.data())
def test_prediction(name, data):
    """Any rows, most with as many columns as those of the fit."""
    X = data.draw(tables(n_columns=data.draw(WIDTHS)))
    check_answers(pickle.loads(pickled(name)), X, may_fail=True)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if hasattr(ESTIMATORS[name](), "inverse_transform")])
@FUZZ
@given(st.data())
def test_codes(name, data):
    """Decode anything, most with as many columns as codes have."""
    model, Z = pickle.loads(pickled(name)), data.draw(tables(n_columns=data.draw(st.sampled_from([2, 2, 3]))))
    decoded = attempt(model, lambda: model.inverse_transform(Z), Z)
    if decoded is not None:
        assert_finite(decoded, "inverse_transform")


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if hasattr(ESTIMATORS[name](), "partial_fit")])
@FUZZ
@given(st.data())
def test_partial_fit(name, data):
    """Any part of the rows, the first one or a later one."""
    model = pickle.loads(pickled(name)) if data.draw(st.booleans()) else ESTIMATORS[name]()
    rows = data.draw(rows_to_fit(model.partial_fit, data.draw(tables(n_columns=data.draw(WIDTHS)))))
    if has_parameter(model.partial_fit, "classes"):
        rows["classes"] = data.draw(st.sampled_from([None, [0, 1], [0, 1, 2, 3], ["a", "b"]]))
    if attempt(model, lambda: model.partial_fit(**rows), *rows.values()) is not None:
        check_answers(model, rows["X"], may_fail=False)


def raise_of_torch(model, X):
    torch.ones(2) @ torch.ones(3)


def raise_of_numpy(model, X):
    np.linalg.inv(np.zeros((2, 2)))


def raise_after_a_change(model, X):
    model.n_features_in_ = 3
    check_array([[np.nan]])


def draw_globally(model, X):
    np.random.normal()


def seed_torch(model, X):
    torch.manual_seed(0)


def silence_warnings(model, X):
    warnings.simplefilter("ignore", ResourceWarning)


def flush_subnormals(model, X):
    torch.set_flush_denormal(True)


def change_input(model, X):
    X[0, 0] = 5


@pytest.mark.parametrize(
    "fault",
    [
        raise_of_torch,
        raise_of_numpy,
        raise_after_a_change,
        draw_globally,
        seed_torch,
        silence_warnings,
        flush_subnormals,
        change_input,
        lambda model, X: np.array([np.nan]),
        lambda model, X: np.array([np.inf]),
    ],
)
def test_faults_are_noticed(fault):
    class Faulty(BaseEstimator):
        transform = fault

    state = torch.get_rng_state()
    try:
        with pytest.raises((AssertionError, RuntimeError, np.linalg.LinAlgError)):
            check_answers(Faulty(), np.zeros((2, 2)), may_fail=True)
    finally:
        torch.set_flush_denormal(False)
        torch.set_rng_state(state)
