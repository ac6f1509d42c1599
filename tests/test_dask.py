"""Prediction on dask: the same answers for any blocks, kinds that are known before, and the estimator sent once."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import skdgm
from skdgm.model_selection import LabeledStratifiedKFold

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
on_dask = pytest.importorskip("skdgm.dask")

FAST = {"hidden_layer_sizes": (8,), "max_iter": 2, "n_importance_samples": 3, "random_state": 0}
METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function", "transform", "score_samples", "impute"]
CLASSIFIERS = {
    "M2Classifier": lambda: skdgm.M2Classifier(2, **FAST),
    "ADGMClassifier": lambda: skdgm.ADGMClassifier(2, **FAST),
    "M1Classifier": lambda: skdgm.M1Classifier(LogisticRegression(), encoder=skdgm.VAE(2, **FAST), random_state=0),
    "pipeline": lambda: make_pipeline(StandardScaler(), skdgm.M2Classifier(2, **FAST)),
    "search": lambda: GridSearchCV(skdgm.M2Classifier(**FAST), {"n_components": [2]}, cv=LabeledStratifiedKFold(2)),
    "TransductiveSVC": lambda: skdgm.TransductiveSVC(random_state=0),
}


def rows(n=50):
    return np.random.default_rng(0).normal(size=(n, 4))


def labels(n=50, n_classes=3):
    return np.where(np.arange(n) < 30, np.arange(n) % n_classes, -1)


def frame():
    """Numbers, nullable integers, text, and missing cells, with an index."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rows(), columns=list("abcd"), index=np.arange(50) * 2)
    table["text"] = pd.array(rng.choice(["u", "v", None], size=50), dtype="string")
    table["count"] = pd.array(rng.poisson(2, size=50), dtype="Int64")
    table.loc[[4, 8], ["a", "count"]] = pd.NA
    return table


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_blocks_of_an_array_have_the_answers_of_the_whole(name, n_classes):
    model = CLASSIFIERS[name]().fit(rows(), labels(n_classes=n_classes))
    X = da.from_array(rows(), chunks=((7, 30, 13), (3, 1)))
    methods = [method for method in METHODS if hasattr(model, method)]
    assert "predict" in methods
    for method in methods:
        lazy, expected = getattr(on_dask, method)(model, X), getattr(model, method)(rows())
        assert isinstance(lazy, da.Array) and lazy.chunks[0] == (7, 30, 13)
        result = lazy.compute(scheduler="threads")
        assert (lazy.shape, lazy.dtype) == (result.shape, result.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(result, expected)


def test_float32_and_missing_cells_are_kept():
    X = rows().astype(np.float32)
    X[::5, 1] = np.nan
    model = skdgm.VAE(2, **FAST).fit(X)
    for method in ("transform", "impute", "score_samples"):
        lazy = getattr(on_dask, method)(model, da.from_array(X, chunks=(20, 4)))
        expected = getattr(model, method)(X)
        assert lazy.dtype == expected.dtype
        np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


@pytest.mark.parametrize("text_labels", [False, True])
def test_partitions_of_a_frame_have_the_answers_of_the_whole(text_labels):
    y = labels()
    y = np.array(["no", "yes", "perhaps", None], dtype=object)[y] if text_labels else y
    model = skdgm.M2Classifier(2, **FAST).fit(frame(), y)
    X = dd.from_pandas(frame(), npartitions=3)
    for method in ("predict", "predict_proba", "predict_log_proba", "transform", "score_samples"):
        lazy, expected = getattr(on_dask, method)(model, X), getattr(model, method)(frame())
        result = lazy.compute(scheduler="threads")
        assert result.index.equals(frame().index)
        np.testing.assert_array_equal(np.asarray(result), expected)
        if "proba" in method:
            assert lazy.columns.tolist() == model.classes_.tolist()
    assert on_dask.transform(model, X).columns.tolist() == model.get_feature_names_out().tolist()
    filled = on_dask.impute(model, X).compute(scheduler="threads")
    pd.testing.assert_frame_equal(filled, model.impute(frame()), check_dtype=False)
    assert filled.dtypes["count"] == "Int64"


def test_partitions_without_rows():
    model = skdgm.M2Classifier(2, **FAST).fit(frame(), labels())
    X = dd.from_pandas(frame(), npartitions=3)
    for method in ("predict", "predict_proba", "transform", "impute"):
        assert len(getattr(on_dask, method)(model, X[X["b"] > 100]).compute(scheduler="sync")) == 0
        assert len(getattr(on_dask, method)(model, X[X["b"] > 1]).compute(scheduler="sync")) == (rows()[:, 1] > 1).sum()
    of_array = X[["a", "b", "c", "d"]].fillna(0).to_dask_array()  # of unknown length
    assert len(on_dask.predict(skdgm.TransductiveSVC().fit(rows(), labels()), of_array).compute()) == 50


def test_nothing_is_computed_before_it_is_asked_for():
    def fail(block):
        raise AssertionError

    model = skdgm.VAE(2, **FAST).fit(rows())
    X = da.from_array(rows(), chunks=(10, 4)).map_blocks(fail, dtype=float, meta=np.empty((0, 4)))
    lazy = on_dask.transform(model, X)
    with pytest.raises(AssertionError):
        lazy.compute(scheduler="sync")


def test_the_estimator_is_in_the_graph_once():
    cloudpickle = pytest.importorskip("cloudpickle")
    model = skdgm.VAE(2, **{**FAST, "hidden_layer_sizes": (500,)}).fit(rows())

    def n_bytes(n_blocks):
        X = da.zeros((n_blocks * 10, 4), chunks=(10, 4))
        graph = on_dask.transform(model, X).__dask_graph__()
        return sum(len(cloudpickle.dumps(task)) for task in dict(graph).values())

    size = len(pickle.dumps(model))
    assert 0.9 * size < n_bytes(1) < 1.2 * size
    assert (n_bytes(40) - n_bytes(1)) / 39 < size / 10
    first, second = (on_dask.transform(model, da.zeros((20, 4), chunks=(10, 4))).name for _ in range(2))
    assert first == second  # equal graphs have equal keys, so a cluster does not repeat them


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_cluster_gets_the_estimator_once(monkeypatch):
    """20 blocks in another process: the estimator is written to name its node and to send the graph, not per block."""
    distributed = pytest.importorskip("distributed")
    model = skdgm.M2Classifier(2, **FAST).fit(rows(), labels())
    written = []
    original = type(model).__getstate__
    monkeypatch.setattr(type(model), "__getstate__", lambda self: written.append(1) or original(self))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None, "silence_logs": "ERROR"}
        with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
            X = np.tile(rows(), (4, 1))
            result = on_dask.predict_proba(model, da.from_array(X, chunks=(10, 4))).compute()
    np.testing.assert_array_equal(result, model.predict_proba(X))
    assert len(written) <= 5


# --- errors ---------------------------------------------------------------------------------------------------------


def test_errors_come_before_anything_is_computed():
    model, X = skdgm.VAE(2, **FAST).fit(rows()), da.from_array(rows(), chunks=(10, 4))
    with pytest.raises(TypeError, match=r"must be a dask array or a dask data frame, got ndarray. Call estimator"):
        on_dask.transform(model, rows())
    with pytest.raises(TypeError, match="dask data frame, got Series"):
        on_dask.transform(model, dd.from_pandas(frame(), npartitions=2)["a"])
    with pytest.raises(NotFittedError):
        on_dask.transform(skdgm.VAE(), X)
    with pytest.raises(AttributeError, match="predict"):
        on_dask.predict(model, X)
    for wrong in (X[:, :3], X[:, 0]):
        with pytest.raises(ValueError, match=r"X has [31] column\(s\), but VAE was fitted to 4"):
            on_dask.transform(model, wrong)


def test_an_answer_of_another_shape_is_an_error():
    X, y = rows(), np.arange(50) % 4
    model = SVC(decision_function_shape="ovo").fit(X, y)
    lazy = on_dask.decision_function(model, da.from_array(X, chunks=(10, 4)))
    with pytest.raises(ValueError, match=r"returned an array of shape \(10, 6\) for 10 rows, where dask expects"):
        lazy.compute(scheduler="sync")
