"""Batch normalization: torch's as an oracle, and that a prediction does not depend on other rows."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

from skdgm import ADGMClassifier
from skdgm.datasets import mask_labels
from skdgm.estimators import adgm
from skdgm.networks import MLP
from skdgm.networks.batch_norm import MIN_RATE, BatchNorm

X, Y = load_iris(return_X_y=True)
FEW = mask_labels(Y, 15, random_state=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows_of(n, n_units=3, seed=0):
    return 2 + 3 * torch.randn(n, n_units, generator=generator(seed))


def small(**params):
    options = {"hidden_layer_sizes": (8, 6), "batch_norm": True, "max_iter": 3, "random_state": 0}
    return ADGMClassifier(2, **options | params)


def norms_of(module):
    return [part for part in module.modules() if isinstance(part, BatchNorm)]


# --- the layer --------------------------------------------------------------------------------------------------------


def test_training_is_that_of_torch():
    """Outputs, gradients, and moments, which are means over the first steps."""
    ours, torchs = BatchNorm(3), nn.BatchNorm1d(3, momentum=None)
    for seed in range(5):
        x = rows_of(9, seed=seed).requires_grad_()
        parts = [(norm(x) ** 3).sum() for norm in (ours, torchs)]
        gradients = [
            torch.autograd.grad(part, [x, *norm.parameters()]) for part, norm in zip(parts, (ours, torchs), strict=True)
        ]
        torch.testing.assert_close(parts[0], parts[1])
        torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(ours.mean, torchs.running_mean)
    torch.testing.assert_close(ours.variance * 9 / 8, torchs.running_var)


def test_prediction_is_that_of_torch():
    """With the moments of training."""
    ours, torchs = BatchNorm(3), nn.BatchNorm1d(3, momentum=None)
    ours(rows_of(9))
    torchs.running_mean.copy_(ours.mean)
    torchs.running_var.copy_(ours.variance)
    torch.testing.assert_close(ours.eval()(rows_of(4, seed=1)), torchs.eval()(rows_of(4, seed=1)))


def test_late_moments_forget_early_ones():
    """By the least rate at each step."""
    norm = BatchNorm(1)
    for _ in range(round(1 / MIN_RATE)):
        norm(torch.tensor([[0.0], [2.0]]))
    for _ in range(7):
        norm(torch.tensor([[10.0], [10.0]]))
    left = (1 - MIN_RATE) ** 7
    torch.testing.assert_close(norm.mean, torch.tensor([10 - 9 * left]))
    torch.testing.assert_close(norm.variance, torch.tensor([left]))


def test_leading_axes_count_as_rows():
    """Draws and classes of the rows are normalized together."""
    x = rows_of(24)
    torch.testing.assert_close(BatchNorm(3)(x.view(2, 4, 3, 3)), BatchNorm(3)(x).view(2, 4, 3, 3))


@pytest.mark.parametrize("n", [1, 4])
def test_without_gradients_the_moments_are_read_not_changed(n):
    """As for the bound of held-out rows during training; and a batch of one row has no variance."""
    norm = BatchNorm(3)
    norm(rows_of(9))
    mean = norm.mean.clone()
    with torch.set_grad_enabled(n == 1):
        found = norm(rows_of(n, seed=1))
    assert torch.equal(norm.mean, mean)
    assert torch.equal(found, norm.eval()(rows_of(n, seed=1)))


def test_the_linear_path_is_not_normalized():
    """An MLP whose other path is 0 remains an affine map, in training as in prediction."""
    mlp = MLP(3, 2, (5, 4), "relu", generator(), linear_skip=True)
    mlp.normalize_hidden()
    mlp.scale_outputs(slice(None), 0.0, skip=1.0)
    weight, bias = mlp.linear_parameters
    torch.testing.assert_close(mlp(rows_of(6)), rows_of(6) @ weight.T + bias)


def test_an_mlp_normalizes_before_each_activation():
    """Step by step."""
    mlp, x = MLP(3, 2, (5, 4), "tanh", generator()), rows_of(6)
    mlp.normalize_hidden()
    h = x
    for layer, n in zip(mlp.layers[:-1], (5, 4), strict=True):
        h = torch.tanh(nn.BatchNorm1d(n)(layer(h)))
    torch.testing.assert_close(mlp(x), mlp.layers[-1](h))


# --- the estimator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [False, True])
def test_every_network_has_it(skip):
    """Two hidden layers in each of five networks; all have seen training steps."""
    norms = norms_of(small(skip=skip).fit(X, FEW).module_)
    assert len(norms) == 10
    assert all(norm.n_steps > 0 and not norm.training for norm in norms)
    assert not norms_of(small(skip=skip, batch_norm=False).fit(X, FEW).module_)


def test_a_prediction_does_not_depend_on_other_rows():
    """To the bit."""
    model = small().fit(X, FEW)
    for method in ("predict_proba", "transform", "score_samples"):
        alone = np.concatenate([getattr(model, method)(row[None]) for row in X[:5]])
        np.testing.assert_array_equal(getattr(model, method)(X)[:5], alone)


def test_it_learns():
    """Iris from 5 labels per class, in a few epochs."""
    assert small(max_iter=30).fit(X, FEW).score(X, Y) > 0.9


def test_batches_of_one_row():
    """Are read by the moments, and stay finite."""
    model = small(batch_size=1, labeled_batch_size=1, max_iter=2).fit(X[::10], Y[::10])
    assert np.isfinite(model.score_samples(X)).all()


def test_a_warm_start_cannot_add_it():
    """It is a part of the networks."""
    model = small(batch_norm=False, warm_start=True).fit(X, FEW)
    with pytest.raises(ValueError, match="batch_norm"):
        model.set_params(batch_norm=True).fit(X, FEW)


def test_several_processes_cannot_use_it(monkeypatch):
    """The error names the parameter and the way out."""
    monkeypatch.setattr(adgm, "is_sharded", lambda: True)
    with pytest.raises(ValueError, match=r"batch_norm=True.*batch_norm=False, or fit within"):
        small().fit(X, FEW)


def test_it_needs_hidden_units():
    """Without them it would do nothing, silently."""
    with pytest.raises(ValueError, match=r"batch_norm=True.*hidden_layer_sizes=\(\).*or batch_norm=False"):
        small(hidden_layer_sizes=()).fit(X, FEW)
