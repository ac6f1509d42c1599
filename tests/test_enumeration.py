"""Tests of sums over binary codes: all codes, distinct draws, and mixtures in tables of bounded size."""

import pytest
import torch

from skdgm.models.enumeration import MAX_CODE_BITS, all_codes, codes_to_sum, distinct_draws, log_mixture
from skdgm.models.rbm import RBMModule


def a_layer(n_hidden=4):
    """A layer with q(h | x) = 0.5 for every bit."""
    return RBMModule(3, n_hidden, "bernoulli", torch.Generator().manual_seed(0)).requires_grad_(False)


def test_all_codes():
    assert sorted(map(tuple, all_codes(3).tolist())) == [tuple(map(float, f"{i:03b}")) for i in range(8)]


def test_draws_are_distinct_codes():
    """No code occurs twice, and enough draws give every code of 4 bits."""
    rng = torch.Generator().manual_seed(0)
    codes = distinct_draws(a_layer(), torch.ones(50, 3), 10, rng)
    assert torch.equal(codes.sort(0).values, all_codes(4).sort(0).values)


def test_codes_are_enumerated_where_there_are_few():
    """All codes or draws, as requested; draws if there are too many codes, unless all were requested."""
    x, rng = torch.ones(2, 3), torch.Generator().manual_seed(0)
    assert len(codes_to_sum(a_layer(), x, "auto", 1, rng)) == len(codes_to_sum(a_layer(), x, "enumerate", 1, rng)) == 16
    assert len(codes_to_sum(a_layer(), x, "sample", 1, rng)) <= 2
    many = a_layer(MAX_CODE_BITS + 1)
    assert len(codes_to_sum(many, x, "auto", 1, rng)) <= 2
    with pytest.raises(ValueError, match=r"n_hidden <= 15, got 16\. Use method='sample'"):
        codes_to_sum(many, x, "enumerate", 1, rng)


def test_a_mixture_does_not_depend_on_the_table_size(monkeypatch):
    """log sum_h p(x | h) P(h) in one table or row by row; under a uniform P over all codes it sums to one."""
    p_x, log_weights, x = a_layer().p_x(all_codes(4)), torch.full((16,), -16.0).log_softmax(0), all_codes(3)
    whole = log_mixture(p_x, log_weights, x)
    assert whole.exp().sum().item() == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr("skdgm.models.enumeration.TABLE_CELLS", 16)
    torch.testing.assert_close(log_mixture(p_x, log_weights, x), whole)
