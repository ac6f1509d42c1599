"""TransductiveSVC: its mathematics, that it helps on real data, and its errors."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import check_grad, linear_sum_assignment
from sklearn.datasets import make_blobs
from sklearn.kernel_approximation import Nystroem
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from skdgm import TransductiveSVC
from skdgm.datasets import mask_labels
from skdgm.estimators.transductive_svc import (
    MAX_DRIFT,
    ExactTrainer,
    PrimalTrainer,
    apportion,
    estimate_shares,
    hinge,
    hinge_slope,
    label_costs,
    limit_drift,
    switch_labels,
    targets_of,
)

EXACT, PRIMAL = 10_000, 60  # n_components: at least, and fewer than, the rows


def _clouds(centers=((-2, 0), (2, 0), (0, 3)), n=60, random_state=0):
    X, y = make_blobs([n] * len(centers), centers=centers, cluster_std=0.7, random_state=random_state)
    return X, y


@pytest.fixture(params=[2, 3], ids=["binary", "multiclass"])
def clouds(request):
    """X, y with 4 labels per class, and the true labels."""
    X, y_true = _clouds(((-2, 0), (2, 0), (0, 3))[: request.param])
    return X, mask_labels(y_true, 4 * request.param, random_state=0), y_true


# --- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.1] * 10, [0.0, 0.301, 0.699]])
def test_apportioned_counts_sum_up_and_are_within_one_of_their_shares(n, shares):
    counts = apportion(np.array(shares), n)
    assert counts.sum() == n
    assert (np.abs(counts - n * np.array(shares)) < 1).all()


def test_estimated_shares_are_those_of_all_rows_under_a_pull_less_the_labeled_rows():
    labeled, predicted = np.repeat([0, 1, 2], [2, 3, 5]), np.repeat([0, 2], [60, 30])
    # All 100 rows and the pull: 3 rows (one per class) with the shares of the labels.
    of_all = (np.array([62, 3, 35]) + 3 * np.array([0.2, 0.3, 0.5])) / 103
    of_unlabeled = (100 * of_all - [2, 3, 5]) / 90
    shares = estimate_shares(labeled, predicted, 3)
    np.testing.assert_allclose(shares, of_unlabeled)
    assert shares.sum() == pytest.approx(1)
    assert shares[1] == pytest.approx(3 * 0.3 / 103)  # predicted nowhere


@pytest.mark.parametrize("n_classes", [2, 7])
def test_estimated_shares_are_positive_whatever_is_predicted(n_classes):
    rng = np.random.default_rng(0)
    for _ in range(50):
        labeled = np.r_[np.arange(n_classes), rng.integers(n_classes, size=rng.integers(200))]
        predicted = np.full(rng.integers(1, 10**5), rng.integers(n_classes))
        shares = estimate_shares(labeled, predicted, n_classes)
        assert (shares > 0).all()
        assert shares.sum() == pytest.approx(1)


def test_shares_drift_straight_to_what_is_wanted_or_to_the_first_limit():
    first = np.array([0.5, 0.4, 0.1])
    room = MAX_DRIFT * np.sqrt(first * (1 - first) / 25)
    near, far = first + [0.01, 0, -0.01], np.array([0.8, 0.0, 0.2])
    np.testing.assert_allclose(limit_drift(first, near, 25), near)
    np.testing.assert_array_equal(limit_drift(first, first, 25), first)
    moved = limit_drift(first, far, 25) - first
    np.testing.assert_allclose(moved / (far - first), room[1] / 0.4)
    assert (np.abs(moved) <= room * (1 + 1e-12)).all()
    assert moved.sum() == pytest.approx(0)


def _exact_assignment(costs, counts):
    """The cheapest labels under the counts, by the Hungarian method."""
    seats = np.repeat(np.arange(costs.shape[1]), counts)
    rows, places = linear_sum_assignment(costs[:, seats])
    return seats[places], costs[rows, seats[places]].sum()


def test_switching_two_classes_is_the_cheapest_assignment():
    costs = label_costs(np.random.default_rng(0).normal(size=(101, 1)), 0.2)
    labels = np.repeat([0, 1], [60, 41])
    switch_labels(costs, labels)
    assert np.bincount(labels).tolist() == [60, 41]
    assert costs[np.arange(101), labels].sum() == pytest.approx(_exact_assignment(costs, [60, 41])[1])


def test_switching_two_classes_takes_the_top_fraction_by_margin():
    decision = np.random.default_rng(0).uniform(-0.9, 0.9, size=(50, 1))  # within the margin no two losses tie
    labels = np.repeat([0, 1], [30, 20])
    switch_labels(label_costs(decision, 0.0), labels)
    assert set(np.flatnonzero(labels)) == set(np.argsort(decision[:, 0])[-20:])


def test_switching_many_classes_lowers_the_costs_keeps_the_counts_and_ends_where_no_pair_gains():
    costs = np.random.default_rng(0).normal(size=(120, 5))
    counts = [10, 20, 30, 0, 60]
    labels = np.repeat(np.arange(5), counts)
    before = costs[np.arange(120), labels].sum()
    n_switched = switch_labels(costs, labels)
    after = costs[np.arange(120), labels].sum()
    assert np.bincount(labels, minlength=5).tolist() == counts
    assert n_switched == (labels != np.repeat(np.arange(5), counts)).sum()
    best = _exact_assignment(costs, counts)[1]
    assert best - 1e-9 <= after < before
    assert after - best < 0.05 * (before - best)
    swapped = costs[:, labels]  # [i, j]: cost of row i with the label of row j
    own = np.diag(swapped)
    assert (swapped + swapped.T >= own[:, None] + own[None, :] - 1e-8).all()
    assert switch_labels(costs, labels) == 0


@pytest.mark.parametrize("n_classes", [2, 3])
def test_label_costs_are_the_losses_of_the_targets_up_to_a_constant_per_row(n_classes):
    decision = np.random.default_rng(0).normal(size=(20, 1 if n_classes == 2 else n_classes))
    given = [targets_of(np.full(20, k), n_classes) for k in range(n_classes)]
    losses = np.column_stack([hinge(targets * decision, 0.2).sum(1) for targets in given])
    costs = label_costs(decision, 0.2)
    np.testing.assert_allclose(costs - costs[:, :1], losses - losses[:, :1], atol=1e-12)


def test_rounded_hinge_is_the_hinge_away_from_its_corner_and_has_its_slope():
    margin = np.linspace(-1, 3, 401)
    rounded = hinge(margin, 0.2)
    away = np.abs(margin - 1) > 0.2
    np.testing.assert_allclose(rounded[away], hinge(margin, 0.0)[away], atol=1e-12)
    assert np.abs(rounded - hinge(margin, 0.0)).max() == pytest.approx(0.05)
    np.testing.assert_allclose(-np.gradient(rounded, margin)[1:-1], hinge_slope(margin, 0.2)[1:-1], atol=0.02)


# --- machines -------------------------------------------------------------------------------------------------------


def _primal(X, n_labeled, **params):
    features = Nystroem(n_components=len(X), random_state=0, **params).fit(X)
    return PrimalTrainer(X, np.arange(len(X)), n_labeled, 10.0, features)


def test_exact_objective_is_the_one_of_the_dual(clouds):
    X, _, y_true = clouds
    targets = targets_of(y_true, y_true.max() + 1)
    trainer = ExactTrainer(X, len(X), 10.0, SVC(C=10.0, gamma=0.3, tol=1e-6))
    solution = trainer.solve(targets, 1.0)
    dual = 0.0
    for svc in solution.machine.machines:
        support, alpha = svc.support_vectors_, svc.dual_coef_[0]
        kernel = np.exp(-0.3 * ((support[:, None] - support[None]) ** 2).sum(-1))
        dual += np.abs(alpha).sum() - alpha @ kernel @ alpha / 2
    assert trainer.objective(solution, targets, 1.0) == pytest.approx(dual, rel=1e-3)


def test_primal_gradient_is_that_of_the_objective():
    X, y = _clouds(n=10)
    trainer = PrimalTrainer(X, np.arange(30), 12, 10.0, None)  # no features: float64
    targets, costs = targets_of(y, 3), trainer._costs(30, 0.5)

    def objective(coef):
        W = coef.reshape(3, 3)
        losses = hinge(targets * (trainer.phi @ W), trainer.width).sum(1)
        return (W[:-1] ** 2).sum() / 2 + costs @ losses

    coef = np.random.default_rng(0).normal(size=9)
    error = check_grad(objective, lambda c: trainer._gradient(c.reshape(3, 3), targets, costs).ravel(), coef)
    assert error < 1e-4


def test_primal_with_as_many_features_as_rows_is_the_svc_up_to_the_rounding_of_the_hinge(clouds):
    X, _, y_true = clouds
    targets = targets_of(y_true, y_true.max() + 1)
    trainer = ExactTrainer(X, 8, 10.0, SVC(C=10.0, gamma=0.3, tol=1e-6))
    exact, primal = trainer.solve(targets, 1.0), _primal(X, 8, gamma=0.3).solve(targets, 1.0)
    least, reached = (trainer.objective(solution, targets, 1.0) for solution in (exact, primal))
    # hinge <= rounded hinge <= hinge + width / 4, so what minimizes the one nearly minimizes the other.
    rounding = 0.2 / 4 * trainer._costs(len(X), 1.0).sum() * targets.shape[1]
    assert least * (1 - 1e-3) <= reached <= least + rounding
    assert (np.sign(primal.decision) == np.sign(exact.decision)).mean() > 0.98


def test_primal_machine_gives_the_values_it_was_fitted_with(clouds):
    X, _, y_true = clouds
    solution = _primal(X, 8).solve(targets_of(y_true, y_true.max() + 1), 1.0)
    np.testing.assert_allclose(solution.machine.decision_function(X), solution.decision, atol=1e-4)


# --- the estimator --------------------------------------------------------------------------------------------------


def test_all_labeled_binary_is_the_svc():
    X, y = _clouds(((-1, 0), (1, 0)))
    ours, theirs = TransductiveSVC().fit(X, y), SVC(C=10).fit(X, y)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-10)
    assert ours.n_iter_ == 1


def test_all_labeled_multiclass_is_one_versus_rest():
    X, y = _clouds()
    ours, theirs = TransductiveSVC(C=3, kernel="linear").fit(X, y), OneVsRestClassifier(SVC(C=3, kernel="linear"))
    np.testing.assert_allclose(ours.decision_function(X), theirs.fit(X, y).decision_function(X), rtol=1e-10)
    np.testing.assert_array_equal(ours.transduction_, y)


@pytest.mark.parametrize("centers", [((-1, 0), (1, 0)), ((-1, 0), (1, 0), (0, 2))], ids=["binary", "multiclass"])
@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
def test_objective_never_rises_while_its_weights_stay(centers, n_components):
    X, y_true = _clouds(centers, n=100)
    y = mask_labels(y_true, 2 * len(centers), random_state=0)
    params = {"gamma": 2, "n_stages": 3, "max_iter": 20, "tol": 0, "n_components": n_components, "random_state": 0}
    history = TransductiveSVC(**params).fit(X, y).history_
    steps = list(pairwise(zip(history["C_unlabeled"], history["objective"], strict=True)))
    within = [(before, after) for (C, before), (same, after) in steps if C == same]
    assert len(within) >= 2  # or there is nothing to see
    assert all(after <= before for before, after in within)
    assert sorted(history["C_unlabeled"]) == history["C_unlabeled"]
    assert history["C_unlabeled"][-1] == pytest.approx(1.0)


def test_neither_half_of_a_sweep_raises_the_objective():
    X, y = _clouds(((-1, 0), (1, 0), (0, 1.5)))
    codes, labels = y[:12], np.random.default_rng(0).permutation(y[12:])
    for trainer in (ExactTrainer(X, 12, 10.0, SVC(C=10.0, gamma=0.3)), _primal(X, 12, gamma=0.3)):
        guess = labels.copy()
        solution = trainer.solve(targets_of(codes, 3), 1.0)
        values = []
        for _ in range(4):
            values.append(trainer.objective(solution, targets_of(np.r_[codes, guess], 3), 1.0))
            switch_labels(label_costs(solution.decision[12:], trainer.width), guess)
            targets = targets_of(np.r_[codes, guess], 3)
            values.append(trainer.objective(solution, targets, 1.0))
            solution = trainer.solve(targets, 1.0)
        assert all(after <= before * (1 + 1e-4) for before, after in pairwise(values))
        assert values[-1] < values[0]


@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
@pytest.mark.parametrize("max_unlabeled", [None, 90])
def test_shares_hold_among_the_unlabeled_rows(n_components, max_unlabeled):
    X, y_true = _clouds()
    y, shares = mask_labels(y_true, 12, random_state=0), np.array([0.2, 0.3, 0.5])
    params = {"class_ratio": shares, "max_unlabeled": max_unlabeled, "n_components": n_components}
    model = TransductiveSVC(random_state=0, **params).fit(X, y)
    counts = np.bincount(model.transduction_[y < 0], minlength=3)
    assert (np.abs(counts - shares * (y < 0).sum()) < (1 if max_unlabeled is None else 2)).all()
    np.testing.assert_array_equal(model.transduction_[y >= 0], y[y >= 0])
    np.testing.assert_allclose(model.class_ratio_, shares)


def test_shares_are_those_of_the_labels_or_uniform():
    X, y_true = _clouds(((-2, 0), (2, 0)))
    y = np.full(len(X), -1)
    labeled = np.r_[np.flatnonzero(y_true == 0)[:6], np.flatnonzero(y_true == 1)[:2]]
    y[labeled] = y_true[labeled]
    np.testing.assert_allclose(TransductiveSVC(class_ratio="labeled").fit(X, y).class_ratio_, [0.75, 0.25])
    np.testing.assert_allclose(TransductiveSVC(class_ratio="uniform").fit(X, y).class_ratio_, [0.5, 0.5])


def _uneven_blobs():
    return make_blobs([900, 100], centers=[(0, 0), (4, 4)], random_state=0)


@pytest.mark.parametrize("n_components", [EXACT, 500])
@pytest.mark.parametrize("n_labeled", [20, 100])
@pytest.mark.parametrize("seed", range(3))
def test_even_labels_of_uneven_classes_force_no_rows_into_the_rare_class(n_components, n_labeled, seed):
    X, y_true = _uneven_blobs()
    y = mask_labels(y_true, n_labeled, random_state=seed)
    model = TransductiveSVC(n_components=n_components, random_state=0).fit(X, y)
    assert model.score(X, y_true) >= 0.99
    assert (model.transduction_ == y_true).mean() >= 0.99
    np.testing.assert_allclose(model.class_ratio_, np.bincount(y_true[y < 0]) / (y < 0).sum(), atol=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_few_labels_drawn_at_random_are_mended(seed):
    X, y_true = _clouds(((-2, 0), (2, 0)), n=100)
    y = mask_labels(y_true, 10, stratify=False, random_state=seed)
    model = TransductiveSVC().fit(X, y)
    assert model.score(X, y_true) >= 0.99
    np.testing.assert_allclose(model.class_ratio_, 0.5, atol=0.05)


def test_estimated_shares_begin_with_the_predictions_of_the_svc_of_the_labeled_rows(clouds):
    X, y, y_true = clouds
    labeled, n_classes = y >= 0, y_true.max() + 1
    svc = OneVsRestClassifier(SVC(C=10, gamma=1 / (2 * X.var()))).fit(X[labeled], y[labeled])
    expected = estimate_shares(y[labeled], svc.predict(X[~labeled]), n_classes)
    np.testing.assert_allclose(TransductiveSVC(n_stages=1).fit(X, y).class_ratio_, expected)


def test_estimated_shares_stay_near_the_first_ones_where_there_are_no_clusters():
    X = np.random.default_rng(0).normal(size=(300, 100))
    y = mask_labels((X[:, 0] > 0).astype(int), 20, random_state=0)
    first, last = (TransductiveSVC(n_stages=n).fit(X, y).class_ratio_ for n in (1, 7))
    assert (first != last).any()
    assert (np.abs(last - first) <= MAX_DRIFT * np.sqrt(first * (1 - first) / 20) + 1e-12).all()


@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
@pytest.mark.parametrize("max_unlabeled", [None, 90])
def test_estimated_shares_hold_among_the_unlabeled_rows(clouds, n_components, max_unlabeled):
    X, y, _ = clouds
    params = {"max_unlabeled": max_unlabeled, "n_components": n_components, "random_state": 0}
    model = TransductiveSVC(**params).fit(X, y)
    assert model.class_ratio_.shape == model.classes_.shape
    counts = np.bincount(model.transduction_[y < 0], minlength=len(model.classes_))
    n_parts = 1 if max_unlabeled is None else 2
    assert (np.abs(counts - model.class_ratio_ * (y < 0).sum()) < n_parts).all()


@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
def test_a_class_that_the_svc_predicts_nowhere_keeps_a_share(n_components):
    X, y_true = _clouds(((-2, 0), (2, 0)))
    X, y = np.vstack([X, [[-2.0, 9.0]]]), np.append(mask_labels(y_true, 10, random_state=0), 2)
    model = TransductiveSVC(n_components=n_components, random_state=0).fit(X, y)
    assert 0 < model.class_ratio_[2] < 0.005
    assert (model.predict(X[:-1]) == y_true).mean() >= 0.98


def test_all_rows_labeled_have_the_shares_of_the_labels():
    X, y = _clouds(((-2, 0), (2, 0), (0, 3)))
    model = TransductiveSVC().fit(X[:150], y[:150])
    np.testing.assert_allclose(model.class_ratio_, np.bincount(y[:150]) / 150)
    np.testing.assert_array_equal(model.transduction_, y[:150])


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
def test_boundary_goes_between_the_clouds_where_that_of_the_labels_cuts_them(kernel, n_components):
    X, y_true = _clouds(((-2, 0), (2, 0)), n=100)
    labeled = [np.linalg.norm(X - rim, axis=1).argmin() for rim in ((-1.5, 2), (1.5, -2))]
    y = np.full(len(X), -1)
    y[labeled] = y_true[labeled]
    assert SVC(C=10, kernel=kernel).fit(X[labeled], y[labeled]).score(X, y_true) < 0.96
    model = TransductiveSVC(kernel=kernel, n_components=n_components, random_state=0).fit(X, y)
    assert model.score(X, y_true) >= 0.99
    assert (model.transduction_ == y_true).mean() >= 0.99


def test_linear_kernel_of_wide_rows_is_approximated():
    rng = np.random.default_rng(0)
    y_true = np.repeat([0, 1], 50)
    X = rng.normal(size=(100, 200)) + y_true[:, None]
    model = TransductiveSVC(kernel="linear", n_components=40, random_state=0).fit(X, mask_labels(y_true, 6))
    assert model.svm_.coef.shape == (41, 1)
    assert model.score(X, y_true) > 0.95


def test_decision_function_has_one_column_per_class_or_one_value(clouds):
    X, y, _ = clouds
    model = TransductiveSVC().fit(X, y)
    decision = model.decision_function(X)
    assert decision.shape == ((len(X),) if len(model.classes_) == 2 else (len(X), 3))
    chosen = decision.argmax(1) if decision.ndim == 2 else (decision > 0).astype(int)
    np.testing.assert_array_equal(model.predict(X), model.classes_[chosen])


@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
def test_markers_are_all_alike_and_string_labels_work(clouds, n_components):
    X, y, _ = clouds
    params = {"n_components": n_components, "random_state": 0}
    expected = TransductiveSVC(**params).fit(X, y).decision_function(X)
    names = np.array(["ant", "bee", "cat"], dtype=object)
    for marker in (-1, None, float("nan")):
        named = np.array([names[label] if label >= 0 else marker for label in y], dtype=object)
        model = TransductiveSVC(**params).fit(X, named)
        np.testing.assert_array_equal(model.decision_function(X), expected)
        assert model.classes_.tolist() == names[: len(model.classes_)].tolist()
        assert set(model.transduction_) <= set(names)
    other = TransductiveSVC(unlabeled_value=99, **params).fit(X, np.where(y < 0, 99, y))
    np.testing.assert_array_equal(other.decision_function(X), expected)


def test_seed_fixes_the_features_and_the_rows_that_are_drawn(clouds):
    X, y, _ = clouds
    params = {"n_components": 30, "max_unlabeled": 60}
    first, second, other = (TransductiveSVC(random_state=seed, **params).fit(X, y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.decision_function(X), second.decision_function(X))
    assert not np.array_equal(first.decision_function(X), other.decision_function(X))


@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
def test_pickle_holds_no_training_rows_in_the_primal_and_predicts_the_same(clouds, n_components):
    X, y, _ = clouds
    model = TransductiveSVC(n_components=n_components, random_state=0).fit(X, y)
    text = pickle.dumps(model)
    assert b"torch" not in text
    np.testing.assert_array_equal(pickle.loads(text).decision_function(X), model.decision_function(X))
    assert not any(isinstance(value, PrimalTrainer | ExactTrainer) for value in vars(model).values())


def test_a_column_that_never_varies_and_huge_values_are_fitted():
    X, y_true = _clouds()
    y = mask_labels(y_true, 12, random_state=0)
    for rows in (np.hstack([X, np.ones((len(X), 1))]), np.zeros_like(X), 1e30 * X):
        for n_components in (EXACT, PRIMAL):
            model = TransductiveSVC(n_components=n_components, random_state=0).fit(rows, y)
            assert np.isfinite(model.decision_function(rows)).all()


def test_one_unlabeled_row():
    X, y = _clouds()
    y[0] = -1
    assert TransductiveSVC().fit(X, y).transduction_.min() == 0


@pytest.mark.parametrize("seed", range(5))
def test_digits_with_five_labels_per_class_gain_from_the_unlabeled_rows(digits, seed):
    X, y = digits
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)
    few = mask_labels(y, 50, random_state=seed)
    supervised = SVC(C=10).fit(X[few >= 0], few[few >= 0]).score(X_test, y_test)
    assert TransductiveSVC(random_state=0).fit(X, few).score(X_test, y_test) > supervised


# --- errors ---------------------------------------------------------------------------------------------------------


def test_score_counts_labeled_rows_only(clouds):
    X, y, y_true = clouds
    model = TransductiveSVC().fit(X, y)
    assert model.score(X, y) == (model.predict(X[y >= 0]) == y_true[y >= 0]).mean()
    with pytest.raises(ValueError, match="LabeledStratifiedKFold"):
        model.score(X, np.full(len(X), -1))


@pytest.mark.parametrize("ratio", [[0.5, 0.6], [-0.5, 1.5], [1.0], [np.nan, 1.0]])
def test_shares_that_do_not_fit_are_refused(ratio):
    X, y = _clouds(((-2, 0), (2, 0)))
    with pytest.raises(ValueError, match="class_ratio must hold 2 non-negative shares that sum to 1.*Use 'estimated'"):
        TransductiveSVC(class_ratio=ratio).fit(X, y)


@pytest.mark.parametrize(
    ("y", "match"),
    [([-1] * 4, "no labeled row"), ([3, 3, -1, -1], "at least two classes, got the one class 3"), (None, "y is None")],
)
def test_y_without_enough_labels_is_refused_and_the_estimator_left_as_it_was(y, match):
    X, y_before = np.arange(8.0).reshape(4, 2), [0, 1, -1, -1]
    model = TransductiveSVC().fit(X, y_before)
    before = model.predict(X)
    with pytest.raises(ValueError, match=match):
        model.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("name", ["C", "C_unlabeled", "gamma", "n_components", "n_stages", "max_iter", "max_unlabeled"])
def test_parameters_out_of_range_are_refused(name):
    X, y = _clouds()
    with pytest.raises(ValueError, match=f"The '{name}' parameter of TransductiveSVC must be"):
        TransductiveSVC(**{name: 0}).fit(X, y)
