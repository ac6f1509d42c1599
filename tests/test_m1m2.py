"""Tests of M1M2Classifier: its options for undocumented steps of the paper, and both layers in every method."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skdgm import VAE, M1M2Classifier
from skdgm.models.m2 import M2Module

FAST = {
    "hidden_layer_sizes": (16,),
    "early_stopping": False,
    "max_iter": 8,
    "learning_rate_init": 0.02,
    "kl_warmup": 0,
    "random_state": 0,
    "n_importance_samples": 5,
}
N = 120


@pytest.fixture(scope="module")
def data():
    """Three distant clusters in 6 columns, 30 labels, and the true labels."""
    rng = np.random.default_rng(0)
    truth = np.arange(N) % 3
    X = np.outer(truth - 1.0, [8, 8, 8, 0, 0, 0]) + np.outer(truth == 1, [0, 0, 0, 8, 8, 8])
    X = X + rng.standard_normal((N, 6))
    return X, np.where(np.arange(N) < 30, truth, -1), truth


@pytest.fixture(scope="module")
def vae(data):
    """A fitted encoder with two dimensions that carry the clusters, and a third that was made inactive."""
    two, vae = VAE(2, **{**FAST, "max_iter": 20}).fit(data[0]), VAE(3, **{**FAST, "max_iter": 1}).fit(data[0])
    for part in ("encoder", "decoder"):
        source, target = (getattr(model.module_, part) for model in (two, vae))
        for name, value in target.state_dict().items():
            theirs = source.state_dict()[name]
            if theirs.shape == value.shape:
                value.copy_(theirs)
            elif part == "decoder":
                value[:, :2] = theirs
            else:
                value[[0, 1, 3, 4]] = theirs
                value[[2, 5]] *= 0.01
    return vae


@pytest.fixture(scope="module")
def model(data, vae):
    return m1m2(vae, max_iter=30).fit(data[0], data[1])


def m1m2(vae, **params):
    return M1M2Classifier(2, encoder=FrozenEstimator(vae), **{**FAST, **params})


def standardized(vae, X):
    """The columns as the encoder reads them: no cell is far enough from the others to be clipped."""
    columns = (X - vae._columns.center) / vae._columns.scale
    assert np.abs(columns).max() < 5
    return columns.astype(np.float32)


def moments_of_codes(vae, X):
    """Mean and sd over rows and draws of the two active dimensions of q(z | x)."""
    mean, sd = (part[:, :2].astype(float) for part in vae._posterior(X))
    return mean.mean(0), np.sqrt(mean.var(0) + (sd**2).mean(0))


def standardized_codes(vae, X):
    """Mean and sd of q(z | x) as the upper layer reads them."""
    (mean, sd), (center, scale) = (part[:, :2] for part in vae._posterior(X)), moments_of_codes(vae, X)
    return ((mean - center) / scale).astype(np.float32), (sd / scale).astype(np.float32)


def stretched(vae, scale, shift):
    """The same VAE with codes scale z + shift."""
    vae, n_codes = copy.deepcopy(vae), len(scale)
    scale, shift = torch.tensor(scale), torch.tensor(shift)
    encoder, decoder = vae.module_.encoder.mlp, vae.module_.decoder.mlp
    for layer in (encoder.layers[-1], encoder.skip.layers[0]):
        layer.weight[:n_codes] *= scale[:, None]
        layer.bias[:n_codes] *= scale
    encoder.layers[-1].bias[:n_codes] += shift
    encoder.layers[-1].bias[n_codes:] += 2 * torch.log(scale)
    for layer in (decoder.layers[0], decoder.skip.layers[0]):
        layer.weight /= scale
        layer.bias -= layer.weight @ shift
    return vae


def test_it_learns_the_clusters(model, data):
    """A quarter of the labels is enough, through the codes."""
    X, _, truth = data
    assert np.mean(model.predict(X) == truth) > 0.95


def test_only_active_dimensions_are_modeled(model, data, vae):
    """active_ holds those with an sd of the means above the threshold; the upper layer has as many columns."""
    X, y, _ = data
    spread = vae.transform(X).std(0)
    assert np.array_equal(model.active_, np.flatnonzero(spread > 0.1)) and model.active_.tolist() == [0, 1]
    assert model.module_.encoder.mlp.layers[0].weight.shape[1] == 2
    assert m1m2(vae, active_threshold=0.0).fit(X, y).active_.tolist() == [0, 1, 2]
    assert m1m2(vae, active_threshold=1e3).fit(X, y).active_.tolist() == [0, 1, 2]  # if none is active, all are kept


@pytest.mark.parametrize("passthrough", [True, False])
def test_codes_are_drawn_again_at_each_visit(passthrough, data, vae, monkeypatch):
    """resample_codes=True trains the upper layer on draws from q(z1 | x), N(mean, sd^2); False on the means.

    With passthrough, each row's columns follow its code unchanged.
    """
    X, y, _ = data
    mean, sd = standardized_codes(vae, X)
    original = M2Module.joint_bounds
    for resample in (True, False):
        seen = []

        def spy(self, unlabeled, *rest, seen=seen, **options):
            seen.append(unlabeled.x.detach().clone())
            return original(self, unlabeled, *rest, **options)

        monkeypatch.setattr(M2Module, "joint_bounds", spy)
        m1m2(vae, resample_codes=resample, passthrough=passthrough, batch_size=200, max_iter=30).fit(X, y)
        passes = [rows for rows in seen if len(rows) == N - 30]
        assert len(passes) == 30 and {rows.shape[1] for rows in passes} == {8 if passthrough else 2}
        if passthrough:
            columns = standardized(vae, X[30:])
            order = np.argsort(columns[:, 0])
            rows_in_order = [rows[rows[:, 2].argsort()] for rows in passes]
            assert all(np.array_equal(rows[:, 2:], columns[order]) for rows in rows_in_order)
            found = torch.stack(rows_in_order)[..., :2].mean(0).numpy()
            z_score = (found - mean[30:][order]) / (sd[30:][order] + 1e-9)
            assert np.abs(z_score).max() < (5 / np.sqrt(30) if resample else 1e-4)  # codes of the same rows
        passes = [rows[:, :2] for rows in passes]
        together = torch.stack([rows.sort(0).values for rows in passes])
        if resample:
            assert not torch.equal(together[0], together[1])
            total = torch.cat(passes).numpy()
            expected = np.sqrt(mean[30:].var(0) + (sd[30:] ** 2).mean(0))
            np.testing.assert_allclose(total.std(0), expected, rtol=0.05)
        else:
            np.testing.assert_allclose(
                together.numpy(), np.broadcast_to(np.sort(mean[30:], 0), together.shape), atol=1e-6
            )


@pytest.mark.parametrize("passthrough", [True, False])
def test_prediction_reads_posterior_means(passthrough, data, vae):
    """q(y | E[z1 | x]) and E[z2 | E[z1 | x]]: the upper layer at the mean code, and the columns if it reads them."""
    X = data[0]
    model = m1m2(vae, passthrough=passthrough).fit(X, data[1])
    parts = [standardized_codes(vae, X)[0], standardized(vae, X)]
    Z = torch.from_numpy(np.hstack(parts) if passthrough else parts[0]).float()
    assert model.module_.n_side == 6 * passthrough
    np.testing.assert_allclose(model.predict_proba(X), model.module_.q_y(Z).probs.numpy(), atol=1e-5)
    np.testing.assert_allclose(model.transform(X), model.module_.code(Z).numpy(), atol=1e-5)
    assert model.transform(X).shape == (N, 2)


def test_decoding_goes_down_to_X_with_the_prior_mean_for_inactive_dimensions(model, data, vae):
    """inverse_transform(Z, y) decodes the upper mean, with the mean of p(z1) in the dropped dimension, by the VAE."""
    X, _, _ = data
    Z, (center, scale) = model.transform(X), moments_of_codes(vae, X)
    for label in range(3):
        z1 = model.module_.decode(torch.from_numpy(Z).float(), torch.full((N,), label)).numpy()
        full = np.column_stack([center + scale * z1, np.full(N, vae.module_.p_z.expectation[-1].item())])
        np.testing.assert_allclose(model.inverse_transform(Z, label), vae.inverse_transform(full), atol=1e-4)
    average = sum(share * model.inverse_transform(Z, label) for label, share in enumerate(model.class_prior_))
    np.testing.assert_allclose(model.inverse_transform(Z), average, atol=1e-4)


def test_draws_of_a_class_look_like_that_class(model, data):
    """They are near the class's column means, in the units of X, and are predicted as this class."""
    X, _, truth = data
    for label in range(3):
        rows, labels = model.sample(300, y=label, random_state=0)
        assert rows.shape == (300, 6) and set(labels) == {label}
        assert np.abs(rows.mean(0) - X[truth == label].mean(0)).max() < 0.4 * X.std(0).max()
        assert np.mean(model.predict(rows) == label) > 0.8


def test_inactive_dimensions_are_drawn_from_their_prior(model, data):
    """sample fills them from the prior: draws differ even if the decoder reads only the inactive dimension."""
    X, y, _ = data
    vae = clone(model.encoder.estimator).set_params(max_iter=3).fit(X)
    layer = vae.module_.decoder.mlp.layers[0]
    layer.weight[:, :2] = 0.0
    layer.weight[:, 2] = 3.0
    vae.module_.decoder.mlp.skip.layers[0].weight.zero_()
    encoder = vae.module_.encoder.mlp.layers[-1]
    encoder.weight[2], encoder.bias[2] = 0.0, 0.0
    path = vae.module_.encoder.mlp.skip.layers[0]
    path.weight[2], path.bias[2] = 0.0, 0.0
    rows, _ = m1m2(vae, max_iter=1).fit(X, y).sample(300, y=0, random_state=0)
    through = vae.inverse_transform(
        np.column_stack([np.zeros((300, 2)), np.random.default_rng(0).standard_normal(300)])
    )
    still = vae.inverse_transform(np.zeros((1, 3)))
    assert np.abs(through - still).std() > 0
    noise = vae.module_.p_x(torch.zeros(1, 3)).sd.numpy()[0] * vae._columns.scale
    np.testing.assert_allclose(rows.var(0), through.var(0) + noise**2, rtol=0.35)


@pytest.mark.parametrize("passthrough", [True, False])
def test_scale_and_shift_of_the_codes_do_not_matter(passthrough, data, vae):
    """Stretched and shifted codes give the same probabilities, densities, and drawn rows."""
    X, y, _ = data
    models = [
        m1m2(encoder, passthrough=passthrough, active_threshold=0.4).fit(X, y)
        for encoder in (vae, stretched(vae, [4.0, 0.5, 1.0], [1.0, -2.0, 0.0]))
    ]
    np.testing.assert_array_equal(models[0].active_, models[1].active_)
    np.testing.assert_allclose(models[0].predict_proba(X), models[1].predict_proba(X), atol=2e-3)
    np.testing.assert_allclose(models[0].score_samples(X), models[1].score_samples(X), atol=0.05)
    rows = [model.sample(50, y=1, random_state=0)[0] for model in models]
    np.testing.assert_allclose(*rows, atol=0.05)


def test_density_is_comparable_with_its_encoders(model, data, vae):
    """log p(x) of the stack is a density in the units of X: about as large as the encoder's, and shifted by scaling."""
    X, _, _ = data
    assert np.isfinite(model.score_samples(X)).all()
    assert abs(model.score_samples(X).mean() - vae.score_samples(X).mean()) < 3
    assert model.elbo_samples(X).mean() < model.set_params(n_importance_samples=50).score_samples(X).mean()
    model.set_params(n_importance_samples=5)


def test_a_frozen_encoder_is_not_fitted_again(model, data, vae):
    """The encoder is the frozen one itself, even in clones."""
    X, y, _ = data
    before = {name: value.clone() for name, value in vae.module_.state_dict().items()}
    again = clone(model).fit(X, y)
    assert again.encoder_.module_ is vae.module_
    assert all(torch.equal(before[name], value) for name, value in vae.module_.state_dict().items())
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_pickle_holds_the_encoders_weights_once(model):
    """The pickle of M1M2 with a fitted encoder is little larger than the weights of both layers."""
    n_weights = sum(value.numel() for value in model.module_.state_dict().values())
    n_weights += sum(value.numel() for value in model.encoder_.module_.state_dict().values())
    alone = M1M2Classifier(2, encoder=VAE(3, **FAST), **FAST)
    assert len(pickle.dumps(model)) < 4 * n_weights + len(pickle.dumps(alone)) + 12000


def test_the_encoders_likelihood_is_that_of_the_rows(data):
    """likelihood_ is that of p(x | z1), chosen by the encoder; `likelihood` is that of p(z1 | y, z2)."""
    X, y, _ = data
    binary = (X > 0).astype(float)
    encoder = VAE(3, **{**FAST, "max_iter": 2})
    model = M1M2Classifier(2, encoder=encoder, **{**FAST, "max_iter": 2}).fit(binary, y)
    assert model.likelihood_ == "bernoulli" and model.encoder_.likelihood_ == "bernoulli"
    rows, _ = model.sample(20, random_state=0)
    assert set(np.unique(rows)) <= {0.0, 1.0}
    with pytest.raises(ValueError, match="likelihood"):
        M1M2Classifier(likelihood="bernoulli").fit(binary, y)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_heteroscedastic"])
def test_both_upper_likelihoods_learn(likelihood, data, vae):
    """One variance per code dimension, or one from the decoder."""
    X, y, truth = data
    assert np.mean(m1m2(vae, likelihood=likelihood, max_iter=30).fit(X, y).predict(X) == truth) > 0.9
