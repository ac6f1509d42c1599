"""skdgm.save and skdgm.load: the same bits after loading, no code from files, clear errors, and whole files only."""

import functools
import io
import json
import os
import pickle
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

import skdgm
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
)
from skdgm.files import checksum
from skdgm.io import TRUSTED_TYPES, _file
from skdgm.io._classes import CLASSES
from skdgm.io._plain import Reader, Writer

safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
skops = pytest.importorskip("skops.io", reason="skops is not installed")

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 2, "n_importance_samples": 3, "random_state": 0}
MAKERS = {
    "VAE": lambda: VAE(3, **SMALL),
    "DLGM": lambda: DLGM((3, 2), posterior="low_rank", **SMALL),
    "DLGM, top-down": lambda: DLGM((3, 2), inference="top_down", **SMALL),
    "M1Classifier": lambda: M1Classifier(encoder=VAE(3, **SMALL), random_state=0),
    "M2Classifier": lambda: M2Classifier(3, calibration_cv=2, class_prior={"a": 0.5, "b": 0.5}, **SMALL),
    "ADGMClassifier": lambda: ADGMClassifier(3, n_auxiliary=2, **SMALL),
    "M1M2Classifier": lambda: M1M2Classifier(3, encoder=VAE(3, **SMALL), **SMALL),
    "DeepImputer": lambda: DeepImputer(DLGM(3, **SMALL), add_indicator=True),
}
ARRAYS_ONLY = {
    "StackedAutoencoder": lambda: StackedAutoencoder((3, 2), max_iter=2, rbm_max_iter=2, random_state=0),
    "TransductiveSVC": TransductiveSVC,
    "TransductiveSVC of features": lambda: TransductiveSVC(n_components=8, random_state=0),
    "SemiSupervisedMetaClassifier": lambda: SemiSupervisedMetaClassifier(
        VotingClassifier([("m2", M2Classifier(3, **SMALL)), ("linear", LogisticRegression())])
    ),
    "SemiSupervisedMetaClassifier of M2Classifier": lambda: SemiSupervisedMetaClassifier(M2Classifier(3, **SMALL)),
}
EVERY = {**MAKERS, **ARRAYS_ONLY}
METHODS = ["transform", "impute", "predict", "predict_proba", "decision_function", "score_samples", "elbo_samples"]
CONTAINERS = {
    "pandas": lambda X: X,
    "polars": pl.from_pandas,
    "pyarrow": lambda X: pa.Table.from_pandas(X, preserve_index=False),
    "objects": lambda X: X.astype(object).to_numpy(),
}


@functools.cache
def table():
    """Rows of every kind of column, with missing cells, and labels of two classes, most of them missing."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "size": rng.normal(size=80),
            "count": pd.array(rng.poisson(3, 80), dtype="Int64"),
            "color": pd.Categorical(rng.choice(["red", "green", "blue"], 80), ["blue", "green", "red"], ordered=True),
            "name": rng.choice(["x", "y"], 80),
            "flag": rng.random(80) < 0.5,
        }
    )
    X.loc[2:9, "size"], X.loc[5:8, "color"] = np.nan, None
    y = np.where(np.arange(80) < 30, np.array(["a", "b"] * 40, dtype=object), -1)
    return X, y


@functools.cache
def binary():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    return (rng.random((60, 4)) + 0.5 * y[:, None] > 0.7).astype(float), np.where(np.arange(60) < 30, y, -1)


@functools.cache
def fitted(name, container=None):
    if container is None:
        return (
            EVERY[name]().set_params(**({"class_prior": "estimated"} if name == "M2Classifier" else {})).fit(*binary())
        )
    X, y = table()
    return EVERY[name]().fit(CONTAINERS[container](X), y)


def outputs(model, X):
    return {name: getattr(model, name)(X) for name in METHODS if hasattr(model, name)}


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys() and found
    for name, value in expected.items():
        assert type(found[name]) is type(value), name
        if hasattr(value, "equals"):
            assert found[name].equals(value), name
        elif value.dtype == object:
            assert found[name].tolist() == value.tolist(), name
        else:
            assert found[name].dtype == value.dtype and found[name].tobytes() == value.tobytes(), name


def reloaded(estimator, folder, **options):
    skdgm.save(estimator, folder / "model.safetensors")
    return skdgm.load(folder / "model.safetensors", **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


# --- the same estimator -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_fitted_estimator_answers_with_the_same_bits(name, tmp_path):
    model, X = fitted(name), binary()[0]
    copy = reloaded(model, tmp_path)
    assert type(copy) is type(model) and vars(copy).keys() == vars(model).keys()
    assert repr(copy) == repr(model)
    assert_same_bits(outputs(copy, X), outputs(model, X))
    assert_same_bits(outputs(clone(copy).fit(*binary()), X), outputs(model, X))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", MAKERS)
def test_so_it_does_for_frames_with_labels_and_missing_cells(name, container, tmp_path):
    model, X = fitted(name, container), CONTAINERS[container](table()[0])
    copy = reloaded(model, tmp_path)
    assert_same_bits(outputs(copy, X), outputs(model, X))
    if hasattr(model, "sample"):
        drawn, expected = copy.sample(9, random_state=0), model.sample(9, random_state=0)
        pairs = zip(drawn, expected, strict=True) if isinstance(expected, tuple) else [(drawn, expected)]
        for one, other in pairs:
            assert_same_bits({"sample": one}, {"sample": other})
    if hasattr(model, "feature_names_in_"):
        assert copy.feature_names_in_.tolist() == model.feature_names_in_.tolist()
    assert getattr(copy, "classes_", np.zeros(0)).tolist() == getattr(model, "classes_", np.zeros(0)).tolist()


def test_every_public_estimator_can_be_saved():
    """Fails if a new estimator is not added to the list of classes and to this file."""
    public = set(skdgm.__all__) - {"Checkpoint", "load", "save"}
    assert public <= set(CLASSES) and public <= set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_an_unfitted_estimator_keeps_its_parameters(name, tmp_path):
    model = EVERY[name]()
    copy = reloaded(model, tmp_path)
    assert repr(copy) == repr(model) and vars(copy).keys() == vars(model).keys()


def test_parameters_of_all_plain_kinds_are_kept(tmp_path):
    groups = [("gaussian", ["size"]), ("auto", slice(1, None)), ("poisson", np.array([1, 2]))]
    random = np.random.RandomState(3)
    random.rand(5)
    copy = reloaded(VAE(likelihood=groups, random_state=random, hidden_layer_sizes=[4, 5], max_iter=None), tmp_path)
    assert copy.likelihood[:2] == groups[:2] and copy.likelihood[2][1].tolist() == [1, 2]
    assert copy.hidden_layer_sizes == [4, 5] and copy.max_iter is None
    assert copy.random_state.rand() == random.rand()
    for missing in (np.nan, pd.NA, None, "?", -1):
        found = reloaded(DeepImputer(missing_values=missing), tmp_path).missing_values
        assert found is missing or found == missing or (found != found and missing != missing)


def test_an_estimator_goes_on_learning_after_it_was_loaded(tmp_path):
    X, y = binary()
    model = VAE(3, **SMALL).partial_fit(X[:30]).partial_fit(X[30:])
    copy = reloaded(model, tmp_path)
    assert_same_bits(outputs(copy.partial_fit(X), X), outputs(model.partial_fit(X), X))


def test_an_object_that_is_used_twice_is_saved_once(tmp_path):
    vae = VAE(3, **SMALL).fit(binary()[0])
    model = M1M2Classifier(3, encoder=FrozenEstimator(vae), **SMALL).fit(*binary())
    copy = reloaded(model, tmp_path)
    assert copy.encoder.estimator is copy.encoder_ and copy._columns is copy.encoder_._columns
    names = safetensors.load_file(tmp_path / "model.safetensors")
    assert sum(name.endswith("encoder.mlp.layers.0.weight") for name in names) == 2  # the VAE's and the M2's


def test_the_output_container_is_kept(tmp_path):
    copy = reloaded(VAE(3, **SMALL).set_output(transform="polars").fit(binary()[0]), tmp_path)
    assert isinstance(copy.transform(binary()[0]), pl.DataFrame)


def test_a_file_of_another_version_of_skdgm_warns(path, monkeypatch):
    monkeypatch.setattr("skdgm.estimators._state.__version__", "0.0.1")
    skdgm.save(VAE(), path)
    monkeypatch.undo()
    with pytest.warns(InconsistentVersionWarning, match="saved by skdgm 0.0.1"):
        skdgm.load(path)


def test_device(path):
    skdgm.save(M1M2Classifier(3, encoder=VAE(3, **SMALL), **SMALL).fit(*binary()), path)
    copy = skdgm.load(path, device="cpu")
    assert copy.device == copy.device_ == copy.encoder_.device == copy.encoder_.device_ == "cpu"
    with pytest.raises(ValueError, match="device='cuda:99' is not available here"):
        skdgm.load(path, device="cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_device_of_a_gpu(path):
    skdgm.save(VAE(3, **SMALL).fit(binary()[0]), path)
    assert skdgm.load(path, device="cuda").device_ == "cuda"


# --- estimators of scikit-learn inside --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inner",
    [
        SVC(),
        LogisticRegression(),
        GaussianNB(),
        MLPClassifier(max_iter=500),
        CalibratedClassifierCV(SVC(), cv=2),
        GridSearchCV(SVC(), {"C": [1, 2]}, cv=2),
        make_pipeline(StandardScaler(), FunctionTransformer(np.tanh), LogisticRegression()),
        BaggingClassifier(LogisticRegression(), n_estimators=2),
        TransductiveSVC(),
    ],
    ids=lambda inner: type(inner).__name__,
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
def test_inner_classifiers(inner, tmp_path):
    model = M1Classifier(inner, encoder=VAE(3, **SMALL), random_state=0).fit(*binary())
    assert_same_bits(outputs(reloaded(model, tmp_path), binary()[0]), outputs(model, binary()[0]))


def test_a_forest_needs_trust(path):
    """Its trees are arrays of indices, which scikit-learn does not check."""
    model = M1Classifier(RandomForestClassifier(3), encoder=VAE(3, **SMALL), random_state=0).fit(*binary())
    skdgm.save(model, path)
    with pytest.raises(TypeError, match=r"crash.*load\(path, trusted=\['sklearn.tree._tree.Tree'\]\)"):
        skdgm.load(path)
    copy = skdgm.load(path, trusted=["sklearn.tree._tree.Tree"])
    assert_same_bits(outputs(copy, binary()[0]), outputs(model, binary()[0]))


def test_a_pipeline_around_estimators_of_skdgm(tmp_path):
    model = make_pipeline(StandardScaler(), M2Classifier(3, **SMALL)).fit(*binary())
    assert_same_bits(outputs(reloaded(model, tmp_path), binary()[0]), outputs(model, binary()[0]))


@pytest.mark.parametrize("container", [None, "pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("name", MAKERS)
def test_skops_needs_to_trust_types_of_skdgm_only(name, container):
    model = fitted(name, container)
    data = skops.dumps(model)
    unknown = skops.get_untrusted_types(data=data)
    assert unknown and all(kind.startswith("skdgm.") for kind in unknown) and set(unknown) <= set(TRUSTED_TYPES)
    X = binary()[0] if container is None else CONTAINERS[container](table()[0])
    assert_same_bits(outputs(skops.loads(data, trusted=unknown), X), outputs(model, X))


@pytest.mark.parametrize("name", ARRAYS_ONLY)
def test_skops_opens_the_others_too(name):
    """scikit-learn's VotingClassifier itself contains a type that skops does not trust."""
    data = skops.dumps(fitted(name))
    unknown = set(skops.get_untrusted_types(data=data)) - {"sklearn.utils._bunch.Bunch"}
    assert unknown and all(kind.startswith("skdgm.") for kind in unknown)
    assert_same_bits(outputs(skops.loads(data, trusted=TRUSTED_TYPES), binary()[0]), outputs(fitted(name), binary()[0]))


def test_mlflow_needs_one_argument(tmp_path, monkeypatch):
    """For models of skdgm, and for pipelines of scikit-learn around them."""
    mlflow_sklearn = pytest.importorskip("mlflow.sklearn", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    model = make_pipeline(StandardScaler(), M1Classifier(encoder=VAE(3, **SMALL), random_state=0)).fit(*binary())
    requirements = {"pip_requirements": ["skdgm"]}
    with warnings.catch_warnings(action="ignore"):  # those of mlflow
        mlflow_sklearn.save_model(model, tmp_path / "model", skops_trusted_types=TRUSTED_TYPES, **requirements)
        copy = mlflow_sklearn.load_model(str(tmp_path / "model"))
    assert_same_bits(outputs(copy, binary()[0]), outputs(model, binary()[0]))


def test_mlflow_logs_a_model_in_a_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    mlflow_sklearn = pytest.importorskip("mlflow.sklearn")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    model = fitted("M2Classifier", "pandas")
    with warnings.catch_warnings(action="ignore"):
        mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
        mlflow.set_experiment("models")  # that of another test may be active, in another folder
        with mlflow.start_run():
            info = mlflow_sklearn.log_model(
                model, name="model", skops_trusted_types=TRUSTED_TYPES, pip_requirements=["skdgm"]
            )
        copy = mlflow_sklearn.load_model(info.model_uri)
    assert_same_bits(outputs(copy, table()[0]), outputs(model, table()[0]))


# --- what cannot be saved ---------------------------------------------------------------------------------------------


class Builder:
    """A callable with arguments, as a user may write one."""

    def __init__(self, columns):
        self.columns = columns

    def __call__(self, X):
        return self.columns

    def __deepcopy__(self, memo):
        return Builder(self.columns)


def test_a_function_among_the_parameters_is_named():
    model = VAE(likelihood=[("gaussian", lambda X: [0, 1, 2, 3])])
    with pytest.raises(TypeError, match=r"VAE .* likelihood.0.1 is <function.*lambda.*without=\['likelihood'\]"):
        skdgm.save(model, "model")


def test_a_parameter_may_be_left_out_and_given_again(path):
    X = binary()[0]
    model = VAE(3, likelihood=[("gaussian", Builder([0, 1, 2, 3]))], **SMALL).fit(X)
    skdgm.save(model, path, without=["likelihood"])
    copy = skdgm.load(path, params={"likelihood": model.likelihood})
    assert copy.likelihood is copy._fitted_likelihood is model.likelihood
    assert_same_bits(outputs(copy, X), outputs(model, X))


def test_a_parameter_of_an_inner_estimator_is_left_out_of_its_fitted_clone_too(path):
    vae = VAE(3, likelihood=[("gaussian", Builder([0, 1, 2, 3]))], **SMALL)
    model = M1Classifier(encoder=vae, random_state=0).fit(*binary())
    skdgm.save(model, path, without="encoder__likelihood")
    copy = skdgm.load(path, params={"encoder__likelihood": vae.likelihood})
    assert copy.encoder.likelihood is copy.encoder_.likelihood is vae.likelihood
    assert_same_bits(outputs(copy, binary()[0]), outputs(model, binary()[0]))


def test_the_message_says_how_to_leave_a_parameter_out(path):
    model = M2Classifier(random_state=0)
    model.activation = Builder([])
    with pytest.raises(
        TypeError, match=r"activation is .*without=\['activation'\].*load\(path, params=\{'activation': ...\}\)"
    ):
        skdgm.save(model, path)
    assert not path.exists()


def test_callbacks_are_named(path):
    class Printer:
        def setup(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context): ...

        def on_fit_task_end(self, estimator, context): ...

        def teardown(self, estimator, context): ...

    model = VAE()
    if not hasattr(model, "set_callbacks"):
        pytest.skip("scikit-learn < 1.9 has no callbacks")
    model.set_callbacks(Printer())
    with pytest.raises(TypeError, match=r"callbacks.*Remove the callbacks before saving: estimator.set_callbacks\(\)"):
        skdgm.save(model, path)
    skdgm.save(model.set_callbacks(), path)


def test_requests_of_metadata_are_named(path):
    with config_context(enable_metadata_routing=True):
        model = M1Classifier(SVC().set_fit_request(sample_weight=True))
        with pytest.raises(TypeError, match=r"estimator is SVC\(\), and .* requests of metadata \(set_fit_request\)"):
            skdgm.save(model, path)


def test_an_inner_estimator_is_not_left_out_of_a_fitted_one(path):
    """What is fitted would be missing."""
    model = M1Classifier(Unknown(), encoder=VAE(3, **SMALL)).fit(*binary())
    with pytest.raises(TypeError, match="estimator_ is Unknown"):
        skdgm.save(model, path, without=["estimator"])


def test_labels_that_no_file_can_hold_are_named(path):
    X = pd.DataFrame({"age": pd.cut(np.arange(60.0), 3), "x": np.arange(60.0)})
    with pytest.raises(TypeError, match=r"categories.*Interval.*Convert the labels of the column to text"):
        skdgm.save(VAE(2, **SMALL).fit(X), path)


class Unknown(LogisticRegression):
    """An estimator of a user."""


class Mine(VAE):
    """A class of a user."""


@pytest.mark.parametrize("estimator", [Mine(), M1Classifier(Mine()), make_pipeline(StandardScaler(), Mine())])
def test_classes_of_users_cannot_be_saved(estimator, path):
    with pytest.raises(TypeError, match="cannot be saved.*test_io.Mine"):
        skdgm.save(estimator, path)


@pytest.mark.parametrize("thing", [None, [VAE()], {"model": VAE()}, VAE])
def test_only_estimators_are_saved(thing, path):
    with pytest.raises(TypeError, match="save needs an estimator, got"):
        skdgm.save(thing, path)


def test_parameters_left_out_are_checked(path):
    with pytest.raises(ValueError, match="VAE has no parameter 'layers'"):
        skdgm.save(VAE(), path, without=["layers"])
    with pytest.raises(ValueError, match="n_components=2 can be saved"):
        skdgm.save(VAE(2), path, without=["n_components"])
    skdgm.save(VAE(likelihood=[("auto", Builder([]))]), path, without=["likelihood"])
    for params in (None, {"activation": 1}, {"likelihood": [], "activation": 1}):
        with pytest.raises(ValueError, match=r"saved without the parameters \['likelihood'\], got params for"):
            skdgm.load(path, params=params)


@pytest.mark.parametrize(("package", "estimator"), [("safetensors.numpy", VAE()), ("skops.io", M1Classifier(SVC()))])
def test_a_missing_library_is_named(package, estimator, path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package.partition('.')[0]}: pip install 'skdgm\[save\]'"):
        skdgm.save(estimator, path)
    assert not list(path.parent.iterdir())


def test_folders(path):
    with pytest.raises(FileNotFoundError, match="folder .* does not exist"):
        skdgm.save(VAE(), path / "nowhere" / "model")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        skdgm.save(VAE(), path.parent)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        skdgm.load(path.parent)
    with pytest.raises(FileNotFoundError):
        skdgm.load(path)


# --- whole files only -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["os.replace", "os.fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_what_stood_there_remains_if_writing_fails(function, error, path, monkeypatch):
    skdgm.save(VAE(7), path)

    def fail(*args):
        raise error

    monkeypatch.setattr(function, fail)
    with pytest.raises(type(error)):
        skdgm.save(VAE(8), path)
    assert os.listdir(path.parent) == [path.name] and skdgm.load(path).n_components == 7


def test_an_older_file_is_replaced_also_behind_a_link(path):
    link = path.with_name("link")
    skdgm.save(VAE(7), path)
    link.symlink_to(path)
    skdgm.save(VAE(8), link)
    assert link.is_symlink() and skdgm.load(path).n_components == 8


def test_the_file_has_the_usual_permissions(path):
    skdgm.save(VAE(), str(path))
    path.with_name("other").touch()
    assert path.stat().st_mode == path.with_name("other").stat().st_mode


def test_every_truncation_is_found(path):
    skdgm.save(VAE(), path)
    data = path.read_bytes()
    for n in range(len(data)):
        path.write_bytes(data[:n])
        with pytest.raises(ValueError, match="not an intact file"):
            skdgm.load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(ValueError, match="not an intact file"):
        skdgm.load(path)


def test_every_altered_byte_is_found(path):
    """Spaces after the header may become other white space, which changes nothing."""
    skdgm.save(fitted("VAE"), path)
    data, expected = path.read_bytes(), outputs(fitted("VAE"), binary()[0])
    for i in [*range(0, 400), *range(400, len(data), 211)]:
        path.write_bytes(data[:i] + bytes([data[i] ^ (1 << i % 8)]) + data[i + 1 :])
        try:
            copy = skdgm.load(path)
        except ValueError as error:
            assert any(words in str(error) for words in ("intact file", "skdgm.save wrote", "format"))
        else:
            assert data[i : i + 1].isspace()
            assert_same_bits(outputs(copy, binary()[0]), expected)


def test_foreign_files(path):
    joblib.dump(VAE(), path)
    with pytest.raises(ValueError, match="not an intact file.*opened by joblib.load"):
        skdgm.load(path)
    for data in (b"", b"text", pickle.dumps(VAE()), skops.dumps(VAE())):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="not an intact file"):
            skdgm.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", "b")
    with pytest.raises(ValueError, match="not an intact file"):
        skdgm.load(path)
    safetensors.save_file({"w": np.zeros(3)}, path, metadata={"format": "np"})
    with pytest.raises(ValueError, match=r"is a safetensors file, but not one that skdgm\.save wrote"):
        skdgm.load(path)
    safetensors.save_file({"w": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not one that"):
        skdgm.load(path)


# --- formats ----------------------------------------------------------------------------------------------------------


def write(path, document, arrays=None, number=_file.FORMAT):
    """Write a document as anybody can, with the checksum that belongs to it."""
    entry = {"format": number, "sha256": checksum(document, arrays or {}), "document": document}
    safetensors.save_file(arrays or {}, path, metadata={"skdgm": json.dumps(entry)})


def document_of(path):
    with safetensors.safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["skdgm"])["document"]


def test_a_newer_format_says_what_to_do(path):
    write(path, {"anything": "else"}, number=_file.FORMAT + 1)
    with pytest.raises(ValueError, match=r"format 2 of a newer version of skdgm.*Update skdgm"):
        skdgm.load(path)


@pytest.mark.parametrize("number", [0, -1, 0.5, None, "1", [1]])
def test_a_format_that_is_not_read_says_so(number, path):
    write(path, {}, number=number)
    with pytest.raises(ValueError, match="has format .*does not read"):
        skdgm.load(path)


def test_the_last_two_formats_are_migrated(path, monkeypatch):
    """Format 1 called a parameter n_latent, format 2 n_codes; both are read by a skdgm that writes format 3."""
    skdgm.save(VAE(7), path)
    document = document_of(path)

    def renamed(old, new):
        def migrate(older):
            state = older["estimator"]["object"]["state"]
            state[new] = state.pop(old)
            return older

        return migrate

    second = renamed("n_components", "n_codes")(json.loads(json.dumps(document)))
    first = renamed("n_codes", "n_latent")(json.loads(json.dumps(second)))
    monkeypatch.setattr(_file, "FORMAT", 3)
    monkeypatch.setattr(_file, "MIGRATIONS", {1: renamed("n_latent", "n_codes"), 2: renamed("n_codes", "n_components")})
    for number, older in enumerate([first, second, document], start=1):
        write(path, older, number=number)
        assert skdgm.load(path).n_components == 7
    write(path, second, number=1)
    with pytest.raises(ValueError, match="not an intact file"):
        skdgm.load(path)


# --- crafted files ----------------------------------------------------------------------------------------------------


def test_loading_neither_unpickles_nor_imports(path, monkeypatch):
    skdgm.save(fitted("M1Classifier", "pandas"), path)
    model = skdgm.load(path)

    def refuse(*args, **kwargs):
        raise AssertionError("a file is unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    before = set(sys.modules)
    assert_same_bits(outputs(skdgm.load(path), table()[0]), outputs(model, table()[0]))
    assert set(sys.modules) == before


BOMB = {"class": "os.system", "number": 0, "state": {}}


@pytest.mark.parametrize(
    "node",
    [
        {"object": BOMB},
        {"object": {**BOMB, "class": "Popen"}},
        {"object": {"class": "VAE", "number": 0, "state": {"n_components": 3}}},
        {"object": {"class": "VAE"}},
        {"object": {"class": "TableFormat", "number": 0, "state": {"container": "array"}}},
        {"call": ["os.system", "true"]},
        {"__class__": "x", "more": 1},
        {"same": 3},
        {"parameter": "network"},
        {"array": {"name": "nothing", "dtype": "<f4", "shape": [1], "order": "C"}},
        {"array": {"name": "a", "dtype": "|O", "shape": [1], "order": "C"}},
        {"array": {"name": "a", "dtype": "<f4", "shape": [10**15], "order": "C"}},
        {"array": {"name": "a", "dtype": "<f4", "shape": [-5], "order": "C"}},
        {"array": {"name": "a", "dtype": ["<f4"], "shape": [2], "order": "C"}},
        {"foreign": {"name": "a", "number": 1}},
        {"range": [0, 10**18, None]},
        {"float": "1e400"},
    ],
    ids=lambda node: str(node)[:50],
)
def test_crafted_documents_are_refused(node, path):
    write(path, {"estimator": node}, {"a": np.zeros(8, np.uint8)})
    with pytest.raises((ValueError, TypeError)):
        skdgm.load(path)


def test_what_is_no_document_is_refused(path):
    """Not JSON, too deep, too large a number, or of another form."""
    for text in ("[" * 100_000, '{"document": ', "[]", "null", '{"document": ' + "1" * 5000 + "}"):
        safetensors.save_file({}, path, metadata={"skdgm": text})
        with pytest.raises(ValueError, match="not an intact file|does not read"):
            skdgm.load(path)
    for document in (
        {},
        [],
        {"estimator": {"tuple": 1}, "without": []},
        {"estimator": None, "without": 3},
        {"estimator": 5, "without": []},
    ):
        write(path, document)
        with pytest.raises(ValueError, match="not an intact file|without the parameters"):
            skdgm.load(path)


def test_skops_inside_a_file_cannot_name_other_types(path):
    """A crafted archive that calls os.system is refused before anything is made."""

    class Evil(BaseEstimator):
        pass

    skdgm.save(make_pipeline(StandardScaler()), path)
    document, arrays = document_of(path), safetensors.load_file(path)
    ((name, data),) = arrays.items()
    inner = path.with_name("inner")
    inner.write_bytes(data.tobytes())
    with zipfile.ZipFile(inner) as file:
        schema = file.read("schema.json").decode()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr(
            "schema.json", schema.replace("sklearn.preprocessing._data", "os").replace("StandardScaler", "system")
        )
    write(path, document, {name: np.frombuffer(inner.read_bytes(), np.uint8)})
    with pytest.raises(TypeError, match=r"contains os\.system"):
        skdgm.load(path)


class Bomb:
    """Leaves a file behind if it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def archive_with(path, replacements, compression=zipfile.ZIP_STORED):
    """Save a scaler with some files of its skops archive replaced: by name, or by "npy" for every array."""
    skdgm.save(make_pipeline(StandardScaler().fit(np.ones((3, 2)))), path)
    document, arrays = document_of(path), safetensors.load_file(path)
    ((name, data),) = arrays.items()
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data.tobytes())) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for part in old.namelist():
            new.writestr(part, replacements.get(part, replacements.get(part.rpartition(".")[2], old.read(part))))
    write(path, document, {name: np.frombuffer(buffer.getvalue(), np.uint8)})


def test_an_archive_that_only_was_written_again_is_loaded(path):
    archive_with(path, {})
    assert isinstance(skdgm.load(path)[0], StandardScaler)


def test_a_pickle_in_the_place_of_an_array_is_not_opened(path):
    trace, pickled = path.with_name("trace"), io.BytesIO()
    np.save(pickled, np.array([Bomb(trace)], dtype=object), allow_pickle=True)
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists(), "the bomb works"
    trace.unlink()
    for data in (pickled.getvalue(), pickle.dumps(Bomb(trace))):
        archive_with(path, {"npy": data})
        with pytest.raises(ValueError, match="not an intact file"):
            skdgm.load(path)
        path.write_bytes(pickle.dumps(Bomb(trace)))
        with pytest.raises(ValueError, match="not an intact file"):
            skdgm.load(path)
        assert not trace.exists()


@pytest.mark.parametrize(
    "name", ["../outside", "/tmp/../outside", "..\\outside", "C:\\outside", "a/../../outside", "\0"]
)
def test_names_in_a_file_are_not_paths(name, tmp_path):
    """Arrays and parts of archives may have any name: nothing is written, and nothing outside is read."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "outside").write_text("secret")
    path = folder / "model.safetensors"
    skdgm.save(fitted("VAE"), path)
    document, arrays = json.dumps(document_of(path)), safetensors.load_file(path)
    old = next(iter(arrays))
    renamed = {name if key == old else key: value for key, value in arrays.items()}
    write(path, json.loads(document.replace(json.dumps(old), json.dumps(name))), renamed)
    assert_same_bits(outputs(skdgm.load(path), binary()[0]), outputs(fitted("VAE"), binary()[0]))
    write(path, {"estimator": {"foreign": {"name": name, "number": 0}}, "without": []}, {"a": np.zeros(8, np.uint8)})
    with pytest.raises(ValueError, match="not an intact file"):
        skdgm.load(path)
    assert sorted(tmp_path.rglob("*")) == [folder, path, tmp_path / "outside"]


def array_header(shape):
    """The start of an .npy file of this shape, with a few of its bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(64)


def safetensors_header(n_bytes=None, **tensor):
    text = json.dumps({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8], **tensor}}).encode()
    return (n_bytes or len(text)).to_bytes(8, "little") + text + bytes(8)


@pytest.mark.parametrize(
    "data",
    [
        safetensors_header(n_bytes=2**62),
        safetensors_header(shape=[2**40], data_offsets=[0, 2**43]),
        safetensors_header(shape=[2**40]),
        safetensors_header(shape=[2**33, 2**33]),
        safetensors_header(data_offsets=[8, 0]),
        safetensors_header(data_offsets=[-8, 0]),
    ],
)
def test_sizes_that_a_header_claims_are_compared_with_the_file(data, path):
    path.write_bytes(data)
    assert_refused_without_memory(path)


@pytest.mark.parametrize("shape", [(10**15,), (10**11,), (2**62, 2)])
def test_sizes_in_an_archive_are_compared_with_it(shape, path):
    """NumPy asks for as much memory as the header says, and the system refuses, or waits until it is written to."""
    archive_with(path, {"npy": array_header(shape)})
    with pytest.raises(ValueError, match="not an intact file"):
        skdgm.load(path)


@pytest.mark.parametrize("replaced", [{"schema.json": b" " * 10**8}, {"npy": array_header((10**8,)) + bytes(10**8)}])
def test_an_archive_that_would_grow_is_refused(replaced, path):
    """A hundred kilobytes that become a hundred megabytes."""
    archive_with(path, replaced, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**6
    assert_refused_without_memory(path, "compressed")


def assert_refused_without_memory(path, reason=""):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"not an intact file.*{reason}"):
            skdgm.load(path)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["VAE", "M2Classifier"])
def test_altered_weights_with_the_right_checksum_are_refused(name, path):
    skdgm.save(fitted(name), path)
    document, arrays = document_of(path), safetensors.load_file(path)
    weight = next(key for key in arrays if key.endswith("decoder.mlp.layers.0.weight"))
    for change in (lambda w: w * np.nan, lambda w: w[:-1]):
        altered = {**arrays, weight: np.ascontiguousarray(change(arrays[weight]))}
        write(path, document, altered)
        with pytest.raises(ValueError, match="damaged or was altered|intact file"):
            skdgm.load(path)


# --- plain values -----------------------------------------------------------------------------------------------------


def returned(value):
    writer = Writer({})
    plain = json.loads(json.dumps(writer.write(value, "value"), allow_nan=False))
    arrays = safetensors.load(safetensors.save(writer.arrays))
    return Reader(arrays, {}, None, ()).read(plain)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(10**30),
        0.1,
        -0.0,
        "é\ud800\0",
        b"\0\xff",
        [1, [2.5, "x"], ()],
        (1, (None,), [True]),
        {"a": 1, 2: "b", None: [3], (1, "x"): {}, True: False, 1.5: 0},
        {1, 2},
        frozenset({"a"}),
        slice(1, None, 2),
        range(3, 9, 2),
        {"object": {"class": "VAE"}},
        {"array": 1},
        np.dtype("<f4"),
        np.dtype("O"),
        np.float32(0.1),
        np.float64(np.pi),
        np.int8(-3),
        np.bool_(True),
        np.str_("x"),
        np.datetime64("2020-01-01"),
    ],
    ids=repr,
)
def test_plain_values_return_with_their_types(value):
    found = returned(value)
    assert found == value and type(found) is type(value) and repr(found) == repr(value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_return(value):
    assert np.array_equal(returned([value]), [value], equal_nan=True)


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", ">f8", "longdouble", "U3", "S2", "M8[D]"]
)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (4,), (2, 3)])
def test_arrays_return_with_their_bits_and_order(dtype, order, shape):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype), order=order)
    found = returned(array)
    assert found.shape == array.shape and found.dtype == array.dtype.newbyteorder("<")
    assert found.tobytes() == array.astype(found.dtype).tobytes() and found.flags.writeable
    assert found.flags.f_contiguous == array.flags.f_contiguous


def test_arrays_of_objects_and_views_return():
    array = np.array([["a", None], [1.5, (2, 3)]], dtype=object)
    assert returned(array).tolist() == array.tolist()
    assert returned(np.arange(10)[::-2]).tolist() == [9, 7, 5, 3, 1]
    assert returned([np.arange(3), np.arange(3)])[1].tolist() == [0, 1, 2]


def test_an_array_mapped_into_memory_is_saved(path, tmp_path):
    joblib.dump(fitted("VAE"), tmp_path / "mapped")
    copy = reloaded(joblib.load(tmp_path / "mapped", mmap_mode="r"), tmp_path)
    assert_same_bits(outputs(copy, binary()[0]), outputs(fitted("VAE"), binary()[0]))


def test_the_same_estimator_gives_the_same_file(tmp_path):
    """Unless skops writes a part of it: it numbers objects by their addresses."""
    for name in ("a", "b"):
        skdgm.save(fitted("M2Classifier"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
