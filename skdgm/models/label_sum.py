"""sum_y q(y | x) f(x, y): over all classes, without negligible ones, or over some and one drawn for the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from skdgm.distributions import Categorical
from skdgm.models.bound import LabelBound
from skdgm.noise import Rng

# Gathering rows costs about a quarter of their work: with more classes than this, all are summed.
WORTH_LEAVING_OUT = 0.75

Rows = Tensor | slice
LabeledBound = Callable[[Tensor, Rows], LabelBound]  # of labels y and the rows that they go with


def sum_over_labels(
    q_y: Categorical, bound: LabeledBound, rng: Rng, n_enumerated: int | None = None, negligible: float = 0.0
) -> LabelBound:
    """sum_y q(y | x) bound(x, y); each term of shape (n,).

    Parameters
    ----------
    q_y : Categorical over (n, n_classes)
    bound : callable
        From class indices y, (k, 1) against all n rows or (m,) beside the indices of m rows, to bounds of y's shape
        broadcast against the rows'.
    rng : Rng
        Draws the class that stands for the rest.
    n_enumerated : int or None
        Sum so many of a row's most probable classes and draw one of the rest; None sums all.
    negligible : float
        Classes that weigh no more are left out: at 1e-9 they are below the rounding of the sum, and once q(y | x) is
        certain they are nearly all of the work.
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
    """The terms of bounds, (3, k, n), summed over their classes."""
    return LabelBound(*(weight * terms).sum(1))


def bounds_of(y: Tensor, weight: Tensor, bound: LabeledBound, negligible: float) -> Tensor:
    """The terms of bound(x, y), (3, *shape of weight); 0 where a class is left out."""
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
        Classes and weights. The drawn one weighs the whole rest; its gradient is that of the rest's score function.
    """
    top = q_y.log_probs.detach().topk(k, dim=-1).indices
    rest = Categorical(q_y.log_probs.detach().scatter(-1, top, -torch.inf))
    drawn = rest.sample(rng if isinstance(rng, Generator) else None)
    p_top = q_y.probs.gather(-1, top)
    p_rest = q_y.probs.detach().scatter(-1, top, 0.0).sum(-1)
    log_p_drawn = q_y.log_prob(drawn)
    w_drawn = p_rest * torch.exp(log_p_drawn - log_p_drawn.detach())
    return torch.cat([top, drawn[:, None]], 1).T, torch.cat([p_top, w_drawn[:, None]], 1).T


def baseline(bound: Tensor, weight: Tensor) -> Tensor:
    """Zero in value; its gradient lowers the noise that the drawn class brings into q(y | x); (n,).

    Probabilities sum to one, so a constant taken from every class's bound leaves the expected gradient as it is. The
    constant is the mean bound of the classes that were summed: the last row of ``bound`` is the drawn one.
    """
    held = weight.detach()
    constant = (held[:-1] * bound[:-1]).sum(0) / held[:-1].sum(0)
    return -constant * (weight - held).sum(0)
