"""Trackers hold the bound of every epoch, read back from what their libraries wrote; nothing is sent anywhere."""

import pickle
import sys
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdgm import VAE, M1M2Classifier, StackedAutoencoder
from skdgm.callbacks import MLflowCallback, TensorBoardCallback, WandbCallback
from skdgm.callbacks._base import EpochCallback

pytest.importorskip("sklearn.callback", reason="scikit-learn has no callbacks before 1.9")

FAST = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}
X, y = load_iris(return_X_y=True)


class Recorder(EpochCallback):
    """A tracker in memory."""

    def __init__(self):
        super().__init__()
        self.runs = {}

    def setup(self, estimator, context):
        pass

    def _open(self, place, params):
        assert place.name not in self.runs
        self.runs[place.name] = {"params": params, "group": place.group, "epochs": [], "is_open": True}
        return self.runs[place.name]

    def _log(self, run, values, epoch):
        assert run["is_open"]
        run["epochs"].append((epoch, values))

    def _close(self, run):
        assert run["is_open"]
        run["is_open"] = False


def terms(run, name):
    return [values[name] for _, values in run["epochs"] if name in values]


# --- which epochs are logged, and where -----------------------------------------------------------------------------


def test_every_epoch_is_logged_with_the_values_of_the_history():
    recorder = Recorder()
    model = VAE(**FAST).set_callbacks(recorder).fit(X)
    (run,) = recorder.runs.values()
    assert [epoch for epoch, _ in run["epochs"]] == [0, 1, 2] and not run["is_open"]
    for name, values in model.history_.items():
        assert terms(run, f"VAE/{name}") == values
    assert terms(run, "VAE/validation_bound") == model.validation_scores_
    assert run["params"]["max_iter"] == 3 and run["params"]["hidden_layer_sizes"] == (4,)


def test_callbacks_keep_the_bits():
    model = VAE(**FAST).set_callbacks(Recorder()).fit(X)
    np.testing.assert_array_equal(model.transform(X), VAE(**FAST).fit(X).transform(X))


def test_the_trainings_of_one_fit_are_one_run():
    recorder = Recorder()
    model = make_pipeline(StandardScaler(), M1M2Classifier(encoder=VAE(**FAST), **FAST))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not support callbacks")
        model.set_callbacks(recorder).fit(X, y)
    (run,) = recorder.runs.values()
    classifier = model[-1]
    assert terms(run, "VAE/bound") == classifier.encoder_.history_["bound"]
    assert terms(run, "M1M2Classifier/bound") == classifier.history_["bound"]
    assert run["params"]["m1m2classifier__max_iter"] == 3


def test_layers_are_told_apart():
    recorder = Recorder()
    model = StackedAutoencoder((3, 2), max_iter=2, random_state=0).set_callbacks(recorder).fit((X > 3) * 1.0)
    (run,) = recorder.runs.values()
    for layer, history in enumerate(model.history_):
        assert terms(run, f"StackedAutoencoder/layer {layer + 1}/bound") == history["bound"]


def test_each_fit_of_a_search_is_a_run():
    recorder = Recorder()
    grid = GridSearchCV(VAE(**FAST), {"n_components": [1, 2]}, cv=2).set_callbacks(recorder).fit(X)
    numbered = [f"GridSearchCV/{i}" for i in range(4)]
    assert set(recorder.runs) == {*numbered, "GridSearchCV"} and not any(
        run["is_open"] for run in recorder.runs.values()
    )
    assert [recorder.runs[name]["params"]["n_components"] for name in numbered] == [1, 1, 2, 2]
    assert len({run["group"] for run in recorder.runs.values()}) == 1
    assert terms(recorder.runs["GridSearchCV"], "VAE/bound") == grid.best_estimator_.history_["bound"]


def test_a_failing_fit_closes_its_run_and_a_copy_opens_none():
    class Failing(Recorder):
        def _log(self, run, values, epoch):
            copies.append(pickle.loads(pickle.dumps(TensorBoardCallback())))
            raise RuntimeError("the disk is full")

    recorder, copies = Failing(), []
    with pytest.raises(RuntimeError, match="the disk is full"):
        VAE(**FAST).set_callbacks(recorder).fit(X)
    (run,) = recorder.runs.values()
    assert not run["is_open"] and recorder._runs == {} == copies[0]._runs


@pytest.mark.parametrize("callback", [MLflowCallback(), TensorBoardCallback(), WandbCallback()])
def test_a_missing_library_is_named(callback, monkeypatch):
    library = type(callback).__name__.removesuffix("Callback").lower()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"{type(callback).__name__} needs {library}.*pip install {library}"):
        VAE(**FAST).set_callbacks(callback).fit(X)


# --- the libraries --------------------------------------------------------------------------------------------------


def test_tensorboard_reads_the_event_files(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = VAE(**FAST).set_callbacks(TensorBoardCallback(tmp_path)).fit(X)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("VAE-")
    events = EventAccumulator(str(folder)).Reload()
    scalars = events.Scalars("VAE/bound")
    assert [scalar.step for scalar in scalars] == [0, 1, 2]
    np.testing.assert_allclose([scalar.value for scalar in scalars], model.history_["bound"], rtol=1e-6)


@pytest.mark.filterwarnings("ignore::Warning:mlflow", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_holds_metrics_parameters_and_runs_of_a_search(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # it takes half a minute to create a database
    uri = tmp_path.as_uri()
    client = mlflow.MlflowClient(uri)
    model = VAE(**FAST).set_callbacks(MLflowCallback("alone", uri)).fit(X)
    (run,) = client.search_runs([client.get_experiment_by_name("alone").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["max_iter"] == "3"
    metrics = client.get_metric_history(run.info.run_id, "VAE/bound")
    assert {metric.step: metric.value for metric in metrics} == dict(enumerate(model.history_["bound"]))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.set_experiment("inside")
        with mlflow.start_run() as active:
            GridSearchCV(VAE(**FAST), {"n_components": [1, 2]}, cv=2).set_callbacks(MLflowCallback()).fit(X)
    finally:
        mlflow.set_tracking_uri(before)
    runs = client.search_runs([client.get_experiment_by_name("inside").experiment_id])
    parents = [run.data.tags.get("mlflow.parentRunId") for run in runs]
    assert len(runs) == 5 and parents.count(active.info.run_id) == 4
    assert "VAE/bound" in client.get_run(active.info.run_id).data.metrics


def test_wandb_writes_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    callback = WandbCallback(project="irises", mode="offline", dir=str(tmp_path))
    logged = []
    log = callback._log
    callback._log = lambda run, values, epoch: (log(run, values, epoch), logged.append(dict(run.summary)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = VAE(**FAST).set_callbacks(callback).fit(X)
    assert [row["VAE/bound"] for row in logged] == model.history_["bound"]
    assert [row["VAE/epoch"] for row in logged] == [0, 1, 2]
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb"))
