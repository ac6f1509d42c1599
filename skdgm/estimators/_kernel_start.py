"""How q(y | x) starts: as logistic regression on the columns and on features of a Gaussian kernel.

Cross-validation over the labels chooses how much of both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel

from skdgm._warnings import ignored

# Limits on the labeled rows: for the fit, as centers of the kernel, and to choose the strengths.
MAX_ROWS, MAX_CENTERS, MAX_ROWS_TO_CHOOSE = 10_000, 200, 300
FOLDS = 5
# Eigenvalues of the centers' kernel matrix below this share of 1, the kernel of a row with itself, are raised to it.
SMALLEST_EIGENVALUE = 1e-3
# The probability that cross-validation gives at least to a held-out label.
SMALLEST_PROBABILITY = 1e-4


class Strengths(NamedTuple):
    """Prior variances of a linear weight and of a kernel weight, relative to scikit-learn's C=1."""

    linear: float
    kernel: float


DEFAULT, LINEAR_ONLY = Strengths(0.1, 10.0), Strengths(1.0, 0.0)
CANDIDATES = (
    DEFAULT,
    LINEAR_ONLY,
    Strengths(1.0, 10.0),
    Strengths(0.1, 3.0),
    Strengths(0.1, 30.0),
    Strengths(0.1, 100.0),
)


class KernelStart(NamedTuple):
    """Weights with which q(y | x) starts; those of classes without labels are 0.

    Attributes
    ----------
    strengths : Strengths
    weight, bias : ndarray of shape (n_classes, n_columns) and (n_classes,)
        The linear path.
    kernel_weight : ndarray of shape (n_classes, n_centers)
    centers : ndarray of shape (n_centers, n_columns)
    gamma : float
    whitening : ndarray of shape (n_centers, n_centers)
        Maps kernel values to features, whose weights have the same penalty as unscaled linear weights.
    """

    strengths: Strengths
    weight: np.ndarray
    bias: np.ndarray
    kernel_weight: np.ndarray
    centers: np.ndarray
    gamma: float
    whitening: np.ndarray


def n_centers(n_labeled: int) -> int:
    """Number of centers of the kernel for a number of labeled rows."""
    return min(n_labeled, MAX_CENTERS)


def kernel_start(
    x: np.ndarray,
    targets: np.ndarray,
    weight: np.ndarray,
    gamma: float,
    n_classes: int,
    random: np.random.RandomState,
    strengths: Strengths | None = None,
) -> KernelStart:
    """Fit logistic regression on the columns and on kernel features, with strengths chosen by cross-validation.

    Parameters
    ----------
    x : ndarray of shape (n_labeled, n_columns)
        Labeled rows, as the classifier reads them.
    targets, weight : ndarray of shape (n_labeled,)
        Class indices, of at least two classes; weights of the rows.
    gamma : float
        The kernel of two rows is exp(-gamma ||x - x'||^2).
    n_classes : int
    random : RandomState
        Draws the centers and the rows of the folds.
    strengths : Strengths or None
        Given strengths are not chosen.
    """
    centers = x[np.sort(random.permutation(len(x))[: n_centers(len(x))])]
    values, vectors = np.linalg.eigh(rbf_kernel(centers, gamma=gamma))
    whitening = vectors / np.sqrt(np.maximum(values, SMALLEST_EIGENVALUE))
    features = rbf_kernel(x, centers, gamma=gamma) @ whitening
    if strengths is None:
        strengths = chosen_strengths(x, features, targets, weight, random)
    model = logistic_regression(scaled(x, features, strengths), targets, weight)
    coef, bias = coefficients(model, n_classes)
    linear, kernel = np.split(coef, [x.shape[1]], axis=1)
    return KernelStart(
        strengths,
        linear * np.sqrt(strengths.linear),
        bias,
        kernel,
        centers,
        gamma,
        whitening * np.sqrt(strengths.kernel),
    )


def scaled(x: np.ndarray, features: np.ndarray, strengths: Strengths) -> np.ndarray:
    """The inputs of a logistic regression whose weights have these strengths."""
    return np.hstack([np.sqrt(strengths.linear) * x, np.sqrt(strengths.kernel) * features])


def chosen_strengths(
    x: np.ndarray, features: np.ndarray, targets: np.ndarray, weight: np.ndarray, random: np.random.RandomState
) -> Strengths:
    """The candidate with the best held-out log-loss; another than the default must be better by a standard error."""
    rows = random.permutation(len(x))[:MAX_ROWS_TO_CHOOSE]
    x, features, targets, weight = x[rows], features[rows], targets[rows], weight[rows]
    fold = np.empty(len(x), int)
    fold[np.argsort(targets, kind="stable")] = np.arange(len(x)) % FOLDS
    if len(x) < FOLDS:
        return DEFAULT
    losses = np.array([held_out_losses(scaled(x, features, s), targets, weight, fold) for s in CANDIDATES])
    excess = losses - losses[CANDIDATES.index(DEFAULT)]
    return CANDIDATES[int(np.argmin(excess.mean(1) + excess.std(1) / np.sqrt(len(x))))]


def held_out_losses(x: np.ndarray, targets: np.ndarray, weight: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Weighted log-loss of each row under the logistic regression on the rows of the other folds."""
    losses = np.zeros(len(x))
    for held_out in range(FOLDS):
        train, test = fold != held_out, fold == held_out
        if len(np.unique(targets[train])) < 2:
            continue
        model = logistic_regression(x[train], targets[train], weight[train])
        p = np.full((int(test.sum()), targets.max() + 1), SMALLEST_PROBABILITY)
        p[:, model.classes_] = model.predict_proba(x[test])
        losses[test] = -np.log(np.maximum(p[np.arange(len(p)), targets[test]], SMALLEST_PROBABILITY))
    return losses * weight


def logistic_regression(x: np.ndarray, targets: np.ndarray, weight: np.ndarray) -> LogisticRegression:
    """Fit logistic regression with scikit-learn's C=1."""
    with ignored(ConvergenceWarning):  # it only initializes q(y | x)
        return LogisticRegression(max_iter=200).fit(x, targets, weight)


def coefficients(model: LogisticRegression, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight, (n_classes, n_inputs), and bias of each class, both 0 for classes without labels."""
    coef, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # split the difference of logits evenly
        coef, bias = np.vstack([-coef, coef]) / 2, np.append(-bias, bias) / 2
    weights, biases = np.zeros((n_classes, coef.shape[1])), np.zeros(n_classes)
    weights[model.classes_] = coef
    biases[model.classes_] = bias
    return weights, biases


def place(classifier: Any, start: KernelStart) -> None:
    """Set the weights of a classifier network to the start."""
    weight, bias, kernel_weight, centers, whitening = (
        torch.from_numpy(part.astype(np.float32))
        for part in (start.weight, start.bias, start.kernel_weight, start.centers, start.whitening)
    )
    classifier.mlp.init_linear(weight, bias)
    classifier.init_kernel(kernel_weight, centers, start.gamma, whitening)
