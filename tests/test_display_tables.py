"""Tests of the pair plot: columns of arrays and frames, categories, and missing cells."""

from decimal import Decimal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

from skdgm import VAE
from skdgm.display import PairPlotDisplay

RNG = np.random.default_rng(0)
REAL = {"size": RNG.normal(size=30), "kind": np.tile(["b", "a", "c"], 10), "is_new": np.tile([True, False], 15)}
DRAWN = {"size": RNG.normal(size=20), "kind": np.repeat(["a", "c"], 10), "is_new": np.repeat([True, False], 10)}


class FakeDensity:
    """Draws its rows in turn."""

    def __init__(self, rows):
        self.rows = rows

    def sample(self, n_samples, random_state=None):
        return self.rows[:n_samples]


def points(panel, table):
    return panel.collections[table].get_offsets()


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
def test_panels_of_a_frame_show_the_rows(frame):
    display = PairPlotDisplay.from_data(frame(REAL), frame(DRAWN))
    assert list(display.real) == ["size", "kind", "is_new"]
    for table, rows in enumerate([REAL, DRAWN]):
        x, y = points(display.axes_[1, 0], table).T
        np.testing.assert_array_equal(x, rows["size"])
        np.testing.assert_array_equal(np.round(y), [["a", "b", "c"].index(kind) for kind in rows["kind"]])
        np.testing.assert_array_equal(np.round(points(display.axes_[2, 1], table)[:, 1]), rows["is_new"])
    assert [tick.get_text() for tick in display.axes_[1, 0].get_yticklabels()] == ["a", "b", "c"]
    assert [tick.get_text() for tick in display.axes_[2, 2].get_xticklabels()] == ["False", "True"]
    assert display.axes_[2, 0].get_xlabel() == "size" and display.axes_[2, 0].get_ylabel() == "is_new"
    assert not display.axes_[0, 1].axison


def test_histograms_are_shares_of_the_rows():
    display = PairPlotDisplay.from_data(pd.DataFrame(REAL), pd.DataFrame(DRAWN), columns=["kind"])
    real, drawn = ([bar.get_height() for bar in bars] for bars in display.axes_[0, 0].containers)
    np.testing.assert_allclose(real, [1 / 3] * 3)
    np.testing.assert_allclose(drawn, [0.5, 0.0, 0.5])


def test_an_estimator_draws_as_many_rows():
    X, drawn = RNG.normal(size=(12, 7)), RNG.normal(size=(50, 7))
    display = PairPlotDisplay.from_estimator(FakeDensity(drawn), X)
    same = PairPlotDisplay.from_data(X, drawn[:12])
    assert list(display.real) == list("01234")
    for name in display.real:
        np.testing.assert_array_equal(display.drawn[name], same.drawn[name])
    np.testing.assert_array_equal(points(display.axes_[4, 2], 1), drawn[:12, [2, 4]])


def test_a_mixture_gives_its_rows_without_their_components():
    X = RNG.normal(size=(5, 2))
    model = FakeDensity(X)
    model.sample = lambda n, random_state=None: (X, np.zeros(5))
    np.testing.assert_array_equal(PairPlotDisplay.from_estimator(model, X).drawn["1"], X[:, 1])


def test_missing_cells_are_left_out():
    table = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": ["x", None, "y"], "c": pd.array([1, None, 2], dtype="Int64")})
    display = PairPlotDisplay.from_data(table, table)
    heights = [sum(bar.get_height() for bar in panel.containers[0]) for panel in display.axes_.diagonal()]
    np.testing.assert_allclose(heights, 1.0)
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([7], r"real has no column 7. Choose columns among \[0, 1, 2\]"),
        ([], "takes 1 to 8 columns, got 0"),
        ([0, 1, 2] * 3, r"got 9. Choose the most interesting ones: columns=\[0, 1, 2\]"),
    ],
)
def test_wrong_columns_are_named(columns, message):
    with pytest.raises(ValueError, match=message):
        PairPlotDisplay.from_data(np.zeros((3, 3)), np.zeros((3, 3)), columns=columns)


def test_other_wrong_input_is_named():
    with pytest.raises(ValueError, match="drawn has no column 'kind'"):
        PairPlotDisplay.from_data(pd.DataFrame(REAL), pd.DataFrame({"size": [1.0]}))
    with pytest.raises(ValueError, match=r"real must be of shape \(n_samples, n_features\), got \(3,\)"):
        PairPlotDisplay.from_data(np.zeros(3), np.zeros(3))
    with pytest.raises(NotFittedError, match="VAE"):
        PairPlotDisplay.from_estimator(VAE(), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="object has no sample"):
        PairPlotDisplay.from_estimator(object(), np.zeros((3, 3)))


def test_the_panels_take_the_place_of_an_axes():
    figure, axes = plt.subplots(1, 2)
    display = PairPlotDisplay.from_data(REAL_ARRAY, REAL_ARRAY, ax=axes[1])
    assert display.figure_ is figure and display.ax_ is axes[1]
    with pytest.raises(ValueError, match="one of a grid of axes"):
        display.plot(figure.add_axes([0, 0, 1, 1]))


REAL_ARRAY = RNG.normal(size=(10, 2))


def test_intervals_decimals_and_declared_orders():
    """Categories of any type keep the order that the frame declares; decimals are numbers."""
    z = np.linspace(-2, 2, 40)
    levels = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    frame = pd.DataFrame(
        {
            "cut": pd.cut(z, [-9, -1, 0, 1, 9]),
            "price": [Decimal(round(10 * value)) / 10 for value in z],
            "level": pd.Series(np.array(["high", "low", "mid"])[np.arange(40) % 3], dtype=levels),
        }
    )
    display = PairPlotDisplay.from_data(frame, frame)
    assert [text.get_text() for text in display.axes_[-1, -1].get_xticklabels()] == ["low", "mid", "high"]
    assert display.axes_[0, 0].get_xlim() == (-0.5, 3.5)
    low, high = display.axes_[1, 1].get_xlim()
    assert low < -2 < 2 < high


def test_the_noise_of_two_columns_of_categories_differs():
    words = np.array(["a", "b"])[np.random.default_rng(0).integers(0, 2, (200, 2))]
    display = PairPlotDisplay.from_data(
        pd.DataFrame(words, columns=["x", "y"]), pd.DataFrame(words, columns=["x", "y"])
    )
    for points in display.axes_[1, 0].collections:
        x, y = np.asarray(points.get_offsets()).T
        assert abs(np.corrcoef(x - np.round(x), y - np.round(y))[0, 1]) < 0.3


def test_sparse_rows_are_drawn():
    X = sparse.csr_array(np.random.default_rng(0).poisson(0.5, (60, 3)).astype(float))
    display = PairPlotDisplay.from_estimator(VAE(1, max_iter=1, random_state=0).fit(X), X)
    assert list(display.real) == ["0", "1", "2"]
