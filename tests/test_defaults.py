"""Promises of the defaults: class prior from the data, alpha, rows held out of the bound, small variances."""

import pickle
import time
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.mixture import GaussianMixture

from skdgm import DLGM, VAE, M1M2Classifier, M2Classifier
from skdgm.datasets import mask_labels
from skdgm.model_selection import make_labeled_scorer
from skdgm.models.m2 import M2Module

FAST = {"hidden_layer_sizes": (16,), "max_iter": 15, "random_state": 0}
BOTH = pytest.mark.parametrize("estimator", [M2Classifier, M1M2Classifier], ids=lambda estimator: estimator.__name__)
EACH = pytest.mark.parametrize(
    "estimator", [VAE, DLGM, M2Classifier, M1M2Classifier], ids=lambda estimator: estimator.__name__
)


def small(estimator, **params):
    """A quick model of either kind."""
    if estimator is M1M2Classifier:
        params = {"encoder": VAE(2, **{**FAST, "max_iter": 40, "learning_rate_init": 0.01}), **params}
    return estimator(2, **{**FAST, **params})


def clusters(sizes=(270, 30), seed=0):
    """Well-separated clusters in four columns, shuffled; rows and classes."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return 4 * np.eye(4)[truth] + rng.standard_normal((len(truth), 4)), truth


def fit_clusters(estimator, names=None, **params):
    """A quick fit to the two clusters, nine to one, with even labels."""
    X, truth = clusters()
    y = mask_labels(truth, 20, random_state=0)
    if names is not None:
        y = np.array([None if label == -1 else names[label] for label in y], dtype=object)
    return small(estimator, **params).fit(X, y), X, y


@cache
def fitted_once(estimator, max_iter=15):
    """A fit to the two clusters that several tests use."""
    return fit_clusters(estimator, max_iter=max_iter)


# --- class prior: estimated -------------------------------------------------------------------------------------------


@BOTH
def test_even_labels_do_not_hide_the_shares_of_the_rows(estimator):
    """Rows 9:1, 20 labels 1:1: near (pi_all + s pi_labeled) / (1 + s), s = 10 / 20 (less near on codes)."""
    model, X, _ = fitted_once(estimator, 30)
    assert model.class_prior_.shape == (2,) and model.class_prior_.sum() == pytest.approx(1)
    tolerance = 0.04 if estimator is M2Classifier else 0.12
    assert model.class_prior_[0] == pytest.approx((0.9 + 0.5 * 0.5) / 1.5, abs=tolerance)


@BOTH
def test_without_unlabeled_rows_the_prior_is_empirical(estimator):
    """Exactly the class shares of the labels."""
    X, truth = clusters((70, 20, 10))
    np.testing.assert_allclose(small(estimator).fit(X, truth).class_prior_, [0.7, 0.2, 0.1], atol=1e-6)


@BOTH
@pytest.mark.parametrize(("prior", "expected"), [("uniform", [1 / 3] * 3), ("empirical", [0.25, 0.5, 0.25])])
def test_named_priors_are_fixed(estimator, prior, expected):
    """A given prior does not change, and is in class_prior_."""
    X, truth = clusters((60, 60, 60))
    y = np.full(180, -1)
    for label, n in enumerate([5, 10, 5]):
        y[np.flatnonzero(truth == label)[:n]] = label
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = small(estimator, class_prior=prior).fit(X, y)
    np.testing.assert_allclose(model.class_prior_, expected, atol=1e-6)


@BOTH
def test_a_labeled_class_never_vanishes(estimator):
    """A class with one label, on a row that looks like the other class, keeps a share."""
    X, _ = clusters((200, 0))
    y = np.full(200, -1)
    y[:10] = [0] * 9 + [1]
    model = small(estimator).fit(X, y)
    assert model.class_prior_.min() > 0.01 and np.all(np.isfinite(model.predict_log_proba(X)))


def rare_class(n, seed):
    """Ten columns; 2 % of the rows shifted by 3 in two of them."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.02).astype(int)
    X = rng.standard_normal((n, 10))
    X[truth == 1, :2] += 3
    return X, truth


def test_a_rare_class_raises_few_false_alarms():
    """A random tenth of 2,000 rows labeled, default M2: at most 0.2 % false alarms, at a recall of 0.7 in the mean.

    The recall is never below that of logistic regression on the labels, of which 4 to 6 are of the rare class.
    """
    recalls = []
    for seed in (0, 1, 3):
        X, truth = rare_class(2000, seed)
        y = np.full(2000, -1)
        y[:200] = truth[:200]
        model = M2Classifier(random_state=0).fit(X, y)
        X_new, truth_new = rare_class(20000, 100 + seed)
        supervised = LogisticRegression().fit(X[:200], truth[:200]).predict(X_new) == 1
        alarm = model.predict(X_new) == 1
        recalls.append(alarm[truth_new == 1].mean())
        assert alarm[truth_new == 0].mean() <= 0.002 and recalls[-1] >= supervised[truth_new == 1].mean()
        assert 0.005 < model.class_prior_[1] < 0.05
    assert np.mean(recalls) >= 0.7


@BOTH
def test_draws_follow_the_estimated_prior(estimator):
    """sample() without y draws labels from class_prior_."""
    model, _, _ = fitted_once(estimator)
    _, labels = model.sample(1000, random_state=0)
    counts = [np.sum(labels == 0), np.sum(labels == 1)]
    assert chisquare(counts, 1000 * model.class_prior_).pvalue > 1e-3


@BOTH
def test_decoding_without_a_label_reads_the_estimated_prior(estimator):
    """inverse_transform(Z) = sum_y class_prior_[y] inverse_transform(Z, y)."""
    model, X, _ = fitted_once(estimator)
    Z = model.transform(X[:50])
    average = sum(share * model.inverse_transform(Z, label) for label, share in enumerate(model.class_prior_))
    np.testing.assert_allclose(model.inverse_transform(Z), average, atol=1e-4)


def test_probabilities_are_the_classifiers_without_a_further_factor():
    """predict_proba is q(y | x) itself."""
    model, X, _ = fitted_once(M2Classifier, 30)
    assert model.score(X, clusters()[1]) > 0.97
    mean = model.predict_proba(X)[:, 0].mean()
    assert mean == pytest.approx(0.9, abs=0.03)


@BOTH
def test_bayes_reads_the_estimated_prior(estimator):
    """Its mean is closer to the rows' 9:1 than to the labels' 1:1."""
    model, X, _ = fit_clusters(estimator, proba_method="bayes", max_iter=30, n_importance_samples=10)
    assert 0.72 < model.predict_proba(X)[:, 0].mean() < 0.95


@BOTH
def test_a_pickle_keeps_the_estimated_prior(estimator):
    """It is part of the state: the copy draws and decodes the same."""
    model, X, _ = fitted_once(estimator)
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.class_prior_, model.class_prior_)
    assert np.array_equal(copy.sample(50, random_state=0)[1], model.sample(50, random_state=0)[1])
    assert np.array_equal(copy.score_samples(X[:20]), model.score_samples(X[:20]))


# --- class prior: given -----------------------------------------------------------------------------------------------

UNSEEN = [
    ({"a": 0.5, "ab": 0.2, "b": 0.3}, ["a", "b"], ["a", "ab", "b"]),
    ({"b": 0.3, "a": 0.5, "A": 0.2}, ["a", "b"], ["A", "a", "b"]),
    ({3: 0.5, 7: 0.3, 5: 0.2}, [3, 7], [3, 5, 7]),
]


@BOTH
@pytest.mark.parametrize(("prior", "names", "classes"), UNSEEN, ids=["between", "first", "integers"])
def test_a_dict_may_name_a_class_without_a_label(estimator, prior, names, classes):
    """It is in classes_, sorted, and has its share, a column of predict_proba, and its own draws."""
    X, truth = clusters((90, 90, 60))
    y = np.array([None] * 240, dtype=object)
    for label, name in enumerate(names):
        y[np.flatnonzero(truth == label)[:10]] = name
    model = small(estimator, class_prior=prior).fit(X, y)
    assert model.classes_.tolist() == classes
    np.testing.assert_allclose(model.class_prior_, [prior[label] for label in classes], atol=1e-6)
    proba = model.predict_proba(X)
    assert proba.shape == (240, 3) and np.all(np.isfinite(proba))
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)
    unseen = next(label for label in classes if label not in names)
    rows, labels = model.sample(5, y=unseen, random_state=0)
    assert rows.shape == (5, 4) and set(labels) == {unseen}


@BOTH
def test_a_class_without_a_label_is_a_wrong_answer_for_labeled_rows(estimator):
    """Its probability at the labeled rows is small, even with class_weight="balanced"."""
    X, truth = clusters((90, 90, 60))
    y = mask_labels(truth, 60, random_state=0)
    y[y == 2] = -1
    model = small(estimator, class_prior={0: 0.375, 1: 0.375, 2: 0.25}, class_weight="balanced", max_iter=30)
    proba = model.fit(X, y).predict_proba(X[y != -1])
    assert proba[:, 2].mean() < 0.15 and np.mean(model.predict(X[y != -1]) == y[y != -1]) > 0.9


@BOTH
@pytest.mark.parametrize(
    ("names", "prior"),
    [(["a", "b"], {"a": 0.5, "b": 0.3, 1: 0.2}), ([0, 1], {0: 0.5, 1: 0.3, "c": 0.2})],
    ids=["a number among strings", "a string among numbers"],
)
def test_a_class_without_a_label_must_be_of_the_labels_type(estimator, names, prior):
    """Strings and integers must not be mixed."""
    with pytest.raises((ValueError, TypeError), match="class_prior"):
        fit_clusters(estimator, names=names, class_prior=prior)


@BOTH
def test_a_labeled_class_that_the_dict_lacks_is_an_error(estimator):
    """The message names it."""
    with pytest.raises(ValueError, match="(?s)class_prior.*bird|bird.*class_prior"):
        fit_clusters(estimator, names=["cat", "bird"], class_prior={"cat": 0.5, "dog": 0.5})


@pytest.mark.parametrize("metric", ["neg_log_loss", "accuracy", "balanced_accuracy"])
def test_a_labeled_scorer_copes_with_a_class_without_a_label(metric):
    """The scorer passes the classes on if probabilities have more columns than y has labels."""
    X, truth = clusters((90, 90, 60))
    y = mask_labels(truth, 30, random_state=0)
    y[y == 2] = -1
    model = small(M2Classifier, class_prior={0: 0.375, 1: 0.375, 2: 0.25}).fit(X, y)
    found = make_labeled_scorer(metric)(model, X, y)
    assert np.isfinite(found)
    if metric == "neg_log_loss":
        labeled = y != -1
        expected = -log_loss(y[labeled], model.predict_proba(X[labeled]), labels=[0, 1, 2])
        assert found == pytest.approx(expected, abs=1e-6)


WEIGHTS = pytest.mark.parametrize("class_weight", ["balanced", {0: 1, 1: 20}], ids=["balanced", "dict"])


@BOTH
@WEIGHTS
def test_class_weight_does_not_change_the_prior_of_labeled_rows(estimator, class_weight):
    """Exactly, if every row is labeled."""
    X, truth = clusters()
    weighted = small(estimator, class_weight=class_weight, max_iter=5).fit(X, truth)
    np.testing.assert_allclose(weighted.class_prior_, [0.9, 0.1], atol=1e-6)


@WEIGHTS
def test_class_weight_does_not_change_the_prior(class_weight):
    """It changes the loss, but not the estimate for clusters that are far apart."""
    plain, _, _ = fitted_once(M2Classifier, 30)
    weighted, _, _ = fit_clusters(M2Classifier, max_iter=30, class_weight=class_weight)
    np.testing.assert_allclose(weighted.class_prior_, plain.class_prior_, atol=0.05)


@pytest.mark.parametrize("class_weight", [{0: 1, 1: 10}, {0: 10, 1: 1}], ids=["often", "rare"])
def test_class_weight_does_not_change_the_prior_of_classes_that_overlap(class_weight):
    """The bound and the estimate divide by the same shares, which those weights make.

    With other shares in one of them, q(y | x) and p(y) drive each other away: 0.73 of a class of 0.2. Predictions still
    prefer the heavier class.
    """
    rng = np.random.default_rng(1)
    y = (rng.random(1500) < 0.8).astype(int)
    X = np.where(y[:, None], 0.8, -0.8) + rng.standard_normal((1500, 3))
    few = np.where(np.arange(1500) < 60, y, -1)
    plain, weighted = (
        M2Classifier(2, class_weight=weight, max_iter=60, random_state=0).fit(X, few) for weight in (None, class_weight)
    )
    share = 1 - y.mean()
    assert abs(weighted.class_prior_[0] - share) < 0.06
    heavier = max(class_weight, key=class_weight.get)
    of_heavier = [model.predict_proba(X)[:, heavier].mean() for model in (plain, weighted)]
    assert of_heavier[1] > of_heavier[0] + 0.02


def test_rows_without_cells_do_not_change_the_prior():
    """They have q(y | x) = p(y), so they say nothing about it; that of zeros would be that of the table's center."""
    X, y = clusters()
    few = mask_labels(y, 40, random_state=0)
    empty = np.full((2 * len(X), X.shape[1]), np.nan)
    plain = small(M2Classifier, max_iter=20).fit(np.vstack([X, empty[:1]]), np.append(few, -1))
    many = small(M2Classifier, max_iter=20).fit(np.vstack([X, empty]), np.concatenate([few, np.full(len(empty), -1)]))
    np.testing.assert_allclose(many.class_prior_, plain.class_prior_, atol=0.03)


@BOTH
def test_a_warm_start_goes_on_from_the_prior(estimator):
    """One more epoch at a negligible learning rate leaves the estimate unchanged."""
    model, X, y = fit_clusters(estimator, max_iter=20, warm_start=True)
    before = model.class_prior_.copy()
    model.set_params(max_iter=1, learning_rate_init=1e-6).fit(X, y)
    np.testing.assert_allclose(model.class_prior_, before, atol=0.02)


@BOTH
def test_a_warm_start_refuses_a_changed_prior(estimator):
    """The same parameter is not a change, whatever the current estimate."""
    prior = np.array([0.9, 0.1])
    model, X, y = fit_clusters(estimator, class_prior=prior, warm_start=True, max_iter=5)
    model.set_params(class_prior=prior.copy()).fit(X, y)
    np.testing.assert_allclose(model.class_prior_, prior, atol=1e-6)
    with pytest.raises(ValueError, match="class_prior"):
        model.set_params(class_prior="estimated").fit(X, y)


@pytest.mark.parametrize(
    ("estimator", "prior"),
    [(M2Classifier, [0.1, 0.9]), (M2Classifier, {0: 0.1, 1: 0.9}), (M1M2Classifier, [0.1, 0.9])],
    ids=["M2 array", "M2 dict", "M1M2 array"],
)
def test_a_prior_that_the_rows_contradict_warns(estimator, prior):
    """The rows are 9:1, the given prior is 1:9."""
    with pytest.warns(UserWarning, match="class_prior"):
        fit_clusters(estimator, class_prior=prior, max_iter=30)


@BOTH
def test_a_prior_that_the_rows_confirm_does_not_warn(estimator):
    """Warnings are errors in the tests."""
    model, _, _ = fit_clusters(estimator, class_prior=[0.88, 0.12])
    np.testing.assert_allclose(model.class_prior_, [0.88, 0.12], atol=1e-6)


# --- alpha ------------------------------------------------------------------------------------------------------------


@BOTH
def test_alpha_auto_is_recorded(estimator):
    """A finite positive number, the same from the same seed; histories are those of the final fit."""
    model, X, y = fitted_once(estimator)
    assert model.alpha == "auto" and 0 < model.alpha_ < np.inf
    assert small(estimator).fit(X, y).alpha_ == model.alpha_
    assert {len(values) for values in model.history_.values()} == {model.n_iter_} and model.n_iter_ <= 15


@BOTH
@pytest.mark.parametrize("alpha", [0, 0.3])
@pytest.mark.parametrize("normalization", ["paper", "balanced"])
def test_alpha_may_be_a_number(estimator, alpha, normalization):
    """A number is used as in the paper, and alpha_ holds it."""
    model, _, _ = fit_clusters(estimator, alpha=alpha, alpha_normalization=normalization, max_iter=2)
    assert model.alpha_ == alpha


@BOTH
@pytest.mark.parametrize("alpha", [-0.1, "automatic", None])
def test_alpha_is_auto_or_a_number(estimator, alpha):
    """Anything else is an error."""
    with pytest.raises(ValueError, match="alpha"):
        fit_clusters(estimator, alpha=alpha, max_iter=2)


@BOTH
def test_one_label_a_class_is_enough_for_auto(estimator):
    """Without folds, "auto" takes a fixed value: the model fits, and reproduces the labels."""
    X, truth = clusters((100, 100))
    y = np.full(200, -1)
    for label in (0, 1):
        y[np.flatnonzero(truth == label)[0]] = label
    model = estimator(random_state=0, **({"encoder": VAE(4, random_state=0)} if estimator is M1M2Classifier else {}))
    model.fit(X, y)
    assert 0 < model.alpha_ < np.inf and np.array_equal(model.predict(X[y != -1]), y[y != -1])


def m2_module():
    """A module of five columns and three classes, with no layer at zero."""
    X, truth = clusters((40, 40, 40))
    module = small(M2Classifier, max_iter=2).fit(X, mask_labels(truth, 30, random_state=0)).module_
    assert isinstance(module, M2Module)
    module.requires_grad_(True)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return module, torch.from_numpy(X[:30]).float() / 3


def gradients(module, value):
    """The gradient of each parameter by name; zero if it has none."""
    named = dict(module.named_parameters())
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(named.items(), found, strict=True)}


@pytest.mark.parametrize("pull", [0.0, 0.1, 5.0])
def test_the_pull_reaches_the_classifier_only(pull):
    """The value and all other gradients stay the same; the classifier's gradient is multiplied."""
    module, x = m2_module()
    bounds = [
        module.unlabeled_bound(x, torch.Generator().manual_seed(1), gradient_scale=factor).total().sum()
        for factor in (1.0, pull)
    ]
    assert torch.allclose(*bounds, rtol=1e-5)
    own = gradients(module, module.q_y(x).log_prob(torch.zeros(30).long()).sum())
    classifier = {name for name, gradient in own.items() if gradient.abs().max() > 0}
    before, after = (gradients(module, bound) for bound in bounds)
    assert classifier and classifier < set(before)
    for name, gradient in before.items():
        factor = pull if name in classifier else 1.0
        assert torch.allclose(after[name], factor * gradient, rtol=1e-3, atol=1e-4), name


def test_the_number_of_columns_does_not_drown_the_labels():
    """Two columns determine the class, sixty depend on something else: the classifier still learns from the labels."""
    X, truth = clusters((100, 100))
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((200, 1)) > 0
    X = np.hstack([X, 2 * noise + 0.3 * rng.standard_normal((200, 60))])
    model = small(M2Classifier, max_iter=40).fit(X, mask_labels(truth, 20, random_state=0))
    assert np.mean(model.predict(X) == truth) > 0.9


# --- rows held out of the bound ---------------------------------------------------------------------------------------


def rows(n):
    """n rows of the clusters, a third of them labeled."""
    X, truth = clusters((n // 2, n - n // 2))
    return X, np.where(np.arange(n) % 3 == 0, truth, -1)


def validation(estimator, n, early_stopping):
    """validation_scores_ of a fit to n rows."""
    X, y = rows(n)
    model = small(estimator, early_stopping=early_stopping, max_iter=3)
    model.fit(X) if estimator in (VAE, DLGM) else model.fit(X, y)
    if model.validation_scores_ is not None:
        assert len(model.validation_scores_) == model.n_iter_ and np.all(np.isfinite(model.validation_scores_))
    return model.validation_scores_ is not None


@EACH
@pytest.mark.parametrize(
    ("n", "early_stopping", "expected"),
    [
        (49, "auto", False),
        (50, "auto", True),
        (200, "auto", True),
        (30, True, True),
        (200, True, True),
        (200, False, False),
    ],
)
def test_auto_holds_rows_out_from_fifty_on(estimator, n, early_stopping, expected):
    """validation_scores_ is None if no row was held out; True and False are obeyed."""
    assert validation(estimator, n, early_stopping) == expected


@EACH
def test_auto_is_the_default(estimator):
    """For all estimators that have a bound."""
    assert estimator().early_stopping == "auto"


@pytest.mark.parametrize("seed", range(5))
def test_a_label_is_never_held_out(seed):
    """With half of the rows held out of the bound, the only label of a class is learned for every seed."""
    X, _ = clusters((59, 0))
    X = np.vstack([X, [[0, 0, 0, 9]]])
    y = np.append(np.zeros(59, dtype=int), 1)
    model = small(M2Classifier, validation_fraction=0.5, max_iter=60, learning_rate_init=0.02, random_state=seed)
    model.fit(X, y)
    assert model.validation_scores_ is not None and model.predict(X[-1:])[0] == 1


@EACH
@pytest.mark.parametrize("n", [3, 20, 49])
def test_a_few_rows_are_fitted_without_trouble(estimator, n):
    """Pseudo-rows keep the variances from collapsing: scores on new rows are finite."""
    X, truth = clusters((n // 2, n - n // 2))
    model = small(estimator, max_iter=60)
    model.fit(X) if estimator in (VAE, DLGM) else model.fit(X, truth)
    held_out = model.score(clusters((50, 50), 1)[0]) if estimator in (VAE, DLGM) else 0
    assert np.all(np.isfinite(model.score_samples(X))) and held_out > -100


# --- small variances --------------------------------------------------------------------------------------------------


def correlated(n, noise, W, rng):
    """Rows (a, aW + noise)."""
    a = rng.standard_normal((n, 4))
    return np.hstack([a, a @ W + noise * rng.standard_normal((n, 4))])


def test_the_density_of_correlated_columns():
    """With defaults, within 10 s: outlier AUC within 0.02 of a single Gaussian's, held-out nats at least 0."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((4, 4))
    X, inside, outside = (correlated(1000, noise, W, rng) for noise in (0.05, 0.05, 0.2))
    start = time.process_time()
    model = VAE(n_components=4, random_state=0).fit(X)
    seconds = time.process_time() - start
    gaussian = GaussianMixture(1, random_state=0).fit(X)
    labels, both = np.repeat([0, 1], 1000), np.vstack([inside, outside])
    auc, wanted = (roc_auc_score(labels, -found.score_samples(both)) for found in (model, gaussian))
    assert auc > wanted - 0.02 and model.score(inside) > 0 and seconds < 10


@pytest.mark.parametrize(
    ("estimator", "likelihood"), [(VAE, "gaussian"), (VAE, "gaussian_heteroscedastic"), (DLGM, "gaussian")]
)
def test_small_variances_are_reached(estimator, likelihood):
    """Columns that are multiples of one another up to 0.01: the density is far above that of independent columns."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 1)) * [1, 2, 3] + 0.01 * rng.standard_normal((600, 3))
    model = estimator(1, likelihood=likelihood, max_iter=80, random_state=0).fit(X[:400])
    independent = -1.5 * np.log(2 * np.pi * np.e) - np.log(6)
    assert model.score(X[400:]) > independent + 4


@pytest.mark.parametrize("estimator", [VAE, DLGM])
@pytest.mark.parametrize("kl_warmup", [0, 1.0])
def test_the_history_holds_the_true_bound(estimator, kl_warmup):
    """Reconstruction minus the whole KL, with or without warm-up; the last value is the fitted model's."""
    X = (clusters()[0] > 2).astype(float)
    model = estimator(2, **{**FAST, "max_iter": 30}, kl_warmup=kl_warmup, early_stopping=False).fit(X)
    history = {name: np.array(values) for name, values in model.history_.items()}
    np.testing.assert_allclose(history["bound"], history["reconstruction"] - history["kl"], atol=1e-4)
    assert history["bound"][-1] == pytest.approx(model.elbo_samples(X).mean(), abs=0.2)
    if kl_warmup:
        assert history["objective"][0] > history["bound"][0]


def test_the_history_of_m2_holds_the_undivided_bound():
    """It is not divided by the number of columns, and does not include the labels' cross-entropy."""
    X, truth = clusters()
    X = np.hstack([X > threshold for threshold in (0, 1, 2, 3)]).astype(float)
    y = mask_labels(truth, 20, random_state=0)
    model = small(M2Classifier, max_iter=25, early_stopping=False).fit(X, y)
    assert model.history_["bound"][-1] == pytest.approx(model.elbo_samples(X).mean(), abs=0.3)


# --- bad input --------------------------------------------------------------------------------------------------------


def complaint(estimator):
    """The error of a warm start on other columns."""
    X, y = rows(60)
    model = small(estimator, warm_start=True, max_iter=2)
    is_density = estimator is VAE
    model.fit(X) if is_density else model.fit(X, y)
    with pytest.raises(ValueError) as error:
        model.fit(X[:, :3]) if is_density else model.fit(X[:, :3], y)
    return str(error.value).replace(estimator.__name__, "Estimator")


@BOTH
def test_a_warm_start_on_other_columns_says_what_vae_says(estimator):
    """The message is the same for all estimators; nothing broadcasts."""
    assert complaint(estimator) == complaint(VAE) and "broadcast" not in complaint(VAE)


@EACH
def test_a_hopeless_rate_warns(estimator):
    """A fit warns if its bound is below that of a constant model."""
    X, y = rows(200)
    params = {} if estimator is not M1M2Classifier else {"encoder": VAE(2, **FAST)}
    model = estimator(**params, learning_rate_init=10, max_iter=40, random_state=0)
    with pytest.warns(UserWarning, match="learning_rate_init|constant"):
        model.fit(X) if estimator in (VAE, DLGM) else model.fit(X, y)


# --- what users have --------------------------------------------------------------------------------------------------


def test_draws_given_one_column():
    """Correlation 0.8, other column 2: mean 1.60, sd 0.60 within 0.1, or impute warns that fit saw no missing cell."""
    rng = np.random.default_rng(0)
    X = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 1000)
    model = VAE(random_state=0).fit(X)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        draws = model.impute([[2.0, np.nan]], n_draws=2000, random_state=0)[:, 0, 1]
    told = any("miss" in str(warning.message) for warning in record)
    assert told or (abs(draws.mean() - 1.6) < 0.1 and abs(draws.std() - 0.6) < 0.1)


def test_iris_with_thirty_labeled_rows_and_no_other():
    """At least 0.93 on the other rows, mean of ten draws (logistic regression: 0.934 standardized, 0.948 raw)."""
    X, truth = load_iris(return_X_y=True)
    scores = []
    for seed in range(10):
        labeled = mask_labels(truth, 30, random_state=seed) != -1
        model = M2Classifier(random_state=seed).fit(X[labeled], truth[labeled])
        scores.append(model.score(X[~labeled], truth[~labeled]))
    assert np.mean(scores) >= 0.93


def test_hiding_one_label_costs_at_most_a_point(digits):
    """One unlabeled row among 600 digits."""
    X, truth = digits
    y = truth[:600].copy()
    whole = M2Classifier(random_state=0).fit(X[:600], y).score(X[600:], truth[600:])
    y[17] = -1
    hidden = M2Classifier(random_state=0).fit(X[:600], y).score(X[600:], truth[600:])
    assert hidden >= whole - 0.01


def wide(seed):
    """1,060 rows of 3,000 columns of unit variance; 30 of the columns separate three classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, 1060)
    X = rng.standard_normal((1060, 3000))
    X[:, :30] += 1.5 * rng.standard_normal((3, 30))[truth]
    return X / X.std(0), truth


def test_few_rows_and_thousands_of_columns():
    """60 x 3,000, 30 labels, 3 classes: within 0.05 of logistic regression on 1,000 new rows."""
    X, truth = wide(0)
    y = mask_labels(truth[:60], 30, random_state=0)
    labeled = np.flatnonzero(y != -1)
    logistic = LogisticRegression(max_iter=1000).fit(X[labeled], truth[labeled])
    model = M2Classifier(random_state=0).fit(X[:60], y)
    assert model.score(X[60:], truth[60:]) > logistic.score(X[60:], truth[60:]) - 0.05
