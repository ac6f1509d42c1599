"""Tests of the training engine on small models with known solutions: schedules, priors, batches, stops, devices."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from skdgm import training
from skdgm.averaging import WeightAverage
from skdgm.models.adgm import ADGMModule
from skdgm.models.bound import LabelBound
from skdgm.models.m2 import M2Module
from skdgm.models.vae import VAEModule
from skdgm.optimizer import MAX_GRADIENT_NORM, Adam, ParameterVector
from skdgm.sources import BlockwiseSource, ResidentSource, Subset
from skdgm.training import LEARNING_RATES, History, Settings, Term, iterate_batches, row_mean, total_bound, train


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


class Line(nn.Module):
    """log N(y; x w + b, 1): a regression with one weight matrix and one bias."""

    def __init__(self, n_columns=3):
        super().__init__()
        self.weight = nn.Parameter(noise(1, n_columns, seed=5))
        self.bias = nn.Parameter(torch.zeros(1))

    def log_prob(self, x):
        return -0.5 * (x[:, 0] - x[:, 1:] @ self.weight[0] - self.bias) ** 2


def line_rows(n=60):
    x = noise(n, 3)
    return torch.cat([(x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 + 0.1 * noise(n, seed=1))[:, None], x], 1)


def term_of(objective, x=None, name="", weight=1.0, batch_size=20, **columns):
    return Term(name, ResidentSource(line_rows() if x is None else x, **columns), objective, weight, batch_size)


def line_term(module, **kwargs):
    return term_of(lambda batch, rng: module.log_prob(batch.x), **kwargs)


def settings(**kwargs):
    return Settings(**{"max_iter": 5, "learning_rate_init": 0.01, **kwargs})


def weights(module):
    return torch.cat([p.detach().ravel().clone() for p in module.parameters()])


# --- the optimum ------------------------------------------------------------------------------------------------------


def test_it_maximizes_the_bound():
    """The fitted line is the least-squares line."""
    module, x = Line(), line_rows()
    train(module, [line_term(module, batch_size=30)], settings(max_iter=150, learning_rate_init=0.1), generator())
    design = np.column_stack([x[:, 1:].numpy(), np.ones(60)])
    expected = np.linalg.lstsq(design, x[:, 0].numpy(), rcond=None)[0]
    np.testing.assert_allclose(weights(module).numpy(), expected, atol=0.01)


def test_weights_of_terms_and_rows_determine_the_optimum():
    """Terms weighted 3 : 1, and rows weighted 3 : 1, both move a mean to three quarters."""

    def pull(towards):
        return lambda batch, rng: -((module.bias - towards) ** 2).expand(len(batch.x))

    module = Line()
    terms = [term_of(pull(to), weight=weight, batch_size=60) for to, weight in [(1.0, 3.0), (0.0, 1.0)]]
    train(module, terms, settings(max_iter=100, learning_rate_init=0.1), generator())
    assert module.bias.item() == pytest.approx(0.75, abs=0.01)

    module, x = Line(), torch.tensor([[1.0], [0.0]])
    source = ResidentSource(x, None, None, torch.tensor([3.0, 1.0]))
    term = Term("", source, lambda batch, rng: -((module.bias - batch.x[:, 0]) ** 2), 1.0, 2)
    train(module, [term], settings(max_iter=100, learning_rate_init=0.1), generator())
    assert module.bias.item() == pytest.approx(0.75, abs=0.01)


def test_row_weights_count_in_batches_too():
    """Rows weighted 3 : 1 move the mean to three quarters even as separate batches: the gradient is unbiased."""
    module, x = Line(), torch.tensor([[1.0], [0.0]])
    source = ResidentSource(x, None, None, torch.tensor([1.5, 0.5]))
    term = Term("", source, lambda batch, rng: -((module.bias - batch.x[:, 0]) ** 2), 1.0, 1)
    train(module, [term], settings(max_iter=200, learning_rate_init=0.05), generator())
    assert module.bias.item() == pytest.approx(0.75, abs=0.05)


def test_row_mean_of_equal_weights_is_the_mean():
    """Weights of one change nothing; a weight of 2 equals the row twice."""
    bound = noise(6)
    assert row_mean(bound, None) == bound.mean()
    torch.testing.assert_close(row_mean(bound, torch.ones(6)), bound.mean())


def test_the_weight_prior_is_the_gradient_of_its_log_density():
    """weight_prior=s adds (1/N) sum log N(w; 0, s^2) of the weight matrices, without biases, to the bound."""
    sd, n = 0.5, 40
    by_decay, by_hand = Line(), Line()
    shared = settings(max_iter=8, learning_rate_init=0.02, n_rows=n)
    decay = settings(max_iter=8, learning_rate_init=0.02, n_rows=n, weight_prior=sd)
    train(by_decay, [line_term(by_decay)], decay, generator())

    def with_prior(batch, rng):
        return by_hand.log_prob(batch.x) - 0.5 * (by_hand.weight**2).sum() / sd**2 / n

    train(by_hand, [term_of(with_prior)], shared, generator())
    torch.testing.assert_close(weights(by_decay), weights(by_hand), atol=1e-6, rtol=1e-5)
    without = Line()
    train(without, [line_term(without)], shared, generator())
    assert (weights(without) - weights(by_hand)).abs().max() > 1e-3


@pytest.mark.parametrize(("sd", "largest"), [(1e-308, 0.05), (1e-30, 0.05), (1e308, math.inf)])
def test_an_extreme_weight_prior_neither_overflows_nor_divides_by_zero(sd, largest):
    module = Line()
    extreme = settings(max_iter=50, learning_rate_init=0.02, n_rows=40, weight_prior=sd)
    train(module, [line_term(module)], extreme, generator())
    assert torch.isfinite(weights(module)).all() and module.weight.abs().max() < largest


# --- schedules --------------------------------------------------------------------------------------------------------


def test_rates_of_the_schedules():
    """constant; linear from the middle, to 0.01; cosine, to 0.01; all start at the given rate, and none rises."""
    for name in LEARNING_RATES:
        rates = [settings(max_iter=100, learning_rate=name, learning_rate_init=0.3).rate(e) for e in range(100)]
        assert rates[0] == pytest.approx(0.3)
        assert all(a >= b > 0 for a, b in zip(rates[:-1], rates[1:], strict=True))
    falling, cosine, constant = (
        [settings(max_iter=100, learning_rate=name, learning_rate_init=1.0).rate(e) for e in (0, 50, 75, 99)]
        for name in ("linear", "cosine", "constant")
    )
    assert falling == pytest.approx([1.0, 1.0, 0.5, 0.02])
    assert cosine == pytest.approx([1.0, 0.5, 0.5 * (1 + math.cos(0.75 * math.pi)), 0.01])
    assert constant == [1.0] * 4


def test_the_optimizer_obeys_the_schedule():
    """With a constant gradient, Adam's steps equal the learning rate: the bias moves by each epoch's rate."""
    module, moves = Line(), []
    term = term_of(lambda batch, rng: 1e-3 * module.bias.expand(len(batch.x)), batch_size=60)
    before = [0.0]

    def on_epoch(epoch, history):
        moves.append(module.bias.item() - before[0])
        before[0] = module.bias.item()
        return False

    plan = settings(max_iter=20, learning_rate_init=0.01)
    train(module, [term], plan, generator(), on_epoch=on_epoch)
    np.testing.assert_allclose(moves, [plan.rate(e) for e in range(20)], rtol=1e-3)


def test_the_rate_changes_with_every_step():
    """Step i of n in epoch e has the rate of e + i / n epochs."""
    module, positions = Line(), []

    def objective(batch, rng):
        positions.append(module.bias.item())
        return 1e-3 * module.bias.expand(len(batch.x))

    plan = settings(max_iter=6, learning_rate_init=0.01)
    train(module, [term_of(objective)], plan, generator())
    moves = np.diff([*positions, module.bias.item()])
    np.testing.assert_allclose(moves, [plan.rate(e + i / 3) for e in range(6) for i in range(3)], rtol=1e-3)
    assert len(set(np.round(moves[9:], 5))) == 9  # from the middle on, no two steps have the same


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("warmup", [4, 2.5, 0])
def test_warmup_rises_linearly_to_one_and_weights_the_kl(warmup, n_steps):
    """The KL of step i of n in epoch e has the weight min(1, (e + (i + 1) / n) / w); the bound has the whole KL."""
    module, ones = Line(), torch.ones(60)

    def objective(batch, rng):
        return LabelBound(*(c * ones[: len(batch.x)] + 0 * module.bias for c in (5.0, 2.0, 0.5)))

    term = term_of(objective, batch_size=60 // n_steps)
    history = train(module, [term], settings(kl_warmup=warmup), generator())
    steps = np.arange(1, 5 * n_steps + 1) / n_steps
    weight = np.minimum(1, steps / warmup) if warmup else np.ones(5 * n_steps)
    np.testing.assert_allclose(
        history.terms["objective" if warmup else "bound"], 5.5 - 2 * weight.reshape(5, -1).mean(1)
    )
    np.testing.assert_allclose(history.terms["bound"], 3.5)
    assert total_bound(LabelBound(5 * ones, 2 * ones, ones))[0] == 4.0


def test_the_weight_of_the_kl_at_the_ends_of_epochs():
    """1/w, 2/w, ..., 1, 1; without warm-up always 1."""
    assert [settings(kl_warmup=4).kl_weight(e + 1) for e in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert settings(kl_warmup=4).kl_weight(0) == 0.0 and settings().kl_weight(0) == 1.0


# --- batches ----------------------------------------------------------------------------------------------------------


def indexed(n, name="", batch_size=10, source=None):
    source = source or ResidentSource(torch.arange(float(n))[:, None])
    return Term(name, source, lambda batch, rng: batch.x[:, 0], 1.0, batch_size)


@pytest.mark.parametrize(("n", "batch_size"), [(100, 10), (101, 10), (7, 10), (1, 1), (23, 22), (23, 1)])
def test_an_epoch_shows_each_row_of_the_first_term_once(n, batch_size):
    """All rows, no row twice, in batches that differ by at most one row and do not exceed the requested size."""
    batches = [batch.x[:, 0] for (batch,) in iterate_batches([indexed(n, batch_size=batch_size)], generator())]
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= batch_size and len(sizes) == math.ceil(n / batch_size)


def test_other_terms_repeat_in_whole_passes():
    """A smaller source repeats in complete passes, with batches that differ by at most one row."""
    terms = [indexed(100), indexed(13, batch_size=5)]
    drawn = [other.x[:, 0] for _, other in iterate_batches(terms, generator())]
    assert len(drawn) == 10
    sizes = {len(batch) for batch in drawn}
    assert sizes <= {4, 5}
    for start in (0, 3, 6):
        assert sorted(torch.cat(drawn[start : start + 3]).tolist()) == list(range(13))


def test_a_longer_second_source_is_not_cut_to_the_same_rows():
    """Rows beyond the steps of an epoch come in other epochs, because each epoch draws a new order."""
    terms, rng = [indexed(20), indexed(1000)], generator()
    seen = [torch.cat([other.x[:, 0] for _, other in iterate_batches(terms, rng)]) for _ in range(2)]
    assert len(set(torch.cat(seen).tolist())) > 25


@pytest.mark.parametrize("leads", [True, False])
def test_terms_that_share_a_source_see_the_same_rows(leads):
    """The labeled bound and log q(y | x) of a step use the same rows."""
    shared = Subset(ResidentSource(torch.arange(100.0)[:, None]), torch.arange(40))
    terms = [indexed(0, "a", source=shared), indexed(0, "b", source=shared)]
    terms = terms if leads else [indexed(100), *terms]
    for *_, first, second in iterate_batches(terms, generator()):
        assert torch.equal(first.x, second.x)


def test_batches_come_from_the_generator():
    """The same seed gives the same batches, and the global generator does not change."""
    before = torch.get_rng_state()
    epochs = [
        [batch.x for pair in iterate_batches([indexed(50), indexed(9)], generator(s)) for batch in pair]
        for s in (0, 0, 1)
    ]
    assert all(map(torch.equal, epochs[0], epochs[1])) and not all(map(torch.equal, epochs[0], epochs[2]))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_from_disk_is_training_from_memory():
    """The same rows in the same order give the same weights, wherever they are stored."""
    x, fits = line_rows(), []
    to_tensors = lambda rows: (torch.from_numpy(rows.copy()), None)  # noqa: E731
    for source in (ResidentSource(x), BlockwiseSource(x.numpy(), to_tensors, torch.device("cpu"))):
        source.order = lambda rng: torch.randperm(60, generator=rng)
        module = Line()
        term = Term("", source, lambda batch, rng, m=module: m.log_prob(batch.x), 1.0, 20)
        train(module, [term], settings(), generator())
        fits.append(weights(module))
    assert torch.equal(*fits)


# --- history, stops ---------------------------------------------------------------------------------------------------


def test_history_holds_every_part_of_every_epoch():
    """One value per epoch and part, including the bound, their sum; parts have their term's name as prefix."""
    module = Line()
    terms = [
        term_of(
            lambda b, r: LabelBound(module.log_prob(b.x), 0 * b.x[:, 0] + 1, b.x[:, 1]), name="unlabeled", weight=0.5
        ),
        line_term(module, name="classification", weight=2.0),
    ]
    history = train(module, terms, settings(max_iter=4), generator())
    h = {name: np.array(values) for name, values in history.terms.items()}
    assert {len(values) for values in h.values()} == {4} and history.validation == []
    assert set(h) == {"unlabeled_reconstruction", "unlabeled_kl", "unlabeled_label", "classification", "bound"}
    expected = 0.5 * (h["unlabeled_reconstruction"] - 1 + h["unlabeled_label"]) + 2 * h["classification"]
    np.testing.assert_allclose(h["bound"], expected, rtol=1e-5)


def test_the_hook_is_called_each_epoch_and_can_stop():
    """on_epoch gets epoch and history; if it returns True, the fit ends after that epoch."""
    module, calls = Line(), []

    def on_epoch(epoch, history):
        calls.append((epoch, len(history.terms["bound"])))
        return epoch == 2

    history = train(module, [line_term(module)], settings(max_iter=9), generator(), on_epoch=on_epoch)
    assert calls == [(0, 1), (1, 2), (2, 3)] and len(history.terms["bound"]) == 3


def interrupted_at(step, validation=None, **kwargs):
    """Train a line, three steps per epoch, with an interrupt in this step (0: before the first); weights per epoch."""
    module, ends, steps = Line(), [], []

    def objective(batch, rng):
        steps.append(batch)
        return module.log_prob(batch.x)

    def on_epoch(epoch, history):
        ends.append(weights(module))
        return False

    hooks = {"on_epoch": on_epoch, "interrupted": lambda: len(steps) >= step, "validation": validation}
    history = train(module, [term_of(objective)], settings(**kwargs), generator(), **hooks)
    return module, history, ends, len(steps)


@pytest.mark.parametrize("step", [7, 8])
def test_an_interrupt_discards_the_epoch_that_is_not_complete(step):
    """No step follows, and weights and history are those of the last complete epoch."""
    module, history, ends, n_steps = interrupted_at(step)
    assert n_steps == step and len(ends) == 2
    assert torch.equal(weights(module), ends[1])
    assert {len(values) for values in history.terms.values()} == {2}


def test_an_epoch_with_all_its_steps_is_complete():
    """An interrupt in the last step of an epoch keeps this epoch and begins no other."""
    module, history, ends, n_steps = interrupted_at(6)
    assert n_steps == 6 and len(ends) == 2 and torch.equal(weights(module), ends[1])
    assert len(history.terms["bound"]) == 2


def test_an_interrupt_restores_the_best_weights_on_held_out_rows():
    """As early stopping does, also if the epoch of these weights is not the last complete one."""
    bounds = iter([0.0, 2.0, 1.0, 1.0])
    validation = term_of(lambda batch, rng: torch.full((60,), next(bounds)), batch_size=60)
    module, history, ends, _ = interrupted_at(11, validation, max_iter=9)
    assert history.validation == [0.0, 2.0, 1.0] and torch.equal(weights(module), ends[1])


@pytest.mark.parametrize("step", [0, 2])
def test_an_interrupt_in_the_first_epoch_raises(step):
    with pytest.raises(KeyboardInterrupt, match="before its first epoch"):
        interrupted_at(step)


def test_an_interrupt_while_an_epoch_runs_again_keeps_the_one_before():
    """An epoch with non-finite numbers is rolled back; an interrupt in its second run discards it, too."""
    steps = []

    def objective(batch, rng):
        steps.append(batch)
        return module.log_prob(batch.x) * (math.nan if len(steps) == 5 else 1.0)

    module, ends = Line(), []
    hook = lambda epoch, history: ends.append(weights(module))  # noqa: E731
    stop = lambda: len(steps) >= 8  # noqa: E731
    history = train(module, [term_of(objective)], settings(), generator(), on_epoch=hook, interrupted=stop)
    assert len(ends) == len(history.terms["bound"]) == 1 and torch.equal(weights(module), ends[0])


def scripted(values):
    """A module and a validation term with the bounds `values`, while the weights count the epochs."""
    module = Line()
    module.epoch = 0

    def objective(batch, rng):
        module.epoch += 1
        return 1e3 * module.bias.expand(len(batch.x))

    def script(batch, rng):
        return torch.full((len(batch.x),), values[module.epoch - 1])

    return module, term_of(objective, batch_size=60), term_of(script, batch_size=60)


def test_early_stopping_restores_the_best_weights():
    """It stops n_iter_no_change epochs after the best epoch, and the weights are those of that epoch."""
    module, term, validation = scripted([0.0, 1.0, 5.0, 4.0, 3.0, 2.0, 9.0])
    plan = settings(max_iter=7, n_iter_no_change=3, learning_rate="constant")
    history = train(module, [term], plan, generator(), validation=validation)
    assert history.validation == [0.0, 1.0, 5.0, 4.0, 3.0, 2.0]
    assert len(history.terms["bound"]) == 6
    assert module.bias.item() == pytest.approx(3 * 0.01, rel=1e-3)  # three steps of Adam


def test_the_best_weights_are_restored_at_a_normal_end_too():
    """Reaching max_iter restores the best epoch as well."""
    module, term, validation = scripted([0.0, 5.0, 1.0])
    train(module, [term], settings(max_iter=3, learning_rate="constant"), generator(), validation=validation)
    assert module.bias.item() == pytest.approx(2 * 0.01, rel=1e-3)


def test_gains_below_tol_do_not_count_but_add_up():
    """Epochs that gain less than tol are not progress; a slow rise that adds up to tol is."""
    slow = [0.05 * e for e in range(12)]
    for tol, n_epochs in [(1.0, 4), (0.1, 12)]:
        module, term, validation = scripted(slow)
        plan = settings(max_iter=12, n_iter_no_change=3, tol=tol)
        assert len(train(module, [term], plan, generator(), validation=validation).validation) == n_epochs


def test_early_stopping_begins_after_the_warm_up():
    """During KL warm-up, a falling bound does not stop the fit."""
    falling = [-float(e) for e in range(12)]
    module, term, validation = scripted(falling)
    plan = settings(max_iter=12, n_iter_no_change=2, kl_warmup=5)
    assert len(train(module, [term], plan, generator(), validation=validation).validation) == 5 + 2 + 1


def test_the_validation_bound_is_the_mean_over_rows_with_fixed_noise():
    """Equal weights give equal values, all rows count equally in any batches, and the generator does not advance."""
    module, x = Line(), line_rows(55)

    def noisy(batch, rng):
        return module.log_prob(batch.x) + torch.randn(len(batch.x), generator=rng)

    rng = generator(7)
    before = rng.get_state()
    looks = [training.validation_bound(module, term_of(noisy, x=x, batch_size=20), rng) for _ in range(2)]
    assert looks[0] == looks[1] and torch.equal(rng.get_state(), before)
    plain = training.validation_bound(module, line_term(module, x=x, batch_size=20), rng)
    assert plain == pytest.approx(module.log_prob(x).mean().item(), rel=1e-5)


# --- averaged weights -------------------------------------------------------------------------------------------------


def exponential_average(path, start, n):
    """The average of the weights after each step, of weight 1 / min(n, 1 + 0.2 t) for step t, by NumPy."""
    value = np.asarray(start, dtype=float)
    for t, after in enumerate(path, 1):
        value = value + (after.numpy() - value) / min(n, 1 + 0.2 * t)
    return value


def average_of(module, n):
    return WeightAverage(ParameterVector(module).values, n)


def set_weights(module, values):
    with torch.no_grad():
        module.weight.copy_(values[None, :3])
        module.bias.copy_(values[3:])


@pytest.mark.parametrize("n", [1, 5, 30, 300])
def test_the_average_is_exponential_with_a_growing_length(n):
    """Its weights are 1 / min(n, 1 + 0.2 t); it starts anew after restart, from the present weights."""
    module = Line()
    average, start, path = average_of(module, n), weights(module), noise(200, 4)
    for begin in (0, 120):
        for after in path[begin : begin + 120]:
            set_weights(module, after)
            average.update(average.next_share())
        expected = exponential_average(path[begin : begin + 120], start, n)
        with average.applied():
            np.testing.assert_allclose(weights(module), expected, atol=1e-5)
        average.restart()
        start = weights(module)
        with average.applied():
            assert torch.equal(weights(module), start)


def test_the_average_is_over_about_n_steps():
    """n = 300 forgets a jump of the weights by the factor e within 300 steps, but a fifth of them as a new average."""
    module = Line()
    average = average_of(module, 300)
    set_weights(module, torch.zeros(4))
    for _ in range(3000):
        average.update(average.next_share())
    set_weights(module, torch.ones(4))
    for _ in range(300):
        average.update(average.next_share())
    average.load()
    np.testing.assert_allclose(weights(module), 1 - np.exp(-1), atol=2e-3)


def test_within_the_body_the_module_has_the_average_and_afterwards_its_weights():
    """To the bit, also after an error in the body, and the average does not change."""
    module = Line()
    average, before = average_of(module, 10), noise(4)
    for after in (noise(4, seed=1), before):
        set_weights(module, after)
        average.update(average.next_share())
    with average.applied():
        inside = weights(module)
    assert torch.equal(weights(module), before) and (inside - before).abs().max() > 0.1
    with pytest.raises(RuntimeError, match="in the body"), average.applied():
        assert torch.equal(weights(module), inside)
        raise RuntimeError("in the body")
    assert torch.equal(weights(module), before)


class Path:
    """A fit of a line, three steps per epoch: the weights before each step, and those that callbacks see.

    With ``bounds``, the validation bounds of the epochs, also the weights that are validated.
    """

    def __init__(self, bad=(), stop_at=math.inf, bounds=None, **kwargs):
        self.module, self.before, self.ends, self.validated = Line(), [], [], []
        self.start = weights(self.module)

        def objective(batch, rng):
            self.before.append(weights(self.module))
            return self.module.log_prob(batch.x) * (math.nan if len(self.before) in bad else 1.0)

        def validate(batch, rng):
            self.validated.append(weights(self.module))
            return torch.full((len(batch.x),), bounds[len(self.validated) - 1])

        def on_epoch(epoch, history):
            self.ends.append(weights(self.module))
            return False

        hooks = {"on_epoch": on_epoch, "interrupted": lambda: len(self.before) >= stop_at}
        validation = None if bounds is None else term_of(validate, batch_size=60)
        plan = settings(learning_rate_init=0.1, **kwargs)
        self.history = train(self.module, [term_of(objective)], plan, generator(), validation=validation, **hooks)

    def after(self, *runs):
        """The weights after each step of the runs of epochs that were kept, if callbacks saw those of the last step."""
        pairs = zip(runs, self.ends, strict=True)
        return [w for run, end in pairs for w in (*self.before[3 * run + 1 : 3 * run + 3], end)]


def test_a_fit_without_held_out_rows_ends_with_the_average():
    """Over all its steps, and callbacks see it; it changes nothing in training. Else the last weights remain."""
    averaged, last = Path(n_averaged=4), Path(n_averaged=0)
    assert all(map(torch.equal, averaged.before, last.before)) and len(last.before) == 15
    steps = last.after(*range(5))
    for epoch, seen in enumerate(averaged.ends, 1):
        np.testing.assert_allclose(seen, exponential_average(steps[: 3 * epoch], last.start, 4), atol=1e-5)
    assert torch.equal(weights(averaged.module), averaged.ends[-1]) and len(averaged.ends) == 5
    assert torch.equal(weights(last.module), last.ends[-1])
    assert (weights(averaged.module) - weights(last.module)).abs().max() > 0.01


@pytest.mark.parametrize(
    ("fault", "kept"), [({"bad": {5}}, [0, 2, 3, 4, 5]), ({"stop_at": 7}, [0, 1]), ({"stop_at": 8}, [0, 1])]
)
def test_an_epoch_that_is_discarded_does_not_count_in_the_average(fault, kept):
    """Neither one with a non-finite step, which runs again, nor one that is interrupted."""
    averaged, last = Path(n_averaged=4, **fault), Path(n_averaged=0, **fault)
    expected = exponential_average(last.after(*kept), last.start, 4)
    np.testing.assert_allclose(weights(averaged.module), expected, atol=1e-5)
    assert torch.equal(weights(last.module), last.ends[-1])


def test_the_average_is_validated_and_the_best_one_is_returned():
    """Held-out rows judge the averaged weights: the module ends with the average of the best epoch."""
    path, without = Path(bounds=[0.0, 1.0, 3.0, 2.0, 1.0], n_averaged=4), Path(n_averaged=4)
    assert len(path.validated) == 5 and all(map(torch.equal, path.validated, without.ends))
    assert torch.equal(weights(path.module), path.validated[2])


def test_after_a_cut_of_the_rate_the_average_starts_anew_at_the_best_one():
    """Training goes on from the best average, at 0.3 times the rate, and averages from there on."""
    path = Path(bounds=[5.0, 1.0, 1.0, 6.0, 1.0], n_averaged=4, n_iter_no_change=2, reduce_rate_on_plateau=True)
    assert torch.equal(path.before[9], path.validated[0])  # the fourth epoch begins with the best weights
    expected = exponential_average(path.before[10:13], path.validated[0], 4)
    np.testing.assert_allclose(path.validated[3], expected, atol=1e-5)
    assert torch.equal(weights(path.module), path.validated[3])


# --- a bound that still rises -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "plan", "rise"),
    [
        (range(10), {"learning_rate": "constant"}, 2.0),  # (8 + 9) / 2 - (6 + 7) / 2
        ([0, 0, 0, 1, 3, 50, 99, 99, 99, 99], {}, 2.0),  # the rate falls from epoch 5 on
        ([0, 0, 0, 1, 3, 50, 99, 99, 99, 99], {"learning_rate": "cosine"}, 2.0),
        (range(0, -10, -1), {"learning_rate": "constant"}, 0.0),
        ([0, 0, 0, 0.0, 0.125, 9, 9, 9, 9, 9], {}, 0.125),
        ([0, 0, 0, 0.0, 0.09, 9, 9, 9, 9, 9], {}, 0.0),  # at most 0.1 nats
        ([0, 0, 0, -101.5, -100, 9, 9, 9, 9, 9], {}, 1.5),
        ([0, 0, 0, -100.5, -100, 9, 9, 9, 9, 9], {}, 0.0),  # at most 1 %
        ([0.0, 9.0, 9.0, 9.0], {"max_iter": 4}, 9.0),
        ([0.0, 9.0], {"max_iter": 2}, 0.0),  # nothing to compare: one epoch at full rate
        ([9.0], {"max_iter": 1}, 0.0),
        ([9.0], {"max_iter": 1, "learning_rate": "constant"}, 0.0),
        ([], {"max_iter": 1}, 0.0),
    ],
)
def test_rise_at_full_rate(bounds, plan, rise):
    """The mean of the last fifth of the epochs at full rate minus that of the fifth before, if it is clearly a rise."""
    assert training.rise_at_full_rate(list(bounds), settings(**{"max_iter": 10, **plan})) == rise


def final_rise(bounds, *, validated=True, stop=None, **kwargs):
    """That of a fit with these bounds, of the held-out rows or, if not ``validated``, of the training rows."""
    module, rising, held_out = scripted(bounds)
    if not validated:
        flat, script, held_out = rising.objective, held_out.objective, None
        rising = term_of(lambda batch, rng: 0 * flat(batch, rng) + script(batch, rng), batch_size=60)
    plan = settings(**{"max_iter": len(bounds), "learning_rate": "constant", "learning_rate_init": 1e-5, **kwargs})
    hook = lambda epoch, history: epoch == stop  # noqa: E731
    return train(module, [rising], plan, generator(), validation=held_out, on_epoch=hook).final_rise


@pytest.mark.parametrize("validated", [True, False])
def test_a_fit_that_ends_at_its_limit_tells_how_much_the_bound_still_rose(validated):
    """That of the held-out rows if there are any."""
    assert final_rise([float(e) for e in range(10)], validated=validated) == 2.0
    assert final_rise([0.0] * 10, validated=validated) == 0.0
    assert final_rise([float(e) for e in range(10)], validated=validated, stop=8) == 0.0  # it did not reach its limit


def test_a_fit_whose_bound_has_stopped_rising_once_does_not_still_rise():
    """Early stopping, or a cut of the rate, has found the end, whatever came later."""
    stalled = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert final_rise(stalled, n_iter_no_change=20) == 2.0
    assert final_rise(stalled, n_iter_no_change=3, reduce_rate_on_plateau=True) == 0.0
    assert final_rise([*map(float, range(7)), 0.0, 0.0, 0.0], n_iter_no_change=3) == 0.0


# --- non-finite values ------------------------------------------------------------------------------------------------


def faulty(bad_epochs, kind=math.nan):
    """A module whose bound is `kind` in some epochs (one step each), counting them."""
    module = Line()
    module.epoch = 0

    def objective(batch, rng):
        module.epoch += 1
        factor = kind if module.epoch in bad_epochs else 1.0
        return factor * module.log_prob(batch.x)

    return module, term_of(objective, batch_size=60)


@pytest.mark.parametrize("kind", [math.nan, math.inf, -math.inf])
def test_a_non_finite_epoch_is_taken_back_at_half_the_rate(kind):
    """The epoch runs again from the previous weights, all at half the rate; the history is complete and finite."""
    module, term = faulty({3}, kind)
    after = []

    def on_epoch(epoch, history):
        after.append(weights(module))
        return False

    plan = settings(max_iter=6, learning_rate="constant")
    history = train(module, [term], plan, generator(), on_epoch=on_epoch)
    assert all(torch.isfinite(w).all() for w in after) and module.epoch == 7
    steps_taken = [(b - a).abs().max().item() for a, b in zip(after[:-1], after[1:], strict=True)]
    assert steps_taken[0] == pytest.approx(0.01, rel=0.05)
    assert steps_taken[1:] == pytest.approx(4 * [0.005], rel=0.1)
    assert len(history.terms["bound"]) == 6 and np.isfinite(history.terms["bound"]).all()


def test_non_finite_gradients_are_caught_too():
    """A finite bound with an infinite gradient ruins the weights, so the epoch is taken back."""
    module, calls = Line(), []

    def objective(batch, rng):
        calls.append(None)
        root = torch.sqrt((module.bias - module.bias.detach()).abs())  # 0, with an infinite derivative
        return module.log_prob(batch.x) + (root if len(calls) == 2 else 0.0)

    train(module, [term_of(objective, batch_size=60)], settings(), generator())
    assert torch.isfinite(weights(module)).all() and len(calls) == 6


def test_a_non_finite_first_epoch_leaves_a_finite_history():
    """The first epoch is repeated like any other: every entry is a finite number."""
    module, term = faulty({1})
    history = train(module, [term], settings(), generator())
    assert torch.isfinite(weights(module)).all()
    assert np.isfinite(history.terms["bound"]).all() and len(history.terms["bound"]) == 5


def test_after_three_rollbacks_it_raises_an_error():
    """The fourth non-finite epoch raises an error with epoch and learning rate."""
    module, term = faulty({2, 3, 5, 6})
    plan = settings(max_iter=9, learning_rate="constant")
    with pytest.raises(training.NonFiniteError, match=r"epoch 3 at learning rate 0.00125"):
        train(module, [term], plan, generator())
    module, term = faulty({2, 3, 5})
    assert len(train(module, [term], settings(max_iter=9), generator()).terms["bound"]) == 9


def test_extreme_gradients_are_clipped():
    """A huge gradient is clipped to the limit of the norm; a normal one does not change."""
    module = Line()
    parameters = ParameterVector(module)
    for size, expected in [(1e6, MAX_GRADIENT_NORM), (3.0, 3.0)]:
        module.bias.grad = torch.tensor([size])
        parameters.collect_gradient()
        parameters.clip_gradient()
        assert parameters.gradient[-1].item() == pytest.approx(expected, rel=1e-4)


# --- precision and devices --------------------------------------------------------------------------------------------


def adgm(skip, n_columns=5):
    architecture = {"n_columns": n_columns, "n_latent": 2, "hidden": (6,), "activation": "softplus"}
    options = {"likelihood": "bernoulli", "class_prior": [0.3, 0.7], "rng": generator()}
    return ADGMModule(3, skip, **architecture, **options)


def models(n_columns=5):
    arguments = (n_columns, 2, (6,), "softplus", "bernoulli")
    return {
        "VAE": VAEModule(*arguments, rng=generator()),
        "M2": M2Module(*arguments, class_prior=[0.3, 0.7], rng=generator()),
        "ADGM": adgm(False),
        "SDGM": adgm(True),
    }


def model_terms(module, device, rng=None, n=12):
    x = torch.zeros(n, 5, device=device)
    observed = torch.ones(n, 5, device=device, dtype=torch.bool)
    source = ResidentSource(x, observed, torch.zeros(n, device=device, dtype=torch.long), torch.ones(n, device=device))
    if isinstance(module, VAEModule):
        return [Term("", source, lambda b, r: module.bound(b.x, r, b.observed), 1.0, 5)]
    labeled = Subset(source, torch.arange(4, device=device))
    return [
        Term("unlabeled", source, lambda b, r: module.unlabeled_bound(b.x, r, b.observed), 1.0, 5),
        Term("drawn", source, lambda b, r: module.unlabeled_bound(b.x, r, b.observed, 1), 1.0, 5),
        Term("labeled", labeled, lambda b, r: module.labeled_bound(b.x, b.y, r, b.observed), 0.5, 3),
        Term("classification", labeled, lambda b, r: module.log_q_y(b.x, b.y, r, b.observed), 0.1, 3),
    ]


@pytest.mark.parametrize("name", ["VAE", "M2", "ADGM", "SDGM"])
def test_a_step_never_waits_for_the_device_nor_leaves_it(name):
    """A training step runs on device "meta", where a hidden .item() or a CPU tensor fails."""
    module = models()[name].to("meta")
    terms, means, plan = model_terms(module, "meta"), {}, settings(weight_prior=1.0)
    parameters = ParameterVector(module)
    adam = Adam(parameters, plan)
    n_steps = 0
    for batches in iterate_batches(terms, None):
        loss = training.step(terms, batches, plan, None, 0.5, means)
        assert loss.device.type == "meta" and loss.shape == ()
        loss.backward()
        parameters.collect_gradient()
        parameters.clip_gradient()
        adam.step(0.01)
        n_steps += 1
    assert n_steps == 3


@pytest.mark.parametrize("name", ["VAE", "M2", "ADGM", "SDGM"])
def test_a_fit_runs_on_cuda(name):
    """A whole fit on the GPU gives a history, and finite weights on the GPU."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    module = models()[name].cuda()
    terms = model_terms(module, "cuda")
    rng = torch.Generator("cuda").manual_seed(0)
    for precision in ("float32", "bfloat16"):
        history = train(module, terms, settings(precision=precision), rng, validation=terms[0])
        assert len(history.terms["bound"]) == 5 and np.isfinite(history.terms["bound"]).all()
    assert weights(module).is_cuda and torch.isfinite(weights(module)).all()


@pytest.mark.parametrize("name", ["VAE", "M2"])
def test_bfloat16_trains_close_to_float32(name):
    """Reduced precision affects only the linear layers: after a few epochs the bound is close to that of float32."""
    ends = {}
    for precision in ("float32", "bfloat16"):
        module = models()[name]
        history = train(module, model_terms(module, "cpu"), settings(precision=precision), generator())
        ends[precision] = history.terms["bound"][-1]
        assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert ends["bfloat16"] != ends["float32"] and ends["bfloat16"] == pytest.approx(ends["float32"], abs=0.05)


def test_densities_are_float32_under_bfloat16():
    """The values of objectives in a bfloat16 step are float32, and so is the loss."""
    module, seen = models()["VAE"], []

    def objective(batch, rng):
        bound = module.bound(batch.x, rng)
        seen.append({part.dtype for part in bound})
        return bound

    term = Term("", ResidentSource(torch.zeros(12, 5)), objective, 1.0, 12)
    train(module, [term], settings(max_iter=1, precision="bfloat16"), generator())
    assert seen == [{torch.float32}]


def test_a_fit_reproduces_to_the_bit():
    """The same seed gives the same weights and history, for a model that draws."""
    fits = []
    for _ in range(2):
        module = models()["M2"]
        history = train(module, model_terms(module, "cpu"), settings(), generator(3))
        fits.append((weights(module), history.terms))
    assert torch.equal(fits[0][0], fits[1][0]) and fits[0][1] == fits[1][1]


def test_subnormal_numbers_count_as_0_within_an_epoch_only():
    """They slow late epochs down; the thread's mode is restored for callbacks, at the end, and after an error."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    torch.set_flush_denormal(False)
    module, tiny, inside, between = Line(), torch.tensor(torch.finfo(torch.float32).tiny), [], []

    def objective(batch, rng):
        inside.append(float(tiny * 0.5))
        if len(inside) > 2:
            raise RuntimeError("the objective failed")
        return module.log_prob(batch.x)

    with pytest.raises(RuntimeError, match="the objective failed"):
        hook = lambda epoch, history: between.append(float(tiny * 0.5))  # noqa: E731
        train(module, [term_of(objective, batch_size=60)], settings(), generator(), on_epoch=hook)
    assert inside == [0.0] * 3 and all(value > 0 for value in [*between, float(tiny * 0.5)]) and len(between) == 2


def test_history_starts_empty_and_appends():
    """History.add keeps every name's list."""
    history = History()
    history.add({"bound": 1.0, "kl": 2.0})
    history.add({"bound": 3.0, "kl": 4.0})
    assert history.terms == {"bound": [1.0, 3.0], "kl": [2.0, 4.0]} and history.validation == []
