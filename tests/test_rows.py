"""Rows by index and their sums: brute force, and on a GPU the same bits every time."""

import pytest
import torch

from skdgm.networks.rows import FEW, RowsAt, rows_at, sum_at

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")),
]


def case(n, m, device="cpu"):
    rng = torch.Generator().manual_seed(0)
    index = torch.randint(n, (m,), generator=rng)
    index[index == 1] = 0  # no value for row 1
    values = torch.randn(m, 3, generator=rng, dtype=torch.float64)
    return index.to(device), values.to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n", [2, FEW, FEW + 1])
def test_sums_are_those_of_the_values_with_the_index(n, device):
    index, values = case(n, 500, device)
    expected = torch.stack([values[index == i].sum(0) for i in range(n)])
    torch.testing.assert_close(sum_at(index, values, n), expected)
    assert not sum_at(index, values, n)[1].any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 3)])
def test_the_gradient_of_rows_is_their_sum(shape, device):
    """Also for the function that a GPU uses."""
    index, _ = case(7, 30, device)
    cells = torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)
    for function in (rows_at, RowsAt.apply):
        assert torch.equal(function(cells, index), cells[index])
        assert torch.autograd.gradcheck(function, (cells, index))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "m"), [(10, 20_000), (2_000, 20_000)])
def test_sums_repeat_to_the_bit(n, m, device):
    index, values = case(n, m, device)
    values = values.float()
    assert all(torch.equal(sum_at(index, values, n), sum_at(index, values, n)) for _ in range(5))
