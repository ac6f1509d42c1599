"""Tests of M2Classifier, also for M1M2Classifier: classes, priors, weights, conditional samples and analogies."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from skdgm import M2Classifier
from skdgm.models.m2 import M2Module

FAST = {
    "hidden_layer_sizes": (16,),
    "early_stopping": False,
    "max_iter": 6,
    "learning_rate_init": 0.01,
    "random_state": 0,
    "n_importance_samples": 5,
}
N = 120


@pytest.fixture(scope="module")
def data():
    """Three clusters of binary rows, with 30 labels 'a', 'b', 'c' and None for the other rows; the true labels."""
    rng = np.random.default_rng(0)
    truth = np.array(["a", "b", "c"], dtype=object)[np.arange(N) % 3]
    centres = rng.choice([0.1, 0.9], (3, 12))
    X = (rng.random((N, 12)) < centres[np.arange(N) % 3]).astype(float)
    y = truth.copy()
    y[30:] = None
    return X, y, truth


@pytest.fixture(scope="module")
def model(data):
    """A fitted model that has learned the clusters."""
    return M2Classifier(2, **{**FAST, "max_iter": 40}).fit(data[0], data[1])


def test_it_learns_the_clusters(model, data):
    """A quarter of the labels is enough."""
    X, _, truth = data
    assert np.mean(model.predict(X) == truth) > 0.95


# --- decoding and drawing ---------------------------------------------------------------------------------------------


def test_decoding_without_a_label_averages_over_the_prior(data):
    """inverse_transform(Z) = sum_y p(y) inverse_transform(Z, y)."""
    X, y, _ = data
    prior = {"a": 0.7, "b": 0.2, "c": 0.1}
    model = M2Classifier(2, **FAST, class_prior=prior).fit(X, y)
    Z = model.transform(X)
    average = sum(probability * model.inverse_transform(Z, label) for label, probability in prior.items())
    np.testing.assert_allclose(model.inverse_transform(Z), average, atol=1e-6)


def test_analogies_keep_the_code_and_change_the_class(model, data):
    """Rows decoded as another class are predicted as that class; with one label for all rows, or one per row."""
    X, _, truth = data
    Z = model.transform(X)
    for label in "abc":
        assert np.mean(model.predict(model.inverse_transform(Z, label)) == label) > 0.9
    turned = np.roll(truth, 1)
    each = model.inverse_transform(Z, turned)
    assert np.array_equal(each[turned == "b"], model.inverse_transform(Z, "b")[turned == "b"])
    assert np.array_equal(model.inverse_transform(Z, list(turned)), each)


def test_codes_average_over_the_class_posterior(model, data):
    """transform = sum_y q(y | x) E_q[z | x, y]."""
    X = data[0]
    x = torch.from_numpy(X).float()
    expected = sum(
        model.predict_proba(X)[:, [k]] * model.module_.q_z(x, torch.full((N,), k)).mean.numpy() for k in range(3)
    )
    np.testing.assert_allclose(model.transform(X), expected, atol=1e-5)


def test_draws_of_a_class_look_like_that_class(model, data):
    """sample(n, y) gives rows of class y: near its column means, and predicted as y."""
    X, _, truth = data
    for label in "abc":
        rows, labels = model.sample(400, y=label, random_state=0)
        assert rows.shape == (400, 12) and set(labels) == {label} and set(np.unique(rows)) <= {0.0, 1.0}
        assert np.abs(rows.mean(0) - X[truth == label].mean(0)).max() < 0.25
        assert np.mean(model.predict(rows) == label) > 0.8
    rows, labels = model.sample(3, y=["c", "a", "c"], random_state=0)
    assert labels.tolist() == ["c", "a", "c"] and rows.shape == (3, 12)


def test_draws_without_a_label_follow_the_prior(data):
    """Labels come from p(y) (chi-squared test), rows from their labels; the same seed gives the same draws."""
    X, y, _ = data
    model = M2Classifier(2, **FAST, class_prior=[0.6, 0.3, 0.1]).fit(X, y)
    rows, labels = model.sample(900, random_state=0)
    counts = [np.sum(labels == label) for label in "abc"]
    assert chisquare(counts, [540, 270, 90]).pvalue > 0.001 and rows.shape == (900, 12)
    again, labels_again = model.sample(900, random_state=0)
    assert np.array_equal(rows, again) and np.array_equal(labels, labels_again)
    assert not np.array_equal(rows, model.sample(900, random_state=1)[0])
    rows, labels = model.sample()
    assert rows.shape == (1, 12) and labels.shape == (1,)


# --- class prior and weights ------------------------------------------------------------------------------------------


def unbalanced(y):
    """20 labels of 'a', 4 of 'b', 2 of 'c'."""
    y = y.copy()
    y[np.flatnonzero(y == "b")[4:]] = None
    y[np.flatnonzero(y == "c")[2:]] = None
    return y


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        ("uniform", [1 / 3] * 3),
        ("empirical", [10 / 16, 4 / 16, 2 / 16]),
        ([0.2, 0.5, 0.3], [0.2, 0.5, 0.3]),
        ((0.2, 0.5, 0.3), [0.2, 0.5, 0.3]),
        ({"c": 0.3, "a": 0.2, "b": 0.5}, [0.2, 0.5, 0.3]),
    ],
    ids=["uniform", "empirical", "list", "tuple", "dict"],
)
def test_class_priors(prior, expected, data):
    """A sequence is in the order of classes_, a dict by label; either is p(y) of the model."""
    X, y, _ = data
    model = M2Classifier(2, **FAST, class_prior=prior).fit(X, unbalanced(y))
    np.testing.assert_allclose(model.module_.p_y.probs.numpy(), expected, atol=1e-6)


def test_the_prior_moves_bayes_probabilities(data):
    """p(y | x) by Bayes' rule depends on p(y): odds of two models with equal weights differ by the priors' odds."""
    X, y, _ = data
    model = M2Classifier(2, **FAST, proba_method="bayes", class_prior="uniform").fit(X, y)
    before = model.predict_log_proba(X)
    model.module_.log_p_y.copy_(torch.log(torch.tensor([0.8, 0.1, 0.1])))
    shift = model.predict_log_proba(X) - before
    np.testing.assert_allclose(shift[:, 0] - shift[:, 1], np.log(8), atol=1e-4)
    np.testing.assert_allclose(shift[:, 1] - shift[:, 2], 0, atol=1e-4)


def test_class_weights_count_labeled_rows(data):
    """A weight of k is like k copies of a class's labeled rows in the mean: a heavy class is predicted more often."""
    X, y, _ = data
    y = unbalanced(y)
    noise = np.random.default_rng(0).random(X.shape)  # rows without any class: only the weights decide
    share = {}
    for weight in (None, "balanced", {"a": 1.0, "b": 1.0, "c": 50.0}):
        model = M2Classifier(2, **FAST, alpha=5.0, class_weight=weight).fit(noise, y)
        share[str(weight)] = model.predict_proba(noise).mean(0)
    assert share["balanced"][2] > 1.2 * share["None"][2]
    assert share[str({"a": 1.0, "b": 1.0, "c": 50.0})][2] > 2 * share["None"][2]


def test_class_weight_of_ones_changes_nothing(data):
    """Weights of one are the same as no weights, to float accuracy."""
    X, y, _ = data
    ones = M2Classifier(2, **FAST, class_weight=dict.fromkeys("abc", 1.0)).fit(X, y)
    plain = M2Classifier(2, **FAST).fit(X, y)
    np.testing.assert_allclose(ones.predict_proba(X), plain.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("labeled_batch_size", [1, "auto"])
def test_class_weights_count_in_small_batches_too(labeled_batch_size, data):
    """A labeled batch of one row keeps its weight: the heavy class still wins."""
    X, y, _ = data
    noise = np.random.default_rng(0).random(X.shape)
    params = {**FAST, "max_iter": 5, "labeled_batch_size": labeled_batch_size, "class_prior": "empirical"}
    heavy = M2Classifier(2, **params, alpha=5.0, class_weight={"a": 1, "b": 1, "c": 50}).fit(noise, y)
    plain = M2Classifier(2, **params, alpha=5.0).fit(noise, y)
    assert heavy.predict_proba(noise)[:, 2].mean() > plain.predict_proba(noise)[:, 2].mean() + 0.2


# --- the objective ----------------------------------------------------------------------------------------------------


def test_alpha_makes_the_classifier_learn_from_labels(data):
    """A larger alpha gives a larger log q(y | x) of the labeled rows after a few epochs."""
    X, y, _ = data
    ends = [M2Classifier(2, **FAST, alpha=a).fit(X, y).history_["classification"][-1] for a in (0, 0.3, 5)]
    assert ends[0] + 0.05 < ends[1] < ends[2] - 0.05


@pytest.mark.parametrize("normalization", ["paper", "balanced"])
def test_weights_of_the_terms(normalization, data):
    """paper: J^alpha / N. balanced: mean bounds count equally, and log q(y | x) keeps its weight per labeled row."""
    X, y, _ = data
    n_labeled, n_unlabeled = 30, N - 30
    model = M2Classifier(2, **FAST, alpha=0.4, alpha_normalization=normalization).fit(X, y)
    h = {name: np.array(values) for name, values in model.history_.items()}
    parts = {k: h[f"{k}_reconstruction"] - h[f"{k}_kl"] + h[f"{k}_label"] for k in ("unlabeled", "labeled")}
    if normalization == "paper":
        weights = n_unlabeled / N, n_labeled / N, 0.4
    else:
        weights = 1.0, 1.0, 0.4 * N / n_labeled
    expected = weights[0] * parts["unlabeled"] + weights[1] * parts["labeled"] + weights[2] * h["classification"]
    np.testing.assert_allclose(h["bound"], expected, atol=1e-4)


@pytest.mark.parametrize(("labeled_batch_size", "wanted"), [(1, {1}), (7, {6}), (20, {15}), ("auto", {30})])
def test_labeled_batches(labeled_batch_size, wanted, data, monkeypatch):
    """Steps have this many labeled rows, in batches of equal size; an epoch has the steps of a pass over all rows."""
    X, y, _ = data
    original, sizes = M2Module.joint_bounds, []

    def spy(self, *batches_and_rng, **options):
        sizes.append([len(batch.x) for batch in batches_and_rng[:3]])
        return original(self, *batches_and_rng, **options)

    monkeypatch.setattr(M2Module, "joint_bounds", spy)
    M2Classifier(2, **{**FAST, "max_iter": 1}, batch_size=30, labeled_batch_size=labeled_batch_size).fit(X, y)
    unlabeled, labeled, classified = zip(*sizes, strict=True)
    assert unlabeled == (30, 30, 30, 30) and set(labeled) == wanted and classified == labeled


def test_all_labeled_is_supervised_learning(data):
    """Without unlabeled rows an epoch is a pass over the labeled ones, and the history has no unlabeled terms."""
    X, _, truth = data
    model = M2Classifier(2, **{**FAST, "max_iter": 15}).fit(X, truth)
    assert not [name for name in model.history_ if name.startswith("unlabeled")]
    assert model.score(X, truth) > 0.95


@pytest.mark.parametrize("n_enumerated", [1, 2, 9])
def test_enumerating_some_classes_learns_as_well(n_enumerated, data):
    """The fit with few enumerated classes works; from n_classes - 1 on it equals the full one bit for bit."""
    X, y, truth = data
    model = M2Classifier(2, **{**FAST, "max_iter": 15}, n_enumerated=n_enumerated).fit(X, y)
    assert np.mean(model.predict(X) == truth) > 0.9
    if n_enumerated >= 2:
        full = M2Classifier(2, **{**FAST, "max_iter": 15}).fit(X, y)
        assert np.array_equal(model.predict_proba(X), full.predict_proba(X))


def test_warmup_scales_the_kl_of_the_first_epochs(data):
    """With one step per epoch, the objective has 1 / kl_warmup of the first epoch's KL; the bound has the whole KL."""
    X, y, _ = data
    params = {**FAST, "kl_warmup": 4, "batch_size": N, "alpha": 0.1, "alpha_normalization": "balanced"}
    model = M2Classifier(2, **params).fit(X, y)
    h = {name: np.array(values) for name, values in model.history_.items()}
    kl_weight = np.minimum(1, np.arange(1, 7) / 4)
    parts = [h[f"{k}_reconstruction"] - kl_weight * h[f"{k}_kl"] + h[f"{k}_label"] for k in ("unlabeled", "labeled")]
    np.testing.assert_allclose(h["objective"], sum(parts) + 0.1 * N / 30 * h["classification"], atol=1e-4)
    colder = sum((1 - kl_weight) * h[f"{k}_kl"] for k in ("unlabeled", "labeled"))
    np.testing.assert_allclose(h["bound"], h["objective"] - colder, atol=1e-4)


def test_one_unlabeled_row_does_not_end_early_stopping():
    """The labeled rows are held out then, of which there are more."""
    X, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    y[0] = -1
    model = M2Classifier(1, hidden_layer_sizes=(4,), early_stopping=True, max_iter=2, random_state=0).fit(X, y)
    assert len(model.validation_scores_) == 2
