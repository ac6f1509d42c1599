"""Tests of Ctrl-C during `fit`, with real signals: what it keeps, when it raises, and whose handler it leaves alone."""

import copy
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.svm import SVC

from skdgm import (
    DLGM,
    VAE,
    ADGMClassifier,
    M1Classifier,
    M1M2Classifier,
    M2Classifier,
    StackedAutoencoder,
    TransductiveSVC,
    training,
)
from skdgm.estimators import _interrupt, _latent_density
from skdgm.estimators._callbacks import EpochTasks
from skdgm.estimators._interrupt import Interrupt
from skdgm.svm.annealing import Annealing

FAST = {"hidden_layer_sizes": (8,), "max_iter": 5, "batch_size": 35, "device": "cpu"}  # 4 steps per epoch
STEADY = {**FAST, "learning_rate": "constant", "kl_warmup": 0, "early_stopping": False}  # epochs ignore max_iter
N_STEPS = 4


def small_vae(**params):
    return VAE(3, **{**STEADY, **params}, n_importance_samples=2, random_state=0)


MODELS = {
    "VAE": small_vae,
    "DLGM": lambda **params: DLGM((3, 2), **{**STEADY, **params}, n_importance_samples=2, random_state=0),
    "M2Classifier": lambda **params: M2Classifier(3, **{**STEADY, **params}, random_state=0),
    "ADGMClassifier": lambda **params: ADGMClassifier(3, **{**STEADY, **params}, random_state=0),
    "M1M2Classifier": lambda **params: M1M2Classifier(
        2, encoder=small_vae(max_iter=2), **{**STEADY, **params}, random_state=0
    ),
}
N_STEPS_BEFORE = {"M1M2Classifier": 2 * N_STEPS}  # those of the encoder


def small_stack(n_components=(4, 3), **params):
    options = {"hidden_layer_sizes": (8,), "max_iter": 3, "rbm_max_iter": 5, "batch_size": 35, "device": "cpu"}
    quick = {"n_annealing_steps": 200, "n_annealing_chains": 50, "n_sampling_steps": 10, "learning_rate": "constant"}
    return StackedAutoencoder(n_components, **{**options, **quick, **params}, random_state=0)


@functools.cache
def _data():
    X, truth = load_digits(n_class=4, return_X_y=True)
    return X[:140] / 16, np.where(np.arange(140) < 24, truth[:140], -1)


@pytest.fixture
def data():
    """140 digits of 4 classes, and 24 labels."""
    return _data()


@pytest.fixture(autouse=True)
def _python_handles_the_signal(monkeypatch):
    """Start with Python's handler and no earlier Ctrl-C; a test must leave that handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(Interrupt, "last_time", -np.inf)
    yield
    left = signal.signal(signal.SIGINT, before)
    assert left is signal.default_int_handler


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def at_steps(monkeypatch):
    """Return a function that plans calls in the given steps of training, counted over all fits from here from 1."""
    step = training.step

    def plan(actions):
        counted, Interrupt.last_time = [], -np.inf

        def counting_step(*args):
            counted.append(len(counted) + 1)
            actions.get(len(counted), lambda: None)()
            return step(*args)

        monkeypatch.setattr(training, "step", counting_step)
        return counted

    return plan


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; the test sets `clock.now`."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(_interrupt, "monotonic", lambda: Clock.now)
    return Clock


def state(model, X):
    """What a fitted estimator has learned and computes, without the seconds it took."""
    found = {"transform": model.transform(X)} if hasattr(model, "transform") else {}
    for name in ("predict", "predict_proba", "score_samples"):
        if hasattr(model, name):
            found[name] = getattr(model, name)(X[:20])
    for name in ("n_iter_", "loss_curve_", "class_prior_", "validation_scores_", "alpha_"):
        if hasattr(model, name):
            found[name] = getattr(model, name)
    if hasattr(model, "module_"):
        found |= {f"weights {name}": value.numpy().copy() for name, value in model.module_.state_dict().items()}
    return found


def of_interrupts(caught):
    """The messages of interrupted fits; short fits that came to their end may warn that the bound still rose."""
    messages = [str(warning.message) for warning in caught]
    found = [message for message in messages if message.startswith("Training interrupted by user")]
    assert all(message in found or message.startswith("VAE reached its ") for message in messages)
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(np.asarray(value, float), np.asarray(other[name], float), err_msg=name)


# --- one Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_it_ends_the_fit_after_the_last_complete_epoch(name, early_stopping, at_steps, data):
    """Ctrl-C in the second step of epoch 3 gives, to the bit, the fit of two epochs; no step follows."""
    X, y = data
    params = {"early_stopping": early_stopping, "n_iter_no_change": 9}
    expected = state(MODELS[name](**params, max_iter=2).fit(X, y), X)
    last_step = N_STEPS_BEFORE.get(name, 0) + 2 * N_STEPS + 2
    steps = at_steps({last_step: press})
    model = MODELS[name](**params)
    with pytest.warns(UserWarning, match=f"interrupted by user: {name} ended after epoch 2. The estimator") as caught:
        model.fit(X, y)
    assert len(steps) == last_step and len(of_interrupts(caught)) == 1
    assert {len(values) for values in model.history_.values()} == {2}
    assert_same(state(model, X), expected)


def test_the_weights_are_those_at_the_end_of_the_epoch(at_steps, data, monkeypatch):
    """Without held-out rows they are the weights when epoch 2 ended; a step of epoch 3 leaves nothing."""
    X, y = data
    ends, end = [], EpochTasks.end

    def keep(self, epoch, history):
        ends.append(training.snapshot(self.estimator.module_))
        return end(self, epoch, history)

    monkeypatch.setattr(EpochTasks, "end", keep)
    at_steps({2 * N_STEPS + 3: press})
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = small_vae().fit(X)
    assert len(ends) == 2
    assert all(value.equal(ends[1][name]) for name, value in model.module_.state_dict().items())


def test_the_best_weights_on_held_out_rows_are_restored(at_steps, data, monkeypatch):
    """If the held-out rows preferred epoch 1, the fit ends with its weights."""
    X, _ = data
    bounds = iter([-1.0, -2.0, -3.0, 5.0])
    monkeypatch.setattr(training, "validation_bound", lambda *args: next(bounds))
    expected = small_vae(early_stopping=True, max_iter=1).fit(X).transform(X)
    at_steps({2 * N_STEPS + 3: press})
    with pytest.warns(UserWarning, match="after epoch 2"):
        model = small_vae(early_stopping=True).fit(X)
    assert model.validation_scores_ == [-2.0, -3.0]
    np.testing.assert_array_equal(model.transform(X), expected)


def test_between_two_epochs_it_ends_the_fit_at_once(data, monkeypatch):
    """Ctrl-C while a callback of epoch 2 runs: the epoch is complete, and no other begins."""
    X, _ = data
    begun, begin, end = [], EpochTasks.begin, EpochTasks.end
    monkeypatch.setattr(EpochTasks, "begin", lambda self, epoch: begun.append(epoch) or begin(self, epoch))
    monkeypatch.setattr(
        EpochTasks, "end", lambda self, epoch, history: (press() if epoch == 1 else None) or end(self, epoch, history)
    )
    with pytest.warns(UserWarning, match="after epoch 2"):
        assert small_vae().fit(X).n_iter_ == 2
    assert begun == [0, 1]


def test_the_warning_points_at_the_call_of_fit(at_steps, data):
    X, y = data
    for model, step in ((small_vae(), 5), (MODELS["M2Classifier"](), 5), (small_stack(), 4 * 4 + 1)):
        at_steps({step: press})
        with pytest.warns(UserWarning, match="interrupted by user") as caught:
            model.fit(X, y)
        assert caught[0].filename == __file__


def test_an_interrupted_fit_can_continue(at_steps, data):
    """A warm start after an interrupt, and a pickle, work as after any fit."""
    X, _ = data
    at_steps({N_STEPS + 1: press})
    with pytest.warns(UserWarning, match="after epoch 1"):
        model = small_vae(warm_start=True).fit(X)
    assert copy.deepcopy(model).fit(X).n_iter_ == 5


@pytest.mark.parametrize("name", MODELS)
def test_callbacks_see_the_end_of_complete_epochs_only(name, at_steps, data):
    """The tasks of complete epochs and of the fit end; the incomplete epoch only begins, as before an error."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn has no callbacks before 1.9")
    X, y = data
    seen = []

    class Watcher:
        def setup(self, estimator, context):
            seen.append("setup")

        def teardown(self, estimator, context):
            seen.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            seen.append(("begin", context.task_name, context.task_id))

        def on_fit_task_end(self, estimator, context):
            seen.append(("end", context.task_name, context.task_id))

    at_steps({N_STEPS_BEFORE.get(name, 0) + N_STEPS + 1: press})
    with pytest.warns(UserWarning, match="after epoch 1"):
        MODELS[name]().set_callbacks(Watcher()).fit(X, y)
    assert [task for task in seen if task[1] == "epoch"] == [
        ("begin", "epoch", 0),
        ("end", "epoch", 0),
        ("begin", "epoch", 1),
    ]
    assert seen[-2:] == [("end", "fit", 0), "teardown"]


# --- when it raises ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_in_the_first_epoch_it_raises(name, at_steps, data):
    """There is nothing to keep: the estimator stays as it was, fitted or not."""
    X, y = data
    model, unfitted = MODELS[name](warm_start=True).fit(X, y), MODELS[name]()
    before = state(model, X)
    # a warm start does not train an encoder again
    for to_fit, last_step in ((model, N_STEPS - 1), (unfitted, N_STEPS_BEFORE.get(name, 0) + 1)):
        steps = at_steps({last_step: press})
        with pytest.raises(KeyboardInterrupt, match="before its first epoch was complete"):
            to_fit.fit(X, y)
        assert len(steps) == last_step
    assert_same(state(model, X), before)
    assert not [attribute for attribute in vars(unfitted) if attribute.endswith("_")]


@pytest.mark.parametrize("name", MODELS)
def test_a_second_one_raises_at_once(name, at_steps, data):
    """Two within two seconds in one step, in the middle of a fit: KeyboardInterrupt, and the old state stays."""
    X, y = data
    model = MODELS[name]().fit(X, y)
    before = state(model, X)
    after = []
    at_steps({N_STEPS_BEFORE.get(name, 0) + 2 * N_STEPS + 2: lambda: [press(), press(), after.append("not at once")]})
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:120], y[:120])
    assert after == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same(state(model, X), before)


def press_at(clock, now):
    def at_that_time():
        clock.now = now
        press()

    return at_that_time


def search_over(X, **params):
    grid = {"learning_rate_init": [1e-3, 2e-3]}
    return GridSearchCV(small_vae(max_iter=3), grid, cv=KFold(2), refit=False, **params).fit(X)


def test_a_second_one_within_two_seconds_stops_a_search(at_steps, clock, data):
    """The first ends a fit of the search early; the second raises, although another fit has begun."""
    X, _ = data
    first_fit = 2 * 2  # two epochs of two steps: 70 rows, 35 in a batch
    at_steps({first_fit: press_at(clock, 100.0), first_fit + 4: press_at(clock, 101.9)})
    with pytest.warns(UserWarning, match="after epoch 2"), pytest.raises(KeyboardInterrupt):
        search_over(X)


def test_later_ones_end_one_fit_each(at_steps, clock, data):
    """More than two seconds apart, each ends the current fit of the search, and the search goes on."""
    X, _ = data
    steps = at_steps({4: press_at(clock, 100.0), 4 + 4: press_at(clock, 102.1), 4 + 4 + 3: press_at(clock, 104.3)})
    with pytest.warns(UserWarning, match="interrupted by user") as caught:
        search = search_over(X)
    assert [message.split("ended after ")[1][:7] for message in of_interrupts(caught)] == ["epoch 2"] * 2 + ["epoch 1"]
    assert len(steps) == 4 + 4 + 3 + 6 and np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_slow_presses_within_one_fit_raise_nothing(at_steps, clock, data):
    X, _ = data
    at_steps({7: lambda: [press_at(clock, now)() for now in (100.0, 102.5, 105.0)]})
    with pytest.warns(UserWarning, match="after epoch 1"):
        assert small_vae().fit(X).n_iter_ == 1


@pytest.mark.parametrize("name", ["M1Classifier", "M1M2Classifier"])
def test_while_an_encoder_is_fitted_it_raises(name, at_steps, data):
    """One Ctrl-C in the second epoch of the encoder: there is no classifier to keep, and the old one predicts."""
    X, y = data
    make = {"M1Classifier": lambda: M1Classifier(SVC(), encoder=small_vae(), random_state=0), **MODELS}[name]
    model, unfitted = make().fit(X, y), make()
    before = state(model, X)
    for to_fit in (model, unfitted):
        steps = at_steps({N_STEPS + 1: press})
        with pytest.raises(KeyboardInterrupt):
            to_fit.fit(X[:120], y[:120])
        assert len(steps) == N_STEPS + 1
    assert_same(state(model, X), before)
    assert not [attribute for attribute in vars(unfitted) if attribute.endswith("_")]
    at_steps({N_STEPS + 1: press})
    with pytest.warns(UserWarning, match="after epoch 1"):  # a fit of its own ends early again
        small_vae().fit(X)


def test_the_inner_classifier_of_m1_ends_early(at_steps, data):
    """It is the last part of the fit, so M1Classifier is then fitted."""
    X, y = data
    at_steps({2 * N_STEPS + 2 * N_STEPS + 1: press})
    inner = M2Classifier(2, **STEADY, random_state=0)
    with pytest.warns(UserWarning, match="M2Classifier ended after epoch 2"):
        model = M1Classifier(inner, encoder=small_vae(max_iter=2), random_state=0).fit(X, y)
    assert model.estimator_.n_iter_ == 2 and model.predict(X).shape == (140,)


@pytest.mark.parametrize("part", ["factor_analysis", "_count_active"])
def test_outside_the_training_loop_it_raises(part, data, monkeypatch):
    """The factor analysis before training, and what is computed after it, raise as any Python code."""
    X = np.random.default_rng(0).normal(size=(140, 5))
    model = small_vae().fit(X)
    before = state(model, X)
    owner = _latent_density if part == "factor_analysis" else VAE
    monkeypatch.setattr(owner, part, lambda *args: press())
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:120])
    assert_same(state(model, X), before)


def test_a_stack_ends_early_in_its_last_layer(at_steps, data):
    """The lower layers raise; the last one, once it has a complete epoch, leaves a whole stack with a density."""
    X, _ = data
    model = small_stack().fit(X)
    before = model.score_samples(X)
    for step in (1, N_STEPS + 2, 3 * N_STEPS + 2):  # of the first layer, and the first epoch of the last layer
        at_steps({step: press})
        with pytest.raises(KeyboardInterrupt):
            model.fit(X[:120])
        np.testing.assert_array_equal(model.score_samples(X), before)
    expected = small_stack(rbm_max_iter=2).fit(X)
    at_steps({3 * N_STEPS + 2 * N_STEPS + 2: press})
    with pytest.warns(UserWarning, match="StackedAutoencoder layer 2 ended after epoch 2"):
        model.fit(X)
    assert model.n_iter_ == 3 + 2 and [len(terms["bound"]) for terms in model.history_] == [3, 2]
    np.testing.assert_array_equal(model.score_samples(X), expected.score_samples(X))


def test_a_part_of_a_stack_ends_early_and_a_growing_one_raises(at_steps, data):
    """With stop_after=1, the first layer is the last; with "auto", which one is last is not known in time."""
    X, _ = data
    at_steps({N_STEPS + 1: press})
    with pytest.warns(UserWarning, match="StackedAutoencoder layer 1 ended after epoch 1"):
        assert small_stack(stop_after=1).fit(X).n_iter_ == 1
    model = small_stack("auto", max_iter=2, rbm_max_iter=2)
    for step in (5, 7):
        at_steps({step: press})
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    assert not hasattr(model, "module_")


def test_a_transductive_svc_raises(data, monkeypatch):
    """It has no epochs: KeyboardInterrupt, and the old state stays."""
    X, y = data
    model = TransductiveSVC(random_state=0).fit(X, y)
    before = model.decision_function(X)
    monkeypatch.setattr(Annealing, "run", lambda *args: press())
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:100], y[:100])
    np.testing.assert_array_equal(model.decision_function(X), before)


# --- whose handler ----------------------------------------------------------------------------------------------------


def test_the_handler_is_there_only_while_training(at_steps, data):
    X, y = data
    during = []
    at_steps({1: lambda: during.append(signal.getsignal(signal.SIGINT))})
    for fit in (small_vae().fit, MODELS["M2Classifier"]().fit):
        fit(X, y)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert isinstance(during[0], Interrupt)


def test_the_handler_is_restored_after_an_error(at_steps, data):
    X, _ = data

    def fail():
        raise RuntimeError("the step failed")

    at_steps({3: fail})
    with pytest.raises(RuntimeError, match="the step failed"):
        small_vae().fit(X)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_fit_within_a_fit_leaves_the_handler_to_the_outer_one(data, monkeypatch):
    """A callback fits another model and Ctrl-C is pressed meanwhile: the inner fit goes on, the outer one ends."""
    X, _ = data
    inner, end = [], EpochTasks.end

    def fit_another(self, epoch, history):
        if self.estimator.max_iter == 5 and epoch == 1:
            press()
            inner.append(small_vae(max_iter=2).fit(X).n_iter_)
            assert isinstance(signal.getsignal(signal.SIGINT), Interrupt)
        return end(self, epoch, history)

    monkeypatch.setattr(EpochTasks, "end", fit_another)
    with pytest.warns(UserWarning, match="after epoch 2") as caught:
        assert small_vae().fit(X).n_iter_ == 2
    assert inner == [2] and len(of_interrupts(caught)) == 1


@pytest.mark.parametrize("ignored", [True, False])
def test_a_handler_of_the_user_is_left_alone(ignored, at_steps, data):
    """It gets the signal, and the fit runs to its end; so it does if signals are ignored."""
    X, _ = data
    calls = []
    handler = signal.SIG_IGN if ignored else lambda *args: calls.append("pressed")
    signal.signal(signal.SIGINT, handler)
    try:
        at_steps({7: press})
        assert small_vae().fit(X).n_iter_ == 5
        assert signal.getsignal(signal.SIGINT) == handler and len(calls) == (not ignored)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_that_the_user_sets_during_the_fit_stays(at_steps, data):
    X, _ = data
    handler = lambda *args: None  # noqa: E731
    at_steps({2: lambda: signal.signal(signal.SIGINT, handler)})
    small_vae().fit(X)
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is handler


def test_threads_and_workers_change_nothing(at_steps, data, monkeypatch):
    """Neither a thread nor a worker process installs the handler."""
    X, _ = data
    during = []
    at_steps(dict.fromkeys((1, 21), lambda: during.append(signal.getsignal(signal.SIGINT))))
    thread = threading.Thread(target=small_vae().fit, args=(X,))
    thread.start()
    thread.join()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "a process")
    small_vae().fit(X)
    assert during == [signal.default_int_handler] * 2


# --- another process --------------------------------------------------------------------------------------------------

SCRIPT = """
import warnings
from sklearn.datasets import load_digits
from skdgm import VAE

X = load_digits(n_class=4).data[:140] / 16
model = VAE(3, hidden_layer_sizes=(8,), max_iter=100_000, early_stopping=False, verbose=True, device="cpu")
with warnings.catch_warnings(record=True) as caught:
    model.fit(X)
print("kept", model.n_iter_ == len(model.loss_curve_) > 1, model.transform(X).shape, len(caught), flush=True)
try:
    model.fit(X)
except KeyboardInterrupt:
    print("raised", model.transform(X).shape, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send SIGINT to one process")
def test_signals_from_outside(tmp_path):
    """Ctrl-C ends a running fit; a second one right after it raises in the next fit."""
    root = Path(__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as process:
        answers = []
        for line in process.stdout:
            if line.startswith(["VAE epoch 2/", "VAE epoch 1/", "nothing"][len(answers)]):  # in either fit
                process.send_signal(signal.SIGINT)
            if not line.startswith("VAE"):
                answers.append(line.strip())
    assert answers == ["kept True (140, 3) 1", "raised (140, 3)"] and process.returncode == 0
