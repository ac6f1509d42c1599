"""Tests of layer-by-layer training, without an estimator: what each layer is trained on, and how a stack grows."""

import pytest
import torch

from skdgm.estimators._layerwise import LayerSettings, LayerwiseData, LayerwiseTrainer, TrainedLayer, layer_bounds
from skdgm.models.rbm import RBMModule
from skdgm.models.stack import new_layer
from skdgm.sources import CorruptedSource, EncodedSource, ResidentSource
from skdgm.training import History, Settings, train

N_COLUMNS = 8


def settings(**kwargs):
    defaults = {
        "inference": "rich",
        "hidden_layer_sizes": [6],
        "activation": "relu",
        "likelihood": "bernoulli",
        "input_noise": None,
        "input_noise_level": 0.1,
        "n_gibbs_steps": 1,
        "persistent": False,
        "n_chains": None,
        "n_temperatures": 1,
        "centered": False,
        "early_stopping": False,
        "batch_size": lambda n_rows: min(n_rows, 20),
        "n_bound_samples": 100,
        "n_annealing_steps": 10,
        "n_annealing_chains": 10,
    }
    return LayerSettings(**{**defaults, **kwargs})


def some_rows(n, seed):
    """Binary rows of two noisy patterns."""
    rng = torch.Generator().manual_seed(seed)
    patterns = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0, 1, 0]]).float()
    x = patterns[torch.randint(2, (n,), generator=rng)]
    return (x - torch.bernoulli(torch.full_like(x, 0.1), generator=rng)).abs()


def context(run_engine, **kwargs):
    rng = torch.Generator().manual_seed(0)
    return LayerwiseData(
        source=ResidentSource(some_rows(100, 0)),
        validation=ResidentSource(some_rows(50, 1)),
        device="cpu",
        weights_rng=rng,
        new_generator=lambda: rng,
        fixed_generator=lambda: torch.Generator().manual_seed(0),
        run_engine=run_engine,
        **kwargs,
    )


class Recorder:
    """A stand-in for the training engine: it does not train, and records its arguments."""

    def __init__(self):
        self.calls = []

    def __call__(self, level, architecture, layer, term, validation):
        self.calls.append((level, architecture, term, validation))
        layer.requires_grad_(False)
        return History()


def few_epochs(level, architecture, layer, term, validation):
    history = train(layer, [term], Settings(5, 3e-2), torch.Generator().manual_seed(level))
    layer.requires_grad_(False)
    return history


def test_each_layer_reads_codes_of_those_below():
    """The lowest layer reads rows, upper ones codes of the right width; autoencoders read noisy input, the RBM not."""
    engine, options = Recorder(), settings(input_noise="auto", early_stopping=True)
    layers = LayerwiseTrainer(options, context(engine)).train([], options.architectures(N_COLUMNS, [5, 4, 3]))
    assert [layer.n_hidden for layer in layers] == [5, 4, 3]
    assert [(level, layer["kind"]) for level, layer, _, _ in engine.calls] == [(0, "rich"), (1, "rich"), (2, "rbm")]
    sources = [term.source for _, _, term, _ in engine.calls]
    assert [type(source) for source in sources] == [CorruptedSource, CorruptedSource, EncodedSource]
    assert isinstance(sources[0].source, ResidentSource) and isinstance(sources[1].source, EncodedSource)
    for (_, architecture, term, validation), width in zip(engine.calls, [N_COLUMNS, 5, 4], strict=True):
        indices = torch.arange(2)
        assert architecture["n_columns"] == width == term.source.rows(indices, None).x.shape[1]
        assert validation.source.n_rows == 50 and validation.source.rows(indices, None).x.shape[1] == width


def test_nothing_is_validated_without_early_stopping():
    engine, options = Recorder(), settings()
    LayerwiseTrainer(options, context(engine)).train([], options.architectures(N_COLUMNS, [5, 4]))
    assert [validation for _, _, _, validation in engine.calls] == [None, None]


def test_given_layers_are_kept_and_codes_are_binary():
    """Only the layers above are trained; even for real rows, the upper layers are Bernoulli."""
    engine, options = Recorder(), settings(likelihood="gaussian")
    architectures = options.architectures(N_COLUMNS, [5, 3])
    assert [layer["likelihood"] for layer in architectures] == ["gaussian", "bernoulli"]
    given = TrainedLayer(architectures[0], new_layer(**architectures[0]))
    layers = LayerwiseTrainer(options, context(engine)).train([given], architectures[1:])
    assert layers[0] is given and given.history is None and [level for level, *_ in engine.calls] == [1]


def test_layers_begin_at_the_weights_of_an_earlier_fit():
    options = settings()
    architectures = options.architectures(N_COLUMNS, [5, 3])
    first = LayerwiseTrainer(options, context(Recorder())).train([], architectures)
    previous = [trained.layer for trained in first][:1]
    again = LayerwiseTrainer(options, context(Recorder(), previous=previous)).train([], architectures)
    for name, weight in previous[0].state_dict().items():
        assert torch.equal(again[0].layer.state_dict()[name], weight)


def test_candidates_are_shares_of_the_width():
    """Each size occurs once, is at least 2 and at most 500."""
    sizes = [
        [layer["n_hidden"] for layer in settings().candidates("rbm", width, (1.0, 0.5), 0)] for width in (2, 9, 5000)
    ]
    assert sizes == [[2], [4, 9], [500]]


def test_growth_ends_in_an_rbm_of_a_tried_size():
    """It has at most five layers, with an RBM last."""
    layers = LayerwiseTrainer(settings(), context(few_epochs)).grow([])
    assert 1 <= len(layers) <= 5 and layers[-1].architecture["kind"] == "rbm"
    widths = [N_COLUMNS, *(trained.n_hidden for trained in layers)]
    assert widths[-1] in (widths[-2], widths[-2] // 2)
    assert all(trained.history.terms["bound"] for trained in layers)


def test_bounds_are_in_the_units_of_the_rows():
    """A log-scale shifts every bound but not their gap; without a request, no upper bound is certified."""
    rbm, x = RBMModule(N_COLUMNS, 3, "bernoulli", torch.Generator().manual_seed(0)), some_rows(20, 0)
    with torch.no_grad():
        plain, moved = (layer_bounds(rbm, x, x, None, log_scale) for log_scale in (0.0, 2.0))
        assert layer_bounds(rbm, x, x, None, 0.0, certify=False).upper_bound is None
    for name in ("q_lower_bound", "upper_bound", "autoencoder_bound"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name) - 2)
    assert moved.upper_bound_gap == plain.upper_bound_gap
