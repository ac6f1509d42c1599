"""RBMs with random parameters, and rows, that tests compare with brute force."""

import torch

from skdgm.models.rbm import RBMModule


def an_rbm(n_columns=5, n_hidden=3, likelihood="bernoulli", seed=0, sd=1.0):
    """An RBM with random parameters, far from the initial ones."""
    rng = torch.Generator().manual_seed(seed)
    rbm = RBMModule(n_columns, n_hidden, likelihood, rng)
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.copy_(sd * torch.randn(parameter.shape, generator=rng))
        rbm.log_var.mul_(0.5)
    return rbm.requires_grad_(False)


def rows(n_rows, seed=0):
    """(n_rows, 5) small whole numbers."""
    return torch.randn(n_rows, 5, generator=torch.Generator().manual_seed(seed)).round()
