"""The layers next to the columns: convolutional, residual, or built by a user, in modules and in estimators."""

import copy
import math
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from torch import nn

from skdgm import DLGM, VAE, ADGMClassifier, M1M2Classifier, M2Classifier
from skdgm.datasets import mask_labels
from skdgm.estimators._state import WithoutMemory
from skdgm.likelihoods.columns import ColumnGroup, MixedLikelihood
from skdgm.models.dlgm import DLGMModule
from skdgm.models.m2 import M2Module
from skdgm.models.vae import VAEModule
from skdgm.networks import ColumnLayers, Convolutional, Residual, Sizes
from skdgm.networks.convolutional import as_images, as_rows

SMALL = {"hidden_layer_sizes": (12,), "max_iter": 2, "random_state": 0, "n_importance_samples": 3}
SHAPE = (6, 5)


def wide(sizes):
    """A builder as users write them, with torch's own layers."""
    return nn.Sequential(nn.Linear(sizes.n_inputs, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, sizes.n_outputs))


class Wide(nn.Module):
    """A builder that is the class of its modules."""

    def __init__(self, sizes):
        super().__init__()
        self.body = wide(sizes)

    def forward(self, x):
        return self.body(x)


NETWORKS = ["conv", "resnet", Convolutional((3, 4, 5), 5), Residual(1), wide, Wide]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def modules(network, image_shape=(6, 5, 1), rng=None, **options):
    """A module of each model on 30 columns."""
    options = {"network": network, "image_shape": image_shape, "rng": rng or generator(), **options}
    yield VAEModule(30, 2, (8,), "tanh", "bernoulli", **options)
    yield DLGMModule(30, (3, 2), (8,), "tanh", "gaussian_heteroscedastic", "low_rank", 1, **options)
    yield DLGMModule(30, (3, 2), (8,), "tanh", "bernoulli", "low_rank", 1, top_down=True, **options)
    yield M2Module(30, 2, (8, 7), "tanh", "bernoulli", [0.2, 0.3, 0.5], **options)


def bound_of(module, x, rng, observed=None):
    if isinstance(module, M2Module):
        labels = torch.arange(len(x)) % 3
        of_labels = module.labeled_bound(x, labels, rng, observed).total() + module.log_q_y(x, labels, rng, observed)
        return module.unlabeled_bound(x, rng, observed).total() + of_labels
    return module.bound(x, rng, observed).total()


def name_of(network):
    """A test's name that is the same in every process: a function's own has its address."""
    return getattr(network, "__name__", str(network))


@pytest.mark.parametrize("network", NETWORKS, ids=name_of)
@pytest.mark.parametrize("linear_skip", [False, True])
def test_every_parameter_receives_a_gradient(network, linear_skip):
    x = (noise(40, 30) > 0).float()
    observed = noise(40, 30, seed=1) > -1
    for module in modules(network, linear_skip=linear_skip, missing_indicator=True):
        bound_of(module, x, generator(), observed).sum().backward()
        without = [
            name for name, p in module.named_parameters() if p.numel() and not (p.grad is not None and p.grad.any())
        ]
        assert not without


@pytest.mark.parametrize("network", NETWORKS, ids=name_of)
def test_weights_come_from_the_generator_only(network):
    """Also those of torch's layers, which draw from the global generator when they are built."""
    before = torch.get_rng_state()
    weights = []
    for global_seed, seed in ((1, 0), (2, 0), (1, 1)):
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(global_seed)
            weights.append([module.state_dict() for module in modules(network, rng=generator(seed))])
    assert torch.equal(torch.get_rng_state(), before)
    for first, again, other in zip(*weights, strict=True):
        assert all(torch.equal(first[key], again[key]) for key in first)
        drawn = [key for key in first if first[key].ndim > 1 and first[key].any()]
        assert drawn and not any(torch.equal(first[key], other[key]) for key in drawn)


def test_a_module_may_draw_its_own_weights():
    """As pretrained layers do, which keep theirs: ``init_weights`` is called in place of Glorot's draws."""

    class Kept(nn.Linear):
        def init_weights(self, rng):
            self.weight.copy_(torch.full_like(self.weight, 0.5))

    def pretrained(sizes):
        return nn.Sequential(Kept(sizes.n_inputs, 4), nn.Linear(4, sizes.n_outputs))

    module, *_ = modules(pretrained)
    kept, drawn = module.encoder.mlp.layers[0].module
    assert (kept.weight == 0.5).all() and kept.bias.any()
    assert drawn.weight.std() > 0.1 and not drawn.bias.any()


@pytest.mark.parametrize("network", NETWORKS, ids=name_of)
def test_every_class_and_draw_at_once_is_each_in_turn(network):
    """y of shape (n_classes, 1) with n rows, and draws of z in front, as for an MLP."""
    *_, module = modules(network)
    x, y, z = noise(9, 30), torch.arange(3)[:, None], noise(4, 3, 9, 2)
    with torch.no_grad():
        q_z, p_x = module.q_z(x, y), module.p_x(y, z)
        assert q_z.mean.shape == (3, 9, 2) and p_x.mean.shape == (4, 3, 9, 30)
        for label in range(3):
            of_label = torch.full((9,), label)
            torch.testing.assert_close(q_z.mean[label], module.q_z(x, of_label).mean)
            torch.testing.assert_close(p_x.mean[2, label], module.p_x(of_label, z[2, label]).mean)
    assert (q_z.mean[0] - q_z.mean[1]).abs().max() > 1e-3


def test_x_passes_the_convolutions_once_for_all_classes():
    counts = []

    def counting(sizes):
        module = wide(sizes)
        module.register_forward_hook(lambda module, inputs, output: counts.append((sizes.role, len(inputs[0]))))
        return module

    *_, module = modules(counting)
    counts.clear()
    module.labeled_bound(noise(9, 30), torch.arange(3)[:, None], generator())
    assert counts == [("encoder", 9), ("decoder", 27)]


@pytest.mark.parametrize("network", NETWORKS, ids=name_of)
def test_networks_start_nearly_linear(network):
    """With a linear path, the rest of the decoder is small at first."""
    module, *_ = modules(network, linear_skip=True)
    z = noise(500, 2)
    with torch.no_grad():
        of_line, of_all = module.decoder.mlp.skip(z), module.decoder.mlp(z)
    assert (of_all - of_line).std() < 0.5 * of_line.std()


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 5, 3), (1, 9, 1), (2, 1, 2)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_convolutions_fit_images_of_any_form(shape, kernel_size):
    d = math.prod(shape)
    builder = Convolutional((2, 3, 4), kernel_size)
    assert builder(Sizes("encoder", d, 6, F.relu, shape))(torch.zeros(2, d)).shape == (2, 6)
    assert builder(Sizes("decoder", 6, 2 * d, F.relu, shape))(torch.zeros(2, 6)).shape == (2, 2 * d)


def test_images_are_read_as_numpy_reads_them():
    """Pixels row by row, the channels of a pixel side by side; several images one after the other."""
    images = np.arange(2 * 3 * 4 * 5 * 2.0).reshape(2, 3, 4, 5, 2)  # 2 rows of 3 images with 4 x 5 pixels of 2 channels
    rows = torch.from_numpy(images.reshape(2, -1))
    read = as_images(rows, (4, 5, 2))
    assert read[1, 2 * 2 + 1, 3, 4] == images[1, 2, 3, 4, 1] and read.shape == (2, 6, 4, 5)
    assert torch.equal(as_rows(read, 2), rows)


def test_a_pixel_of_the_decoder_belongs_to_its_column():
    """Under several likelihoods, in any order of columns: a decoder that writes 1000 k + j writes to column j."""
    groups = [
        ColumnGroup("gaussian_heteroscedastic", [5, 2, 0]),
        ColumnGroup("bernoulli", [3]),
        ColumnGroup("gaussian", [4, 1]),
    ]
    likelihood = MixedLikelihood(groups, 6)

    class Numbers(nn.Module):
        def __init__(self, sizes):
            super().__init__()
            assert sizes.n_outputs == 12
            self.weight = nn.Parameter(torch.zeros(1, 1))

        def forward(self, h):
            return (1000 * torch.arange(2)[:, None] + torch.arange(6)).flatten().expand(len(h), -1) + 0 * self.weight

    layer = ColumnLayers(Numbers, likelihood, "relu", (2, 3, 1), generator()).writing(4, sum(likelihood.n_outputs))
    assert layer(torch.zeros(1, 4)).tolist() == [[5, 2, 0, 1005, 1002, 1000, 3, 4, 1]]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("network", ["conv", "resnet", Convolutional((3, 7, 5), 5)], ids=name_of)
def test_a_row_has_the_same_bits_at_any_place(network, n_threads):
    """Also where the rows are split into parts, which keeps feature maps of draws and classes out of memory."""
    layers = ColumnLayers(network, MixedLikelihood("bernoulli", 105), "relu", (7, 5, 3), generator())
    threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for layer, width in ((layers.reading("encoder")(105, 20), 105), (layers.writing(20, 105), 20)):
            for n in (16, 512, 1300):
                x, order = noise(n, width), torch.randperm(n, generator=generator())
                with torch.no_grad():
                    assert torch.equal(layer(x)[order], layer(x[order]))
                    in_parts = layer(x)
                torch.testing.assert_close(in_parts, layer(x))
    finally:
        torch.set_num_threads(threads_before)


# --- estimators -------------------------------------------------------------------------------------------------------


def images(n=60):
    rng = np.random.default_rng(0)
    X = rng.random((n, 30)).round(2)
    X[:, ::2] = X[:, ::2] > 0.5
    return X, np.where(np.arange(n) < 30, np.arange(n) % 3, -1)


ESTIMATORS = {
    "VAE": lambda **options: VAE(3, **SMALL, **options),
    "DLGM": lambda **options: DLGM((4, 2), **SMALL, **options),
    "M2Classifier": lambda **options: M2Classifier(3, **SMALL, **options),
    "ADGMClassifier": lambda **options: ADGMClassifier(3, **SMALL, **options),
    "M1M2Classifier": lambda **options: M1M2Classifier(3, encoder=VAE(3, **SMALL, **options), **SMALL),
}


def results(model, X):
    found = [model.transform(X), model.score_samples(X), model.inverse_transform(model.transform(X))]
    return [*found, model.predict_proba(X)] if hasattr(model, "predict_proba") else found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("network", ["conv", "resnet", wide, Wide], ids=name_of)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_with_other_networks(name, network):
    """Same bits from a clone, in a pickle, and for a row in any batch; finite results."""
    X, y = images()
    model = ESTIMATORS[name](network=network, image_shape=SHAPE).fit(X, y)
    found = results(model, X)
    assert all(np.isfinite(part).all() for part in found)
    for other in (clone(model).fit(X, y), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert all(map(np.array_equal, results(other, X), found))
    rows = np.random.default_rng(1).permutation(len(X))[:37]
    assert all(np.array_equal(part, whole[rows]) for part, whole in zip(results(model, X[rows]), found, strict=True))


class Pretrained(nn.Linear):
    """Holds given numbers, and draws its weights by a method that needs a generator."""

    def __init__(self, sizes):
        super().__init__(sizes.n_inputs, sizes.n_outputs)
        self.register_buffer("offset", torch.tensor([0.5] * sizes.n_outputs))

    def init_weights(self, rng):
        nn.init.normal_(self.weight, std=0.1 / rng.initial_seed(), generator=rng)

    def forward(self, x):
        return super().forward(x) + self.offset


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_pickle_with_pretrained_layers_opens():
    """The check of its sizes neither draws weights nor computes rows: it has no memory for them."""
    X, _ = images()
    vae = VAE(3, **SMALL, network=Pretrained).fit(X)
    assert np.array_equal(pickle.loads(pickle.dumps(vae)).transform(X), vae.transform(X))


def test_the_check_of_sizes_takes_no_memory():
    with WithoutMemory():
        layers = ColumnLayers("conv", MixedLikelihood("bernoulli", 30), "relu", (*SHAPE, 1), None)
        module = layers.reading("encoder")(30, 12)
    assert all(tensor.is_meta for tensor in module.state_dict().values())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("network", ["conv", "resnet", wide], ids=name_of)
def test_training_continues(network):
    """By warm_start, by partial_fit, and when cells are missing for the first time."""
    X, y = images()
    vae = VAE(3, **SMALL, network=network, image_shape=SHAPE, warm_start=True).fit(X)
    first = {name: value.clone() for name, value in vae.module_.state_dict().items()}
    holed = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
    vae.fit(holed).partial_fit(holed)
    assert not torch.equal(
        vae.module_.state_dict()["decoder.mlp.layers.0.weight"], first["decoder.mlp.layers.0.weight"]
    )
    assert np.isfinite(vae.impute(holed)).all()
    with pytest.raises(ValueError, match="network changed since"):
        vae.set_params(network="mlp").fit(X)


def test_pixels_of_images_have_the_same_likelihood():
    """A pixel with few gray levels is no category if ``image_shape`` says that it is a pixel."""
    X, _ = images()
    X[:, 3] = (3 * X[:, 3]).round() / 3
    kinds = [
        {one.likelihood for one in VAE(3, **SMALL, image_shape=shape).fit(X).likelihoods_} for shape in (None, SHAPE)
    ]
    assert kinds == [{"bernoulli", "categorical", "gaussian"}, {"gaussian"}]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_chooses_between_networks():
    X, _ = images()
    grid = {"network": ["mlp", "conv", Convolutional((4,)), wide]}
    search = GridSearchCV(VAE(3, **SMALL, image_shape=SHAPE), grid, cv=2).fit(X)
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    assert search.best_estimator_.network == search.best_params_["network"]


def test_the_builder_in_the_user_guide_works():
    source = (Path(__file__).parent.parent / "examples" / "plot_own_network.py").read_text("utf8")
    names = {"nn": nn, "dataclass": dataclass, "__name__": __name__}
    exec(source.partition("# [builder]")[2].partition("# [end of builder]")[0], names)
    builder = names["RowsAndColumns"](4)
    assert builder == names["RowsAndColumns"](4) != names["RowsAndColumns"](5)
    X, _ = images()
    X[:, 1::2] = 0.5 * X[:, ::2]
    assert np.isfinite(VAE(3, **SMALL, network=builder, image_shape=SHAPE).fit(X).score(X))


def test_conv_and_resnet_learn_digits():
    """With 100 labels and few epochs."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    few = mask_labels(y[:1200], 100, random_state=0)
    for network in ("conv", "resnet"):
        options = {"network": network, "image_shape": (8, 8), "max_iter": 8, "random_state": 0}
        model = M2Classifier(hidden_layer_sizes=(64,), n_enumerated=1, **options)
        model.fit(X[:1200], few)
        assert model.score(X[1200:], y[1200:]) > 0.8


# --- errors -----------------------------------------------------------------------------------------------------------

WRONG = {
    "unknown name": ({"network": "cnn"}, "network.*must be"),
    "no image_shape": ({"network": "conv"}, "needs image_shape, got None"),
    "other product": ({"network": "conv", "image_shape": (28, 28)}, r"product of 30.*got \(28, 28\)"),
    "four axes": ({"network": "conv", "image_shape": (2, 3, 5, 1)}, "image_shape must be"),
    "no int": ({"network": "conv", "image_shape": (7.5, 4)}, "image_shape must hold integers"),
    "no hidden layer": ({"network": "resnet", "hidden_layer_sizes": ()}, "needs at least one hidden layer"),
    "built module": ({"network": nn.Linear(30, 12)}, "got a module that is built: Linear"),
    "no module": ({"network": lambda sizes: 3}, "must return a torch.nn.Module, got int"),
    "batch norm": ({"network": lambda sizes: nn.Sequential(nn.BatchNorm1d(30))}, "BatchNorm1d, whose result"),
    "dropout": ({"network": lambda sizes: nn.Sequential(wide(sizes), nn.Dropout())}, "Dropout, whose result"),
    "other inputs": ({"network": lambda sizes: nn.Linear(7, 12)}, r"the encoder that fails on rows of shape \(2, 30\)"),
    "other outputs": ({"network": lambda sizes: nn.Linear(30, 7)}, r"to \(2, 7\), wanted \(2, 12\)"),
    "categories": (
        {"network": "conv", "image_shape": SHAPE, "likelihood": [("categorical", [0]), ("auto", slice(1, 30))]},
        "the likelihood of 1 column.*is 'categorical'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_say_what_is_wrong(case):
    options, message = WRONG[case]
    model = VAE(3, **{**SMALL, **options})
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(images()[0])
    assert not hasattr(model, "module_")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Convolutional(()), "channels must hold"),
        (lambda: Convolutional((4,), 2), "kernel_size must be odd"),
        (lambda: Residual(0), "n_blocks must be"),
    ],
)
def test_builders_check_their_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
