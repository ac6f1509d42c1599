"""Tests of the training of RBMs: the gradient by hand, its expectation from chains, and what training reaches."""

import math

import pytest
import torch
from rbms import an_rbm, rows

from skdgm import training
from skdgm.models.centering import CenteredParameters
from skdgm.models.contrastive_divergence import ContrastiveDivergence
from skdgm.models.enumeration import all_codes
from skdgm.models.partition import exact_log_partition
from skdgm.models.rbm import RBMModule
from skdgm.sources import ResidentSource


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradient_by_hand_is_autograds(likelihood):
    """The gradient of mean F(data) - mean F(model samples), samples fixed, which contrastive divergence descends."""
    rbm = an_rbm(likelihood=likelihood).requires_grad_(True)
    x, sampled = rows(8), rows(6, seed=1)
    (rbm.free_energy(x).mean() - rbm.free_energy(sampled).mean()).backward()
    expected = {name: p.grad.clone() for name, p in rbm.named_parameters() if p.numel()}
    with torch.no_grad():
        ContrastiveDivergence(rbm).write_gradients((x, rbm.q_h(x).mean), (sampled, rbm.q_h(sampled).mean))
    for name, gradient in expected.items():
        torch.testing.assert_close(rbm.get_parameter(name).grad, gradient, rtol=1e-4, atol=1e-4, msg=name)


CHAINS = {
    "one per row": {},
    "more than rows": {"n_chains": 700},
    "tempered": {"n_chains": 500, "n_temperatures": 3, "b0": torch.zeros(4)},
}


@pytest.mark.parametrize("chains", CHAINS)
def test_persistent_chains_give_the_gradient_of_log_p(chains):
    """At fixed weights the chains forget their start: many gradients average to that of -mean log p(x)."""
    rbm = an_rbm(4, 3, sd=0.5).requires_grad_(True)
    x = torch.bernoulli(torch.full((500, 4), 0.5), generator=torch.Generator().manual_seed(1))
    states = all_codes(4)
    log_z = torch.logsumexp(-rbm.free_energy(states), 0)
    (rbm.free_energy(x).mean() + log_z).backward()
    expected = {name: p.grad.clone() for name, p in rbm.named_parameters() if p.numel()}
    objective = ContrastiveDivergence(rbm, persistent=True, **CHAINS[chains])
    rng = torch.Generator().manual_seed(0)
    gradients = {name: [] for name in expected}
    for _ in range(400):
        objective(x, rng)
        for name in expected:
            gradients[name].append(rbm.get_parameter(name).grad.clone())
    for name, wanted in expected.items():
        torch.testing.assert_close(torch.stack(gradients[name][50:]).mean(0), wanted, rtol=0, atol=0.01, msg=name)


def test_monitor_is_of_the_rows_themselves():
    """Pseudo-likelihood of 0/1 draws of gray rows; E_q[log p(x | h)] of real rows, independent of the chains."""
    rbm, rng = an_rbm(4, 3), torch.Generator().manual_seed(0)
    assert (rbm.monitor(torch.full((500, 4), 0.5), rng) < 0).all()
    real = an_rbm(4, 3, "gaussian")
    divergence = ContrastiveDivergence(real.requires_grad_(True), persistent=True)
    x = torch.randn(2000, 4, generator=rng)
    codes = all_codes(3)
    q = torch.exp(real.q_h(x[:10]).cross_log_prob(codes).T)
    expected = (q * real.p_x(codes).cross_log_prob(x[:10])).sum(1)
    seen = torch.stack([divergence(x, rng) for _ in range(2000)])
    assert ((seen.mean(0) - expected).abs() < 4 * seen.std(0) / math.sqrt(2000)).all()


@pytest.mark.parametrize("is_centered", [False, True], ids=["plain", "centered"])
def test_training_raises_the_exact_likelihood(is_centered):
    """For two patterns with flipped bits it is far above independent columns, and near the entropy of the data."""
    rng = torch.Generator().manual_seed(0)
    patterns = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]]).float()
    x = patterns[torch.randint(2, (1000,), generator=rng)]
    x = (x - torch.bernoulli(torch.full_like(x, 0.05), generator=rng)).abs()
    rbm = RBMModule(8, 4, "bernoulli", rng)
    centered = CenteredParameters(rbm, x.mean(0)) if is_centered else None
    divergence = ContrastiveDivergence(rbm, 5, centered=centered)
    term = training.Term("", ResidentSource(x), lambda batch, rng: divergence(batch.x, rng), 1.0, 50)
    history = training.train(divergence.trained, [term], training.Settings(60, 1e-2), rng)
    divergence.update_rbm()
    rbm.requires_grad_(False)
    log_p = (-rbm.free_energy(x)).mean().item() - exact_log_partition(rbm)
    entropy = math.log(2) - 8 * (0.05 * math.log(0.05) + 0.95 * math.log(0.95))
    assert -entropy - 0.15 < log_p < -entropy + 0.1
    assert history.terms["bound"][-1] > history.terms["bound"][0] + 0.5


def test_a_step_needs_no_device():
    """A step runs on device "meta": no hidden .item(), no tensor from the CPU."""
    for likelihood in ("bernoulli", "gaussian"):
        rbm = RBMModule(6, 4, likelihood).to("meta")
        x, mean = torch.empty(3, 6, device="meta"), torch.empty(6, device="meta")
        assert ContrastiveDivergence(rbm, 2)(x, None).shape == (3,)
        chains = {"persistent": True, "n_chains": 5, "n_temperatures": 4, "b0": mean}
        assert ContrastiveDivergence(rbm, 2, centered=CenteredParameters(rbm, mean), **chains)(x, None).shape == (3,)


def test_chains_begin_at_rows_in_turn_and_continue():
    """They have the wanted shape; another objective with the same state continues with the same bits."""
    rbm, x = an_rbm(), torch.bernoulli(torch.full((6, 5), 0.5), generator=torch.Generator().manual_seed(0))
    kwargs = {"persistent": True, "n_chains": 8, "n_temperatures": 3, "b0": torch.zeros(5)}
    first, rng = ContrastiveDivergence(rbm, **kwargs), torch.Generator().manual_seed(0)
    rbm.c.add_(100.0 * torch.tensor([1, -1, 1]))  # codes are certain
    assert torch.equal(first.start(rbm.q_h(x).mean, rng), torch.tensor([1.0, 0, 1]).expand(3, 8, 3))
    first(x, rng)
    assert first.chains.shape == (3, 8, 3)
    second, at = ContrastiveDivergence(rbm, **kwargs), rng.get_state()
    second.load_state_dict(first.state_dict())
    first(x, rng)
    rng.set_state(at)
    second(x, rng)
    assert torch.equal(first.chains, second.chains)
