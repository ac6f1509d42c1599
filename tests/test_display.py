"""Tests of the displays, with fake estimators: numbers in, axes out."""

import builtins
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from skdgm.display import (
    AccuracyBarDisplay,
    AnalogyDisplay,
    ConditionalSamplesDisplay,
    DensityHistogramDisplay,
    ImageGridDisplay,
    ImputationChainDisplay,
    ImputationDisplay,
    LatentKLDisplay,
    LatentMapDisplay,
    LayerBoundsDisplay,
    LossCurveDisplay,
    ManifoldDisplay,
    PairPlotDisplay,
    PosteriorDisplay,
    ReconstructionDisplay,
    ReliabilityDisplay,
)

BOUND = SimpleNamespace(q_lower_bound=-2.0, q_lower_bound_std=0.1, upper_bound=-1.0)


class FakeM2:
    """Images of 4 pixels; a row's code is its first two columns, and decoding adds the number of the class."""

    unlabeled_value = "?"

    def __init__(self, classes=(0, 1, 2)):
        self.classes_ = np.array(classes)
        self.history_ = {"bound": [-3.0, -2.0], "kl": [0.5, 1.0]}
        self.validation_scores_ = None

    def transform(self, X):
        return np.asarray(X)[:, :2]

    def inverse_transform(self, Z, y):
        assert y.shape == (len(Z),)
        assert y.dtype == self.classes_.dtype
        return np.hstack([Z, Z]) + np.searchsorted(self.classes_, y)[:, None]

    def sample(self, n_samples, y=None, random_state=None):
        assert y in self.classes_
        X = np.random.default_rng(random_state).random((n_samples, 4))
        return X + np.searchsorted(self.classes_, y), np.full(n_samples, y)

    def get_feature_names_out(self):
        return np.array(["z0", "z1"])


def image(display):
    return np.asarray(display.ax_.images[0].get_array())


def tick_labels(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_grid_places_images_row_by_row():
    X = np.arange(12.0).reshape(3, 4)
    display = ImageGridDisplay.from_data(X, image_shape=(2, 2), n_columns=2)
    assert display.images.shape == (2, 2, 2, 2)
    np.testing.assert_array_equal(display.images[0, 1].ravel(), X[1])
    assert np.isnan(display.images[1, 1]).all()
    canvas = image(display)
    assert canvas.shape == (5, 5)
    np.testing.assert_allclose(canvas[:2, 3:], X[1].reshape(2, 2) / 11)
    np.testing.assert_array_equal(canvas[2], 1.0)
    np.testing.assert_array_equal(canvas[3:, 3:], 1.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_grid_of_rgb_images(dtype):
    X = np.arange(60, dtype=dtype).reshape(2, 30)
    display = ImageGridDisplay.from_data(X, image_shape=(5, 2, 3))
    assert image(display).shape == (5, 5, 3)
    assert image(display).min() == 0.0
    assert image(display).max() == 1.0


def test_grid_reads_squares_and_shortens_the_row():
    assert ImageGridDisplay.from_data(np.zeros((3, 9))).images.shape == (1, 3, 3, 3)


def test_grid_labels_stand_at_the_images():
    display = ImageGridDisplay.from_data(
        np.ones((4, 9)), n_columns=2, row_labels=["a", "b"], column_labels=["x", "reconstruction"]
    )
    assert tick_labels(display.ax_.yaxis) == ["a", "b"]
    assert tick_labels(display.ax_.xaxis) == ["x", "reconstruction"]
    np.testing.assert_array_equal(display.ax_.get_yticks(), [1.0, 5.0])


@pytest.mark.parametrize(
    ("X", "params", "message"),
    [
        (np.zeros((3, 5)), {}, "5 columns do not make images of shape \\(2, 2\\)"),
        (np.zeros((3, 6)), {"image_shape": (2, 2)}, "Give image_shape=\\(height, width\\)"),
        (np.zeros((3, 8)), {"image_shape": (2, 2, 3)}, "8 columns do not make images"),
        (np.zeros((3, 8)), {"image_shape": (2, 2, 2, 1)}, "8 columns do not make images"),
        (np.zeros(4), {}, "got \\(4,\\)"),
        (np.zeros((0, 4)), {}, "at least one row"),
        (np.zeros((3, 4)), {"n_columns": 0}, "n_columns must be at least 1, got 0"),
    ],
)
def test_grid_says_what_is_wrong(X, params, message):
    with pytest.raises(ValueError, match=message):
        ImageGridDisplay.from_data(X, **params)


@pytest.mark.parametrize("classes", [(0, 1, 2), ("cat", "dog", "eel")])
def test_analogies_begin_with_the_original(classes):
    X = np.arange(8.0).reshape(2, 4)
    display = AnalogyDisplay.from_estimator(FakeM2(classes), X, image_shape=(1, 4))
    assert display.images.shape == (2, 4, 1, 4)
    np.testing.assert_array_equal(display.images[:, 0, 0], X)
    np.testing.assert_array_equal(display.images[1, 3, 0], [6, 7, 6, 7])
    assert tick_labels(display.ax_.xaxis) == ["", *map(str, classes)]


@pytest.mark.parametrize("mean", [True, False])
def test_samples_have_a_row_per_class_and_a_column_per_style(mean):
    display = ConditionalSamplesDisplay.from_estimator(FakeM2(), n_per_class=5, mean=mean, random_state=0)
    assert display.images.shape == (3, 5, 2, 2)
    np.testing.assert_allclose(display.images[2] - display.images[0], 2.0)
    assert np.ptp(display.images[0, :, 0, 0]) > 0
    assert tick_labels(display.ax_.yaxis) == ["0", "1", "2"]


def test_loss_curves():
    model = FakeM2()
    assert len(LossCurveDisplay.from_estimator(model).ax_.lines) == 2
    model.validation_scores_ = [-4.0, -3.0]
    lines = LossCurveDisplay.from_estimator(model).ax_.lines
    assert [line.get_label() for line in lines] == ["bound", "kl", "validation"]
    np.testing.assert_array_equal(lines[2].get_xdata(), [1, 2])


def test_loss_curves_need_a_fit():
    with pytest.raises(NotFittedError, match="object has no history_, validation_scores_. Call fit first"):
        LossCurveDisplay.from_estimator(object())


def test_accuracy_bars():
    display = AccuracyBarDisplay.from_data(["A", "B"], [[0.5, 0.7], [0.9, 0.9]])
    assert [bar.get_width() for bar in display.ax_.patches] == pytest.approx([0.6, 0.9])
    assert [text.get_text() for text in display.ax_.texts] == ["60.0 ± 14.1%", "90.0 ± 0.0%"]
    assert sum(len(line.get_xdata()) for line in display.ax_.lines if line.get_marker() == ".") == 4
    assert display.ax_.yaxis_inverted()


def test_accuracy_bars_of_one_split_have_no_sd():
    display = AccuracyBarDisplay.from_data(["A"], [[0.5]])
    assert [text.get_text() for text in display.ax_.texts] == ["50.0%"]


@pytest.mark.parametrize("scores", [[0.5, 0.7], [[0.5], [0.7], [0.9]], np.zeros((2, 0))])
def test_accuracy_bars_need_a_row_per_name(scores):
    with pytest.raises(ValueError, match=r"\(n_methods, n_splits\) = \(2, 1 or more\), got"):
        AccuracyBarDisplay.from_data(["A", "B"], scores)


class FakeCodes:
    def transform(self, X):
        return np.asarray(X)


def test_map_shows_the_two_dimensions_with_the_largest_sd():
    X = np.random.default_rng(0).normal(size=(50, 4)) * [0.1, 3.0, 0.2, 5.0]
    display = LatentMapDisplay.from_estimator(FakeCodes(), X)
    assert display.names == ("fakecodes1", "fakecodes3")
    np.testing.assert_array_equal(display.codes, X[:, [1, 3]])
    assert list(display.groups) == ["all rows"]


@pytest.mark.parametrize(
    ("model", "y", "groups"),
    [
        (FakeCodes(), [10, -1, 9, 10], {"unlabeled": [1], "9": [2], "10": [0, 3]}),
        (FakeCodes(), pd.Series(["b", "a", None, pd.NA], dtype=object), {"unlabeled": [2, 3], "a": [1], "b": [0]}),
        (FakeCodes(), [0.0, 1.0, np.nan, 1.0], {"unlabeled": [2], "0.0": [0], "1.0": [1, 3]}),
        (FakeCodes(), pd.Series(["b", "a", pd.NaT, "a"], dtype=object), {"unlabeled": [2], "a": [1, 3], "b": [0]}),
        (FakeCodes(), np.array([3, "NaT", 3, 1], "M8[Y]"), {"unlabeled": [1], "1971": [3], "1973": [0, 2]}),
        (FakeCodes(), [1, 1, 2, 2], {"1": [0, 1], "2": [2, 3]}),
        (FakeM2(), np.array(["a", "?", "a", "nan"], object), {"unlabeled": [1], "a": [0, 2], "nan": [3]}),
    ],
)
def test_map_groups_rows_by_class(model, y, groups):
    display = LatentMapDisplay.from_estimator(model, np.eye(4), y)
    assert {name: list(rows) for name, rows in display.groups.items()} == groups
    assert list(display.groups) == list(groups)


def test_map_needs_two_dimensions():
    with pytest.raises(ValueError, match="needs two latent dimensions, got 1"):
        LatentMapDisplay.from_estimator(FakeCodes(), np.zeros((3, 1)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: ImageGridDisplay.from_data(np.zeros((3, 4)), ax=ax),
        lambda ax: AnalogyDisplay.from_estimator(FakeM2(), np.zeros((3, 4)), ax=ax),
        lambda ax: ConditionalSamplesDisplay.from_estimator(FakeM2(), ax=ax),
        lambda ax: LossCurveDisplay.from_estimator(FakeM2(), ax=ax),
        lambda ax: AccuracyBarDisplay.from_data(["A"], [[0.5, 0.6]], ax=ax),
        lambda ax: LatentMapDisplay.from_estimator(FakeCodes(), np.eye(4), ax=ax),
        lambda ax: ReconstructionDisplay.from_data(np.zeros((3, 4)), np.ones((3, 4)), ax=ax),
        lambda ax: ManifoldDisplay.from_estimator(FakeM2(), y=0, n=3, ax=ax),
        lambda ax: ImputationDisplay.from_data(np.full((3, 4), np.nan), np.zeros((3, 4)), ax=ax),
        lambda ax: ImputationChainDisplay.from_data(np.full((3, 4), np.nan), {1: np.zeros((3, 4))}, ax=ax),
        lambda ax: LatentKLDisplay.from_moments(np.zeros((3, 2)), np.tile(np.eye(2), (3, 1, 1)), ax=ax),
        lambda ax: PosteriorDisplay.from_log_density(np.arange(5), np.arange(4), np.eye(4, 5), ax=ax),
        lambda ax: ReliabilityDisplay.from_predictions([0, 1], np.eye(2), ax=ax),
        lambda ax: DensityHistogramDisplay({"rows": [0.0, 1.0]}).plot(ax),
        lambda ax: LayerBoundsDisplay(["layer"], [BOUND]).plot(ax),
        lambda ax: PairPlotDisplay.from_data(np.eye(4), np.ones((4, 4)), ax=ax),
    ],
)
def test_draws_into_the_given_axes_or_its_own(draw):
    figure, (left, right) = plt.subplots(1, 2)
    display = draw(left)
    assert display.ax_ is left
    assert display.figure_ is figure
    assert display.plot(right) is display
    assert display.ax_ is right
    assert display.plot().figure_ is not figure
    display.figure_.canvas.draw()


def test_without_matplotlib_the_way_out_is_named(monkeypatch):
    real = builtins.__import__

    def without_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ImportError, match=r"pip install skdgm\[plot\]"):
        ImageGridDisplay.from_data(np.zeros((3, 4)))
