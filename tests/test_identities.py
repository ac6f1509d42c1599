"""Mathematical identities of the models that hold for any weights, with SciPy or full enumeration as the reference.

Monte-Carlo claims test a mean against its own standard error, at a fixed seed. If a claim is a strict inequality, the
weights are random, which makes the gap many standard errors wide.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.special import log_softmax, logsumexp
from scipy.stats import bernoulli, multivariate_normal, norm

from skdgm import VAE, M2Classifier
from skdgm.distributions import Categorical, Normal
from skdgm.models.m1m2 import M1M2Module
from skdgm.models.m2 import M2Module
from skdgm.models.vae import VAEModule
from skdgm.noise import RowNoise
from skdgm.structured_normals import FullNormal

N_COLUMNS = 5
PRIOR = (0.2, 0.5, 0.3)
CODE_CENTER, CODE_SCALE = torch.tensor([0.3, -0.2]), torch.tensor([0.8, 0.6])  # of the two active codes of M1+M2
LIKELIHOODS = ["bernoulli", "gaussian", "gaussian_heteroscedastic"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def roughened(module, sd=0.4, seed=0):
    """The module with every weight, including zero-initialized ones, drawn from N(0, sd^2)."""
    rng = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(sd * torch.randn(parameter.shape, generator=rng))
    return module


def vae(likelihood="bernoulli", n_latent=2, hidden=(6,), n_columns=N_COLUMNS, **rough):
    return roughened(VAEModule(n_columns, n_latent, hidden, "softplus", likelihood, generator()), **rough)


def m2(likelihood="bernoulli", n_latent=2, hidden=(6,), n_columns=N_COLUMNS, prior=PRIOR, **rough):
    return roughened(M2Module(n_columns, n_latent, hidden, "softplus", likelihood, prior, generator()), **rough)


def m1m2(likelihood="bernoulli", n_lower=3, active=(0, 2), n_columns=N_COLUMNS, **rough):
    lower, upper = (
        vae(likelihood, n_lower, n_columns=n_columns, **rough),
        m2("gaussian_heteroscedastic", 2, n_columns=2),
    )
    return M1M2Module(lower, upper, torch.tensor(active), CODE_CENTER, CODE_SCALE)


def all_binary_rows(n_columns=N_COLUMNS):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n_columns)))


def some_rows(likelihood, n=12, seed=1):
    noise = torch.randn(n, N_COLUMNS, generator=generator(seed))
    return (noise > 0).float() if likelihood == "bernoulli" else noise


def assert_mean(values, expected, *, n_sd=4.0, sd_below=None):
    """Check that the mean of independent values is within n_sd standard errors of `expected`, and these are small."""
    values = np.asarray(values, dtype=float)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    if sd_below is not None:
        assert np.all(error < sd_below), f"standard error {np.max(error)}: too noisy to tell"
    z = (values.mean(axis=0) - expected) / error
    assert np.all(np.abs(z) < n_sd), f"off by {np.max(np.abs(z)):.1f} standard errors"


# --- linear-Gaussian decoders, with densities from SciPy --------------------------------------------------------------


def weights_of(decoder):
    """W, b and the log-variances of an affine Gaussian decoder."""
    layer = decoder.mlp.layers[0]
    return layer.weight.detach().numpy(), layer.bias.detach().numpy(), decoder.shared.detach().numpy()


def with_orthogonal_columns(decoder):
    """Make W' diag(1/var) W diagonal: the exact posterior is then diagonal, and a diagonal encoder can be exact."""
    weight, _, log_var = weights_of(decoder)
    sd = np.exp(log_var / 2)[:, None]
    q, r = np.linalg.qr(weight / sd)
    with torch.no_grad():
        decoder.mlp.layers[0].weight.copy_(torch.from_numpy(sd * q * np.diag(r)))


def make_posterior_exact(encoder, decoder):
    """Set the affine encoder to q(z | x) = N(S W' diag(1/var) (x - b), S), S = (I + W' diag(1/var) W)^-1 diagonal."""
    weight, bias, log_var = weights_of(decoder)
    projection = weight.T / np.exp(log_var)
    cov = np.linalg.inv(np.eye(weight.shape[1]) + projection @ weight)
    assert np.allclose(cov, np.diag(np.diag(cov)), atol=1e-6)
    gain, n_latent = cov @ projection, len(cov)
    layer = encoder.mlp.layers[0]
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:n_latent] = torch.from_numpy(gain)
        layer.bias[:n_latent] = torch.from_numpy(-gain @ bias)
        layer.bias[n_latent:] = torch.from_numpy(np.log(np.diag(cov)))
        if encoder.mlp.class_embedding is not None:
            shift = decoder.mlp.class_embedding.weight.detach().numpy()
            encoder.mlp.class_embedding.weight.zero_()
            encoder.mlp.class_embedding.weight[:, :n_latent] = torch.from_numpy(-shift @ gain.T)


def linear_vae(**kwargs):
    module = vae("gaussian", hidden=(), sd=0.7, **kwargs)
    with_orthogonal_columns(module.decoder)
    make_posterior_exact(module.encoder, module.decoder)
    return module


def marginal(decoder, shift=0.0):
    """x = W z + b + shift + noise, z ~ N(0, I): N(b + shift, W W' + diag(var))."""
    weight, bias, log_var = weights_of(decoder)
    return multivariate_normal(bias + shift, weight @ weight.T + np.diag(np.exp(log_var)))


def test_vae_weights_are_the_marginal_density_at_every_draw_if_the_posterior_is_exact():
    """p(x, z) / q(z | x) = p(x) = N(x; b, W W' + diag(var)), row by row and draw by draw."""
    module, x = linear_vae(), 2 * some_rows("gaussian")
    log_w = module.log_weights(x, generator(), 7).detach().numpy()
    expected = marginal(module.decoder).logpdf(x.numpy())
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(log_w, np.tile(expected, (7, 1)), atol=2e-4)


def test_vae_weights_are_the_marginal_density_for_a_full_posterior():
    """The same with any W, sigma^2 I, and the exact posterior instead of the diagonal network."""
    module, x = vae("gaussian", hidden=()), 2 * some_rows("gaussian")
    with torch.no_grad():
        module.decoder.shared.fill_(np.log(0.3))
    weight, bias, _ = weights_of(module.decoder)
    cov = np.linalg.inv(np.eye(2) + weight.T @ weight / 0.3)
    assert abs(cov[0, 1]) > 0.01
    mean = torch.from_numpy((x.numpy() - bias) @ weight @ cov.T / 0.3).float()
    module.q_z = lambda x, observed=None: FullNormal(
        mean, torch.linalg.cholesky(torch.from_numpy(cov).float()).expand(len(x), 2, 2)
    )
    log_w = module.log_weights(x, generator(), 7).detach().numpy()
    expected = multivariate_normal(bias, weight @ weight.T + 0.3 * np.eye(N_COLUMNS)).logpdf(x.numpy())
    np.testing.assert_allclose(log_w, np.tile(expected, (7, 1)), atol=2e-4)


def test_vae_bound_is_the_marginal_density_in_mean_if_the_posterior_is_exact():
    """E_q[log p(x | z)] - KL = log p(x) when q is the posterior: the KL term agrees with the draws."""
    module, x = linear_vae(), some_rows("gaussian", 4)
    draws = module.bound(x.repeat(4000, 1), generator()).total().detach().reshape(4000, 4)
    assert_mean(draws, marginal(module.decoder).logpdf(x.numpy()), sd_below=0.05)
    elbo = module.elbo(x, generator(1), 4000).detach().numpy()
    np.testing.assert_allclose(elbo, marginal(module.decoder).logpdf(x.numpy()), atol=0.15)


def test_vae_importance_bound_tends_to_the_marginal_density_for_a_poor_posterior():
    """With more draws the bound rises to log p(x); with one draw it is further away."""
    module, x = linear_vae(), some_rows("gaussian")
    expected = marginal(module.decoder).logpdf(x.numpy())
    with torch.no_grad():
        module.encoder.mlp.layers[0].bias += 0.5
    assert np.abs(module.log_likelihood(x, generator(), 20000).detach().numpy() - expected).max() < 0.1
    assert np.abs(module.elbo(x, generator(), 2000).detach().numpy() - expected).min() > 0.1


def linear_m2(n_columns=N_COLUMNS, n_latent=2):
    module = m2("gaussian", n_latent, hidden=(), n_columns=n_columns, sd=0.7)
    with_orthogonal_columns(module.decoder)
    make_posterior_exact(module.encoder, module.decoder)
    return module


def joint(module, x):
    """log p(y) + log N(x; b + c_y, W W' + diag(var)), (n, n_classes)."""
    shifts = module.decoder.mlp.class_embedding.weight.detach().numpy()
    return np.log(PRIOR) + np.stack([marginal(module.decoder, shift).logpdf(x.numpy()) for shift in shifts], 1)


@pytest.mark.parametrize("n_draws", [1, 4])
def test_m2_joint_and_marginal_are_exact_if_the_posterior_is(n_draws):
    """log p(x, y) is log p(y) + log N(x; b + c_y, W W' + diag(var)) for every class, and p(x) its sum."""
    module, x = linear_m2(), some_rows("gaussian")
    expected = joint(module, x)
    np.testing.assert_allclose(module.log_joint(x, generator(), n_draws).detach().numpy(), expected, atol=2e-4)
    found = module.log_likelihood(x, generator(), n_draws).detach().numpy()
    np.testing.assert_allclose(found, logsumexp(expected, 1), atol=2e-4)


def test_m2_labeled_bound_is_the_joint_in_mean_if_the_posterior_is_exact():
    """-L(x, y) = log p(x, y), including p(y), for a given y and for every class."""
    module, x, y = linear_m2(), some_rows("gaussian", 3), torch.tensor([2, 0, 1])
    draws = module.labeled_bound(x.repeat(4000, 1), y.repeat(4000), generator()).total().detach().reshape(4000, 3)
    assert_mean(draws, joint(module, x)[np.arange(3), y], sd_below=0.05)
    draws = module.labeled_bound(x.repeat(4000, 1), module.every_class, generator()).total().detach()
    assert_mean(draws.reshape(3, 4000, 3).movedim(1, 0), joint(module, x).T, sd_below=0.05)


def linear_m1m2():
    """Both posteriors exact: p(z1 | y) = N(0, I) for every class, z1 of 2 active dimensions and an inactive one.

    The upper layer models the standardized codes, u = (z1 - center) / scale.
    """
    lower, upper = linear_vae(n_latent=3), linear_m2(n_columns=2, n_latent=1)
    with torch.no_grad():
        upper.decoder.mlp.layers[0].weight.copy_(torch.tensor([[0.6], [0.0]]) / CODE_SCALE[:, None])
        upper.decoder.mlp.layers[0].bias.copy_(-CODE_CENTER / CODE_SCALE)
        upper.decoder.shared.copy_(torch.log(torch.tensor([1 - 0.36, 1.0]) / CODE_SCALE**2))
        upper.decoder.mlp.class_embedding.weight.zero_()
    make_posterior_exact(upper.encoder, upper.decoder)
    return M1M2Module(lower, upper, torch.tensor([0, 2]), CODE_CENTER, CODE_SCALE)


def test_m1m2_joint_is_exact_if_both_posteriors_are():
    """Since p(z1) is N(0, I), log p(x, y) = log p(y) + log N(x; b, W W' + diag(var)) at every draw."""
    module, x = linear_m1m2(), some_rows("gaussian")
    expected = marginal(module.lower.decoder).logpdf(x.numpy())
    found = module.log_joint(x, generator(), 3).detach().numpy()
    np.testing.assert_allclose(found, expected[:, None] + np.log(PRIOR), atol=3e-4)
    np.testing.assert_allclose(module.log_likelihood(x, generator(), 3).detach().numpy(), expected, atol=3e-4)


def test_m1m2_joint_is_the_sum_of_its_parts():
    """log p(x|z1) + log p(z1|y,z2) + log p(y) + log p(z2) + log N(inactive z1) - log q(z1|x) - log q(z2|z1,y)."""
    module, x = m1m2("gaussian"), some_rows("gaussian", 4)
    lower, upper = module.lower, module.upper
    at_means = RowNoise(0, x)
    at_means.normal = torch.zeros  # every draw is its mean, in any order of drawing

    def log_normal(q, value):
        return norm(q.mean.detach().numpy(), q.sd.detach().numpy()).logpdf(value.detach().numpy()).sum(-1)

    q1 = lower.q_z(x)
    z1 = q1.mean
    codes = (z1[:, [0, 2]] - CODE_CENTER) / CODE_SCALE
    below = log_normal(lower.p_x(z1), x) - log_normal(q1, z1) + norm.logpdf(z1[:, 1].detach().numpy())
    expected = np.empty((4, 3))
    for label, probability in enumerate(PRIOR):
        y = torch.full((4,), label)
        q2 = upper.q_z(codes, y)
        above = log_normal(upper.p_x(y, q2.mean), codes) + norm.logpdf(q2.mean.detach().numpy()).sum(-1)
        above -= np.log(CODE_SCALE.numpy()).sum()
        expected[:, label] = below + above - log_normal(q2, q2.mean) + np.log(probability)
    np.testing.assert_allclose(module.log_joint(x, at_means, 2).detach().numpy(), expected, atol=1e-4)
    entropy = module.log_likelihood(x, at_means, 1).detach().numpy()
    np.testing.assert_allclose(entropy, logsumexp(expected, 1), atol=1e-4)


# --- bounds and their order -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_unlabeled_bound_is_logsumexp_at_the_optimal_label_posterior_and_lower_elsewhere(likelihood):
    """sum_y q(y) (-L(x, y)) + H(q) = log sum_y exp(-L(x, y)) - KL(q || softmax(-L))."""
    module, x = m2(likelihood), some_rows(likelihood)
    per_class = module.labeled_bound(x, module.every_class, generator()).total().detach()
    best = torch.logsumexp(per_class, 0).numpy()
    module.q_y_labeled = lambda x, observed=None: Categorical(per_class.T)
    np.testing.assert_allclose(module.unlabeled_bound(x, generator()).total().detach().numpy(), best, atol=1e-4)
    optimal = log_softmax(per_class.T.double().numpy(), 1)
    for seed in range(5):
        logits = per_class.T + 2 * torch.randn(12, 3, generator=generator(seed))
        module.q_y_labeled = lambda x, observed=None, logits=logits: Categorical(logits)
        tilted = log_softmax(logits.double().numpy(), 1)
        divergence = (np.exp(tilted) * (tilted - optimal)).sum(1)
        elsewhere = module.unlabeled_bound(x, generator()).total().detach().numpy()
        np.testing.assert_allclose(best - elsewhere, divergence, atol=1e-4)
        assert divergence.max() > 0.5


@pytest.mark.parametrize("make", [vae, m2, m1m2])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_elbo_below_5_draws_below_50_draws(make, likelihood):
    """E[ELBO] < E[IW(5)] < E[IW(50)] by over 3 standard errors, because random weights give a poor posterior."""
    module, x = make(likelihood), some_rows(likelihood, 5).repeat(60, 1)
    with torch.no_grad():
        bounds = [module.elbo(x, generator(0), 1), *(module.log_likelihood(x, generator(k), k) for k in (5, 50))]
    for lower, upper in itertools.pairwise(bound.numpy().astype(float) for bound in bounds):
        gain = upper - lower
        assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_elbo_of_many_draws_is_the_mean_of_single_bounds():
    """elbo(n_draws) estimates the same as bound() with one draw."""
    for module in (vae(), m2()):
        x = some_rows("bernoulli", 3)
        one = module.bound if isinstance(module, VAEModule) else module.unlabeled_bound
        singles = one(x.repeat(3000, 1), generator()).total().detach().reshape(3000, 3)
        many = np.stack([module.elbo(x, generator(seed), 50).detach() for seed in range(30)])
        difference = singles.numpy().mean(0) - many.mean(0)
        error = np.hypot(singles.numpy().std(0) / np.sqrt(3000), many.std(0) / np.sqrt(30))
        assert np.all(np.abs(difference) < 4 * error) and np.all(error < 0.1)


def test_warmup_weights_the_kl_only():
    """total(w) = reconstruction - w KL + label, and the KL of a normal to N(0, I) is SciPy's integral."""
    module, x = m2(), some_rows("bernoulli", 3)
    bound = module.unlabeled_bound(x, generator())
    difference = (bound.total(0.25) - bound.total(1.0)).detach().numpy()
    np.testing.assert_allclose(difference, 0.75 * bound.kl.detach().numpy(), atol=1e-5)
    assert bound.kl.min() > 0


# --- densities integrate to one ---------------------------------------------------------------------------------------


def test_vae_marginal_sums_to_one_over_all_binary_rows():
    """sum_x E_q[p(x, z) / q(z | x)] = 1: importance weights are unbiased."""
    module, x = vae(), all_binary_rows()
    with torch.no_grad():
        totals = module.log_weights(x, generator(), 4000).double().exp().sum(1)
    assert_mean(totals, 1.0, sd_below=0.02)


def test_m2_marginal_sums_to_one_over_all_binary_rows_and_classes():
    """sum_x sum_y p(x, y) = 1, and sum_x p(x, y) = p(y)."""
    module, x = m2(), all_binary_rows()
    with torch.no_grad():
        draws = [module.log_joint(x, generator(seed), 50).double().exp().sum(0).numpy() for seed in range(60)]
        rows = [module.log_likelihood(x, generator(seed), 50).double().exp().sum().item() for seed in range(60)]
    assert_mean(draws, PRIOR, sd_below=0.02)
    assert_mean(rows, 1.0, sd_below=0.02)


def test_m1m2_marginal_sums_to_one_over_all_binary_rows_and_classes():
    """sum_x p(x, y) = p(y) for the stack, with an inactive dimension of z1."""
    module, x = m1m2(sd=0.3), all_binary_rows(N_COLUMNS)
    with torch.no_grad():
        weights = module.log_joint(x.repeat(4000, 1), generator(), 1).double().exp().reshape(4000, len(x), 3).sum(1)
    assert_mean(weights, PRIOR, n_sd=4.5, sd_below=0.03)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_heteroscedastic"])
def test_fitted_gaussian_density_integrates_to_one_in_the_units_of_X(likelihood):
    """The integral of exp(score_samples) over a line is one, so the scale is accounted for."""
    rng = np.random.default_rng(0)
    X = 300 + 40 * (rng.choice([-2.0, 2.0], (300, 1)) + rng.standard_normal((300, 1)))
    model = VAE(
        1, hidden_layer_sizes=(8,), likelihood=likelihood, max_iter=15, random_state=0, n_importance_samples=100
    )
    grid = np.linspace(-500, 1100, 3001)
    density = np.exp(model.fit(X).score_samples(grid[:, None]))
    assert density.max() < 0.05
    assert trapezoid(density, grid) == pytest.approx(1.0, abs=0.02)


# --- gradients --------------------------------------------------------------------------------------------------------


def objectives(module, likelihood):
    x, y = some_rows(likelihood), torch.arange(12) % 3
    if isinstance(module, VAEModule):
        return {"bound": lambda: module.bound(x, generator()).total()}
    return {
        "unlabeled": lambda: module.unlabeled_bound(x, generator()).total(),
        "enumerated": lambda: module.unlabeled_bound(x, generator(), n_enumerated=1).total(),
        "labeled": lambda: module.labeled_bound(x, y, generator()).total(),
        "classification": lambda: module.log_q_y(x, y, generator()),
    }


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(
    ("make", "objective", "without"),
    [
        (vae, "bound", ()),
        (m2, "unlabeled", ()),
        (m2, "enumerated", ()),
        (m2, "labeled", ("classifier",)),
        (m2, "classification", ("encoder", "decoder")),
    ],
)
def test_every_parameter_receives_a_gradient(likelihood, make, objective, without):
    """Each part of the objective has a gradient for the weights in its equation, and no others."""
    module = make(likelihood)
    objectives(module, likelihood)[objective]().sum().backward()
    for name, parameter in module.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert moved == (parameter.numel() > 0 and not name.startswith(without or ("-",))), name


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_freshly_initialized_networks_learn_everywhere(likelihood):
    """No weight of a new module is stuck at its initial value: even weights set to zero receive a gradient."""
    modules = [
        VAEModule(N_COLUMNS, 2, (6,), "softplus", likelihood, generator()),
        M2Module(N_COLUMNS, 2, (6,), "softplus", likelihood, PRIOR, generator()),
    ]
    for module in modules:
        objective = objectives(module, likelihood).get("bound") or objectives(module, likelihood)["unlabeled"]
        objective().sum().backward()
        for name, parameter in module.named_parameters():
            assert parameter.numel() == 0 or parameter.grad.abs().sum() > 0, name


def gradients(module, bound):
    """The gradient of the bound's mean over rows, with all parameters in one vector."""
    grads = torch.autograd.grad(bound.mean(), list(module.parameters()), allow_unused=True)
    pairs = zip(grads, module.parameters(), strict=True)
    return torch.cat([torch.zeros(p.numel()) if grad is None else grad.flatten() for grad, p in pairs]).numpy()


@pytest.mark.parametrize("n_enumerated", [1, 2, 3])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_enumerating_the_most_probable_classes_is_unbiased_in_value_and_gradient(n_enumerated, likelihood):
    """E[U with k summed classes and one drawn] = U, and the same for every gradient, including that of q(y | x).

    About 300 components are compared; the largest of 300 standard normals is below 4.5 (p > 0.99).
    """
    module = m2(likelihood, prior=(0.1, 0.3, 0.25, 0.2, 0.15), sd=0.6, seed=3)
    x = some_rows(likelihood, 6, seed=4).repeat(60, 1)
    found = {}
    for k in (n_enumerated, None):
        bounds = [module.unlabeled_bound(x, generator(seed), n_enumerated=k).total() for seed in range(80)]
        found[k] = np.array([np.append(gradients(module, bound), bound.mean().item()) for bound in bounds], dtype=float)
    difference = found[n_enumerated].mean(0) - found[None].mean(0)
    error = np.sqrt(sum(values.var(0, ddof=1) for values in found.values()) / 80)
    alive = error > 0
    assert alive.mean() > 0.9 and np.all(np.abs(difference[~alive]) < 1e-6)
    z = np.abs(difference[alive]) / error[alive]
    assert z.max() < 4.5 and np.sqrt((z**2).mean()) < 1.25
    names = np.concatenate(
        [np.full(p.numel(), name.split(".")[0]) for name, p in module.named_parameters()] + [["value"]]
    )
    classifier = names == "classifier"
    assert np.abs(found[None].mean(0)[classifier]).max() > 20 * error[classifier].max()  # a missing gradient would show


@pytest.mark.parametrize("n_enumerated", [None, 1])
def test_leaving_out_negligible_classes_changes_nothing_that_float32_holds(n_enumerated, monkeypatch):
    """Value and gradients are those of all classes, for a mix of certain and uncertain rows."""
    module, x = m2(), some_rows("bernoulli", 12)
    with torch.no_grad():
        module.classifier.mlp.layers[-1].weight.mul_(60)  # most rows certain to 1e-9 and beyond
    share = module.q_y(x).probs
    assert 0.1 < (share > 1e-9).float().mean() < 0.9
    zeros = lambda shape, rng, like: torch.zeros(shape)  # noqa: E731 - draws at the mean: the two differ in nothing else
    monkeypatch.setattr("skdgm.distributions.standard_normal", zeros)
    found = []
    for negligible in (0.0, 1e-9):
        module.zero_grad()
        bound = module.unlabeled_bound(x, generator(), None, n_enumerated, negligible).total()
        bound.mean().backward()
        gradients = [p.grad.clone() for p in module.parameters() if p.grad is not None and p.numel()]
        found.append([bound.detach(), *gradients])
    for full, part in zip(*found, strict=True):
        torch.testing.assert_close(part, full, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_enumerated", [2, 3, 7])
def test_enumerating_all_but_one_class_or_more_is_the_full_sum(n_enumerated):
    """With k >= n_classes - 1 no class is left to draw: value and gradient are the same, bit for bit."""
    module, x = m2(), some_rows("bernoulli")
    full, enumerated = (module.unlabeled_bound(x, generator(), n_enumerated=k).total() for k in (None, n_enumerated))
    assert torch.equal(full, enumerated)
    assert np.array_equal(gradients(module, full), gradients(module, enumerated))


# --- gray rows, units, masks ------------------------------------------------------------------------------------------


def test_bernoulli_bound_at_gray_rows_is_the_mean_over_binarizations():
    """E_{b ~ x}[log p(b | z)] - KL(q(z | x)), by summing over all binary rows b with probability x^b (1-x)^(1-b)."""
    module, gray = vae(), torch.rand(4, N_COLUMNS, generator=generator())
    binary = all_binary_rows()
    probability = bernoulli(gray.numpy()[:, None]).pmf(binary.numpy()).prod(-1)
    q_z = module.q_z(gray)
    p_x = module.p_x(q_z.rsample(generator(5)))
    log_p = np.stack([p_x.log_prob(row).detach().numpy() for row in binary], 1)
    expected = (probability * log_p).sum(1) - module.bound(gray, generator(5)).kl.detach().numpy()
    found = module.bound(gray, generator(5)).total().detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


MODELS = {
    "VAE": lambda: VAE(2, hidden_layer_sizes=(8,), max_iter=4, likelihood="gaussian", random_state=0),
    "M2Classifier": lambda: M2Classifier(2, hidden_layer_sizes=(8,), max_iter=4, likelihood="gaussian", random_state=0),
}


def correlated_rows(n=80):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 3)) @ rng.standard_normal((3, 3)), np.arange(n) % 3


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("scale", [[4.0, 0.25, 1024.0]])
def test_density_shifts_by_the_sum_of_log_scales(name, scale):
    """p(a x + c) = p(x) / prod a, with the same codes and labels: exact for powers of two, close for shifts."""
    X, y = correlated_rows()
    model = MODELS[name]().fit(X, y)
    scaled = MODELS[name]().fit(X * scale, y)
    for method in ("score_samples", "elbo_samples"):
        shifted = getattr(scaled, method)(X * scale) + np.log(scale).sum()
        np.testing.assert_allclose(shifted, getattr(model, method)(X), rtol=0, atol=1e-9)
    assert np.array_equal(scaled.transform(X * scale), model.transform(X))
    Z = model.transform(X)
    np.testing.assert_allclose(scaled.inverse_transform(Z), model.inverse_transform(Z) * scale, rtol=1e-9)
    moved = MODELS[name]().fit(X * scale + 7, y)
    np.testing.assert_allclose(moved.transform(X * scale + 7), model.transform(X), atol=1e-3)
    for fitted in (moved, model):  # the rounding of 7 gives each row other noise: many draws
        fitted.set_params(n_importance_samples=500)
    np.testing.assert_allclose(moved.elbo_samples(X * scale + 7) + np.log(scale).sum(), model.elbo_samples(X), atol=0.2)


def test_masked_cells_do_not_count():
    """The value of an unobserved cell changes neither bound nor codes nor labels nor density."""
    observed = torch.rand(12, N_COLUMNS, generator=generator(2)) > 0.4
    observed[0] = False
    for likelihood, make in itertools.product(LIKELIHOODS, (vae, m2, m1m2)):
        module, x = make(likelihood), some_rows(likelihood)
        other = torch.where(observed, x, 1000.0)
        looks = {
            "log_likelihood": lambda m, x: m.log_likelihood(x, generator(), 3, observed),
            "elbo": lambda m, x: m.elbo(x, generator(), 3, observed),
        }
        if make is vae:
            looks["code"] = lambda m, x: m.q_z(x, observed).mean
            looks["bound"] = lambda m, x: m.bound(x, generator(), observed).total()
        else:
            looks["code"] = lambda m, x: m.code(x, observed)
            looks["label"] = lambda m, x: m.q_y(x, observed).log_probs
            looks["joint"] = lambda m, x: m.log_joint(x, generator(), 3, observed)
        for look in looks.values():
            assert torch.equal(look(module, x), look(module, other))
            assert not torch.allclose(look(module, x)[1:], look(module, x + 0.5)[1:])


def test_a_row_without_observed_cells_has_density_one():
    """The posterior is the prior and the likelihood is 1, so the bound and log p() are 0 for any weights."""
    module, x = vae("gaussian"), some_rows("gaussian")
    nothing = torch.zeros_like(x, dtype=torch.bool)
    assert torch.equal(module.bound(x, generator(), nothing).total(), torch.zeros(len(x)))
    np.testing.assert_allclose(module.log_likelihood(x, generator(), 3, nothing).detach().numpy(), 0.0, atol=1e-6)


def test_density_of_observed_columns_is_their_marginal():
    """With a mask the importance bound tends to the marginal normal of the observed columns."""
    module, x = linear_vae(), some_rows("gaussian", 3)
    seen = [0, 2, 3]
    observed = torch.zeros_like(x, dtype=torch.bool)
    observed[:, seen] = True
    full = marginal(module.decoder)
    expected = multivariate_normal(full.mean[seen], full.cov[np.ix_(seen, seen)]).logpdf(x.numpy()[:, seen])
    found = module.log_likelihood(x, generator(), 20000, observed).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=0.05)


# --- fitted classifiers against brute force ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    """A fitted M2 of 5 binary columns, 3 classes and one latent dimension, small enough to integrate on a grid."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=150)
    X = (rng.random((150, N_COLUMNS)) < np.array([0.2, 0.5, 0.8])[y][:, None]).astype(float)
    model = M2Classifier(
        1,
        hidden_layer_sizes=(8,),
        max_iter=20,
        class_prior={0: 0.2, 1: 0.5, 2: 0.3},
        random_state=0,
        n_importance_samples=800,
    )
    return model.fit(X, y), all_binary_rows().numpy().astype(float)


def brute_force_joint(model, X):
    """log p(x, y) by quadrature over z; (n, n_classes)."""
    grid = np.linspace(-8, 8, 801)
    z = torch.from_numpy(grid).float()[:, None]
    log_w = norm.logpdf(grid) + np.log(grid[1] - grid[0])
    columns = []
    for label, probability in enumerate(model.module_.p_y.probs.numpy()):
        p = model.module_.p_x(torch.full((len(z),), label), z).mean.double().numpy()
        log_p = X @ np.log(p.T) + (1 - X) @ np.log1p(-p.T)
        columns.append(logsumexp(log_p + log_w, axis=1) + np.log(probability))
    return np.stack(columns, 1)


def test_bayes_probabilities_are_bayes_rule_by_brute_force(tiny):
    """proba_method="bayes": p(y | x) = p(x, y) / p(x), with z integrated out on a grid."""
    model, X = tiny
    by_classifier = model.predict_proba(X)
    model.set_params(proba_method="bayes", n_importance_samples=8000)
    found = model.predict_proba(X)
    model.set_params(proba_method="classifier", n_importance_samples=800)
    expected = np.exp(log_softmax(brute_force_joint(model, X), axis=1))
    np.testing.assert_allclose(found, expected, atol=0.015)  # the mean of 8,000 draws has errors up to 0.008
    assert np.abs(by_classifier - expected).max() > 0.03  # q(y | x) would fail this test


def test_score_samples_is_the_log_marginal_by_brute_force(tiny):
    """score_samples tends to log sum_y p(x, y) from below, elbo_samples is lower, and all rows' p(x) sum to one."""
    model, X = tiny
    expected = logsumexp(brute_force_joint(model, X), axis=1)
    assert logsumexp(expected) == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(model.score_samples(X), expected, atol=0.05)
    assert np.mean(model.elbo_samples(X)) < np.mean(expected)
    assert np.exp(model.score_samples(X)).sum() == pytest.approx(1, abs=0.01)


def test_history_of_the_paper_normalization_is_J_alpha():
    """J^alpha / N = (sum -U + sum -L) / N + alpha mean log q(y | x), eqs. (8) and (9), from the parts of each epoch."""
    X, y = correlated_rows()
    y[20:] = -1
    model = M2Classifier(2, hidden_layer_sizes=(8,), max_iter=3, alpha=0.7, alpha_normalization="paper", random_state=0)
    h = {name: np.array(values) for name, values in model.fit(X, y).history_.items()}
    parts = {k: h[f"{k}_reconstruction"] - h[f"{k}_kl"] + h[f"{k}_label"] for k in ("unlabeled", "labeled")}
    expected = (60 * parts["unlabeled"] + 20 * parts["labeled"]) / 80 + 0.7 * h["classification"]
    np.testing.assert_allclose(h["bound"], expected, atol=1e-4)


def test_the_label_hidden_by_a_marker_changes_nothing():
    """The fit does not see the true label of a -1 row: bits are the same for any true label and any marker."""
    X, truth = correlated_rows()
    hidden = np.arange(80) >= 12
    other = np.where(hidden, (truth + 1) % 3, truth)
    fits = []
    for y, marker in [(truth, -1), (other, -1), (truth, None), (other, np.nan), (other.astype(float), -1.0)]:
        marked = y.astype(object) if marker is None else y.astype(float if isinstance(marker, float) else int)
        marked[hidden] = marker
        fits.append(MODELS["M2Classifier"]().set_params(class_weight="balanced").fit(X, marked).predict_proba(X))
    assert all(np.array_equal(fits[0], fit) for fit in fits[1:])


def test_normal_posterior_moves_with_the_observed_mask_only():
    """q(z | x) reads masked cells as 0: the same as for the row with 0 there and all cells observed."""
    module, x = vae("gaussian"), some_rows("gaussian")
    observed = x > 0
    some = observed.any(1)
    masked, zeroed = module.q_z(x, observed), module.q_z(torch.where(observed, x, 0.0))
    assert isinstance(masked, Normal) and some.any()
    assert torch.equal(masked.mean[some], zeroed.mean[some]) and torch.equal(masked.log_var[some], zeroed.log_var[some])
