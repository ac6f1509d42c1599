"""Tests of StackedAutoencoder: exact and estimated densities, the criterion and how it chooses layers, errors."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skdgm import VAE, StackedAutoencoder
from skdgm.models import partition
from skdgm.models.partition import exact_log_partition

SHORT = {"hidden_layer_sizes": (16,), "max_iter": 15, "rbm_max_iter": 15, "batch_size": 50, "random_state": 0}


def patterns(n=300, n_columns=8, seed=0):
    """Binary rows of four noisy patterns."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(7).integers(0, 2, (4, n_columns))
    return np.abs(centers[rng.integers(0, 4, n)] - (rng.random((n, n_columns)) < 0.08)).astype(np.float64)


def every_row(n_columns=8):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n_columns)))


@pytest.mark.parametrize("inference", ["rich", "vanilla", "rbm"])
@pytest.mark.parametrize("sizes", [6, (5, 4), (5, 4, 3)])
def test_exact_density_sums_to_one(sizes, inference):
    """Over all 256 rows; a stack with at most 15 units per layer is exact and says so."""
    stack = StackedAutoencoder(sizes, inference=inference, **SHORT).fit(patterns())
    log_p, std = stack.score_samples(every_row(), return_std=True)
    assert stack.is_exact_ and stack.log_partition_error_ == 0 and not std.any()
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("inference", ["rich", "vanilla", "rbm"])
def test_training_beats_independent_columns(inference):
    """By several nats, on held-out rows."""
    X, test = patterns(1000), patterns(500, seed=1)
    stack = StackedAutoencoder((6, 6), inference=inference, random_state=0).fit(X)
    p = X.mean(0)
    independent = (test * np.log(p) + (1 - test) * np.log(1 - p)).sum(1).mean()
    assert stack.score(test) > independent + 0.7


def test_order_of_the_bounds_and_the_likelihood():
    """U >= q bound >= autoencoder's bound; U >= the likelihood; honest <= U of the rows' own codes."""
    X, test = patterns(), patterns(seed=1)
    stack = StackedAutoencoder((6, 6), **SHORT).fit(X)
    for rows in (X, test):
        bound = stack.latent_marginal_bound(rows)
        assert bound.upper_bound >= bound.q_lower_bound >= bound.autoencoder_bound
        assert bound.upper_bound >= stack.score(rows)
    honest = stack.latent_marginal_bound(test, codes_of=X)
    assert honest.q_lower_bound <= honest.upper_bound
    assert honest.upper_bound == stack.latent_marginal_bound(test).upper_bound
    sampled = stack.latent_marginal_bound(X, method="sample", n_draws=3)
    assert sampled.q_lower_bound <= stack.latent_marginal_bound(X).q_lower_bound and sampled.upper_bound is None


def test_layer_bounds_are_those_of_the_training_rows():
    """There is one per layer, in order; for the bottom layer it is the bound itself on all rows."""
    X = patterns()
    stack = StackedAutoencoder((5, 4, 3), **SHORT).fit(X)
    assert len(stack.layer_bounds_) == 3
    again = stack.latent_marginal_bound(X)
    assert stack.layer_bounds_[0].q_lower_bound == pytest.approx(again.q_lower_bound, abs=1e-4)
    assert stack.layer_bounds_[0].upper_bound == pytest.approx(again.upper_bound, abs=1e-3)
    assert all(bound.upper_bound >= bound.q_lower_bound for bound in stack.layer_bounds_)


def test_bounds_are_repeatable_and_of_any_layer():
    X = patterns()
    stack = StackedAutoencoder((5, 4), **SHORT).fit(X)
    assert stack.latent_marginal_bound(X, layer=1) == stack.latent_marginal_bound(X, layer=-1)
    assert stack.latent_marginal_bound(X, layer=1) != stack.latent_marginal_bound(X, layer=0)


def test_estimated_density_is_near_the_exact_one(monkeypatch):
    """The same stack with enumeration, and with drawn codes and annealing, with their standard errors."""
    X = patterns()
    stack = StackedAutoencoder((6, 6), n_importance_samples=2000, **SHORT).fit(X)
    exact = stack.score_samples(X)
    monkeypatch.setattr("skdgm.models.stack.MAX_CODE_BITS", 3)
    drawn, std = stack.score_samples(X, return_std=True)
    assert not stack.is_exact_ and (std > 0).all()
    assert np.all(np.abs(drawn - exact) < 5 * std + 0.5)
    each, first = np.unique(X, axis=0, return_index=True)
    with pytest.MonkeyPatch.context() as seeds:  # the estimate of p(x) is unbiased; that of its logarithm is not
        ratios = [
            seeds.setattr(stack, "_noise_seed", seed) or np.exp(stack.score_samples(each) - exact[first])
            for seed in range(100, 140)
        ]
    assert np.mean(ratios) == pytest.approx(1, abs=4 * np.std(ratios) / np.sqrt(np.size(ratios)))
    assert np.std(ratios) / np.sqrt(np.size(ratios)) < 0.05
    np.testing.assert_array_equal(stack.score_samples(X[::-1])[::-1], drawn)
    monkeypatch.setattr("skdgm.models.partition.MAX_PARTITION_BITS", 3)
    annealed = StackedAutoencoder((6, 6), n_importance_samples=2000, **SHORT).fit(X)
    assert annealed.log_partition_error_ > 0
    assert annealed.log_partition_ == pytest.approx(stack.log_partition_, abs=4 * annealed.log_partition_error_ + 0.01)


def test_few_annealing_steps_are_warned_of(digits):
    X = (digits[0][:300] > 0.5).astype(float)
    with pytest.warns(ConvergenceWarning, match=r"standard error of \d+.*Raise n_annealing_steps") as warned:
        StackedAutoencoder(40, n_annealing_steps=2, n_annealing_chains=20, max_iter=1, random_state=0).fit(X)
    assert warned[0].filename == __file__


@pytest.mark.parametrize("sizes", [4, (4, 3)])
@pytest.mark.parametrize("inference", ["rich", "rbm"])
def test_density_of_real_rows_integrates_to_one(sizes, inference):
    """In the units of X, over a grid of the plane."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal([0, 10], [1, 3], (200, 2)), rng.normal([6, -10], [1, 3], (200, 2))])
    stack = StackedAutoencoder(sizes, inference=inference, **SHORT).fit(X)
    a, b = np.linspace(-30, 40, 400), np.linspace(-90, 90, 400)
    grid = np.array(list(itertools.product(a, b)))
    assert stack.likelihood_ == "gaussian"
    total = np.exp(stack.score_samples(grid)).sum() * (a[1] - a[0]) * (b[1] - b[0])
    assert total == pytest.approx(1, abs=0.02)


def test_samples_look_like_the_rows():
    """They have the rows' column means, and score the same."""
    X = patterns(1000)
    stack = StackedAutoencoder((6, 6), random_state=0).fit(X)
    drawn = stack.sample(1000, random_state=0)
    assert drawn.shape == (1000, 8) and set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), X.mean(0), atol=0.1)
    assert stack.score(drawn) == pytest.approx(stack.score(X), abs=0.5)


def test_codes_come_back():
    """transform and inverse_transform give means in [0, 1]; decoded rows are closer than column means."""
    X = patterns()
    stack = StackedAutoencoder((6, 6), random_state=0).fit(X)
    codes = stack.transform(X)
    assert codes.shape == (300, 6) and (codes >= 0).all() and (codes <= 1).all()
    error = ((stack.inverse_transform(codes) - X) ** 2).mean()
    assert error < 0.7 * X.var(0).mean()
    assert stack.transform(X.astype(np.float32)).dtype == np.float32


def test_bottom_layer_first_then_the_top():
    """stop_after, its score, a search by this score, and lower= to continue: the kept layer stays bit for bit."""
    X = patterns()
    search = GridSearchCV(
        StackedAutoencoder(stop_after=1, **SHORT), {"n_components": [(1, 9), (6, 9)]}, cv=2, error_score="raise"
    ).fit(X)
    bottom = search.best_estimator_
    assert bottom.n_components_ == [6] and bottom.transform(X).shape == (300, 6)
    assert bottom.score(X) == bottom.latent_marginal_bound(X).q_lower_bound
    for method in (bottom.score_samples, lambda X: bottom.sample()):
        with pytest.raises(ValueError, match="stop_after=1 and has no density yet.*lower=FrozenEstimator"):
            method(X)
    whole = StackedAutoencoder((6, 4), lower=FrozenEstimator(bottom), **SHORT).fit(X)
    for name, weights in bottom.module_.layers[0].state_dict().items():
        assert (whole.module_.layers[0].state_dict()[name] == weights).all()
    assert whole.n_components_ == [6, 4] and len(whole.history_) == 1
    assert np.exp(whole.score_samples(every_row())).sum() == pytest.approx(1, abs=1e-4)


def test_lower_layers_bring_their_units():
    """A stack on real rows keeps the standardization of its lower layer."""
    X = np.random.default_rng(0).normal(5, 3, (100, 4))
    bottom = StackedAutoencoder((4, 3), stop_after=1, **SHORT).fit(X)
    whole = StackedAutoencoder((4, 3), lower=FrozenEstimator(bottom), **SHORT).fit(X[:50])
    assert whole._columns is bottom._columns and whole.likelihood_ == "gaussian"


def test_auto_grows_if_a_layer_pays():
    """Independent columns need only an RBM. Patterns justify more layers if it learns slowly, without centering.

    The stack is complete, and has a density.
    """
    rng = np.random.default_rng(0)
    flat = StackedAutoencoder("auto", **SHORT).fit((rng.random((400, 6)) < 0.5).astype(float))
    assert len(flat.n_components_) == 1 and flat.is_exact_
    X = patterns(600, 12)
    grown = StackedAutoencoder("auto", centered=False, **SHORT).fit(X)
    assert len(grown.n_components_) > 1 and grown.transform(X).shape == (600, grown.n_components_[-1])
    assert np.isfinite(grown.score(X)) and len(grown.layer_bounds_) == len(grown.n_components_)
    before = grown.score(X)
    grown.set_params(warm_start=True, rbm_max_iter=1, max_iter=1, rbm_learning_rate_init=1e-6, learning_rate_init=1e-6)
    assert grown.fit(X).score(X) == pytest.approx(before, abs=0.05)


def test_auto_goes_on_above_given_layers():
    X = patterns()
    bottom = StackedAutoencoder((6, 4), stop_after=1, **SHORT).fit(X)
    grown = StackedAutoencoder("auto", lower=FrozenEstimator(bottom), **SHORT).fit(X)
    assert grown.n_components_[0] == 6 and len(grown.n_components_) > 1


def test_a_whole_stack_may_be_the_lower_layers():
    """Its RBM then becomes a lower layer."""
    X = patterns()
    small = StackedAutoencoder((6, 5), **SHORT).fit(X)
    large = StackedAutoencoder((6, 5, 3), lower=FrozenEstimator(small), **SHORT).fit(X)
    assert np.exp(large.score_samples(every_row())).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("unit", [1, 1000])
def test_bounds_of_real_rows_are_in_their_units(unit):
    """U is above the likelihood, and both shift by the log of the scale."""
    X = unit * np.concatenate([np.random.default_rng(s).normal(5 * s, 1e-2, (100, 3)) for s in (0, 1)])
    stack = StackedAutoencoder((4, 3), **SHORT).fit(X)
    bound = stack.latent_marginal_bound(X)
    assert bound.upper_bound >= stack.score(X)
    assert bound.upper_bound >= bound.q_lower_bound >= bound.autoencoder_bound
    assert bound.upper_bound_gap <= 0.011
    plain = StackedAutoencoder((4, 3), **SHORT).fit(X / unit)
    shifted = plain.latent_marginal_bound(X / unit).q_lower_bound - 3 * np.log(unit)
    assert bound.q_lower_bound == pytest.approx(shifted, abs=0.05)
    assert stack.layer_bounds_[0].q_lower_bound == pytest.approx(bound.q_lower_bound, abs=1e-3)


@pytest.mark.parametrize("X", [patterns()[:1], patterns()[:, :1], np.ones((20, 3))], ids=["row", "column", "constant"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_little_data_work(X, likelihood):
    stack = StackedAutoencoder((3, 2), likelihood=likelihood, **SHORT).fit(X)
    assert np.isfinite(stack.score(X)) and np.isfinite(stack.transform(X)).all()


@pytest.mark.parametrize(
    "params",
    [
        {"persistent": True},
        {"n_gibbs_steps": 5},
        {"dynamic_binarization": True},
        {"precision": "bfloat16"},
        {"centered": False},
        {"centered": True, "persistent": True, "early_stopping": True, "precision": "bfloat16"},
        {"n_chains": 100, "persistent": True},
        {"n_temperatures": 3, "persistent": True},
    ],
    ids=lambda params: " ".join(params),
)
def test_options_change_the_model_and_keep_it_sensible(params):
    X = np.clip(patterns() * 0.9 + 0.05, 0.1, 1) if "dynamic_binarization" in params else patterns()
    plain, other = (
        StackedAutoencoder((6, 4), likelihood="bernoulli", inference="rbm", **SHORT, **more).fit(X)
        for more in ({}, params)
    )
    assert other.score(X) != plain.score(X)
    assert other.score(X) == pytest.approx(plain.score(X), abs=1)


def test_upper_bounds_are_left_out_of_fit_where_they_take_long(monkeypatch):
    monkeypatch.setattr("skdgm.estimators.stacked_autoencoder.MAX_CELLS_IN_FIT", 1000)
    stack = StackedAutoencoder((6, 4), **SHORT).fit(patterns())
    assert all(bound.upper_bound is None and np.isfinite(bound.q_lower_bound) for bound in stack.layer_bounds_)


def test_warm_start_goes_on():
    X = patterns()
    stack = StackedAutoencoder((6, 4), warm_start=True, **SHORT).fit(X)
    before = stack.score(X)
    stack.set_params(max_iter=1, rbm_max_iter=1, learning_rate_init=1e-6, rbm_learning_rate_init=1e-6).fit(X)
    assert stack.score(X) == pytest.approx(before, abs=0.05)
    with pytest.raises(ValueError, match="warm_start=True continues from the last fit, but n_hidden changed"):
        stack.set_params(n_components=(5, 4)).fit(X)
    bottom = StackedAutoencoder((6, 4), stop_after=1, warm_start=True, **SHORT).fit(X)
    assert bottom.set_params(stop_after=None).fit(X).is_exact_


def test_early_stopping_scores_each_layer():
    stack = StackedAutoencoder((6, 4), **SHORT | {"max_iter": 400, "rbm_max_iter": 400}).set_params(
        early_stopping=True, n_iter_no_change=3, tol=0.05
    )
    stack.fit(patterns())
    assert len(stack.validation_scores_) == 2 and stack.n_iter_ < 800
    assert [len(h["bound"]) for h in stack.history_] == [len(scores) for scores in stack.validation_scores_]
    assert stack.n_iter_ == len(stack.loss_curve_)
    assert all("" not in history for history in stack.history_)


@pytest.mark.parametrize("noise", ["auto", "flip", "dropout", "gaussian"])
def test_denoising_reads_noise_and_keeps_the_rows(noise):
    """The model differs from one without noise, and is sensible."""
    X = patterns()
    plain = StackedAutoencoder((6, 4), **SHORT).fit(X)
    noisy = StackedAutoencoder((6, 4), input_noise=noise, input_noise_level=0.2, **SHORT).fit(X)
    assert noisy.score(X) != plain.score(X) and noisy.score(X) > plain.score(X) - 1


@pytest.mark.parametrize("inference", ["rich", "rbm"])
def test_pickles_hold_no_tensor_and_score_alike(inference):
    X = patterns()
    stack = StackedAutoencoder((5, 4), inference=inference, **SHORT).fit(X)
    data = pickle.dumps(stack)
    assert b"torch" not in data
    np.testing.assert_array_equal(pickle.loads(data).score_samples(X), stack.score_samples(X))


def test_tensors_come_back():
    """Even both parts of score_samples(return_std=True)."""
    X = patterns()
    stack = StackedAutoencoder((6, 4), **SHORT).fit(X)
    x = torch.from_numpy(X)
    assert isinstance(stack.transform(x), torch.Tensor)
    assert all(isinstance(part, torch.Tensor) for part in stack.score_samples(x, return_std=True))


def test_same_seed_same_bits():
    X = patterns()
    first, second = (StackedAutoencoder((20, 30), **SHORT).fit(X) for _ in range(2))
    np.testing.assert_array_equal(first.score_samples(X), second.score_samples(X))
    np.testing.assert_array_equal(first.sample(5, random_state=1), second.sample(5, random_state=1))


def test_codes_serve_a_classifier(few_labels):
    """In a Pipeline, trained on all digits, with five labels per class: far better than chance."""
    X, y, y_true = few_labels
    codes = StackedAutoencoder((60, 40), max_iter=30, rbm_max_iter=30, random_state=0).fit(X).transform(X)
    labeled = y >= 0
    assert LogisticRegression().fit(codes[labeled], y[labeled]).score(codes[~labeled], y_true[~labeled]) > 0.6
    make_pipeline(StackedAutoencoder((20, 10), **SHORT), LogisticRegression()).fit(X[:200], y_true[:200])


# --- bad input --------------------------------------------------------------------------------------------------------

WRONG = {
    "an empty sequence": ({"n_components": ()}, "n_components must name at least one layer"),
    "layer sizes": ({"n_components": (5, 0)}, "n_components must hold integers >= 1, got 0"),
    "stop_after": ({"n_components": (5, 4), "stop_after": 2}, "stop_after must be less than the number of layers"),
    "auto and stop_after": (
        {"n_components": "auto", "stop_after": 1},
        "n_components='auto' finds the number of layers",
    ),
    "flips of real rows": (
        {"likelihood": "gaussian", "input_noise": "flip"},
        "input_noise='flip'.*needs the Bernoulli likelihood",
    ),
    "chains that do not persist": ({"n_chains": 7}, "n_chains .*needs persistent=True, got n_chains=7"),
    "temperatures that do not persist": ({"n_temperatures": 2}, "n_temperatures .* Use persistent=True or .*=1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameters_are_named(name):
    params, message = WRONG[name]
    stack = StackedAutoencoder(**{**SHORT, "n_components": (5, 4), **params})
    with pytest.raises(ValueError, match=message):
        stack.fit(patterns())
    assert not hasattr(stack, "module_")


def test_range_of_an_explicit_bernoulli():
    with pytest.raises(ValueError, match=r"likelihood='bernoulli' needs X in \[0, 1\], got values in \[-2, 3\]"):
        StackedAutoencoder(4, likelihood="bernoulli").fit([[-2.0, 0.0], [1.0, 3.0]])


def test_lower_that_does_not_fit():
    X = patterns()
    bottom = StackedAutoencoder((6, 4), stop_after=1, **SHORT).fit(X)
    with pytest.raises(ValueError, match=r"lower has layers of \[6\], n_components=\[5, 4\]"):
        StackedAutoencoder((5, 4), lower=FrozenEstimator(bottom), **SHORT).fit(X)
    with pytest.raises(ValueError, match="lower was fitted on 8 columns, X has 7"):
        StackedAutoencoder((6, 4), lower=FrozenEstimator(bottom), **SHORT).fit(X[:, :7])
    with pytest.raises(ValueError, match="lower was fitted with likelihood='bernoulli', got likelihood='gaussian'"):
        StackedAutoencoder((6, 4), lower=FrozenEstimator(bottom), likelihood="gaussian", **SHORT).fit(X)
    with pytest.raises(ValueError, match="needs 2 rows, got 1 sample"):
        StackedAutoencoder("auto", **SHORT).fit(X[:1])
    with pytest.raises(ValueError, match="lower must freeze a fitted StackedAutoencoder, got a frozen VAE"):
        StackedAutoencoder((6, 4), lower=FrozenEstimator(VAE()), **SHORT).fit(X)


def test_enumeration_of_too_many_codes_names_the_limit_and_the_way_out():
    X = patterns()
    stack = StackedAutoencoder((16, 4), **SHORT).fit(X)
    with pytest.raises(ValueError, match=r"needs n_hidden <= 15, got 16\. Use method='sample'"):
        stack.latent_marginal_bound(X, method="enumerate")
    assert stack.latent_marginal_bound(X).upper_bound is None
    with pytest.raises(ValueError, match="method must be"):
        stack.latent_marginal_bound(X, method="guess")


def test_upper_bound_of_too_many_rows(monkeypatch):
    X = patterns()
    stack = StackedAutoencoder((6, 4), **SHORT).fit(X)
    monkeypatch.setattr("skdgm.models.latent_marginal.MAX_TABLE_CELLS", 1000)
    with pytest.raises(ValueError, match="300 rows times 64 codes.*Pass fewer rows"):
        stack.latent_marginal_bound(X)
    assert stack.latent_marginal_bound(X, certify=False).upper_bound is None


def test_a_cell_out_of_range_costs_ten_nats():
    """Where "auto" chose Bernoulli: the density of the nearest row in range, less 10 nats a cell."""
    X = patterns()
    stack = StackedAutoencoder((6, 6), **SHORT).fit(X)
    beyond = X[:20].copy()
    beyond[:, 0] = np.where(beyond[:, 0] == 1, 3.0, -2.0)
    np.testing.assert_allclose(stack.score_samples(beyond), stack.score_samples(X[:20]) - 10)


def test_training_rows_above_given_layers_must_be_in_range():
    """Of lower layers, and of the fit before: their range was chosen, and rows of other units would be clipped."""
    X = patterns()
    bottom = StackedAutoencoder((6, 4), stop_after=1, **SHORT).fit(X)
    again = StackedAutoencoder((6, 4), warm_start=True, **SHORT).fit(X)
    before = again.score(X)
    for model in (
        StackedAutoencoder((6, 4), lower=FrozenEstimator(bottom), **SHORT),
        StackedAutoencoder((6, 4), lower=FrozenEstimator(bottom), likelihood="bernoulli", **SHORT),
        again,
    ):
        with pytest.raises(ValueError, match=r"needs X .*in \[0, 1\], got values in \[0, 255\]"):
            model.fit(255 * X)
    assert again.score(X) == before


@pytest.mark.parametrize("layer", [0, 1])
def test_bounds_of_layers_count_cells_out_of_range(layer):
    X = patterns()
    stack = StackedAutoencoder((6, 6, 4), stop_after=2, **SHORT).fit(X)
    beyond = X[:20].copy()
    beyond[:5, 0] = np.where(beyond[:5, 0] == 1, 3.0, -2.0)
    inside, found = (stack.latent_marginal_bound(rows, layer=layer) for rows in (X[:20], beyond))
    for name in ("q_lower_bound", "upper_bound", "autoencoder_bound"):
        assert getattr(found, name) == pytest.approx(getattr(inside, name) - 10 * 5 / 20, abs=1e-5), name
    assert stack.score(beyond) == pytest.approx(stack.score(X[:20]) - 2.5, abs=1e-5)


@pytest.mark.parametrize(("n_components", "inference"), [((30,), "rich"), ((12, 25), "rich"), ((12, 25), "rbm")])
def test_log_partition_is_bracketed(n_components, inference):
    """Both estimates agree with log Z by enumeration, and are it where fit enumerates, for any rows to start from."""
    X = (np.random.default_rng(0).random((200, 16)) < np.linspace(0.1, 0.9, 16)).astype(float)
    stack = StackedAutoencoder(n_components, inference=inference, max_iter=3, rbm_max_iter=10, random_state=0).fit(X)
    exact = exact_log_partition(stack.module_.top)
    assert stack.bracket_log_partition(X) == (pytest.approx(exact), 0, pytest.approx(exact), 0)


def test_log_partition_is_bracketed_where_it_is_annealed(monkeypatch):
    monkeypatch.setattr(partition, "MAX_PARTITION_BITS", 4)
    X = (np.random.default_rng(0).random((200, 16)) < np.linspace(0.1, 0.9, 16)).astype(float)
    stack = StackedAutoencoder((12, 10), max_iter=3, rbm_max_iter=10, n_annealing_steps=300, random_state=0).fit(X)
    exact, found = exact_log_partition(stack.module_.top), stack.bracket_log_partition(X, random_state=0)
    assert found == stack.bracket_log_partition(X, random_state=0)
    assert 0 < found.lower_error < 0.05 and 0 < found.upper_error < 0.1
    assert found.lower == pytest.approx(exact, abs=4 * found.lower_error)
    assert found.upper == pytest.approx(exact, abs=4 * found.upper_error + 0.1)
    with pytest.raises(ValueError, match="n_steps == 0, must be >= 1"):
        stack.bracket_log_partition(X, n_steps=0)


def test_a_frozen_lower_layer_needs_the_same_columns_in_the_same_order():
    """Its weights and scales are those of its columns."""
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.random.default_rng(0).random((60, 3)).round(), columns=list("abc"))
    bottom = StackedAutoencoder((4, 3), stop_after=1, **SHORT).fit(X)
    with pytest.raises(ValueError, match="feature names should match"):
        StackedAutoencoder((4, 3), lower=FrozenEstimator(bottom), **SHORT).fit(X[list("cba")])
