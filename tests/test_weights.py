"""Sample weights: a row of weight w counts as w rows."""

from functools import partialmethod

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.utils import compute_class_weight

from skdgm import (
    DLGM,
    VAE,
    ADGMClassifier,
    M1Classifier,
    M1M2Classifier,
    M2Classifier,
    SemiSupervisedMetaClassifier,
    training,
)
from skdgm.estimators import _class_prior, _label_terms
from skdgm.estimators._class_prior import ClassPriorEstimator, label_counts
from skdgm.estimators._label_terms import RowWeights
from skdgm.estimators._temperature import fit_temperature
from skdgm.estimators._weights import by_class_index, drawn_by_weight, relative, training_weights
from skdgm.noise import RowNoise
from skdgm.sources import ResidentSource, WeightedSource
from skdgm.training import Term, total_bound

FAST = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}
MAKERS = {
    "VAE": lambda: VAE(2, **FAST),
    "DLGM": lambda: DLGM((3, 2), **FAST),
    "DLGM, top-down": lambda: DLGM((3, 2), inference="top_down", **FAST),
    "M2": lambda: M2Classifier(2, **FAST),
    "M2_calibrated": lambda: M2Classifier(2, calibration_cv=2, class_weight="balanced", **FAST),
    "ADGM": lambda: ADGMClassifier(2, **FAST),
    "M1M2": lambda: M1M2Classifier(2, encoder=VAE(2, **FAST), **FAST),
    "M1": lambda: M1Classifier(LogisticRegression(), encoder=VAE(2, **FAST), random_state=0),
}


def table(n=80, seed=0):
    """Two classes in 3 columns, and y, in which a third of the rows are unlabeled."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.uniform(-1.7, 1.7, (n, 3)) + 2 * y[:, None]
    return X, np.where(rng.random(n) < 1 / 3, -1, y)


def outputs(model, X):
    """All that a model says about rows, as one array."""
    parts = [model.transform(X)]
    parts += [model.score_samples(X)[:, None]] if hasattr(model, "score_samples") else []
    parts += [model.predict_proba(X)] if hasattr(model, "predict_proba") else []
    return np.hstack(parts)


# --- the objective ----------------------------------------------------------------------------------------------------


def objective_and_gradient(module, terms):
    """The objective over all rows of the terms and its gradient, with noise that is a function of the first's rows."""
    module.requires_grad_(True).zero_grad()
    batches = [term.source.rows(torch.arange(term.source.n_rows), None) for term in terms]
    values = training.evaluate(terms, batches, RowNoise(0, batches[0].x))
    objective = sum(
        term.weight * training.row_mean(total_bound(value), batch.weight)
        for term, value, batch in zip(terms, values, batches, strict=True)
    )
    objective.backward()
    return torch.cat([objective.detach().ravel(), *(p.grad.ravel() for p in module.parameters() if p.numel())])


@pytest.mark.parametrize("make", [lambda: VAE(2, **FAST), lambda: DLGM((3, 2), n_importance_samples_train=4, **FAST)])
def test_the_objective_of_weighted_rows_is_that_of_repeated_rows(make):
    X, _ = table()
    times = np.arange(len(X)) % 4
    model = make().set_params(device="cpu").fit(X)
    found = []
    for rows, weight in [(X, relative(times)), (np.repeat(X, times, 0), None)]:
        term = model._term(model._make_source(rows.astype(np.float32), weight), model._objective(noisy=True))
        found.append(objective_and_gradient(model.module_, [term]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "params",
    [
        {"alpha": "auto"},
        {"alpha": 0.3},
        {"alpha": 0.3, "alpha_normalization": "balanced"},
        {"class_weight": {0: 1, 1: 5}},
        {"class_weight": "balanced"},
    ],
)
def test_the_objective_of_weighted_labels_is_that_of_repeated_labels(params, monkeypatch):
    """Bounds, the classification term, and class weights; labels are a third of the weight, but half of the rows."""
    monkeypatch.setattr(_label_terms, "NEGLIGIBLE", 0.0)  # the sum over classes has all rows in all classes
    monkeypatch.setattr("skdgm.distributions.standard_normal", lambda shape, rng, like: torch.full(shape, 0.7))
    X, y = table()
    times = 1 + np.arange(len(X)) % 3 + 2 * (y < 0)
    model = M2Classifier(2, early_stopping=False, device="cpu", **params, **FAST).fit(X, y)
    found = []
    for repeats, weight in [(1, times.astype(float)), (times, None)]:
        rows, targets = np.repeat(X.astype(np.float32), repeats, 0), np.repeat(y, repeats)
        weights = RowWeights(weight, training_weights(targets, model.classes_, model.class_weight, weight))
        source = model._source(rows, torch.from_numpy(targets))
        terms, _ = model._terms(source, targets, weights, 0.3, np.random.RandomState(0), n_rows=9, holds_out=False)
        assert len(terms) == 3
        found.append(objective_and_gradient(model.module_, terms))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_means_and_validation_are_weighted():
    """In the history, and in the bound of held-out rows, also if they come in several batches."""
    x, weight = torch.arange(6.0)[:, None], torch.tensor([0.0, 0.5, 1.0, 1.0, 1.5, 2.0])
    expected = np.average(np.arange(6.0), weights=weight)
    term = Term("", WeightedSource(ResidentSource(x), weight), lambda batch, rng: batch.x[:, 0], 1.0, 4)
    assert training.validation_bound(torch.nn.Linear(1, 1), term, None) == pytest.approx(expected)
    means = training.Means()
    means.add_step(training.means_of("a", x[:, 0], weight))
    assert means.read()["a"] == pytest.approx(expected)


def test_weights_of_sources_follow_their_rows():
    x, weight = torch.arange(5.0)[:, None], torch.arange(5.0) ** 2
    source = WeightedSource(ResidentSource(x, weight=torch.ones(5)), weight)
    order = source.order(torch.Generator().manual_seed(0))
    batch = source.rows(order, None)
    assert sorted(order.tolist()) == list(range(5)) and torch.equal(batch.weight, batch.x[:, 0] ** 2)
    some = source.subset(torch.tensor([4, 2])).rows(torch.tensor([1, 0]), None)
    assert some.x[:, 0].tolist() == [2, 4] and some.weight.tolist() == [4, 16]


# --- what is estimated beside the objective ---------------------------------------------------------------------------


def test_class_weights_by_index():
    classes = np.array(["cat", "dog"], dtype=object)
    assert by_class_index({"dog": 3.0}, classes) == {0: 1, 1: 3.0}
    assert by_class_index("balanced", classes) == "balanced" and by_class_index(None, classes) is None


def test_class_weights_multiply_the_weights_of_labels():
    """As scikit-learn's class weights times sample weights; unlabeled rows keep theirs."""
    targets = np.array([0, 0, 0, 1, 1, 2, -1, -1])
    classes, weight = np.array(["a", "b", "c"], object), np.array([1.0, 2, 3, 1, 5, 2, 7, 8])
    labeled = targets >= 0
    for class_weight in ("balanced", {"a": 2.0, "b": 0.5}):
        found = training_weights(targets, classes, class_weight, weight)
        by_class = compute_class_weight(
            class_weight, classes=classes, y=classes[targets[labeled]], sample_weight=weight[labeled]
        )
        np.testing.assert_allclose(found[labeled], weight[labeled] * by_class[targets[labeled]])
        assert np.array_equal(found[~labeled], weight[~labeled])
    balanced = training_weights(targets, classes, "balanced", weight)
    np.testing.assert_allclose(label_counts(targets, 3, balanced), weight[labeled].sum() / 3)
    assert training_weights(targets, classes, None, weight) is weight


def test_the_class_prior_counts_weights():
    """Estimated from weighted rows as from repeated ones; the pull toward the labels counts labels in both cases."""
    X, y = table()
    model = M2Classifier(2, device="cpu", **FAST).fit(X, y)
    times, found = 1 + np.arange(len(X)) % 3, []
    for repeats, weight in [(1, times.astype(float)), (times, None)]:
        rows, targets = np.repeat(X, repeats, 0), np.repeat(y, repeats)
        estimator = ClassPriorEstimator(
            "estimated",
            model.module_,
            model._source(rows, torch.from_numpy(targets)),
            targets,
            np.array([0.3, 0.7]),
            weight,
            np.random.RandomState(0),
        )
        np.testing.assert_allclose(
            estimator.totals, [np.repeat(y, times).tolist().count(-1), (y[y >= 0] >= 0) @ times[y >= 0]]
        )
        found.append(estimator.found()[0].numpy())
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_the_class_prior_counts_blocks_with_and_without_missing_cells_alike(monkeypatch):
    """A stream has no mask for a block that misses no cell."""
    X, y = table()
    model = M2Classifier(2, device="cpu", **FAST).fit(X, y)
    source, found = model._source(X, torch.from_numpy(y)), []
    rows_of = type(source).rows

    def with_masks(self, indices, rng=None, *, first_only):
        batch = rows_of(self, indices, rng)
        return batch._replace(
            observed=None if first_only and indices[0] else torch.ones_like(batch.x, dtype=torch.bool)
        )

    monkeypatch.setattr(_class_prior, "CHUNK", 10)
    for first_only in (False, True):
        monkeypatch.setattr(type(source), "rows", partialmethod(with_masks, first_only=first_only))
        shares, random = np.array([0.3, 0.7]), np.random.RandomState(0)
        estimator = ClassPriorEstimator("estimated", model.module_, source, y, shares, None, random)
        found.append(estimator.found())
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    assert found[0][1] == found[1][1] == (y < 0).sum()


def test_temperatures_of_weighted_rows_are_those_of_repeated_rows():
    rng = np.random.default_rng(0)
    log_proba, targets = log_softmax(3 * rng.standard_normal((50, 3)), 1), rng.integers(0, 3, 50)
    times = rng.integers(0, 4, 50)
    repeated = fit_temperature(np.repeat(log_proba, times, 0), np.repeat(targets, times))
    assert fit_temperature(log_proba, targets, times) == pytest.approx(repeated, rel=1e-6)


def test_drawn_rows_are_as_frequent_as_their_weights():
    """Every row comes as often as its share of the weights says, rounded up or down."""
    rows, weight = np.arange(200)[:, None], np.random.default_rng(0).exponential(size=200)
    drawn = drawn_by_weight(rows, weight, np.random.RandomState(0))
    expected = 200 * weight / weight.sum()
    assert len(drawn) == 200 and np.abs(np.bincount(drawn[:, 0], minlength=200) - expected).max() < 1
    assert drawn_by_weight(rows, None, np.random.RandomState(0)) is rows


# --- fits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_weight_zero_is_an_absent_row_to_the_bit(name):
    """Even if the row has a class or values of its own, and whatever the weights of the other rows are."""
    X, y = table()
    junk = np.array([[1e3, -1e3, 1e3], [5, 5, 5]])
    where = [10, 30]
    with_junk, labels = np.insert(X, where, junk, 0), np.insert(y, where, [7, 1])
    weight = 0.5 + np.arange(len(X)) % 3
    absent = MAKERS[name]().fit(X, y, sample_weight=weight)
    zero = MAKERS[name]().fit(with_junk, labels, sample_weight=np.insert(weight, where, 0))
    assert np.array_equal(outputs(absent, X), outputs(zero, X))
    assert np.array_equal(getattr(zero, "classes_", [0, 1]), [0, 1])
    plain = MAKERS[name]().fit(X, y)
    assert not np.allclose(outputs(absent, X), outputs(plain, X))


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"M1"}))
def test_equal_weights_are_no_weights_to_the_bit(name):
    X, y = table()
    plain, model = MAKERS[name]().fit(X, y), MAKERS[name]()
    for weight in (3.0, np.full(len(X), 3.0), [3] * len(X)):
        assert np.array_equal(outputs(model.fit(X, y, sample_weight=weight), X), outputs(plain, X))


def test_weight_zero_in_frames_lists_and_tensors():
    """A category that only rows of weight 0 have is not learned."""
    X, y = table()
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": np.where(np.arange(80) == 5, "rare", "often")})
    weight = np.where(np.arange(80) == 5, 0.0, 1.0)
    with pytest.warns(UserWarning, match="unknown category 'rare'"):
        M2Classifier(2, **FAST).fit(frame, y.tolist(), sample_weight=pd.Series(weight)).predict(frame)
    by_list = VAE(2, **FAST).fit(X.tolist(), sample_weight=weight.tolist())
    by_tensor = VAE(2, **FAST).fit(torch.from_numpy(X), sample_weight=torch.from_numpy(weight))
    assert np.array_equal(by_list.transform(X), by_tensor.transform(X))


def linear_gaussian(seed=0):
    """Rows of a Gaussian of 2 correlated columns, and whole weights that move its mean and its covariance."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((240, 1)) @ [[2.0, 1.0]] + rng.standard_normal((240, 2)) * [1.0, 0.5] + [3.0, -1.0]
    return X, np.where(np.abs(X[:, 0] - 4) < 1, 6, 1)


def test_a_linear_vae_finds_the_weighted_mean_and_covariance():
    """Its optimum is factor analysis: exact for 2 columns and 1 factor. Repeated rows lead there as well."""
    X, times = linear_gaussian()
    model = VAE(
        1,
        prior="normal",
        hidden_layer_sizes=(),
        likelihood="gaussian",
        weight_prior=None,
        early_stopping=False,
        max_iter=60,
        learning_rate_init=0.01,
        batch_size=40,
        random_state=0,
    )
    weighted = clone(model).fit(X, sample_weight=times)
    repeated = clone(model).fit(np.repeat(X, times, 0))
    mean, covariance = np.average(X, 0, times), np.cov(X.T, aweights=times, ddof=0)
    for fitted in (weighted, repeated):
        np.testing.assert_allclose(fitted.inverse_transform([[0.0]])[0], mean, atol=0.03)
        drawn = fitted.sample(40_000, random_state=0)
        np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.08)
    plain = clone(model).fit(X)
    assert np.abs(plain.inverse_transform([[0.0]])[0] - mean).max() > 0.4
    assert np.abs(np.cov(plain.sample(40_000, random_state=0).T) - covariance).max() > 2


def test_m2_finds_the_weighted_means_and_shares_of_the_classes():
    """With labels of all rows, class means and shares have closed forms."""
    X, times = linear_gaussian()
    y = (X[:, 1] > -1).astype(int)
    model = M2Classifier(
        1,
        hidden_layer_sizes=(),
        weight_prior=None,
        early_stopping=False,
        max_iter=40,
        learning_rate_init=0.02,
        batch_size=40,
        random_state=0,
    ).fit(X, y, sample_weight=times)
    shares = [np.average(y == c, weights=times) for c in (0, 1)]
    np.testing.assert_allclose(model.class_prior_, shares, rtol=1e-5)
    assert abs(shares[0] - np.mean(y == 0)) > 0.05
    for c in (0, 1):
        drawn, _ = model.sample(20_000, y=c, random_state=0)
        weighted, plain = np.average(X[y == c], 0, times[y == c]), X[y == c].mean(0)
        assert np.abs(drawn.mean(0) - weighted).max() < 0.15 < np.abs(plain - weighted).max()


# --- errors and scores ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(80), "Sample weights must contain at least one non-zero number"),
        (-np.ones(80), "Negative values in data passed to `sample_weight`"),
        (np.full(80, np.nan), "Input sample_weight contains NaN"),
        (np.ones(79), r"sample_weight.shape == \(79,\), expected \(80,\)"),
        (np.ones((80, 1)), "Sample weights must be 1D array or scalar"),
    ],
)
@pytest.mark.parametrize("name", MAKERS)
def test_bad_weights_raise_scikit_learns_errors_and_change_nothing(name, weight, message):
    X, y = table()
    model = MAKERS[name]()
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, sample_weight=weight)
    assert not [attribute for attribute in vars(model) if attribute.endswith("_")]


def test_scores_are_weighted_means():
    X, _ = table()
    model, weight = VAE(2, **FAST).fit(X), np.arange(80.0)
    assert model.score(X, sample_weight=weight) == pytest.approx(np.average(model.score_samples(X), weights=weight))
    assert model.score(X) == pytest.approx(model.score_samples(X).mean())
    assert model.score(torch.from_numpy(X)) == pytest.approx(model.score(X))
    with pytest.raises(ValueError, match="expected"):
        model.score(X, sample_weight=np.ones(3))


# --- inside other estimators ------------------------------------------------------------------------------------------


def test_m1_weighs_the_encoder_and_the_inner_estimator():
    X, y = table()
    weight = 1.0 + np.arange(80) % 3
    encoder = VAE(2, **FAST)
    model = M1Classifier(LogisticRegression(), encoder=encoder, random_state=0).fit(X, y, sample_weight=weight)
    assert np.array_equal(model.encoder_.transform(X), clone(encoder).fit(X, sample_weight=weight).transform(X))
    Z = model._features(model._read(X))
    by_hand = LogisticRegression().fit(Z[y >= 0], y[y >= 0], weight[y >= 0])
    np.testing.assert_array_equal(model.estimator_.coef_, by_hand.coef_)


def test_m1_warns_if_the_inner_estimator_takes_no_weights():
    X, y = table()
    model = M1Classifier(KNeighborsClassifier(), encoder=VAE(2, **FAST))
    with pytest.warns(UserWarning, match="KNeighborsClassifier does not take sample_weight.*encoder only"):
        model.fit(X, y, sample_weight=1.0 + y % 2)


def test_weights_are_routed_through_m1():
    """The default inner estimator requests them; any other one must."""
    X, y = table()
    weight = np.where(y == 1, 20.0, 0.05)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = M1Classifier(encoder=VAE(2, **FAST), random_state=0).fit(X, y, sample_weight=weight)
        with pytest.raises(ValueError, match="sample_weight"):
            M1Classifier(SVC(), encoder=VAE(2, **FAST)).fit(X, y, sample_weight=weight)
        refused = M1Classifier(SVC().set_fit_request(sample_weight=False), encoder=VAE(2, **FAST), random_state=0)
        refused.fit(X, y, sample_weight=weight)
        assert (
            M1Classifier().set_fit_request(sample_weight=True).get_metadata_routing().consumes("fit", {"sample_weight"})
        )
    plain = M1Classifier(encoder=VAE(2, **FAST), random_state=0).fit(X, y, sample_weight=weight)
    assert np.array_equal(routed.decision_function(X), plain.decision_function(X))
    assert not np.allclose(routed.decision_function(X), refused.decision_function(X))


ENSEMBLES = {
    "AdaBoost": lambda member: AdaBoostClassifier(member, n_estimators=2, random_state=0),
    "Bagging": lambda member: BaggingClassifier(member, n_estimators=2, random_state=0),
    "Calibrated": lambda member: CalibratedClassifierCV(member, cv=2),
}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles_that_weigh_rows(name):
    """They pass weights on: AdaBoost sums to 1, and bagging leaves rows out by weight 0."""
    X, y = table()
    labeled = y >= 0
    weight = 1.0 + np.arange(80) % 2
    plain = ENSEMBLES[name](M2Classifier(2, unlabeled_value=None, **FAST))
    assert plain.fit(X[labeled], y[labeled], sample_weight=weight[labeled]).score(X[labeled], y[labeled]) > 0.9
    with_unlabeled = SemiSupervisedMetaClassifier(ENSEMBLES[name](M2Classifier(2, **FAST))).fit(X, y)
    assert with_unlabeled.score(X, y) > 0.9


def test_members_get_weights_of_mean_one_beside_unlabeled_rows():
    """AdaBoost's weights sum to 1: unlabeled rows of weight 1 would outweigh the labels by their number."""
    X, y = table()
    seen = []

    class Spy(M2Classifier):
        def fit(self, X, y, sample_weight=None):
            seen.append(np.asarray(sample_weight)[np.asarray(y) >= 0].mean())
            return super().fit(X, y, sample_weight)

    ada = AdaBoostClassifier(Spy(2, **FAST), n_estimators=2, random_state=0)
    SemiSupervisedMetaClassifier(ada).fit(X, y)
    assert seen == [pytest.approx(1.0)] * len(seen) and seen


def test_bagging_may_miss_a_class():
    """The only label of a class has weight 0 in some members; these know the other classes only."""
    X, y = table()
    y = np.where(np.arange(80) == np.flatnonzero(y >= 0)[0], 2, y)
    bag = BaggingClassifier(M2Classifier(2, **FAST), n_estimators=8, random_state=0)
    model = SemiSupervisedMetaClassifier(bag).fit(X, y)
    assert {len(member.classes_) for member in model.estimator_.estimators_} == {2, 3}
    assert model.predict_proba(X).shape == (80, 3)


@pytest.mark.parametrize("class_weight", [{0: -1.0}, {0: np.nan}, {0: 0.0, 1: 0.0, 2: 0.0}])
def test_class_weights_that_no_row_can_have(class_weight):
    targets = np.array([0, 0, 1, 2, -1])
    with pytest.raises(ValueError, match="class_weight must hold positive numbers, or 0 for some classes, got"):
        training_weights(targets, np.arange(3), class_weight, None)
