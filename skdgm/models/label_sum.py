"""Sums sum_y q(y | x) f(x, y): over all classes, all but negligible ones, or some and one drawn from the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skdgm.distributions import Categorical
from skdgm.models.bound import LabelBound
from skdgm.noise import Rng

# Gathering rows costs about a quarter of the work on them: if more than this share of the terms is kept, sum all terms.
WORTH_LEAVING_OUT = 0.75

Rows = Tensor | slice
BoundFunction = Callable[[Tensor, Rows], LabelBound]  # takes labels y and the rows they belong to


def sum_over_labels(
    q_y: Categorical, bound: BoundFunction, rng: Rng, n_enumerated: int | None = None, negligible: float = 0.0
) -> LabelBound:
    """sum_y q(y | x) bound(x, y); each term of shape (n,).

    Parameters
    ----------
    q_y : Categorical over (n, n_classes)
    bound : callable
        Takes class indices y and rows: y of shape (k, 1) with all n rows, or y of shape (m,) with the indices of m
        rows. Returns bounds of y's shape broadcast against the rows.
    rng : Rng
        Draws the class that represents the rest.
    n_enumerated : int or None
        Number of most probable classes of a row to sum; one more is drawn from the rest. None sums all classes.
    negligible : float
        Classes of at most this probability are left out. At 1e-9 their contribution is below the rounding of the sum;
        skipping them saves most of the work once q(y | x) is certain.
    """
    n_classes = q_y.log_probs.shape[-1]
    if n_enumerated is None or n_enumerated >= n_classes - 1:
        every_class = torch.arange(n_classes, device=q_y.log_probs.device)[:, None]
        return weighted_sum(bounds_of(every_class, q_y.probs.T, bound, negligible), q_y.probs.T)
    y, weight = most_probable(q_y, n_enumerated, rng)
    terms = bounds_of(y, weight, bound, negligible)
    expected = weighted_sum(terms, weight)
    return expected._replace(label=expected.label + baseline(LabelBound(*terms.detach()).total(), weight))


def weighted_sum(terms: Tensor, weight: Tensor) -> LabelBound:
    """Sum the terms of bounds, (3, k, n), over the k classes, with weights."""
    return LabelBound(*(weight * terms).sum(1))


def bounds_of(y: Tensor, weight: Tensor, bound: BoundFunction, negligible: float) -> Tensor:
    """The terms of bound(x, y), (3, *shape of weight); 0 for classes that are left out."""
    kept = (weight.detach() > negligible).flatten().nonzero()[:, 0] if negligible else None
    if kept is None or len(kept) > WORTH_LEAVING_OUT * weight.numel():
        return torch.stack(bound(y, slice(None)))
    found = torch.stack(bound(y.expand_as(weight).flatten()[kept], kept % weight.shape[1]))
    return found.new_zeros(len(found), weight.numel()).index_copy(1, kept, found).unflatten(1, weight.shape)


def most_probable(q_y: Categorical, k: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """The k most probable classes of each row and one drawn from the rest, with weights that keep the sum unbiased.

    Returns
    -------
    y, weight : Tensor of shape (k + 1, n)
        Classes and weights. The drawn class has the weight of the whole rest, and the rest's score-function gradient.
    """
    top = q_y.log_probs.detach().topk(k, dim=-1).indices
    rest = Categorical(q_y.log_probs.detach().scatter(-1, top, -torch.inf))
    drawn = rest.sample(rng)
    p_top = q_y.probs.gather(-1, top)
    p_rest = q_y.probs.detach().scatter(-1, top, 0.0).sum(-1)
    log_p_drawn = q_y.log_prob(drawn)
    w_drawn = p_rest * torch.exp(log_p_drawn - log_p_drawn.detach())
    return torch.cat([top, drawn[:, None]], 1).T, torch.cat([p_top, w_drawn[:, None]], 1).T


def baseline(bound: Tensor, weight: Tensor) -> Tensor:
    """Control variate: zero in value; its gradient reduces the noise of the drawn class in q(y | x); (n,).

    Probabilities sum to one, so subtracting a constant from every class's bound leaves the expected gradient unchanged.
    The constant is the mean bound of the enumerated classes; the last row of ``bound`` is the drawn class.
    """
    held = weight.detach()
    constant = (held[:-1] * bound[:-1]).sum(0) / held[:-1].sum(0)
    return -constant * (weight - held).sum(0)
