"""Networks return distributions, read labels as one-hot inputs, and draw their weights only from the generator."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics.pairwise import rbf_kernel

from skdgm.distributions import Bernoulli, Categorical, Normal
from skdgm.likelihoods.columns import MixedLikelihood
from skdgm.networks import (
    ACTIVATIONS,
    MLP,
    Affine,
    CategoricalNetwork,
    ClassAffine,
    DecoderNetwork,
    KernelFeatures,
    NormalNetwork,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


MAKERS = {
    "MLP": lambda rng: MLP(4, 3, (6, 5), "tanh", rng, n_classes=3),
    "NormalNetwork": lambda rng: NormalNetwork(4, 2, (6,), "softplus", rng, 3),
    "CategoricalNetwork": lambda rng: CategoricalNetwork(4, 3, (6,), "relu", rng),
    "DecoderNetwork": lambda rng: DecoderNetwork(4, MixedLikelihood("gaussian", 5), (6,), "silu", rng, 3),
}


@pytest.mark.parametrize("name", MAKERS)
def test_weights_come_from_the_generator_only(name):
    """The same seed gives the same weights, another seed others; the global generator is neither read nor set."""
    before = torch.get_rng_state()
    first, again, other = (MAKERS[name](generator(seed)).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    matrices = [key for key in first if first[key].ndim > 1]
    assert matrices and all(not torch.equal(first[key], other[key]) for key in matrices)


@pytest.mark.parametrize(("n_in", "n_out"), [(300, 100), (50, 400)])
def test_weights_are_glorot_uniform(n_in, n_out):
    """Bound sqrt(6 / (n_in + n_out)), variance a third of its square, bias 0."""
    layer = Affine(n_in, n_out, generator())
    limit = np.sqrt(6 / (n_in + n_out))
    weight = layer.weight.detach().numpy()
    assert limit * 0.99 < np.abs(weight).max() <= limit
    assert weight.var() == pytest.approx(limit**2 / 3, rel=0.03)
    assert not layer.bias.any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_is_its_formula(activation):
    """W3 f(W2 f(W1 x + b1 + C[y]) + b2) + b3, in NumPy, without an activation on the output."""
    net = MLP(4, 3, (6, 5), activation, generator(), n_classes=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(noise(*parameter.shape))
    x, y = noise(7, 4, seed=1), torch.arange(7) % 2
    function = {
        "softplus": lambda a: np.logaddexp(a, 0),
        "relu": lambda a: np.maximum(a, 0),
        "tanh": np.tanh,
        "silu": lambda a: a / (1 + np.exp(-a)),
    }[activation]
    weights = {key: value.numpy().astype(float) for key, value in net.state_dict().items()}
    h = x.numpy() @ weights["layers.0.weight"].T + weights["layers.0.bias"] + weights["class_embedding.weight"][y]
    h = function(h) @ weights["layers.1.weight"].T + weights["layers.1.bias"]
    h = function(h) @ weights["layers.2.weight"].T + weights["layers.2.bias"]
    np.testing.assert_allclose(net(x, y).detach().numpy(), h, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_a_label_is_a_one_hot_input(hidden):
    """A network of (x, y) equals a network of [x, one-hot y] with concatenated weights."""
    net, wide = MLP(4, 3, hidden, "tanh", generator(), n_classes=5), MLP(9, 3, hidden, "tanh", generator(1))
    with torch.no_grad():
        net.class_embedding.weight.copy_(noise(*net.class_embedding.weight.shape))
        for mine, theirs in zip(net.layers, wide.layers, strict=True):
            theirs.bias.copy_(mine.bias)
            theirs.weight.copy_(mine.weight if theirs.weight.shape == mine.weight.shape else theirs.weight)
        wide.layers[0].weight.copy_(torch.cat([net.layers[0].weight, net.class_embedding.weight.T], 1))
    x, y = noise(7, 4), torch.arange(7) % 5
    torch.testing.assert_close(net(x, y), wide(torch.cat([x, F.one_hot(y, 5).float()], 1)))


def test_every_class_at_once_is_each_class_in_turn():
    """y of shape (n_classes, 1) with n rows gives (n_classes, n, n_out)."""
    net, x = MLP(4, 3, (6,), "tanh", generator(), n_classes=5), noise(7, 4)
    at_once = net(x, torch.arange(5)[:, None])
    assert at_once.shape == (5, 7, 3)
    for label in range(5):
        torch.testing.assert_close(at_once[label], net(x, torch.full((7,), label)))


def test_class_affine_reads_its_rows():
    """The affine map of a one-hot label is a row of the weight, with its gradient."""
    layer = ClassAffine(4, 3, generator())
    y = torch.tensor([2, 0, 2])
    torch.testing.assert_close(layer(y), F.one_hot(y, 4).float() @ layer.weight)
    layer(y).sum().backward()
    assert layer.weight.grad[:, 0].tolist() == [1.0, 0.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("network", "wanted", "columns"),
    [
        (NormalNetwork(4, 2, (6,), "tanh", generator()), Normal, 2),
        (CategoricalNetwork(4, 3, (6,), "tanh", generator()), Categorical, None),
        (DecoderNetwork(4, MixedLikelihood("bernoulli", 5), (6,), "tanh", generator()), Bernoulli, 5),
        (DecoderNetwork(4, MixedLikelihood("gaussian", 5), (6,), "tanh", generator()), Normal, 5),
        (DecoderNetwork(4, MixedLikelihood("gaussian_heteroscedastic", 5), (6,), "tanh", generator()), Normal, 5),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else "",
)
def test_a_network_returns_a_distribution_over_rows(network, wanted, columns):
    """It has one column per output, for any leading axes."""
    for lead in [(), (2,), (3, 2)]:
        p = network(noise(*lead, 7, 4))
        assert isinstance(p, wanted)
        assert (p.probs.shape if columns is None else p.mean.shape) == (*lead, 7, columns or 3)


def test_a_new_posterior_has_sd_one():
    """At the start q(z | x) has sd 1 for every row, so codes carry little information; its means differ."""
    q_z = NormalNetwork(4, 2, (6,), "softplus", generator())(noise(7, 4))
    assert torch.equal(q_z.sd, torch.ones(7, 2))
    assert q_z.mean.std() > 0.01 and q_z.kl_standard_normal().mean() < 2


def test_gaussian_decoder_shares_one_variance_per_column():
    """The learned log-variances are one parameter; other likelihoods have none."""
    decoder = DecoderNetwork(2, MixedLikelihood("gaussian", 3), (6,), "tanh", generator())
    with torch.no_grad():
        decoder.shared.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    assert torch.equal(decoder(noise(4, 2)).log_var, decoder.shared.expand(4, 3))
    assert DecoderNetwork(2, MixedLikelihood("bernoulli", 3), (6,), "tanh", generator()).shared.numel() == 0


@pytest.mark.parametrize("name", MAKERS)
def test_outputs_are_float32_under_autocast(name):
    """bfloat16 stays inside the linear layers: the parameters of a distribution are float32."""
    network, x = MAKERS[name](generator()), noise(7, 4)
    arguments = (x,) if name == "CategoricalNetwork" else (x, torch.arange(7) % 3)
    exact = network(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(*arguments)
    parts = {"MLP": [lambda h: h], "CategoricalNetwork": [lambda p: p.log_probs]}
    for part in parts.get(name, [lambda p: p.mean, lambda p: p.log_var]):
        assert part(rough).dtype == torch.float32
        torch.testing.assert_close(part(rough), part(exact), atol=0.05, rtol=0.05)
    first = parts.get(name, [lambda p: p.mean])[0]
    assert not torch.equal(first(rough), first(exact))  # the linear layers did run in bfloat16


# --- features of a Gaussian kernel ------------------------------------------------------------------------------------


def placed(n_centers=6, gamma=0.4, features=None):
    """Features whose inner products are the kernel on the centers: the kernel matrix to the power of -1/2."""
    centers = 3 * noise(n_centers, 4, seed=3)
    values, vectors = np.linalg.eigh(rbf_kernel(centers, gamma=gamma))
    features = features or KernelFeatures(4, n_centers)
    features.place(centers, gamma, torch.from_numpy(vectors / np.sqrt(values)).float())
    return features, centers


def test_inner_products_of_features_are_the_kernel_on_the_centers():
    """scikit-learn's rbf_kernel, in float32; elsewhere they never exceed it: the rest is positive semi-definite."""
    features, centers = placed()
    x = torch.cat([centers, centers + 0.3 * noise(6, 4), 3 * noise(40, 4, seed=1)])
    found, kernel = features(x).numpy().astype(float), rbf_kernel(x, gamma=0.4)
    np.testing.assert_allclose((found @ found.T)[:6], kernel[:6], atol=1e-4)
    assert np.linalg.eigvalsh(kernel - found @ found.T).min() > -1e-5
    assert not any(isinstance(tensor, torch.nn.Parameter) for tensor in features.state_dict(keep_vars=True).values())


def test_features_are_0_until_the_centers_are_placed():
    assert not KernelFeatures(4, 6)(noise(7, 4)).any()


def test_features_are_float32_under_autocast():
    """A distance is a difference of large numbers: in bfloat16, it would change the features by several hundredths."""
    features, centers = placed()
    x = centers + 0.1 * noise(6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = features(x)
        rough = F.linear(x, centers).float()
    assert under_autocast.dtype == torch.float32 and torch.equal(under_autocast, features(x))
    squared = (x**2).sum(1, keepdim=True) + (centers**2).sum(1) - 2 * rough
    wrong = torch.exp(-0.4 * squared.clamp(min=0)) @ features.whitening
    assert (wrong - features(x)).abs().max() > 0.02


@pytest.mark.parametrize("hidden", [(), (6,)])
def test_kernel_features_add_to_the_logits(hidden):
    """q(y | x) has the logits of the MLP plus a linear map of the features, which read what the MLP reads."""
    arguments = (4, 3, hidden, "tanh", generator(), True, True)
    network = CategoricalNetwork(*arguments, n_centers=6)
    plain = CategoricalNetwork(*arguments[:4], generator(), True, True)
    features, centers = placed()
    x = torch.cat([centers, noise(7, 4), 30 + noise(1, 4)])
    torch.testing.assert_close(network(x).log_probs, plain(x).log_probs)  # before they are placed
    assert plain.features is None and plain.kernel_weight is None
    weight = noise(3, 6, seed=2)
    network.init_kernel(weight, centers, 0.4, features.whitening)
    read = network.mlp.read(x)
    assert (read - x).abs().max() > 10  # an outlying cell is clipped
    logits = network.mlp(x) + features(read) @ weight.T
    torch.testing.assert_close(network(x).log_probs, torch.log_softmax(logits, -1))
    assert (network(x).probs - plain(x).probs).abs().max() > 0.1
    network(x).log_probs[:, 0].sum().backward()
    assert network.kernel_weight.grad.any()
