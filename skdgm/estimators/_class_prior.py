"""The class prior p(y): given, or estimated from all rows during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdgm._warnings import warn_user
from skdgm.estimators._arrays import CHUNK
from skdgm.estimators._options import generator
from skdgm.estimators._weights import relative, total
from skdgm.models.m2 import M2Module
from skdgm.sources import Source

# Maximum number of rows from which the class prior is estimated at each epoch.
ROWS_FOR_PRIOR = 5000
SMALLEST_WEIGHT = 1e-12  # of all rows, where none has an observed cell
# A given class prior contradicts the rows if its total variation distance to their estimate exceeds this.
MAX_PRIOR_DISTANCE, STEPS_TO_CHECK_PRIOR = 0.4, 10


def is_estimated(class_prior: Any) -> bool:
    """Tell whether the class prior must be estimated."""
    return isinstance(class_prior, str) and class_prior == "estimated"


def shares(targets: np.ndarray, n_classes: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Compute the share of each class among the labeled rows."""
    counts = label_counts(targets, n_classes, weight)
    return counts / counts.sum()


def label_counts(targets: np.ndarray, n_classes: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Count the labels of each class, or sum their weights."""
    labeled = targets >= 0
    return np.bincount(targets[labeled], None if weight is None else weight[labeled], minlength=n_classes)


def with_named_classes(classes: np.ndarray, targets: np.ndarray, class_prior: dict) -> tuple[np.ndarray, np.ndarray]:
    """Add classes that only the dict ``class_prior`` names; return all classes and the new class indices."""
    labeled, named = classes.tolist(), list(class_prior)
    if any(label not in named for label in labeled):
        raise ValueError(wrong_prior(class_prior, classes))
    new = [label for label in named if label not in labeled]
    if any(isinstance(label, str) != isinstance(labeled[0], str) for label in new):
        raise ValueError(
            f"class_prior names the class {new[0]!r}, but y has labels like {labeled[0]!r}. Name classes by "
            "labels of one type."
        )
    all_classes = np.unique(np.array([*labeled, *new], dtype=classes.dtype if not new else None))
    if classes.dtype == object:
        all_classes = all_classes.astype(object)
    index = np.searchsorted(all_classes, classes)
    return all_classes, np.where(targets >= 0, np.asarray(index)[targets], -1)


def initial_prior(
    class_prior: Any, classes: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Initialize p(y), in the order of ``classes``; an estimated prior starts at the shares of the labels."""
    n_classes = len(classes)
    if isinstance(class_prior, str):
        return np.full(n_classes, 1 / n_classes) if class_prior == "uniform" else shares(targets, n_classes, weight)
    is_dict = isinstance(class_prior, dict)
    prior = np.array([class_prior.get(label, 0) for label in classes.tolist()] if is_dict else class_prior, dtype=float)
    if prior.shape != (n_classes,) or not np.all(prior > 0) or not np.isclose(prior.sum(), 1):
        raise ValueError(wrong_prior(class_prior, classes))
    return prior / prior.sum()


def wrong_prior(class_prior: Any, classes: np.ndarray) -> str:
    """Write the error text for a prior that does not fit the classes."""
    return (
        f"class_prior must hold {len(classes)} positive probabilities that sum to 1, one for each of the classes "
        f"{classes.tolist()}, got {class_prior!r}. Use 'estimated', 'uniform', 'empirical', or a dict by label, which "
        "may name more classes."
    )


class ClassPriorEstimator:
    """Class prior in a fit: estimated from the unlabeled rows before each epoch, or compared with them at the end.

    Parameters
    ----------
    class_prior : str, array-like or dict
        The estimator's parameter.
    module : M2Module
    source : Source
        The training rows.
    targets : ndarray of shape (n_samples,)
        Class indices, -1 where unlabeled.
    label_shares : ndarray of shape (n_classes,)
        Shares of the classes among the labels, on which the classifier is trained.
    weight : ndarray of shape (n_samples,) or None
        Weights of the rows.
    random : RandomState
        Chooses the rows to read, and seeds the draws of the source.
    """

    def __init__(
        self,
        class_prior: Any,
        module: M2Module,
        source: Source,
        targets: np.ndarray,
        label_shares: np.ndarray,
        weight: np.ndarray | None,
        random: np.random.RandomState,
    ) -> None:
        unlabeled, labeled = np.flatnonzero(targets < 0), np.flatnonzero(targets >= 0)
        self.class_prior, self.module = class_prior, module
        self.n_unlabeled, self.n_labeled = len(unlabeled), len(labeled)
        self.totals = total(weight, unlabeled), total(weight, labeled)
        device = module.log_p_y.device
        read = np.sort(random.permutation(unlabeled)[:ROWS_FOR_PRIOR])
        self.source = source.subset(torch.from_numpy(read).to(device))
        row_weight = relative(weight, read)
        self.row_weight = None if row_weight is None else torch.from_numpy(row_weight).float().to(device)
        self.total_read = len(read) if row_weight is None else row_weight.sum()
        self.rng = generator(random, device)
        self.label_shares = torch.from_numpy(label_shares).float().to(device)

    def state_dict(self) -> dict[str, Tensor]:
        """What an epoch changes beside the module."""
        return {"generator": self.rng.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Come back to a state."""
        self.rng.set_state(state["generator"])

    @torch.no_grad()
    def q_y_labeled(self) -> tuple[Tensor, Tensor | None]:
        """Class probabilities of the unlabeled rows under the shares of the weighted labels, and the rows' weights.

        The weights, None if all are 1, are 0 for rows without observed cells, for which q(y | x) is p(y): they say
        nothing about it. An auxiliary variable is drawn once for each row: only means over the rows are wanted.
        """
        every = torch.arange(self.source.n_rows, device=self.module.log_p_y.device)
        parts = [self.source.rows(part, self.rng) for part in every.split(CHUNK)]
        reads = [self.module.read(batch.x, self.rng, batch.observed) for batch in parts]
        q_y = [self.module.q_y_of(read, batch.observed) for read, batch in zip(reads, parts, strict=True)]
        weight = self.row_weight
        if any(batch.observed is not None for batch in parts):  # a block of a stream without missing cells has none
            masks = [torch.ones_like(batch.x) if batch.observed is None else batch.observed for batch in parts]
            is_known = torch.cat([mask.any(-1) for mask in masks]).float()
            weight = is_known if weight is None else weight * is_known
        return torch.cat([part.probs for part in q_y]), weight

    def mean_q_y(self, q_y_labeled: Tensor, weight: Tensor | None, p_y: Tensor) -> Tensor:
        """Average q(y | x) under a prior over the rows, (n_classes,)."""
        q_y = q_y_labeled * torch.where(
            self.label_shares > 0, p_y / self.label_shares, 0.0
        )  # 0 for classes without labels
        q_y = q_y / q_y.sum(1, keepdim=True)
        return q_y.mean(0) if weight is None else weight @ q_y / weight.sum().clamp(min=SMALLEST_WEIGHT)

    def update(self, epoch: int) -> None:
        """Estimate the prior again if ``class_prior`` asks for it, from the second epoch on."""
        if epoch and is_estimated(self.class_prior) and self.n_unlabeled:
            mean, unlabeled = self.found()
            self.module.estimate_prior(mean, unlabeled, self.totals[1], self.n_labeled)

    def found(self) -> tuple[Tensor, float]:
        """Return the mean q(y | x) of the unlabeled rows under the module's prior, (n_classes,), and their weight."""
        q_y_labeled, weight = self.q_y_labeled()
        share = 1.0 if weight is None else float(weight.sum()) / self.total_read
        return self.mean_q_y(q_y_labeled, weight, self.module.p_y.probs), share * self.totals[0]

    def estimated(self) -> np.ndarray:
        """Return the module's estimate, (n_classes,)."""
        prior = self.module.p_y.probs.double().cpu().numpy()
        return prior / prior.sum()

    def check(self, classes: np.ndarray, prior: np.ndarray) -> None:
        """Warn if a prior given as numbers contradicts the classifier's predictions for the unlabeled rows."""
        if isinstance(self.class_prior, str) or not self.n_unlabeled:
            return
        (q_y_labeled, weight), p_y = self.q_y_labeled(), self.label_shares
        for _ in range(STEPS_TO_CHECK_PRIOR):
            p_y = self.mean_q_y(q_y_labeled, weight, p_y)
        found = p_y.double().cpu().numpy()
        given = np.where(found > 0, prior, 0)
        distance = 0.5 * np.abs(found - given / given.sum()).sum()
        if distance > MAX_PRIOR_DISTANCE:
            listed = ", ".join(f"{label}: {share:.2f}" for label, share in zip(classes, found, strict=True))
            warn_user(
                f"class_prior={self.class_prior!r} does not fit the unlabeled rows, for which the classifier finds the "
                f"shares {{{listed}}}. Use class_prior='estimated', unless you are sure of the given shares.",
            )
