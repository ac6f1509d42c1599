"""How q(y | x) starts under alpha="auto": as logistic regression on columns and on features of a Gaussian kernel."""

import pickle
from functools import cache

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.datasets import make_moons
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel

from skdgm import VAE, ADGMClassifier, M1M2Classifier, M2Classifier
from skdgm.estimators._auto_alpha import auto_alpha
from skdgm.estimators._kernel_start import CANDIDATES, Strengths, kernel_start
from skdgm.models.m2 import M2Module
from skdgm.optimizer import Adam, ParameterVector
from skdgm.training import Settings

GAMMA = 0.5
BOTH = Strengths(0.3, 10.0)


def rows(n_classes, n=30, n_columns=3, seed=0):
    """Rows of overlapping classes, and their classes."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % n_classes
    return rng.standard_normal((n, n_columns)) + targets[:, None] * rng.standard_normal(n_columns), targets


def started(x, targets, strengths, n_classes=None, weight=None, gamma=GAMMA, seed=0):
    weight = np.ones(len(x)) if weight is None else weight
    n_classes = n_classes or targets.max() + 1
    return kernel_start(x, targets, weight, gamma, n_classes, np.random.RandomState(seed), strengths)


def basis(start, x):
    return rbf_kernel(x, start.centers, gamma=start.gamma) @ start.whitening


def logits(start, x):
    return x @ start.weight.T + start.bias + basis(start, x) @ start.kernel_weight.T


def differences(scores):
    """The decision function of scikit-learn: one column for two classes; with more, logits of mean 0."""
    return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores - scores.mean(1, keepdims=True)


# --- the features -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1.0, 10.0])
def test_inner_products_of_features_are_the_kernel_on_the_centers_and_never_more_elsewhere(strength):
    """Equal to the kernel of strength s on distinct centers; what is missing elsewhere is positive semi-definite."""
    x, targets = rows(2, n=12)
    start = started(x, targets, Strengths(1.0, strength), gamma=1.0)
    assert np.linalg.eigvalsh(rbf_kernel(x, gamma=1.0)).min() > 1e-3  # the centers are distinct
    everywhere = np.vstack([x, rows(2, n=40, seed=1)[0], 100 + x])
    gram = basis(start, everywhere) @ basis(start, everywhere).T
    kernel = strength * rbf_kernel(everywhere, gamma=1.0)
    np.testing.assert_allclose(gram[:12], kernel[:12], atol=1e-8)  # also between a center and any row
    missing = np.linalg.eigvalsh(kernel - gram)
    assert missing.min() > -1e-8 and missing.max() > 0.1 * strength
    np.testing.assert_allclose(gram[-12:, -12:], 0, atol=1e-12)  # far from all centers


def test_repeated_centers_do_no_harm():
    """Features are finite, their inner products are still below the kernel, and near it on the centers."""
    x, targets = rows(2, n=12)
    x, targets = np.vstack([x, x, x[:1] + 1e-9]), np.concatenate([targets, targets, targets[:1]])
    start = started(x, targets, Strengths(1.0, 1.0))
    gram, kernel = basis(start, x) @ basis(start, x).T, rbf_kernel(x, gamma=GAMMA)
    assert np.linalg.eigvalsh(kernel - gram).min() > -1e-8
    np.testing.assert_allclose(gram, kernel, atol=1e-3)


def test_at_most_200_centers():
    """A random choice of the labeled rows; the logistic regression is on all of them."""
    x, targets = rows(2, n=500)
    start = started(x, targets, BOTH)
    assert start.centers.shape == (200, 3) and start.kernel_weight.shape == (2, 200)
    chosen = [np.flatnonzero((x == center).all(1)).item() for center in start.centers]
    assert len(set(chosen)) == 200 and chosen == sorted(chosen) and max(chosen) > 300
    assert not np.array_equal(started(x, targets, BOTH, seed=1).centers, start.centers)
    by_hand = LogisticRegression(max_iter=200).fit(np.hstack([np.sqrt(0.3) * x, basis(start, x)]), targets)
    np.testing.assert_allclose(
        differences(logits(start, x)), by_hand.decision_function(np.hstack([np.sqrt(0.3) * x, basis(start, x)]))
    )


# --- the logistic regression ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_with_strengths_1_and_0_it_is_scikit_learns_logistic_regression(n_classes):
    """The probabilities are those of LogisticRegression(C=1) on the columns."""
    x, targets = rows(n_classes)
    start = started(x, targets, Strengths(1.0, 0.0))
    expected = LogisticRegression(C=1.0, max_iter=200).fit(x, targets).predict_proba(x)
    np.testing.assert_allclose(softmax(logits(start, x), 1), expected, atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_is_logistic_regression_on_columns_beside_kernel_features(n_classes):
    """Columns times the root of the linear strength, features times the root of the kernel's."""
    x, targets = rows(n_classes)
    start, new = started(x, targets, BOTH), rows(n_classes, seed=1)[0]
    unscaled = started(x, targets, Strengths(1.0, 1.0))
    wide = [np.hstack([np.sqrt(0.3) * z, np.sqrt(10) * basis(unscaled, z)]) for z in (x, new)]
    by_hand = LogisticRegression(max_iter=200).fit(wide[0], targets)
    found = differences(logits(start, new))
    expected = by_hand.decision_function(wide[1])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(found) > 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_its_logits_have_the_covariance_of_both_kernels(n_classes):
    """Any features whose inner products are s_linear x x' + s_kernel k(x, x') give the same, here a Cholesky factor.

    The logits at new rows are the kernel's interpolation of those at the labeled ones.
    """
    x, targets = rows(n_classes, n=12)
    new = rows(n_classes, seed=1)[0]

    def covariance(a, b):
        return BOTH.linear * a @ b.T + BOTH.kernel * rbf_kernel(a, b, gamma=1.0)

    factor = np.linalg.cholesky(covariance(x, x))
    model = LogisticRegression(tol=1e-10, max_iter=10_000).fit(factor, targets)
    at_new = np.linalg.solve(factor, covariance(x, new)).T
    for inputs, z in [(factor, x), (at_new, new)]:
        found = differences(logits(started(x, targets, BOTH, gamma=1.0), z))
        np.testing.assert_allclose(found, model.decision_function(inputs), atol=2e-3)  # lbfgs ends at tol=1e-4


def test_weights_of_rows_count_as_copies():
    """A row of weight 3 is as good as three rows."""
    x, targets = rows(2, n=16)
    weight = np.where(np.arange(16) < 4, 3.0, 1.0)
    by_weight = started(x, targets, Strengths(0.3, 0.0), weight=weight)
    copies = np.repeat(np.arange(16), weight.astype(int))
    by_copies = started(x[copies], targets[copies], Strengths(0.3, 0.0))
    np.testing.assert_allclose(logits(by_weight, x), logits(by_copies, x), atol=1e-3)
    assert np.abs(logits(by_weight, x) - logits(started(x, targets, Strengths(0.3, 0.0)), x)).max() > 0.05


@pytest.mark.parametrize("labeled", [[0, 2], [1, 2, 4]])
def test_classes_without_labels_have_weight_0(labeled):
    """Of 5 classes; the others are as if there were no further classes."""
    x, targets = rows(len(labeled))
    start, alone = started(x, np.array(labeled)[targets], BOTH, n_classes=5), started(x, targets, BOTH)
    without = np.setdiff1d(np.arange(5), labeled)
    for part in (start.weight, start.bias, start.kernel_weight):
        assert len(part) == 5 and not part[without].any() and part[labeled].any()
    np.testing.assert_allclose(logits(start, x)[:, labeled], logits(alone, x), atol=1e-8)


# --- the choice of strengths ------------------------------------------------------------------------------------------


def accuracies(x, truth, per_class, seed):
    """Those of the start and of scikit-learn's logistic regression, from a few labels per class; the strengths."""
    x = (x - x.mean(0)) / x.std(0)
    labeled = np.concatenate([np.flatnonzero(truth == c)[:per_class] for c in np.unique(truth)])
    start = started(x[labeled], truth[labeled], None, gamma=1 / x.shape[1], seed=seed)
    linear = LogisticRegression().fit(x[labeled], truth[labeled])
    return np.mean(logits(start, x).argmax(1) == truth), linear.score(x, truth), start.strengths


def test_on_two_moons_the_start_is_better_than_logistic_regression():
    """10 labels per moon are enough to choose a kernel: about 5 points more than a line, over 20 data sets."""
    runs = [accuracies(*make_moons(1000, noise=0.1, random_state=s), 10, s) for s in range(20)]
    gains = np.array([kernel - linear for kernel, linear, _ in runs])
    assert np.mean([strengths.kernel > 0 for *_, strengths in runs]) > 0.9
    assert gains.mean() > 3 * gains.std() / np.sqrt(20)


@pytest.mark.parametrize("n_columns", [10, 30])
def test_on_linear_classes_the_start_keeps_the_accuracy_of_logistic_regression(n_columns):
    """Two normal classes with 5 labels each: within 2 points in the mean over 20 data sets."""
    losses = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth, direction = rng.integers(2, size=1000), rng.standard_normal(n_columns)
        shift = 2.5 * direction / np.linalg.norm(direction)
        kernel, linear, _ = accuracies(rng.standard_normal((1000, n_columns)) + truth[:, None] * shift, truth, 5, seed)
        losses.append(linear - kernel)
    assert np.mean(losses) < 0.02 - 2 * np.std(losses) / np.sqrt(20)


def test_labels_decide_between_a_line_and_a_kernel():
    """100 labels of a ring in a disc choose a strong kernel; those of overlapping linear classes a weak one or none."""
    rings, lines = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((100, 2))
        rings.append(started(x, (np.linalg.norm(x, axis=1) > 1.2).astype(int), None).strengths)
        lines.append(started(x, (x[:, 0] + rng.standard_normal(100) > 0).astype(int), None).strengths)
    assert min(strengths.kernel for strengths in rings) >= 30
    assert max(strengths.kernel for strengths in lines) <= 10 and lines.count(Strengths(1.0, 0.0)) > 5
    assert {*rings, *lines} <= set(CANDIDATES)


# --- in the module ----------------------------------------------------------------------------------------------------


def module_started(start, n_classes, hidden=(), n_columns=3):
    """An M2Module whose classifier starts there, apart from its hidden layers."""
    module = M2Module(
        n_columns,
        2,
        hidden,
        "relu",
        "gaussian",
        [1 / n_classes] * n_classes,
        torch.Generator().manual_seed(0),
        linear_skip=True,
        n_centers=len(start.centers),
    )
    weight, bias, kernel_weight, centers, whitening = (
        torch.from_numpy(part).float()
        for part in (start.weight, start.bias, start.kernel_weight, start.centers, start.whitening)
    )
    module.classifier.mlp.init_linear(weight, bias)
    module.classifier.init_kernel(kernel_weight, centers, start.gamma, whitening)
    return module


@pytest.mark.parametrize("hidden", [(), (8,), (8, 8)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_q_y_starts_as_that_logistic_regression(n_classes, hidden):
    """Its probabilities are those of scikit-learn, if the hidden layers, which start near 0, contribute nothing."""
    x, targets = rows(n_classes)
    start, new = started(x, targets, BOTH), rows(n_classes, seed=1)[0].astype(np.float32)
    module = module_started(start, n_classes, hidden)
    with torch.no_grad():
        near = module.q_y(torch.from_numpy(new)).probs.numpy()
        if hidden:
            module.classifier.mlp.layers[-1].weight.zero_()
        found = module.q_y(torch.from_numpy(new)).probs.numpy()
    wide = [np.hstack([np.sqrt(BOTH.linear) * z, basis(start, z)]) for z in (x, new)]
    expected = LogisticRegression(max_iter=200).fit(wide[0], targets).predict_proba(wide[1])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(near, found, atol=0.01)


@pytest.mark.parametrize("hidden", [(), (8,)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_training_on_the_labels_alone_has_its_optimum_there(n_classes, hidden):
    """The gradient of the mean log q(y | x) with the penalties of alpha="auto" vanishes at the start.

    It is that of scikit-learn's objective divided by the number of labels.
    """
    x, targets = rows(n_classes)
    start = started(x, targets, BOTH)
    module = module_started(start, n_classes, hidden)
    if hidden:
        with torch.no_grad():
            module.classifier.mlp.layers[-1].weight.zero_()
    choice = auto_alpha(
        3, len(x), n_classes, len(hidden), is_image=False, max_gradient_scale=1.0, linear_strength=BOTH.linear
    )
    groups = Adam(ParameterVector(module), Settings(1, 0.1, penalties=choice.penalties)).groups
    penalties = {weight.data_ptr(): penalty for (penalty, _), group in groups.items() for weight in group[0]}
    module.log_q_y(torch.from_numpy(x).float(), torch.from_numpy(targets), None).mean().neg().backward()
    trained = [*module.classifier.mlp.linear_parameters, module.classifier.kernel_weight]
    for parameter in trained:
        total = parameter.grad + penalties[parameter.data_ptr()] * parameter.detach()
        assert total.abs().max() < 1e-4
    without_penalty = torch.cat([p.grad.flatten() for p in trained])
    assert without_penalty.abs().max() > 0.01


def test_with_two_classes_the_two_logits_share_the_difference():
    """The penalty of both together is that of scikit-learn's one weight: twice the penalty of half the weight."""
    x, targets = rows(2)
    start = started(x, targets, Strengths(1.0, 0.0))
    coef = LogisticRegression(max_iter=200).fit(x, targets).coef_[0]
    np.testing.assert_allclose(start.weight, [-coef / 2, coef / 2], atol=1e-4)
    np.testing.assert_allclose(expit(differences(logits(start, x))), softmax(logits(start, x), 1)[:, 1])
    two, three = (auto_alpha(3, 30, n, 0, is_image=False, max_gradient_scale=1.0).penalties for n in (2, 3))
    assert all(two[name] == 2 * three[name] for name in two)
    for name in (name for name in two if "extra_weight" not in name):  # those of an auxiliary variable
        assert 0.5 * two[name] * (start.weight**2).sum() == pytest.approx(0.5 * (coef**2).sum() / 30, rel=1e-3)


# --- in the estimators ------------------------------------------------------------------------------------------------

STILL = {"learning_rate_init": 1e-12, "max_iter": 1, "early_stopping": False}
SHORT = {"max_iter": 3, "hidden_layer_sizes": (8,), "class_prior": "empirical", "random_state": 0}


@cache
def vae():
    """An encoder of the rows of `data`, with both dimensions active."""
    return VAE(2, hidden_layer_sizes=(8,), max_iter=10, random_state=0).fit(data(3)[0])


MAKERS = {
    "M2": lambda **params: M2Classifier(2, **{**SHORT, **params}),
    "ADGM": lambda **params: ADGMClassifier(2, **{**SHORT, **params}),
    "M1M2": lambda **params: M1M2Classifier(2, encoder=FrozenEstimator(vae()), **{**SHORT, **params}),
    "M1M2 on codes": lambda **params: MAKERS["M1M2"](passthrough=False, **params),
}


@cache
def data(n_classes):
    """150 rows with two interwoven clusters per class and unequal units, and 30 labels."""
    rng = np.random.default_rng(0)
    truth = np.arange(150) % n_classes
    cluster = rng.integers(2, size=150)
    centers = 2 * rng.standard_normal((2, n_classes, 3))
    X = (centers[cluster, truth] + 0.7 * rng.standard_normal((150, 3))) * [1, 10, 0.1]
    return X, np.where(np.arange(150) < 30, truth, -1)


def inputs(name, model, X):
    """What q(y | x) reads of the training rows, of which none has outlying cells.

    It is standardized columns, codes, or both.
    """
    columns = (X - model._columns.center) / model._columns.scale
    assert np.abs(columns).max() < 5
    if name in ("M2", "ADGM"):
        return columns
    mean, sd = (part[:, model.active_].astype(float) for part in vae()._posterior(X))
    codes = (mean - mean.mean(0)) / np.sqrt(mean.var(0) + (sd**2).mean(0))
    return codes if name == "M1M2 on codes" else np.hstack([codes, columns])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_before_its_first_step_a_classifier_is_that_logistic_regression(name, n_classes):
    """predict_proba is scikit-learn's on the labeled rows, of kernel width 1 / (n_columns variance)."""
    X, y = data(n_classes)
    model = MAKERS[name](**STILL, hidden_layer_sizes=()).fit(X, y)
    Z = inputs(name, model, X)
    gamma, strengths = 1 / (Z.shape[1] * Z.var()), model._strengths
    features = model.module_.classifier.features
    assert features.gamma.item() == pytest.approx(gamma, rel=1e-5)
    np.testing.assert_allclose(features.centers, Z[y >= 0], atol=1e-5)
    start = started(Z[y >= 0], y[y >= 0], strengths, gamma=gamma)
    wide = [np.hstack([np.sqrt(strengths.linear) * z, basis(start, z)]) for z in (Z[y >= 0], Z)]
    expected = LogisticRegression(max_iter=200).fit(wide[0], y[y >= 0]).predict_proba(wide[1])
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=2e-5)
    np.testing.assert_allclose(model.predict_proba(X), softmax(logits(start, Z), 1), atol=2e-5)
    assert strengths.kernel > 0 and np.abs(expected - 1 / n_classes).max() > 0.4


@pytest.mark.parametrize("name", MAKERS)
def test_copies_have_the_kernel(name):
    """A pickle predicts, and a clone fits, the same to the bit."""
    X, y = data(3)
    model = MAKERS[name]().fit(X, y)
    expected = model.predict_proba(X)
    assert model.module_.classifier.kernel_weight.any()
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), expected)
    assert np.array_equal(clone(model).fit(X, y).predict_proba(X), expected)
    assert np.array_equal(model.fit(X, y).predict_proba(X), expected)  # a cold start chooses everything anew


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("pickled", [False, True])
def test_a_warm_start_keeps_kernel_and_weights(name, pickled):
    """With other labels, also more of them, the centers, the strengths and all weights stay; training goes on."""
    X, y = data(3)
    other = np.where(np.arange(150) >= 80, np.arange(150) % 3, -1)
    model = MAKERS[name](hidden_layer_sizes=()).fit(X, y)
    before, strengths = model.module_.state_dict(), model._strengths
    before = {key: value.clone() for key, value in before.items() if key.startswith("classifier")}
    model = pickle.loads(pickle.dumps(model)) if pickled else model
    model.set_params(warm_start=True, **STILL).fit(X, other)
    after = model.module_.state_dict()
    assert {key.rpartition(".")[2] for key in before} >= {"centers", "gamma", "whitening", "kernel_weight"}
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, atol=1e-6, rtol=0)
    assert model._strengths == strengths
    model.set_params(learning_rate_init=0.01, max_iter=3).fit(X, other)
    assert torch.equal(after["classifier.features.centers"], model.module_.classifier.features.centers)
    assert not torch.equal(before["classifier.kernel_weight"], model.module_.classifier.kernel_weight)
    cold = model.set_params(warm_start=False, **STILL).fit(X, other)
    assert len(cold.module_.classifier.features.centers) == 70


def test_a_warm_start_refuses_other_inputs_of_the_classifier():
    """passthrough cannot change."""
    X, y = data(3)
    model = MAKERS["M1M2"]().fit(X, y)
    expected = model.predict_proba(X)
    with pytest.raises(ValueError, match="warm_start=True continues from the last fit"):
        model.set_params(warm_start=True, passthrough=False).fit(X, y)
    assert np.array_equal(model.predict_proba(X), expected)


def test_a_number_for_alpha_has_no_kernel():
    """The paper's classifier: hidden layers and a linear path."""
    X, y = data(3)
    classifier = MAKERS["M2"](alpha=1.0).fit(X, y).module_.classifier
    assert classifier.features is None and classifier.kernel_weight is None


@pytest.mark.parametrize("name", MAKERS)
def test_labels_of_one_class_start_without_a_kernel(name):
    """There is nothing to regress on: the features are 0, and the only class is predicted."""
    X, y = data(3)
    with pytest.warns(UserWarning, match="y has labels of one class only, 1, which every row will be assigned"):
        model = MAKERS[name]().fit(X, np.where(y == 1, 1, -1))
    assert model.predict_proba(X).tolist() == [[1.0]] * 150
    assert not model.module_.classifier.features.whitening.any()


def test_alternating_labels_of_a_large_table_all_count():
    """More labels than the start reads: a random part of them, never every second row, which is one class."""
    rng = np.random.default_rng(0)
    truth, angle = np.arange(20_000) % 2, 2 * np.pi * rng.random(20_000)
    rings = np.where(truth, 2.5, 0.7)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    X = rings + 0.2 * rng.standard_normal((20_000, 2))
    model = M2Classifier(2, hidden_layer_sizes=(), max_iter=1, early_stopping=False, random_state=0).fit(X, truth)
    assert model.module_.classifier.features.centers.any() and model.score(X, truth) > 0.95
