"""onnxruntime computes what the estimators compute, from one graph; what cannot be exported says which part and why."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skdgm import DLGM, VAE, ADGMClassifier, DeepImputer, M1Classifier, M1M2Classifier, M2Classifier, TransductiveSVC

onnxruntime, skl2onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("skl2onnx")
module = pytest.importorskip("skdgm.onnx", exc_type=ImportError)  # onnxscript may be missing
breaks_ties, register_converters, to_onnx = module.breaks_ties, module.register_converters, module.to_onnx

FAST = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}
IRIS, CLASSES = load_iris(return_X_y=True)
FEW = np.where(np.arange(150) % 5 == 0, CLASSES, -1)
WORDS = np.array(["setosa", "versicolor", "virginica", None], dtype=object)[FEW]
HOLES = IRIS.copy()
HOLES[::7, 1], HOLES[3] = np.nan, np.nan
_rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "length": IRIS[:, 0],
        "count": _rng.poisson(3, 150),
        "color": np.array(["red", "green", "blue"])[CLASSES],
        "is_late": _rng.random(150) < 0.5,
        "code": 10 * _rng.integers(0, 4, 150),
    }
)
KINDS = [("auto", ["length", "count", "color", "is_late"]), ("categorical", ["code"])]


def run(graph, X):
    """Outputs of a graph for an array or a frame."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {name: X[[name]].to_numpy() for name in X} if isinstance(X, pd.DataFrame) else {"X": X}
    return session.run(None, feed)


def check_classifier(model, X, graph=None, atol=1e-5):
    graph = graph or to_onnx(model, X)
    for rows in (X, X[:1]):  # a dynamic batch
        label, values = run(graph, rows)
        assert label.tolist() == model.predict(rows).tolist()
        method = model.predict_proba if hasattr(model, "predict_proba") else model.decision_function
        np.testing.assert_allclose(values, method(rows), rtol=0, atol=atol)


CLASSIFIERS = {
    "M2Classifier, strings": (M2Classifier(**FAST), HOLES, WORDS),
    "M2Classifier, temperature": (M2Classifier(calibration_cv=2, **FAST), IRIS.astype(np.float32), FEW),
    "M2Classifier, frame": (M2Classifier(likelihood=KINDS, **FAST), FRAME, WORDS),
    "ADGMClassifier": (ADGMClassifier(skip=True, batch_norm=True, **FAST), HOLES, WORDS),
    "M1M2Classifier": (M1M2Classifier(encoder=VAE(**FAST), **FAST), HOLES.astype(np.float32), FEW),
    "M1Classifier": (M1Classifier(encoder=VAE(**FAST)), HOLES, WORDS),
    "M1Classifier, frame, calibrated": (
        M1Classifier(CalibratedClassifierCV(SVC(), cv=2), encoder=VAE(**FAST)),
        FRAME,
        FEW,
    ),
    "M1Classifier, transductive": (
        M1Classifier(TransductiveSVC(), encoder=VAE(**FAST), passthrough=False),
        IRIS,
        WORDS,
    ),
    "pipeline around M1": (
        make_pipeline(StandardScaler(), M1Classifier(LogisticRegression(), encoder=VAE(**FAST))),
        IRIS.astype(np.float32),
        WORDS,
    ),
    "pipeline of scaler, VAE and SVC": (make_pipeline(StandardScaler(), VAE(**FAST), SVC()), IRIS, CLASSES),
    "TransductiveSVC": (TransductiveSVC(), IRIS, WORDS),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_have_the_same_labels_and_values(name):
    model, X, y = CLASSIFIERS[name]
    check_classifier(model.fit(X, y), X)


@pytest.mark.parametrize("inference", ["bottom_up", "top_down"])
@pytest.mark.parametrize("X", [FRAME, IRIS.astype(np.float32)], ids=["frame", "float32"])
def test_codes_are_the_same(X, inference):
    model = DLGM((3, 2), inference=inference, transform_layers="all", **FAST).fit(X)
    (codes,) = run(to_onnx(model, X, target_opset=18), X)
    np.testing.assert_allclose(codes, model.transform(X), rtol=0, atol=1e-5)
    assert codes.dtype == (np.float64 if X is FRAME else np.float32)


def test_quantile_columns_are_exported():
    model = VAE(likelihood="gaussian_quantile", **FAST).fit(IRIS)  # torch.onnx has no searchsorted
    np.testing.assert_allclose(run(to_onnx(model, IRIS), IRIS)[0], model.transform(IRIS), atol=1e-5)


def test_ties_are_broken_as_in_the_estimator():
    """Three classes in a circle, where rows with one vote for each class are common."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), rng.integers(0, 3, 300)
    model = M1Classifier(SVC(C=100, gamma=3, break_ties=True), encoder=VAE(n_components=2, **FAST)).fit(X, y)
    assert breaks_ties(model.estimator_)
    without = model.estimator_.__class__(**{**model.estimator_.get_params(), "break_ties": False})
    features = model._features(model._read(X))
    assert (without.fit(features, y).predict(features) != model.predict(X)).any()
    check_classifier(model, X, atol=1e-4)


def test_rows_that_cannot_be_read_get_no_label():
    X = IRIS.copy()
    X[1, 2], X[4] = np.nan, np.nan
    others = np.arange(150) != 1
    for model, y, missing in [(M2Classifier(**FAST), FEW, -1), (M1Classifier(encoder=VAE(**FAST)), WORDS, "")]:
        label, values = run(to_onnx(model.fit(IRIS, y), IRIS), X)
        assert label[1] == missing and np.isnan(values[1]).all()
        assert label[others].tolist() == model.predict(X)[others].tolist()
        assert not np.isnan(values[others]).any()


def test_unknown_and_empty_text_is_a_missing_cell():
    holes = FRAME.copy()
    holes.loc[::4, "color"] = None
    model = M2Classifier(handle_unknown="ignore", **FAST).fit(holes, FEW)
    new = FRAME.assign(color=np.where(CLASSES == 0, "pink", np.where(CLASSES == 1, "", "blue")))
    label, probabilities = run(to_onnx(model, FRAME), new)
    assert label.tolist() == model.predict(new).tolist()
    np.testing.assert_allclose(probabilities, model.predict_proba(new), atol=1e-5)


def test_converters_serve_skl2onnx_itself():
    """With its default options, probabilities come as a list of dicts."""
    register_converters()
    register_converters()
    model = M2Classifier(**FAST).fit(IRIS, WORDS)
    X = IRIS.astype(np.float32)  # onnxruntime has no such dicts of doubles
    label, probabilities = run(skl2onnx.to_onnx(model, X[:1]), X)
    assert label.tolist() == model.predict(X).tolist()
    found = [[row[name] for name in model.classes_] for row in probabilities]
    np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-5)


def test_a_graph_needs_neither_torch_nor_scikit_learn(tmp_path):
    model, path = M2Classifier(**FAST).fit(IRIS, FEW), tmp_path / "m2.onnx"
    path.write_bytes(to_onnx(model, IRIS).SerializeToString())
    code = (
        "import sys, numpy, onnxruntime; "
        f"label, _ = onnxruntime.InferenceSession({str(path)!r}).run(None, {{'X': numpy.ones((2, 4))}}); "
        "assert len(label) == 2 and not {'torch', 'sklearn', 'skdgm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- errors -------------------------------------------------------------------------------------------------------


def test_parts_that_cannot_be_exported_are_named():
    imputer = make_pipeline(DeepImputer(VAE(**FAST)), LogisticRegression(max_iter=1000)).fit(HOLES, CLASSES)
    with pytest.raises(TypeError, match="DeepImputer cannot be exported: it fills cells with draws"):
        to_onnx(imputer, HOLES)
    bayes = make_pipeline(StandardScaler(), M2Classifier(proba_method="bayes", **FAST)).fit(IRIS, FEW)
    with pytest.raises(ValueError, match="M2Classifier with proba_method='bayes' cannot export"):
        to_onnx(bayes, IRIS)
    inner = M1Classifier(LogisticRegression(), encoder=VAE(**FAST)).fit(IRIS, FEW)
    inner.estimator_.__class__ = type("OwnClassifier", (LogisticRegression,), {})
    with pytest.raises(TypeError, match="inner estimator OwnClassifier: skl2onnx has no converter"):
        to_onnx(inner, IRIS)


def test_bad_inputs_are_named():
    model = M2Classifier(**FAST).fit(FRAME, FEW)
    with pytest.raises(ValueError, match="Put columns of text and of numbers into a frame"):
        to_onnx(model, FRAME.to_numpy(dtype=object))
    with pytest.raises(TypeError, match="input 'X' holds numbers, but .* fitted to text in column 'color'"):
        to_onnx(model, np.column_stack([IRIS, CLASSES]))
    with pytest.raises(ValueError, match="target_opset >= 18, got 15"):
        to_onnx(model, FRAME, target_opset=15)


def test_columns_in_another_order_are_refused():
    frame = pd.DataFrame(IRIS, columns=list("abcd"))
    model = M2Classifier(**FAST).fit(frame, FEW)
    for wrong in (frame[["b", "a", "c", "d"]], frame[["a", "b", "c"]], IRIS[:, :3]):
        with pytest.raises(ValueError, match="the model was fitted to"):
            to_onnx(model, wrong)


def test_booleans_with_missing_cells_are_floats():
    late = pd.array(_rng.random(150) < 0.5, dtype="boolean")
    late[::9] = pd.NA
    frame = pd.DataFrame({"length": IRIS[:, 0], "late": late})
    model = M2Classifier(**FAST).fit(frame, FEW)
    session = onnxruntime.InferenceSession(to_onnx(model, frame).SerializeToString())
    inputs = {"length": IRIS[:, [0]], "late": frame[["late"]].to_numpy(dtype=float, na_value=np.nan)}
    np.testing.assert_allclose(session.run(None, inputs)[1], model.predict_proba(frame), atol=1e-5)


def test_networks_that_torch_cannot_export_are_named():
    model = VAE(**FAST).fit(IRIS)
    model.module_.encoder.mlp.activation = lambda x: torch.from_numpy(np.tanh(x.numpy()))
    with pytest.raises(ValueError, match="networks of VAE cannot be exported"):
        to_onnx(model, IRIS)
