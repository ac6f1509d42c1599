"""Tests of TransductiveSVC: shares, decision boundaries, gains on real data, and errors."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from skdgm import TransductiveSVC
from skdgm.datasets import mask_labels
from skdgm.svm import solvers
from skdgm.svm.annealing import Annealing
from skdgm.svm.shares import MAX_DRIFT, estimate_shares
from skdgm.svm.solvers import Solver
from skdgm.svm.switching import cuts

EXACT, PRIMAL = 10_000, 60  # n_components: at least the number of rows, and fewer


def _clouds(centers=((-2, 0), (2, 0), (0, 3)), n=60, random_state=0):
    X, y = make_blobs([n] * len(centers), centers=centers, cluster_std=0.7, random_state=random_state)
    return X, y


@pytest.fixture(params=[2, 3], ids=["binary", "multiclass"])
def clouds(request):
    """X, y with 4 labels per class, and the true labels."""
    X, y_true = _clouds(((-2, 0), (2, 0), (0, 3))[: request.param])
    return X, mask_labels(y_true, 4 * request.param, random_state=0), y_true


# --- the estimator --------------------------------------------------------------------------------------------------


def test_all_labeled_binary_is_the_svc():
    X, y = _clouds(((-1, 0), (1, 0)))
    ours, theirs = TransductiveSVC().fit(X, y), SVC(C=3).fit(X, y)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-10)
    assert ours.n_iter_ == 1


def test_all_labeled_multiclass_is_one_versus_rest():
    X, y = _clouds()
    ours, theirs = TransductiveSVC(C=3, kernel="linear").fit(X, y), OneVsRestClassifier(SVC(C=3, kernel="linear"))
    centered = X - X.mean(0)  # columns are centered, which changes an SVM within SVC's tolerance
    np.testing.assert_allclose(ours.decision_function(X), theirs.fit(centered, y).decision_function(centered))
    np.testing.assert_allclose(ours.decision_function(X), theirs.fit(X, y).decision_function(X), atol=5e-3)
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
    assert len(within) >= 2  # otherwise the test shows nothing
    assert all(after <= before for before, after in within)
    assert sorted(history["C_unlabeled"]) == history["C_unlabeled"]
    assert history["C_unlabeled"][-1] == pytest.approx(0.3)


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


def _overlapping_clouds():
    rng, y = np.random.default_rng(0), np.arange(600) % 2
    X = rng.normal(size=(600, 5))
    X[:, 0] += 3 * y
    return X, np.where(np.arange(600) < 40, y, -1), y


@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
@pytest.mark.parametrize("params", [{"gamma": 1e-4}, {"C": 0.01, "C_unlabeled": 0.001}, {"offset": 100}], ids=str)
def test_rows_within_the_margins_do_not_all_get_one_class(params, n_components):
    """Then the SVM's own intercept can put all rows on one side; labels under shares do not depend on it."""
    X, y, y_true = _overlapping_clouds()
    X[:, 1] += params.get("offset", 0)
    params = {name: value for name, value in params.items() if name != "offset"}
    model = TransductiveSVC(n_components=n_components, random_state=0, **params).fit(X, y)
    assert model.score(X, y_true) > 0.9
    unlabeled = X[y < 0]
    np.testing.assert_allclose(np.bincount(model.predict(unlabeled)) / len(unlabeled), model.class_ratio_, atol=2e-3)
    np.testing.assert_array_equal(model.predict(unlabeled), model.transduction_[y < 0])


def test_intercepts_of_several_classes_under_a_small_gamma():
    X, y_true = _clouds(n=100)
    model = TransductiveSVC(gamma=1e-6).fit(X, mask_labels(y_true, 15, random_state=0))
    assert (np.bincount(model.predict(X), minlength=3) > 40).all() and model.score(X, y_true) > 0.8


def test_the_cut_of_a_class_leaves_as_many_rows_above_as_it_has():
    decision = np.array([[3.0, 1], [1, 5], [2, 4], [0, 2]])
    np.testing.assert_array_equal(cuts(decision, np.array([1, 3])), [2.5, 1.5])
    np.testing.assert_array_equal(cuts(decision[:, :1], np.array([1, 3])), [0.5])
    for n_rows in ([0, 4], [4, 0]):
        above = decision > cuts(decision, np.array(n_rows))
        np.testing.assert_array_equal(above.sum(0), n_rows)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
def test_an_offset_of_all_columns_changes_nothing(kernel, n_components):
    X, y, _ = _overlapping_clouds()
    before = X + 1e6
    params = {"kernel": kernel, "n_components": n_components, "gamma": 0.2, "random_state": 0}
    near, far = TransductiveSVC(**params).fit(X, y), TransductiveSVC(**params).fit(before, y)
    np.testing.assert_allclose(far.decision_function(before), near.decision_function(X), atol=1e-3)
    assert far.history_["objective"]
    np.testing.assert_array_equal(before, X + 1e6)  # rows of the caller stay as they are


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
    assert not any(isinstance(value, Solver | Annealing) for value in vars(model).values())


def test_a_column_that_never_varies_and_huge_values_are_fitted():
    X, y_true = _clouds()
    y = mask_labels(y_true, 12, random_state=0)
    for rows in (np.hstack([X, np.ones((len(X), 1))]), np.zeros_like(X), 1e30 * X):
        for n_components in (EXACT, PRIMAL):
            model = TransductiveSVC(n_components=n_components, random_state=0).fit(rows, y)
            assert np.isfinite(model.decision_function(rows)).all()


@pytest.mark.parametrize("scale", [1e15, 1e99])
def test_the_primal_is_solved_where_rounding_leaves_its_matrix_indefinite(scale):
    """Two equal columns of large values, and a large C: 1 on the diagonal is lost."""
    X = np.random.default_rng(0).normal(size=(100, 3)) * [1, scale, scale]
    X[:, 1] = X[:, 2]
    y = np.where(np.arange(100) < 30, X[:, 0] > 0, -1)
    model = TransductiveSVC(kernel="linear", C=1e6, n_components=PRIMAL, random_state=0).fit(X, y)
    assert np.isfinite(model.decision_function(X)).all()


def test_an_svm_that_would_not_end_warns(monkeypatch):
    """Columns of thousands, a linear kernel, and labels that no line separates."""
    monkeypatch.setattr(solvers, "MAX_SVC_ITER", 10_000)
    rng = np.random.default_rng(0)
    with pytest.warns(ConvergenceWarning, match="terminated early.*StandardScaler"):
        TransductiveSVC(kernel="linear").fit(1e4 * rng.normal(size=(100, 3)), np.arange(100) % 2)


def test_approximate_features_of_a_linear_kernel_may_have_any_scale():
    """float32, in which the features of the RBF kernel are kept, holds squares up to 1e38 only."""
    X = 1e30 * np.random.default_rng(0).normal(size=(40, 8))
    model = TransductiveSVC(kernel="linear", n_components=3, random_state=0).fit(X, np.arange(40) % 3 - 1)
    assert np.isfinite(model.decision_function(X)).all()


@pytest.mark.parametrize("C", [1e6, 1e9])
def test_so_it_is_for_features_of_the_rbf_kernel_of_equal_rows(C):
    """They are kept in float32, whose rounding is larger."""
    X = np.random.default_rng(0).normal(size=(4, 1))[np.arange(120) % 4]
    model = TransductiveSVC(C=C, n_components=PRIMAL, random_state=0).fit(X, np.arange(120) % 3 - 1)
    assert np.isfinite(model.decision_function(X)).all()


@pytest.mark.parametrize("n_components", [EXACT, PRIMAL])
def test_a_seeded_fit_leaves_the_global_generator_alone(clouds, n_components):
    """scikit-learn's SVC advances it, also where nothing is random, unless it has a seed."""
    X, y, _ = clouds
    before = np.random.get_state()[1:3]
    TransductiveSVC(n_components=n_components, random_state=0).fit(X, y)
    after = np.random.get_state()[1:3]
    assert np.array_equal(before[0], after[0]) and before[1] == after[1]


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


def test_values_whose_squares_overflow_are_refused(clouds):
    X, y, _ = clouds
    model = TransductiveSVC().fit(X, y)
    for call in (lambda X: TransductiveSVC().fit(X, y), model.predict):
        with pytest.raises(ValueError, match=r"values up to 1e\+100 in size, got 1e\+101\. Scale X"):
            call(np.where(np.arange(len(X))[:, None] == 3, -1e101, X))


@pytest.mark.parametrize("ratio", [[0.5, 0.6], [-0.5, 1.5], [1.0], [np.nan, 1.0], ["a", 0.5]])
def test_shares_that_do_not_fit_are_refused(ratio):
    X, y = _clouds(((-2, 0), (2, 0)))
    with pytest.raises(ValueError, match="class_ratio must hold 2 non-negative shares that sum to 1.*Use 'estimated'"):
        TransductiveSVC(class_ratio=ratio).fit(X, y)


@pytest.mark.parametrize(
    ("y", "match"),
    [([-1] * 4, "no labeled row"), ([3, 3, -1, -1], "at least two classes, got one class, 3"), (None, "y is None")],
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
