"""Tests of impute: on classifiers, given the label or not, and several draws of frames."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal, norm
from sklearn.frozen import FrozenEstimator

from skdgm import VAE, ADGMClassifier, M1Classifier, M1M2Classifier, M2Classifier
from skdgm.models.m1m2 import M1M2Module
from skdgm.models.m2 import M2Module
from skdgm.models.vae import VAEModule

PRIOR = (0.3, 0.7)
NAN = np.nan
LOADINGS = np.array([[1.0], [0.8], [-0.5], [0.6]])
MEANS = np.array([[0.5, 0.0, 1.0, -1.0], [-1.0, 1.5, 0.0, 1.0]])  # of the two classes
VARIANCES = np.array([0.4, 0.3, 0.5, 0.2])
FAST = {"hidden_layer_sizes": (16,), "max_iter": 4, "random_state": 0, "n_importance_samples": 10}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def set_linear(network, weight, bias, shifts=None):
    """Set an affine network; ``shifts`` holds what each class adds."""
    as_tensor = lambda array: torch.as_tensor(np.asarray(array), dtype=torch.float32)  # noqa: E731
    with torch.no_grad():
        network.layers[0].weight.copy_(as_tensor(weight))
        network.layers[0].bias.copy_(as_tensor(bias))
        if shifts is not None:
            network.class_embedding.weight.copy_(as_tensor(shifts))


def two_classes(scale=1.0, share=1.0):
    """p(x | y, z) = N(scale (W z + m_y), share scale^2 v), with the exact posterior of complete rows."""
    loadings, means, variances = scale * LOADINGS[:, 0], scale * MEANS, share * scale**2 * VARIANCES
    module = M2Module(4, 1, (), "relu", "gaussian", PRIOR, generator()).requires_grad_(False).eval()
    set_linear(module.decoder.mlp, loadings[:, None], np.zeros(4), means)
    module.decoder.shared.copy_(torch.from_numpy(np.log(variances)).float())
    variance = 1 / (1 + (loadings**2 / variances).sum())
    gain = variance * loadings / variances
    shifts = np.stack([-means @ gain, np.zeros(2)], 1)
    set_linear(module.encoder.mlp, np.stack([gain, np.zeros(4)]), [0.0, np.log(variance)], shifts)
    return module


def on_codes(scale=0.7, share=0.7):
    """An M1M2 of the same distribution: one code per column, and an inactive one, below the two classes.

    The decoder of the codes makes a part of the noise of the columns, the codes themselves make the other.
    """
    lower = VAEModule(4, 5, (), "relu", "gaussian", generator(), missing_indicator=True).requires_grad_(False).eval()
    set_linear(lower.decoder.mlp, np.c_[np.eye(4) / scale, np.zeros(4)], np.zeros(4))
    lower.decoder.shared.copy_(torch.from_numpy(np.log((1 - share) * VARIANCES)).float())
    weight = np.r_[0.9 * scale * np.eye(4), np.zeros((6, 4))]
    set_linear(lower.encoder.mlp, weight, np.r_[np.zeros(5), np.full(4, np.log(0.1)), 0.0])
    lower.encoder.mlp.missing_weight[5:9] = np.log(10) * torch.eye(4)  # q(z1 | x) of a missing cell is N(0, 1)
    return M1M2Module(lower, two_classes(scale, share), torch.arange(4), torch.zeros(4), torch.ones(4))


MODULES = {"M2": two_classes, "M1M2": on_codes}


def conditionals(row):
    """p(y | x_observed), and mean and covariance of p(x_missing | x_observed, y), in closed form for each class."""
    hole, covariance = np.isnan(row), LOADINGS @ LOADINGS.T + np.diag(VARIANCES)
    seen = covariance[np.ix_(~hole, ~hole)]
    gain = covariance[np.ix_(hole, ~hole)] @ np.linalg.inv(seen)
    joint = [p * multivariate_normal(m[~hole], seen).pdf(row[~hole]) for p, m in zip(PRIOR, MEANS, strict=True)]
    means = np.stack([m[hole] + gain @ (row[~hole] - m[~hole]) for m in MEANS])
    return np.array(joint) / sum(joint), means, covariance[np.ix_(hole, hole)] - gain @ covariance[np.ix_(~hole, hole)]


def tensors(row, n=1):
    row = torch.from_numpy(np.tile(row, (n, 1))).float()
    return torch.nan_to_num(row), ~row.isnan()


ROWS = [np.array([0.7, NAN, 0.9, NAN]), np.array([-0.3, 0.8, NAN, NAN]), np.array([NAN, NAN, 0.6, NAN])]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", MODULES)
def test_the_mean_is_that_of_the_mixture_over_classes(name, row):
    """E[x_missing | x_observed] = sum_y p(y | x_observed) E[x_missing | x_observed, y], by brute force."""
    module, (x, observed) = MODULES[name](), tensors(row)
    share, means, _ = conditionals(row)
    assert 0.05 < share[0] < 0.95
    hole = np.isnan(row)
    found = module.expected(x, generator(), 40_000, observed)[0, hole].numpy()
    np.testing.assert_allclose(found, share @ means, atol=0.04)
    for label, mean in enumerate(means):
        found = module.expected(x, generator(), 40_000, observed, torch.tensor([[label]]))[0, hole].numpy()
        np.testing.assert_allclose(found, mean, atol=0.04)


@pytest.mark.parametrize("name", MODULES)
def test_draws_follow_the_mixture_over_classes(name):
    """Kolmogorov-Smirnov test of each missing cell, with and without the label; and their covariance."""
    row, n = ROWS[0], 700
    module, (x, observed) = MODULES[name](), tensors(row, n)
    share, means, covariance = conditionals(row)
    hole = np.isnan(row)
    for label, weights in [(None, share), (0, [1, 0]), (1, [0, 1])]:
        y = None if label is None else torch.tensor([[label]])
        drawn = module.resampled(x, generator(), 1500, observed, y)[:, hole].numpy()
        for j, sd in enumerate(np.sqrt(np.diag(covariance))):
            cdf = lambda value, j=j, sd=sd, w=weights: np.dot(w, norm.cdf(value, means[:, [j]], sd))  # noqa: E731
            assert kstest(drawn[:, j], cdf).pvalue > 0.01
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.1)


def test_categories_are_the_most_probable_ones_by_enumeration():
    """Without an influence of z, p(x_missing | x_observed) is a sum over classes."""
    module = M2Module(3, 2, (), "relu", "bernoulli", PRIOR, generator()).requires_grad_(False).eval()
    set_linear(module.encoder.mlp, np.zeros((4, 3)), np.zeros(4), np.zeros((2, 4)))
    logits = np.array([[2.0, -1.0, 0.5], [-0.5, 1.0, -2.0]])
    set_linear(module.decoder.mlp, np.zeros((3, 2)), np.zeros(3), logits)
    p = 1 / (1 + np.exp(-logits))
    joint = PRIOR * p[:, 0] * (1 - p[:, 1])
    x, observed = tensors(np.array([1.0, 0.0, NAN]))
    found = module.expected(x, generator(), 20_000, observed)[0, 2].item()
    assert found == pytest.approx(joint @ p[:, 2] / joint.sum(), abs=2e-3)
    assert module.expected(x, generator(), 1, observed, torch.tensor([[1]]))[0, 2].item() == pytest.approx(p[1, 2])


# --- the estimators ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    """Two classes that differ in all of three columns, 20 labels and -1 for the other rows, and cells that miss."""
    rng = np.random.default_rng(0)
    truth = np.arange(100) % 2
    X = np.c_[4 * truth + rng.standard_normal(100), rng.poisson(2 + 3 * truth), truth ^ (rng.random(100) < 0.1)]
    X[rng.random(X.shape) < 0.15] = NAN
    return X, np.where(np.arange(100) < 20, truth, -1), truth


@pytest.fixture(scope="module")
def classifiers(data):
    X, y, _ = data
    vae = FrozenEstimator(VAE(2, **FAST).fit(X))
    made = [
        M2Classifier(2, **FAST),
        ADGMClassifier(2, skip=True, **FAST),
        M1M2Classifier(2, encoder=vae, **FAST),
        M1Classifier(encoder=vae),
    ]
    return {type(made).__name__: made.fit(X, y) for made in made}


@pytest.mark.parametrize("name", ["M2Classifier", "ADGMClassifier", "M1M2Classifier", "M1Classifier"])
def test_classifiers_fill_what_is_missing_and_nothing_else(classifiers, data, name):
    """Means are finite, draws differ, and both leave observed cells as they were; the seed decides the draws."""
    X, model, hole = data[0], classifiers[name], np.isnan(data[0])
    mean, draws = model.impute(X), model.impute(X, n_draws=3, random_state=0)
    assert mean.shape == X.shape and draws.shape == (3, *X.shape)
    for filled in (mean, *draws):
        assert np.array_equal(filled[~hole], X[~hole]) and np.isfinite(filled).all()
    assert np.array_equal(draws, model.impute(X, n_draws=3, random_state=0))
    assert (draws[0] != draws[1])[hole].any() and not np.array_equal(draws, model.impute(X, n_draws=3, random_state=1))
    assert np.array_equal(draws[:, :, 1:], np.rint(draws[:, :, 1:]))  # counts and 0/1 cells


@pytest.mark.parametrize("name", ["M2Classifier", "ADGMClassifier", "M1M2Classifier"])
def test_rows_are_imputed_given_their_labels(classifiers, data, name):
    """A label for all rows, one per row, or none where a row is marked as unlabeled; in any batch, the same bits."""
    X, y, truth = data
    model = classifiers[name]
    of_class = [model.impute(X, c) for c in (0, 1)]
    assert np.array_equal(model.impute(X, truth), np.where(truth[:, None] == 1, of_class[1], of_class[0]))
    labeled, filled = y >= 0, model.impute(X, y)
    assert np.array_equal(filled[~labeled], model.impute(X)[~labeled])
    assert np.array_equal(filled[labeled], model.impute(X[labeled], list(truth[labeled])))
    assert np.array_equal(model.impute(X[7:8], 1), of_class[1][7:8])


def test_the_label_decides_where_nothing_is_observed(data):
    """Rows of class 1 are 4 larger in column 0; without a label, the mean is that over the class prior."""
    X, y, _ = data
    model = M2Classifier(2, **{**FAST, "max_iter": 60, "n_importance_samples": 200}).fit(X, y)
    nothing = np.full((1, 3), NAN)
    low, high, mean = (model.impute(nothing, c)[0, 0] for c in (0, 1, None))
    assert high - low == pytest.approx(4, abs=1)
    share = model.class_prior_
    assert mean == pytest.approx(share[0] * low + share[1] * high, abs=0.6)


def test_m1_imputes_as_its_encoder_does(classifiers, data):
    """With every option of the VAE."""
    model, X = classifiers["M1Classifier"], data[0]
    for options in ({}, {"method": "chain", "n_steps": 3, "random_state": 0}, {"n_draws": 2, "random_state": 0}):
        assert np.array_equal(model.impute(X, **options), model.encoder_.impute(X, **options))
    with pytest.raises(ValueError, match="X has 2 features, but M1Classifier is expecting 3"):
        model.impute(X[:, :2])


@pytest.mark.parametrize("make", [lambda: VAE(2, **FAST), lambda: M2Classifier(2, **FAST)])
def test_draws_of_a_frame_are_a_list_of_frames(make, data):
    """Multiple imputation: each frame has the index, names and dtypes of X, and only its missing cells are filled."""
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(data[0], columns=list("abc"), index=np.arange(100)[::-1])
    X["d"] = pd.Categorical(np.where(data[2] == 1, "yes", "no"), categories=["no", "yes"]).set_categories(["no", "yes"])
    X.loc[X.index[:9], "d"] = None
    model = make().fit(X, data[1])
    draws = model.impute(X, n_draws=3, random_state=0)
    assert isinstance(draws, list) and len(draws) == 3
    for filled in (*draws, model.impute(X)):
        assert (filled.dtypes == X.dtypes).all() and filled.index.equals(X.index) and not filled.isna().any().any()
        pd.testing.assert_frame_equal(filled.where(X.notna()), X)
    assert not draws[0].equals(draws[1])


@pytest.mark.parametrize("name", ["M2Classifier", "M1M2Classifier"])
def test_wrong_arguments_are_named(classifiers, data, name):
    """Labels that fit did not see, too few labels, and numbers of draws."""
    X, model = data[0], classifiers[name]
    with pytest.raises(ValueError, match=r"y has 7, which is not among the classes \[0, 1\]"):
        model.impute(X, 7)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.impute(X, [0, 1])
    with pytest.raises(ValueError, match="n_draws == 0, must be >= 1"):
        model.impute(X, n_draws=0)
    with pytest.raises(TypeError, match="n_draws must be an instance of int"):
        model.impute(X, n_draws=2.0)
