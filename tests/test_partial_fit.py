"""partial_fit: an epoch per call, from where the last one ended."""

import copy
import math
import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.utils import estimator_checks as checks

from skdgm import DLGM, VAE, ADGMClassifier, M1Classifier, M1M2Classifier, M2Classifier, training
from skdgm.averaging import Progress
from skdgm.estimators._label_terms import LabelTotals, RowWeights
from skdgm.optimizer import ParameterVector
from skdgm.sources import ResidentSource
from skdgm.training import Settings, Term

FAST = {"hidden_layer_sizes": (8,), "random_state": 0, "learning_rate_init": 0.01}
DENSITIES = {"VAE": lambda: VAE(2, **FAST), "DLGM": lambda: DLGM((3, 2), **FAST)}
DENSITIES["DLGM, top-down"] = lambda: DLGM((3, 2), inference="top_down", **FAST)
CLASSIFIERS = {
    "M2": lambda: M2Classifier(2, **FAST),
    "ADGM": lambda: ADGMClassifier(2, **FAST),
    "M1M2": lambda: M1M2Classifier(2, encoder=VAE(2, **FAST), **FAST),
    "M1": lambda: M1Classifier(SGDClassifier(loss="log_loss", random_state=0), encoder=VAE(2, **FAST), random_state=0),
}
MAKERS = DENSITIES | CLASSIFIERS
CLASSES = [0, 1, 2]


def table(n=120, seed=0):
    """Three classes in 4 columns, and y, in which a third of the rows are unlabeled."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    X = rng.uniform(-1.7, 1.7, (n, 4)) + 2 * np.eye(3, 4)[y]
    return X, np.where(rng.random(n) < 1 / 3, -1, y)


def part(model, X, y, **params):
    """A call of partial_fit; classifiers get the classes in the first one."""
    is_first = not hasattr(model, "n_features_in_")
    known = {"classes": CLASSES} if hasattr(model, "predict") and is_first else {}
    return model.partial_fit(X, y, **known, **params)


def in_parts(model, X, y, n_epochs=1, n_parts=3, seed=0):
    """Parts of shuffled rows, in several epochs."""
    rng = np.random.default_rng(seed)
    for _ in range(n_epochs):
        for rows in np.array_split(rng.permutation(len(X)), n_parts):
            part(model, X[rows], y[rows])
    return model


def outputs(model, X):
    """All that a model says about rows, as one array."""
    parts = [model.transform(X)]
    parts += [model.score_samples(X)[:, None]] if hasattr(model, "score_samples") else []
    parts += [model.predict_proba(X)] if hasattr(model, "predict_proba") else []
    return np.hstack(parts)


# --- the engine -------------------------------------------------------------------------------------------------------


def test_an_interrupted_training_is_the_same_to_the_bit():
    """Weights, Adam's moments and the average pass through Progress: 1 + 1 + 2 epochs are 4 epochs."""
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))

    def trained(lengths):
        module = torch.nn.Linear(2, 1)
        with torch.no_grad():
            module.weight.fill_(0.5), module.bias.fill_(0.0)
        progress, rng = Progress(), torch.Generator().manual_seed(1)
        for n_epochs in lengths:
            settings = Settings(
                n_epochs, 0.05, "constant", weight_prior=2.0, n_rows=60, rate_factors={"bias": 3.0}, n_averaged=7
            )
            term = Term("", ResidentSource(x), lambda b, r: -((module(b.x[:, 1:])[:, 0] - b.x[:, 0]) ** 2), 1.0, 20)
            training.train(module, [term], settings, rng, progress=progress)
        return torch.cat([module.weight[0], module.bias, progress.weights]).detach()

    assert torch.equal(trained([4]), trained([1, 1, 2]))
    assert not torch.equal(trained([4]), trained([3]))


# --- calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_pickling_between_calls_changes_no_bit(name):
    X, y = table()
    model, pickled = MAKERS[name](), MAKERS[name]()
    for rows in np.array_split(np.arange(120), 4):
        part(model, X[rows], y[rows])
        pickled = pickle.loads(pickle.dumps(part(pickled, X[rows], y[rows])))
    assert np.array_equal(outputs(model, X), outputs(pickled, X))
    named = [argument for _, argument, _ in pickletools.genops(pickle.dumps(model)) if isinstance(argument, str)]
    assert not [argument for argument in named if "torch" in argument.lower()]


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"M1"}))
def test_every_call_is_one_epoch(name):
    """A call of n rows has ceil(n / batch_size) steps, and one entry in each list of the history."""
    X, y = table()
    model = MAKERS[name]().set_params(batch_size=25)
    for n_calls, rows in enumerate(np.array_split(np.arange(120), 4), 1):
        part(model, X[rows], y[rows])
        assert model.n_iter_ == n_calls == len(model.loss_curve_) and model._parts.n_averaged == 2 * n_calls
        assert {len(values) for values in model.history_.values()} == {n_calls}
    assert model._parts.n_rows == 120 and model.validation_scores_ is None


@pytest.mark.parametrize("name", MAKERS)
def test_a_failing_call_changes_nothing(name):
    """Rows with another width, infinity, unknown labels, too high a rate, or Ctrl-C; then training goes on."""
    X, y = table()
    model, undisturbed = (in_parts(MAKERS[name](), X, y) for _ in range(2))
    state, before = copy.copy(vars(model)), outputs(model, X)
    bad = X.copy()
    bad[3, 2] = np.inf
    failures = [
        lambda: model.partial_fit(X[:, :3], y),
        lambda: model.partial_fit(bad, y),
        lambda: model.partial_fit(X, y, sample_weight=-np.ones(120)),
    ]
    if name in CLASSIFIERS:
        failures += [lambda: model.partial_fit(X, np.where(y == 2, 7, y))]
        failures += [lambda: model.partial_fit(X, y, classes=[0, 1])]
    for failure in failures:
        with pytest.raises(ValueError):
            failure()
        assert vars(model).keys() == state.keys() and all(vars(model)[key] is state[key] for key in state)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ParameterVector, "clip_gradient", interrupt)
        model.partial_fit(X, y)
    assert np.array_equal(outputs(model, X), before)
    assert np.array_equal(outputs(part(model, X, y), X), outputs(part(undisturbed, X, y), X))


def interrupt(parameters):
    """Ctrl-C between the gradient and the step of an optimizer."""
    raise KeyboardInterrupt


def test_a_call_that_diverges_changes_nothing(monkeypatch):
    X, y = table()
    model = in_parts(VAE(2, **FAST), X, y)
    before = outputs(model, X)
    finite = training.total_bound
    monkeypatch.setattr(training, "total_bound", lambda *args, **kwargs: finite(*args, **kwargs) * math.inf)
    with pytest.raises(ValueError, match="VAE: the bound is not finite.*Lower learning_rate_init"):
        model.partial_fit(X)
    assert np.array_equal(outputs(model, X), before)


@pytest.mark.filterwarnings("ignore:DLGM has no active units")  # one latent dimension is enough for a curve
@pytest.mark.parametrize("make", [lambda: VAE(1, **FAST), lambda: DLGM((2, 1), **FAST)])
def test_blocks_reach_the_bound_of_fit(make):
    """Many calls on blocks of a curve in 3 columns come as far from the start as a fit at the same rate."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-2, 2, 300)
    X = np.c_[t, np.exp(0.7 * t), np.tanh(3 * t)] + 0.15 * rng.standard_normal((300, 3))
    model = make().set_params(
        early_stopping=False, learning_rate="constant", max_iter=40, weight_prior=None, batch_size=25
    )
    fitted, streamed = clone(model).fit(X), in_parts(clone(model), X, t, n_epochs=40)
    gained = fitted.score(X) - in_parts(clone(model), X, t).score(X)
    assert gained > 1.5 and abs(streamed.score(X) - fitted.score(X)) < 0.15 * gained


def test_m2_in_blocks_reaches_the_bound_of_fit_and_its_classes():
    X, y = table(300)
    model = M2Classifier(2, early_stopping=False, learning_rate="constant", max_iter=30, **FAST)
    fitted, streamed = clone(model).fit(X, y), in_parts(clone(model), X, y, n_epochs=30)
    start = in_parts(clone(model), X, y, n_epochs=1)
    gained = fitted.score_samples(X).mean() - start.score_samples(X).mean()
    assert gained > 0.4 and abs(streamed.score_samples(X).mean() - fitted.score_samples(X).mean()) < 0.1 * gained
    assert streamed.score(X, y) > fitted.score(X, y) - 0.05
    np.testing.assert_allclose(streamed.class_prior_, fitted.class_prior_, atol=0.05)


@pytest.mark.parametrize("name", MAKERS)
def test_partial_fit_continues_from_fit_and_fit_starts_anew(name):
    X, y = table()
    model = MAKERS[name]()
    model.set_params(**{key: 5 for key in ("max_iter", "encoder__max_iter") if key in model.get_params()})
    if name == "M1":
        model.set_params(estimator=SGDClassifier(loss="log_loss", random_state=0))
    fitted = clone(model).fit(X, y)
    before = outputs(fitted, X)
    continued = fitted.partial_fit(X[:40], y[:40])
    scale = np.abs(before).max()
    assert 0 < np.abs(outputs(continued, X)[:, :2] - before[:, :2]).max() < 0.5 * scale
    assert np.array_equal(outputs(continued.fit(X, y), X), before)
    if name != "M1":
        assert continued.partial_fit(X, y).n_iter_ == clone(model).fit(X, y).n_iter_ + 1


def test_predictions_use_the_average_and_training_the_weights_of_the_last_step():
    X, y = table()
    model = in_parts(VAE(2, device="cpu", **FAST), X, y, n_epochs=3)
    averages, last = ParameterVector(model.module_.requires_grad_(True)).values, model._parts.weights
    assert not (averages.numpy() == last).any()
    decoded = model.inverse_transform([[1.0, -1.0]])
    averages.copy_(torch.from_numpy(last))  # the parameters are views
    assert not np.allclose(model.inverse_transform([[1.0, -1.0]]), decoded)


def test_every_call_has_noise_of_its_own():
    """The same rows come in another order, with other draws; a seed makes all of it reproducible."""
    X, y = table()
    states = []
    for _ in range(2):
        model = VAE(2, **FAST).partial_fit(X)
        states.append([model._start_part(1).randint(1 << 30) for _ in range(3)])
    assert states[0] == states[1] and len(set(states[0])) == 3


def test_priors_count_the_rows_of_all_calls(monkeypatch):
    X, _ = table()
    seen = []
    run = VAE._run_engine
    monkeypatch.setattr(
        VAE,
        "_run_engine",
        lambda self, m, t, settings, *a, **k: seen.append(settings) or run(self, m, t, settings, *a, **k),
    )
    model = VAE(2, weight_prior=2.0, **FAST)
    for _ in range(3):
        model.partial_fit(X)
    model.set_params(max_iter=2).fit(X)
    model.partial_fit(X[:30])
    assert [settings.n_rows for settings in seen] == [120, 240, 360, 120, 150]
    assert [s.learning_rate for s in seen] == ["constant"] * 3 + ["linear", "constant"]
    assert all(s.rate(0.9) == 0.01 for s in seen if s.learning_rate == "constant")


def test_verbose_prints_a_line_per_call(capsys):
    X, _ = table()
    VAE(2, verbose=True, **FAST).partial_fit(X).partial_fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": bound")[0] for line in lines] == ["VAE, call 1, epoch 1/1", "VAE, call 2, epoch 1/1"]


# --- rows -------------------------------------------------------------------------------------------------------------


def test_unknown_categories_in_later_calls():
    X, _ = table()
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.where(X[:, 2] > 0, "red", "blue")})
    later = frame.assign(c=["green"] * 120)
    with pytest.raises(ValueError, match="unknown category 'green'"):
        VAE(2, handle_unknown="error", **FAST).partial_fit(frame).partial_fit(later)
    with pytest.warns(UserWarning, match="unknown category 'green'"):
        VAE(2, **FAST).partial_fit(frame).partial_fit(later)
    model = VAE(2, handle_unknown="ignore", **FAST).partial_fit(frame).partial_fit(later)
    assert model.sample(3).columns.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        model.partial_fit(frame.rename(columns={"a": "z"}))


def test_values_out_of_range_in_later_calls():
    X, _ = table()
    model = VAE(2, likelihood="bernoulli", **FAST).partial_fit((X > 0).astype(float))
    with pytest.raises(ValueError, match="likelihood='bernoulli' needs"):
        model.partial_fit(X)


@pytest.mark.parametrize("make", [lambda: VAE(2, **FAST), lambda: VAE(2, input_noise="dropout", **FAST)])
def test_missing_cells_may_come_later(make):
    X, _ = table()
    holes = X.copy()
    holes[::3, 1] = np.nan
    model = make().partial_fit(X).partial_fit(holes).partial_fit(X)
    assert np.isfinite(model.score_samples(holes)).all() and np.isfinite(model.history_["bound"]).all()


@pytest.mark.parametrize("name", MAKERS)
def test_weights_count_in_parts(name):
    """Weight 0 is an absent row, to the bit, and equal weights are none; other weights change the model."""
    X, y = table()
    weight = np.where(np.arange(120) % 5, 2.0, 0.0)
    kept = weight > 0
    zero, absent = (MAKERS[name]() for _ in range(2))
    for _ in range(2):
        part(zero, X, y, sample_weight=weight)
        part(absent, X[kept], y[kept], sample_weight=weight[kept])
    assert np.array_equal(outputs(zero, X), outputs(absent, X))
    other = part(part(MAKERS[name](), X, y), X, y, sample_weight=weight + np.arange(120))
    assert not np.allclose(outputs(other, X), outputs(part(part(MAKERS[name](), X, y), X, y), X))


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_first_call_needs_classes(name):
    X, y = table()
    model = CLASSIFIERS[name]()
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"y has 2, which is not among the classes \[0, 1\]"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.partial_fit(X, y, classes=np.unique(y))  # the marker of unlabeled rows is no class
    assert model.classes_.tolist() == CLASSES
    with pytest.raises(ValueError, match=r"classes=\[0, 1\] is not the same as on last call"):
        model.partial_fit(X, y, classes=[0, 1])


@pytest.mark.parametrize("name", ["M2", "M1M2"])
@pytest.mark.parametrize("class_prior", ["estimated", "empirical", "uniform", {"a": 0.2, "b": 0.3, "c": 0.5}])
def test_labels_may_come_late(name, class_prior):
    """Nothing is labeled at first, then one class, then all: probabilities are finite, and accurate in the end."""
    X, y = table()
    names = np.array(["a", "b", "c", -1], object)
    model = CLASSIFIERS[name]().set_params(class_prior=class_prior, passthrough=True) if name == "M1M2" else None
    model = model or M2Classifier(2, class_prior=class_prior, **FAST)
    model.partial_fit(X, np.full(120, -1), classes=["a", "b", "c"])
    assert np.isfinite(model.predict_log_proba(X)).all() and len(model.classes_) == 3
    model.partial_fit(X, names[np.where(y == 1, 1, -1)])
    assert np.isfinite(model.predict_log_proba(X)).all()
    assert np.isnan(model.history_["classification"]).tolist() == [True, False]
    for _ in range(40):
        model.partial_fit(X, names[y])
    assert model.score(X, names[y]) > 0.85
    assert set(model.predict(X)) == {"a", "b", "c"} and np.isfinite(model.score_samples(X)).all()
    assert model.class_prior_.sum() == pytest.approx(1) and (model.class_prior_ > 0).all()
    assert model._totals.n_labeled == (y == 1).sum() + 40 * (y >= 0).sum()


def test_the_estimated_prior_follows_the_unlabeled_rows():
    """The labels have equal shares, the unlabeled rows do not; their shares are found in small blocks."""
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(900) < 0.8, 0, 1)
    X = rng.uniform(-1.5, 1.5, (900, 2)) + 3 * truth[:, None]
    labeled = np.concatenate([np.flatnonzero(truth == c)[:20] for c in (0, 1)])
    y = np.full(900, -1)
    y[labeled] = truth[labeled]
    model = M2Classifier(1, hidden_layer_sizes=(8,), random_state=0)
    model.partial_fit(X[labeled], y[labeled], classes=[0, 1])
    np.testing.assert_allclose(model.class_prior_, 0.5)
    rest = np.setdiff1d(np.arange(900), labeled)
    for rows in np.array_split(rng.permutation(rest), 20):
        model.partial_fit(X[rows], y[rows])
    # the estimate is pulled toward the labels' shares with weight 0.3
    share = (truth[rest] == 0).mean() * len(rest) / 900 + 0.5 * 40 / 900
    assert model.class_prior_[0] == pytest.approx((share + 0.3 * 0.5) / 1.3, abs=0.03)


@pytest.mark.parametrize("make", [M2Classifier, ADGMClassifier, M1M2Classifier])
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_a_few_unlabeled_rows_hardly_move_the_prior_of_many(make, first):
    """The prior that a fit or a first part has left counts with all of its unlabeled rows."""
    rng = np.random.default_rng(0)
    truth = (rng.random(1000) < 0.2).astype(int)
    X = rng.normal(size=(1000, 3)) + 3 * truth[:, None]
    y = np.where(np.arange(1000) < 60, truth, -1)
    model = make(1, hidden_layer_sizes=(8,), max_iter=5, random_state=0)
    if first == "fit":
        model.fit(X, y)
    else:
        model.partial_fit(X, y, classes=[0, 1]).partial_fit(X[:60], y[:60])
    before = model.class_prior_
    model.partial_fit(X[truth == 1][-5:], np.full(5, -1))
    np.testing.assert_allclose(model.class_prior_, before, atol=0.03)


def test_totals_of_parts_are_those_of_all_rows():
    """Counts and means of parts are those of all rows; beyond 5,000 rows, later ones count more."""
    rng = np.random.default_rng(0)
    targets, weight = rng.integers(-1, 3, 100), rng.random(100)
    together = LabelTotals.none(3).plus(targets, RowWeights(None, weight))
    parts = LabelTotals.none(3)
    for rows in np.array_split(np.arange(100), 4):
        parts = parts.plus(targets[rows], RowWeights(None, weight[rows]))
    np.testing.assert_allclose(parts.counts, together.counts)
    assert parts[1:] == together[1:]
    np.testing.assert_allclose(parts.counts[0], np.bincount(targets[targets >= 0]))
    np.testing.assert_allclose(parts.shares.sum(1), 1)
    np.testing.assert_allclose(LabelTotals.none(3).shares, 1 / 3)

    means, totals = rng.random((6, 3)), LabelTotals.none(3)
    for mean in means:
        totals = totals.plus(np.full(1000, -1), RowWeights(None, None)).with_mean(mean, 1000, np.ones(3))
    np.testing.assert_allclose(totals.mean_q_y, 0.8 * means[:5].mean(0) + 0.2 * means[5])


def test_the_weight_of_the_prior_on_the_classifier_follows_the_labels():
    """Its penalty is that of all labels so far, however they come; class_weight='balanced' needs them at once."""
    X, y = table()
    model = M2Classifier(2, **FAST)
    model.partial_fit(X, y, classes=CLASSES)
    n_labeled = int((y >= 0).sum())
    assert model._totals.n_labeled == n_labeled
    one, two = (model._choose_alpha(4, n).penalties for n in (n_labeled, 2 * n_labeled))
    assert all(one[name] == pytest.approx(2 * two[name]) for name in one)
    with pytest.raises(ValueError, match="class_weight='balanced' needs all labels at once"):
        M2Classifier(class_weight="balanced").partial_fit(X, y, classes=CLASSES)
    M2Classifier(2, class_weight={0: 2.0}, **FAST).partial_fit(X, np.where(y == 0, -1, y), classes=CLASSES)


# --- M1 and M1+M2 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [CLASSIFIERS["M1"], CLASSIFIERS["M1M2"]])
def test_the_encoder_gets_every_part(make):
    """It is the VAE that has the same parts; active dimensions are those of the first call."""
    X, y = table()
    model, vae = make(), VAE(2, **FAST)
    first = part(model, X[:40], y[:40]).active_
    vae.partial_fit(X[:40])
    for rows in np.array_split(np.arange(40, 120), 2):
        part(model, X[rows], y[rows])
        vae.partial_fit(X[rows])
    assert np.array_equal(model.encoder_._posterior(X)[0], vae._posterior(X)[0])
    assert model.active_ is first


def test_a_frozen_encoder_stays_as_it_is():
    X, y = table()
    vae = VAE(2, max_iter=3, **FAST).fit(X)
    for model in (
        M1Classifier(SGDClassifier(), encoder=FrozenEstimator(vae)),
        M1M2Classifier(2, encoder=FrozenEstimator(vae), **FAST),
    ):
        part(part(model, X, y), X, y)
        assert model.encoder_ is vae


class Recorder(BaseEstimator):
    """An inner estimator that records the arguments of partial_fit."""

    def fit(self, X, y):
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        self.calls_ = [*getattr(self, "calls_", []), (len(X), y, classes, sample_weight)]
        return self

    def predict(self, X):
        return np.zeros(len(X))


@pytest.mark.parametrize(
    ("name", "before", "after", "named"),
    [
        ("VAE", {}, {"hidden_layer_sizes": (9,)}, r"hidden_layer_sizes changed .* had hidden=\[8\], now hidden=\[9\]"),
        ("VAE", {}, {"n_components": 3}, "n_components changed"),
        ("VAE", {"prior": "normal"}, {"prior": "mixture"}, "prior or n_prior_components changed"),
        ("VAE", {}, {"likelihood": "student_t"}, "likelihood changed"),
        ("DLGM", {}, {"posterior": "full"}, "posterior changed"),
        ("M2", {}, {"activation": "tanh"}, "activation changed"),
        ("M2", {}, {"likelihood": "student_t"}, "likelihood changed"),
        ("ADGM", {}, {"skip": True}, "skip changed"),
        ("M1M2", {}, {"passthrough": False}, "passthrough changed"),
        ("M1M2", {}, {"encoder__n_components": 3}, "n_components changed"),
        ("M1M2", {}, {"encoder": None}, "hidden_layer_sizes changed"),
    ],
)
def test_later_parts_keep_the_architecture(name, before, after, named):
    X, y = table()
    model = part(MAKERS[name]().set_params(**before), X, y)
    found = outputs(model, X)
    with pytest.raises(ValueError, match=f"partial_fit continues .*, but {named}.* Fit a new estimator"):
        part(model.set_params(**after), X, y)
    assert np.array_equal(found, outputs(model, X))


@pytest.mark.parametrize("make", [lambda: VAE(**FAST), lambda: DLGM(**FAST), lambda: M1M2Classifier(2, **FAST)])
def test_what_the_first_part_chose_stays(make):
    """A number of latent dimensions for few rows, and other training parameters later."""
    X, y = table()
    model = part(make(), X[:25], y[:25])
    part(model.set_params(learning_rate_init=1e-3, batch_size=20), X, y)
    assert np.isfinite(outputs(model, X)).all()


def test_training_parameters_of_the_encoder_may_change():
    X, y = table()
    model = part(MAKERS["M1M2"](), X, y)
    before = model.encoder_.transform(X)
    part(model.set_params(encoder__learning_rate_init=1e-9), X, y)
    assert model.encoder_.learning_rate_init == 1e-9
    np.testing.assert_allclose(model.encoder_.transform(X), before, atol=0.3)  # only the average of the weights moves


def test_class_weights_count_in_parts_of_one_class():
    """The objective of two parts, each with the labels of one class, is that of both at once; so are the shares."""
    X, y = table(400)
    X, y = X[y != 2], y[y != 2]
    labeled = y >= 0
    model = M2Classifier(2, class_weight={0: 5.0}, **FAST)
    weights = [model_weights(model, part_y) for part_y in (y, np.where(y == 1, -1, y), np.where(y == 0, -1, y))]
    whole, *parts = [LabelTotals.none(2).plus(part_y, weight) for part_y, weight in weights]
    total = LabelTotals.none(2).plus(*weights[1]).plus(*weights[2])
    np.testing.assert_allclose(total.shares, whole.shares)
    relative = [total.weight_of_part(*weight) for weight in weights[1:]]
    assert relative[0] == pytest.approx(5 * relative[1])
    counts = [(weight[0] >= 0).sum() for weight in weights[1:]]
    assert np.average(relative, weights=counts) == pytest.approx(1) and sum(counts) == labeled.sum()
    assert whole.weight_of_part(*weights[0]) == pytest.approx(1)


def model_weights(model, y):
    model.classes_ = np.arange(2)
    return y, model._row_weights(y, None)


def test_class_weights_of_parts_of_one_class_move_the_classifier():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    X = rng.normal(size=(400, 2)) + y[:, None]  # they overlap
    found = []
    for class_weight in (None, {1: 20.0}):
        model = M2Classifier(2, class_prior="empirical", class_weight=class_weight, **FAST)
        model.partial_fit(X, y, classes=[0, 1])
        for _ in range(10):
            for label in (0, 1):
                model.partial_fit(X[y == label], y[y == label])
        found.append((model.predict(X) == 1).mean())
    assert found[0] < 0.6 and found[1] > 0.75


def test_m1_gives_labeled_rows_to_the_inner_estimator():
    X, y = table()
    model = M1Classifier(Recorder(), encoder=VAE(2, **FAST), n_draws=2)
    weight = np.arange(120.0) + 1
    with pytest.raises(ValueError, match="y has no labeled row, but Recorder needs one in the first call"):
        part(model, X, np.full(120, -1))
    part(model, X, y, sample_weight=weight)
    model.partial_fit(X, np.full(120, -1))
    model.partial_fit(X, y)
    (n, labels, classes, given), (_, _, _, without) = model.estimator_.calls_
    drawn = np.repeat(np.flatnonzero(y >= 0), 2)
    assert n == len(drawn) and np.array_equal(labels, y[drawn]) and classes.tolist() == CLASSES
    assert np.array_equal(given, weight[drawn]) and without is None


def test_m1_has_partial_fit_if_the_inner_estimator_has():
    assert not hasattr(M1Classifier(), "partial_fit")
    assert not hasattr(M1Classifier(LogisticRegression()), "partial_fit")
    assert hasattr(M1Classifier(SGDClassifier()), "partial_fit")


def test_m1_with_an_inner_estimator_that_reads_unlabeled_rows():
    X, y = table()
    model = M1Classifier(M2Classifier(2, **FAST), encoder=VAE(2, **FAST), random_state=0)
    names = np.array(["a", "b", "c", -1], object)
    for _ in range(15):
        model.partial_fit(X, names[y], classes=["a", "b", "c"])
    assert model.estimator_._totals.n_unlabeled == 15 * (y < 0).sum()
    assert model.score(X, names[y]) > 0.8


@pytest.mark.parametrize(
    "check", [checks.check_estimators_partial_fit_n_features, checks.check_n_features_in_after_fitting]
)
def test_scikit_learns_checks_of_m1(check):
    """test_common.py runs them for the other estimators, and for inner estimators without partial_fit."""
    check("M1Classifier", CLASSIFIERS["M1"]())


# --- warm starts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"M1"}))
@pytest.mark.parametrize("n_rows", [60, 200])
def test_a_warm_start_takes_another_number_of_rows(name, n_rows):
    """It keeps the architecture and the scales, although "auto" would choose others for these rows."""
    X, y = table(120)
    more, labels = table(n_rows, seed=1)
    model = MAKERS[name]().set_params(warm_start=True, max_iter=3).fit(X, y)
    before, shapes = outputs(model, X), [p.shape for p in model.module_.parameters()]
    columns = model._columns
    model.fit(more, labels)
    assert [p.shape for p in model.module_.parameters()] == shapes and model._columns is columns
    assert 0 < np.abs(outputs(model, X) - before).max() and np.isfinite(outputs(model, more)).all()
