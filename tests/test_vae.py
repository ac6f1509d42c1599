"""Tests of VAE: the choice of likelihood; codes, draws and decoded rows in the units of X; learned densities."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

from skdgm import VAE
from skdgm.models.vae import VAEModule

FAST = {
    "hidden_layer_sizes": (16,),
    "max_iter": 5,
    "random_state": 0,
    "n_importance_samples": 5,
    "early_stopping": False,
}


def gray(n=60, seed=0):
    return np.random.default_rng(seed).random((n, 6))


def binary(n=60, seed=0):
    return (gray(n, seed) > 0.5).astype(float)


def a_third_exact(share):
    """Gray rows of 200 levels, with a fraction `share` of the cells exactly 0."""
    X = np.ceil(199 * gray(100)) / 200
    X.ravel()[: int(share * X.size)] = 0.0
    return X


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (binary(), "bernoulli"),
        (gray(), "gaussian"),
        (a_third_exact(0.34), "bernoulli"),
        (a_third_exact(0.32), "zero_inflated_lognormal"),
        (2 * binary(), "categorical"),
        (-binary(), "categorical"),
        (binary().astype(bool), "bernoulli"),
    ],
    ids=["binary", "gray", "34% exact", "32 % exact", "beyond 1", "below 0", "bool"],
)
def test_auto_is_bernoulli_iff_in_the_unit_interval_and_a_third_exactly_0_or_1(X, expected):
    """This is the documented rule; an explicit likelihood is obeyed."""
    assert VAE(2, **FAST).fit(X).likelihood_ == expected
    assert VAE(2, **FAST, likelihood="gaussian").fit(X).likelihood_ == "gaussian"


@pytest.mark.parametrize("hidden", [7, (7,), [7], (7, 5), np.array([7, 5]), ()])
def test_hidden_layers_are_as_requested_and_mirrored(hidden):
    """An int means one layer, an empty tuple none; the decoder has them in reverse order."""
    model = VAE(3, **{**FAST, "hidden_layer_sizes": hidden}).fit(binary())
    sizes = np.atleast_1d(np.asarray(hidden, dtype=int)).tolist()
    up = [layer.weight.shape[0] for layer in model.module_.encoder.mlp.layers]
    down = [layer.weight.shape[0] for layer in model.module_.decoder.mlp.layers]
    assert up == [*sizes, 6] and down == [*sizes[::-1], 6]
    assert model.transform(binary()).shape == (60, 3)


@pytest.mark.parametrize("activation", ["softplus", "relu", "tanh", "silu"])
def test_every_activation_is_used(activation):
    """The module's hidden layers apply the given activation."""
    model = VAE(2, **FAST, activation=activation).fit(binary())
    x = torch.linspace(-1, 1, 5)
    expected = {"softplus": torch.nn.functional.softplus, "relu": torch.relu, "tanh": torch.tanh}.get(
        activation, torch.nn.functional.silu
    )
    assert torch.equal(model.module_.encoder.mlp.activation(x), expected(x))


def test_it_finds_the_density_of_a_factor_model():
    """On rows of a linear-Gaussian model the bound is near factor analysis, and far above independent columns."""
    rng = np.random.default_rng(0)
    loadings = rng.standard_normal((2, 6))
    X = 5 + 3 * (rng.standard_normal((800, 2)) @ loadings + 0.3 * rng.standard_normal((800, 6)))
    train, test = X[:600], X[600:]
    model = VAE(
        2, hidden_layer_sizes=(), max_iter=30, kl_warmup=0, learning_rate_init=0.03, weight_prior=None, random_state=0
    )
    found = model.fit(train).score(test)
    best = FactorAnalysis(2).fit(train).score(test)
    independent = multivariate_normal(train.mean(0), np.diag(train.var(0))).logpdf(test).mean()
    assert independent + 1 < best - 0.4 < found < best + 0.1
    reconstruction = model.inverse_transform(model.transform(test))
    assert np.mean((reconstruction - test) ** 2) < 0.1 * test.var()
    assert model.score(test) == pytest.approx(model.score_samples(test).mean())
    assert model.elbo_samples(test).mean() < found + 0.05


def test_draws_have_the_distribution_of_the_rows():
    """sample() matches mean and covariance of the training rows, in their units, up to fit and sampling error."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 2)) @ np.array([[10.0, 8.0], [0.0, 4.0]]) + [100, -50]
    model = VAE(
        2, hidden_layer_sizes=(), max_iter=30, kl_warmup=0, learning_rate_init=0.03, weight_prior=None, random_state=0
    ).fit(X)
    draws = model.sample(4000, random_state=0)
    np.testing.assert_allclose(draws.mean(0), X.mean(0), atol=1.5)
    np.testing.assert_allclose(np.cov(draws.T) / np.cov(X.T), 1, atol=0.25)


@pytest.mark.parametrize(("X", "likelihood"), [(binary(), "bernoulli"), (100 * gray(), "gaussian")])
def test_draws_are_seeded_rows_of_the_right_kind(X, likelihood):
    """Shapes are right, Bernoulli gives 0/1, equal seeds give equal rows, different seeds do not; default: one row."""
    model = VAE(2, **FAST).fit(X)
    rows = model.sample(50, random_state=3)
    assert rows.shape == (50, 6) and model.sample().shape == (1, 6) and model.likelihood_ == likelihood
    assert np.array_equal(rows, model.sample(50, random_state=3))
    assert np.array_equal(rows, model.sample(50, random_state=np.random.RandomState(3)))
    assert not np.array_equal(rows, model.sample(50, random_state=4))
    assert not np.array_equal(model.sample(5), model.sample(5))
    assert set(np.unique(rows)) == {0.0, 1.0} if likelihood == "bernoulli" else len(np.unique(rows)) > 200


def test_decoded_rows_are_means_in_the_units_of_X():
    """Probabilities for Bernoulli, near the data's range for Gaussian, and the module's own mean for both."""
    X = binary()
    model = VAE(2, **FAST).fit(X)
    Z = model.transform(X)
    decoded = model.inverse_transform(Z)
    assert np.all((decoded > 0) & (decoded < 1))
    expected = model.module_.p_x(torch.from_numpy(Z).float()).mean.numpy()
    np.testing.assert_allclose(decoded, expected, atol=1e-6)
    far = VAE(2, **FAST).fit(1e4 + 10 * gray())
    assert np.all(np.abs(far.inverse_transform(far.transform(1e4 + 10 * gray())) - 1e4) < 20)


def test_codes_are_posterior_means():
    """transform is the mean of q(z | x), not a draw."""
    X = binary()
    model = VAE(3, **FAST).fit(X)
    expected = model.module_.q_z(torch.from_numpy(X).float()).mean.numpy()
    np.testing.assert_allclose(model.transform(X), expected, atol=1e-6)


def score_by_seed(model, X, seed):
    """With other noise, of which equal rows have the same."""
    model._noise_seed = seed
    return model.score(X)


def test_more_importance_samples_tighten_the_score():
    """In the mean over rows and noise: 2 samples < 1000 samples, and elbo < score where the gap exceeds the noise."""
    X = binary(200)
    model = VAE(2, **{**FAST, "max_iter": 60, "n_importance_samples": 2}).fit(X)
    two = np.mean([score_by_seed(model, X, seed) for seed in range(20)])
    many = model.set_params(n_importance_samples=1000).score(X)
    assert two < many
    assert model.elbo_samples(X).mean() < many


def test_dynamic_binarization_gives_the_encoder_0_1_rows(monkeypatch):
    """True trains on 0/1 rows drawn again from gray ones at each visit, False on the gray rows themselves."""
    X, seen = a_third_exact(0.5), {}
    for dynamic_binarization in (False, True):
        batches = []
        original = VAEModule.bound

        def spy(self, x, *rest, original=original, batches=batches):
            batches.append(x)
            return original(self, x, *rest)

        monkeypatch.setattr(VAEModule, "bound", spy)
        VAE(2, **FAST, likelihood="bernoulli", dynamic_binarization=dynamic_binarization).fit(X)
        monkeypatch.undo()
        seen[dynamic_binarization] = torch.cat(batches)
    assert set(seen[True].unique().tolist()) == {0.0, 1.0}
    assert len(seen[False].unique()) > 100
    first, second = seen[True][:100], seen[True][100:200]
    assert not torch.equal(first.sort(0).values, second.sort(0).values)
    assert abs(seen[True].mean().item() - X.mean()) < 0.05


def test_weight_prior_shrinks_the_weights():
    """A narrow prior gives smaller weight matrices than no prior."""
    norms = {}
    for prior in (None, 1.0, 0.01):
        model = VAE(2, **FAST, learning_rate_init=0.03, weight_prior=prior).fit(binary())
        norms[prior] = sum(
            p.square().sum().item()
            for name, p in model.module_.named_parameters()
            if p.ndim > 1 and not name.startswith("p_z.")
        )
    assert norms[0.01] < 0.7 * norms[1.0] <= norms[None]


def test_the_bound_is_reconstruction_minus_kl():
    """history_ has the terms, and without warm-up the bound is their difference; it rises."""
    model = VAE(2, **FAST, kl_warmup=0).fit(binary())
    h = {name: np.array(values) for name, values in model.history_.items()}
    np.testing.assert_allclose(h["bound"], h["reconstruction"] - h["kl"], atol=1e-5)
    assert h["bound"][-1] > h["bound"][0] and np.all(h["kl"] >= 0)


@pytest.mark.parametrize(
    ("kl_warmup", "n_warm"), [(0, 0), (3, 3), (0.5, 5), (0.25, 2.5), (1.0, 10), (0.0, 0), (1, 1), (2, 2)]
)
def test_warmup_in_epochs_or_as_a_share(kl_warmup, n_warm):
    """An int is a number of epochs, a float a fraction of the planned epochs, here of one step each.

    The objective weights the KL accordingly.
    """
    model = VAE(2, **{**FAST, "max_iter": 10}, prior="normal", batch_size=60, kl_warmup=kl_warmup).fit(binary())
    h = {name: np.array(values) for name, values in model.history_.items()}
    kl_weight = np.minimum(1, np.arange(1, 11) / n_warm) if n_warm else np.ones(10)
    objective = h["objective"] if n_warm else h["bound"]
    np.testing.assert_allclose(objective, h["reconstruction"] - kl_weight * h["kl"], atol=1e-5)
    np.testing.assert_allclose(h["bound"], h["reconstruction"] - h["kl"], atol=1e-5)


def test_batch_size_sets_the_steps_of_an_epoch():
    """ "auto" is a twelfth of the rows between 32 and 500; an int is obeyed up to the number of rows."""
    model = VAE(2)
    sizes = [model._batch_size(n) for n in (5, 100, 2000, 10**6)]
    assert sizes == [5, 32, 166, 500]
    assert [VAE(2, batch_size=64)._batch_size(n) for n in (5, 100)] == [5, 64]


def test_it_is_a_step_of_a_pipeline():
    """A pipeline of scaler, VAE and SVC learns two distant clusters."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = 5.0 * y[:, None] + rng.standard_normal((120, 4))
    steps = make_pipeline(MinMaxScaler(), VAE(2, **FAST, kl_warmup=0, learning_rate_init=0.03), SVC())
    assert steps.fit(X, y).score(X, y) > 0.95
    assert steps[:-1].get_feature_names_out().tolist() == ["vae0", "vae1"]


def test_names_and_columns_of_a_data_frame():
    """feature_names_in_ and pandas output."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(binary(), columns=list("abcdef"))
    model = VAE(2, **FAST).fit(frame).set_output(transform="pandas")
    assert model.feature_names_in_.tolist() == list("abcdef")
    assert model.transform(frame).columns.tolist() == ["vae0", "vae1"]
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame[list("fedcba")])
