"""alpha="auto": how strongly the bound trains q(y | x), and how q(y | x) is initialized and regularized."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Sums of a row's absolute cells up to which the linear map and the MLP of q(y | x) have the full learning rate.
SIZE_FOR_LINEAR, SIZE_FOR_HIDDEN = 25.0, 100.0
RATE_OF_LINEAR = 10.0  # learning rate of the linear map, relative to the other weights
# Penalty of the weights for an auxiliary variable, relative to those for the columns: it is learned with them, from few
# labels, too. Without this factor, probabilities are too certain.
PENALTY_OF_AUXILIARY = 10.0


class AlphaDefaults(NamedTuple):
    """Scale of the bound's gradient into q(y | x), to be divided by the number of columns, and the MLP's penalty."""

    gradient_scale: float
    penalty: float


DEFAULTS_FOR_TABLES, DEFAULTS_FOR_IMAGES = AlphaDefaults(5.0, 4.0), AlphaDefaults(40.0, 1.0)


class AutoAlpha(NamedTuple):
    """Settings that "auto" chooses.

    Attributes
    ----------
    gradient_scale : float
        Factor on the gradient of the bound with respect to q(y | x), in (0, 1].
    penalties : dict
        L2 penalties of the classifier's weights, by the prefix of their names.
    """

    gradient_scale: float
    penalties: dict[str, float]

    @property
    def alpha(self) -> float:
        """The alpha of eq. (9) that gives labels the same weight relative to the rest of the gradient of q(y | x)."""
        return 1 / self.gradient_scale


def auto_alpha(
    n_columns: int,
    n_labeled: int,
    n_classes: int,
    n_hidden_layers: int,
    *,
    is_image: bool,
    max_gradient_scale: float,
    linear_strength: float = 1.0,
) -> AutoAlpha:
    """Choose the gradient scale by the number of columns, and the penalties by the number of labels.

    ``linear_strength`` divides the penalty of the linear path.
    """
    strength = DEFAULTS_FOR_IMAGES if is_image else DEFAULTS_FOR_TABLES
    scale = min(max_gradient_scale, strength.gradient_scale / n_columns)
    per_label = (2 if n_classes == 2 else 1) / n_labeled  # with two classes, both logits move one difference
    of_linear, of_hidden = per_label / linear_strength, strength.penalty * per_label / 4
    penalties = {"classifier.kernel_weight": per_label}
    if not n_hidden_layers:  # logistic regression
        return AutoAlpha(scale, penalties | {"classifier": of_linear, **of_extra("classifier.mlp", of_linear)})
    penalties |= {
        "classifier.mlp.skip": of_linear,
        **of_extra("classifier.mlp.skip", of_linear),
        f"classifier.mlp.layers.{n_hidden_layers}": strength.penalty * per_label,
        "classifier.mlp.layers": of_hidden,
        **of_extra("classifier.mlp", of_hidden),
    }
    return AutoAlpha(scale, penalties)


def of_extra(path: str, penalty: float) -> dict[str, float]:
    """The penalty of the weights for an auxiliary variable beside those of the columns."""
    return {f"{path}.extra_weight": PENALTY_OF_AUXILIARY * penalty}


def rates_of_classifier(x: np.ndarray, n_hidden_layers: int, features: np.ndarray | None = None) -> dict[str, float]:
    """Choose factors on the learning rate of the classifier's weights from the rows and kernel features that it reads.

    A step of Adam moves every weight by the same amount, and therefore moves a logit in proportion to the sum of a
    row's cells. Many columns need a lower rate.
    """
    size = mean_size(x)
    of_linear = rate_of_linear(x)
    of_kernel = {} if features is None else {"classifier.kernel_weight": rate_of_linear(features)}
    if not n_hidden_layers:
        return {"classifier": of_linear, **of_kernel}
    return {
        **of_kernel,
        "classifier.mlp.skip": of_linear,
        "classifier.mlp.layers": min(1.0, SIZE_FOR_HIDDEN / size) ** 2,
    }


def rate_of_linear(x: np.ndarray) -> float:
    """Factor on the learning rate of a linear map of x."""
    return RATE_OF_LINEAR * min(1.0, SIZE_FOR_LINEAR / mean_size(x)) ** 2


def mean_size(x: np.ndarray) -> float:
    """Mean over the rows of the sum of their absolute cells."""
    return float(np.abs(x).sum(1).mean()) + 1e-9
