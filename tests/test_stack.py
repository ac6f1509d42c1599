"""Tests of stacks with an RBM on top: enumerated densities, densities from drawn codes, and samples."""

import numpy as np
import pytest
import scipy.stats
import torch

from skdgm.models.enumeration import all_codes
from skdgm.models.partition import exact_log_partition
from skdgm.models.stack import StackModule, new_layer

N_COLUMNS = 8


def some_rows(n=60, seed=0):
    """Binary rows of two noisy patterns."""
    rng = torch.Generator().manual_seed(seed)
    patterns = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0, 1, 0]]).float()
    x = patterns[torch.randint(2, (n,), generator=rng)]
    return (x - torch.bernoulli(torch.full_like(x, 0.1), generator=rng)).abs()


def a_stack(sizes=(4, 3, 5), kind="rich", n_columns=N_COLUMNS):
    rng = torch.Generator().manual_seed(0)
    kinds, widths = [kind] * (len(sizes) - 1) + ["rbm"], [n_columns, *sizes]
    stack = StackModule(
        [
            new_layer(k, below, here, "bernoulli", rng=rng, **({"hidden": [6]} if k == "rich" else {}))
            for k, below, here in zip(kinds, widths[:-1], widths[1:], strict=True)
        ]
    ).requires_grad_(False)
    for parameter in stack.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=rng))
    return stack


@pytest.mark.parametrize("kind", ["rich", "vanilla", "rbm"])
@pytest.mark.parametrize("sizes", [(3,), (4, 3), (4, 3, 5)])
def test_enumerated_density_sums_to_one(sizes, kind):
    stack = a_stack(sizes, kind)
    x = all_codes(N_COLUMNS)
    log_p = stack.log_likelihood(x, stack.log_prior(exact_log_partition(stack.top)))
    assert torch.exp(log_p).sum().item() == pytest.approx(1, abs=1e-4)


def test_density_from_drawn_codes_errs_low_and_comes_near():
    """E[exp(estimate)] is p(x), so the estimate is too low on average; its standard error is returned."""
    stack, x = a_stack(), some_rows(20)
    with torch.no_grad():  # make posteriors that the encoder covers, for a reliable standard error
        for parameter in stack.parameters():
            parameter.mul_(0.4)
    log_z = exact_log_partition(stack.top)
    exact = stack.log_likelihood(x, stack.log_prior(log_z))
    rng = torch.Generator().manual_seed(0)
    few = torch.stack([stack.estimated_log_likelihood(x, log_z, 5, rng)[0] for _ in range(200)]).mean(0)
    assert (few.mean() < exact.mean()).item()
    many, error = stack.estimated_log_likelihood(x, log_z, 20_000, rng)
    assert ((many - exact).abs() < 4 * error + 1e-3).all()


def test_samples_have_the_enumerated_probabilities():
    """Chi-squared over all rows of 4 columns."""
    stack = a_stack((3, 2), n_columns=4)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.mul_(0.5)
    log_p = stack.log_likelihood(all_codes(4), stack.log_prior(exact_log_partition(stack.top)))
    x = stack.sample(20_000, 100, torch.Generator().manual_seed(0))
    counts = np.bincount((x @ (2.0 ** torch.arange(4))).long().numpy(), minlength=16)
    expected = torch.softmax(log_p.double(), 0).numpy() * len(x)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
