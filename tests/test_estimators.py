"""Requirements of all estimators: reproducible bits, states without torch, callbacks, bad input, hard but legal input.

Tests of a single estimator are in its own file; scikit-learn's own checks are in test_common.py.
"""

import copy
import functools
import hashlib
import io
import os
import pickle
import pickletools
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

from skdgm import (
    DLGM,
    VAE,
    ADGMClassifier,
    M1Classifier,
    M1M2Classifier,
    M2Classifier,
    StackedAutoencoder,
    training,
)
from skdgm.estimators import _options
from skdgm.model_selection import LabeledStratifiedKFold, make_labeled_scorer

FAST = {"hidden_layer_sizes": (16,), "max_iter": 4, "early_stopping": False}


def small_vae(**params):
    return VAE(4, **FAST, n_importance_samples=5, random_state=0).set_params(**params)


MAKERS = {
    "VAE": small_vae,
    "DLGM": lambda **params: DLGM((4, 2), **FAST, n_importance_samples=5, random_state=0).set_params(**params),
    "M1Classifier": lambda **params: M1Classifier(
        SVC(), encoder=VAE(4, **FAST, n_importance_samples=5), random_state=0
    ).set_params(**params),
    "M2Classifier": lambda **params: M2Classifier(
        4, **FAST, alpha=1.0, n_importance_samples=5, random_state=0
    ).set_params(**params),
    "ADGMClassifier": lambda **params: ADGMClassifier(
        4, **FAST, alpha=1.0, n_importance_samples=5, random_state=0
    ).set_params(**params),
    "M1M2Classifier": lambda **params: M1M2Classifier(
        3, encoder=VAE(4, **FAST, n_importance_samples=5), **FAST, n_importance_samples=5, random_state=0
    ).set_params(**params),
}
DENSITIES = ["VAE", "DLGM"]  # NaN is a missing cell for them
CLASSIFIERS = [name for name in MAKERS if name not in DENSITIES]
MODELS = [name for name in MAKERS if name != "M1Classifier"]  # those with a bound of their own
M2_FAMILY = ["M2Classifier", "ADGMClassifier", "M1M2Classifier"]
NO_CUDA = not torch.cuda.is_available()


@functools.cache
def _data():
    X, truth = load_digits(n_class=4, return_X_y=True)
    X, truth = X[:140] / 16, truth[:140]
    y = np.where(np.arange(140) < 24, truth, -1)
    for array in (X, y, truth):
        array.flags.writeable = False
    return X, y, truth


@pytest.fixture
def data():
    """X of shape (140, 64) in [0, 1], y with 24 labels of 4 classes and -1, and the true labels; all read-only."""
    return _data()


@functools.cache
def _fitted(name):
    X, y, _ = _data()
    return MAKERS[name]().fit(X, y)


def fitted(name):
    """A fitted estimator that the test may change."""
    return copy.deepcopy(_fitted(name))


METHODS = [
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "score_samples",
    "elbo_samples",
]


def outputs(model, X):
    """The results of all methods for X, and samples."""
    found = {method: getattr(model, method)(X) for method in METHODS if hasattr(model, method)}
    if hasattr(model, "inverse_transform"):
        found["inverse_transform"] = model.inverse_transform(found["transform"])
        found["sample"] = np.hstack([np.reshape(part, (3, -1)) for part in drawn(model)])
    return found


def drawn(model):
    rows = model.sample(3, random_state=0)
    return rows if isinstance(rows, tuple) else (rows,)


def assert_same(found, expected):
    assert found.keys() == expected.keys() and found
    for method in found:
        assert np.array_equal(found[method], expected[method]), f"{method} differs"


def digest(found):
    """A fingerprint of all outputs, bit for bit."""
    return {name: hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest() for name, value in found.items()}


# --- the same seed, the same bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_two_fits_with_one_seed_agree_to_the_bit(name, data):
    """For any state of the global generators; another seed gives another model."""
    X, y, _ = data
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = outputs(MAKERS[name]().fit(X, y), X)
        torch.manual_seed(2)
        assert_same(outputs(MAKERS[name]().fit(X, y), X), first)
    other = outputs(MAKERS[name](random_state=1).fit(X, y), X)
    assert not np.array_equal(other["transform"], first["transform"])


@pytest.mark.parametrize("name", MAKERS)
def test_global_generators_are_neither_read_nor_set(name, data):
    """fit, every method, clone, copies and pickles leave the global states of torch and NumPy unchanged."""
    X, y, _ = data
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    model = MAKERS[name]().fit(X, y)
    after_fit = torch.get_rng_state()
    outputs(model, X)
    after_use = torch.get_rng_state()
    clone(model)
    outputs(pickle.loads(pickle.dumps(model)), X[:3])
    copy.deepcopy(model)
    assert torch.equal(after_fit, torch_state), "fit moved torch's global generator"
    assert torch.equal(after_use, torch_state), "prediction moved torch's global generator"
    assert torch.equal(torch.get_rng_state(), torch_state), "unpickling moved torch's global generator"
    assert all(np.array_equal(a, b) for a, b in zip(numpy_state, np.random.get_state(), strict=True))
    assert np.finfo(np.float32).tiny * np.float32(0.5) > 0, "subnormal numbers still count as 0 after the fit"


@pytest.mark.parametrize("name", MAKERS)
def test_prediction_is_deterministic_and_does_not_depend_on_the_batch(name, data):
    """The same row gives the same bits at each call, in any order and batch, even beyond a chunk of 512 rows."""
    X, _, _ = data
    model = fitted(name)
    everything = outputs(model, X)
    assert_same(outputs(model, X), everything)
    order = np.random.default_rng(0).permutation(600) % 140
    for method in METHODS:
        if hasattr(model, method):
            assert np.array_equal(getattr(model, method)(X[order]), everything[method][order])
            assert np.array_equal(getattr(model, method)(X[7:8]), everything[method][7:8])


@pytest.mark.parametrize("name", MAKERS)
def test_fits_in_threads_agree_to_the_bit(name, data):
    """Four fits in parallel threads give the same bits as a single fit."""
    X, y, _ = data
    expected = outputs(_fitted(name), X)
    fits = joblib.Parallel(n_jobs=4, backend="threading")(joblib.delayed(MAKERS[name]().fit)(X, y) for _ in range(4))
    for model in fits:
        assert_same(outputs(model, X), expected)


def in_a_fresh_process(folder):
    """Run by fresh_process: return fingerprints of new fits and of the models unpickled from a folder."""
    torch.set_num_threads(1)
    X, y, _ = _data()
    report = {}
    for name, make in MAKERS.items():
        loaded = pickle.loads((Path(folder) / name).read_bytes())
        report[name] = digest(outputs(make().fit(X, y), X)), digest(outputs(loaded, X))
    joblib.dump(report, Path(folder) / "report")


@pytest.fixture(scope="module")
def fresh_process(tmp_path_factory):
    """Results of another process: {name: (fingerprints of its own fit, of the pickle it opened)}."""
    folder = tmp_path_factory.mktemp("pickles")
    for name in MAKERS:
        (folder / name).write_bytes(pickle.dumps(_fitted(name)))
    program = f"import test_estimators; test_estimators.in_a_fresh_process({str(folder)!r})"
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=300)
    return joblib.load(folder / "report")


@pytest.mark.parametrize("name", MAKERS)
def test_another_process_fits_the_same_bits(name, data, fresh_process):
    """The same seed in a fresh process."""
    assert fresh_process[name][0] == digest(outputs(_fitted(name), data[0]))


@pytest.mark.parametrize("name", MAKERS)
def test_a_pickle_predicts_the_same_bits_in_another_process(name, data, fresh_process):
    """In the other process, every method returns the same as in this one."""
    assert fresh_process[name][1] == digest(outputs(_fitted(name), data[0]))


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_a_pickle_holds_no_torch_object(name):
    """No opcode of the pickle names torch, and the loaded model predicts the same."""
    X = _data()[0]
    state = pickle.dumps(_fitted(name))
    named = [argument for _, argument, _ in pickletools.genops(state) if isinstance(argument, str)]
    assert "skdgm" in " ".join(named)
    assert not [argument for argument in named if "torch" in argument.lower()]
    assert_same(outputs(pickle.loads(state), X), outputs(_fitted(name), X))


@pytest.mark.parametrize("name", MAKERS)
def test_skops_loads_it_trusting_skdgm_only(name):
    """skops needs to trust only skdgm's classes, and the loaded model predicts the same."""
    skops_io = pytest.importorskip("skops.io", reason="skops is not installed")
    X, model = _data()[0], _fitted(name)
    state = skops_io.dumps(model)
    unknown = skops_io.get_untrusted_types(data=state)
    assert unknown and all(kind.startswith("skdgm.") for kind in unknown), unknown
    assert_same(outputs(skops_io.loads(state, trusted=unknown), X), outputs(model, X))


@pytest.mark.parametrize("name", MAKERS)
def test_joblib_can_map_its_arrays_into_memory(name, tmp_path):
    """joblib.load(mmap_mode="r") gives a working model, without a warning about read-only arrays."""
    X = _data()[0]
    joblib.dump(_fitted(name), tmp_path / "model")
    assert_same(outputs(joblib.load(tmp_path / "model", mmap_mode="r"), X), outputs(_fitted(name), X))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_from_a_gpu_opens_without_one(name):
    """The state does not name a device: a model with device="cuda" opens on the CPU if there is no GPU."""
    if not NO_CUDA:
        pytest.skip("this machine has a CUDA device")
    X, model = _data()[0], fitted(name)
    model.set_params(device="cuda")
    opened = pickle.loads(pickle.dumps(model))
    assert opened.device_ == "cpu"
    assert_same(outputs(opened, X), outputs(_fitted(name), X))


@pytest.mark.parametrize("name", MAKERS)
def test_a_copy_is_its_own(name, data):
    """Fitting a deep copy or a clone again does not change the original."""
    X, y, _ = data
    model = fitted(name)
    before = outputs(model, X)
    copy.deepcopy(model).set_params(random_state=5).fit(X[:60], y[:60])
    clone(model).set_params(random_state=5).fit(X[:60], y[:60])
    assert_same(outputs(model, X), before)


@pytest.mark.parametrize("name", MODELS)
def test_the_fitted_module_is_in_evaluation_mode(name):
    """module_ is in evaluation mode, in float32 and needs no gradients, even after unpickling."""
    for model in (_fitted(name), pickle.loads(pickle.dumps(_fitted(name)))):
        assert not model.module_.training and model.device_ == ("cpu" if NO_CUDA else "cuda")
        assert all(p.dtype == torch.float32 and not p.requires_grad for p in model.module_.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_history_and_curves_agree(name, data):
    """n_iter_ epochs everywhere; loss_curve_ is minus the bound; the history holds plain finite floats."""
    X, y, _ = data
    model = MAKERS[name](max_iter=3).fit(X, y)
    assert model.n_iter_ == 3 and model.validation_scores_ is None
    assert {len(values) for values in model.history_.values()} == {3} and {"bound"} < set(model.history_)
    assert model.loss_curve_ == [-bound for bound in model.history_["bound"]]
    assert all(type(value) is float and np.isfinite(value) for values in model.history_.values() for value in values)


@pytest.mark.filterwarnings("ignore:DLGM has no active units")  # one layer is enough for these rows
@pytest.mark.parametrize("name", MODELS)
def test_early_stopping_keeps_the_best_epoch(name, data):
    """validation_scores_ has an entry per epoch; n_iter_no_change ends the fit; held-out rows are not trained on."""
    X, y, _ = data
    patient = {
        "early_stopping": True,
        "validation_fraction": 0.3,
        "n_iter_no_change": 2,
        "max_iter": 200,
        "kl_warmup": 0,
    }
    model = MAKERS[name](**patient, learning_rate_init=0.03, learning_rate="constant").fit(X, y)
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_ < 200
    assert np.argmax(scores) >= model.n_iter_ - 1 - 2 - 5 and max(scores) > scores[0]
    with_other_seed = MAKERS[name](**{**patient, "max_iter": 3, "random_state": 1}).fit(X, y)
    assert with_other_seed.validation_scores_ != scores[:3]


@pytest.mark.parametrize("name", MODELS)
def test_verbose_prints_a_line_per_epoch(name, data, capsys):
    """Each epoch prints a line with the bound; without verbose nothing is printed."""
    X, y, _ = data
    MAKERS[name](max_iter=2).fit(X, y)
    assert capsys.readouterr().out == ""
    model = MAKERS[name](max_iter=2, verbose=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and f"{model.history_['bound'][1]:.4f}" in lines[1] and name in lines[0]


# --- arrays and tensors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_tensors_in_tensors_out(name, data):
    """A tensor is read like an array; results are tensors on its device with the same values."""
    X, y, _ = data
    tensor = torch.tensor(X)
    model = MAKERS[name]().fit(tensor, torch.tensor(y))
    expected = outputs(_fitted(name), X)
    for method in METHODS:
        if hasattr(model, method):
            found = getattr(model, method)(tensor)
            assert isinstance(found, torch.Tensor) and found.device == tensor.device, method
            assert np.array_equal(found.numpy(), expected[method])
            assert found.dtype == torch.from_numpy(expected[method]).dtype
    if hasattr(model, "inverse_transform"):
        decoded = model.inverse_transform(model.transform(tensor))
        assert isinstance(decoded, torch.Tensor) and np.array_equal(decoded.numpy(), expected["inverse_transform"])
    assert isinstance(model.score(tensor, torch.tensor(y)), float)
    assert isinstance(model.transform(tensor.requires_grad_()), torch.Tensor)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, bool])
def test_features_are_float32_for_float32_and_float64_for_the_rest(name, dtype, data):
    """transform and inverse_transform keep float32; densities are float64; fits do not depend on the type."""
    X, y, _ = data
    X = (X > 0.5).astype(dtype) if dtype in (np.int64, bool) else X.astype(dtype)
    model = MAKERS[name](**({} if name == "M1Classifier" else {"max_iter": 1})).fit(X, y)
    wanted = np.float32 if dtype == np.float32 else np.float64
    Z = model.transform(X)
    assert Z.dtype == wanted and np.isfinite(Z).all()
    if hasattr(model, "inverse_transform"):
        assert model.inverse_transform(Z).dtype == wanted
        assert model.score_samples(X).dtype == np.float64
        assert drawn(model)[0].dtype == wanted


@pytest.mark.parametrize("name", MAKERS)
def test_the_tag_says_which_types_are_preserved(name):
    """The transformer tag names float32 and float64, as documented."""
    assert set(MAKERS[name]().__sklearn_tags__().transformer_tags.preserves_dtype) == {"float32", "float64"}


@pytest.mark.parametrize("name", MAKERS)
def test_a_memmap_is_read_and_not_written(name, data, tmp_path):
    """Read-only rows on disk give the same bits as rows in memory."""
    X, y, _ = data
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_same(outputs(MAKERS[name]().fit(mapped, y), mapped), outputs(_fitted(name), X))


@pytest.mark.parametrize("name", MODELS)
def test_rows_too_large_to_lie_on_the_device_are_read_in_blocks(name, data, monkeypatch):
    """If rows exceed the limit, the fit reads them block by block, and the model is as good."""
    X, y, _ = data
    monkeypatch.setattr("skdgm.estimators._streams.RESIDENT_BYTES", 1)
    model = MAKERS[name](max_iter=10).fit(X, y)
    reference = MAKERS[name](max_iter=10)
    monkeypatch.undo()
    reference.fit(X, y)
    assert model.history_["bound"][-1] == pytest.approx(reference.history_["bound"][-1], rel=0.15)
    assert np.isfinite(model.transform(X)).all()


# --- labels -----------------------------------------------------------------------------------------------------------


def words(codes, marker):
    """Convert class indices to words in an object array, in the same order, and -1 to the marker."""
    names = np.array(["ant", "bee", "cat", "dog"], dtype=object)
    y = names[codes]
    y[np.asarray(codes) < 0] = marker
    return y


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("marker", [-1, None, np.nan, "?"])
def test_string_labels_in_object_arrays(name, marker, data):
    """The model is the same as with integers, but predicts words; classes_ does not hold the marker."""
    X, y, _ = data
    model = MAKERS[name](unlabeled_value="?" if marker == "?" else -1).fit(X, words(y, marker))
    assert model.classes_.tolist() == ["ant", "bee", "cat", "dog"]
    assert np.array_equal(model.predict(X), words(fitted(name).predict(X), None))
    assert model.score(X, words(y, marker)) == fitted(name).score(X, y)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_pandas_na_marks_unlabeled_rows(name, data):
    """A nullable Series may hold NA."""
    pd = pytest.importorskip("pandas")
    X, y, _ = data
    series = pd.Series(y, dtype="Int64").where(y >= 0, pd.NA)
    assert np.array_equal(MAKERS[name]().fit(X, series).predict(X), fitted(name).predict(X))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_without_a_marker_minus_one_is_a_class(name, data):
    """unlabeled_value=None treats every row as labeled."""
    X, y, _ = data
    model = MAKERS[name](unlabeled_value=None).fit(X, y)
    assert model.classes_.tolist() == [-1, 0, 1, 2, 3]
    with pytest.raises(ValueError, match="NaN"):
        MAKERS[name](unlabeled_value=None).fit(X, np.where(y < 0, np.nan, y))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_score_counts_labeled_rows_only(name, data):
    """It is the accuracy on labeled rows, with weights if given; and predict takes the largest probability."""
    X, y, truth = data
    model, labeled = fitted(name), y >= 0
    right = model.predict(X)[labeled] == truth[labeled]
    assert model.score(X, y) == right.mean() == model.score(X[labeled], truth[labeled])
    weight = np.random.default_rng(0).random(len(y))
    expected = np.average(right, weights=weight[labeled])
    assert model.score(X, y, sample_weight=weight) == pytest.approx(expected)


@pytest.mark.parametrize("name", M2_FAMILY)
@pytest.mark.parametrize("method", ["classifier", "bayes"])
def test_probabilities_are_probabilities(name, method, data):
    """Rows sum to one, logarithms agree, and predict takes the largest."""
    X, _, _ = data
    model = fitted(name).set_params(proba_method=method)
    P = model.predict_proba(X)
    assert P.shape == (140, 4) and P.dtype == np.float64 and np.all(P >= 0)
    np.testing.assert_allclose(P.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), P, rtol=1e-12)
    assert np.array_equal(model.predict(X), model.classes_[P.argmax(1)])


def blobs(n=150, n_labeled=2):
    """Three distant clusters in 6 columns, with `n_labeled` labels each."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 3
    X = 4 * rng.standard_normal((3, 6))[truth] + rng.standard_normal((n, 6))
    return X, np.where(np.arange(n) < 3 * n_labeled, truth, -1), truth


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_newcomer_gets_a_sensible_classifier(name):
    """Defaults and a few epochs find three clusters from two labels each."""
    X, y, truth = blobs()
    short = {"max_iter": 15}
    model = {
        "M1Classifier": lambda: M1Classifier(encoder=VAE(**short), random_state=0),
        "M2Classifier": lambda: M2Classifier(**short, random_state=0),
        "ADGMClassifier": lambda: ADGMClassifier(**short, random_state=0),
        "M1M2Classifier": lambda: M1M2Classifier(encoder=VAE(**short), **short, random_state=0),
    }[name]()
    assert np.mean(model.fit(X, y).predict(X) == truth) > 0.9


# --- searches ---------------------------------------------------------------------------------------------------------

SEARCHES = {
    "M2Classifier": {"alpha": [0.1, 5.0], "n_components": [2, 5]},
    "M1Classifier": {"estimator__C": [0.01, 10.0]},
}


def search(name, n_jobs=None):
    make = MAKERS[name]
    model = make(learning_rate_init=0.03) if name == "M2Classifier" else make(encoder=FrozenEstimator(_fitted("VAE")))
    cv, scoring = LabeledStratifiedKFold(2, shuffle=True, random_state=0), make_labeled_scorer("accuracy")
    X, y, _ = _data()
    return GridSearchCV(model, SEARCHES[name], cv=cv, scoring=scoring, n_jobs=n_jobs).fit(X[:70], y[:70])


@functools.cache
def serial_search(name):
    return search(name)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_search_reproduces_in_every_backend(name, backend, data):
    """Two jobs give the same scores, choice and refitted bits as one."""
    X, _, _ = data
    with joblib.parallel_backend(backend):
        found = search(name, n_jobs=2)
    expected = serial_search(name)
    for key in ("mean_test_score", "split0_test_score", "split1_test_score"):
        assert np.array_equal(found.cv_results_[key], expected.cv_results_[key])
    assert found.best_params_ == expected.best_params_
    assert_same(outputs(found.best_estimator_, X), outputs(expected.best_estimator_, X))
    assert np.ptp(expected.cv_results_["mean_test_score"]) > 0


def test_cross_validation_counts_no_unlabeled_row_as_wrong(data):
    """Our splitter gives accuracies on labeled rows; scikit-learn's own counts every -1 as an error."""
    X, y, truth = data
    model = M1Classifier(SVC(), encoder=FrozenEstimator(_fitted("VAE")))
    ours = cross_val_score(model, X, y, cv=LabeledStratifiedKFold(3), scoring=make_labeled_scorer("accuracy"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = cross_val_score(model, X, y, cv=3, scoring="accuracy")
    assert theirs.mean() < 0.3 < ours.mean()
    assert abs(ours.mean() - np.mean(model.fit(X, y).predict(X[24:]) == truth[24:])) < 0.25


# --- callbacks --------------------------------------------------------------------------------------------------------


class Watcher:
    """A callback that records the tasks of a fit, and asks to stop after `stop` epochs."""

    def __init__(self, stop=None):
        self.stop = stop
        self.begun, self.ended, self.tasks, self.events = [], [], [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(("begin", context.task_name, context.task_id))
        if context.task_name == "epoch":
            self.begun.append(context.task_id)

    def on_fit_task_end(self, estimator, context):
        self.tasks.append(("end", context.task_name, context.task_id))
        if context.task_name == "epoch":
            self.ended.append(context.task_id)
            return self.stop is not None and len(self.ended) >= self.stop
        return False


class PropagatedWatcher(Watcher):
    """The same callback, for a meta-estimator."""

    max_propagation_depth = None


class Failing(Watcher):
    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            raise RuntimeError("the callback failed")


@pytest.fixture
def callbacks():
    """scikit-learn's callbacks, if it has them."""
    return pytest.importorskip("sklearn.callback", reason="scikit-learn has no callbacks before 1.9")


@pytest.mark.parametrize("name", MODELS)
def test_a_callback_can_stop_the_fit(name, callbacks, data):
    """It stops after k epochs and leaves a fitted model that equals the first k epochs of a longer fit."""
    X, y, _ = data
    watcher = Watcher(stop=2)
    steady = {"learning_rate": "constant", "kl_warmup": 0}  # nothing that depends on max_iter
    model = MAKERS[name](max_iter=9, **steady).set_callbacks(watcher).fit(X, y)
    assert model.n_iter_ == 2 and watcher.begun == watcher.ended == [0, 1]
    assert watcher.events == ["setup", "teardown"]
    assert_same(outputs(model, X), outputs(MAKERS[name](max_iter=2, **steady).fit(X, y), X))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_every_epoch_is_a_task_of_its_own(name, early_stopping, callbacks, data):
    """One task begins and ends per epoch, even if early stopping ends the fit; callbacks do not change the bits."""
    X, y, _ = data
    watcher = Watcher()
    params = {"early_stopping": early_stopping, "n_iter_no_change": 1, "tol": 1e9, "max_iter": 6, "kl_warmup": 0}
    model = MAKERS[name](**params).set_callbacks(watcher).fit(X, y)
    assert model.n_iter_ == (2 if early_stopping else 6)
    assert watcher.ended == list(range(model.n_iter_))
    assert watcher.begun == watcher.ended
    assert_same(outputs(model, X), outputs(MAKERS[name](**params).fit(X, y), X))


@pytest.mark.parametrize("propagated", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_tasks_nest_like_brackets(name, propagated, callbacks, data):
    """Every task that begins also ends, innermost first and the fit last, so progress bars end."""
    X, y, _ = data
    watcher = PropagatedWatcher() if propagated else Watcher()
    MAKERS[name]().set_callbacks(watcher).fit(X, y)
    open_tasks = []
    for event, *task in watcher.tasks:
        if event == "begin":
            open_tasks.append(task)
        else:
            assert open_tasks and open_tasks.pop() == task, f"{task} ended out of turn: {watcher.tasks}"
    assert open_tasks == [] and watcher.tasks[0][:2] == ("begin", "fit") and watcher.tasks[-1][:2] == ("end", "fit")
    inner = {task for _, task, _ in watcher.tasks} - {"fit", "epoch"}
    expected = {"M1Classifier": {"fit-encoder", "fit-estimator"}, "M1M2Classifier": {"fit-encoder", "fit-classifier"}}
    assert propagated or inner == expected.get(name, set())


@pytest.mark.parametrize("name", MAKERS)
def test_callbacks_reach_epochs_through_a_pipeline_and_a_search(name, callbacks, data):
    """A callback set on a Pipeline, or on a search around it, sees the epochs at every level and can stop them."""
    X, y, _ = data
    n_layers = 2 if name == "M1M2Classifier" else 1
    watcher = PropagatedWatcher()
    steps = Pipeline([("scale", MinMaxScaler()), ("model", MAKERS[name]())]).set_callbacks(watcher)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The estimator MinMaxScaler|.*does not support callbacks")
        steps.fit(X, y)
    assert watcher.begun == watcher.ended == list(range(4)) * n_layers


@pytest.mark.parametrize("name", MAKERS)
def test_a_failing_callback_leaves_the_estimator_as_it_was(name, callbacks, data):
    """Its error is raised, its teardown is called, and the fitted state stays the old one."""
    X, y, _ = data
    failing = Failing()
    model = fitted(name)
    if name == "M1Classifier":
        model.encoder.set_callbacks(failing)
    else:
        model.set_callbacks(failing)
    before = outputs(model, X)
    with pytest.raises(RuntimeError, match="the callback failed"):
        model.fit(X[:50], y[:50])
    assert failing.events == ["setup", "teardown"]
    assert_same(outputs(model, X), before)
    assert not [attribute for attribute in vars(model) if "ctx" in attribute or "teardown" in attribute]


class Scoring(Watcher):
    """A callback that scores the current model after each epoch."""

    def __init__(self):
        super().__init__()
        self.scores = []

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        if context.task_name == "epoch":
            self.scores.append(fitted_estimator.transform(X).mean())


@pytest.mark.parametrize("name", MODELS)
def test_a_callback_gets_a_working_model_each_epoch(name, callbacks, data):
    """fitted_estimator predicts as if the fit had ended; the last one is the final model; bits do not change."""
    X, y, _ = data
    scoring, steady = Scoring(), {"learning_rate": "constant", "kl_warmup": 0}
    model = MAKERS[name](**steady).set_callbacks(scoring).fit(X, y)
    assert len(scoring.scores) == 4 and scoring.scores[-1] == model.transform(X).mean()
    shorter = MAKERS[name](**steady, max_iter=2).fit(X, y)
    assert scoring.scores[1] == shorter.transform(X).mean()


@pytest.mark.parametrize("name", M2_FAMILY)
def test_scikit_learns_scoring_monitor_logs_every_epoch(name, callbacks, data):
    """ScoringMonitor with a scorer that skips unlabeled rows: the last score is the fitted model's."""
    X, y, _ = data
    monitor = callbacks.ScoringMonitor(scoring={"labeled": make_labeled_scorer("accuracy")})
    model = MAKERS[name]().set_callbacks(monitor).fit(X, y)
    scores = [row["labeled"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 4 and scores[-1] == pytest.approx(model.score(X, y))


@pytest.mark.parametrize("name", MAKERS)
def test_progress_bars_show_epochs(name, callbacks, data, capsys):
    """ProgressBar draws a complete bar for the model by itself, in a Pipeline and in a search."""
    pytest.importorskip("rich", reason="rich is not installed: no progress bars")
    X, y, _ = data
    bar = functools.partial(callbacks.ProgressBar, max_propagation_depth=None)
    MAKERS[name]().set_callbacks(bar()).fit(X, y)
    assert name in (alone := capsys.readouterr().out) and "100%" in alone
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not support callbacks")
        steps = Pipeline([("scale", MinMaxScaler()), ("model", MAKERS[name]())])
        steps.set_callbacks(bar()).fit(X, y)
        assert name in capsys.readouterr().out
        grid = GridSearchCV(MAKERS[name](), {"random_state": [0, 1]}, cv=LabeledStratifiedKFold(2), n_jobs=1)
        grid.set_callbacks(bar()).fit(X, y)
        assert name in capsys.readouterr().out


# --- warm start -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("random_state", [0, None])
def test_a_warm_start_continues_from_the_last_weights(name, random_state, data):
    """A second fit with a negligible learning rate leaves the model unchanged; a cold start begins again."""
    X, y, _ = data
    still = {"learning_rate_init": 1e-12, "max_iter": 1, "random_state": random_state}
    model, cold = fitted(name), fitted(name)
    before = model.transform(X)
    model.set_params(warm_start=True, **still).fit(X, y)
    np.testing.assert_allclose(model.transform(X), before, atol=1e-5)
    assert np.abs(cold.set_params(**still).fit(X, y).transform(X) - before).max() > 0.01
    if name not in DENSITIES:
        np.testing.assert_allclose(model.predict_proba(X), _fitted(name).predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_warm_start_needs_the_same_architecture(name, data):
    """Changed layers, components, likelihood or columns raise an error that says so, and leave the model unchanged."""
    X, y, _ = data
    model = fitted(name).set_params(warm_start=True)
    before = outputs(model, X)
    changes = [{"n_components": 2}, {"hidden_layer_sizes": (7,)}, {"likelihood": "gaussian"}]
    for change, rows in [*((change, X) for change in changes), ({}, X[:, :30])]:
        changed = copy.deepcopy(model).set_params(**change)
        if name == "M1M2Classifier" and not change:
            continue  # its own columns are codes
        with pytest.raises(ValueError, match="warm_start=True continues from the last fit"):
            changed.fit(rows, y)
        assert_same(outputs(changed, X), before)


@pytest.mark.parametrize("name", MODELS)
def test_a_warm_start_needs_the_same_columns_in_the_same_order(name, data):
    """Weights and scales are those of their columns, so other names, or another order, are an error."""
    X, y, _ = data
    names = [f"pixel {j}" for j in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names)
    model = clone(fitted(name)).set_params(max_iter=1, warm_start=True).fit(frame, y)
    before = outputs(model, frame)
    for other in (frame[names[::-1]], frame.rename(columns={names[0]: "other"})):
        with pytest.raises(ValueError, match="feature names should match"):
            model.fit(other, y)
        assert_same(outputs(model, frame), before)


@pytest.mark.parametrize("name", M2_FAMILY)
def test_a_warm_start_needs_the_same_classes(name, data):
    """The same number of classes with other names is an error: their weights must not be reused silently."""
    X, y, _ = data
    model = fitted(name).set_params(warm_start=True)
    with pytest.raises(ValueError, match="classes"):
        model.fit(X, np.where(y < 0, -1, y + 1))
    assert model.classes_.tolist() == [0, 1, 2, 3]


# --- bad input --------------------------------------------------------------------------------------------------------


def with_cell(value):
    def change(X, y):
        X = X.copy()
        X[3, 5] = value
        return X, y

    return change


WRONG_X = {
    "infinite": (with_cell(np.inf), "infinity"),
    "NaN": (with_cell(np.nan), "NaN"),
    "complex": (lambda X, y: (X + 1j, y), "Complex data not supported"),
    "no rows": (lambda X, y: (X[:0], y[:0]), r"0 sample"),
    "no columns": (lambda X, y: (X[:, :0], y), r"0 feature"),
    "1-d": (lambda X, y: (X[:, 0], y), "Expected 2D array, got 1D array"),
    "3-d": (lambda X, y: (X[:, :, None], y), "dim 3"),
    "words": (lambda X, y: (np.full((140, 2), "a", dtype=object), y), "could not convert string to float|'a'"),
}
READERS_OF_TABLES = ("VAE", "DLGM", "M1Classifier", "M2Classifier", "ADGMClassifier", "M1M2Classifier")
WRONG_ROWS = [(name, case) for name in MAKERS for case in WRONG_X if not (name in READERS_OF_TABLES and case == "NaN")]
WRONG_Y = {
    "no labeled row": (lambda X, y: (X, np.full_like(y, -1)), "no labeled row"),
    "all missing": (lambda X, y: (X, np.full(140, np.nan)), "no labeled row"),
    "cannot hold the marker": (lambda X, y: (X, y.astype(str)), r"holds the string '-1'.*object array"),
    "unsigned": (lambda X, y: (X, y.astype(np.uint8)), "cannot hold unlabeled_value=-1"),
    "multi-output": (lambda X, y: (X, np.column_stack([y, y])), "1d array"),
    "continuous": (lambda X, y: (X, y + 0.5), "Unknown label type"),
    "infinite label": (lambda X, y: (X, np.where(y == 2, np.inf, y)), "infinity"),
    "too few": (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
    "none": (lambda X, y: (X, None), "requires y to be passed"),
    "mixed": (lambda X, y: (X, np.where(y == 2, "two", y.astype(object))), "mixes labels"),
}


def refuses_fit(model, X, y, match, error=ValueError):
    """Check that fit raises, and leaves both a fitted and a new estimator unchanged."""
    reference = _data()[0][:20]
    before, attributes = outputs(model, reference), {name: id(value) for name, value in vars(model).items()}
    with pytest.raises(error, match=match):
        model.fit(X, y)
    assert {name: id(value) for name, value in vars(model).items()} == attributes
    assert_same(outputs(model, reference), before)
    new = clone(model)
    with pytest.raises(error, match=match):
        new.fit(X, y)
    assert vars(new).keys() == vars(clone(model)).keys()
    with pytest.raises(NotFittedError):
        new.transform(reference)


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, case in WRONG_ROWS if not (name in READERS_OF_TABLES and case == "words")]
)
def test_fit_refuses_wrong_rows(name, case, data):
    """The error is clear, and a fitted estimator stays unchanged."""
    X, y, _ = data
    change, match = WRONG_X[case]
    refuses_fit(fitted(name), *change(X, y), match)


@pytest.mark.parametrize("case", WRONG_Y)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_fit_refuses_wrong_labels(name, case, data):
    """The error is clear, and a fitted estimator stays unchanged."""
    X, y, _ = data
    change, match = WRONG_Y[case]
    refuses_fit(fitted(name), *change(X, y), match)


@pytest.mark.parametrize(("name", "case"), WRONG_ROWS)
def test_every_method_refuses_wrong_rows(name, case, data):
    """The same errors when rows are predicted, encoded or scored."""
    X, y, _ = data
    model = fitted(name)
    before = outputs(model, X)
    wrong, labels = WRONG_X[case][0](X, y)
    match = "features|feature" if case == "words" else WRONG_X[case][1]
    for method in METHODS:
        if hasattr(model, method):
            with pytest.raises(ValueError, match="|".join([match, WRONG_X[case][1]])):
                getattr(model, method)(wrong)
    with pytest.raises(ValueError, match="|".join([match, WRONG_X[case][1], "no labeled row"])):
        model.score(wrong, labels)
    assert_same(outputs(model, X), before)


@pytest.mark.parametrize("name", MAKERS)
def test_every_method_refuses_another_number_of_columns(name, data):
    """The error has scikit-learn's words: expecting 64 features."""
    X, y, _ = data
    model = fitted(name)
    for method in METHODS:
        if hasattr(model, method):
            with pytest.raises(ValueError, match="is expecting 64 features as input"):
                getattr(model, method)(X[:, :-1])
    with pytest.raises(ValueError, match="is expecting 64 features as input"):
        model.score(X[:, :-1], y)
    assert model.n_features_in_ == 64


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("method", [*METHODS, "inverse_transform", "sample", "score"])
def test_an_unfitted_estimator_says_so(name, method, data):
    """Every method raises NotFittedError."""
    X, y, _ = data
    model = MAKERS[name]()
    if hasattr(model, method):
        arguments = {"sample": (), "inverse_transform": (X[:, :4],), "score": (X, y)}.get(method, (X,))
        with pytest.raises(NotFittedError):
            getattr(model, method)(*arguments)


def test_explicit_bernoulli_refuses_rows_outside_the_unit_interval(data):
    """The error gives name, value, expectation and remedy, in fit and for densities, but not when encoding rows."""
    X, y, _ = data
    match = r"likelihood='bernoulli' needs X in \[0, 1\], got values in \[0, 1.5\].*MinMaxScaler.*likelihood='gaussian'"
    for name, parameter in [
        ("VAE", "likelihood"),
        ("M2Classifier", "likelihood"),
        ("M1M2Classifier", "encoder__likelihood"),
    ]:
        refuses_fit(fitted(name).set_params(**{parameter: "bernoulli"}), 1.5 * X, y, match)
        model = MAKERS[name](**{parameter: "bernoulli"}).fit(X, y)
        for method in ("score_samples", "elbo_samples"):
            with pytest.raises(ValueError, match=match):
                getattr(model, method)(1.5 * X)
        assert np.isfinite(model.transform(1.5 * X - 7)).all()
    assert np.isfinite(fitted("M2Classifier").predict_proba(1.5 * X)).all()
    with pytest.raises(ValueError, match=match):
        MAKERS["M2Classifier"](likelihood="bernoulli", proba_method="bayes").fit(X, y).predict(1.5 * X)
    refuses_fit(fitted("M1Classifier").set_params(encoder__likelihood="bernoulli"), 1.5 * X, y, match)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "gpu", "nowhere:0"])
def test_a_device_that_is_not_there_is_an_error(name, device, data):
    """The error names the device and the remedy."""
    if device.startswith("cuda") and not NO_CUDA:
        pytest.skip("this machine has a CUDA device")
    X, y, _ = data
    refuses_fit(fitted(name).set_params(device=device), X, y, f"device='{device}' is not available.*'cpu'")


UNKNOWN = {
    "n_components": [0, -3, 2.5, "many", None],
    "hidden_layer_sizes": [0, -1, (10, 0), (3.5,), ("a",), None],
    "activation": ["sigmoid", None],
    "likelihood": ["normal", None],
    "weight_prior": [0, -1.0],
    "kl_warmup": [-1, 1.5],
    "learning_rate_init": [0, -0.1],
    "learning_rate": ["adaptive"],
    "batch_size": [0, "all"],
    "max_iter": [0, 2.5],
    "n_iter_no_change": [0],
    "tol": [-1e-3],
    "early_stopping": ["yes"],
    "validation_fraction": [0, 1, 1.5],
    "precision": ["float16"],
    "random_state": ["seed", -1],
    "n_importance_samples": [0],
    "device": [0, None],
}
UNKNOWN_OF_CLASSIFIERS = {
    "alpha": [-0.1],
    "alpha_normalization": ["mean"],
    "class_prior": ["flat", 0.5],
    "class_weight": ["even"],
    "labeled_batch_size": [0],
    "n_enumerated": [0],
    "proba_method": ["exact"],
}
UNKNOWN_OF_M1 = {"estimator": [3], "encoder": [SVC()], "n_draws": [0], "fit_on": ["unlabeled"]}


@pytest.mark.parametrize("name", MAKERS)
def test_unknown_parameter_values_are_errors_that_name_the_parameter(name, data):
    """fit raises an error with the name, and the estimator stays unchanged."""
    X, y, _ = data
    table = UNKNOWN_OF_M1 if name == "M1Classifier" else UNKNOWN
    table = {**table, **(UNKNOWN_OF_CLASSIFIERS if name in M2_FAMILY else {})}
    for parameter, values in table.items():
        for value in values:
            model = fitted(name).set_params(**{parameter: value})
            with pytest.raises((ValueError, TypeError), match=parameter):
                model.fit(X, y)
            assert np.array_equal(model.transform(X[:9]), _fitted(name).transform(X[:9]))


@pytest.mark.parametrize("name", M2_FAMILY)
@pytest.mark.parametrize(
    ("prior", "match"),
    [
        ({0: 0.2, 1: 0.2, 2: 0.2, 3: 0.2, "nine": 0.2}, "labels of one type"),
        ([0.2] * 5, "must hold 4 positive probabilities"),
        ([0.5, 0.5], "must hold 4 positive probabilities"),
        ([0.3] * 4, "sum to 1"),
        ([1.0, 0.0, 0.0, 0.0], "positive"),
        ({0: 0.5, 1: 0.5}, "must hold 4 positive probabilities"),
        ([0.25, 0.25, 0.25, np.nan], "positive"),
    ],
)
def test_a_class_prior_must_fit_the_classes(name, prior, match, data):
    """It needs one positive probability for each class that has labels, and they must sum to one."""
    X, y, _ = data
    refuses_fit(fitted(name).set_params(class_prior=prior), X, y, match)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_score_needs_labeled_rows_and_says_how_to_get_them(name, data):
    """Without labeled rows the error names LabeledStratifiedKFold; for wrong lengths it has scikit-learn's words."""
    X, y, _ = data
    model = fitted(name)
    with pytest.raises(ValueError, match="no labeled row.*LabeledStratifiedKFold"):
        model.score(X, np.full_like(y, -1))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(X, y[:-1])
    with pytest.raises(ValueError, match="1d array"):
        model.score(X, np.column_stack([y, y]))


@pytest.mark.parametrize("name", MODELS)
def test_decoding_and_drawing_refuse_invalid_input(name, data):
    """Codes with a wrong number of columns, not finite or empty; invalid numbers of rows; unknown labels."""
    X, _, _ = data
    model = fitted(name)
    Z, before = model.transform(X), outputs(model, X)
    infinite = np.where(np.arange(Z.size).reshape(Z.shape) == 5, np.inf, Z)
    wrong = {r"Z has \d columns": Z[:, :-1], "Z contains infinity": infinite, "0 sample": Z[:0], "2D array": Z[:, 0]}
    for match, codes in wrong.items():
        with pytest.raises(ValueError, match=match):
            model.inverse_transform(codes)
    for n_samples in (0, -2, 2.5, "3", None):
        with pytest.raises(ValueError, match="n_samples must be an int >= 1"):
            model.sample(n_samples)
    if name not in DENSITIES:
        for y, match in [(7, "7, which is not among the classes"), ([0, 1], "2 labels for 140 rows"), (-1, "-1")]:
            with pytest.raises(ValueError, match=match):
                model.inverse_transform(Z, y)
        with pytest.raises(ValueError, match="not among the classes"):
            model.sample(2, y="cat")
        with pytest.raises(ValueError, match="3 labels for 2 rows"):
            model.sample(2, y=[0, 1, 2])
    assert_same(outputs(model, X), before)


@pytest.mark.parametrize("name", MODELS)
def test_a_bound_that_stays_non_finite_is_an_error_that_says_what_to_do(name, data, monkeypatch):
    """The error names the estimator, epoch, rate and likelihood; a fitted estimator stays unchanged."""
    X, y, _ = data
    model = fitted(name)
    if name == "M1M2Classifier":
        model.set_params(encoder=FrozenEstimator(_fitted("VAE")))
    poison = lambda bound: lambda *args, **kwargs: type(b := bound(*args, **kwargs))(*(part * np.nan for part in b))  # noqa: E731
    module = type(model.module_)
    for method in filter(functools.partial(hasattr, module), ("bound", "bound_of")):
        monkeypatch.setattr(module, method, poison(getattr(module, method)))
    before = {key: value for key, value in outputs(model, X).items() if key != "elbo_samples"}
    with pytest.raises(ValueError, match=rf"{name}: .*epoch \d+ at learning rate .*likelihood=.*learning_rate_init"):
        model.fit(X, y)
    assert_same({key: value for key, value in outputs(model, X).items() if key != "elbo_samples"}, before)


# --- what must work ---------------------------------------------------------------------------------------------------


def hard(case):
    """X and y of an unusual but legal fit."""
    X, y, truth = _data()
    return {
        "all labeled": lambda: (X, truth),
        "one row": lambda: (X[:1], truth[:1]),
        "two rows": lambda: (X[:2], truth[:2]),
        "one labeled, one not": lambda: (X[:2], np.array([1, -1])),
        "one column": lambda: (X[:, 20:21], y),
        "one column that varies": lambda: (np.column_stack([np.full((140, 2), 0.3), X[:, 20]]), y),
        "nothing varies": lambda: (np.full((140, 3), 0.1), y),
        "far constant": lambda: (np.full((140, 3), 1e9), y),
        "fewer rows than a batch": lambda: (X[:30], y[:30]),
        "one class": lambda: (X, np.where(y == 1, 1, -1)),
        "one label per class": lambda: (X, np.where(np.isin(np.arange(140), [0, 1, 2, 3]), truth, -1)),
        "tiny": lambda: ((X - 0.5) * 1e-30, y),
        "huge": lambda: ((X - 0.5) * 1e30, y),
        "one huge cell": lambda: (with_cell(1e30)(X, y)[0], y),
        "float32, huge": lambda: (((X - 0.5) * 1e30).astype(np.float32), y),
        "beyond the square": lambda: ((X - 0.5) * 1e200, y),
        "negative": lambda: (X - 5, y),
        "integers": lambda: (np.round(16 * X).astype(int), y),
        "duplicates": lambda: (
            np.repeat(X[:2], 70, axis=0),
            np.where(np.arange(140) % 70 < 3, np.arange(140) // 70, -1),
        ),
    }[case]()


CASES = [
    "all labeled",
    "one row",
    "two rows",
    "one labeled, one not",
    "one column",
    "one column that varies",
    "nothing varies",
    "far constant",
    "fewer rows than a batch",
    "one class",
    "one label per class",
    "tiny",
    "huge",
    "one huge cell",
    "float32, huge",
    "beyond the square",
    "negative",
    "integers",
    "duplicates",
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", MAKERS)
def test_hard_input_works(name, case):
    """The fit ends, and no result is NaN or infinite."""
    X, y = hard(case)
    model = MAKERS[name]()
    if name == "M1Classifier":
        if len(np.setdiff1d(y, -1)) < 2:
            model.set_params(estimator=KNeighborsClassifier(1))  # an SVC needs two classes
        else:
            model.set_params(estimator=SVC())
    else:
        model.set_params(batch_size=50)
    with pytest.warns(UserWarning, match="1e.30 in column 5") if case == "one huge cell" else nullcontext():
        model.fit(X, y)
    for method, value in outputs(model, X).items():
        if value.dtype.kind == "f":
            assert np.isfinite(value).all(), method
    if name not in DENSITIES:
        assert set(model.predict(X)) <= set(y[y != -1])


@pytest.mark.parametrize("constant", [1e30, -1e200, 3e-300, 0.1])
def test_a_constant_column_has_no_effect(constant, data):
    """For any value it is 0 in the module, so the model is the same, bit for bit."""
    X, _, _ = data
    still, zero = (np.column_stack([X, np.full(140, value)]) for value in (constant, 0.0))
    model, reference = (small_vae(likelihood="gaussian").fit(rows) for rows in (still, zero))
    assert np.array_equal(model.transform(still), reference.transform(zero))
    assert np.array_equal(model.score_samples(still), reference.score_samples(zero))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_heteroscedastic"])
def test_rows_far_from_the_data_give_finite_results(name, likelihood, data):
    """A model of ordinary rows gives finite results for rows a million times farther, with low densities."""
    X, y, _ = data
    parameter = "encoder__likelihood" if name == "M1M2Classifier" else "likelihood"
    model = MAKERS[name](**{parameter: likelihood}).fit(X, y)
    far = X[:5] * 1e6 - 3e5
    for value in outputs(model, far).values():
        assert value.dtype.kind != "f" or np.isfinite(value).all()
    assert model.score_samples(far).max() < model.score_samples(X).min()


@pytest.mark.parametrize("name", MODELS)
def test_codes_that_would_overflow_are_refused(name):
    model = fitted(name)
    codes = np.zeros((3, model.transform(_data()[0][:1]).shape[1]))
    codes[1, 0] = -1e30
    assert np.isfinite(model.inverse_transform(codes)).all()
    codes[1, 0] = -1e31
    with pytest.raises(ValueError, match=r"Z has values up to 1e\+31 in size.*beyond 1e\+30"):
        model.inverse_transform(codes)


def test_decoded_rows_stay_in_the_range_of_float32(data):
    X = (data[0][:, :3] * 1e36).astype(np.float32)
    model = small_vae(likelihood="gaussian").fit(X)
    decoded = model.inverse_transform(np.full((1, 4), 1e6, np.float32))
    assert decoded.dtype == np.float32 and np.isfinite(decoded).all() and np.abs(decoded).max() > 3e38


def test_drawn_frames_stay_in_the_range_of_their_types():
    ends = np.where(np.arange(60) % 2, 1, -1)
    X = pd.DataFrame({"half": (6.5e4 * ends).astype(np.float16), "single": (3e38 * ends).astype(np.float32)})
    X.iloc[0] = 0.5  # columns of whole numbers stay in their range anyway
    drawn = small_vae(likelihood="gaussian").fit(X).sample(500, random_state=0)
    assert drawn.dtypes.tolist() == X.dtypes.tolist()
    for name, column in drawn.items():
        values = column.to_numpy()
        assert np.isfinite(values).all() and values.max() == np.finfo(X[name].dtype).max, "some values had to be cut"


def test_densities_that_overflow_are_low_and_not_infinite(data, monkeypatch):
    """As those of a decoder that has diverged in the last step of a fit."""
    X = data[0][:5]
    model = fitted("M2Classifier").set_params(proba_method="bayes")
    shapes = {"log_likelihood": (), "elbo": (), "log_joint": (len(model.classes_),)}
    for name, shape in shapes.items():
        monkeypatch.setattr(model.module_, name, lambda x, *args, s=shape: torch.full((len(x), *s), -torch.inf))
    for method in ("score_samples", "elbo_samples"):
        found = getattr(model, method)(X)
        assert np.isfinite(found).all() and found.max() < -1e30
    np.testing.assert_allclose(model.predict_proba(X), 1 / len(model.classes_))


@pytest.mark.parametrize("name", MODELS)
def test_true_counts_as_one_importance_sample(name, data):
    """scikit-learn takes it for an integer, PyTorch does not."""
    X = data[0][:5]
    model = fitted(name)
    of_true, of_one = (model.set_params(n_importance_samples=n).score_samples(X) for n in (True, 1))
    assert np.array_equal(of_true, of_one)


@pytest.mark.parametrize("name", MODELS)
def test_a_parameter_of_prediction_that_was_set_after_fit_is_checked(name, data):
    """A number of draws is neither truncated nor divided by, and the estimator works again with a valid one."""
    X = data[0][:5]
    model = fitted(name)
    before = model.score_samples(X)
    for value in (0, 2.5, "5"):
        with pytest.raises(ValueError, match=f"n_importance_samples.*Got {value!r}"):
            model.set_params(n_importance_samples=value).score_samples(X)
    assert np.array_equal(model.set_params(n_importance_samples=5).score_samples(X), before)


def test_probabilities_come_through_calibration(data):
    """This is the documented way to get probabilities from M1 with an SVC."""
    X, y, _ = data
    labeled = y >= 0
    model = MAKERS["M1Classifier"](estimator=CalibratedClassifierCV(SVC(), cv=2))
    assert not hasattr(MAKERS["M1Classifier"](), "predict_proba")
    P = model.fit(X, y).predict_proba(X)
    np.testing.assert_allclose(P.sum(1), 1)
    assert np.mean(model.classes_[P.argmax(1)][labeled] == y[labeled]) > 0.4


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_on_cuda_predicts_like_one_on_the_cpu(name, data):
    """Weights are drawn on the CPU, so both start the same; a pickle from the GPU opens anywhere."""
    if NO_CUDA:
        pytest.skip("no CUDA device on this machine")
    X, y, _ = data
    model = MAKERS[name](device="cuda").fit(X, y)
    assert model.device_.startswith("cuda") and next(model.module_.parameters()).is_cuda
    assert_same(outputs(pickle.loads(pickle.dumps(model)), X), outputs(model, X))
    moved = pickle.loads(pickle.dumps(model.set_params(device="cpu")))
    np.testing.assert_allclose(moved.transform(X), model.transform(X), atol=1e-3)
    assert model.transform(torch.tensor(X, device="cuda")).is_cuda
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    assert b"torch" not in buffer.getvalue()


@pytest.mark.parametrize(
    ("native", "params", "chosen"),
    [
        (True, {"hidden_layer_sizes": (200, 300), "batch_size": 200}, "bfloat16"),
        (True, {"hidden_layer_sizes": (199, 300), "batch_size": 200}, "float32"),
        (True, {"hidden_layer_sizes": (200,), "batch_size": 199}, "float32"),
        (True, {"hidden_layer_sizes": (), "batch_size": 500}, "float32"),
        (True, {"hidden_layer_sizes": (10,), "batch_size": 16, "precision": "bfloat16"}, "bfloat16"),
        (False, {"hidden_layer_sizes": (256, 300), "batch_size": 256}, "float32"),
        (False, {"hidden_layer_sizes": (256,), "batch_size": 256, "precision": "bfloat16"}, "bfloat16"),
    ],
)
def test_automatic_precision_is_bfloat16_where_it_pays(native, params, chosen, monkeypatch):
    """It needs a device with bfloat16 units and large enough products; an explicit precision is obeyed."""
    used = []
    train = training.train
    monkeypatch.setattr(_options, "multiplies_bfloat16", lambda device: native)
    monkeypatch.setattr(training, "train", lambda *a, **k: used.append(a[2].precision) or train(*a, **k))
    model = VAE(2, max_iter=1, device="cpu", random_state=0, **params).fit(np.random.default_rng(0).random((600, 4)))
    assert used == [chosen] and model.precision_ == chosen


@pytest.mark.parametrize(("batch_size", "chosen"), [(200, "bfloat16"), (199, "float32")])
def test_automatic_precision_of_an_rbm_is_bfloat16_from_half_the_size(batch_size, chosen, monkeypatch):
    monkeypatch.setattr(_options, "multiplies_bfloat16", lambda device: True)
    X = np.random.default_rng(0).integers(0, 2, (200, 110))
    rbm = StackedAutoencoder(100, likelihood="bernoulli", batch_size=batch_size, rbm_max_iter=1, random_state=0)
    assert rbm.fit(X).precision_ == chosen
