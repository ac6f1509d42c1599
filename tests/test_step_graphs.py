"""Recorded training steps: a recorder without a GPU checks inputs and bookkeeping, a GPU everything else."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from skdgm import (
    DLGM,
    VAE,
    ADGMClassifier,
    DeepImputer,
    M1M2Classifier,
    M2Classifier,
    StackedAutoencoder,
    step_graphs,
    training,
)
from skdgm.datasets import mask_labels
from skdgm.sources import Batch
from skdgm.step_graphs import StepGraphs, copy_of, shapes_of, tensors_of

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


class Rehearsal:
    """A recorder for any device: it runs nothing when it records, and calls the function again at each replay."""

    n_recorded = n_replayed = 0

    def __init__(self, device, rng):
        pass

    def __call__(self, function):
        type(self).n_recorded += 1
        means = {}

        def replay():
            type(self).n_replayed += 1
            means.update(function())

        return replay, means


@pytest.fixture
def rehearsal(monkeypatch):
    """Train with recorded steps on the CPU."""

    class Counted(Rehearsal):
        pass

    monkeypatch.setattr(training, "CudaRecorder", Counted)
    monkeypatch.setattr(training, "can_record", lambda module: True)
    return Counted


def few_labels(n=300, n_labeled=40):
    X, y = load_digits(return_X_y=True)
    return (X[:n] / 16).astype(np.float32), mask_labels(y[:n], n_labeled, random_state=0)


def mixed_rows(n=300):
    """A binary, a categorical, and two real columns, with missing cells."""
    rng = np.random.default_rng(0)
    X = np.c_[rng.integers(0, 2, n), rng.integers(0, 4, n), rng.normal(size=(n, 2))].astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


SMALL = {"hidden_layer_sizes": (20,), "batch_size": 50, "max_iter": 4, "random_state": 0}
MODELS = {
    "VAE": VAE(3, **SMALL),
    "VAE, noise": VAE(3, input_noise="flip", dynamic_binarization=True, likelihood="bernoulli", **SMALL),
    "VAE, held out": VAE(3, early_stopping=True, kl_warmup=2, prior="mixture", **SMALL),
    "DLGM": DLGM(3, **SMALL),
    "DLGM, top-down": DLGM((4, 3), inference="top_down", **SMALL),
    "DLGM, importance": DLGM(3, n_importance_samples_train=3, **SMALL),
    "M2": M2Classifier(3, **SMALL),
    "M2, drawn classes": M2Classifier(3, n_enumerated=1, alpha=1.0, kl_warmup=3, class_prior="estimated", **SMALL),
    "M1M2": M1M2Classifier(encoder=VAE(3, **SMALL), **SMALL),
    "SDGM": ADGMClassifier(3, batch_norm=True, n_enumerated=1, **SMALL),
    "ADGM": ADGMClassifier(3, skip=False, **SMALL),
    "autoencoders": StackedAutoencoder((6, 4), hidden_layer_sizes=(8,), batch_size=50, max_iter=4, random_state=0),
    "RBM": StackedAutoencoder((6,), batch_size=50, max_iter=4, persistent=True, n_chains=20, random_state=0),
    "RBM, centered": StackedAutoencoder(
        (6,), batch_size=50, max_iter=4, persistent=True, centered=True, n_temperatures=3, random_state=0
    ),
}


def fitted(model, X, y, **params):
    model = type(model)(**model.get_params(deep=False)).set_params(**params)
    labels = y if hasattr(model, "predict_proba") or "alpha" in model.get_params() else None
    return model.fit(X, labels)


def assert_same_fits(one, other, X, tolerance):
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.transform(X), other.transform(X), atol=100 * tolerance)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_replayed_steps_train_like_others(name, rehearsal):
    """Whatever changes from step to step is an input; in a graph the numbers are float32, and drawn codes may flip."""
    X, y = few_labels()
    recorded = fitted(MODELS[name], X, y, device="cpu")
    assert rehearsal.n_recorded and rehearsal.n_replayed > rehearsal.n_recorded
    with pytest.MonkeyPatch.context() as undone:
        undone.setattr(training, "can_record", lambda module: False)
        expected = fitted(MODELS[name], X, y, device="cpu")
    assert_same_fits(recorded, expected, X, 1e-3)


def test_each_shape_has_a_graph_from_its_third_batch_on(rehearsal):
    """Seven rows in batches of three have sizes 3, 2, 2: two shapes, and two numbers that differ at each step."""
    seen = []

    def step(batches, first, second):
        seen.append((len(batches[0].x), float(first), float(second)))
        return {"sum": batches[0].x.sum() + first}

    graphs = StepGraphs(step, rehearsal(None, None), torch.device("cpu"))
    for i, size in enumerate([3, 2, 2, 2, 3, 3, 2, 3]):
        x = torch.full((size, 2), float(i))
        means = graphs([Batch(x)], 10.0 * i, 0.5)
        assert float(means["sum"]) == 2 * size * i + 10.0 * i and seen[-1] == (size, 10.0 * i, 0.5)
    assert rehearsal.n_recorded == 2 and len(graphs.graphs) == 2


def test_terms_that_share_a_batch_share_its_copy(rehearsal):
    """And no tensor of a batch is left out: a mask, classes, weights, what the encoder reads."""
    x = torch.arange(6.0).view(3, 2)
    shared = Batch(x, x > 2, torch.arange(3), torch.ones(3), (x + 1, x > 3))
    same = []

    def step(batches, number):
        same.append(batches[0] is batches[1])
        parts = [tensor.sum() for tensor in tensors_of(batches)]
        return {"parts": torch.stack([part.float() for part in parts])}

    graphs = StepGraphs(step, rehearsal(None, None), torch.device("cpu"))
    for _ in range(3):
        graphs([shared, shared, Batch(x)], 0.0)
    changed = Batch(2 * x, x > 1, torch.arange(3) * 2, torch.ones(3) * 3, (x + 2, x > 0))
    found = graphs([changed, changed, Batch(3 * x)], 0.0)["parts"]
    assert found.tolist() == [30, 4, 6, 9, 27, 5, 45] and all(same) and len(same) == 4
    assert rehearsal.n_recorded == 1


def test_the_copy_of_a_batch_has_memory_of_its_own():
    batch = Batch(torch.ones(2, 2), None, torch.zeros(2), None, (torch.ones(2, 2), None))
    copy = copy_of(batch)
    assert shapes_of([copy]) == shapes_of([batch])
    for one, other in zip(tensors_of([copy]), tensors_of([batch]), strict=True):
        assert torch.equal(one, other) and one.data_ptr() != other.data_ptr()


@pytest.mark.filterwarnings("ignore")
def test_training_goes_on_without_graphs_if_memory_is_short(rehearsal, monkeypatch):
    """The step that could not be recorded runs as it is, and no gradient is left of the attempt."""

    class Short(rehearsal):
        def __call__(self, function):
            rehearsal.n_recorded += 1
            function()
            raise torch.OutOfMemoryError("no memory")

    before, attempts = training.step, []

    def failing(*args):
        """The gradients of an attempt are computed, and it changes nothing else."""
        loss = before(*args)
        if rehearsal.n_recorded > len(attempts):
            attempts.append(0)
            loss.backward()
            raise torch.OutOfMemoryError("no memory")
        return loss

    def loss_curve(fails):
        with monkeypatch.context() as within:
            if fails:
                within.setattr(training, "CudaRecorder", Short)
                within.setattr(training, "step", failing)
            return fitted(MODELS["VAE"], *few_labels(100), device="cpu").loss_curve_

    within_memory = loss_curve(False)
    rehearsal.n_recorded = 0
    # two batches of one shape per epoch; the draws of the failed attempt are lost, so only the first epoch is equal
    short = loss_curve(True)
    assert rehearsal.n_recorded == len(attempts) == 1 and short[0] == within_memory[0]
    np.testing.assert_allclose(short, within_memory, rtol=0.05)


@pytest.mark.parametrize("fails_at_end", [False, True])
def test_a_recording_that_fails_ends_and_tells_the_way_out(fails_at_end):
    """The error is that of the step, not what the interrupted recording says of it."""

    class Graph:
        n_ended = 0

        def capture_begin(self, pool, capture_error_mode):
            pass

        def capture_end(self):
            self.n_ended += 1
            raise RuntimeError("at the end")

    def step():
        if not fails_at_end:
            raise RuntimeError("in the step")

    graph = Graph()
    with pytest.raises(RuntimeError, match="at the end" if fails_at_end else "in the step") as failure:
        step_graphs.captured(graph, None, step)
    assert graph.n_ended == 1 and "SKDGM_CUDA_GRAPHS=0" in failure.value.__notes__[0]


def test_modules_of_a_users_own_are_not_recorded(monkeypatch):
    """Their Python code may change from step to step, and a graph would not run it again."""

    class Own(torch.nn.Module):
        pass

    class Script(torch.nn.Module):
        __module__ = "torch.jit._script"

    monkeypatch.setattr(step_graphs.nn.Module, "parameters", lambda self: iter(()))
    known, own = torch.nn.Sequential(torch.nn.ReLU()), torch.nn.Sequential(Own())
    assert step_graphs.can_record(known) and not step_graphs.can_record(own)
    hooked, replaced = torch.nn.Sequential(torch.nn.ReLU()), torch.nn.ReLU()
    hooked[0].register_forward_hook(lambda *args: None)
    replaced.forward = torch.relu
    assert not step_graphs.can_record(hooked) and not step_graphs.can_record(replaced)
    assert not step_graphs.can_record(Script())
    with torch.autograd.set_detect_anomaly(True):
        assert not step_graphs.can_record(known)
    with monkeypatch.context() as within:
        within.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
        assert not step_graphs.can_record(known)
    monkeypatch.setenv("SKDGM_CUDA_GRAPHS", "0")
    assert not step_graphs.can_record(known)


@pytest.mark.parametrize(
    ("posterior", "rank", "can"),
    [("diagonal", 1, True), ("low_rank", 1, True), ("low_rank", 2, False), ("full", 1, False)],
)
def test_posteriors_whose_solvers_may_need_the_cpu_are_not_recorded(posterior, rank, can, monkeypatch):
    module = DLGM(3, posterior=posterior, rank=rank, **SMALL | {"max_iter": 1}).fit(few_labels()[0]).module_
    monkeypatch.setattr(step_graphs.nn.Module, "parameters", lambda self: iter(()))
    assert step_graphs.can_record(module) == can


def test_a_cpu_records_nothing():
    assert not step_graphs.can_record(torch.nn.Linear(2, 2))


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_ends_with_its_fit(rehearsal, monkeypatch):
    """It and its graphs refer to each other: without a cut, their memory would wait for the garbage collector."""
    trainers, init = [], training.Trainer.__init__

    def watched(self, *args):
        init(self, *args)
        trainers.append(weakref.ref(self))

    monkeypatch.setattr(training.Trainer, "__init__", watched)
    gc.disable()
    try:
        fitted(MODELS["VAE"], *few_labels(), device="cpu")
        assert len(trainers) == 1 and trainers[0]() is None
    finally:
        gc.enable()


def tensors_of_training(trainer):
    """All that a step reads and writes beside the batches, by name."""
    parameters, adam = trainer.parameters, trainer.adam
    found = {f"module.{name}": value for name, value in trainer.module.state_dict().items()}
    found |= {"values": parameters.values, "gradient": parameters.gradient, "average": trainer.average.values}
    return found | {"mean": adam.mean, "square": adam.square, "n_steps": adam.n_steps}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["VAE", "M2, drawn classes", "SDGM"])
def test_whatever_training_changes_stays_in_its_memory(name, monkeypatch):
    """Through epochs that run again, a lower rate, and a new class prior: a graph would not see other tensors."""
    seen, epoch, counts = [], training.Trainer.epoch, {"reduced": 0, "restored": 0}

    def watched(self, number):
        seen.append({key: value.data_ptr() for key, value in tensors_of_training(self).items()})
        record = epoch(self, number)
        return {key: np.nan for key in record} if len(seen) == 3 else record  # the epoch will run again

    def counted(kind, function):
        def call(self, *args):
            counts[kind] += 1
            return function(self, *args)

        return call

    monkeypatch.setattr(training.Trainer, "epoch", watched)
    monkeypatch.setattr(training.EarlyStopping, "is_stale", lambda self, epoch: epoch == 5)
    monkeypatch.setattr(training.WeightAverage, "restart", counted("reduced", training.WeightAverage.restart))
    monkeypatch.setattr(training.Rollback, "restore", counted("restored", training.Rollback.restore))
    fitted(MODELS[name], *few_labels(), device="cpu", max_iter=9, early_stopping="auto")
    assert counts == {"reduced": 1, "restored": 1} and len(seen) == 10 and len(seen[0]) > 10
    assert all(one == seen[0] for one in seen)


def test_chains_stay_in_their_memory(few_labels):
    """A recorded step reads the chains of the step before where it wrote them."""
    from skdgm.models.contrastive_divergence import ContrastiveDivergence
    from skdgm.models.rbm import RBMModule

    rng, x = torch.Generator().manual_seed(0), torch.from_numpy(few_labels[0][:20])
    rbm = RBMModule(64, 5, "bernoulli", rng=rng)
    divergence = ContrastiveDivergence(rbm, persistent=True)
    divergence(x, rng)
    before, pointer = divergence.chains.clone(), divergence.chains.data_ptr()
    divergence(x, rng)
    assert divergence.chains.data_ptr() == pointer and not torch.equal(divergence.chains, before)


# --- on a GPU -----------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Count recorded and replayed steps on the GPU."""

    class Counted(step_graphs.CudaRecorder):
        n_recorded = n_replayed = 0

        def __call__(self, function):
            replay, means = super().__call__(function)
            Counted.n_recorded += 1

            def count():
                Counted.n_replayed += 1
                replay()

            return count, means

    monkeypatch.setattr(training, "CudaRecorder", Counted)
    return Counted


@NO_CUDA
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_graphs_train_like_single_kernels(name, precision, counted, monkeypatch):
    """The same seed gives the same fit: a replay draws from the generator what the kernels would have drawn."""
    X, y = few_labels()
    recorded = fitted(MODELS[name], X, y, device="cuda", precision=precision)
    assert counted.n_recorded and counted.n_replayed > counted.n_recorded
    again = fitted(MODELS[name], X, y, device="cuda", precision=precision)
    assert again.loss_curve_ == recorded.loss_curve_
    monkeypatch.setenv("SKDGM_CUDA_GRAPHS", "0")
    n = counted.n_replayed
    expected = fitted(MODELS[name], X, y, device="cuda", precision=precision)
    assert counted.n_replayed == n
    assert_same_fits(recorded, expected, X, 1e-3 if precision == "float32" else 3e-2)


@NO_CUDA
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch_size", [100, 900])
def test_fits_on_a_gpu_repeat_to_the_bit(batch_size):
    """Also sums of many rows with the same class, or of one row for many classes, have a fixed order."""
    X, y = few_labels(1797, 500)
    params = {"batch_size": batch_size, "labeled_batch_size": batch_size, "device": "cuda", "batch_norm": True}
    one, other = (fitted(MODELS["ADGM"], X, y, **params) for _ in range(2))
    assert one.loss_curve_ == other.loss_curve_ and np.array_equal(one.transform(X), other.transform(X))


@NO_CUDA
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "model",
    [
        VAE(3, **SMALL),
        M2Classifier(3, **SMALL),
        ADGMClassifier(3, **SMALL),
        DeepImputer(VAE(3, device="cuda", **SMALL)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_tables_with_missing_cells_train_with_graphs(model, counted):
    """No step waits for the device, whatever the columns: recording would fail."""
    X = mixed_rows()
    y = mask_labels(np.arange(len(X)) % 2, 40, random_state=0)
    if "device" in model.get_params():
        model.set_params(device="cuda")
    model.fit(X, y if hasattr(model, "predict_proba") else None)
    assert counted.n_replayed


@NO_CUDA
@pytest.mark.filterwarnings("ignore")
def test_graphs_free_their_memory():
    """After a fit, the GPU holds the model and no graphs, without the garbage collector."""
    X, y = few_labels()
    model = fitted(MODELS["M2"], X, y, device="cuda")
    gc.collect()
    gc.disable()
    try:
        before = torch.cuda.memory_allocated()
        for _ in range(3):
            model = fitted(MODELS["M2"], X, y, device="cuda")
        size = sum(value.numel() * value.element_size() for value in model.module_.state_dict().values())
        assert torch.cuda.memory_allocated() - before < 3 * size + (1 << 20)
    finally:
        gc.enable()


@NO_CUDA
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("own_streams", [False, True])
def test_fits_in_threads_record_side_by_side(own_streams):
    """Several fits at once, in threads, are the same as one after another, also on more streams than torch has."""

    def loss_curve(name):
        stream = torch.cuda.Stream() if own_streams else torch.cuda.current_stream()
        with torch.cuda.stream(stream):
            return fitted(MODELS[name], X, y, device="cuda").loss_curve_

    X, y = few_labels()
    names = ["VAE", "M2", "SDGM", "DLGM"] * (12 if own_streams else 1)
    expected = {name: fitted(MODELS[name], X, y, device="cuda").loss_curve_ for name in set(names)}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(loss_curve, names))
    assert found == [expected[name] for name in names]
