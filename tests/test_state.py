"""States in pickles: the version that wrote them, and errors for damaged or altered ones before memory is used."""

import copy
import functools
import pickle
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import LogisticRegression

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
    __version__,
)
from skdgm.estimators._dtypes import described, restored
from skdgm.estimators._state import StateError, WithoutMemory
from skdgm.likelihoods import LIKELIHOODS

FAST = {"max_iter": 2, "random_state": 0}
SMALL = {"hidden_layer_sizes": (8,), **FAST}
ESTIMATORS = {
    "VAE": lambda: VAE(3, **SMALL),
    "DLGM": lambda: DLGM((3, 2), posterior="full", **SMALL),
    "StackedAutoencoder": lambda: StackedAutoencoder((4, 3), **FAST, rbm_max_iter=2),
    "M1Classifier": lambda: M1Classifier(encoder=VAE(3, **SMALL), random_state=0),
    "M2Classifier": lambda: M2Classifier(3, **SMALL),
    "ADGMClassifier": lambda: ADGMClassifier(3, skip=True, batch_norm=True, **SMALL),
    "M1M2Classifier": lambda: M1M2Classifier(3, encoder=VAE(3, **SMALL), **SMALL),
    "TransductiveSVC": TransductiveSVC,
    "DeepImputer": lambda: DeepImputer(VAE(3, **SMALL)),
    "SemiSupervisedMetaClassifier": lambda: SemiSupervisedMetaClassifier(
        VotingClassifier([("m2", M2Classifier(3, **SMALL)), ("linear", LogisticRegression())])
    ),
}
MODULES = ["VAE", "DLGM", "StackedAutoencoder", "M2Classifier", "ADGMClassifier", "M1M2Classifier"]
every_estimator = pytest.mark.parametrize("name", ESTIMATORS)


@functools.cache
def rows():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    return (rng.random((60, 4)) + y[:, None] > 1).astype(float), np.where(np.arange(60) < 30, y, -1)


@functools.cache
def fitted(name):
    return ESTIMATORS[name]().fit(*rows())


def state_of(name):
    """A state that a test may change."""
    return copy.deepcopy(fitted(name).__getstate__())


def opened(name, state):
    """What pickle, joblib and skops do with a state."""
    estimator = object.__new__(type(fitted(name)))
    estimator.__setstate__(state)
    return estimator


# --- version ----------------------------------------------------------------------------------------------------------


@every_estimator
def test_another_version_warns(name):
    state = state_of(name)
    assert state["_skdgm_version"] == __version__
    state["_skdgm_version"] = "0.0.1"
    with pytest.warns(InconsistentVersionWarning, match=f"{name} was saved by skdgm 0.0.1, .* {__version__}"):
        model = opened(name, state)
    assert not hasattr(model, "_skdgm_version")


def test_a_state_without_a_version_warns():
    state = state_of("VAE")
    del state["_skdgm_version"]
    with pytest.warns(InconsistentVersionWarning, match="unknown version"):
        opened("VAE", state)


@every_estimator
def test_an_intact_state_opens_without_a_warning(name):
    with warnings.catch_warnings(action="error"):
        for model in (fitted(name), ESTIMATORS[name]()):
            assert vars(pickle.loads(pickle.dumps(model))).keys() == vars(model).keys()


@pytest.mark.filterwarnings("ignore:class_prior=.* does not fit:UserWarning")
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(
    "estimator", [VAE(2, **SMALL), DLGM((2, 2), posterior="low_rank", **SMALL), M2Classifier(2, **SMALL)]
)
def test_modules_of_every_likelihood_are_intact(likelihood, estimator):
    """Also with missing cells, embeddings of many categories, and a class without labels."""
    rng = np.random.default_rng(0)
    X = (
        rng.integers(0, 40, (90, 2)).astype(float)
        if likelihood in ("categorical", "ordinal")
        else rng.integers(1, 3, (90, 2))
    )
    X = np.where(rng.random(X.shape) < 0.1, np.nan, X - (likelihood == "bernoulli"))
    model = clone(estimator).set_params(likelihood=likelihood)
    if isinstance(model, M2Classifier):
        model.set_params(class_prior={0: 0.5, 1: 0.4, 2: 0.1})
    model.fit(X, np.where(np.arange(90) < 20, np.arange(90) % 2, -1))
    copied = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copied.transform(X), model.transform(X))


# --- what is altered --------------------------------------------------------------------------------------------------


@every_estimator
def test_every_attribute_that_prediction_needs_is_missed(name):
    first, *needed = type(fitted(name))._needed_when_fitted
    assert first in state_of(name) and needed
    for attribute in needed:
        state = state_of(name)
        del state[attribute]
        with pytest.raises(StateError, match=f"{name} is damaged or was altered: it lacks {attribute}"):
            opened(name, state)


@every_estimator
def test_every_parameter_is_missed(name):
    state = state_of(name)
    del state[ESTIMATORS[name]()._get_param_names()[0]]
    with pytest.raises(StateError, match="it lacks"):
        opened(name, state)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(name, value):
    for weights in state_of(name)["module_"]:
        state = state_of(name)
        if state["module_"][weights].size and state["module_"][weights].dtype == np.float32:
            state["module_"][weights].flat[0] = value
            with pytest.raises(StateError, match=f"'{weights}' are not finite"):
                opened(name, state)


@pytest.mark.parametrize("name", MODULES)
def test_other_weights_are_refused(name):
    """Of another shape or type, missing, or too many."""
    weights = list(state_of(name)["module_"])
    largest = max(weights, key=lambda one: state_of(name)["module_"][one].size)
    for change in (lambda w: w[:-1], lambda w: w.astype(np.float64), lambda w: w.tolist(), lambda w: None):
        state = state_of(name)
        state["module_"][largest] = change(state["module_"][largest])
        with pytest.raises(StateError, match=f"'{largest}' are not an array"):
            opened(name, state)
    state = state_of(name)
    del state["module_"][largest]
    with pytest.raises(StateError, match="other names"):
        opened(name, state)
    state = state_of(name)
    state["module_"]["more"] = np.zeros(1, np.float32)
    with pytest.raises(StateError, match=r"other names: \['more'\]"):
        opened(name, state)


def leaves(tree, path=()):
    """Paths to the numbers and lists of an architecture."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


def changed(tree, path, value):
    if not path:
        return value
    key, *rest = path
    copied = dict(tree) if isinstance(tree, dict) else list(tree)
    copied[key] = changed(tree[key], rest, value)
    return copied


# Entries of the architecture that change no size.
OPTIONS = {
    "missing_indicator",
    "clip_inputs",
    "linear_skip",
    "skip",
    "batch_norm",
    "rank",
    "n_side",
    "class_prior",
    "kind",
}
HUGE = 10**14  # 400 TB of weights, if anything were allocated


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("value", [HUGE, -1, 0.5, None, "x", [HUGE]])
def test_any_altered_size_is_refused_before_it_takes_memory(name, value):
    """Each entry of the architecture in turn; options that change no size may pass, and give a whole model."""
    architecture = state_of(name)["_architecture"]
    refused = 0
    for path in leaves(architecture):
        state = state_of(name)
        state["_architecture"] = changed(architecture, path, value)
        try:
            model = opened(name, state)
        except StateError as error:
            assert not isinstance(error.__cause__, MemoryError) and "allocate" not in str(error)
            refused += 1
        else:
            is_option = bool(OPTIONS & set(path))
            assert is_option or (path[-1] in {"network", "image_shape", "top_down"} and value is None), (
                f"{path}={value} passed"
            )
            assert model.module_ is not None
    assert refused >= 4


@pytest.mark.parametrize("name", ["M1Classifier", "M2Classifier", "M1M2Classifier", "TransductiveSVC"])
@pytest.mark.parametrize("classes", [np.array([0, 1]), np.array(3), None, np.arange(4)])
def test_other_classes_are_refused(name, classes):
    state = state_of(name)
    state["classes_"] = classes
    with pytest.raises(StateError, match="classes"):
        opened(name, state)


def test_classes_of_a_meta_classifier_are_those_of_its_inner_estimator():
    state = state_of("SemiSupervisedMetaClassifier")
    state["classes_"] = np.array([0, 1])
    with pytest.raises(StateError, match=r"its classes are \[0, 1\]"):
        opened("SemiSupervisedMetaClassifier", state)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    "changes",
    [
        {"center": np.zeros(3)},
        {"scale": np.array([1, 1, 1, 0.0])},
        {"scale": np.array([1, 1, 1, np.nan])},
        {"center": np.array([1, 1, 1, np.inf])},
        {"kinds": ("bernoulli",) * 3},
        {"kinds": ("bernoulli", "bernoulli", "bernoulli", "?")},
    ],
)
def test_columns_that_do_not_fit_are_refused(name, changes):
    state = state_of(name)
    state["_columns"] = copy.copy(state["_columns"])
    vars(state["_columns"]).update(changes)
    with pytest.raises(StateError, match="columns|likelihoods"):
        opened(name, state)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("attribute", ["_columns", "_format"])
def test_columns_of_another_kind_are_refused(name, attribute):
    state = state_of(name)
    state[attribute] = {"kinds": ("bernoulli",) * 4}
    with pytest.raises(StateError, match="not described"):
        opened(name, state)


@pytest.mark.parametrize("name", ["M1Classifier", "M1M2Classifier"])
def test_an_encoder_that_does_not_fit_is_refused(name):
    for attribute, value in {"active_": np.array([0, 7, 2]), "encoder_": VAE(), "n_features_in_": 9}.items():
        state = state_of(name)
        state[attribute] = value
        with pytest.raises(StateError, match="encoder_"):
            opened(name, state)


def test_columns_of_an_imputer_that_do_not_fit_are_refused():
    for attribute, value in {"_kept": np.arange(3), "n_features_in_": 9, "_empty": np.array([1])}.items():
        state = state_of("DeepImputer")
        state[attribute] = value
        with pytest.raises(StateError, match="columns"):
            opened("DeepImputer", state)


def test_a_damaged_array_in_a_pickle_is_found():
    """The bytes of a weight are changed to those of NaN."""
    weights = fitted("VAE").__getstate__()["module_"]["encoder.mlp.layers.0.weight"]
    saved = pickle.dumps(fitted("VAE"), protocol=5)
    assert saved.count(weights.tobytes()) == 1
    with pytest.raises(StateError, match="not finite"):
        pickle.loads(saved.replace(weights.tobytes(), np.full_like(weights, np.nan).tobytes()))


def test_sizes_take_no_memory_but_numbers_do():
    with WithoutMemory():
        layer, given = torch.nn.Linear(10**7, 10**7), torch.tensor([1.0, 2.0])
    assert layer.weight.is_meta and given.tolist() == [1, 2]
    assert not torch.zeros(1).is_meta


# --- dtypes -----------------------------------------------------------------------------------------------------------

DTYPES = {
    "pandas": [
        *map(np.dtype, ["int8", "uint64", "float32", "bool", "object"]),
        pd.Int64Dtype(),
        pd.Float32Dtype(),
        pd.BooleanDtype(),
        pd.StringDtype(),
        pd.StringDtype("python"),
        pd.StringDtype("pyarrow", na_value=np.nan),
        pd.CategoricalDtype(),
        pd.CategoricalDtype(["b", "a"], ordered=True),
        pd.CategoricalDtype([2, 1]),
        pd.ArrowDtype(pa.int16()),
        pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string())),
        pd.SparseDtype(float),
        pd.SparseDtype("int64", 3),
    ],
    "polars": [
        pl.Int128,
        pl.Float32(),
        pl.Boolean,
        pl.String,
        pl.Binary,
        pl.Object,
        pl.Categorical,
        pl.Categorical(),
        pl.Enum(["b", "a"]),
        pl.Decimal(10, 2),
    ],
    "pyarrow": [
        pa.int8(),
        pa.float16(),
        pa.float64(),
        pa.bool_(),
        pa.string(),
        pa.large_string(),
        pa.decimal128(5, 2),
        pa.dictionary(pa.int32(), pa.large_string(), ordered=True),
    ],
}


@pytest.mark.parametrize(
    ("container", "dtype"), [(container, dtype) for container, dtypes in DTYPES.items() for dtype in dtypes], ids=repr
)
def test_a_described_dtype_is_restored(container, dtype):
    description = described(dtype)
    assert repr(restored(container, description)) in {repr(dtype), f"{dtype!r}()"} or (
        restored(container, description) == dtype
    )
    plain(description)


def plain(description):
    for part in description if isinstance(description, tuple) else (description,):
        assert part is None or type(part) in {str, int, float, bool, tuple}
        if isinstance(part, tuple):
            plain(part)


def test_categories_that_polars_shares_by_name_are_restored():
    if not hasattr(pl, "Categories"):
        pytest.skip("this polars has no named categories")
    dtype = pl.Categorical(pl.Categories("colors", "shop"))
    assert restored("polars", described(dtype)) == dtype != pl.Categorical()


@pytest.mark.parametrize(
    ("container", "description"), [("polars", "DataFrame"), ("pyarrow", ("py_buffer", 1, 2)), ("pyarrow", "Table")]
)
def test_what_is_no_dtype_is_not_made(container, description):
    with pytest.raises(ValueError, match=r"not a dtype|No type alias"):
        restored(container, description)


def test_a_model_of_a_frame_opens_without_its_library(monkeypatch):
    frame = pl.DataFrame({"a": ["x", "y"] * 30, "b": np.arange(60.0)})
    saved = pickle.dumps(VAE(2, **SMALL).fit(frame))
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert pickle.loads(saved).transform(np.array([["x", 1.0]], dtype=object)).shape == (1, 2)
