"""Tests of DLGM: layers, posteriors, regularizers, and rows with missing cells."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.impute import SimpleImputer

from skdgm import DLGM, VAE
from skdgm.estimators import _latent_density
from skdgm.models.dlgm import DLGMModule

FAST = {
    "hidden_layer_sizes": (16,),
    "max_iter": 5,
    "random_state": 0,
    "n_importance_samples": 5,
    "early_stopping": False,
}
POSTERIORS = ["diagonal", "low_rank", "full"]


def factor_rows(n, seed=0, n_columns=6):
    """Rows of a factor model with two factors."""
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(9).standard_normal((2, n_columns))
    return rng.standard_normal((n, 2)) @ loadings + 0.5 * rng.standard_normal((n, n_columns)) + 3


def with_holes(X, share=0.3, seed=0):
    """X with a share of its cells missing, and the mask of these."""
    holes = np.random.default_rng(seed).random(X.shape) < share
    return np.where(holes, np.nan, X), holes


def binary_rows(n=200, seed=0):
    """0/1 rows of two kinds."""
    rng = np.random.default_rng(seed)
    p = np.where(rng.random((n, 1)) < 0.5, 0.9, 0.1) * np.ones(8)
    return (rng.random((n, 8)) < p).astype(float)


# --- the model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian_heteroscedastic"])
def test_one_diagonal_layer_is_the_vae(likelihood):
    """The same fit, codes, densities, draws and imputations, bit for bit, even with missing cells."""
    X = binary_rows() if likelihood == "bernoulli" else factor_rows(100)
    for rows in (X, with_holes(X)[0]):
        vae = VAE(3, likelihood=likelihood, **FAST).fit(rows)
        dlgm = DLGM(3, posterior="diagonal", likelihood=likelihood, **FAST).fit(rows)
        assert vae.history_ == dlgm.history_ and vae.active_units_ == dlgm.active_units_
        for method in ("transform", "score_samples", "elbo_samples", "impute"):
            assert np.array_equal(getattr(vae, method)(rows), getattr(dlgm, method)(rows))
        assert np.array_equal(vae.sample(5, random_state=0), dlgm.sample(5, random_state=0))
        assert np.array_equal(vae.inverse_transform(vae.transform(rows)), dlgm.inverse_transform(dlgm.transform(rows)))


def test_layers_add_noise_from_the_top_down():
    """h_3 = xi_3, h_2 = T_2(h_3) + G_2 xi_2, h_1 = T_1(h_2) + G_1 xi_1, by hand for affine maps."""
    module = DLGMModule(5, [4, 3, 2], [], "relu", "bernoulli", "diagonal", 1, torch.Generator().manual_seed(0))
    xi = torch.randn(7, 9, generator=torch.Generator().manual_seed(1))
    xi_1, xi_2, xi_3 = xi.split([4, 3, 2], 1)
    (t_1,), (t_2,) = (list(t.layers) for t in module.t)
    g_1, g_2 = module.g
    h_2 = xi_3 @ t_2.weight.T + t_2.bias + xi_2 @ g_2.weight.T
    h_1 = h_2 @ t_1.weight.T + t_1.bias + xi_1 @ g_1.weight.T
    torch.testing.assert_close(module.h_1(xi), h_1)
    logits = module.decoder.mlp(h_1)
    torch.testing.assert_close(module.p_x(xi).logits, logits)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_linear_model_finds_the_density_of_factor_analysis(posterior):
    """Held-out rows within 0.05 nats of factor analysis, which is the model of a linear decoder."""
    X, X_test = factor_rows(3000), factor_rows(2000, seed=1)
    model = DLGM(
        2,
        hidden_layer_sizes=(),
        posterior=posterior,
        likelihood="gaussian",
        max_iter=80,
        batch_size=100,
        learning_rate_init=0.01,
        weight_prior=None,
        n_importance_samples=200,
        random_state=0,
    ).fit(X)
    wanted = FactorAnalysis(2).fit(X).score(X_test)
    assert model.score(X_test) == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("layers", [3, (3, 2), (4, 3, 2)])
def test_every_posterior_and_depth_learns(posterior, layers):
    """Training raises the bound, the score is above the bound, and nothing is infinite."""
    X = binary_rows()
    model = DLGM(layers, posterior=posterior, **{**FAST, "max_iter": 40, "kl_warmup": 0}).fit(X)
    bound = model.history_["bound"]
    assert bound[-1] > bound[0] + 0.3
    assert model.score(X) > model.elbo_samples(X).mean() - 0.05
    assert model.active_units_.shape == (1 if layers == 3 else len(layers),)
    assert model.sample(4, random_state=0).shape == X[:4].shape


def test_a_correlated_posterior_gains_where_the_exact_one_is_correlated():
    """With a fixed linear decoder with oblique columns, rank one and full close the gap of the diagonal posterior."""
    X, gap = factor_rows(2000), {}
    common = {"hidden_layer_sizes": (), "likelihood": "gaussian", "max_iter": 60, "batch_size": 100}
    common |= {"learning_rate_init": 0.01, "weight_prior": None, "n_importance_samples": 200, "random_state": 0}
    common |= {"early_stopping": False, "prior": "normal"}
    oblique = np.array([[1.0, 0.9], [1.0, 1.1], [0.8, 1.0], [1.0, 0.8], [1.2, 1.0], [0.9, 1.1]])
    original = DLGMModule.__init__

    def held(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.decoder.mlp.layers[0].weight.data = torch.from_numpy(oblique.astype(np.float32))
        self.decoder.mlp.layers[0].weight.register_hook(torch.zeros_like)

    for name in POSTERIORS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DLGMModule, "__init__", held)
            patch.setattr(_latent_density, "init_from_factors", lambda *parts: None)  # it would set them
            model = DLGM(2, posterior=name, **common).fit(X)
        gap[name] = model.score(X) - model.elbo_samples(X).mean()
    assert gap["low_rank"] < 0.03 and gap["full"] < 0.03 and gap["diagonal"] > 0.3


@pytest.mark.parametrize("factor", [20, 1e3, 1e6])
@pytest.mark.parametrize("shape", [{"posterior": "diagonal"}, {"rank": 1}, {"rank": 3}, {"posterior": "full"}])
def test_rows_far_from_the_data_are_unlikely_and_can_be_filled(shape, factor):
    """For any posterior: finite results, densities below those of the data, missing cells filled."""
    X = load_wine().data
    model = DLGM(8, max_iter=30, random_state=0, n_importance_samples=20, **shape).fit(X)
    far = X.mean(0) + factor * (X - X.mean(0))
    scores = model.score_samples(far)
    assert np.isfinite(scores).all() and scores.max() < model.score_samples(X).max()
    assert np.isfinite(model.elbo_samples(far)).all() and np.isfinite(model.transform(far)).all()
    rows, _ = with_holes(far)
    for answer in (model.impute(rows), *(model.impute(rows, method=m, n_draws=1) for m in ("importance", "chain"))):
        assert np.isfinite(answer).all()


def test_early_stopping_monitors_the_bound_that_is_trained():
    """With several draws per row that is the importance-weighted bound, not the lower ELBO."""
    X = binary_rows(400)
    model = DLGM(3, **{**FAST, "early_stopping": True}, n_importance_samples_train=10).fit(X)
    history = {name: np.array(values) for name, values in model.history_.items()}
    validation = np.array(model.validation_scores_)
    assert np.abs(validation - history["bound"])[-1] < 0.5
    assert model.n_iter_ == len(validation)


def test_a_warm_start_may_have_missing_cells_or_none():
    """The encoder gains an input for the mask and keeps it; the weights of the new input start at zero effect."""
    X = factor_rows(80)
    rows, _ = with_holes(X)
    for make in (VAE, DLGM):
        model = make(3, warm_start=True, **FAST).fit(X)
        before = model.transform(X)
        model.set_params(learning_rate_init=1e-12, max_iter=1).fit(rows)
        np.testing.assert_allclose(model.transform(X), before, atol=0.5)  # the scale is that of the first fit
        assert model.fit(X)._architecture["missing_indicator"]
    model = DLGM(3, posterior="full", warm_start=True, **FAST).fit(X)
    model.set_params(rank=2).fit(X)  # a full posterior ignores rank


def test_more_training_draws_tighten_the_bound_that_is_reported():
    """On the same module, the mean importance-weighted bound of 5 draws is above the mean ELBO."""
    X = torch.from_numpy(binary_rows().astype(np.float32))
    module = DLGMModule(8, [2], [6], "relu", "bernoulli", "diagonal", 1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    rng = torch.Generator().manual_seed(2)
    one = torch.stack([module.importance_bound(X, rng, 1).total() for _ in range(200)]).mean()
    five = torch.stack([module.importance_bound(X, rng, 5).total() for _ in range(200)]).mean()
    elbo = torch.stack([module.bound(X, rng).total() for _ in range(200)]).mean()
    assert one.item() == pytest.approx(elbo.item(), abs=0.05)
    assert five > one + 0.05


def test_importance_weighted_training_reports_its_own_bound():
    """history_["bound"] of 10 draws is above reconstruction minus KL, the bound of one draw."""
    model = DLGM(3, **FAST, n_importance_samples_train=10, kl_warmup=0).fit(binary_rows())
    history = {name: np.array(values) for name, values in model.history_.items()}
    assert np.all(history["bound"] > history["reconstruction"] - history["kl"])


# --- codes ------------------------------------------------------------------------------------------------------------


def test_codes_are_those_of_the_top_layer_or_of_all():
    """transform_layers chooses columns of the same means; inverse_transform takes either."""
    X = factor_rows(60)
    model = DLGM((4, 2), **FAST).fit(X)
    top, names = model.transform(X), model.get_feature_names_out()
    everything = model.set_params(transform_layers="all").transform(X)
    assert top.shape == (60, 2) and everything.shape == (60, 6) and len(names) == 2
    assert np.array_equal(everything[:, 4:], top)
    assert len(model.get_feature_names_out()) == 6
    whole = model.inverse_transform(everything)
    part = model.set_params(transform_layers="top").inverse_transform(top)
    everything[:, :4] = 0
    assert np.array_equal(model.set_params(transform_layers="all").inverse_transform(everything), part)
    assert not np.array_equal(whole, part)
    with pytest.raises(ValueError, match="transform_layers must be 'top' or 'all', got 'first'"):
        model.set_params(transform_layers="first").transform(X)


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("layers", [3, (3, 2)])
def test_the_posterior_is_a_normal_with_the_codes_as_mean(posterior, layers):
    """KL(N(m, C) || N(0, I)) of the returned moments is the KL term of the bound."""
    X = factor_rows(60)
    model = DLGM(layers, posterior=posterior, transform_layers="all", **FAST).fit(X)
    mean, covariance = model.posterior_moments(X)
    assert np.array_equal(mean, model.transform(X))
    squares = (mean**2).sum(1) + np.trace(covariance, axis1=1, axis2=2) - mean.shape[1]
    kl = 0.5 * (squares - np.linalg.slogdet(covariance)[1]).mean()
    x = torch.from_numpy(model._columns.transform(X))
    np.testing.assert_allclose(kl, model.module_.q_z(x).kl_standard_normal().mean(), rtol=1e-4)
    if layers != 3:
        assert not covariance[:, :3, 3:].any()
        top = model.set_params(transform_layers="top").posterior_moments(X)
        assert np.array_equal(top[0], mean[:, 3:]) and np.array_equal(top[1], covariance[:, 3:, 3:])


def test_the_posterior_of_new_holes_is_wider():
    """Missing cells that fit did not see are filled several times: what the fills disagree about is in the spread."""
    X = factor_rows(200)
    model = VAE(2, **{**FAST, "max_iter": 100}).fit(X)
    holed = X.copy()
    holed[:, ::2] = np.nan
    mean, covariance = model.posterior_moments(holed)
    assert np.array_equal(mean, model.transform(holed))
    assert np.linalg.det(covariance).mean() > 2 * np.linalg.det(model.posterior_moments(X)[1]).mean()
    assert isinstance(model.posterior_moments(torch.from_numpy(X))[1], torch.Tensor)


def test_active_units_count_what_varies():
    """Per layer, the dimensions with a variance of the posterior mean above 0.01 over the training rows."""
    X = binary_rows(500)
    model = DLGM((4, 2), prior="normal", transform_layers="all", **FAST | {"max_iter": 40, "kl_warmup": 0})
    with pytest.warns(UserWarning, match="DLGM has no active units in layer 2 of 2"):
        model.fit(X)
    spread = model.transform(X).var(0) > 0.01
    assert 1 <= spread.sum() < 6
    assert model.active_units_.tolist() == [spread[:4].sum(), 0]


# --- regularizers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flip", "dropout", "gaussian"])
def test_input_noise_reaches_the_encoder_only(kind, monkeypatch):
    """The rows of the bound stay clean; the encoder input differs in the requested share of cells."""
    X, seen = binary_rows(400), []
    original = DLGMModule.bound

    def spy(self, x, rng, observed, encoder_input, code_noise):
        seen.append((x, observed, *encoder_input))
        return original(self, x, rng, observed, encoder_input, code_noise)

    monkeypatch.setattr(DLGMModule, "bound", spy)
    DLGM(2, **{**FAST, "max_iter": 3}, input_noise=kind, input_noise_level=0.2, batch_size=400).fit(X)
    assert len(seen) == 3
    for x, observed, read, kept in seen:
        assert observed is None and set(x.unique().tolist()) == {0.0, 1.0}
        changed = (read != x).float().mean().item()
        if kind == "flip":
            assert changed == pytest.approx(0.2, abs=0.03) and set(read.unique().tolist()) == {0.0, 1.0}
        elif kind == "dropout":
            shares = (~kept).float().mean(1)
            assert changed == 0 and shares.mean().item() == pytest.approx(0.1, abs=0.02) and (shares == 0).any()
        else:
            assert (read - x).std().item() == pytest.approx(0.2, abs=0.02)


def test_code_noise_blurs_the_draws():
    """Noise of sd s adds s^2 to the variance of the draws: exact for a linear decoder."""
    module = DLGMModule(3, [2], [], "relu", "gaussian", "diagonal", 1, torch.Generator().manual_seed(0))
    x = torch.randn(1, 3, generator=torch.Generator().manual_seed(1)).expand(40000, 3)
    rng = torch.Generator().manual_seed(2)
    clean, noisy = (module.bound(x, rng, None, None, sd).reconstruction.mean() for sd in (0.0, 0.7))
    wanted = 0.5 * 0.7**2 * (module.decoder.mlp.layers[0].weight ** 2).sum()  # the decoder's variance is 1 at first
    assert (clean - noisy).item() == pytest.approx(wanted.item(), rel=0.05)


# --- missing cells ----------------------------------------------------------------------------------------------------


def test_importance_imputation_is_the_conditional_mean_of_a_linear_model():
    """It equals E[x_missing | x_observed] of the fitted normal, in closed form."""
    X = factor_rows(500)
    model = DLGM(2, hidden_layer_sizes=(), posterior="full", likelihood="gaussian", max_iter=60, batch_size=50)
    model.set_params(learning_rate_init=0.01, input_noise="dropout", input_noise_level=0.6, n_importance_samples=30_000)
    model.set_params(prior="normal", random_state=0, early_stopping=False, weight_prior=1.0, kl_warmup=0.5).fit(X)
    decoder = model.module_.decoder
    scale, center = model._columns.scale, model._columns.center
    W, b = (decoder.mlp.layers[0].get_parameter(name).detach().double().numpy() for name in ("weight", "bias"))
    covariance = (W @ W.T + np.diag(np.exp(decoder.shared.detach().double().numpy()))) * np.outer(scale, scale)
    mean = b * scale + center
    rows, holes = with_holes(X[:40])
    filled = model.impute(rows)
    for row, hole, answer in zip(rows, holes, filled, strict=True):
        if hole.any() and not hole.all():
            gain = covariance[np.ix_(hole, ~hole)] @ np.linalg.inv(covariance[np.ix_(~hole, ~hole)])
            wanted = mean[hole] + gain @ (row[~hole] - mean[~hole])
            np.testing.assert_allclose(answer[hole], wanted, atol=0.1)
    density = multivariate_normal(mean, covariance)
    np.testing.assert_allclose(model.score_samples(X[:20]), density.logpdf(X[:20]), atol=0.1)


def test_resampled_cells_have_the_conditional_distribution():
    """Against samples of the model: those that agree with the observed cells, or all if no cell is observed."""
    told = {"input_noise": "dropout", "input_noise_level": 0.9, "n_importance_samples": 300, "random_state": 0}
    model = DLGM(2, posterior="full", hidden_layer_sizes=(32,), max_iter=60, **told).fit(binary_rows(1000))
    rows = np.vstack([np.r_[np.ones(4), np.full(4, np.nan)], np.full(8, np.nan)])
    draws = model.impute(rows, n_draws=500, random_state=0)
    assert draws.shape == (500, 2, 8) and set(np.unique(draws)) == {0.0, 1.0}
    drawn = model.sample(20000, random_state=0)
    agreeing = drawn[(drawn[:, :4] == 1).all(1)]
    n_ones = lambda cells: np.bincount(cells.sum(1).astype(int), minlength=9) / len(cells)  # noqa: E731
    assert np.abs(n_ones(draws[:, 0, 4:]) - n_ones(agreeing[:, 4:])).sum() < 0.2  # total variation below 0.1
    assert np.abs(n_ones(draws[:, 1]) - n_ones(drawn)).sum() < 0.2


def test_the_chain_has_the_conditional_distribution_if_the_posterior_is_exact():
    """After burn-in, its states are draws from p(x_missing | x_observed) of the given factor model."""
    model = DLGM(2, posterior="full", likelihood="gaussian", **FAST | {"hidden_layer_sizes": (), "max_iter": 1})
    rows = factor_rows(300)
    model.fit(rows - rows.mean(0))  # with values of both signs: draws keep the sign of a column that has one
    loadings, mean = np.array([[1.0, 0], [0.8, 0.3], [0, 0.9], [-0.5, 0.5], [0.3, 0.3], [0, 1.0]]), np.arange(6.0)
    put_in(model, loadings, mean, np.full(6, 0.5))
    covariance = loadings @ loadings.T + 0.5 * np.eye(6)
    row = np.array([1.5, np.nan, 1.0, np.nan, np.nan, 6.0])
    hole = np.isnan(row)
    gain = covariance[np.ix_(hole, ~hole)] @ np.linalg.inv(covariance[np.ix_(~hole, ~hole)])
    wanted_mean = mean[hole] + gain @ (row[~hole] - mean[~hole])
    wanted_covariance = covariance[np.ix_(hole, hole)] - gain @ covariance[np.ix_(~hole, hole)]
    nothing = np.full(6, np.nan)
    rows = np.concatenate([np.tile(row, (4000, 1)), np.tile(nothing, (4000, 1))])
    given, free = np.split(model.impute(rows, method="chain", n_steps=40, random_state=0), 2)
    assert np.array_equal(given[:, ~hole], rows[:4000, ~hole])
    np.testing.assert_allclose(given[:, hole].mean(0), wanted_mean, atol=0.08)
    np.testing.assert_allclose(np.cov(given[:, hole].T), wanted_covariance, atol=0.08)
    np.testing.assert_allclose(free.mean(0), mean, atol=0.1)
    np.testing.assert_allclose(np.cov(free.T), covariance, atol=0.12)


def test_imputing_beats_the_column_means_and_keeps_observed_cells():
    """Observed cells are kept bit for bit, even in float32; every method has smaller errors than SimpleImputer."""
    X = factor_rows(600)
    rows, holes = with_holes(X)
    model = DLGM(3, hidden_layer_sizes=(32,), max_iter=60, random_state=0).fit(rows)
    error = lambda filled: np.sqrt(np.mean((filled - X)[holes] ** 2))  # noqa: E731
    simple = error(SimpleImputer().fit_transform(rows))
    answers = [model.impute(rows)[None], model.impute(rows, n_draws=20, random_state=0)]
    answers.append(model.impute(rows, method="chain", n_draws=20, n_steps=20, random_state=0))
    for draws in answers:
        assert all(np.array_equal(filled[~holes], rows[~holes]) for filled in draws)
        assert error(draws.mean(0)) < 0.7 * simple
    single = rows.astype(np.float32)
    filled = model.impute(single)
    assert filled.dtype == np.float32 and np.array_equal(filled[~holes], single[~holes])
    assert np.array_equal(model.impute(X), X)


@pytest.mark.parametrize("make", [VAE, DLGM])
def test_missing_cells_everywhere(make):
    """With or without NaN in fit and in prediction, results are finite; a row without cells has log p(x) = 0."""
    X = factor_rows(80)
    rows, _ = with_holes(X)
    rows[7] = np.nan
    for seen in (X, rows):
        model = make(3, **FAST).fit(seen)
        for asked in (X, rows):
            assert np.isfinite(model.transform(asked)).all() and np.isfinite(model.score_samples(asked)).all()
            assert np.isfinite(model.impute(asked)).all() and np.isfinite(model.elbo_samples(asked)).all()
        assert model.score_samples(rows)[7] == 0 == model.elbo_samples(rows)[7]


def test_the_encoder_knows_what_is_missing():
    """An observed zero (the mean, after standardization) and a missing cell have different codes."""
    X = factor_rows(300)
    rows, _ = with_holes(X)
    model = DLGM(2, **{**FAST, "max_iter": 20}).fit(rows)
    center = model._columns.center
    seen, missing = np.tile(center, (1, 1)), np.tile(center, (1, 1))
    missing[0, 0] = np.nan
    assert not np.allclose(model.transform(seen), model.transform(missing))
    told = DLGM(2, **FAST, input_noise="dropout").fit(X)
    assert not np.allclose(told.transform(seen), told.transform(missing))


def test_other_rows_of_the_batch_do_not_matter_to_a_row_with_missing_cells():
    """A row's results are the same bits by itself and in a batch of rows with missing cells."""
    X = factor_rows(60)
    rows, _ = with_holes(X)
    model = DLGM(2, **FAST).fit(rows)
    for method in ("transform", "score_samples", "impute"):
        together = getattr(model, method)(np.vstack([X[:5], rows]))
        assert np.array_equal(getattr(model, method)(X[:5]), together[:5])
        assert np.array_equal(getattr(model, method)(rows[:1]), together[5:6])


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_components": (3, 0)}, r"n_components must hold integers >= 1, got 0"),
        ({"n_components": (3, True)}, "n_components must hold integers >= 1, got True"),
        ({"n_components": [[3, 2]]}, "n_components must hold integers >= 1"),
        ({"n_components": (3, 2.5)}, r"n_components must hold integers >= 1, got 2.5"),
        ({"n_components": ()}, "at least one layer"),
        ({"n_components": 0}, "n_components"),
        ({"hidden_layer_sizes": (16, -1)}, "hidden_layer_sizes must hold integers >= 1, got -1"),
        ({"n_components": (5, 2), "rank": 3}, r"rank=3 for n_components=\[5, 2\].*posterior='full'"),
        ({"rank": 0}, "rank"),
        ({"posterior": "lowrank"}, "posterior"),
        ({"input_noise": "flip"}, "needs the Bernoulli likelihood"),
        ({"input_noise": "dropout", "input_noise_level": 1.0}, r"share of cells in \(0, 1\)"),
        ({"input_noise": "salt"}, "input_noise"),
        ({"code_noise": -1.0}, "code_noise"),
        ({"n_importance_samples_train": 0}, "n_importance_samples_train"),
        ({"transform_layers": "bottom"}, "transform_layers"),
        ({"inference": "sideways"}, "inference"),
    ],
)
def test_wrong_parameters_are_named(params, match):
    """The error is clear, and nothing is fitted."""
    model = clone(DLGM(**{**FAST, "n_components": 4, **params}))
    with pytest.raises(ValueError, match=match):
        model.fit(factor_rows(30))
    assert not hasattr(model, "module_")


def test_a_column_without_values_is_named():
    """By its name in a data frame, else by its position."""
    pd = pytest.importorskip("pandas")
    X = factor_rows(30)
    X[:, 4] = np.nan
    with pytest.raises(ValueError, match=r"1 column\(s\) missing in every row: 4\."):
        DLGM(2, **FAST).fit(X)
    with pytest.raises(ValueError, match="'e'"):
        DLGM(2, **FAST).fit(pd.DataFrame(X, columns=list("abcdef")))


def test_wrong_ways_to_impute_are_named():
    """Method, numbers, and cells out of range of a likelihood given by name."""
    model = DLGM(2, **FAST, likelihood="bernoulli").fit(binary_rows())
    rows, _ = with_holes(binary_rows())
    with pytest.raises(ValueError, match="method must be 'importance' or 'chain', got 'mean'"):
        model.impute(rows, method="mean")
    for wrong in ({"n_draws": 0}, {"n_steps": 0, "method": "chain"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.impute(rows, **wrong)
    with pytest.raises(ValueError, match=r"needs X in \[0, 1\]"):
        model.impute(rows + 1)


# --- the linear case, with the density of scikit-learn ----------------------------------------------------------------


def put_in(model, loadings, mean, noise_variance):
    """Set a fitted linear DLGM with full posterior to the factor model of these parameters and its exact posterior."""
    center, scale = model._columns.center, model._columns.scale
    W, b, var = loadings / scale[:, None], (mean - center) / scale, noise_variance / scale**2
    C = np.linalg.inv(np.eye(W.shape[1]) + (W.T / var) @ W)
    gain, chol, k = C @ W.T / var, np.linalg.cholesky(C), W.shape[1]
    outputs = np.concatenate([-gain @ b, 2 * np.log(np.diag(chol)), chol[np.tril_indices(k, -1)]])
    (encoder,), decoder = model.module_.encoders, model.module_.decoder
    as_tensor = lambda a: torch.from_numpy(np.asarray(a, dtype=np.float32))  # noqa: E731
    encoder.mlp.layers[0].weight.zero_()[:k] = as_tensor(gain)
    encoder.mlp.layers[0].bias.copy_(as_tensor(outputs))
    decoder.mlp.layers[0].weight.copy_(as_tensor(W))
    decoder.mlp.layers[0].bias.copy_(as_tensor(b))
    decoder.shared.copy_(as_tensor(np.log(var)))


@pytest.mark.parametrize("n_draws", [1, 5])
@pytest.mark.parametrize("kind", ["FactorAnalysis", "PCA"])
def test_with_the_exact_posterior_the_score_is_scikit_learns(kind, n_draws):
    """Every importance weight is log p(x) for any draw: within 1e-4 nats of FactorAnalysis and PCA, row by row."""
    X, X_test = factor_rows(300), factor_rows(50, seed=1)
    model = DLGM(
        3, prior="normal", posterior="full", likelihood="gaussian", **FAST | {"hidden_layer_sizes": (), "max_iter": 1}
    )
    model.fit(X)
    if kind == "PCA":
        peer = PCA(3).fit(X)
        spread = np.sqrt(peer.explained_variance_ - peer.noise_variance_)
        put_in(model, peer.components_.T * spread, peer.mean_, np.full(6, peer.noise_variance_))
    else:
        peer = FactorAnalysis(3).fit(X)
        put_in(model, peer.components_.T, peer.mean_, peer.noise_variance_)
    model.set_params(n_importance_samples=n_draws)
    np.testing.assert_allclose(model.score_samples(X_test), peer.score_samples(X_test), rtol=0, atol=1e-4)
    np.testing.assert_allclose(model.transform(X_test), expected_factors(kind, peer, X_test), atol=1e-4)


def expected_factors(kind, peer, X):
    """E[z | x] by scikit-learn; for PCA by hand, as its projection is not shrunk toward 0 by the noise."""
    if kind == "FactorAnalysis":
        return peer.transform(X)
    spread = np.sqrt(peer.explained_variance_ - peer.noise_variance_)
    return peer.transform(X) * spread / peer.explained_variance_
