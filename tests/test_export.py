"""Modules of fitted estimators compute what the estimators compute; what cannot be exported says so."""

import os

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from skdgm import (
    DLGM,
    VAE,
    ADGMClassifier,
    DeepImputer,
    M1Classifier,
    M1M2Classifier,
    M2Classifier,
    StackedAutoencoder,
    TransductiveSVC,
)
from skdgm.estimators._column_kinds import KINDS, unchanged
from skdgm.export import NEAREST, ColumnReader, export_program, prediction_module

FAST = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}
IRIS, CLASSES = load_iris(return_X_y=True)
FEW = np.where(np.arange(150) % 5 == 0, CLASSES, -1)
HOLES = IRIS.copy()
HOLES[::7, 1], HOLES[3] = np.nan, np.nan
_rng = np.random.default_rng(0)
MIXED = np.column_stack(
    [
        IRIS[:, :2],
        _rng.poisson(3, 150),  # counts with zeros
        _rng.integers(0, 2, 150),
        np.exp(2 * _rng.normal(size=150)),
        10 * _rng.integers(0, 4, 150),
    ]
)
GROUPS = [("auto", [0, 1, 2, 3, 4]), ("categorical", [5])]
COLUMNS = {
    "bernoulli": 3,
    "gaussian_quantile": 0,
    "lognormal": 4,
    "multinomial": 2,
    "negative_binomial": 2,
    "ordinal": 5,
    "poisson": 2,
    "student_t": 0,
    "zero_inflated_lognormal": 2,
}
CASES = {
    "VAE": (VAE(**FAST), IRIS),
    "VAE holes": (VAE(**FAST), HOLES),
    "VAE mixed": (VAE(likelihood=GROUPS, **FAST), MIXED),
    **{f"VAE {kind}": (VAE(likelihood=kind, **FAST), MIXED[:, [j]]) for kind, j in COLUMNS.items()},
    "DLGM": (DLGM((3, 2), rank=2, **FAST), IRIS),
    "DLGM, top-down": (DLGM((3, 2), inference="top_down", transform_layers="all", **FAST), HOLES),
    "DLGM all layers": (DLGM((3, 2), posterior="full", transform_layers="all", **FAST), HOLES),
    "StackedAutoencoder": (StackedAutoencoder((3, 2), max_iter=2, random_state=0), (IRIS > 3) * 1.0),
    "M1Classifier": (M1Classifier(encoder=VAE(**FAST)), HOLES),
    "M2Classifier": (M2Classifier(**FAST), HOLES),
    "ADGMClassifier": (ADGMClassifier(**FAST), HOLES),
    "M2Classifier calibrated": (M2Classifier(calibration_cv=2, **FAST), MIXED),
    "M1M2Classifier": (M1M2Classifier(encoder=VAE(**FAST), **FAST), HOLES),
    "M1M2Classifier codes only": (M1M2Classifier(encoder=VAE(**FAST), passthrough=False, **FAST), IRIS),
    "TransductiveSVC": (TransductiveSVC(), IRIS),
    "TransductiveSVC, other intercepts": (TransductiveSVC(gamma=1e-6), IRIS),
    "TransductiveSVC linear": (TransductiveSVC(kernel="linear"), IRIS),
    "TransductiveSVC primal": (TransductiveSVC(n_components=20, random_state=0), IRIS),
    "TransductiveSVC primal linear": (TransductiveSVC(n_components=20, kernel="linear"), IRIS),
}
METHODS = ["transform", "predict_proba", "predict_log_proba", "decision_function"]


def methods_of(model):
    wanted = ["transform"] if isinstance(model, M1Classifier) else METHODS
    return [method for method in wanted if hasattr(model, method)]


@pytest.mark.parametrize("name", CASES)
def test_modules_compute_what_estimators_compute(name):
    model, X = CASES[name]
    model.fit(X, FEW)
    for method in methods_of(model):
        module = prediction_module(model, method)
        for dtype, tolerance in [(np.float64, 2e-6), (np.float32, 5e-6)]:
            rows = X.astype(dtype)
            result = module(torch.from_numpy(rows))
            assert result.dtype == torch.from_numpy(rows).dtype
            np.testing.assert_allclose(result.numpy(), getattr(model, method)(rows), rtol=0, atol=tolerance)


def test_two_classes_have_two_decision_values():
    model = TransductiveSVC().fit(IRIS[:100], FEW[:100])
    values = prediction_module(model, "decision_function")(torch.tensor(IRIS))
    assert torch.equal(values[:, 0], -values[:, 1])
    np.testing.assert_allclose(values[:, 1].numpy(), model.decision_function(IRIS), atol=1e-9)


def test_cells_move_to_the_nearest_values_as_in_the_estimators():
    x = np.concatenate([np.linspace(-3, 3, 41), [0.5, 1.5, 1e-50, 1e9]])
    moving = {kind for kind in KINDS if KINDS[kind].nearest is not unchanged}
    assert moving == set(NEAREST) - {"gray"}
    for kind in moving:
        moved = NEAREST[kind](torch.from_numpy(x)).numpy()
        np.testing.assert_array_equal(moved, KINDS[kind].nearest(x), err_msg=kind)


@pytest.mark.parametrize("likelihood", ["auto", GROUPS])
def test_cells_out_of_range_and_unknown_categories_are_read_as_in_the_estimators(likelihood):
    X = MIXED if likelihood == GROUPS else np.column_stack([_rng.random((150, 2)).round(1), np.arange(150) % 2])
    model = VAE(likelihood=likelihood, handle_unknown="ignore", **FAST).fit(X, FEW)
    wild = _rng.choice([-1e30, -2.5, 0.0, 0.4, 0.5, 10.0, 11.0, 1e9, np.nan], (400, X.shape[1]))
    x, observed = ColumnReader(model._columns)(torch.from_numpy(wild))
    expected = model._columns.transform(wild)
    np.testing.assert_array_equal(observed.numpy(), ~np.isnan(expected))
    np.testing.assert_array_equal(x.numpy(), np.nan_to_num(expected))


@pytest.mark.parametrize("model", [VAE(**FAST), M2Classifier(**FAST), M1M2Classifier(encoder=VAE(**FAST), **FAST)])
def test_rows_with_new_holes_give_nan_and_change_no_others(model):
    X = IRIS.copy()
    model.fit(X, FEW)
    X[1, 2], X[4] = np.nan, np.nan  # a row without any cell has the code of the prior
    codes = prediction_module(model, "transform")(torch.from_numpy(X)).numpy()
    assert np.isnan(codes[1]).all()
    others = np.arange(150) != 1
    np.testing.assert_allclose(codes[others], model.transform(X)[others], atol=2e-6)


def test_codes_of_text_are_indices_of_categories():
    frame = pd.DataFrame({"length": IRIS[:, 0], "color": np.array(["red", "green", "blue"])[CLASSES]})
    model = VAE(handle_unknown="ignore", **FAST).fit(frame)
    coded = np.column_stack([IRIS[:, 0], 2 - CLASSES])  # blue, green, red
    codes = prediction_module(model, "transform")(torch.tensor(coded))
    np.testing.assert_allclose(codes.numpy(), model.transform(frame), atol=2e-6)


@pytest.mark.parametrize("name", ["M2Classifier calibrated", "DLGM"])
def test_programs_take_any_number_of_rows(name):
    model, X = CASES[name]
    model.fit(X, FEW)
    program = export_program(model, "transform").module()
    rows = X.astype(np.float32)
    for n in (0, 1, 2, 150):
        np.testing.assert_allclose(program(torch.from_numpy(rows[:n])).numpy(), model.transform(rows)[:n], atol=5e-6)


def test_exports_are_copies():
    model = VAE(**FAST).fit(IRIS)
    module = prediction_module(model, "transform")
    assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())
    before = model.transform(IRIS)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(model.transform(IRIS), before)


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own deprecated parts
@pytest.mark.skipif("SKDGM_COMPILE" not in os.environ, reason="SKDGM_COMPILE is not set: it takes a compiler a minute")
def test_programs_compile_ahead_of_time(tmp_path):
    inductor = pytest.importorskip("torch._inductor")
    if not hasattr(inductor, "aoti_compile_and_package"):
        pytest.skip("this torch does not package compiled programs")
    model = M2Classifier(**FAST).fit(IRIS, FEW)
    program = export_program(model, "predict_proba")
    path = inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "m2.pt2"))
    rows = IRIS.astype(np.float32)
    compiled = inductor.aoti_load_package(path)
    np.testing.assert_allclose(compiled(torch.from_numpy(rows)).numpy(), model.predict_proba(rows), atol=1e-5)


# --- errors -------------------------------------------------------------------------------------------------------


def test_errors_say_what_cannot_be_exported_and_why():
    vae = VAE(**FAST)
    with pytest.raises(NotFittedError):
        prediction_module(vae, "transform")
    vae.fit(IRIS)
    with pytest.raises(TypeError, match=r"VAE.score_samples cannot be exported, only transform\. It draws noise"):
        prediction_module(vae, "score_samples")
    imputer = DeepImputer(vae).fit(HOLES)
    with pytest.raises(TypeError, match="DeepImputer.transform cannot be exported"):
        prediction_module(imputer, "transform")
    m2 = M2Classifier(proba_method="bayes", **FAST).fit(IRIS, FEW)
    with pytest.raises(ValueError, match="proba_method='bayes' cannot export probabilities"):
        export_program(m2, "predict_proba")
    m2.set_params(proba_method="classifier")
    assert prediction_module(m2, "predict_proba")(torch.tensor(IRIS)).shape == (150, 3)
    with pytest.raises(TypeError, match="Take the class of the largest probability"):
        prediction_module(m2, "predict")
