"""Centered parameters of an RBM, in which gradients are better conditioned (Montavon & Müller 2012)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skdgm.distributions import float32_products
from skdgm.models.rbm import RBMModule


class CenteredParameters(nn.Module):
    """Parameters to train in place of an RBM's: the same W, and the biases of centered variables.

    In the energy of centered variables, -b' x - c' (h - m_h) - (h - m_h) W (x - m_x) for binary rows, b' and c' are the
    biases at typical rows and codes, m_x and m_h, so that a step of W does not change them. The model is the RBM with
    b = b' - m_h W and c = c' - W m_x (Melchior, Fischer, Wiskott 2016, arXiv 1311.1354). For real rows, W m_x is
    W (m_x / s^2).

    m_x is the mean of the training rows. m_h is q(h | m_x), a function of the parameters: a moving average of codes
    would differ between processes that train the same RBM.

    Parameters
    ----------
    rbm : RBMModule
    mean : Tensor of shape (n_columns,)
        m_x.
    """

    m_x: Tensor
    m_h: Tensor

    def __init__(self, rbm: RBMModule, mean: Tensor) -> None:
        super().__init__()
        self.W, self.log_var = rbm.W, rbm.log_var
        self.register_buffer("m_x", mean.detach().clone())
        self.c = nn.Parameter((rbm.c + rbm.W @ rbm.scaled(mean)).detach())
        self.register_buffer("m_h", torch.sigmoid(self.c.detach()))
        self.b = nn.Parameter((rbm.b + self.m_h @ rbm.W).detach())

    @torch.no_grad()
    def write_biases(self, rbm: RBMModule) -> None:
        """Set the biases of the RBM to those that these parameters mean."""
        with float32_products(self.W):  # a bias is a difference of large numbers
            rbm.b.copy_(self.b - self.m_h @ self.W)
            rbm.c.copy_(self.c - self.W @ rbm.scaled(self.m_x))

    @torch.no_grad()
    def move_offset(self) -> None:
        """Set m_h to q(h | m_x) at the present parameters; the RBM stays the same."""
        m_h = torch.sigmoid(self.c)
        with float32_products(self.W):
            self.b.add_((m_h - self.m_h) @ self.W)
        self.m_h.copy_(m_h)

    @torch.no_grad()
    def take_gradients(self, rbm: RBMModule) -> None:
        """Set the gradients by the chain rule, from those of the RBM's own parameters."""
        m_x, of_b, of_c = rbm.scaled(self.m_x), rbm.b.grad, rbm.c.grad
        assert rbm.W.grad is not None and of_b is not None and of_c is not None, "the gradients of the RBM come first"
        rbm.W.grad.addr_(self.m_h, of_b, alpha=-1).addr_(of_c, m_x, alpha=-1)
        if rbm.log_var.grad is not None:
            with float32_products(self.W):
                rbm.log_var.grad += (of_c @ self.W) * m_x
        self.b.grad, self.c.grad, rbm.b.grad, rbm.c.grad = of_b, of_c, None, None
