"""Tests of M1Classifier: what the inner estimator is trained on, and which of its methods are available.

Most are about the paper's model, whose inner estimator reads the codes only.
"""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from skdgm import VAE, M1Classifier, M1M2Classifier
from skdgm.model_selection import LabeledStratifiedKFold, make_labeled_scorer

FAST = {
    "hidden_layer_sizes": (16,),
    "max_iter": 15,
    "learning_rate_init": 0.02,
    "random_state": 0,
    "early_stopping": False,
}
N = 90


class Recorder(ClassifierMixin, BaseEstimator):
    """An inner estimator that records its training data and predicts its first class."""

    def __init__(self, unlabeled_value=0):
        self.unlabeled_value = unlabeled_value

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_ = X, y, sample_weight
        self.classes_ = np.unique(y[y != -1])
        return self

    def predict(self, X):
        self.asked_ = X
        return np.full(len(X), self.classes_[-1])


class Supervised(Recorder):
    """The same, but without a parameter that says that it reads unlabeled rows."""

    def __init__(self):
        pass


@pytest.fixture
def data():
    """Three clusters in 6 columns, 12 labeled rows spread over the data, labels 10, 20, 30 and -1."""
    rng = np.random.default_rng(0)
    truth = np.arange(N) % 3
    X = np.outer(truth - 1.0, [8, 8, 8, 0, 0, 0]) + np.outer(truth == 1, [0, 0, 0, 8, 8, 8])
    X = X + rng.standard_normal((N, 6))
    y = np.full(N, -1)
    y[::7] = 10 * (1 + truth[::7])
    return X, y, 10 * (1 + truth)


@pytest.fixture
def vae(data):
    return VAE(3, **FAST).fit(data[0])


def m1(inner, vae, **params):
    return M1Classifier(inner, encoder=FrozenEstimator(vae), random_state=0, **{"passthrough": False, **params})


def standardized(vae, X):
    """The columns as the encoder reads them: no cell is far enough from the others to be clipped."""
    columns = (X - vae._columns.center) / vae._columns.scale
    assert np.abs(columns).max() < 5
    return columns.astype(np.float32)


@pytest.fixture
def short_vae(monkeypatch):
    """A VAE plans 30 steps by default."""
    monkeypatch.setattr(VAE, "_min_steps", 30)
    monkeypatch.setattr(VAE, "_max_steps", 30)


def test_the_inner_estimator_learns_from_the_codes_of_labeled_rows(data, vae):
    """It is fitted to transform(X) of the labeled rows with their labels, and predicts from transform(X)."""
    X, y, _ = data
    model = m1(Supervised(), vae).fit(X, y)
    assert np.array_equal(model.estimator_.X_, vae.transform(X)[y >= 0][:, model.active_])
    assert np.array_equal(model.estimator_.y_, y[y >= 0])
    assert set(model.predict(X)) == {30}
    assert np.array_equal(model.estimator_.asked_[: len(X)], model.transform(X))


def test_it_is_the_inner_estimator_on_the_codes(data, vae):
    """predict, decision_function, predict_proba and score equal those of the estimator fitted by hand."""
    X, y, truth = data
    labeled = y >= 0
    for inner in (SVC(C=3), LogisticRegression()):
        model = m1(inner, vae).fit(X, y)
        Z = model.transform(X)
        by_hand = clone(inner).fit(Z[labeled], y[labeled])
        for method in ("predict", "decision_function", "predict_proba", "predict_log_proba"):
            assert hasattr(model, method) == hasattr(by_hand, method)
            if hasattr(model, method):
                assert np.array_equal(getattr(model, method)(X), getattr(by_hand, method)(Z))
        assert model.score(X, truth) == by_hand.score(Z, truth) > 0.9


@pytest.mark.parametrize("fit_on", ["labeled", "all"])
def test_with_passthrough_it_reads_the_codes_and_the_columns(fit_on, data, vae):
    """By default it sees hstack([codes, standardized columns]), in fit and in predict; transform is the codes."""
    X, y, _ = data
    model = M1Classifier(Recorder(), encoder=FrozenEstimator(vae), fit_on=fit_on).fit(X, y)
    Z = vae.transform(X)[:, model.active_]
    assert np.array_equal(model.transform(X), Z)
    expected = np.hstack([Z, standardized(vae, X)])
    rows = y >= 0 if fit_on == "labeled" else slice(None)
    assert np.array_equal(model.estimator_.X_, expected[rows]) and model.estimator_.X_.dtype == np.float64
    model.predict(X)
    assert np.array_equal(model.estimator_.asked_[: len(X)], expected)
    assert model.fit(X.astype(np.float32), y).estimator_.X_.dtype == np.float32


def test_with_passthrough_draws_change_the_codes_only(data, vae):
    """The codes of a row's draws are those without passthrough; its columns are repeated."""
    X, y, _ = data
    both, codes = (m1(Supervised(), vae, n_draws=5, passthrough=p).fit(X, y).estimator_.X_ for p in (True, False))
    n_codes = codes.shape[1]
    np.testing.assert_allclose(both[:, :n_codes], codes, rtol=1e-6)
    assert np.array_equal(both[:, n_codes:], np.repeat(standardized(vae, X[y >= 0]), 5, axis=0))


def test_with_passthrough_it_is_the_inner_estimator_on_codes_and_columns(data, vae):
    """decision_function and predict_proba equal those of the estimator fitted by hand, and differ from the codes'."""
    X, y, _ = data
    labeled = y >= 0
    model, on_codes = (m1(LogisticRegression(), vae, passthrough=p).fit(X, y) for p in (True, False))
    features = np.hstack([model.transform(X), standardized(vae, X)])
    by_hand = LogisticRegression().fit(features[labeled], y[labeled])
    for method in ("decision_function", "predict_proba", "predict_log_proba", "predict"):
        assert np.array_equal(getattr(model, method)(X), getattr(by_hand, method)(features))
    assert not np.allclose(model.predict_proba(X), on_codes.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("passthrough", [True, False])
def test_copies_predict_the_same(passthrough, data, vae):
    """A pickle predicts, and a clone fits, the same to the bit."""
    X, y, _ = data
    model = m1(SVC(), vae, passthrough=passthrough).fit(X, y)
    copy, again = pickle.loads(pickle.dumps(model)), clone(model).fit(X, y)
    for other in (copy, again):
        assert other.passthrough == passthrough
        assert np.array_equal(other.decision_function(X), model.decision_function(X))


def test_inactive_dimensions_are_not_features(data, vae):
    """active_ holds the dimensions whose means have an sd above active_threshold, or all dimensions if none has."""
    X, y, _ = data
    spread = vae.transform(X).std(0)
    middle = (np.sort(spread)[0] + np.sort(spread)[1]) / 2
    model = m1(SVC(), vae, active_threshold=middle).fit(X, y)
    assert np.array_equal(model.active_, np.flatnonzero(spread > middle)) and len(model.active_) == 2
    assert model.transform(X).shape == (N, 2) and len(model.get_feature_names_out()) == 2
    for large in (100.0, 1e308):  # the latter is no number of float32
        assert len(m1(SVC(), vae, active_threshold=large).fit(X, y).active_) == 3


@pytest.mark.parametrize("threshold", [0.0, "between"])
def test_draws_have_the_posteriors_mean_and_sd(data, vae, threshold):
    """n_draws draws from q(z | x) per labeled row, with repeated labels: moments within 4.5 standard errors."""
    X, y, _ = data
    spread = np.sort(vae.transform(X).std(0))
    threshold = (spread[0] + spread[1]) / 2 if threshold == "between" else threshold
    model = m1(Supervised(), vae, n_draws=600, active_threshold=threshold).fit(X, y)
    labeled, active = np.flatnonzero(y >= 0), model.active_
    mean, sd = (part[:, active] for part in vae._posterior(X[labeled]))
    draws, labels = model.estimator_.X_, model.estimator_.y_
    assert draws.shape == (600 * len(labeled), len(active)) and draws.dtype == np.float64
    for label in np.unique(y[labeled]):
        assert np.sum(labels == label) == 600 * np.sum(y == label)
    draws = draws.reshape(len(labeled), 600, -1)
    assert np.array_equal(labels.reshape(len(labeled), 600)[:, 0], y[labeled])
    assert np.all(np.abs(draws.mean(1) - mean) < 4.5 * sd / np.sqrt(600))
    np.testing.assert_allclose(draws.std(1), sd, rtol=0.15)


def test_prediction_reads_means_even_if_trained_on_draws(data, vae):
    """Prediction has no noise: the estimator reads posterior means."""
    X, y, _ = data
    model = m1(Supervised(), vae, n_draws=3).fit(X, y)
    model.predict(X)
    assert np.array_equal(model.estimator_.asked_[: len(X)], vae.transform(X)[:, model.active_])


def test_draws_come_from_the_seed(data, vae):
    """The same random_state draws the same codes, another one different codes."""
    X, y, _ = data
    first, again, other = (m1(Supervised(), vae, n_draws=4).set_params(random_state=s).fit(X, y) for s in (0, 0, 1))
    assert np.array_equal(first.estimator_.X_, again.estimator_.X_)
    assert not np.array_equal(first.estimator_.X_, other.estimator_.X_)


def test_a_frozen_encoder_is_not_fitted_again(data, vae):
    """It is used unchanged, also by clones: the same module, the same weights."""
    X, y, _ = data
    module = vae.module_
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = clone(m1(SVC(), vae)).fit(X[:50], y[:50])
    assert model.encoder_.module_ is module and vae.module_ is module
    assert all(np.array_equal(before[name], value) for name, value in module.state_dict().items())
    assert np.array_equal(model.transform(X), vae.transform(X)[:, model.active_])


def test_an_encoder_is_cloned_and_sees_all_rows(data):
    """The given encoder stays unfitted; the fitted one equals a VAE fitted to all rows with the same seed."""
    X, y, _ = data
    encoder = VAE(3, **FAST)
    model = M1Classifier(SVC(), encoder=encoder, active_threshold=0.0).fit(X, y)
    assert not hasattr(encoder, "module_")
    assert np.array_equal(model.transform(X), VAE(3, **FAST).fit(X).transform(X))


def test_an_unseeded_encoder_takes_its_seed_from_ours(data):
    """random_state of M1Classifier determines encoder, draws and inner estimator; an encoder's own seed is kept."""
    X, y, _ = data

    def fitted(seed, own=None):
        encoder = VAE(3, **{**FAST, "random_state": own, "max_iter": 2})
        return M1Classifier(SVC(), encoder=encoder, active_threshold=0.0, random_state=seed).fit(X, y)

    assert np.array_equal(fitted(0).transform(X), fitted(0).transform(X))
    assert not np.array_equal(fitted(0).transform(X), fitted(1).transform(X))
    assert np.array_equal(fitted(0, own=7).transform(X), fitted(1, own=7).transform(X))


@pytest.mark.parametrize(
    ("frozen", "match"),
    [
        (lambda X: FrozenEstimator(SVC().fit(X[:6], [0, 1] * 3)), "must freeze a fitted skdgm.VAE"),
        (lambda X: FrozenEstimator(VAE(3, **FAST).fit(X[:, :4])), "fitted on 4 columns, X has 6"),
    ],
)
def test_a_frozen_encoder_must_suit(frozen, match, data):
    """If it is not a VAE, or was fitted to other columns, the error says so."""
    X, y, _ = data
    with pytest.raises(ValueError, match=match):
        M1Classifier(SVC(), encoder=frozen(X)).fit(X, y)
    with pytest.raises(NotFittedError):
        M1Classifier(SVC(), encoder=FrozenEstimator(VAE(3, **FAST))).fit(X, y)


@pytest.mark.parametrize("classifier", [M1Classifier, M1M2Classifier])
def test_columns_must_be_those_of_a_frozen_encoder(classifier, data):
    """Other names, or another order, are an error, as in the encoder's own transform; missing names are a warning."""
    pandas = pytest.importorskip("pandas")
    X, y, _ = data
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    named, nameless = VAE(3, **FAST).fit(frame), VAE(3, **FAST).fit(X)
    params = {"max_iter": 2} if classifier is M1M2Classifier else {}
    model = classifier(encoder=FrozenEstimator(named), random_state=0, **params).fit(frame, y)
    before = model.predict(frame)
    for wrong, message in [
        (frame[list("fbcdea")], "same order"),
        (frame.rename(columns={"a": "x"}), "unseen at fit time"),
        (frame[list("abcde")], "seen at fit time, yet now missing"),
        (frame.assign(g=0.0), "unseen at fit time"),
    ]:
        with pytest.raises(ValueError, match=f"frozen encoder.*feature names should match(.|\n)*{message}"):
            model.fit(wrong, y)
        with pytest.raises(ValueError, match="feature names should match"):
            named.transform(wrong)
    assert np.array_equal(model.predict(frame), before)
    with pytest.warns(UserWarning, match="does not have valid feature names, but VAE was"):
        model.fit(X, y)
    with pytest.warns(UserWarning, match="X has feature names, but VAE was"):
        model.set_params(encoder=FrozenEstimator(nameless)).fit(frame, y)


@pytest.mark.parametrize("classifier", [M1Classifier, M1M2Classifier])
def test_searches_reach_into_the_defaults(classifier, data):
    """encoder=None and estimator=None stand for defaults, whose parameters a search may set."""
    X, y, _ = data
    grid = {"encoder__n_components": [2, 4], "encoder__max_iter": [3]}
    grid |= {"estimator__C": [0.5, 2.0]} if classifier is M1Classifier else {"max_iter": [2]}
    search = GridSearchCV(
        classifier(random_state=0), grid, cv=LabeledStratifiedKFold(2), scoring=make_labeled_scorer("accuracy")
    )
    best = search.fit(X, y).best_estimator_
    assert best.encoder_.n_components == search.best_params_["encoder__n_components"] and best.encoder_.n_iter_ == 3
    expected = {**VAE().get_params(), **{k[9:]: v for k, v in search.best_params_.items() if k.startswith("encoder__")}}
    assert best.encoder.get_params() == expected and search.estimator.encoder is None
    if classifier is M1Classifier:
        assert best.estimator_.C == search.best_params_["estimator__C"] and best.estimator.break_ties


@pytest.mark.parametrize("classifier", [M1Classifier, M1M2Classifier])
def test_setting_a_default_to_its_default_changes_nothing(classifier, data, short_vae):
    """The same fit, bit for bit; what is given is not replaced, and an unknown name is an error."""
    X, y, _ = data
    short = {"max_iter": 2} if classifier is M1M2Classifier else {}
    plain, set_explicitly = classifier(random_state=0, **short), classifier(random_state=0, **short)
    set_explicitly.set_params(encoder__kl_warmup=VAE().kl_warmup)
    assert repr(clone(set_explicitly).get_params()["encoder"]) == repr(set_explicitly.encoder)
    assert np.array_equal(plain.fit(X, y).transform(X), set_explicitly.fit(X, y).transform(X))
    given = VAE(7)
    assert plain.set_params(encoder=given, encoder__max_iter=5).encoder is given and given.max_iter == 5
    assert plain.set_params(encoder=None).encoder is None
    with pytest.raises(ValueError, match="Invalid parameter 'wrong' for estimator VAE"):
        plain.set_params(encoder__wrong=1)
    if classifier is M1M2Classifier:
        assert classifier().set_params(encoder__max_iter=5, device="cuda:7").encoder.device == "cuda:7"


@pytest.mark.parametrize("inner", [LabelSpreading(), SelfTrainingClassifier(LogisticRegression()), Recorder()])
@pytest.mark.parametrize("fit_on", ["auto", "all"])
def test_estimators_that_read_unlabeled_rows_get_all_of_them(inner, fit_on, data, vae):
    """They get class indices and -1; our predictions are still labels."""
    X, y, truth = data
    model = m1(inner, vae, fit_on=fit_on).fit(X, y)
    if isinstance(inner, Recorder):
        assert np.array_equal(model.estimator_.X_, vae.transform(X)[:, model.active_])
        assert np.array_equal(model.estimator_.y_, np.where(y < 0, -1, y // 10 - 1))
    else:
        assert np.mean(model.predict(X) == truth) > 0.9
    assert set(model.predict(X)) <= {10, 20, 30} and model.classes_.tolist() == [10, 20, 30]


@pytest.mark.parametrize(("inner", "fit_on"), [(Recorder(), "labeled"), (Supervised(), "auto")])
def test_others_get_labeled_rows_only(inner, fit_on, data, vae):
    """Always with fit_on="labeled"; with "auto" if the estimator does not read unlabeled rows."""
    X, y, _ = data
    assert len(m1(inner, vae, fit_on=fit_on).fit(X, y).estimator_.X_) == np.sum(y >= 0)


def test_draws_with_unlabeled_rows(data, vae):
    """If the inner estimator reads both, labeled rows give draws and unlabeled rows give means."""
    X, y, _ = data
    model = m1(Recorder(), vae, n_draws=2).fit(X, y)
    inner = model.estimator_
    n_labeled = np.sum(y >= 0)
    assert np.sum(inner.y_ >= 0) == 2 * n_labeled and np.sum(inner.y_ == -1) == N - n_labeled
    assert np.array_equal(inner.X_[inner.y_ == -1], model.transform(X)[y < 0])


# --- metadata ---------------------------------------------------------------------------------------------------------


def test_sample_weight_reaches_the_inner_estimator_row_by_row(data, vae):
    """Routed weights are restricted to the labeled rows, and repeated with their draws."""
    X, y, _ = data
    weight = np.random.default_rng(0).random(N)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = Supervised().set_fit_request(sample_weight=True)
        cut = m1(inner, vae).fit(X, y, sample_weight=weight).estimator_
        repeated = m1(inner, vae, n_draws=3).fit(X, y, sample_weight=weight).estimator_
        everything = m1(Recorder().set_fit_request(sample_weight=True), vae).fit(X, y, sample_weight=weight).estimator_
        assert np.array_equal(cut.weight_, weight[y >= 0])
        assert np.array_equal(repeated.weight_, np.repeat(weight[y >= 0], 3))
        assert np.array_equal(everything.weight_, weight)
        assert m1(inner, vae).fit(X, y).estimator_.weight_ is None


def test_sample_weight_counts_in_a_support_vector_machine(data, vae):
    """Weights routed to an SVC give the same as the SVC fitted by hand, and differ from no weights."""
    X, y, _ = data
    labeled = y >= 0
    weight = np.where(y == 10, 50.0, 0.05)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = SVC(C=0.1).set_fit_request(sample_weight=True)
        model = m1(inner, vae).fit(X, y, sample_weight=weight)
    Z = model.transform(X)
    by_hand = SVC(C=0.1).fit(Z[labeled], y[labeled], sample_weight=weight[labeled])
    assert np.array_equal(model.decision_function(X), by_hand.decision_function(Z))
    plain = SVC(C=0.1).fit(Z[labeled], y[labeled])
    assert not np.allclose(model.decision_function(X), plain.decision_function(Z))


def test_weights_that_were_not_requested_are_an_error(data, vae):
    """Under routing without a request, they raise an error instead of being dropped; the model is unchanged."""
    X, y, _ = data
    model = m1(SVC(), vae).fit(X, y)
    before = model.decision_function(X)
    with sklearn.config_context(enable_metadata_routing=True), pytest.raises(ValueError, match="sample_weight"):
        model.fit(X, y, sample_weight=np.ones(N))
    with pytest.raises((ValueError, TypeError), match="age|enable_metadata_routing"):
        model.fit(X, y, age=np.ones(N))
    assert np.array_equal(model.decision_function(X), before)


def test_methods_that_the_inner_estimator_lacks_are_missing(data, vae):
    """hasattr follows the inner estimator, before and after fit."""
    X, y, _ = data
    for inner, has in [(SVC(), {"decision_function"}), (LogisticRegression(), {"decision_function", "predict_proba"})]:
        for model in (m1(inner, vae), m1(inner, vae).fit(X, y)):
            assert {m for m in ("decision_function", "predict_proba") if hasattr(model, m)} == has
    assert not hasattr(M1Classifier(), "predict_proba") and hasattr(M1Classifier(), "decision_function")


def test_labels_of_one_class_are_an_error_before_the_encoder_is_trained(data, monkeypatch):
    """An SVC needs two classes; an inner estimator that does not is free to take one."""
    X, y, _ = data
    one = np.where(y == 10, 10, -1)
    monkeypatch.setattr(VAE, "fit", lambda *args, **options: pytest.fail("the encoder was trained"))
    with pytest.raises(ValueError, match="default SVC needs labels of at least two classes, got one class, 10. Label"):
        M1Classifier().fit(X, one)
    monkeypatch.undo()
    assert set(M1Classifier(Recorder(), encoder=VAE(2, **FAST)).fit(X, one).predict(X)) == {10}
