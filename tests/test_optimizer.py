"""Tests of the parameters as one vector, and of Adam against torch's and against the formula."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from skdgm import optimizer
from skdgm.optimizer import Adam, ParameterVector, adam_step
from skdgm.training import Settings

PENALTIES, FACTORS = {"": 0.3, "0": 0.01}, {"2": 3.0, "2.bias": 0.5}


def network(seed=0):
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2), nn.Linear(2, 1))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    module[3].requires_grad_(False)
    return module


def gradients(module, seed):
    """Random gradients, of sizes from 1e-6 to 10."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.requires_grad:
            scale = 10 ** (torch.rand(parameter.shape, generator=rng) * 7 - 6)
            parameter.grad = scale * torch.randn(parameter.shape, generator=rng)


def torch_adam(module):
    """torch's Adam with the same penalties and factors, written out."""
    penalty = {"0.weight": 0.01, "0.bias": 0.0, "2.weight": 0.3, "2.bias": 0.0}
    factor = {"0.weight": 1.0, "0.bias": 1.0, "2.weight": 3.0, "2.bias": 0.5}
    named = dict(module.named_parameters())
    return torch.optim.Adam(
        [{"params": [named[k]], "weight_decay": penalty[k], "lr": 0.01 * factor[k]} for k in penalty], foreach=False
    )


@pytest.mark.parametrize("fused", [True, False])
def test_it_is_the_adam_of_torch(fused, monkeypatch):
    """Weights after 20 steps, with penalties and factors on the rate; also by the formula of the paper."""
    if not fused:
        monkeypatch.setattr(optimizer, "FUSED", ())
    ours, theirs = network(), network()
    vector = ParameterVector(ours)
    adam, oracle = Adam(vector, Settings(1, 0.01, penalties=PENALTIES, rate_factors=FACTORS)), torch_adam(theirs)
    for seed in range(20):
        gradients(ours, seed), gradients(theirs, seed)
        vector.collect_gradient()
        adam.step(0.01)
        oracle.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    assert adam.n_steps.item() == 20


def test_after_reset_the_first_step_is_the_rate():
    """Adam's first step has the size of the rate in every cell, whatever the gradient."""
    module = network()
    vector = ParameterVector(module)
    adam = Adam(vector, Settings(1, 0.01))
    for seed in range(3):
        gradients(module, seed)
        vector.collect_gradient()
        adam.step(0.1)
    adam.reset()
    before = vector.values.clone()
    vector.gradient.copy_(torch.linspace(0.5, 2, len(before)))
    adam.step(0.01)
    np.testing.assert_allclose((before - vector.values).numpy(), 0.01, rtol=1e-4)


def test_the_first_steps_of_the_formula():
    """By hand: gradients 1 and 1, then -2 and 0, at rate 0.1."""
    value, mean, square = torch.tensor([1.0, 1.0]), torch.zeros(2), torch.zeros(2)
    adam_step(value, torch.tensor([1.0, 1.0]), mean, square, torch.tensor(1.0), 0.1, 0.0)
    np.testing.assert_allclose(value.numpy(), [0.9, 0.9], atol=1e-6)
    adam_step(value, torch.tensor([-2.0, 0.0]), mean, square, torch.tensor(2.0), 0.1, 0.0)
    m, v = np.array([0.09 - 0.2, 0.09]) / 0.19, np.array([0.000999 + 0.004, 0.000999]) / 0.001999
    np.testing.assert_allclose(value.numpy(), 0.9 - 0.1 * m / np.sqrt(v), atol=1e-6)


def test_parameters_are_views_until_they_are_released():
    module, other = network(), network()
    vector = ParameterVector(module)
    assert list(vector.parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    vector.values.add_(1)
    for mine, before in zip(vector.parameters.values(), other.parameters(), strict=False):
        assert torch.equal(mine, before + 1)
        assert mine.untyped_storage().data_ptr() == vector.values.untyped_storage().data_ptr()
    assert torch.equal(module[3].weight, other[3].weight)
    vector.release()
    vector.values.zero_()
    assert torch.equal(module[0].weight, other[0].weight + 1)
    assert {p.untyped_storage().nbytes() for p in vector.parameters.values()} == {48, 12, 24, 8}


def test_a_parameter_without_gradient_has_gradient_0():
    module = network()
    vector = ParameterVector(module)
    vector.gradient.fill_(7.0)
    module[0].weight.grad = torch.ones(3, 4)
    vector.collect_gradient()
    assert vector.gradient.tolist() == [1.0] * 12 + [0.0] * 11
    assert all(parameter.grad is None for parameter in module.parameters())


def test_it_imports_no_compiler():
    """A fit in a new process takes a second less without it."""
    code = (
        "import skdgm, sys, numpy as np; skdgm.VAE(1, max_iter=1).fit(np.eye(8)); print('torch._dynamo' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
