"""A training step of every estimator keeps a GPU busy: nothing in it reads from the device or leaves it.

The steps run on device "meta", which has shapes but no values, as the estimators' own ``fit`` puts them together. There
a hidden ``.item()`` or ``.tolist()`` fails by itself. Operations that have a result on "meta" but make a GPU wait, such
as ``torch.multinomial``, are named in ``WAITING``.
"""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skdgm import (
    DLGM,
    VAE,
    ADGMClassifier,
    M1M2Classifier,
    M2Classifier,
    StackedAutoencoder,
    structured_normals,
    training,
)
from skdgm.estimators import _base, _class_prior
from skdgm.estimators._semi_supervised import BaseSemiSupervised
from skdgm.optimizer import Adam, ParameterVector

# Operations of ATen whose result, or its shape or validity, the host reads before it goes on.
WAITING = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "multinomial", "bincount"}
WAITING |= {"_unique", "_unique2", "unique_dim", "unique_consecutive", "_linalg_check_errors"}


class HostWaits(AssertionError):
    """An operation makes the host wait for the device."""


def is_mask(leaf):
    return isinstance(leaf, Tensor) and leaf.dtype in (torch.bool, torch.uint8)


class NoWaits(TorchDispatchMode):
    """Raises HostWaits at an operation that waits for the device, or that works on tensors of the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in WAITING:
            raise HostWaits(name)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name.startswith("index") and any(is_mask(leaf) for leaf in tree_leaves(args[1])):
            raise HostWaits(f"{name} with a mask")
        if name == "repeat_interleave" and (kwargs or {}).get("output_size") is None:
            raise HostWaits(name)
        found = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
        copied = name in ("_to_copy", "copy_")
        for tensor in given + made:  # numbers, as in x * 2, are tensors of the host without axes
            if tensor.device.type != "meta" and (tensor.ndim or copied):
                raise HostWaits(f"{name} on {tensor.device}")
        return found


class Walked(Exception):
    """All phases of a fit have been seen."""


def walk(module, terms, settings, kl_weight=0.5):
    """One training step, as ``Trainer.epoch`` does it."""
    parameters, means = ParameterVector(module), {}
    adam = Adam(parameters, settings)
    with NoWaits():
        batches = next(training.iterate_batches(terms, None, settings.n_steps))
        loss = training.step(terms, batches, settings, None, kl_weight, means)
        if loss.requires_grad:
            loss.backward()
        parameters.collect_gradient()
        parameters.clip_gradient()
        adam.step(1e-3)
    return loss


@pytest.fixture
def fit_on_meta(monkeypatch):
    """Fit an estimator on device "meta", with one step in each phase."""

    def fit(estimator, X, y=None, n_phases=1):
        walked = []

        def train(module, terms, settings, rng, **hooks):
            assert {p.device.type for p in module.parameters()} == {"meta"}
            with monkeypatch.context() as within:
                within.setattr(Tensor, "cpu", to_host)
                walked.append(walk(module, terms, settings))
            if len(walked) == n_phases:
                raise Walked
            return training.History({"bound": [0.0]})

        monkeypatch.setattr(training, "train", train)
        with pytest.raises(Walked):
            estimator.set_params(device="meta", precision="float32", random_state=0).fit(X, y)
        assert all(loss.device.type == "meta" and loss.shape == () for loss in walked)

    to_host, real = Tensor.cpu, _base.generator  # there is no generator for "meta"; None draws all the same

    def generator(random, device):
        return None if torch.device(device).type == "meta" else real(random, device)

    monkeypatch.setattr(_base, "generator", generator)
    monkeypatch.setattr(_class_prior, "generator", generator)
    # these two read rows and weights before the first step
    monkeypatch.setattr(BaseSemiSupervised, "_init_classifier", lambda *args: {})
    monkeypatch.setattr(Tensor, "cpu", lambda x: torch.ones(x.shape, dtype=x.dtype) if x.is_meta else x)
    # "meta" has no autocast to switch off
    monkeypatch.setattr(structured_normals, "float32_products", lambda like: nullcontext())
    return fit


def rows(kind, n=70):
    """Gray rows, real rows, both, or real rows with missing cells."""
    rng = np.random.default_rng(0)
    gray, real = rng.choice([0.0, 0.0, 0.5, 1.0], (n, 6)), rng.normal(size=(n, 6))
    if kind == "missing":
        real[rng.random(real.shape) < 0.2] = np.nan
    return {"gray": gray, "mixed": np.hstack([gray.round(), real])}.get(kind, real)


def labels(n=70):
    """Three classes in a third of the rows."""
    return np.where(np.arange(n) % 3 == 0, np.arange(n) // 3 % 3, -1)


SMALL = {"hidden_layer_sizes": (8,), "batch_size": 16}
DENSITIES = {
    "VAE": VAE(3, **SMALL),
    "VAE without layers": VAE(3, hidden_layer_sizes=()),
    "VAE with warm-up": VAE(3, kl_warmup=5, early_stopping=False, **SMALL),
    "DLGM of rank one": DLGM(3, **SMALL),
    "DLGM of rank two": DLGM(3, rank=2, **SMALL),
    "DLGM, diagonal": DLGM(3, posterior="diagonal", **SMALL),
    "DLGM, full": DLGM(3, posterior="full", **SMALL),
    "DLGM of two layers, rank one": DLGM((4, 3), **SMALL),
    "DLGM of two layers, diagonal": DLGM((4, 3), posterior="diagonal", **SMALL),
    "DLGM, top-down": DLGM((4, 3), inference="top_down", **SMALL),
    "DLGM, top-down, of three draws": DLGM((4, 3), inference="top_down", n_importance_samples_train=3, **SMALL),
    "DLGM of three draws": DLGM(3, n_importance_samples_train=3, code_noise=0.1, **SMALL),
}


@pytest.mark.parametrize("kind", ["gray", "real", "mixed", "missing"])
@pytest.mark.parametrize("name", DENSITIES)
def test_a_step_of_a_density(name, kind, fit_on_meta):
    """VAE and DLGM with each posterior, on each kind of rows."""
    fit_on_meta(DENSITIES[name], rows(kind))


def test_a_step_with_few_rows(fit_on_meta):
    """Rows too few to hold any out have a prior on the variances as a second term."""
    fit_on_meta(VAE(2, **SMALL), rows("real", 20))


@pytest.mark.parametrize("noise", ["flip", "dropout", "gaussian"])
def test_a_step_with_noise(noise, fit_on_meta):
    """Input noise and binarization are drawn on the device."""
    fit_on_meta(VAE(2, input_noise=noise, dynamic_binarization=True, **SMALL), rows("gray"))


CLASSIFIERS = {
    "full sum": {},
    "one class and a draw": {"n_enumerated": 1},
    "a number as alpha": {"alpha": 0.1, "class_prior": "uniform", "kl_warmup": 4},
    "class weights": {"class_weight": "balanced", "n_enumerated": 1, "early_stopping": False},
}


@pytest.mark.parametrize("kind", ["gray", "real", "mixed"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_step_of_m2(name, kind, fit_on_meta):
    """M2Classifier: unlabeled and labeled rows, and the classification term."""
    many = np.tile(np.arange(4), 18)[:70]  # with four classes, one and a draw are not all of them
    y = np.where(labels() < 0, -1, many)
    fit_on_meta(M2Classifier(3, **SMALL, **CLASSIFIERS[name]), rows(kind), y)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_step_of_an_adgm(name, skip, fit_on_meta):
    """ADGMClassifier: draws of the auxiliary variable, too."""
    y = np.where(labels() < 0, -1, np.tile(np.arange(4), 18)[:70])
    fit_on_meta(ADGMClassifier(3, skip=skip, **SMALL, **CLASSIFIERS[name]), rows("mixed"), y)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_step_of_m1m2(name, fit_on_meta):
    """M1M2Classifier on codes that are drawn at each visit."""
    X = rows("real")
    vae = VAE(3, max_iter=1, device="cpu", random_state=0, **SMALL).fit(X)
    model = M1M2Classifier(2, encoder=FrozenEstimator(vae), active_threshold=0.0, **SMALL, **CLASSIFIERS[name])
    fit_on_meta(model, X, np.where(labels() < 0, -1, np.tile(np.arange(4), 18)[:70]))


STACKS = {
    "rich": {},
    "vanilla": {"inference": "vanilla", "input_noise": "auto"},
    "RBMs": {"inference": "rbm", "n_gibbs_steps": 2},
    "persistent": {"inference": "rbm", "persistent": True, "early_stopping": True},
    "tempered": {"inference": "rbm", "persistent": True, "n_chains": 9, "n_temperatures": 3, "centered": True},
}


@pytest.mark.parametrize("kind", ["gray", "real"])
@pytest.mark.parametrize("name", STACKS)
def test_a_step_of_every_layer_of_a_stack(name, kind, fit_on_meta):
    """StackedAutoencoder: the lowest layer on rows, one on drawn codes, and the RBM at the top."""
    fit_on_meta(StackedAutoencoder((5, 4, 3), **SMALL, **STACKS[name]), rows(kind), n_phases=3)


WAITS = {
    "a number": lambda x: x.sum().item(),
    "a condition": lambda x: bool((x > 0).any()),
    "a mask": lambda x: x[x > 0],
    "rows of a mask": lambda x: x.masked_fill(x > 0, 0).nonzero(),
    "a list": lambda x: x.tolist(),
    "a copy to the host": lambda x: x.sum().cpu(),
    "a draw by torch": lambda x: torch.multinomial(x.exp(), 1),
    "another device": lambda x: x + torch.arange(3.0),
    "a copy from the host": lambda x: torch.zeros(3).to(x.device),
    "errors of a decomposition": lambda x: torch.linalg.cholesky(x @ x.T),
}


@pytest.mark.parametrize("name", WAITS)
def test_waits_are_seen(name):
    """Each of these would make a GPU wait, and fails here."""
    with NoWaits(), pytest.raises((HostWaits, NotImplementedError, RuntimeError)):
        WAITS[name](torch.empty(4, 3, device="meta"))
