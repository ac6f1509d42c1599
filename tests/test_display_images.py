"""Tests of displays of images: channels, missing pixels, reconstructions, the manifold, and imputation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skdgm import VAE, M1Classifier, M2Classifier
from skdgm.display import (
    AnalogyDisplay,
    ConditionalSamplesDisplay,
    ImageGridDisplay,
    ImputationChainDisplay,
    ImputationDisplay,
    ManifoldDisplay,
    ReconstructionDisplay,
)
from skdgm.display.images import MISSING, as_images


class FakeVAE:
    """Codes are twice the first columns, and decoding repeats them; missing cells are filled with the draw's number."""

    def __init__(self, n_codes=2):
        self.n_codes = n_codes

    def transform(self, X):
        return 2 * np.asarray(X)[:, : self.n_codes]

    def inverse_transform(self, Z):
        return np.tile(Z[:, :2], 2)

    def get_feature_names_out(self):
        return np.array([f"z{k}" for k in range(self.n_codes)])

    def impute(self, X, *, method="importance", n_draws=None, n_steps=0, random_state=None):
        if method == "chain":
            return np.where(np.isnan(X), n_steps, X)
        fills = [0] if n_draws is None else range(1, n_draws + 1)
        filled = np.stack([np.where(np.isnan(X), fill, X) for fill in fills])
        return filled[0] if n_draws is None else filled


class FakeClassifier(FakeVAE):
    classes_ = np.array([0, 5])

    def predict(self, X):
        return np.full(len(X), 5)

    def inverse_transform(self, Z, y):
        return super().inverse_transform(Z) + y[:, None]


def image(display):
    return np.ma.filled(display.ax_.images[0].get_array(), np.nan)


def tick_labels(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_channels_other_than_three_stand_side_by_side(n_channels):
    X = np.arange(2.0 * 6 * n_channels).reshape(2, -1)
    images = ImageGridDisplay.from_data(X, image_shape=(2, 3, n_channels)).images
    assert images.shape == (1, 2, 2, 3 * n_channels)
    for channel in range(n_channels):
        part = images[0, :, :, 3 * channel : 3 * channel + 3]
        np.testing.assert_array_equal(part, X.reshape(2, 2, 3, n_channels)[..., channel])


def test_a_missing_pixel_is_light_blue_and_an_empty_cell_white():
    X = np.array([[0.0, 1.0, np.nan, 0.5], [0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    display = ImageGridDisplay.from_data(X, n_columns=2)
    canvas = image(display)
    np.testing.assert_array_equal(canvas[:2, :2], [[0, 1], [np.nan, 0.5]])
    np.testing.assert_array_equal(canvas[3:, 3:], 1.0)
    assert tuple(display.ax_.images[0].get_cmap()(np.ma.masked_all(1))[0, :3]) == MISSING


def test_limits_are_black_and_white_and_clip():
    X = np.array([[-1.0, 0.0, 2.0, 9.0]])
    np.testing.assert_array_equal(image(ImageGridDisplay.from_data(X, limits=(0, 4))).ravel(), [0, 0, 0.5, 1])


def test_the_originals_set_the_brightness():
    """What a model makes of an image may leave the images' range; it does not darken them."""
    X = np.array([[0.0, 0.5, 1.0, 1.0]])
    display = ReconstructionDisplay.from_data(X, [[-3.0, 0.5, 0.75, 20.0]])
    np.testing.assert_array_equal(image(display)[:2].ravel(), X[0])
    np.testing.assert_array_equal(image(display)[3:].ravel(), [0.0, 0.5, 0.75, 1.0])
    holes = np.array([[0.0, 2.0, np.nan, np.nan]])
    display = ImputationDisplay.from_data(holes, [[0.0, 2.0, 1.0, 50.0]])
    np.testing.assert_array_equal(image(display)[3:].ravel(), [0.0, 1.0, 0.5, 1.0])
    nothing = np.full((1, 4), np.nan)
    np.testing.assert_array_equal(image(ImputationDisplay.from_data(nothing, [[0.0, 0.5, 1.0, 2.0]]))[4], [1.0, 1.0])


def test_a_missing_pixel_of_a_color_image():
    X = np.arange(12.0).reshape(1, 12)
    X[0, 3] = np.nan
    canvas = image(ImageGridDisplay.from_data(X, image_shape=(2, 2, 3)))
    np.testing.assert_array_equal(canvas[0, 1], MISSING)
    np.testing.assert_allclose(canvas[1, 1], np.array([9, 10, 11]) / 11)


def test_reconstructions_stand_below_their_images():
    X = np.arange(12.0).reshape(3, 4)
    display = ReconstructionDisplay.from_estimator(FakeVAE(), X)
    np.testing.assert_array_equal(display.images[0].reshape(3, 4), X)
    np.testing.assert_array_equal(display.images[1].reshape(3, 4), 2 * X[:, [0, 1, 0, 1]])
    same = ReconstructionDisplay.from_data(X, 2 * X[:, [0, 1, 0, 1]])
    np.testing.assert_array_equal(image(display), image(same))
    assert tick_labels(display.ax_.yaxis) == ["original", "reconstruction"]


def test_a_classifier_reconstructs_with_its_prediction():
    X = np.zeros((2, 4))
    np.testing.assert_array_equal(ReconstructionDisplay.from_estimator(FakeClassifier(), X).images[1], 5)


def test_the_manifold_is_even_in_probability_and_grows_upward():
    display = ManifoldDisplay.from_estimator(FakeVAE(), n=4)
    horizontal, vertical = display.quantiles
    np.testing.assert_allclose(norm.cdf(display.quantiles), [[0.125, 0.375, 0.625, 0.875]] * 2)
    first, second = display.images[..., 0, 0], display.images[..., 0, 1]
    np.testing.assert_array_equal(first, np.tile(horizontal, (4, 1)))
    np.testing.assert_array_equal(second, np.tile(vertical[::-1, None], 4))
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("z0", "z1")
    assert tick_labels(display.ax_.xaxis) == ["-1.2", "", "0.3", "1.2"]
    assert tick_labels(display.ax_.yaxis) == ["1.2", "0.3", "", "-1.2"]


def test_the_manifold_covers_a_mixture_prior():
    """The grid is that of the quantiles of codes from the prior, wherever these lie."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(center, 0.1, (100, 4)) for center in (-1, 1)])
    vae = VAE(2, max_iter=20, random_state=0).fit(X)
    display = ManifoldDisplay.from_estimator(vae, n=5)
    codes = vae.sample_codes(20_000, random_state=1)
    for values, dimension in zip(display.quantiles, codes.T, strict=True):
        shares = (dimension[:, None] <= values).mean(0)
        np.testing.assert_allclose(shares, (np.arange(5) + 0.5) / 5, atol=0.03)
    corner = vae.inverse_transform([[display.quantiles[0][0], display.quantiles[1][-1]]])
    np.testing.assert_allclose(display.images[0, 0].ravel(), corner[0])


def test_the_manifold_varies_chosen_dimensions_of_many():
    model = FakeVAE(5)
    images = ManifoldDisplay.from_estimator(model, n=3, dimensions=(4, 1)).images
    np.testing.assert_array_equal(images[..., 0, 0], 0.0)
    assert len(np.unique(images[..., 0, 1])) == 3


def test_the_manifold_of_a_class():
    images = ManifoldDisplay.from_estimator(FakeClassifier(), n=3, y=5).images
    np.testing.assert_allclose(images - 5, ManifoldDisplay.from_estimator(FakeVAE(), n=3).images)


@pytest.mark.parametrize(
    ("model", "params", "message"),
    [
        (FakeVAE(3), {}, r"two latent dimensions, got 3. Fit with n_components=2, or choose two: dimensions=\(0, 1\)"),
        (FakeVAE(3), {"dimensions": (0, 3)}, r"two of the 3 latent dimensions, from 0 to 2, got \(0, 3\)"),
        (FakeVAE(3), {"dimensions": (1, 1)}, r"got \(1, 1\)"),
        (FakeVAE(2), {"n": 0}, "n must be at least 1, got 0"),
        (FakeVAE(2), {"image_shape": (3, 3)}, r"4 columns do not make images of shape \(3, 3\)"),
        (object(), {}, "object has no inverse_transform, get_feature_names_out. Pass a fitted estimator that has them"),
    ],
)
def test_the_manifold_says_what_is_wrong(model, params, message):
    with pytest.raises(ValueError, match=message):
        ManifoldDisplay.from_estimator(model, **params)


X_HOLES = np.array([[7.0, np.nan, 8.0, np.nan], [np.nan, 6.0, 6.0, 6.0]])


@pytest.mark.parametrize("truth", [None, np.full((2, 4), 9.0)])
@pytest.mark.parametrize("n_draws", [0, 2])
def test_imputation_shows_truth_holes_mean_and_draws(truth, n_draws):
    model = FakeVAE()
    display = ImputationDisplay.from_estimator(model, X_HOLES, X_true=truth, n_draws=n_draws)
    names = ["truth"] * (truth is not None) + ["observed", "mean", "draw 1", "draw 2"][: 2 + n_draws]
    assert display.row_labels == names
    rows = dict(zip(names, display.images.reshape(len(names), 2, 4), strict=True))
    np.testing.assert_array_equal(rows["observed"], X_HOLES)
    for k, name in enumerate(["mean", "draw 1", "draw 2"][: 1 + n_draws]):
        np.testing.assert_array_equal(rows[name], np.nan_to_num(X_HOLES, nan=k))
    draws = model.impute(X_HOLES, n_draws=2)[:n_draws]
    same = ImputationDisplay.from_data(X_HOLES, model.impute(X_HOLES), draws, X_true=truth)
    np.testing.assert_array_equal(image(display), image(same))


def test_the_chain_has_a_column_per_number_of_steps():
    display = ImputationChainDisplay.from_estimator(FakeVAE(), X_HOLES, steps=(1, 20), X_true=np.zeros((2, 4)))
    assert tick_labels(display.ax_.xaxis) == ["truth", "observed", "1", "20"]
    np.testing.assert_array_equal(display.images[:, 3].reshape(2, 4), np.nan_to_num(X_HOLES, nan=20))
    states = {n: np.nan_to_num(X_HOLES, nan=n) for n in (1, 20)}
    same = ImputationChainDisplay.from_data(X_HOLES, states, X_true=np.zeros((2, 4)))
    np.testing.assert_array_equal(image(display), image(same))


def test_the_chain_of_a_classifier_is_refused():
    X = np.random.default_rng(0).random((20, 4))
    model = M2Classifier(1, max_iter=1, random_state=0).fit(X, np.arange(20) % 2)
    with pytest.raises(ValueError, match="needs an estimator whose impute has method='chain', .* got M2Classifier"):
        ImputationChainDisplay.from_estimator(model, X, steps=(1,))


def test_images_of_nullable_columns():
    X = np.random.default_rng(0).random((5, 4))
    frame = pd.DataFrame(X).astype("Float64")
    frame.iloc[0, 1] = pd.NA
    X[0, 1] = np.nan
    np.testing.assert_array_equal(as_images(frame, None).reshape(5, 4), X)


def test_columns_are_states_of_one_chain():
    """The chain of k + 1 steps passes through the state after k: its missing cells determine the next ones."""
    X = np.random.default_rng(0).random((60, 4))
    vae = VAE(2, likelihood="gaussian", max_iter=1, early_stopping=False, random_state=0).fit(X)
    holes = np.where([[True, False, False, False]], np.nan, X[:3])
    after = [vae.impute(holes, method="chain", n_steps=n, random_state=0) for n in (5, 5, 6)]
    np.testing.assert_array_equal(after[0], after[1])
    assert (after[0][:, 0] != after[2][:, 0]).all()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: ReconstructionDisplay.from_data(np.ones((2, 4)), np.ones((3, 4))), r"\(2, 4\) and \(3, 4\). Pass the"),
        (lambda: ImputationDisplay.from_data(X_HOLES, X_HOLES, X_true=np.ones((1, 4))), r"X_true and X .* \(1, 4\)"),
        (lambda: ImputationDisplay.from_estimator(PCA(), X_HOLES), "PCA has no impute. Pass a fitted estimator"),
        (lambda: ImputationChainDisplay.from_estimator(PCA(), X_HOLES), "PCA has no impute"),
        (lambda: AnalogyDisplay.from_estimator(FakeVAE(), X_HOLES), "FakeVAE has no classes_. Call fit first"),
        (lambda: ConditionalSamplesDisplay.from_estimator(FakeVAE()), "FakeVAE has no classes_"),
    ],
)
def test_wrong_input_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: ReconstructionDisplay.from_estimator(VAE(), X_HOLES),
        lambda: ManifoldDisplay.from_estimator(VAE()),
        lambda: ImputationDisplay.from_estimator(VAE(), X_HOLES),
        lambda: ImputationChainDisplay.from_estimator(VAE(), X_HOLES),
    ],
)
def test_an_unfitted_model_is_named(draw):
    with pytest.raises(NotFittedError, match="VAE"):
        draw()


def test_an_unfitted_classifier_is_named():
    with pytest.raises(ValueError, match="M2Classifier has no classes_. Call fit first"):
        AnalogyDisplay.from_estimator(M2Classifier(), X_HOLES)


def test_the_encoder_of_m1_is_the_way_out(digits):
    X, y = digits
    vae = VAE(2, max_iter=1, hidden_layer_sizes=(8,), random_state=0)
    m1 = M1Classifier(encoder=vae, random_state=0).fit(X[:100], y[:100])
    with pytest.raises(ValueError, match="M1Classifier has no inverse_transform. Pass its encoder_"):
        ReconstructionDisplay.from_estimator(m1, X[:3])
    assert ReconstructionDisplay.from_estimator(m1.encoder_, X[:3]).images.shape == (2, 3, 8, 8)
