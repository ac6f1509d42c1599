"""Tests of the splits that keep groups together or follow time: their laws, scikit-learn's splits, and searches."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, TimeSeriesSplit, cross_validate
from sklearn.semi_supervised import SelfTrainingClassifier

from skdgm import M2Classifier
from skdgm.model_selection import (
    LabeledStratifiedGroupKFold,
    LabeledStratifiedKFold,
    LabeledTimeSeriesSplit,
    cross_val_predict_labeled,
)

MODEL = SelfTrainingClassifier(LogisticRegression())


def table(seed=0):
    """120 rows of three classes, some 50 of them labeled, of 40 patients, some of whom have no label."""
    rng = np.random.RandomState(seed)
    y, groups = rng.randint(3, size=120), rng.permutation(120) // 3
    X = np.column_stack([groups / 40, rng.normal(size=(120, 2)) + y[:, None]])
    return X, np.where((rng.rand(120) < 0.5) & (groups > 5), y, -1), groups


def as_lists(splits):
    return [(train.tolist(), test.tolist()) for train, test in splits]


# ------------------------------------------------------------------------------------- LabeledStratifiedGroupKFold


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n_splits", [2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_every_row_of_other_groups_is_trained_on_and_no_row_of_tested_groups(seed, n_splits, shuffle):
    X, y, groups = table(seed)
    cv = LabeledStratifiedGroupKFold(n_splits, shuffle=shuffle, random_state=seed if shuffle else None)
    folds = list(cv.split(X, y, groups))
    assert len(folds) == n_splits == cv.get_n_splits(X, y, groups)
    np.testing.assert_array_equal(np.sort(np.hstack([test for _, test in folds])), np.flatnonzero(y != -1))
    for train, test in folds:
        tested = set(groups[test])
        assert train.tolist() == [row for row, group in enumerate(groups) if group not in tested]
        assert test.tolist() == [row for row, group in enumerate(groups) if group in tested and y[row] != -1]


def test_folds_that_ignore_groups_put_patients_on_both_sides():
    """The unlabeled rows of a tested patient count, too: without them, a fold would still have rows of 15 patients."""
    X, y, groups = table()

    def n_on_both_sides(folds, rows):
        return sum(len(np.intersect1d(groups[train[rows[train]]], groups[test])) for train, test in folds)

    plain = list(LabeledStratifiedKFold(3).split(X, y))
    assert n_on_both_sides(plain, y != -1) > 15 and n_on_both_sides(plain, y == -1) > 15
    assert n_on_both_sides(LabeledStratifiedGroupKFold(3).split(X, y, groups), np.full(len(y), True)) == 0


@pytest.mark.parametrize("options", [{}, {"shuffle": True, "random_state": 3}])
@pytest.mark.parametrize("unlabeled_value", [-1, None])
def test_with_all_rows_labeled_it_is_a_stratified_group_k_fold(unlabeled_value, options):
    X, _, groups = table()
    y = np.random.RandomState(1).randint(3, size=120)
    ours = LabeledStratifiedGroupKFold(4, unlabeled_value=unlabeled_value, **options).split(X, y, groups)
    assert as_lists(ours) == as_lists(StratifiedGroupKFold(4, **options).split(X, y, groups))


def test_test_folds_are_those_of_the_labeled_part_alone():
    X, y, groups = table()
    rows = np.flatnonzero(y != -1)
    wanted = [rows[test].tolist() for _, test in StratifiedGroupKFold(3).split(X[rows], y[rows], groups[rows])]
    assert [test.tolist() for _, test in LabeledStratifiedGroupKFold(3).split(X, y, groups)] == wanted


def test_class_shares_of_folds_are_near_those_of_the_labels():
    """With many small groups, a fold has each class as often as an equal share, within the size of a group."""
    rng = np.random.RandomState(0)
    y, groups = rng.choice(3, size=600, p=[0.6, 0.3, 0.1]), np.arange(600) // 3
    y = np.where(rng.rand(600) < 0.5, y, -1)
    counts = np.array([np.bincount(y[t], minlength=3) for _, t in LabeledStratifiedGroupKFold(5).split(y, y, groups)])
    assert np.abs(counts - counts.sum(0) / 5).max() <= 3


def test_folds_do_not_depend_on_how_groups_and_labels_are_written():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    X, y, groups = table()
    cv = LabeledStratifiedGroupKFold(3)
    wanted = as_lists(cv.split(X, y, groups))
    names = np.array([f"patient {group:02}" for group in groups])
    frame = pd.Series(names, index=np.arange(120)[::-1])
    for other in (groups - 7, groups.tolist(), names, names.tolist(), names.astype(object), groups.astype(float)):
        assert as_lists(cv.split(X, y, other)) == wanted
    for other in (frame, frame.astype("category"), pd.Series(groups, dtype="Int64"), pl.Series(names)):
        assert as_lists(cv.split(X, y, other)) == wanted
    for other in (np.where(y == -1, np.nan, y), np.where(y == -1, None, y), pd.Series(y, dtype="Int64").mask(y == -1)):
        assert as_lists(cv.split(X, other, groups)) == wanted


def test_group_folds_show_copy_and_pickle_themselves():
    X, y, groups = table()
    cv = LabeledStratifiedGroupKFold(3, shuffle=True, random_state=1)
    assert repr(cv) == (
        "LabeledStratifiedGroupKFold(n_splits=3, random_state=1, shuffle=True,\n              unlabeled_value=-1)"
    )
    for copy in (clone(cv, safe=False), pickle.loads(pickle.dumps(cv))):
        assert as_lists(copy.split(X, y, groups)) == as_lists(cv.split(X, y, groups))


FEW = np.repeat([0, 1, 2], 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": None}, r"needs groups, with an entry per row, got None. Pass groups= to split"),
        ({"groups": [None, np.nan] + list(range(118))}, "groups has 2 missing among 120 entries"),
        ({"groups": np.append(np.arange(119.0), np.nan)}, "groups has 1 missing among 120 entries.*value of its own"),
        ({"groups": ["a", 1] * 60}, "groups mixes types that cannot be sorted"),
        ({"groups": np.zeros((120, 2))}, r"groups must have one entry per row, got shape \(120, 2\)"),
        ({"groups": np.arange(100)}, "inconsistent numbers of samples"),
        ({"groups": FEW}, r"\(n_splits=5\) cannot give each fold a labeled row: the \d+ labeled rows are in 3 groups"),
        ({"y": None}, "LabeledStratifiedGroupKFold needs y to tell labeled rows, got None. Use GroupKFold"),
        ({"y": [0, 1] * 4 + [-1] * 112}, r"needs a class with at least 5 labeled rows, but y has 8 labeled among 120"),
        ({"y": np.full(120, -1)}, "y has 0 labeled among 120 rows, at most 0 in a class.*or use GroupKFold"),
    ],
)
def test_group_folds_that_cannot_be_made_are_refused(change, message):
    X, y, groups = table()
    arguments = {"y": y, "groups": groups} | change
    with pytest.raises(ValueError, match=message):
        list(LabeledStratifiedGroupKFold(5).split(X, **arguments))


def test_pandas_missing_groups_are_refused():
    pd = pytest.importorskip("pandas")
    X, y, groups = table()
    with pytest.raises(ValueError, match="groups has 3 missing"):
        list(LabeledStratifiedGroupKFold(5).split(X, y, pd.Series(groups, dtype="Int64").mask(groups == 7)))


def test_no_fold_is_left_empty():
    """As many groups as folds: scikit-learn leaves a fold empty for this table, by rounding."""
    y, groups = np.array([0, 1, 2, 3, 1, 3, 1, 0, 1, 3, 1]), np.array([0, 1, 2, 3, 4, 3, 0, 0, 1, 3, 1])
    try:
        with pytest.warns(UserWarning, match="The least populated class"):
            folds = list(LabeledStratifiedGroupKFold(5).split(y, y, groups))
    except ValueError as error:
        assert "cannot give each fold a labeled row" in str(error) and "try shuffle=True" in str(error)
    else:
        assert all(len(test) for _, test in folds)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_splits": 1}, ValueError, "n_splits=2 or more"),
        ({"shuffle": 1}, TypeError, "shuffle must be True or False"),
        ({"random_state": 0}, ValueError, "Setting a random_state has no effect since shuffle is"),
    ],
)
def test_bad_parameters_of_group_folds_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        LabeledStratifiedGroupKFold(**options)


# ------------------------------------------------------------------------------------------ LabeledTimeSeriesSplit


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize(("n_splits", "test_size"), [(2, None), (5, None), (5, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_all_rows_before_a_block_of_labels_are_trained_on(seed, n_splits, test_size, gap):
    X, y, _ = table(seed)
    cv = LabeledTimeSeriesSplit(n_splits, test_size=test_size, gap=gap)
    splits, labeled = list(cv.split(X, y)), np.flatnonzero(y != -1)
    size = test_size or len(labeled) // (n_splits + 1)
    assert len(splits) == n_splits == cv.get_n_splits(X, y)
    assert [row for _, test in splits for row in test] == labeled[-n_splits * size :].tolist()
    for train, test in splits:
        assert len(test) == size and (y[train] != -1).any()
        assert train.tolist() == list(range(test[0] - gap))


@pytest.mark.parametrize("unlabeled_value", [-1, None])
@pytest.mark.parametrize("options", [{}, {"test_size": 7}, {"gap": 5}, {"test_size": 3, "gap": 2}])
def test_with_all_rows_labeled_it_is_a_time_series_split(unlabeled_value, options):
    X, _, y = table()
    ours = LabeledTimeSeriesSplit(4, unlabeled_value=unlabeled_value, **options).split(X, y)
    assert as_lists(ours) == as_lists(TimeSeriesSplit(4, **options).split(X))


def test_later_rows_change_nothing_before_them():
    """With the number of labels given, unlabeled rows at the end are in no part, and those between are never tested."""
    X, y, _ = table()
    more = np.append(y, [-1] * 30)
    cv = LabeledTimeSeriesSplit(3)
    assert as_lists(cv.split(np.zeros((150, 1)), more)) == as_lists(cv.split(X, y))


def test_time_splits_do_not_depend_on_how_labels_are_written():
    pd = pytest.importorskip("pandas")
    X, y, _ = table()
    cv, words = LabeledTimeSeriesSplit(3), np.where(y == -1, None, np.array(["a", "b", "c", ""], dtype=object)[y])
    for other in (y.tolist(), np.where(y == -1, np.nan, y), words, pd.Series(y, dtype="Int64").mask(y == -1)):
        assert as_lists(cv.split(X, other)) == as_lists(cv.split(X, y))
    assert as_lists(LabeledTimeSeriesSplit(3, unlabeled_value=9).split(X, np.where(y == -1, 9, y))) == as_lists(
        cv.split(X, y)
    )


def test_time_splits_show_copy_and_pickle_themselves():
    X, y, _ = table()
    cv = LabeledTimeSeriesSplit(3, gap=2)
    assert repr(cv) == "LabeledTimeSeriesSplit(gap=2, n_splits=3, test_size=None, unlabeled_value=-1)"
    for copy in (clone(cv, safe=False), pickle.loads(pickle.dumps(cv))):
        assert as_lists(copy.split(X, y)) == as_lists(cv.split(X, y))


def test_time_splits_ignore_groups_with_a_warning():
    X, y, groups = table()
    with pytest.warns(UserWarning, match="The groups parameter is ignored by LabeledTimeSeriesSplit") as caught:
        splits = as_lists(LabeledTimeSeriesSplit(3).split(X, y, groups))
    assert splits == as_lists(LabeledTimeSeriesSplit(3).split(X, y)) and caught[0].filename == __file__


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({}, None, "LabeledTimeSeriesSplit needs y to tell labeled rows, got None. Use TimeSeriesSplit"),
        ({}, [0, 1, 0, 1, 0] + [-1] * 15, r"\(n_splits=5, test_size=None\) needs at least 6 labeled.* has 5 among 20"),
        ({"test_size": 4}, [0] * 20, r"\(n_splits=5, test_size=4\) needs at least 21 labeled rows, but y has 20 among"),
        ({}, [-1] * 20, "needs at least 6 labeled rows, but y has 0 among 20 rows"),
        (
            {"gap": 2},
            [-1] * 14 + [0, 1] * 3,
            r"\(gap=2\) leaves no labeled row to train on before.* 15: the first .* 14",
        ),
        ({"n_splits": 2}, ["a", "-1"] * 10, "holds the string '-1'"),
    ],
)
def test_time_splits_that_cannot_be_made_are_refused(options, y, message):
    with pytest.raises(ValueError, match=message):
        list(LabeledTimeSeriesSplit(**options).split(np.zeros((20, 2)), y))


def test_the_largest_gap_leaves_one_label():
    y = np.array([-1, -1, 0, -1, -1, -1, 1, 0])
    (train, test), _ = LabeledTimeSeriesSplit(2, gap=3).split(y, y)
    assert (train.tolist(), test.tolist()) == ([0, 1, 2], [6])
    with pytest.raises(ValueError, match="Use a smaller gap"):
        next(LabeledTimeSeriesSplit(2, gap=4).split(y, y))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_splits": 1}, ValueError, "n_splits=2 or more"),
        ({"gap": -1}, ValueError, "gap == -1, must be >= 0"),
        ({"gap": 0.5}, TypeError, "gap must be an instance of"),
        ({"test_size": 0}, ValueError, "test_size == 0, must be >= 1"),
    ],
)
def test_bad_parameters_of_time_splits_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        LabeledTimeSeriesSplit(**options)


# -------------------------------------------------------------------------------------- both in scikit-learn's tools


class Watcher(ClassifierMixin, BaseEstimator):
    """Fail if the first column, the group, of a row to predict was among the rows of fit."""

    def __init__(self, C=1.0):
        self.C = C

    def fit(self, X, y):
        self.model_ = SelfTrainingClassifier(LogisticRegression(C=self.C)).fit(X[:, 1:], y)
        self.classes_, self.seen_, self.has_unlabeled_ = self.model_.classes_, set(X[:, 0]), (y == -1).any()
        return self

    def predict(self, X):
        assert not self.seen_ & set(X[:, 0]) and self.has_unlabeled_
        return self.model_.predict(X[:, 1:])


@pytest.mark.parametrize("routing", [False, True])
def test_searches_and_cross_validations_pass_groups(routing):
    """Without groups the same model fails, so that the check of Watcher sees what it should."""
    X, y, groups = table()
    cv, options = LabeledStratifiedGroupKFold(3), {"scoring": "accuracy", "error_score": "raise"}
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(Watcher(), {"C": [0.1, 1.0]}, cv=cv, refit=False, **options).fit(X, y, groups=groups)
        passed = {"params": {"groups": groups}} if routing else {"groups": groups}
        scores = cross_validate(Watcher(), X, y, cv=cv, **options, **passed)["test_score"]
        with pytest.raises(ValueError, match="needs groups"):
            GridSearchCV(Watcher(), {"C": [0.1]}, cv=cv, **options).fit(X, y)
    assert [search.cv_results_[f"split{i}_test_score"][1] for i in range(3)] == scores.tolist()
    with pytest.raises(AssertionError):
        cross_validate(Watcher(), X, y, cv=LabeledStratifiedKFold(3), **options)


def test_a_search_over_m2_keeps_patients_apart(monkeypatch):
    """The first column is the patient; fit and score record it."""
    X, y, groups = table()
    seen, fit, score = {"fit": [], "score": []}, M2Classifier.fit, M2Classifier.score
    monkeypatch.setattr(M2Classifier, "fit", lambda self, X, y: seen["fit"].append(X[:, 0]) or fit(self, X, y))
    monkeypatch.setattr(M2Classifier, "score", lambda self, X, y: seen["score"].append(X[:, 0]) or score(self, X, y))
    model = M2Classifier(2, hidden_layer_sizes=(8,), max_iter=2, alpha=1.0, random_state=0)
    cv = LabeledStratifiedGroupKFold(3)
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=cv, refit=False, error_score="raise")
    search.fit(X, y, groups=groups)
    assert len(seen["fit"]) == len(seen["score"]) == 6
    for trained, tested in zip(seen["fit"], seen["score"], strict=True):
        assert not set(trained) & set(tested)
    assert set(np.hstack(seen["score"])) == set(X[y != -1, 0])


def test_time_splits_in_a_search():
    X, y, _ = table()
    cv = LabeledTimeSeriesSplit(3, gap=1)
    search = GridSearchCV(MODEL, {"estimator__C": [0.1, 1.0]}, cv=cv, error_score="raise").fit(X, y)
    wanted = [accuracy_score(y[b], clone(MODEL).fit(X[a], y[a]).predict(X[b])) for a, b in cv.split(X, y)]
    assert [search.cv_results_[f"split{i}_test_score"][1] for i in range(3)] == wanted


# ---------------------------------------------------------------------------------------- cross_val_predict_labeled


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("cv", [LabeledStratifiedGroupKFold(3), LabeledTimeSeriesSplit(3)], ids=["groups", "time"])
def test_predictions_are_those_of_a_loop(cv, routing):
    X, y, groups = table()
    groups = groups if isinstance(cv, LabeledStratifiedGroupKFold) else None
    expected = {}
    for train, test in cv.split(X, y, groups):
        expected.update(zip(test, clone(MODEL).fit(X[train], y[train]).predict_proba(X[test]), strict=True))
    with sklearn.config_context(enable_metadata_routing=routing):
        proba, rows = cross_val_predict_labeled(
            MODEL, X, y, groups=groups, cv=cv, method="predict_proba", return_indices=True
        )
    assert rows.tolist() == sorted(expected)
    np.testing.assert_array_equal(proba, [expected[row] for row in rows])


def test_rows_that_no_split_tests_need_indices():
    X, y, _ = table()
    with pytest.raises(ValueError, match="tests 1[0-9] never, 0 more than once.*return_indices=True"):
        cross_val_predict_labeled(MODEL, X, y, cv=LabeledTimeSeriesSplit(3))
    _, rows = cross_val_predict_labeled(MODEL, X, y, cv=LabeledTimeSeriesSplit(3), return_indices=True)
    assert set(rows) < set(np.flatnonzero(y != -1))


def test_rows_must_not_be_tested_twice_and_some_must_be_tested():
    X, y, _ = table()
    twice, never = [(np.arange(60), np.arange(60, 120))] * 2, [(np.arange(120), np.flatnonzero(y == -1))]
    for splits, message in ((twice, "[1-9][0-9] more than once"), (never, "tests [1-9][0-9] never, 0 more")):
        with pytest.raises(ValueError, match=message):
            cross_val_predict_labeled(MODEL, X, y, cv=splits, return_indices=True)


def test_a_class_that_appears_last_has_a_column():
    X, _, y = table()
    y = np.where(np.arange(120) < 110, y % 2, 2)
    with pytest.warns(RuntimeWarning, match="Number of classes in training fold"):
        proba, rows = cross_val_predict_labeled(
            LogisticRegression(), X, y, cv=LabeledTimeSeriesSplit(2), method="predict_proba", return_indices=True
        )
    assert proba.shape == (len(rows), 3) and not proba[:, 2].any()
    np.testing.assert_allclose(proba.sum(1), 1)


def test_labels_of_a_patient_change_no_prediction_for_this_patient():
    """Moved to another class, they change nothing, because the patient is never trained on."""
    X, y, groups = table()
    patient = groups == groups[np.flatnonzero(y != -1)[0]]
    cv = list(LabeledStratifiedGroupKFold(3).split(X, y, groups))
    other = np.where(patient & (y != -1), (y + 1) % 3, y)
    before, rows = cross_val_predict_labeled(MODEL, X, y, cv=cv, return_indices=True)
    after = cross_val_predict_labeled(MODEL, X, other, cv=cv)
    assert (before == after)[patient[rows]].all()
