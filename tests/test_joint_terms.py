"""Tests of terms that share a pass through the networks: M2's joint objective, and how the engine evaluates it."""

from functools import partial

import pytest
import torch

from skdgm.models.adgm import ADGMModule
from skdgm.models.m2 import M2Module, joined
from skdgm.sources import Batch, ResidentSource
from skdgm.training import Joint, Term, evaluate


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(module):
    return [parameter for parameter in module.parameters() if parameter.numel()]


@pytest.mark.parametrize("options", [{}, {"n_enumerated": 1}, {"negligible": 0.05}, {"gradient_scale": 7.0}])
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("same_labels", [True, False])
@pytest.mark.parametrize("kind", ["M2", "ADGM", "SDGM"])
def test_one_pass_has_the_values_and_gradients_of_three(options, holes, same_labels, kind, monkeypatch):
    """With the same noise, the joint objective is that of separate terms, to rounding; also for other weights."""
    architecture = {"n_columns": 5, "n_latent": 2, "hidden": (6,), "activation": "tanh", "likelihood": "gaussian"}
    architecture |= {"class_prior": [0.2, 0.3, 0.5], "linear_skip": True, "missing_indicator": holes}
    made = M2Module if kind == "M2" else partial(ADGMModule, 3, kind == "SDGM")
    module = made(**architecture, rng=generator())
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator(i)))
    module.log_p_labeled.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    monkeypatch.setattr("skdgm.distributions.standard_normal", lambda shape, rng, like: torch.full(shape, 0.7))
    x = torch.randn(20, 5, generator=generator(1))
    observed = torch.rand(20, 5, generator=generator(2)) < 0.7 if holes else None

    def batch(rows):
        return Batch(x[rows], None if observed is None else observed[rows], torch.arange(20)[rows] % 3)

    unlabeled, labeled = batch(slice(0, 9)), batch(slice(9, 14))
    classified = labeled if same_labels else batch(slice(12, 20))
    weight = torch.rand(3, generator=generator(3))

    def gradient(values):
        parts = (value if isinstance(value, torch.Tensor) else value.total(0.6) for value in values)
        loss = sum(w * part.mean() for w, part in zip(weight, parts, strict=True))
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained(module), materialize_grads=True)])

    separate = (
        module.unlabeled_bound(unlabeled.x, generator(4), unlabeled.observed, **options),
        module.labeled_bound(labeled.x, labeled.y, generator(5), labeled.observed),
        module.log_q_y(classified.x, classified.y, generator(6), classified.observed),
    )
    joint = module.joint_bounds(unlabeled, labeled, classified, generator(4), **options)
    for one, three in zip(joint, separate, strict=True):
        torch.testing.assert_close(tuple(one), tuple(three), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient(joint), gradient(separate), rtol=1e-4, atol=1e-5)


def test_rows_without_a_mask_are_observed():
    """Of the two batches of a step, only one may have missing cells."""
    mask = torch.tensor([[True, False]])
    full, holed = Batch(torch.zeros(2, 2)), Batch(torch.ones(1, 2), mask)
    x, observed = joined(full, holed)
    assert torch.equal(x, torch.cat([full.x, holed.x])) and torch.equal(observed[2:], mask) and observed[:2].all()
    assert torch.equal(joined(holed, full)[1], observed.roll(1, 0)) and joined(full, full)[1] is None


def test_terms_with_one_joint_objective_are_evaluated_together():
    """In the order of the terms, once for all that are next to each other."""
    calls = []

    def values(batches, rng):
        calls.append([batch.x.item() for batch in batches])
        return [10 * batch.x for batch in batches]

    one, other = Joint(values), Joint(values)
    objectives = [one, one, lambda batch, rng: -batch.x, other, one]
    x = torch.arange(5.0)[:, None]
    terms = [Term(str(i), ResidentSource(x[i : i + 1]), objective, 1.0, 1) for i, objective in enumerate(objectives)]
    found = evaluate(terms, [Batch(row[None]) for row in x], None)
    assert [value.item() for value in found] == [0.0, 10.0, -2.0, 30.0, 40.0]
    assert calls == [[0.0, 1.0], [3.0], [4.0]]
