"""Tests of displays of latent codes: maps of many dimensions, KL per dimension, and exact posteriors."""

import sys
import types

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skdgm import DLGM, VAE
from skdgm.display import LatentKLDisplay, LatentMapDisplay, PosteriorDisplay

CODES = np.random.default_rng(0).normal(size=(40, 4)) * [1.0, 4.0, 2.0, 3.0]


class FakeCodes:
    def transform(self, X):
        return np.asarray(X)


def test_two_dimensions_are_drawn_as_they_are():
    for projection in (None, "largest_sd"):
        display = LatentMapDisplay.from_codes(CODES[:, :2], projection=projection)
        np.testing.assert_array_equal(display.codes, CODES[:, :2])
        assert display.names == ("code 0", "code 1")


def test_a_class_called_unlabeled_hides_no_row():
    y = np.array(["unlabeled", "a", None, "b"] * 10, dtype=object)
    groups = LatentMapDisplay.from_codes(CODES, y, projection="pca").groups
    assert {name: len(rows) for name, rows in groups.items()} == {
        "unlabeled": 10,
        "a": 10,
        "b": 10,
        "unlabeled (class)": 10,
    }


def test_principal_components_are_scikit_learns():
    display = LatentMapDisplay.from_estimator(FakeCodes(), CODES, projection="pca")
    pca = PCA(2).fit(CODES)
    np.testing.assert_allclose(np.abs(display.codes), np.abs(pca.transform(CODES)))
    shares = [round(100 * share) for share in pca.explained_variance_ratio_]
    assert display.names == tuple(f"PC {k + 1} ({share}% of the variance)" for k, share in enumerate(shares))


def test_a_callable_projects():
    display = LatentMapDisplay.from_codes(CODES, projection=lambda codes: codes[:, 2:])
    np.testing.assert_array_equal(display.codes, CODES[:, 2:])


def test_umap_projects_with_a_seed(monkeypatch):
    class UMAP:
        def __init__(self, **params):
            assert params["random_state"] == 0

        def fit_transform(self, codes):
            return codes[:, :2] + 1

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    display = LatentMapDisplay.from_codes(CODES, projection="umap")
    np.testing.assert_array_equal(display.codes, CODES[:, :2] + 1)
    assert display.names == ("UMAP 1", "UMAP 2")


def test_without_umap_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn. projection='pca' does without"):
        LatentMapDisplay.from_codes(CODES, projection="umap")


def test_what_is_drawn_is_what_was_given():
    y = np.arange(40) % 10
    y[y == 3] = -1
    display = LatentMapDisplay.from_codes(CODES[:, :2], y)
    drawn = {collection.get_label(): collection.get_offsets() for collection in display.ax_.collections}
    assert list(drawn) == ["unlabeled", *"012456789"]
    np.testing.assert_array_equal(drawn["unlabeled"], CODES[y == -1, :2])
    np.testing.assert_array_equal(drawn["7"], CODES[y == 7, :2])
    looks = {tuple(c.get_facecolor()[0]) + tuple(c.get_paths()[0].vertices[0]) for c in display.ax_.collections}
    assert len(looks) == 10, "two classes look alike"
    np.testing.assert_allclose(display.ax_.texts[0].xy, np.median(CODES[y == 0, :2], axis=0))


@pytest.mark.parametrize(
    ("codes", "params", "message"),
    [
        (CODES, {"projection": None}, "as they are, got 4. Use projection='pca', 'largest_sd' or 'umap', or fit with"),
        (CODES, {"projection": "tsne"}, "must be 'largest_sd', 'pca', 'umap', a callable or None, got 'tsne'"),
        (CODES, {"projection": lambda codes: codes}, r"of shape \(40, 2\), got \(40, 4\)"),
        (CODES[:, :1], {}, "needs two latent dimensions, got 1. Fit with n_components=2"),
        (CODES[:, 0], {}, r"needs two latent dimensions, got \(40,\)"),
        (CODES, {"y": [0, 1]}, "for each of the 40 rows, got 2"),
    ],
)
def test_a_map_says_what_is_wrong(codes, params, message):
    with pytest.raises(ValueError, match=message):
        LatentMapDisplay.from_codes(codes, **params)


@pytest.mark.parametrize("display", [LatentMapDisplay, LatentKLDisplay])
def test_an_unfitted_model_is_named(display):
    with pytest.raises(NotFittedError, match="VAE"):
        display.from_estimator(VAE(), CODES)


# --- KL per dimension -------------------------------------------------------------------------------------------------


def test_the_bars_are_the_terms_of_the_bound():
    """With a diagonal posterior they sum to the KL of the module, and the active ones are those that fit counts."""
    X = np.random.default_rng(0).normal(size=(200, 2)) @ np.random.default_rng(1).normal(size=(2, 6))
    model = VAE(4, prior="normal", hidden_layer_sizes=(16,), max_iter=30, early_stopping=False, random_state=0).fit(X)
    display = LatentKLDisplay.from_estimator(model, X)
    mean, covariance = model.posterior_moments(X)
    squares = (mean**2).sum(1) + np.trace(covariance, axis1=1, axis2=2) - 4
    kl = 0.5 * (squares - np.linalg.slogdet(covariance)[1]).mean()
    np.testing.assert_allclose(display.kl.sum(), kl, rtol=1e-6)
    assert display.active.sum() == model.active_units_[0]
    heights = np.concatenate([[bar.get_height() for bar in group] for group in display.ax_.containers])
    np.testing.assert_allclose(np.sort(heights), np.sort(display.kl))
    assert [tick.get_text() for tick in display.ax_.get_xticklabels()] == [
        f"vae{k}" for k in np.argsort(-display.kl, kind="stable")
    ]
    same = LatentKLDisplay.from_moments(mean, covariance)
    np.testing.assert_array_equal(same.kl, display.kl)


def test_a_dimension_at_the_prior_costs_nothing_and_is_inactive():
    covariance = np.tile(np.diag([0.5, 1.0]), (3, 1, 1))
    display = LatentKLDisplay.from_moments([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], covariance)
    np.testing.assert_allclose(display.kl, [0.5 * (2 / 3 + 0.5 - 1 - np.log(0.5)), 0.0])
    assert display.active.tolist() == [True, False]
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["active: 1", "inactive: 1"]


def test_under_a_mixture_the_prior_has_the_moments_of_the_codes():
    X = np.random.default_rng(0).normal(size=(100, 6))
    model = VAE(3, hidden_layer_sizes=(8,), max_iter=3, early_stopping=False, random_state=0).fit(X)
    mean, covariance = model.posterior_moments(X)
    of_codes = mean.mean(0), mean.var(0) + np.diagonal(covariance, axis1=1, axis2=2).mean(0)
    display = LatentKLDisplay.from_estimator(model, X)
    np.testing.assert_array_equal(display.kl, LatentKLDisplay.from_moments(mean, covariance, prior=of_codes).kl)
    same = LatentKLDisplay.from_moments(
        np.zeros((5, 3)), np.tile(np.diag([2.0, 1.0, 3.0]), (5, 1, 1)), prior=(0, [2, 1, 3])
    )
    np.testing.assert_allclose(same.kl, 0, atol=1e-12)


def test_moments_must_fit():
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(3, 2\). Pass both of posterior_moments"):
        LatentKLDisplay.from_moments(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="PCA has no posterior_moments"):
        LatentKLDisplay.from_estimator(PCA(), CODES)


# --- exact posteriors -------------------------------------------------------------------------------------------------

GRID = np.linspace(-6, 6, 241)
POINTS = np.stack(np.meshgrid(GRID, GRID), axis=-1)
MEAN, COVARIANCE = np.array([0.5, -1.0]), np.array([[1.0, 0.3], [0.3, 0.4]])


def test_the_density_is_normalized_and_its_divergence_that_of_normals():
    exact = multivariate_normal(MEAN, COVARIANCE)
    log_density = exact.logpdf(POINTS) + 7  # up to a constant
    display = PosteriorDisplay.from_log_density(GRID, GRID, log_density, mean=MEAN, covariance=COVARIANCE)
    np.testing.assert_allclose(display.density, exact.pdf(POINTS), atol=1e-6)
    assert display.divergence == pytest.approx(0.0, abs=1e-6)
    wider = PosteriorDisplay.from_log_density(GRID, GRID, log_density, mean=MEAN, covariance=1.5 * COVARIANCE)
    assert wider.divergence == pytest.approx(0.5 * (2 * 1.5 - 2 - 2 * np.log(1.5)), abs=1e-4)


def test_contours_of_both_enclose_the_same_shares():
    exact = multivariate_normal(MEAN, COVARIANCE)
    moments = {"mean": MEAN, "covariance": COVARIANCE}
    display = PosteriorDisplay.from_log_density(GRID, GRID, exact.logpdf(POINTS), **moments)
    levels = display.ax_.collections[0].levels[:3]
    for level, ellipse in zip(levels, display.ax_.lines, strict=True):
        np.testing.assert_allclose(exact.pdf(ellipse.get_xydata()), level, rtol=0.02)


def test_the_exact_posterior_alone():
    display = PosteriorDisplay.from_log_density(GRID, GRID[::2], np.zeros((121, 241)))
    assert np.isnan(display.divergence) and not display.ax_.lines


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"log_density": np.zeros((241, 3))}, r"\(len\(z1\), len\(z0\)\) = \(241, 241\), got \(241, 3\)"),
        ({"mean": np.zeros(3)}, r"mean must be of shape \(2,\), got \(3,\). Pass that of one row, of a model with two"),
        ({"mean": MEAN, "covariance": np.ones(2)}, r"covariance must be of shape \(2, 2\), got \(2,\)"),
    ],
)
def test_a_posterior_says_what_is_wrong(params, message):
    with pytest.raises(ValueError, match=message):
        PosteriorDisplay.from_log_density(GRID, GRID, **{"log_density": np.zeros((241, 241)), **params})


def test_panels_of_a_dlgm():
    X = (np.random.default_rng(0).random((60, 5)) < 0.5).astype(float)
    model = DLGM(
        2, prior="normal", posterior="full", hidden_layer_sizes=(8,), max_iter=2, early_stopping=False, random_state=0
    ).fit(X)
    (mean, *_), (covariance, *_) = model.posterior_moments(X)
    _, ax = plt.subplots()
    display = PosteriorDisplay.from_log_density(
        GRID, GRID, -0.5 * (POINTS**2).sum(-1), mean=mean, covariance=covariance, ax=ax
    )
    assert display.ax_ is ax and display.divergence >= 0


def test_numbers_color_a_map_by_their_value():
    y = pd.Series(np.linspace(0.5, 9, 40), name="length")
    y[3] = np.nan
    display = LatentMapDisplay.from_codes(CODES[:, :2], y)
    unknown, known = display.ax_.collections
    np.testing.assert_array_equal(known.get_array(), y.dropna())
    np.testing.assert_array_equal(unknown.get_offsets(), CODES[[3], :2])
    assert display.groups == {} and display.figure_.axes[1].get_ylabel() == "length"
    assert LatentMapDisplay.from_codes(CODES[:, :2], np.arange(40)).values is not None
    assert LatentMapDisplay.from_codes(CODES[:, :2], np.arange(40) % 30).values is None
