"""Tests of M2 with an auxiliary variable: bounds by quadrature and by SciPy, its start as an M2, and its options."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import load_wine

from skdgm import ADGMClassifier, M2Classifier
from skdgm.datasets import mask_labels
from skdgm.distributions import log_mean_exp
from skdgm.models.adgm import ADGMModule, Read
from skdgm.models.m2 import M2Module

PRIOR = (0.2, 0.5, 0.3)
BOTH = pytest.mark.parametrize("skip", [False, True], ids=["ADGM", "SDGM"])
N_NODES = 60


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def architecture(n_columns=3, n_latent=1, hidden=(5,), **options):
    likelihood = options.pop("likelihood", "gaussian")
    sizes = {"n_columns": n_columns, "n_latent": n_latent, "hidden": hidden}
    return sizes | {"activation": "tanh", "likelihood": likelihood, "class_prior": PRIOR, **options}


def adgm(skip, n_auxiliary=1, sd=0.5, **options):
    """A module without gradients, with every weight drawn from N(0, sd^2)."""
    module = ADGMModule(n_auxiliary, skip, rng=generator(), **architecture(**options)).requires_grad_(False)
    for i, parameter in enumerate(module.parameters()):
        parameter.copy_(sd * torch.randn(parameter.shape, generator=generator(i)))
    return module


def with_wide_posteriors(module, sd=1.6):
    """The module with means of a and z that read x a little, and standard deviations above those of the prior."""
    if not module.skip:
        for parameter in module.auxiliary_decoder.parameters():
            parameter *= 0.2
    for network in (module.encoder, module.auxiliary_encoder):
        for parameter in network.parameters():
            parameter *= 0.2
        network.mlp.layers[-1].bias[network.n_out :] = 2 * np.log(sd)
    return module


def some_rows(n=4, n_columns=3, seed=1):
    return torch.randn(n, n_columns, generator=generator(seed))


# --- quadrature over a and z, each of one dimension -------------------------------------------------------------------


def nodes():
    """Nodes and log-weights of the Gauss-Hermite rule for N(0, 1)."""
    x, w = np.polynomial.hermite_e.hermegauss(N_NODES)
    return torch.from_numpy(x).float(), torch.from_numpy(np.log(w / w.sum())).float()


class Quadrature:
    """E_q of functions of (a, z), and the exact log p(x, y), on grids of axes (a, z, class, row)."""

    def __init__(self, module, x):
        self.module, self.x, self.y = module, x, module.every_class
        e, log_w = nodes()
        self.log_w_a, self.log_w_z = log_w[:, None, None, None], log_w[None, :, None, None]
        q_a = module.q_a(x)
        a = q_a.mean + q_a.sd * e[:, None, None, None, None]  # (a, 1, 1, row, 1)
        self.read = Read(x, a, q_a.log_prob(a))
        q_z = module.q_z_of(self.read, self.y)
        z = q_z.mean + q_z.sd * e[:, None, None, None]  # (a, z, class, row, 1)
        self.log_q = self.read.log_q_a + q_z.log_prob(z)
        self.log_p = self.log_joint(a, z)

    def log_joint(self, a, z):
        """log p(x, a, z, y)."""
        log_p_z = -0.5 * (z**2 + np.log(2 * np.pi)).sum(-1)
        p_x = self.module.p_x(self.y, self.module.with_auxiliary(z, a))
        log_p_a = self.module.p_a(self.y, z, self.x).log_prob(a)
        return p_x.log_prob(self.x) + log_p_a + log_p_z + self.module.log_p_y[self.y]

    def given_a(self):
        """E_q(z | a, x, y)[log p - log q] at each a, (a, 1, class, row)."""
        return (self.log_w_z.exp() * (self.log_p - self.log_q)).sum(1, keepdim=True)

    def labeled_bound(self):
        """E_q[log p(x, y, z, a) - log q(a | x) - log q(z | a, x, y)], (class, row)."""
        return (self.log_w_a.exp() * self.given_a()).sum((0, 1))

    def unlabeled_bound(self):
        """E_q(a | x)[sum_y q(y | a, x) (bound given a and y - log q(y | a, x))], (row,)."""
        log_q_y = self.module.reweighted(self.module.q_y_of(self.read).log_probs, None).log_probs.movedim(-1, 2)[
            :, :, :, 0
        ]
        inner = (log_q_y.exp() * (self.given_a() - log_q_y)).sum(2, keepdim=True)
        return (self.log_w_a.exp() * inner).sum((0, 1, 2))

    def exact(self):
        """log p(x, y) on a grid of prior draws of z, and of a given z, (class, row)."""
        e, log_w = nodes()
        z = e[None, :, None, None, None].expand(1, -1, len(self.y), len(self.x), 1)
        p_a = self.module.p_a(self.y, z, self.x)
        a = p_a.mean + p_a.sd * e[:, None, None, None, None]
        p_x = self.module.p_x(self.y, self.module.with_auxiliary(z, a))
        log_p = p_x.log_prob(self.x).expand(N_NODES, -1, -1, -1) + self.log_w_a + self.log_w_z
        return torch.logsumexp(log_p, (0, 1)) + self.module.log_p_y[self.y]


def assert_mean(draws, expected):
    """The mean of draws along the first axis is within 4 standard errors, which are small."""
    error = draws.std(0) / len(draws) ** 0.5
    assert error.max() < 0.1 and ((draws.mean(0) - expected).abs() < 4 * error + 1e-3).all()


@BOTH
def test_bounds_are_those_of_the_paper_by_quadrature(skip):
    """Labeled, unlabeled, and the ELBO that elbo() returns; all below the exact log-likelihood."""
    module, x, n = adgm(skip), some_rows(), 8000
    exact, grid = Quadrature(module, x).exact(), Quadrature(module, x)
    labeled, unlabeled = grid.labeled_bound(), grid.unlabeled_bound()
    assert (labeled < exact - 0.05).all() and (unlabeled < torch.logsumexp(exact, 0) - 0.05).all()
    many = x.repeat(n, 1)
    for y in range(3):
        draws = module.labeled_bound(many, torch.full((len(many),), y), generator(y)).total().reshape(n, -1)
        assert_mean(draws, labeled[y])
    assert_mean(module.unlabeled_bound(many, generator(5)).total().reshape(n, -1), unlabeled)
    assert_mean(torch.stack([module.elbo_draw(x, generator(i)) for i in range(2000)]), unlabeled)


@BOTH
def test_weights_average_to_the_exact_likelihood(skip):
    """log mean exp of the weights tends to log p(x, y) of every class, by quadrature under the prior."""
    module, x = with_wide_posteriors(adgm(skip)), some_rows()
    exact = Quadrature(module, x).exact()
    found = module.log_joint(x, generator(), 40_000)
    torch.testing.assert_close(found, exact.T.contiguous(), atol=0.05, rtol=0)
    torch.testing.assert_close(
        module.log_likelihood(x, generator(), 40_000), torch.logsumexp(exact, 0), atol=0.05, rtol=0
    )


def test_the_auxiliary_variable_of_an_adgm_does_not_change_the_density():
    """p(a | z, y, x) integrates to one: log p(x, y) is that of an M2 with the same decoder."""
    module, x = adgm(False), some_rows()
    e, log_w = nodes()
    z = e[:, None, None, None].expand(-1, 3, len(x), 1)
    m2 = M2Module.p_x(module, module.every_class, z).log_prob(x) + log_w[:, None, None]
    expected = torch.logsumexp(m2, 0) + module.log_p_y[:, None]
    torch.testing.assert_close(Quadrature(module, x).exact(), expected, atol=1e-4, rtol=0)


@BOTH
def test_the_exact_posterior_of_a_makes_the_bound_of_an_adgm_that_of_a_mixture(skip):
    """With q(a | x) = p(a | .) = N(0, 1) read by no one, the bound is that of the M2 with the same networks."""
    module, x, y = adgm(skip, hidden=(), sd=0.7), some_rows(6), torch.arange(6) % 3
    for network in (module.auxiliary_encoder, module.auxiliary_decoder):
        for parameter in network.parameters():
            parameter.zero_()
    for network in (module.classifier, module.encoder, module.decoder):
        if network.mlp.extra_weight is not None:
            network.mlp.extra_weight.zero_()
    m2 = M2Module(**architecture(hidden=())).requires_grad_(False)
    m2.load_state_dict({name: value for name, value in module.state_dict().items() if name in m2.state_dict()})
    many, labels, n = x.repeat(4000, 1), y.repeat(4000), 4000
    for one in (lambda m: m.labeled_bound(many, labels, generator()), lambda m: m.unlabeled_bound(many, generator())):
        found, expected = (one(m).total().reshape(n, -1) for m in (module, m2))
        assert_mean(found, expected.mean(0))


# --- a linear decoder, with densities from SciPy ----------------------------------------------------------------------


def linear(skip=True, **options):
    """x = W z + U a + c_y + noise, a = V z + d_y + noise: p(x | y) is normal. Without ``skip``, U = 0."""
    module = adgm(skip, n_auxiliary=2, n_columns=4, n_latent=2, hidden=(), sd=0.6, **options)
    of_a = module.auxiliary_decoder.mlp
    for weight in (of_a.layers[0].weight, of_a.layers[0].bias, of_a.class_embedding.weight.T, of_a.extra_weight):
        if weight is not None:
            weight[2:] = 0.0  # the variance of a is 1
    return module


def normal_of_class(module, y):
    """p(x | y)."""
    decoder, of_a = module.decoder, module.auxiliary_decoder.mlp
    W, V = decoder.mlp.layers[0].weight, of_a.layers[0].weight[:2, :2]
    U = decoder.mlp.extra_weight if module.skip else torch.zeros(4, 2)
    mean_a = of_a.layers[0].bias[:2] + of_a.class_embedding.weight[y, :2]
    mean = decoder.mlp.layers[0].bias + decoder.mlp.class_embedding.weight[y] + U @ mean_a
    of_z = W + U @ V
    return mean.numpy(), (of_z @ of_z.T + U @ U.T + torch.diag(decoder.shared.exp())).numpy()


def test_draws_of_an_sdgm_pass_through_the_auxiliary_variable():
    """Means and covariances of sample(y), and the center of p(x | y, z) that decode() returns."""
    module, n = linear(), 40_000
    for y in range(3):
        mean, cov = normal_of_class(module, y)
        rows = module.sample(torch.full((n,), y), generator(y)).numpy()
        scale = np.sqrt(np.diag(cov))
        np.testing.assert_allclose(rows.mean(0), mean, atol=4 * scale.max() / n**0.5)
        np.testing.assert_allclose(np.cov(rows.T), cov, atol=8 * scale.max() ** 2 / n**0.5)
        np.testing.assert_allclose(module.decode(torch.zeros(1, 2), torch.tensor([y]))[0].numpy(), mean, atol=1e-5)
    averaged = sum(p * normal_of_class(module, y)[0] for y, p in enumerate(PRIOR))
    np.testing.assert_allclose(module.decode(torch.zeros(1, 2))[0].numpy(), averaged, atol=1e-5)


@BOTH
@pytest.mark.parametrize("learned", [False, True])
def test_densities_of_observed_cells_are_marginal_ones(skip, learned):
    """log p(x_observed), whether the networks have learned to read missing cells or chains fill them."""
    module, x = with_wide_posteriors(linear(skip, missing_indicator=learned)), some_rows(5, 4)
    observed = torch.rand(5, 4, generator=generator(3)) < 0.5
    observed[0] = False
    found = module.log_joint(x, generator(), 40_000, observed)
    for i, row in enumerate(observed.numpy()):
        for y in range(3):
            mean, cov = normal_of_class(module, y)
            of_cells = multivariate_normal(mean[row], cov[row][:, row]).logpdf(x[i].numpy()[row]) if row.any() else 0.0
            assert found[i, y].item() == pytest.approx(of_cells + np.log(PRIOR[y]), abs=0.08)
    assert module.log_likelihood(x, generator(), 3, observed)[0].item() == pytest.approx(0, abs=1e-6)
    assert (module.elbo(x, generator(), 3, observed) < 0.05).all()


def test_cells_of_an_empty_row_are_drawn_from_the_model():
    """Imputing a row without cells is sampling, for which a is drawn from p(a | z, y); with the mean as the center."""
    module, n = linear(), 20_000
    x, observed = torch.zeros(n, 4), torch.zeros(n, 4, dtype=torch.bool)
    mean, cov = normal_of_class(module, 1)
    drawn = module.resampled(x, generator(), 1, observed, torch.tensor([[1]])).numpy()
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), cov, atol=0.15 * cov.max())
    center = module.expected(x[:1], generator(), 40_000, observed[:1], torch.tensor([[1]]))[0]
    np.testing.assert_allclose(center.numpy(), mean, atol=0.05)
    torch.testing.assert_close(module.q_y(x[:1], observed[:1]).probs, torch.tensor([PRIOR]))


# --- q(y | x), codes, gradients ---------------------------------------------------------------------------------------


@BOTH
def test_the_classifier_averages_probabilities_over_a(skip):
    """q(y | x) = E_q(a | x) q(y | a, x), and E_q[z | x] likewise, against 20,000 draws of a."""
    module, x = adgm(skip, n_auxiliary=2, n_latent=2), some_rows()
    read = module.read(x.repeat(20_000, 1), generator())
    expected = log_mean_exp(module.q_y_of(read).log_probs.reshape(20_000, 4, 3)).exp()
    at_mean = module.classifier(module.classifier_features(x), None, module.q_a(x).mean).probs
    torch.testing.assert_close(module.q_y(x).probs, expected, atol=0.04, rtol=0)
    assert (at_mean - expected).abs().max() > (module.q_y(x).probs - expected).abs().max()
    code = module.code_of(read, None).reshape(20_000, 4, 2).mean(0)
    torch.testing.assert_close(module.code(x), code, atol=0.15, rtol=0)
    for shares in (module.log_p_labeled, module.log_p_counted):
        shares.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    ratio = torch.tensor(PRIOR) / torch.tensor([0.5, 0.3, 0.2])
    torch.testing.assert_close(
        module.q_y(x).probs, torch.nn.functional.normalize(module.q_y_labeled(x).probs * ratio, p=1, dim=1)
    )


@BOTH
@pytest.mark.parametrize(("network", "hidden"), [("mlp", ()), ("mlp", (6,)), ("mlp", (6, 5)), ("resnet", (6, 5))])
def test_every_parameter_receives_a_gradient(skip, network, hidden):
    options = {"linear_skip": True, "missing_indicator": True, "network": network, "clip_inputs": True}
    module = adgm(skip, 2, n_latent=2, hidden=hidden, **options).requires_grad_(True)
    x, observed = some_rows(12), torch.rand(12, 3, generator=generator(3)) < 0.7
    (module.unlabeled_bound(x, generator(), observed).total().sum()).backward()
    assert [name for name, p in module.named_parameters() if not p.grad.any()] == []


def test_the_classification_term_is_the_mean_log_probability_over_a():
    """E_q(a | x) log q(y | a, x), and its gradient reaches q(a | x)."""
    module, x = adgm(False), some_rows(3)
    y, n = torch.tensor([0, 2, 1]), 8000
    q_a, (e, log_w) = module.q_a(x), nodes()
    a = q_a.mean + q_a.sd * e[:, None, None]
    expected = log_w.exp() @ module.q_y_of(Read(x, a)).log_prob(y)
    draws = module.log_q_y(x.repeat(n, 1), y.repeat(n), generator()).reshape(n, 3)
    assert_mean(draws, expected)
    module.requires_grad_(True).log_q_y(x, y, generator()).sum().backward()
    assert module.auxiliary_encoder.mlp.layers[0].weight.grad.any()


# --- the start is that of an M2 ---------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_networks_start_as_those_of_an_m2(skip, network):
    """Same weights, same classes, same codes; a has weights 0."""
    options = architecture(6, 2, (7, 4), linear_skip=True, network=network, image_shape=(2, 3, 1), n_centers=3)
    module, m2 = ADGMModule(4, skip, rng=generator(), **options), M2Module(**options, rng=generator())
    for name, value in m2.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name
    x = some_rows(9, 6)
    with torch.no_grad():
        torch.testing.assert_close(module.q_y(x).probs, m2.q_y(x).probs)
        torch.testing.assert_close(module.code(x), m2.code(x))


@pytest.fixture(scope="module")
def wine():
    X, y = load_wine(return_X_y=True)
    return X, mask_labels(y, 12, random_state=0)


@BOTH
@pytest.mark.parametrize("alpha", ["auto", 1.0])
def test_a_fit_starts_as_that_of_m2_classifier(skip, alpha, wine):
    """With steps of nearly no length, the probabilities are those of M2Classifier: logistic regression under "auto"."""
    still = {"max_iter": 1, "learning_rate_init": 1e-12, "random_state": 0, "alpha": alpha, "class_prior": "uniform"}
    models = ADGMClassifier(skip=skip, **still), M2Classifier(**still)
    found, expected = (model.fit(*wine).predict_proba(wine[0]) for model in models)
    np.testing.assert_allclose(found, expected, atol=1e-6)


# --- the estimator ----------------------------------------------------------------------------------------------------

FAST = {"hidden_layer_sizes": (12,), "max_iter": 3, "random_state": 0, "n_importance_samples": 5}


def test_the_auxiliary_variable_is_as_wide_as_the_code_by_default(wine):
    sizes = [
        ADGMClassifier(4, n_auxiliary=n, **FAST).fit(*wine).module_.points.shape[1] for n in ("auto", 2, np.int64(3))
    ]
    assert sizes == [4, 2, 3]


def test_a_warm_start_keeps_the_auxiliary_variable(wine):
    model = ADGMClassifier(2, warm_start=True, **FAST).fit(*wine)
    for changed in ({"n_auxiliary": 3}, {"skip": True}):
        with pytest.raises(ValueError, match=f"{next(iter(changed))} changed since.*Use warm_start=False"):
            model.set_params(**{"n_auxiliary": "auto", "skip": False, **changed}).fit(*wine)
    assert model.set_params(skip=False, n_auxiliary=2).fit(*wine).n_iter_ == 3


@BOTH
def test_it_learns_where_labels_are_few(skip):
    """Three clusters with two labels each; both probabilities, new rows of a class, and missing cells."""
    rng = np.random.default_rng(0)
    truth = np.arange(150) % 3
    X = 3 * rng.standard_normal((3, 6))[truth] + rng.standard_normal((150, 6))
    model = ADGMClassifier(2, skip=skip, max_iter=40, random_state=0).fit(X, np.where(np.arange(150) < 6, truth, -1))
    assert model.score(X, truth) > 0.97 and model.set_params(proba_method="bayes").score(X, truth) > 0.97
    model.set_params(proba_method="classifier")
    for y in range(3):
        rows, _ = model.sample(100, y=y, random_state=0)
        assert np.mean(model.predict(rows) == y) > 0.9
    holes = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    assert np.mean(model.predict(holes) == truth) > 0.9
    filled = model.impute(holes)
    assert np.mean((filled - X)[np.isnan(holes)] ** 2) < 0.6 * X.var()
    assert (model.elbo_samples(X) < model.score_samples(X) + 0.5).all()
    one = logsumexp(model.set_params(proba_method="bayes").predict_log_proba(X), axis=1)
    np.testing.assert_allclose(one, 0, atol=1e-6)
