"""Tests of displays of scores: reliability, log-densities, bounds of layers, and the curves of a fit."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

from skdgm import VAE, M2Classifier, StackedAutoencoder
from skdgm.display import DensityHistogramDisplay, LayerBoundsDisplay, LossCurveDisplay, ReliabilityDisplay

RNG = np.random.default_rng(0)
PROBA = RNG.dirichlet(np.full(3, 0.5), size=300)
Y = np.array([RNG.choice(3, p=0.5 * p + 0.5 / 3) for p in PROBA])  # less certain than PROBA says


class FakeClassifier:
    classes_ = np.array(["a", "b", "c"])
    unlabeled_value = "?"

    def predict_proba(self, X):
        return PROBA[np.asarray(X)]


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_bins_are_scikit_learns(strategy):
    """The reliability of the top class is that of the binary event 'the prediction is right'."""
    display = ReliabilityDisplay.from_predictions(Y, PROBA, n_bins=8, strategy=strategy)
    confidence, right = PROBA.max(1), PROBA.argmax(1) == Y
    accuracy, means = calibration_curve(right, confidence, n_bins=8, strategy=strategy)
    np.testing.assert_allclose(display.accuracy, accuracy)
    np.testing.assert_allclose(display.confidence, means)
    assert display.counts.sum() == 300


def test_the_expected_error_is_weighted_by_rows():
    display = ReliabilityDisplay(np.array([0.5, 0.9]), np.array([0.7, 0.8]), np.array([10, 30]))
    assert display.expected_error == pytest.approx((10 * 0.2 + 30 * 0.1) / 40)


def test_error_bars_are_wilsons_intervals():
    display = ReliabilityDisplay.from_predictions(Y, PROBA, n_bins=5)
    bars = display.ax_.containers[0][2][0].get_segments()
    for accuracy, count, bar in zip(display.accuracy, display.counts, bars, strict=True):
        interval = binomtest(round(accuracy * count), int(count)).proportion_ci(method="wilson")
        np.testing.assert_allclose(bar[:, 1], [interval.low, interval.high], atol=1e-3)


def test_an_estimator_is_judged_by_labeled_rows():
    names = FakeClassifier.classes_[Y].astype(object)
    names[::3] = "?"
    display = ReliabilityDisplay.from_estimator(FakeClassifier(), np.arange(300), names)
    same = ReliabilityDisplay.from_predictions(np.delete(Y, np.s_[::3]), np.delete(PROBA, np.s_[::3], axis=0))
    np.testing.assert_array_equal(display.accuracy, same.accuracy)
    np.testing.assert_array_equal(display.counts, same.counts)
    assert display.name == "FakeClassifier"


def test_two_classifiers_share_axes_and_one_diagonal():
    first = ReliabilityDisplay.from_predictions(Y, PROBA, name="one")
    second = ReliabilityDisplay.from_predictions(Y, np.full((300, 3), 1 / 3), name="other", ax=first.ax_)
    labels = [text.get_text().split("\n")[0] for text in second.ax_.get_legend().get_texts()]
    assert labels == ["perfectly calibrated", "one", "other"]
    colors = {container[0].get_color() for container in first.ax_.containers}
    assert len(colors) == 2
    low, high = first.ax_.get_xlim()
    assert low <= 1 / 3 and high > first.confidence.max()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"y_proba": PROBA[:, :2]}, r"= \(300, 3\) with at least one row, got \(300, 2\). If y_true lacks a class"),
        ({"y_true": Y[:5]}, r"got \(300, 3\)"),
        ({"y_true": [], "y_proba": np.zeros((0, 3))}, "at least one row"),
        ({"n_bins": 0}, "n_bins must be at least 1, got 0"),
        ({"strategy": "kmeans"}, "strategy must be 'uniform' or 'quantile', got 'kmeans'"),
    ],
)
def test_reliability_says_what_is_wrong(params, message):
    with pytest.raises(ValueError, match=message):
        ReliabilityDisplay.from_predictions(**{"y_true": Y, "y_proba": PROBA, **params})


def test_reliability_needs_a_fitted_classifier_with_probabilities():
    with pytest.raises(NotFittedError, match="M2Classifier"):
        ReliabilityDisplay.from_estimator(M2Classifier(), np.zeros((2, 2)), [0, 1])
    with pytest.raises(ValueError, match="VAE has no predict_proba"):
        ReliabilityDisplay.from_estimator(VAE(), np.zeros((2, 2)), [0, 1])


# --- densities --------------------------------------------------------------------------------------------------------


def test_each_histogram_holds_all_rows_of_its_group():
    model = GaussianMixture(random_state=0).fit(RNG.normal(size=(200, 2)))
    groups = {"near": RNG.normal(size=(50, 2)), "far": RNG.normal(size=(80, 2)) + 30}
    display = DensityHistogramDisplay.from_estimator(model, groups)
    for name, X in groups.items():
        np.testing.assert_array_equal(display.scores[name], model.score_samples(X))
    near, far = (np.array([bar.get_height() for bar in bars]) for bars in display.ax_.containers)
    np.testing.assert_allclose([near.sum(), far.sum()], 100.0)
    assert far[0] == 100.0, "rows beyond the range are in the first bin"
    assert "all below" in display.ax_.get_xlabel()


def test_without_far_rows_nothing_is_cut():
    scores = {"a": RNG.normal(size=100), "b": RNG.normal(size=100) - 1}
    ax = DensityHistogramDisplay(scores).plot(n_bins=10).ax_
    assert ax.get_xlabel() == "log-density, nats per row"
    heights, edges = np.histogram(scores["a"], 10, (min(map(min, scores.values())), max(map(max, scores.values()))))
    np.testing.assert_allclose([bar.get_height() for bar in ax.containers[0]], heights)
    np.testing.assert_allclose(ax.containers[0][0].get_x(), edges[0])


def test_densities_of_an_unfitted_model():
    with pytest.raises(NotFittedError, match="VAE"):
        DensityHistogramDisplay.from_estimator(VAE(), {"rows": np.zeros((2, 2))})


# --- layers and fits --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack():
    X = (np.random.default_rng(0).random((80, 6)) < 0.5).astype(float)
    params = {"max_iter": 2, "rbm_max_iter": 3, "hidden_layer_sizes": (8,), "early_stopping": True}
    return StackedAutoencoder((4, 3), random_state=0, **params).fit(X), X


def test_bounds_of_a_stack(stack):
    model, X = stack
    display = LayerBoundsDisplay.from_estimator(model)
    points = display.ax_.containers[0][0].get_xdata()
    np.testing.assert_array_equal(points, [bound.q_lower_bound for bound in model.layer_bounds_])
    upper = next(line for line in display.ax_.lines if line.get_label() == "upper bound")
    np.testing.assert_array_equal(upper.get_xdata(), [bound.upper_bound for bound in model.layer_bounds_])
    assert [tick.get_text() for tick in display.ax_.get_yticklabels()] == ["layer 1: 4 units", "layer 2: 3 units"]
    held_out = LayerBoundsDisplay.from_estimator(model, X[:30])
    assert held_out.bounds[1] == model.latent_marginal_bound(X[:30], layer=1)


def test_bounds_of_candidates_beside_likelihoods():
    bounds = [SimpleNamespace(q_lower_bound=-3.0, q_lower_bound_std=0.1, upper_bound=upper) for upper in (-2.0, None)]
    display = LayerBoundsDisplay.from_bounds(["a", "b"], bounds, log_likelihoods=[-2.5, -2.8])
    reached = next(line for line in display.ax_.lines if line.get_label() == "log-likelihood of the stack")
    np.testing.assert_array_equal(reached.get_xdata(), [-2.5, -2.8])
    with pytest.raises(ValueError, match="one entry per layer, got 1, 2 and 1"):
        LayerBoundsDisplay.from_bounds(["a"], bounds)


def test_bounds_need_a_fitted_stack():
    with pytest.raises(ValueError, match="StackedAutoencoder has no layer_bounds_, n_components_. Call fit first"):
        LayerBoundsDisplay.from_estimator(StackedAutoencoder())


def test_curves_of_each_layer(stack):
    model, _ = stack
    lines = {line.get_label(): line.get_ydata() for line in LossCurveDisplay.from_estimator(model).ax_.lines}
    np.testing.assert_array_equal(lines["layer 1, bound"], model.history_[0]["bound"])
    np.testing.assert_array_equal(lines["layer 2, validation"], model.validation_scores_[1])


def test_curves_of_chosen_terms(stack):
    history = {"bound": [-2.0, -1.0], "kl": [0.0, 1.0], "reconstruction": [-2.0, 0.0]}
    model = type("Model", (), {"history_": history, "validation_scores_": None})()
    lines = LossCurveDisplay.from_estimator(model, terms=["kl"]).ax_.lines
    assert [line.get_label() for line in lines] == ["kl"]
    with pytest.raises(ValueError, match=r"no term 'loss'. Choose terms among \['bound', 'kl', 'reconstruction'\]"):
        LossCurveDisplay.from_estimator(model, terms=["loss"])


def test_every_group_is_drawn():
    """Also if there are more than colors."""
    scores = {f"group {i}": [-i - 1.0, -i - 2.0] for i in range(9)}
    texts = DensityHistogramDisplay(scores).plot().ax_.get_legend().get_texts()
    assert [text.get_text() for text in texts] == list(scores)
