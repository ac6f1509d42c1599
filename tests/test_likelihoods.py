"""Tests of all likelihoods: laws that hold for every one, and the Gaussian and Bernoulli ones against SciPy."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import bernoulli, norm

from skdgm.distributions import Bernoulli, Normal
from skdgm.likelihoods import LIKELIHOODS, MAX_LOG_VAR, MIN_LOG_VAR, bounded
from skdgm.noise import RowNoise

COUNTS = [
    {"mean": m, "center": c, "spread": s, "dispersion": r} for m, c, s, r in [(3, 1.2, 0.7, 2), (0.2, 0.1, 0.3, 9)]
]
AMOUNTS = [{"spread": 0.5, "positive_share": 0.3}, {"spread": 1.5, "positive_share": 0.9}]
MANY = np.random.default_rng(0).dirichlet(np.full(37, 2.0)).tolist()
CODES = [
    {"shares": [0.2, 0.5, 0.3], "values": None},
    {"shares": MANY, "values": None},
    {"shares": [0.6, 0.4], "values": [-0.8, 1.2]},
    {"shares": [1.0], "values": None},
]
KNOTS = [
    {"knots": [-1.0, -0.5, 0.2, 3.0], "scores": [-2.0, -0.4, 0.6, 2.0]},
    {"knots": [-2.0, -0.1, 0.1, 2.0], "scores": [-2.0, -1.0, 1.0, 2.0]},
]
ARGUMENTS = {
    "bernoulli": [{}] * 3,
    "categorical": CODES,
    "gaussian": [{}] * 3,
    "gaussian_heteroscedastic": [{}] * 3,
    "gaussian_quantile": KNOTS,
    "lognormal": AMOUNTS,
    "multinomial": COUNTS,
    "negative_binomial": COUNTS,
    "ordinal": CODES,
    "poisson": COUNTS,
    "student_t": [{}] * 3,
    "zero_inflated_lognormal": AMOUNTS,
}
NAMES = sorted(LIKELIHOODS)
EVERY = pytest.mark.parametrize("name", NAMES)
N_COLUMNS = 3
N_ROWS = 8


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def made(name, n_columns=None):
    """A likelihood of example columns."""
    arguments = ARGUMENTS[name][:n_columns]
    return LIKELIHOODS[name](len(arguments), arguments)


def numbers(likelihood, *lead, n=N_ROWS):
    """Random outputs and log-variances."""
    return noise(*lead, n, likelihood.n_outputs, seed=1), 0.3 * noise(likelihood.n_shared, seed=2)


def valid_rows(likelihood, n=N_ROWS):
    """Rows that the likelihood can draw."""
    return likelihood(*numbers(likelihood, n=n)).rsample(generator(5)).detach()


def some_mask(likelihood, n=N_ROWS):
    return torch.rand(n, likelihood.n_columns, generator=generator(3)) < 0.6


# --- all likelihoods --------------------------------------------------------------------------------------------------


def test_the_table_holds_the_documented_names():
    """The likelihoods of the API, which of them want standardized columns, and which binary ones."""
    standardized = {"gaussian", "gaussian_heteroscedastic", "gaussian_quantile", "student_t"}
    assert set(ARGUMENTS) == set(LIKELIHOODS)
    assert {name for name, likelihood in LIKELIHOODS.items() if likelihood.standardize} == standardized
    assert {name for name, likelihood in LIKELIHOODS.items() if likelihood.is_binary} == {"bernoulli"}


@EVERY
def test_draws_are_rows_with_a_finite_density(name):
    """As many columns as there are, in float32; other draws in the next call; a mean for each cell."""
    likelihood = made(name)
    p = likelihood(*numbers(likelihood, n=200))
    rng = generator()
    x = p.rsample(rng)
    assert x.shape == p.mean.shape == (200, likelihood.n_columns) and x.dtype == p.mean.dtype == torch.float32
    assert not torch.equal(p.rsample(rng), x)
    log_prob = p.log_prob(x)
    assert log_prob.shape == (200,) and log_prob.dtype == torch.float32 and log_prob.isfinite().all()


@EVERY
def test_the_center_of_the_mean_parameters_is_the_mean(name):
    likelihood = made(name)
    p = likelihood(*numbers(likelihood))
    torch.testing.assert_close(p.center(p.mean_parameters), p.mean)


@EVERY
def test_a_mask_and_its_complement_share_the_density(name):
    """Columns are independent: log p of some cells and log p of the others add up to log p of all."""
    likelihood = made(name)
    outputs, shared = numbers(likelihood)
    x, mask = valid_rows(likelihood), some_mask(likelihood)
    parts = likelihood(outputs, shared, mask).log_prob(x) + likelihood(outputs, shared, ~mask).log_prob(x)
    torch.testing.assert_close(parts, likelihood(outputs, shared).log_prob(x), rtol=1e-4, atol=1e-4)
    nothing = likelihood(outputs, shared, torch.zeros_like(mask)).log_prob(x)
    assert torch.equal(nothing, torch.zeros(N_ROWS))


@EVERY
@pytest.mark.parametrize("junk", [torch.nan, torch.inf, -1e30, 0.5])
def test_missing_cells_may_hold_anything(name, junk):
    """Neither the density nor its gradients depend on what stands in missing cells."""
    likelihood = made(name)
    outputs, shared = (tensor.requires_grad_() for tensor in numbers(likelihood))
    x, mask = valid_rows(likelihood), some_mask(likelihood)
    variables = [outputs, shared, *likelihood.parameters()]

    def value_and_gradients(x):
        value = likelihood(outputs, shared, mask).log_prob(x)
        return [value, *torch.autograd.grad(value.sum(), variables, allow_unused=True, materialize_grads=True)]

    clean, dirty = (value_and_gradients(rows) for rows in (x, torch.where(mask, x, junk)))
    assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(clean, dirty, strict=True))


@EVERY
def test_gradients_are_finite_and_reach_every_number(name):
    """For outputs in [-30, 30]: of the outputs, of log-variances, and of what the likelihood learns itself."""
    likelihood = made(name)
    x = valid_rows(likelihood, n=400)
    wide = 60 * torch.rand(400, likelihood.n_outputs, generator=generator(4)) - 30
    for outputs in (wide, 30 * wide.sign(), wide / 30):
        outputs.requires_grad_()
        shared = torch.zeros(likelihood.n_shared, requires_grad=True)
        likelihood.zero_grad()
        value = likelihood(outputs, shared).log_prob(x)
        value.sum().backward()
        assert value.isfinite().all()
        for tensor in (outputs, *([shared] if len(shared) else []), *likelihood.parameters()):
            assert tensor.grad.isfinite().all() and tensor.grad.any()


@EVERY
def test_leading_axes_broadcast(name):
    """Outputs of shape (2, 3, n, ...) against rows (n, ...): each density as by itself."""
    likelihood = made(name)
    outputs, shared = numbers(likelihood, 2, 3)
    x, mask = valid_rows(likelihood), some_mask(likelihood)
    p = likelihood(outputs, shared, mask)
    each = [[likelihood(part, shared, mask) for part in parts] for parts in outputs]
    for function in (lambda p: p.log_prob(x), lambda p: p.mean, lambda p: p.mean_parameters):
        expected = torch.stack([torch.stack([function(one) for one in parts]) for parts in each])
        torch.testing.assert_close(function(p), expected, rtol=1e-5, atol=1e-5)
    assert p.rsample(generator()).shape == (2, 3, N_ROWS, likelihood.n_columns)
    draws = p.rsample(generator())
    assert p.log_prob(draws).shape == (2, 3, N_ROWS)


@EVERY
def test_the_other_rows_change_no_bit(name):
    """In a chunk of fixed size, as in prediction: neither of density, mean and features, nor of a draw of row noise."""
    likelihood, n = made(name), 32
    outputs, shared = numbers(likelihood, 2, n=n)
    x, mask = valid_rows(likelihood, n), some_mask(likelihood, n)
    order = torch.randperm(n, generator=generator())
    order[n // 2 :] = order[0]  # the second half of the rows makes way for copies of another one

    def results(outputs, x, mask):
        p = likelihood(outputs, shared, mask)
        return p.log_prob(x), p.mean, p.mean_parameters, p.rsample(RowNoise(0, x)), likelihood.features(x)[None]

    with torch.no_grad():
        moved = results(outputs[:, order], x[order], mask[order])
        for result, at_new_place in zip(results(outputs, x, mask), moved, strict=True):
            assert torch.equal(result[:, order], at_new_place)


@EVERY
def test_features_are_finite_for_the_filler_and_belong_to_columns(name):
    """Each column has one; a feature depends on its own column only."""
    likelihood = made(name)
    x, other = valid_rows(likelihood), torch.full((N_ROWS, likelihood.n_columns), likelihood.filler)
    for features, owners in [
        (likelihood.features, likelihood.column_of_feature),
        (likelihood.fixed_features, likelihood.column_of_fixed_feature),
    ]:
        assert features(x).shape == (N_ROWS, len(owners)) and features(other).isfinite().all()
        assert set(owners) == set(range(likelihood.n_columns))
        for column in range(likelihood.n_columns):
            changed = torch.where(torch.arange(likelihood.n_columns) == column, other, x)
            moved = (features(changed) != features(x)).any(0)
            assert {owner for owner, has_moved in zip(owners, moved, strict=True) if has_moved} <= {column}
    assert likelihood.n_features == len(likelihood.column_of_feature)
    assert likelihood.n_fixed_features == len(likelihood.column_of_fixed_feature)


@EVERY
def test_only_what_is_learned_is_saved(name):
    """The state holds the parameters; fixed features do not depend on them."""
    likelihood = made(name)
    x = valid_rows(likelihood)
    fixed = likelihood.fixed_features(x).clone()
    assert set(likelihood.state_dict()) == {name for name, _ in likelihood.named_parameters()}
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter += 1.0
    assert torch.equal(likelihood.fixed_features(x), fixed)


@EVERY
def test_no_value_is_read_on_the_way(name):
    """A density and its gradient on the device "meta", which has no values."""
    likelihood = made(name).to("meta")
    outputs = torch.zeros(4, likelihood.n_outputs, device="meta", requires_grad=True)
    x, mask = (
        torch.zeros(4, likelihood.n_columns, device="meta"),
        torch.ones(4, likelihood.n_columns, device="meta") > 0,
    )
    p = likelihood(outputs, torch.zeros(likelihood.n_shared, device="meta"), mask)
    p.log_prob(x).sum().backward()
    assert outputs.grad.shape == outputs.shape
    assert p.rsample(None).shape == p.mean.shape == x.shape
    assert likelihood.features(x).shape == (4, likelihood.n_features)


# --- Gaussian and Bernoulli -------------------------------------------------------------------------------------------

SIMPLE = ["bernoulli", "gaussian", "gaussian_heteroscedastic"]


@pytest.mark.parametrize("name", SIMPLE)
def test_outputs_mean_what_scipy_says(name):
    """Logits; means and one variance per column; means, then log-variances."""
    likelihood = made(name)
    outputs, shared = numbers(likelihood)
    p = likelihood(outputs, shared)
    x = torch.rand(N_ROWS, N_COLUMNS, generator=generator(1))
    x = x.round() if name == "bernoulli" else x
    mean = outputs.numpy()[:, :N_COLUMNS]
    if name == "bernoulli":
        expected = bernoulli(1 / (1 + np.exp(-mean))).logpmf(x.numpy())
        mean = 1 / (1 + np.exp(-mean))
    else:
        log_var = shared.numpy() if name == "gaussian" else outputs.numpy()[:, N_COLUMNS:]
        expected = norm(mean, np.exp(log_var / 2)).logpdf(x.numpy())
    np.testing.assert_allclose(p.log_prob(x).numpy(), expected.sum(1), atol=1e-4)
    np.testing.assert_allclose(p.mean.numpy(), mean, atol=1e-5)
    assert isinstance(p, Bernoulli if name == "bernoulli" else Normal)


@pytest.mark.parametrize("name", SIMPLE)
def test_a_likelihood_is_a_density_over_rows(name):
    """It sums or integrates to one over the rows."""
    likelihood = made(name)
    p = likelihood(*numbers(likelihood, n=1))
    if name == "bernoulli":
        x, cell = torch.tensor(list(itertools.product([0.0, 1.0], repeat=N_COLUMNS))), 1.0
    else:
        grid = torch.linspace(-14, 14, 71)
        x, cell = torch.cartesian_prod(*[grid] * N_COLUMNS), float(grid[1] - grid[0]) ** N_COLUMNS
    assert p.log_prob(x).double().exp().sum().item() * cell == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["gaussian", "gaussian_heteroscedastic"])
@pytest.mark.parametrize("log_var", [-1e6, -50.0, 50.0, 1e6])
def test_variances_have_lower_and_upper_limits(name, log_var):
    """A density stays bounded for a constant column, and finite far from the data."""
    likelihood = made(name)
    shared = torch.full((likelihood.n_shared,), log_var)
    outputs = torch.full((2, likelihood.n_outputs), log_var)
    outputs[:, :N_COLUMNS] = 0.0
    p = likelihood(outputs, shared)
    peak, far = p.log_prob(torch.zeros(2, N_COLUMNS)), p.log_prob(torch.full((2, N_COLUMNS), 1e6))
    assert torch.isfinite(peak).all() and torch.isfinite(far).all()
    assert peak.max() <= N_COLUMNS * -0.5 * (np.log(2 * np.pi) + MIN_LOG_VAR) + 1e-3
    assert 0.009 < np.exp(MIN_LOG_VAR / 2) <= p.sd.min() and p.sd.max() <= np.exp(MAX_LOG_VAR / 2) * 1.0001


@pytest.mark.parametrize("name", ["gaussian_quantile", "lognormal", "student_t", "zero_inflated_lognormal"])
def test_learned_variances_of_other_real_columns_have_the_same_limits(name):
    """Beyond the limits, the density is that at the limit."""
    likelihood = made(name)
    outputs, _ = numbers(likelihood)
    x = valid_rows(likelihood)
    for beyond, limit in [(-50.0, MIN_LOG_VAR), (50.0, MAX_LOG_VAR)]:
        densities = [likelihood(outputs, torch.full((likelihood.n_shared,), v)).log_prob(x) for v in (beyond, limit)]
        assert torch.equal(*densities) and densities[0].isfinite().all()


def test_bounded_is_the_identity_inside_its_limits():
    """Its gradient there is one."""
    log_var = torch.tensor([-20.0, -5.0, 0.0, 5.0, 20.0], requires_grad=True)
    bounded(log_var).sum().backward()
    assert bounded(log_var)[1:4].tolist() == [-5.0, 0.0, 5.0]
    assert log_var.grad[1:4].tolist() == [1.0, 1.0, 1.0]
