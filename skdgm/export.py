"""Fitted estimators as PyTorch modules and exported programs: rows in the units of X in, codes or probabilities out.

``skdgm.onnx`` embeds the same modules in ONNX graphs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import block_diag
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from skdgm.estimators._column_kinds import ROUNDING
from skdgm.estimators._columns import SMALLEST_POSITIVE, ColumnTransform, unit_of
from skdgm.estimators._latent_density import BaseLatentDensity
from skdgm.estimators._semi_supervised import BaseSemiSupervised
from skdgm.estimators.m1 import M1Classifier
from skdgm.estimators.stacked_autoencoder import StackedAutoencoder
from skdgm.estimators.transductive_svc import TransductiveSVC
from skdgm.svm.solvers import LinearSVMs

__all__ = ["export_program", "prediction_module"]

Function = Callable[[Any, Tensor, Tensor], Tensor]  # of a model, rows as it reads them, and which cells are observed

# What the inner estimator of an M1Classifier reads.
FEATURES = "features"

# How columns of a likelihood that "auto" chose move cells to the nearest value that they can hold; others leave them.
NEAREST: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "bernoulli": lambda x: (x > 0.5).to(x.dtype),
        "gray": lambda x: x.clamp(0, 1),
        **dict.fromkeys(["lognormal", "zero_inflated_lognormal"], lambda x: x.clamp(min=0)),
        **dict.fromkeys(["poisson", "negative_binomial", "multinomial"], lambda x: torch.round(x).clamp(min=0)),
    }
)


# --- public -------------------------------------------------------------------------------------------------------


def prediction_module(estimator: Any, method: str) -> nn.Module:
    """Make a PyTorch module that computes what a method of a fitted estimator returns.

    Parameters
    ----------
    estimator : estimator
        A fitted VAE, DLGM, StackedAutoencoder, M1Classifier, M2Classifier, ADGMClassifier, M1M2Classifier, or
        TransductiveSVC.
    method : {"transform", "predict_proba", "predict_log_proba", "decision_function"}
        "transform" for all but TransductiveSVC, probabilities for M2Classifier, ADGMClassifier, and M1M2Classifier,
        and "decision_function" for TransductiveSVC.

    Returns
    -------
    torch.nn.Module
        A copy on the CPU, in evaluation mode. Its ``forward`` takes a float32 or float64 tensor of shape
        ``(n_samples, n_features_in_)`` in the units of X. It returns a tensor of the same dtype, with one row for each
        row of X. NaN marks a missing cell; columns of text hold the index of the category in the order of training.
        The decision function has one column for each class, also if there are two classes.

    Raises
    ------
    TypeError
        For an estimator or a method that cannot be exported; the message says why.
    ValueError
        For ``predict_proba`` under ``proba_method="bayes"``, which draws noise.

    Notes
    -----
    A row that misses a cell in a column that was complete in ``fit`` gives NaN: the estimator fills such cells by
    random chains, which the module cannot repeat. A row without any observed cell gives codes of 0, as in the
    estimator. Unknown categories count as missing cells.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from skdgm import VAE
    >>> from skdgm.export import prediction_module
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAE(n_components=2, max_iter=5, random_state=0).fit(X)
    >>> module = prediction_module(vae, "transform")
    >>> torch.allclose(module(torch.tensor(X)), torch.tensor(vae.transform(X)), atol=1e-5)
    True
    """
    check_is_fitted(estimator)
    makers = makers_of(estimator)
    if method not in makers:
        raise TypeError(
            f"{type(estimator).__name__}.{method} cannot be exported, only {', '.join(makers) or 'nothing'}. "
            f"{REASONS.get(method, '')}".strip()
        )
    return makers[method]().eval().requires_grad_(False)


def export_program(estimator: Any, method: str, *, dtype: torch.dtype = torch.float32) -> torch.export.ExportedProgram:
    """Export a method of a fitted estimator with ``torch.export``, for any number of rows.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator that ``prediction_module`` takes.
    method : {"transform", "predict_proba", "predict_log_proba", "decision_function"}
        The method, as in ``prediction_module``.
    dtype : {torch.float32, torch.float64}, default=torch.float32
        Type of the rows and of the result.

    Returns
    -------
    torch.export.ExportedProgram
        ``torch.export.save`` stores it in a file, and ``torch._inductor.aoti_compile_and_package`` compiles it to a
        library that C++ and Python load without skdgm.

    Raises
    ------
    TypeError, ValueError
        As in ``prediction_module``.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from skdgm import VAE
    >>> from skdgm.export import export_program
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAE(n_components=2, max_iter=5, random_state=0).fit(X)
    >>> program = export_program(vae, "transform")
    >>> program.module()(torch.tensor(X[:7], dtype=torch.float32)).shape
    torch.Size([7, 2])
    """
    module, rows = prediction_module(estimator, method), torch.zeros(2, estimator.n_features_in_, dtype=dtype)
    return torch.export.export(module, (rows,), dynamic_shapes=({0: torch.export.Dim("n_samples")},), strict=False)


# --- what can be exported -----------------------------------------------------------------------------------------

NOISE = "It draws noise, which is determined by the row and by the seed of the fit; a graph cannot repeat it."
REASONS = {
    **dict.fromkeys(["score_samples", "elbo_samples", "impute", "sample"], NOISE),
    "predict": "Take the class of the largest probability, or export the labels with skdgm.onnx.to_onnx.",
}


def makers_of(estimator: Any) -> dict[str, Callable[[], nn.Module]]:
    """Return, for each method that can be exported, a function that makes its module."""
    if isinstance(estimator, M1Classifier):
        encoder, active = estimator.encoder_, torch.from_numpy(estimator.active_)
        features = encoder_features if estimator.passthrough else encoder_codes
        return {
            "transform": lambda: RowModule(encoder, encoder.module_, partial(encoder_codes, indices=active)),
            FEATURES: lambda: RowModule(encoder, encoder.module_, partial(features, indices=active)),
        }
    if isinstance(estimator, BaseLatentDensity):
        codes = partial(encoder_codes, indices=torch.from_numpy(estimator._code_indices))
        return {"transform": lambda: RowModule(estimator, estimator.module_, codes)}
    if isinstance(estimator, BaseSemiSupervised):
        return {
            "transform": lambda: RowModule(estimator, estimator._model, classifier_codes),
            "predict_proba": lambda: probability_module(estimator, is_log=False),
            "predict_log_proba": lambda: probability_module(estimator, is_log=True),
        }
    if isinstance(estimator, StackedAutoencoder):
        return {"transform": lambda: RowModule(estimator, estimator.module_, stacked_codes)}
    if isinstance(estimator, TransductiveSVC):
        return {"decision_function": lambda: kernel_machine(estimator.svm_, estimator._center)}
    return {}


def probability_module(classifier: BaseSemiSupervised, *, is_log: bool) -> RowModule:
    """Make the module of q(y | x), under the temperature of the classifier."""
    if classifier.proba_method == "bayes":
        raise ValueError(
            f"{type(classifier).__name__} with proba_method='bayes' cannot export probabilities: it estimates p(y | x) "
            "from random draws. Use set_params(proba_method='classifier'), which needs no new fit."
        )
    temperature = classifier.temperature_
    return RowModule(classifier, classifier._model, partial(probabilities, temperature=temperature, is_log=is_log))


def kernel_machine(svms: Any, center: np.ndarray) -> KernelMachine:
    """Make the module of the SVMs of a TransductiveSVC: exact ones, or linear ones on features of the rows."""
    if isinstance(svms, LinearSVMs):
        coef, intercept, features = svms.coef[:-1], svms.coef[-1], svms.features
        if features is None:
            return KernelMachine(center, None, None, coef, intercept)
        rows, coef = features.components_, features.normalization_.T @ coef
        return KernelMachine(center, features.gamma, rows, coef, intercept)
    svcs = svms.svcs
    coef = block_diag(*[svc.dual_coef_.T for svc in svcs])
    intercept = np.concatenate([svc.intercept_ for svc in svcs]) + svms.offset
    gamma = svcs[0].gamma if svcs[0].kernel == "rbf" else None
    return KernelMachine(center, gamma, np.concatenate([svc.support_vectors_ for svc in svcs]), coef, intercept)


# --- functions of a model, of rows as it reads them, and of which cells are observed --------------------------------


def encoder_codes(model: Any, x: Tensor, observed: Tensor, indices: Tensor) -> Tensor:
    """Posterior means of some latent dimensions."""
    return model.q_z(x, observed).mean[..., indices]


def encoder_features(model: Any, x: Tensor, observed: Tensor, indices: Tensor) -> Tensor:
    """Posterior means, followed by the rows as the encoder reads them."""
    return torch.cat([encoder_codes(model, x, observed, indices), model.encoder_inputs(x, observed)], -1)


def classifier_codes(model: Any, x: Tensor, observed: Tensor) -> Tensor:
    """Posterior means, averaged over the classes."""
    return model.code(x, observed)


def stacked_codes(model: Any, x: Tensor, observed: Tensor) -> Tensor:
    """Means of the hidden units of the top layer."""
    return model.mean_codes(x)


def probabilities(model: Any, x: Tensor, observed: Tensor, temperature: float, is_log: bool) -> Tensor:
    """q(y | x) or its logarithm, in float64."""
    log_proba = F.log_softmax(model.q_y(x, observed).log_probs.double() / temperature, -1)
    return log_proba if is_log else torch.exp(log_proba)


# --- modules ------------------------------------------------------------------------------------------------------


class RowModule(nn.Module):
    """A function of rows in the units of X. A row with missing cells that the networks cannot read gives NaN."""

    unread: Tensor

    def __init__(self, estimator: Any, model: nn.Module, function: Function) -> None:
        super().__init__()
        self.reader = ColumnReader(estimator._columns)
        self.model = copy.deepcopy(model).cpu()
        self.function = function
        self.may_miss_all = estimator._missing_cells_allowed  # without any cell, the posterior is the prior
        learned = np.broadcast_to(estimator._learned_holes, len(estimator._columns.kinds))
        self.register_buffer("unread", torch.from_numpy(~learned))

    def forward(self, X: Tensor) -> Tensor:
        """The result, of the dtype of X; (n, n_outputs)."""
        x, observed = self.reader(X)
        is_unread = (~observed & self.unread).any(-1, keepdim=True)
        if self.may_miss_all:
            is_unread = is_unread & observed.any(-1, keepdim=True)
        return torch.where(is_unread, torch.nan, self.function(self.model, x, observed).to(X.dtype))


class ColumnReader(nn.Module):
    """``ColumnTransform.transform`` as a module: standardized cells and codes of categories, 0 for missing cells."""

    low: Tensor
    high: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, columns: ColumnTransform) -> None:
        super().__init__()
        low, high = columns.bounds
        self.register_buffer("low", torch.from_numpy(low))
        self.register_buffer("high", torch.from_numpy(high))
        self.register_buffer("center", torch.from_numpy(columns.center))
        self.register_buffer("scale", torch.from_numpy(columns.scale))
        kinds = np.array(["gray" if columns.is_gray and kind == "bernoulli" else kind for kind in columns.kinds])
        self.moved = [kind for kind in NEAREST if (columns.is_auto & (kinds == kind)).any()]
        for kind in self.moved:
            self.register_buffer(f"is_{kind}", torch.from_numpy(columns.is_auto & (kinds == kind)))
        self.levels = LevelReader(columns) if columns.levels else None

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Cells of shape (n, n_columns), float32, and which of them are observed."""
        X = X.double()
        observed = ~torch.isnan(X)
        X = torch.where(observed, X, 0.0)
        moved = X
        for kind in self.moved:
            moved = torch.where(self.get_buffer(f"is_{kind}"), NEAREST[kind](X), moved)
        x = (moved - self.center) / self.scale
        x = torch.where((x > 0) & (x < SMALLEST_POSITIVE), SMALLEST_POSITIVE, x).clamp(self.low, self.high)
        if self.levels is not None:
            x, observed = self.levels(X, x, observed)
        return torch.where(observed, x, 0.0).float(), observed


class LevelReader(nn.Module):
    """Replace the cells of columns of categories by codes; an unknown category is a missing cell."""

    columns: Tensor
    order: Tensor
    levels: Tensor
    unit: Tensor
    between: Tensor
    takes_nearest: Tensor

    def __init__(self, columns: ColumnTransform) -> None:
        super().__init__()
        found = sorted(columns.levels)
        levels = [torch.from_numpy(columns.levels[j]) for j in found]
        order = torch.arange(len(columns.kinds))
        order[found] = len(order) + torch.arange(len(found))
        self.register_buffer("columns", torch.tensor(found))
        self.register_buffer("order", order)
        self.register_buffer("levels", pad_sequence(levels, batch_first=True))
        self.register_buffer("unit", torch.tensor([unit_of(columns.levels[j]) for j in found], dtype=torch.float64))
        midpoints = [F.pad((one[1:] + one[:-1]) / 2, (0, 1), value=math.inf) for one in levels]
        self.register_buffer("between", pad_sequence(midpoints, batch_first=True, padding_value=math.inf))
        self.register_buffer("takes_nearest", torch.from_numpy((columns.is_auto & columns.is_number)[found]))

    def forward(self, X: Tensor, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Standardized cells x and the mask of the observed ones, with codes in the columns of categories."""
        cells = X[:, self.columns]
        codes = (cells[..., None] > self.between).sum(-1)
        levels = self.levels[torch.arange(len(self.columns)), codes]
        is_known = (cells - levels).abs() <= ROUNDING * torch.maximum(cells.abs(), self.unit)
        is_read = observed[:, self.columns] & (is_known | self.takes_nearest)
        return torch.cat([x, codes.double()], 1)[:, self.order], torch.cat([observed, is_read], 1)[:, self.order]


class KernelMachine(nn.Module):
    """The decision functions of a TransductiveSVC: one column per class, also if there are two classes."""

    center: Tensor
    rows: Tensor
    coef: Tensor
    intercept: Tensor

    def __init__(
        self,
        center: np.ndarray,
        gamma: float | None,
        rows: np.ndarray | None,
        coef: np.ndarray,
        intercept: np.ndarray,
    ) -> None:
        super().__init__()
        self.gamma, self.has_kernel = gamma, rows is not None
        rows = np.zeros((0, 0)) if rows is None else rows
        for name, array in {"center": center, "rows": rows, "coef": coef, "intercept": intercept}.items():
            self.register_buffer(name, torch.tensor(array, dtype=torch.float64))

    def forward(self, X: Tensor) -> Tensor:
        """Decision values, (n, n_classes), of the dtype of X."""
        x = X.double() - self.center
        if self.has_kernel:
            x = self.kernel(x)
        values = x @ self.coef + self.intercept
        return (torch.cat([-values, values], 1) if values.shape[1] == 1 else values).to(X.dtype)

    def kernel(self, x: Tensor) -> Tensor:
        """The kernel of each row with each of ``rows``: linear without ``gamma``, else Gaussian."""
        products = x @ self.rows.T
        if self.gamma is None:
            return products
        squared = (x**2).sum(1, keepdim=True) - 2 * products + (self.rows**2).sum(1)
        return torch.exp(-self.gamma * squared.clamp(min=0))
