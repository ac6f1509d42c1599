"""Tests of the fused MLP: outputs and gradients against autograd through the plain forward pass."""

import pytest
import torch

from skdgm.networks import fused
from skdgm.networks.mlp import ACTIVATIONS, MLP

N, N_IN, N_OUT, N_CLASSES = 7, 5, 3, 4


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(activation="tanh", hidden=(6, 8), classes=True, missing=True, skip=True, **options):
    module = MLP(
        N_IN, N_OUT, hidden, activation, None, N_CLASSES * classes, N_IN * missing, linear_skip=skip, **options
    )
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=i))
    return module.double()


def inputs(rows=True, classes=True, missing=True):
    """Rows, and for twelve pairs of a row and a class their classes and rows; else a class per row."""
    rng = torch.Generator().manual_seed(1)
    x = noise(N, N_IN, seed=5).double().requires_grad_(True)
    m = 12 if rows else N
    y = torch.randint(N_CLASSES, (m,), generator=rng) if classes else None
    observed = torch.rand(N, N_IN, generator=rng) < 0.7 if missing else None
    return x, y, observed, torch.randint(N, (m,), generator=rng) if rows else None


def by_autograd(module, x, y, observed, rows):
    """The plain forward pass, one row at a time."""
    read = range(len(x)) if rows is None else rows.tolist()
    outputs = []
    for i, row in enumerate(read):
        of_class = None if y is None else y[i : i + 1]
        mask = None if observed is None else observed[row : row + 1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MLP, "is_fusible", lambda *args: False)
            outputs.append(module(x[row : row + 1], of_class, mask))
    return torch.cat(outputs)


def gradients(outputs, module, x):
    cost = (outputs.double() * noise(*outputs.shape, seed=9)).sum()
    found = torch.autograd.grad(cost, [x, *module.parameters()], allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, [x, *module.parameters()], strict=True)]


CASES = [
    {"classes": classes, "missing": missing, "rows": rows}
    for classes in (True, False)
    for missing in (True, False)
    for rows in (True, False)
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "+".join(name for name, on in case.items() if on) or "plain")
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("hidden", [(), (6,), (6, 8)])
def test_outputs_and_gradients_are_those_of_autograd(case, skip, hidden):
    module, (x, y, observed, rows) = network(hidden=hidden, skip=skip), inputs(**case)
    outputs, expected = module(x, y, observed, rows), by_autograd(module, x, y, observed, rows)
    assert "FusedMLP" in type(outputs.grad_fn).__name__ or skip and hidden == ()
    torch.testing.assert_close(outputs.double(), expected.double(), rtol=1e-6, atol=1e-5)
    for mine, other in zip(gradients(outputs, module, x), gradients(expected, module, x), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_has_its_gradient(activation):
    assert set(fused.ACTIVATIONS) == set(ACTIVATIONS)
    module, (x, y, observed, rows) = network(activation), inputs()
    outputs, expected = module(x, y, observed, rows), by_autograd(module, x, y, observed, rows)
    torch.testing.assert_close(outputs.double(), expected.double(), rtol=1e-6, atol=1e-5)
    for mine, other in zip(gradients(outputs, module, x), gradients(expected, module, x), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("hidden", [(), (6,), (6, 8)])
def test_extra_inputs_join_after_the_first_layer(rows, skip, hidden):
    """Outputs, and gradients of all inputs and parameters, are those of the plain way; without weights they add 0."""
    module, (x, y, observed, rows) = network(hidden=hidden, skip=skip), inputs(rows)
    without, extra = module(x, y, observed, rows), noise(len(y), 2, seed=3).double().requires_grad_(True)
    module.read_extra(2)
    assert torch.equal(module.double()(x, y, observed, rows, extra), without)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "extra" in name:
                parameter.copy_(noise(*parameter.shape, seed=8))
    found = []
    for is_plain in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if is_plain:
                patch.setattr(MLP, "is_fusible", lambda *args: False)
            outputs = module(x, y, observed, rows, extra)
        found.append([outputs.detach().double(), *torch.autograd.grad(outputs.sum(), [x, extra, *module.parameters()])])
    assert len(found[0]) == 3 + len(list(module.parameters())) and (found[0][0] - without).abs().min() > 0
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_clipped_inputs_pass_their_gradient_on():
    module, (x, y, observed, rows) = network(clip_inputs=True), inputs()
    with torch.no_grad():
        x.mul_(10)
    pairs = [
        gradients(f, module, x)[0] for f in (module(x, y, observed, rows), by_autograd(module, x, y, observed, rows))
    ]
    torch.testing.assert_close(*pairs, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_it_rounds_like_autocast():
    """Products in bfloat16: they differ from float32 by some times 2^-8, and outputs and gradients are float32."""
    module, (x, y, observed, rows) = network().float(), inputs()
    x = x.detach().float().requires_grad_(True)
    exact = gradients(module(x, y, observed, rows), module, x)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = module(x, y, observed, rows)
    assert outputs.dtype == torch.float32
    for mine, other in zip(gradients(outputs, module, x), exact, strict=True):
        assert mine.dtype == torch.float32
        assert 0 < (mine - other).norm() < 0.1 * other.norm()


def test_it_keeps_to_plain_rows_in_training():
    """A builder's layer, a class for all rows, and prediction take the other way."""
    module, (x, y, _, _) = network(), inputs(rows=False)
    assert module.is_fusible(x, y)
    assert not module.is_fusible(x, torch.arange(N_CLASSES)[:, None]) and not module.is_fusible(x[None], None)
    with torch.no_grad():
        assert not module.is_fusible(x, y)
    assert not network().requires_grad_(False).is_fusible(x, y)  # fitted, or exported
    built = MLP(N_IN, N_OUT, (6,), "relu", None, first=torch.nn.Linear)
    assert not built.is_fusible(x, None)


@pytest.mark.parametrize("shape", [(40, 9, 3), (40, 9, 33), (2, 50, 3), (1, 1, 1)])
def test_products_of_few_columns(shape):
    n, k, m = shape
    a, b = noise(n, k).double(), noise(k, m, seed=1).double()
    torch.testing.assert_close(fused.product(a, b), a @ b)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_sums_at_an_index(device):
    values, index = noise(6, 2).to(device), torch.tensor([2, 0, 2, 2, 0, 3]).to(device)
    total = fused.sum_at(index, values, 5)
    assert total.shape == (5, 2)
    if device == "cpu":
        expected = torch.stack([values[(index == i).nonzero()[:, 0]].sum(0) for i in range(5)])
        torch.testing.assert_close(total, expected)
