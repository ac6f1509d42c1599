"""Checkpoints: a fit that died continues to the same bits; errors name what differs; damage and full disks lose little.

`test_kills.py` kills processes at random moments; here, fits die at chosen ones.
"""

import errno
import json
import os
import pickle
import signal
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold

import skdgm
from skdgm import (
    DLGM,
    VAE,
    ADGMClassifier,
    Checkpoint,
    DeepImputer,
    M1Classifier,
    M1M2Classifier,
    M2Classifier,
    StackedAutoencoder,
    checkpoints,
    files,
    training,
)
from skdgm.checkpoints import CheckpointFolder
from skdgm.estimators import _fingerprint
from skdgm.estimators._callbacks import EpochTasks
from skdgm.estimators._fingerprint import described_table, plain

pytest.importorskip("safetensors", reason="safetensors is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 6, "batch_size": 30, "device": "cpu", "n_importance_samples": 2}
STACK = {"hidden_layer_sizes": (8,), "max_iter": 3, "rbm_max_iter": 4, "batch_size": 30, "device": "cpu"}
STACK |= {"n_annealing_steps": 20, "n_annealing_chains": 5, "n_bound_samples": 50}
X, TRUTH = (array[:120] for array in load_digits(n_class=4, return_X_y=True))
X, Y = X / 16, np.where(np.arange(120) < 24, TRUTH, -1)


def often(folder, **params):
    """A checkpoint after every epoch."""
    return Checkpoint(folder, every_minutes=None, every_epochs=1, **params)


def small_vae(**params):
    return VAE(3, **{**SMALL, "random_state": 0, **params})


def small_m2(**params):
    return M2Classifier(2, **{**SMALL, "random_state": 0, **params})


class Died(BaseException):
    """What stands for the end of a process."""


@pytest.fixture
def die(monkeypatch):
    """Return a function that lets fits die at the begin of their nth epoch, counted over all trainings from 0."""
    begin = EpochTasks.begin

    def plan(number):
        begun = []

        def counting_begin(self, epoch):
            begun.append(epoch)
            if len(begun) == number + 1:
                raise Died
            begin(self, epoch)

        monkeypatch.setattr(EpochTasks, "begin", counting_begin)
        return begun

    return plan


def answers(model, X=X):
    """All that a fitted estimator is and says, as bytes and text."""
    found = {}
    for part in (model, getattr(model, "encoder_", None), getattr(model, "estimator_", None)):
        owner = type(part).__name__
        for name in ("history_", "validation_scores_", "n_iter_", "loss_curve_", "class_prior_", "log_partition_"):
            found[owner, name] = repr(getattr(part, name, None))
        if hasattr(part, "module_"):
            weights = part.module_.state_dict().items()
            found |= {(owner, name): value.numpy().tobytes() for name, value in weights}
    for method in ("transform", "predict_proba", "score_samples"):
        if hasattr(model, method):
            found[method] = np.ascontiguousarray(getattr(model, method)(X)).tobytes()
    return found


def assert_same(model, expected):
    found, expected = answers(model), answers(expected)
    assert [key for key in expected if found.get(key) != expected[key]] == [] and found.keys() == expected.keys()


# --- the same bits ----------------------------------------------------------------------------------------------------

MAKERS = {
    "VAE": small_vae,
    "VAE, plateaus": lambda **params: small_vae(n_iter_no_change=1, tol=100.0, **params),
    "VAE, no rows held out": lambda **params: small_vae(early_stopping=False, kl_warmup=3, **params),
    "VAE, noise": lambda **params: small_vae(input_noise="dropout", dynamic_binarization=True, **params),
    "DLGM": lambda **params: DLGM((3, 2), **SMALL, random_state=0, **params),
    "DLGM, top-down": lambda **params: DLGM((3, 2), inference="top_down", **SMALL, random_state=0, **params),
    "M2Classifier": small_m2,
    "M2Classifier, draws": lambda **params: small_m2(likelihood="bernoulli", dynamic_binarization=True, **params),
    "M2Classifier, folds": lambda **params: small_m2(calibration_cv=2, **{"max_iter": 3, **params}),
    "ADGMClassifier": lambda **params: ADGMClassifier(2, skip=True, **{**SMALL, "random_state": 0, **params}),
    "ADGMClassifier, batch norm": lambda **params: ADGMClassifier(
        2, batch_norm=True, **{**SMALL, "random_state": 0, **params}
    ),
    "M1M2Classifier": lambda **params: M1M2Classifier(
        2, encoder=VAE(3, **{**SMALL, "max_iter": 2}), **{**SMALL, "max_iter": 4}, random_state=0, **params
    ),
    "StackedAutoencoder": lambda **params: StackedAutoencoder((4, 3), **STACK, random_state=0, **params),
    "StackedAutoencoder, chains": lambda **params: StackedAutoencoder(
        4, **STACK, persistent=True, early_stopping=True, random_state=0, **params
    ),
    "StackedAutoencoder, tempered": lambda **params: StackedAutoencoder(
        4, **STACK, persistent=True, n_chains=9, n_temperatures=3, centered=True, random_state=0, **params
    ),
    "StackedAutoencoder, auto": lambda **params: StackedAutoencoder(
        "auto", **{**STACK, "max_iter": 1, "rbm_max_iter": 1}, random_state=0, **params
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_fit_that_died_ends_with_the_same_bits(name, die, tmp_path):
    """It dies in every epoch of every training in turn, with each death farther on."""
    begun = die(-1)
    expected = MAKERS[name]().fit(X, Y)
    n_epochs = len(begun)
    model = MAKERS[name](checkpoint=often(tmp_path / "fit"))
    for _ in range(n_epochs - 1):
        die(1)
        with pytest.raises(Died):
            model.fit(X, Y)
    begun = die(-1)
    assert_same(model.fit(X, Y), expected)
    assert len(begun) == 1  # every death has lost one epoch only


@pytest.mark.parametrize("name", ["VAE, plateaus", "M2Classifier, draws", "StackedAutoencoder, chains"])
def test_epochs_between_two_states_are_run_again(name, die, tmp_path):
    begun = die(-1)
    expected = MAKERS[name]().fit(X, Y)
    n_epochs = len(begun)
    for number in range(n_epochs):
        model = MAKERS[name](checkpoint=Checkpoint(tmp_path / str(number), every_minutes=None, every_epochs=3))
        die(number)
        with pytest.raises(Died):
            model.fit(X, Y)
        begun = die(-1)
        assert_same(model.fit(X, Y), expected)
        assert len(begun) == n_epochs - number // 3 * 3


def test_parts_of_other_estimators_have_checkpoints_of_their_own(die, tmp_path):
    def maker(at):
        encoder, inner = VAE(3, **{**SMALL, "max_iter": 2}), M2Classifier(2, **{**SMALL, "max_iter": 2})
        if at:
            encoder, inner = (m.set_params(checkpoint=often(at / type(m).__name__)) for m in (encoder, inner))
        return M1Classifier(inner, encoder=encoder, random_state=0)

    expected = maker(None).fit(X, Y)
    for _ in range(3):
        die(1)
        with pytest.raises(Died):
            maker(tmp_path).fit(X, Y)
    begun = die(-1)
    assert_same(maker(tmp_path).fit(X, Y), expected)
    assert len(begun) == 1


def test_an_imputer_continues(die, tmp_path):
    holed = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    expected = DeepImputer(small_vae()).fit(holed).transform(holed)
    imputer = DeepImputer(small_vae(checkpoint=often(tmp_path / "fit")))
    die(4)
    with pytest.raises(Died):
        imputer.fit(holed)
    begun = die(-1)
    np.testing.assert_array_equal(imputer.fit(holed).transform(holed), expected)
    assert begun == [4, 5]


def test_a_rollback_is_part_of_the_state(die, tmp_path, monkeypatch):
    """Epochs 1 and 4 are not finite twice and once. It dies between them: their cuts of the rate, and number, stay."""
    epoch, run, failures = [], training.Trainer.epoch, {1: 2, 4: 1}

    def failing_epoch(self, number):
        epoch.append(number)
        record = run(self, number)
        return record | {"bound": np.nan} if epoch.count(number) <= failures.get(number, 0) else record

    monkeypatch.setattr(training.Trainer, "epoch", failing_epoch)
    expected = small_vae().fit(X)
    epoch.clear()
    die(3)
    model = small_vae(checkpoint=often(tmp_path / "fit"))
    with pytest.raises(Died):
        model.fit(X)
    die(-1)
    failures[4] = 2
    with pytest.raises(ValueError, match="after 3 restarts"):
        clone(model).fit(X)
    failures[4] = 1
    del epoch[5:]  # epoch 3 is in the checkpoint
    assert_same(model.fit(X), expected)
    assert epoch == [0, 1, 1, 1, 2, 4, 4, 5]


def test_a_fit_that_is_complete_is_loaded(die, tmp_path, capsys):
    """It trains for no epoch, and warns as before."""
    model = small_vae(checkpoint=tmp_path / "fit")
    with pytest.warns(ConvergenceWarning, match="while the bound still rose"):
        expected = model.fit(X)
    assert sorted(os.listdir(tmp_path / "fit")) == ["fit.json", "training-01-end.safetensors"]
    begun, copy = die(-1), clone(model).set_params(verbose=True)
    with pytest.warns(ConvergenceWarning, match="while the bound still rose"):
        assert_same(copy.fit(X), expected)
    assert (
        begun == []
        and capsys.readouterr().out == f"VAE: checkpoint {str(tmp_path / 'fit')!r} has all of its 6 epochs\n"
    )


def test_a_verbose_fit_says_where_it_continues(die, tmp_path, capsys):
    die(4)
    model = small_vae(checkpoint=often(tmp_path / "fit"), verbose=True)
    with pytest.raises(Died):
        model.fit(X)
    capsys.readouterr()
    die(-1)
    model.fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"VAE: checkpoint {str(tmp_path / 'fit')!r} has 4 epochs, and continues"
    assert [line[:15] for line in lines[1:]] == ["VAE epoch 5/6: ", "VAE epoch 6/6: "]


def test_without_a_seed_it_continues_with_the_one_it_began_with(die, tmp_path):
    model = small_vae(checkpoint=often(tmp_path / "fit"), random_state=None)
    die(3)
    with pytest.raises(Died):
        model.fit(X)
    die(-1)
    seed = json.loads((tmp_path / "fit" / "fit.json").read_text("utf8"))["seed"]
    assert_same(model.fit(X), small_vae(random_state=seed).fit(X))


def test_a_random_state_of_numpy_must_be_the_same(die, tmp_path):
    model = small_vae(checkpoint=often(tmp_path / "fit"))
    die(3)
    with pytest.raises(Died):
        model.set_params(random_state=np.random.RandomState(3)).fit(X)
    die(-1)
    random, expected = np.random.RandomState(3), np.random.RandomState(3)
    assert_same(model.set_params(random_state=random).fit(X), small_vae(random_state=expected).fit(X))
    assert random.randint(1 << 30) == expected.randint(1 << 30)
    with pytest.raises(ValueError, match=r"another fit: random_state was 'RandomState"):
        model.fit(X)


def test_a_fit_with_a_seed_does_not_touch_the_global_generator(tmp_path):
    before = np.random.get_state()[1].copy()
    small_vae(checkpoint=tmp_path / "fit").fit(X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_an_interrupted_fit_continues(tmp_path, monkeypatch):
    """Ctrl-C ends a fit early; the same call continues to the end that it would have had."""
    expected, end = small_vae().fit(X), EpochTasks.end
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def press(self, epoch, history):
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)
        return end(self, epoch, history)

    monkeypatch.setattr(EpochTasks, "end", press)
    model = small_vae(checkpoint=often(tmp_path / "fit"))
    with pytest.warns(UserWarning, match="after epoch 3"):
        assert model.fit(X).n_iter_ == 3
    monkeypatch.setattr(EpochTasks, "end", end)
    assert_same(model.fit(X), expected)


def test_a_warm_start_continues_from_the_same_fit_only(die, tmp_path):
    def warm(seed):
        return small_vae(warm_start=True, random_state=seed).fit(X)

    expected = warm(0).fit(X)
    model = warm(0).set_params(checkpoint=often(tmp_path / "fit"))
    die(3)
    with pytest.raises(Died):
        model.fit(X)
    die(-1)
    other = warm(1).set_params(checkpoint=tmp_path / "fit", random_state=0)
    with pytest.raises(ValueError, match="the weights of the fit before differ"):
        other.fit(X)
    assert_same(warm(0).set_params(checkpoint=tmp_path / "fit").fit(X), expected)


def test_callbacks_may_fit_other_models(tmp_path, die, monkeypatch):
    """They are no part of the fit, whose trainings are numbered."""
    end = EpochTasks.end

    def fit_another(self, epoch, history):
        if self.estimator.max_iter == 6:
            small_vae(max_iter=1).fit(X)
        return end(self, epoch, history)

    expected = small_vae().fit(X)
    monkeypatch.setattr(EpochTasks, "end", fit_another)
    model = small_vae(checkpoint=often(tmp_path / "fit"))
    assert_same(model.fit(X), expected)
    assert sorted(os.listdir(tmp_path / "fit")) == ["fit.json", "training-01-end.safetensors"]


def test_parts_of_a_table_are_not_saved(tmp_path):
    model = small_vae(checkpoint=tmp_path / "fit").partial_fit(X).partial_fit(X)
    assert_same(model, small_vae().partial_fit(X).partial_fit(X))
    assert not (tmp_path / "fit").exists()


def test_it_saves_by_the_clock(tmp_path, monkeypatch):
    """Epochs of two minutes, states of at most five: after the third and the sixth."""
    now = [0.0]
    monkeypatch.setattr(checkpoints, "monotonic", lambda: now[0])
    begin = EpochTasks.begin

    def slow_begin(self, epoch):
        now[0] += 120
        begin(self, epoch)

    monkeypatch.setattr(EpochTasks, "begin", slow_begin)
    saved, write = [], checkpoints.write_snapshot
    monkeypatch.setattr(
        checkpoints, "write_snapshot", lambda path, *args: saved.append(path.name) or write(path, *args)
    )
    small_vae(max_iter=7, checkpoint=tmp_path / "fit").fit(X)
    assert [name[12:24] for name in saved] == ["epoch-000003", "epoch-000006", "end.safetens"]


# --- another fit ------------------------------------------------------------------------------------------------------


def of_another_fit(folder, message, model, *data):
    before = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    with pytest.raises(ValueError, match=r"is that of another fit") as caught:
        model.fit(*data)
    assert message in str(caught.value) and "delete the folder" in str(caught.value)
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == before
    assert not hasattr(model, "module_")


def test_another_fit_is_an_error_that_names_what_differs(tmp_path):
    folder = tmp_path / "fit"
    small_m2(checkpoint=folder).fit(X, Y)
    changed = X.copy()
    changed[5, 7] += 1e-9
    flipped = np.where(np.arange(120) == 3, (Y + 1) % 4, Y)
    for message, model, *data in [
        ("fit: the cells of X differ. ", small_m2(), changed, Y),
        ("fit: type of X was 'float64' and is 'float32'; the cells of X differ. ", small_m2(), X.astype("f4"), Y),
        ("fit: shape of X was [120, 64] and is [110, 64]; ", small_m2(), X[:110], Y[:110]),
        ("fit: the cells of y differ. ", small_m2(), X, flipped),
        ("fit: shape of sample_weight was not there and is [120]; ", small_m2(), X, Y, np.arange(120)),
        ("fit: max_iter was 6 and is 7. ", small_m2(max_iter=7), X, Y),
        ("fit: class_prior was 'estimated' and is 'uniform'. ", small_m2(class_prior="uniform"), X, Y),
        ("fit: estimator was 'M2Classifier' and is 'VAE'; ", small_vae(), X, Y),
    ]:
        of_another_fit(folder, message, model.set_params(checkpoint=str(folder)), *data)


def test_another_version_is_an_error(tmp_path, monkeypatch):
    folder = tmp_path / "fit"
    small_vae(checkpoint=folder).fit(X)
    monkeypatch.setattr(_fingerprint, "__version__", "99.0")
    of_another_fit(folder, "version of skdgm was ", small_vae(checkpoint=folder), X)
    monkeypatch.undo()
    monkeypatch.setattr(_fingerprint, "FORMAT", 2)
    of_another_fit(folder, "fit: format was 1 and is 2. ", small_vae(checkpoint=folder), X)


@pytest.mark.parametrize(
    "change",
    [
        {"categories": ["high", "mid", "low"]},
        {"categories": ["low", "high", "mid"]},
        {"ordered": False},
        {"categories": ["low", "mid", "high", "top"]},
    ],
    ids=repr,
)
def test_other_declared_categories_are_another_fit(change, tmp_path):
    """Though the cells are the same: their codes are not."""

    def frame(categories=("low", "mid", "high"), ordered=True):
        cells = pd.Categorical(np.array(["low", "mid", "high"])[TRUTH % 3], categories, ordered=ordered)
        return pd.DataFrame({"a": X[:, 20], "b": cells})

    small_vae(checkpoint=tmp_path / "fit").fit(frame())
    with pytest.raises(ValueError, match=r"another fit: the types of X differ\. "):
        small_vae(checkpoint=tmp_path / "fit").fit(frame(**change))
    small_vae(checkpoint=tmp_path / "fit").fit(frame())


def test_other_columns_that_a_function_selects_are_another_fit(tmp_path):
    def vae(n):
        groups = [("gaussian", lambda X: X.columns[:n]), ("student_t", lambda X: X.columns[n:])]
        return small_vae(likelihood=groups, checkpoint=tmp_path / "fit")

    frame = pd.DataFrame(X[:, 20:24], columns=list("abcd"))
    vae(2).fit(frame)
    vae(2).fit(frame)
    with pytest.raises(ValueError, match="another fit: likelihood was "):
        vae(3).fit(frame)


def test_an_encoder_with_other_weights_is_another_fit(tmp_path):
    def classifier(seed):
        encoder = FrozenEstimator(small_vae(random_state=seed).fit(X))
        return M1M2Classifier(2, **SMALL, encoder=encoder, checkpoint=tmp_path / "fit", random_state=0)

    classifier(0).fit(X, Y)
    with pytest.raises(ValueError, match="another fit: the weights of encoder differ; "):
        classifier(1).fit(X, Y)


def test_what_no_result_depends_on_may_change(die, tmp_path):
    """Intervals, verbose, and the order of X in memory."""
    small_vae(checkpoint=often(tmp_path / "fit")).fit(X)
    begun = die(-1)
    small_vae(checkpoint=Checkpoint(tmp_path / "fit", every_minutes=1), verbose=1).fit(np.asfortranarray(X))
    assert begun == []


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"a": [1.0, 2.0, np.nan], "b": pd.Categorical(["x", "y", "x"])}),
        pl.DataFrame({"a": [1.0, 2.0, None], "b": ["x", "y", "x"]}),
        np.array([[1, "x"], [2.5, None], [3, "x"]], dtype=object),
        np.ma.masked_array(np.arange(6.0).reshape(3, 2), mask=[[0, 1], [0, 0], [0, 0]]),
        csr_array(np.eye(3)),
        np.eye(3, dtype=np.float32),
        torch.eye(3),
        [[1.0, 2.0], [3.0, 4.0]],
    ],
    ids=lambda table: type(table).__module__.partition(".")[0] + type(table).__name__,
)
def test_tables_of_all_kinds_are_described(table):
    """Alike in a copy; otherwise with other cells, or in another order of rows."""
    found = described_table("X", table)
    assert described_table("X", pickle.loads(pickle.dumps(table))) == found and json.loads(json.dumps(found)) == found
    reverse = table[::-1] if not isinstance(table, torch.Tensor) else table.flip(0)
    if not isinstance(table, pd.DataFrame):
        assert described_table("X", reverse)["the cells of X"] != found["the cells of X"]


def test_a_masked_cell_is_described():
    cells = np.arange(6.0).reshape(3, 2)
    found = [described_table("X", np.ma.masked_array(cells, mask=cells == hidden)) for hidden in (1, 2)]
    assert found[0] != found[1]


def test_some_rows_of_a_table_in_a_file_are_described(tmp_path, monkeypatch):
    """All rows if they fit in memory, otherwise a sample."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "table.h5", "w") as file:
        table = file.create_dataset("X", data=np.arange(4000.0).reshape(1000, 4))
        for sampled in (False, True):
            monkeypatch.setattr(_fingerprint, "fits_in_memory", lambda shape, sampled=sampled: not sampled)
            found = described_table("X", table)
            assert found["shape of X"] == [1000, 4] and described_table("X", table) == found
            table[:, 2] += 1.0
            assert described_table("X", table)["the cells of X"] != found["the cells of X"]


def test_parameters_are_described_alike_in_every_process():
    assert plain((np.int64(3), np.float64(0.5), float("nan"), None)) == [3, 0.5, "nan", None]
    assert plain({0: 0.5, "b": [1]}) == [[0, 0.5], ["b", [1]]] and plain(np.array([0.2, 0.8])) == [0.2, 0.8]
    assert plain(skdgm.networks.Residual) == "skdgm.networks.residual.Residual"
    assert " at 0x" not in plain(object()) and plain(plain) == "skdgm.estimators._fingerprint.plain"


# --- several fits with one path ---------------------------------------------------------------------------------------


def search(checkpoint, **params):
    grid = {"learning_rate_init": [1e-3, 2e-3]}
    return GridSearchCV(small_vae(checkpoint=checkpoint), grid, cv=KFold(2), error_score="raise", **params)


def test_a_search_with_one_folder_is_an_error(tmp_path):
    """The first fit is kept, the second one says what to do."""
    with pytest.raises(ValueError, match=r"give it Checkpoint\(path, subfolders=True\)"):
        search(tmp_path / "fit").fit(X)
    assert sorted(os.listdir(tmp_path / "fit")) == ["fit.json", "training-01-end.safetensors"]


def test_a_search_with_subfolders_continues(die, tmp_path):
    """It dies in its third fit; the two fits before are loaded, and the result is that of a search without death.

    The rest of the search runs in two threads.
    """
    expected = search(None).fit(X)
    again = search(often(tmp_path / "search", subfolders=True))
    die(2 * 6 + 2)
    with pytest.raises(Died):
        again.fit(X)
    assert len(os.listdir(tmp_path / "search")) == 3
    begun = die(-1)
    with joblib.parallel_backend("threading", n_jobs=2):
        again.fit(X)
    assert len(begun) == 4 + 6 + 6
    np.testing.assert_array_equal(again.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert_same(again.best_estimator_, expected.best_estimator_)
    names = os.listdir(tmp_path / "search")
    assert len(names) == 5 and all(name.startswith("VAE-") for name in names)


def folder_of(path, fit, seed=0):
    return CheckpointFolder(often(path), lambda: {"estimator": "VAE", **fit}, lambda: seed, verbose=False)


def test_of_two_fits_that_begin_at_once_one_gets_the_folder(tmp_path):
    first, second, third = (
        folder_of(tmp_path, {"a": 1}),
        folder_of(tmp_path, {"a": 2}),
        folder_of(tmp_path, {"a": 1}, 5),
    )
    assert (first.seed, second.seed, third.seed) == (0, 0, 5)  # all have looked, and the folder was empty
    first.training("VAE")
    with pytest.raises(ValueError, match="a was 1 and is 2"):
        second.training("VAE")
    second.close()
    third.training("VAE")
    assert third.seed == 0 and os.listdir(tmp_path) == ["fit.json"]


def test_a_folder_without_links_works_as_well(tmp_path, monkeypatch):
    def unsupported(*args):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", unsupported)
    folder = folder_of(tmp_path / "fit", {})
    folder.training("VAE")
    assert os.listdir(tmp_path / "fit") == ["fit.json"]


def test_states_of_another_fit_are_not_taken(die, tmp_path):
    """The folder was deleted and made anew while a fit was running, which has then written its state to it."""
    for name, seed in (("a", 0), ("b", 1)):
        die(4)
        with pytest.raises(Died):
            small_vae(checkpoint=often(tmp_path / name), random_state=seed).fit(X)
    die(-1)
    os.replace(
        tmp_path / "b" / "training-01-epoch-000004.safetensors", tmp_path / "a" / "training-01-epoch-000009.safetensors"
    )
    with pytest.warns(UserWarning, match=r"epoch-000009.*is damaged \(it belongs to another fit\)"):
        model = small_vae(checkpoint=tmp_path / "a").fit(X)
    assert_same(model, small_vae().fit(X))


# --- damage, full disks, and other folders ----------------------------------------------------------------------------


@pytest.fixture
def died(die, tmp_path):
    """A fit that died after four epochs, with the last two states."""
    model = small_m2(checkpoint=often(tmp_path / "fit"))
    die(4)
    with pytest.raises(Died):
        model.fit(X, Y)
    states = sorted((tmp_path / "fit").glob("training-*"))
    assert [path.name[12:24] for path in states] == ["epoch-000003", "epoch-000004"]
    return model, states


@pytest.mark.parametrize("damage", ["truncated", "empty", "changed"])
def test_the_state_before_a_damaged_one_is_taken(died, die, damage):
    model, states = died
    data = bytearray(states[-1].read_bytes())
    data[-100] ^= 1
    states[-1].write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "changed": bytes(data)}[damage])
    begun = die(-1)
    with pytest.warns(
        UserWarning, match=r"epoch-000004.safetensors' is damaged .*continues from the state before"
    ) as caught:
        model.fit(X, Y)
    assert caught[0].filename == __file__ and begun == [3, 4, 5]
    assert_same(model, small_m2().fit(X, Y))


def test_without_an_intact_state_it_begins_anew(died, die):
    model, states = died
    for state in states:
        os.truncate(state, 1000)
    begun = die(-1)
    with pytest.warns(UserWarning, match="is damaged"):
        model.fit(X, Y)
    assert_same(model, small_m2().fit(X, Y))
    assert begun == [*range(6), *range(6)]  # also of the fit to compare with


def test_a_damaged_description_is_an_error(died):
    model, states = died
    os.truncate(states[0].with_name("fit.json"), 10)
    with pytest.raises(ValueError, match=r"fit.json' is damaged .*Delete the folder"):
        model.fit(X, Y)


def test_on_a_full_disk_the_fit_goes_on(tmp_path, monkeypatch, die):
    """The disk is full in epochs 3 to 5: one warning, and the states before are intact."""
    n_writes, write = [], files.write_whole

    def write_if_room(path, data):
        n_writes.append(path)
        if len(n_writes) in (4, 5, 6):  # fit.json is the first
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(files, "write_whole", write_if_room)
    monkeypatch.setattr(checkpoints, "write_whole", write_if_room)
    model = small_m2(checkpoint=often(tmp_path / "fit"))
    die(5)
    with (
        pytest.warns(UserWarning, match="could not be written .*No space left.*goes on") as caught,
        pytest.raises(Died),
    ):
        model.fit(X, Y)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert [path.name[12:24] for path in sorted((tmp_path / "fit").glob("training-*"))] == [
        "epoch-000001",
        "epoch-000002",
    ]
    begun = die(-1)
    assert_same(model.fit(X, Y), small_m2().fit(X, Y))
    assert begun == [2, 3, 4, 5, *range(6)]


def in_a_fork(body):
    """Run a function in another process; return its exit code, or minus the signal that ended it."""
    process = os.fork()
    if not process:
        code = 1
        try:
            warnings.simplefilter("ignore")
            body()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@needs_fork
def test_files_may_not_grow(tmp_path, monkeypatch):
    """From epoch 3 on, the system refuses files of more than 20 kB: the fit ends, and leaves whole files only."""
    resource = pytest.importorskip("resource", reason="this system has no such limits")
    begin = EpochTasks.begin

    def limiting_begin(self, epoch):
        if epoch == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        begin(self, epoch)

    def fit():
        monkeypatch.setattr(EpochTasks, "begin", limiting_begin)
        small_m2(checkpoint=often(tmp_path / "fit")).fit(X, Y)

    assert in_a_fork(fit) == 0
    names = [f"training-01-epoch-00000{number}.safetensors" for number in (2, 3)]
    assert sorted(os.listdir(tmp_path / "fit")) == ["fit.json", *names]
    assert_same(small_m2(checkpoint=tmp_path / "fit").fit(X, Y), small_m2().fit(X, Y))


@needs_fork
@pytest.mark.parametrize("function", ["fsync", "replace", "unlink"])
def test_a_kill_while_a_state_is_written_loses_one_epoch(function, tmp_path, monkeypatch):
    """The process kills itself before and after the calls that write a state, the third time that it makes them."""
    expected = small_vae().fit(X)
    for before in (True, False):
        folder = tmp_path / f"{function} {before}"

        def fit(before=before, folder=folder):
            calls, call = [], getattr(os, function)

            def killing(*args, **kwargs):
                calls.append(args)
                if before and len(calls) == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = call(*args, **kwargs)
                if not before and len(calls) == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            monkeypatch.setattr(os, function, killing)
            small_vae(checkpoint=often(folder)).fit(X)

        assert in_a_fork(fit) == -signal.SIGKILL
        assert_same(small_vae(checkpoint=often(folder)).fit(X), expected)
        assert sorted(os.listdir(folder)) == ["fit.json", "training-01-end.safetensors"]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("...")
    with pytest.raises(ValueError, match=r"a folder with other files \('thesis.txt'\), and no checkpoint"):
        small_vae(checkpoint=tmp_path).fit(X)
    with pytest.raises(NotADirectoryError, match=r"thesis.txt' is a file. Name a folder"):
        small_vae(checkpoint=tmp_path / "thesis.txt").fit(X)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    def refuse(path, data):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(checkpoints, "write_whole", refuse)
    with pytest.raises(
        PermissionError, match=r"checkpoint=.*fit' cannot be written \(Permission denied\). Name another"
    ):
        small_vae(checkpoint=tmp_path / "fit").fit(X)


@pytest.mark.parametrize("model", [small_vae(learning_rate_init=1e30), small_vae(likelihood="poisson"), small_vae()])
def test_a_fit_that_fails_leaves_no_folder(model, tmp_path):
    """Neither before training nor in its first epoch."""
    rows = np.full_like(X, np.inf) if model.likelihood == "auto" and model.learning_rate_init < 1 else X
    with pytest.raises(ValueError, match=r"infinity|not finite|poisson"):
        model.set_params(checkpoint=tmp_path / "fit").fit(rows)
    assert not (tmp_path / "fit").exists()


def test_without_safetensors_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"Checkpoints need safetensors: pip install 'skdgm\[save\]'"):
        small_vae(checkpoint=tmp_path / "fit").fit(X)


# --- the parameter ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"every_minutes": None}, "needs an interval, got every_minutes=None and every_epochs=None"),
        ({"every_minutes": 0}, "every_minutes must be a number above 0 or None, got 0"),
        ({"every_minutes": "5"}, "every_minutes must be a number above 0 or None, got '5'"),
        ({"every_epochs": 0}, "every_epochs must be an int of at least 1 or None, got 0"),
        ({"every_epochs": 2.5}, "every_epochs must be an int of at least 1 or None, got 2.5"),
    ],
)
def test_intervals_must_be_positive(params, message):
    with pytest.raises(ValueError, match=message):
        Checkpoint("fit", **params)


def test_the_parameter_must_be_a_path():
    with pytest.raises(ValueError, match="The 'checkpoint' parameter of VAE must be"):
        small_vae(checkpoint=3).fit(X)


@pytest.mark.parametrize("given", ["fit", Path("fit"), Checkpoint("fit", every_epochs=3)])
def test_it_is_a_parameter_like_others(given, tmp_path):
    """clone, pickle, and save keep it."""
    model = small_vae(checkpoint=given)
    skdgm.save(model, tmp_path / "model.safetensors")
    for copy in (clone(model), pickle.loads(pickle.dumps(model)), skdgm.load(tmp_path / "model.safetensors")):
        assert copy.checkpoint == given and type(copy.checkpoint) is type(given)
