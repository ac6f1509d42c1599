"""The sum over classes in eq. (7) of M2, as pairs of a row and a class.

The pairs are all, all but those of negligible probability, or those of the most probable classes and one drawn class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skdgm.distributions import Categorical
from skdgm.models.bound import LabelBound
from skdgm.noise import Rng

# If more than this share of the terms is kept, sum all terms: finding the others costs more than it saves.
WORTH_LEAVING_OUT = 0.75


@dataclass
class LabelPairs:
    """The pairs of a class and a row in a sum over labels.

    Attributes
    ----------
    y, rows : Tensor of int of shape (m,)
        Class indices, and indices of rows.
    weight : Tensor of shape (k, n)
        Weights of the k classes that are summed for each of n rows.
    kept : Tensor of int of shape (m,) or None
        Positions of the pairs in ``weight``; None means all.
    is_drawn : bool
        Whether the last of the k classes was drawn to represent all that are not summed.
    """

    y: Tensor
    rows: Tensor
    weight: Tensor
    kept: Tensor | None
    is_drawn: bool

    def sum(self, bound: LabelBound) -> LabelBound:
        """Weighted sum of the terms of a bound at the pairs, (m,) each, over the classes; (n,) each."""
        terms = torch.stack(bound)
        if self.kept is not None:
            terms = terms.new_zeros(len(terms), self.weight.numel()).index_copy(1, self.kept, terms)
        terms = terms.unflatten(1, self.weight.shape)
        expected = LabelBound(*(self.weight * terms).sum(1))
        if not self.is_drawn:
            return expected
        return expected._replace(label=expected.label + baseline(LabelBound(*terms.detach()).total(), self.weight))


def pairs_of(q_y: Categorical, rng: Rng, n_enumerated: int | None = None, negligible: float = 0.0) -> LabelPairs:
    """The pairs of a sum over labels: all, all but negligible ones, or some and one drawn from the rest.

    Parameters
    ----------
    q_y : Categorical over (n, n_classes)
    rng : Rng
        Draws the class that represents the rest.
    n_enumerated : int or None
        Number of most probable classes of a row to sum; one more is drawn from the rest. None sums all classes.
    negligible : float
        Classes of at most this probability are left out. At 1e-9 their contribution is below the rounding of the sum;
        skipping them saves most of the work once q(y | x) is certain.
    """
    n, n_classes = q_y.log_probs.shape
    if is_drawn := n_enumerated is not None and n_enumerated < n_classes - 1:
        y, weight = most_probable(q_y, n_enumerated or 0, rng)
    else:
        y, weight = torch.arange(n_classes, device=q_y.log_probs.device)[:, None].expand(-1, n), q_y.probs.T
    kept = (weight.detach() > negligible).flatten().nonzero()[:, 0] if negligible else None
    if kept is None or len(kept) > WORTH_LEAVING_OUT * weight.numel():
        rows = torch.arange(n, device=y.device).expand(len(weight), n)
        return LabelPairs(y.flatten(), rows.flatten(), weight, None, is_drawn)
    return LabelPairs(y.flatten()[kept], kept % n, weight, kept, is_drawn)


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
