"""Tests of the Student t likelihood against SciPy."""

import numpy as np
import pytest
import scipy.stats
import torch

from skdgm.likelihoods import LIKELIHOODS
from skdgm.likelihoods.student_t import INITIAL_DOF, MAX_DOF, MIN_DOF
from skdgm.noise import RowNoise

SHARED = torch.tensor([0.4, -0.9, 0.0, 1.0])
DOF = [MIN_DOF, 3.0, 5.0, MAX_DOF]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def made(dof=DOF):
    likelihood = LIKELIHOODS["student_t"](4)
    with torch.no_grad():
        likelihood.log_dof.copy_(torch.log(torch.tensor(dof)))
    return likelihood


def scipys(location):
    return scipy.stats.t(DOF, location.numpy(), np.exp(SHARED.numpy() / 2))


def test_log_prob_is_scipys_with_outliers_too():
    outputs, x = noise(20, 4), noise(20, 4, seed=1)
    x[::3] *= 1e4
    p = made()(outputs, SHARED)
    expected = scipys(outputs).logpdf(x.numpy()).sum(-1)
    np.testing.assert_allclose(p.log_prob(x).detach().numpy(), expected, rtol=1e-4)
    assert torch.equal(p.mean, outputs)


def test_degrees_of_freedom_start_at_five_and_have_limits():
    """Beyond the limits, the density is that at the limit."""
    assert torch.exp(LIKELIHOODS["student_t"](4).log_dof).tolist() == pytest.approx([INITIAL_DOF] * 4)
    outputs, x = noise(5, 4), noise(5, 4, seed=1)
    for beyond, limit in [(1e-9, MIN_DOF), (1e9, MAX_DOF)]:
        densities = [made([dof] * 4)(outputs, SHARED).log_prob(x) for dof in (beyond, limit)]
        torch.testing.assert_close(*densities, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rng", [generator(), RowNoise(0, torch.arange(20_000.0)[:, None])], ids=["generator", "rows"])
def test_draws_follow_the_density(rng):
    outputs = noise(1, 4)
    x = made()(outputs.expand(20_000, -1), SHARED).rsample(rng).detach().numpy()
    for j in range(4):
        cdf = scipy.stats.t(DOF[j], outputs[0, j].item(), np.exp(SHARED[j].item() / 2)).cdf
        assert scipy.stats.kstest(x[:, j], cdf).pvalue > 0.001
    assert np.abs(np.corrcoef(scipy.stats.rankdata(x, axis=0).T)[np.triu_indices(4, 1)]).max() < 0.03


def test_draws_are_reparametrized():
    """d draw / d location = 1, and d draw / d log scale^2 = (draw - location) / 2."""
    outputs, shared = noise(4, 4).requires_grad_(), SHARED.clone().requires_grad_()
    draw = made()(outputs, shared).rsample(generator())
    draw.sum().backward()
    assert torch.equal(outputs.grad, torch.ones(4, 4))
    torch.testing.assert_close(shared.grad, ((draw - outputs) / 2).sum(0).detach())
