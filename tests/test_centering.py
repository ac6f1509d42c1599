"""Tests of centered parameters: the RBM that they mean, and their gradient, against autograd and definitions."""

import pytest
import torch
from rbms import an_rbm

from skdgm.models.centering import CenteredParameters
from skdgm.models.contrastive_divergence import ContrastiveDivergence


def rows(n, seed):
    """Binary rows."""
    return torch.bernoulli(torch.full((n, 5), 0.4), generator=torch.Generator().manual_seed(seed))


def gradients(rbm, centered, x, sampled):
    """Of the centered parameters, for these rows and samples of the model."""
    with torch.no_grad():
        ContrastiveDivergence(rbm).write_gradients((x, rbm.q_h(x).mean), (sampled, rbm.q_h(sampled).mean))
    centered.take_gradients(rbm)
    return {name: parameter.grad.clone() for name, parameter in centered.named_parameters() if parameter.numel()}


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradient_is_autograds(likelihood):
    """Of mean F(data) - mean F(samples), where the biases of the RBM are functions of the centered parameters."""
    rbm, x, sampled = an_rbm(likelihood=likelihood).requires_grad_(True), rows(8, 0), rows(6, 1)
    centered = CenteredParameters(rbm, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]))
    found = gradients(rbm, centered, x, sampled)
    leaves = {name: p.detach().clone().requires_grad_(True) for name, p in centered.named_parameters()}
    twin = an_rbm(likelihood=likelihood)
    del twin.W, twin.b, twin.c, twin.log_var
    twin.W, twin.log_var = leaves["W"], leaves["log_var"]
    twin.b = leaves["b"] - centered.m_h @ twin.W
    twin.c = leaves["c"] - twin.W @ twin.scaled(centered.m_x)
    (twin.free_energy(x).mean() - twin.free_energy(sampled).mean()).backward()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, leaves[name].grad, rtol=1e-4, atol=1e-4, msg=name)


def test_gradient_of_weights_is_a_difference_of_covariances_about_the_offsets():
    rbm, x, sampled = an_rbm().requires_grad_(True), rows(8, 0), rows(6, 1)
    centered = CenteredParameters(rbm, x.mean(0))
    found = gradients(rbm, centered, x, sampled)

    def moment(v):
        h = rbm.q_h(v).mean
        return (h - centered.m_h).T @ (v - centered.m_x) / len(v)

    torch.testing.assert_close(found["W"], (moment(sampled) - moment(x)).detach(), rtol=1e-4, atol=1e-5)


def test_gradient_does_not_depend_on_which_value_is_called_1():
    """With x replaced by 1 - x everywhere, the gradients of W and b change only their sign; an RBM's own do not."""
    rbm, x, sampled = an_rbm().requires_grad_(True), rows(8, 0), rows(6, 1)
    flipped = an_rbm().requires_grad_(True)
    with torch.no_grad():
        flipped.W.neg_(), flipped.b.neg_(), flipped.c.add_(rbm.W.sum(1))
    torch.testing.assert_close(rbm.q_h(x).logits, flipped.q_h(1 - x).logits)
    one = gradients(rbm, CenteredParameters(rbm, x.mean(0)), x, sampled)
    other = gradients(flipped, CenteredParameters(flipped, 1 - x.mean(0)), 1 - x, 1 - sampled)
    torch.testing.assert_close(one["W"], -other["W"])
    torch.testing.assert_close(one["b"], -other["b"])
    torch.testing.assert_close(one["c"], other["c"])


def test_biases_are_float32_whatever_the_precision_of_the_layers():
    rbm = an_rbm(sd=10.0)
    centered = CenteredParameters(rbm, torch.full((5,), 0.3))
    b, c = rbm.b.clone(), rbm.c.clone()
    with torch.autocast("cpu", torch.bfloat16):
        centered.move_offset()
        centered.write_biases(rbm)
    torch.testing.assert_close((rbm.b, rbm.c), (b, c))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_biases_come_back_and_a_moved_offset_changes_no_rbm(likelihood):
    rbm = an_rbm(likelihood=likelihood).requires_grad_(True)
    b, c = rbm.b.detach().clone(), rbm.c.detach().clone()
    centered = CenteredParameters(rbm, torch.full((5,), 0.3))
    with torch.no_grad():
        rbm.b.zero_(), rbm.c.zero_()
    centered.write_biases(rbm)
    torch.testing.assert_close((rbm.b, rbm.c), (b, c), check_stride=False)
    with torch.no_grad():
        centered.c.add_(1.0)
    before = centered.m_h.clone()
    centered.write_biases(rbm)
    b = rbm.b.detach().clone()
    centered.move_offset()
    assert (centered.m_h != before).all()
    centered.write_biases(rbm)
    torch.testing.assert_close(rbm.b.detach(), b)
    mean_codes = rbm.q_h(torch.full((1, 5), 0.3)).mean[0]
    torch.testing.assert_close(centered.m_h, mean_codes.detach())
