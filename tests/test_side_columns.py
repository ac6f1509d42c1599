"""Columns that only q(y | x) reads, beside those that M2 models: the bound, the stack M1+M2, and the source."""

import numpy as np
import pytest
import torch
from torch import nn

from skdgm.distributions import Categorical
from skdgm.models.m1m2 import M1M2Module
from skdgm.models.m2 import M2Module
from skdgm.models.vae import VAEModule
from skdgm.sources import GaussianCodeSource, ResidentSource, Subset

N_COLUMNS, N_SIDE, N_CLASSES, N_CENTERS = 4, 3, 3, 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def roughened(module, sd=0.4, seed=0):
    """The module with every weight drawn from N(0, sd^2)."""
    rng = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(sd * torch.randn(parameter.shape, generator=rng))
    return module.requires_grad_(False)


def m2(n_side=N_SIDE, n_columns=N_COLUMNS, likelihood="gaussian", n_centers=N_CENTERS, sd=0.4):
    arguments = (n_columns, 2, (6,), "tanh", likelihood, [0.2, 0.5, 0.3], generator())
    module = roughened(M2Module(*arguments, linear_skip=True, n_centers=n_centers, n_side=n_side), sd)
    for shares in (module.log_p_labeled, module.log_p_counted):  # other shares among the labeled rows
        shares.copy_(torch.log(torch.tensor([0.5, 0.25, 0.25])))
    if n_centers:
        centers = noise(n_centers, n_columns + n_side, seed=8)
        module.classifier.features.place(centers, 0.3, noise(n_centers, n_centers, seed=9))
    return module


class Fixed(nn.Module):
    """A classifier with these logits, whatever it reads."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, x, observed=None):
        return Categorical(self.logits)


def without_side(module, logits):
    """The M2 of the modeled columns alone, with these logits of its classifier."""
    plain = m2(n_side=0, n_centers=0)
    plain.encoder, plain.decoder, plain.classifier = module.encoder, module.decoder, Fixed(logits)
    return plain


@pytest.fixture
def rows():
    """Rows to be modeled, two versions of their side columns, and classes."""
    return noise(12, N_COLUMNS), noise(12, N_SIDE, seed=1), noise(12, N_SIDE, seed=2), torch.arange(12) % N_CLASSES


# --- M2 ---------------------------------------------------------------------------------------------------------------


def test_the_bound_of_a_labeled_row_does_not_depend_on_side_columns(rows):
    """-L(x, y), log p(x, y) and log p(x) are those of the modeled columns, to the bit; q(y | x) reads all columns."""
    x, side, other, y = rows
    module = m2()
    one, two = torch.cat([x, side], 1), torch.cat([x, other], 1)
    plain = without_side(module, torch.zeros(12, N_CLASSES))
    for label in (y, module.every_class):
        first, second = (module.labeled_bound(z, label, generator()) for z in (one, two))
        assert all(map(torch.equal, first, second))
        torch.testing.assert_close(first, plain.labeled_bound(x, label, generator()))
    for method in ("log_joint", "log_likelihood"):
        first, second = (getattr(module, method)(z, generator(), 7) for z in (one, two))
        assert torch.equal(first, second)
        torch.testing.assert_close(first, getattr(plain, method)(x, generator(), 7))
    assert (module.q_y(one).probs - module.q_y(two).probs).abs().max() > 0.05
    in_modeled = torch.cat([x + 0.5, side], 1)
    assert (module.q_y(one).probs - module.q_y(in_modeled).probs).abs().max() > 0.05


@pytest.mark.parametrize("options", [(None, 0.0), (None, 1e-9), (1, 0.0)], ids=["all", "not negligible", "drawn"])
def test_the_unlabeled_bound_is_that_of_a_plain_m2_with_the_same_logits(options, rows):
    """All of its terms, elbo and code, and the gradients of encoder, decoder and logits."""
    x, side, _, _ = rows
    module, wide = m2(), torch.cat([x, side], 1)
    plain = without_side(module, module.q_y_labeled(wide).log_probs)
    torch.testing.assert_close(module.elbo(wide, generator(), 3), plain.elbo(x, generator(), 3))
    torch.testing.assert_close(module.code(wide), plain.code(x))
    module.requires_grad_(True)
    logits = module.q_y_labeled(wide).log_probs
    found = module.unlabeled_bound(wide, generator(), None, *options)
    expected = plain.unlabeled_bound(x, generator(), None, *options)
    torch.testing.assert_close(found, expected)
    plain.classifier.requires_grad_(True)
    parameters = [*module.encoder.parameters(), *module.decoder.parameters()]
    gradients = torch.autograd.grad(found.total().sum(), [*parameters, *module.classifier.parameters()])
    of_plain = torch.autograd.grad(expected.total().sum(), [*parameters, plain.classifier.logits])
    for mine, theirs in zip(gradients, of_plain[:-1], strict=False):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
        assert mine.any()
    through_logits = torch.autograd.grad(logits, list(module.classifier.parameters()), of_plain[-1])
    for mine, theirs in zip(gradients[len(parameters) :], through_logits, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_all_parameters_of_the_classifier_learn_from_side_columns(rows):
    """Those of the linear path, the hidden layers and the kernel, through log q(y | x) and the unlabeled bound."""
    x, side, _, y = rows
    module, wide = m2().requires_grad_(True), torch.cat([x, side], 1)
    for objective in (module.log_q_y(wide, y, None), module.unlabeled_bound(wide, generator()).total()):
        module.zero_grad()
        objective.mean().backward()
        for name, parameter in module.classifier.named_parameters():
            assert parameter.grad.any(), name
        first = [module.classifier.mlp.layers[0].weight, module.classifier.mlp.skip.layers[0].weight]
        assert all(weight.shape[1] == N_COLUMNS + N_SIDE and weight.grad.any(0).all() for weight in first)


# --- M1+M2 ------------------------------------------------------------------------------------------------------------


CODE_SCALES = torch.tensor([0.1, -0.2]), torch.tensor([1.3, 0.8])  # center and scale of the active codes


def m1m2(n_side=N_COLUMNS, sd=0.4, **options):
    lower = roughened(VAEModule(N_COLUMNS, 3, (6,), "tanh", "gaussian", generator(), clip_inputs=True), sd, seed=3)
    upper = m2(n_side, 2, "gaussian_heteroscedastic", sd=sd, **options)
    return M1M2Module(lower, upper, torch.tensor([0, 2]), *CODE_SCALES)


def test_the_elbo_of_the_stack_is_below_its_likelihood():
    """E[ELBO] < E[log of one weight] < E[IW(20)], by over 3 standard errors of 60 draws of each of 5 rows."""
    module, x = m1m2(sd=0.2), noise(5, N_COLUMNS).repeat(60, 1)
    bounds = [module.elbo(x, generator(0), 1), *(module.log_likelihood(x, generator(k), k) for k in (1, 20))]
    for lower, upper in zip(bounds[:-1], bounds[1:], strict=True):
        gain = (upper - lower).double().numpy()
        assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_the_density_of_the_stack_does_not_depend_on_its_classifier():
    """log p(x, y) and log p(x) at the same draws are equal to the bit for any classifier; q(y | x) and ELBO differ."""
    module, other, plain, x = m1m2(), m1m2(), m1m2(n_side=0, n_centers=0), noise(12, N_COLUMNS)
    roughened(other.upper.classifier, seed=5)
    plain.upper.encoder, plain.upper.decoder = module.upper.encoder, module.upper.decoder
    for method in ("log_joint", "log_likelihood"):
        expected = getattr(module, method)(x, generator(), 3)
        assert all(torch.equal(getattr(m, method)(x, generator(), 3), expected) for m in (other, plain))
    for method in ("q_y", "code"):
        first, second = (getattr(m, method)(x) for m in (module, other))
        difference = first.probs - second.probs if method == "q_y" else first - second
        assert difference.abs().max() > 0.01
    assert (module.elbo(x, generator(), 3) - other.elbo(x, generator(), 3)).abs().max() > 0.01


def test_the_classifier_of_the_stack_reads_the_code_and_the_row_as_the_encoder_does():
    """The standardized mean code, then the row through the smooth clip, with 0 in missing cells."""
    module, x = m1m2(), noise(12, N_COLUMNS)
    x[0, 0] = 40.0
    clipped = x.clone()
    clipped[0, 0] = 5 + 35 * 5 / 40  # x up to 5, then 5 + e 5 / (5 + e)
    codes = (module.lower.q_z(x).mean[:, [0, 2]] - CODE_SCALES[0]) / CODE_SCALES[1]
    expected = module.upper.q_y(torch.cat([codes, clipped], 1))
    torch.testing.assert_close(module.q_y(x).probs, expected.probs)
    observed, garbage = torch.rand(12, N_COLUMNS, generator=generator()) < 0.7, x.clone()
    garbage[~observed] = 1e3
    zeros = torch.where(observed, clipped, 0.0)
    for z in (x, garbage):
        code = (module.lower.q_z(z, observed).mean[:, [0, 2]] - CODE_SCALES[0]) / CODE_SCALES[1]
        torch.testing.assert_close(module.q_y(z, observed).probs, module.upper.q_y(torch.cat([code, zeros], 1)).probs)
    assert torch.equal(module.q_y(garbage, observed).probs, module.q_y(x, observed).probs)
    assert torch.equal(module.elbo(garbage, generator(), 2, observed), module.elbo(x, generator(), 2, observed))


# --- the source -------------------------------------------------------------------------------------------------------


def test_a_source_of_codes_puts_the_rows_columns_beside_each_draw():
    """The columns are those of the requested rows, unchanged; the draws are those without columns."""
    mean, sd, side = noise(50, 2), noise(50, 2, seed=1).exp(), noise(50, N_SIDE, seed=2)
    y, weight = torch.arange(50), torch.arange(50.0)
    with_side, alone = (
        GaussianCodeSource(mean, sd, y, weight, ResidentSource(side)),
        GaussianCodeSource(mean, sd, y, weight),
    )
    indices = torch.tensor([7, 3, 3, 49])
    batch, codes = with_side.rows(indices, generator()), alone.rows(indices, generator())
    assert torch.equal(batch.x, torch.cat([codes.x, side[indices]], 1))
    assert torch.equal(batch.y, indices) and torch.equal(batch.weight, indices.float())
    means = with_side.means(indices)
    assert torch.equal(means.x, torch.cat([mean[indices], side[indices]], 1)) and torch.equal(means.y, indices)
    assert torch.equal(alone.means(indices).x, mean[indices])
    subset = Subset(with_side, torch.tensor([5, 6, 7]))
    assert torch.equal(subset.rows(torch.tensor([2, 0]), generator()).x[:, 2:], side[[7, 5]])
