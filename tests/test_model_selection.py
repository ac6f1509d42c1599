"""Tests of folds and scores of labeled rows, against scikit-learn's own on labeled rows only, and in searches."""

import pickle

import numpy as np
import pytest
import sklearn
from joblib import parallel_backend
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, get_scorer, log_loss, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    LearningCurveDisplay,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from skdgm._labels import encode_labels
from skdgm.datasets import mask_labels
from skdgm.model_selection import LabeledStratifiedKFold, cross_val_predict_labeled, make_labeled_scorer

_VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])


class Words(ClassifierMixin, BaseEstimator):
    """Let a semi-supervised classifier that accepts only integers use strings as labels."""

    def __init__(self, classifier):
        self.classifier = classifier

    def fit(self, X, y):
        self.classes_, codes = encode_labels(y, -1, owner="Words")
        self.classifier_ = clone(self.classifier).fit(X, codes)
        return self

    def predict(self, X):
        return self.classes_[self.classifier_.predict(X)]


@pytest.fixture(scope="module")
def small():
    """80 rows of three overlapping classes, half of them unlabeled."""
    rng = np.random.RandomState(0)
    y = rng.randint(3, size=80)
    X = rng.normal(size=(80, 4)) + y[:, None]
    return X, y, mask_labels(y, 41, random_state=0)


def _as_words(y):
    words = np.array(["unlabeled", "one", "two", "three"], dtype=object)[y + 1]
    words[y == -1] = -1
    return words


# ------------------------------------------------------------------------------------------- LabeledStratifiedKFold


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n_splits", [2, 3, 5])
def test_folds_partition_the_labeled_rows_and_unlabeled_rows_are_trained_on(small, n_splits, shuffle):
    X, _, y = small
    cv = LabeledStratifiedKFold(n_splits, shuffle=shuffle, random_state=0 if shuffle else None)
    folds = list(cv.split(X, y))
    assert len(folds) == n_splits == cv.get_n_splits(X, y)
    np.testing.assert_array_equal(np.sort(np.hstack([test for _, test in folds])), np.flatnonzero(y != -1))
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.hstack([train, test])), np.arange(len(y)))
        assert np.isin(np.flatnonzero(y == -1), train).all()


@pytest.mark.parametrize("shuffle", [False, True])
def test_class_counts_of_folds_differ_by_at_most_one(small, shuffle):
    X, _, y = small
    cv = LabeledStratifiedKFold(4, shuffle=shuffle, random_state=0 if shuffle else None)
    counts = np.array([np.bincount(y[test], minlength=3) for _, test in cv.split(X, y)])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1


@pytest.mark.parametrize("unlabeled_value", [-1, None])
def test_with_all_rows_labeled_it_is_a_stratified_k_fold(small, unlabeled_value):
    X, y, _ = small
    options = {"shuffle": True, "random_state": 3}
    ours = LabeledStratifiedKFold(4, unlabeled_value=unlabeled_value, **options).split(X, y)
    for fold, wanted in zip(ours, StratifiedKFold(4, **options).split(X, y), strict=True):
        np.testing.assert_array_equal(fold[0], wanted[0])
        np.testing.assert_array_equal(fold[1], wanted[1])


def test_test_folds_are_those_of_the_labeled_part_alone(small):
    X, _, y = small
    rows = np.flatnonzero(y != -1)
    wanted = [rows[test] for _, test in StratifiedKFold(3).split(X[rows], y[rows])]
    for (_, test), rows_wanted in zip(LabeledStratifiedKFold(3).split(X, y), wanted, strict=True):
        np.testing.assert_array_equal(test, rows_wanted)


def test_without_a_marker_the_marker_is_a_class(small):
    X, _, y = small
    tested = np.hstack([test for _, test in LabeledStratifiedKFold(3, unlabeled_value=None).split(X, y)])
    assert len(tested) == len(y)


def test_folds_do_not_depend_on_how_labels_are_written(small):
    pd = pytest.importorskip("pandas")
    X, _, y = small
    floats, nullable = np.where(y == -1, np.nan, y), pd.Series(y, dtype="Int64").mask(y == -1)
    wanted = [test.tolist() for _, test in LabeledStratifiedKFold(3).split(X, y)]
    for other in (_as_words(y), list(_as_words(y)), y.tolist(), floats, nullable, pd.Series(_as_words(y))):
        assert [test.tolist() for _, test in LabeledStratifiedKFold(3).split(X, other)] == wanted
    strings = _as_words(y).astype(str)
    strings[y == -1] = "?"
    cv = LabeledStratifiedKFold(3, unlabeled_value="?")
    assert [test.tolist() for _, test in cv.split(X, strings)] == wanted


def test_shuffled_folds_reproduce(small):
    X, _, y = small

    def folds(seed):
        return [test.tolist() for _, test in LabeledStratifiedKFold(3, shuffle=True, random_state=seed).split(X, y)]

    assert folds(0) == folds(0)
    assert folds(0) != folds(1)
    assert folds(np.random.RandomState(0)) == folds(0)


def test_the_splitter_shows_copies_and_pickles_itself(small):
    X, _, y = small
    cv = LabeledStratifiedKFold(3, shuffle=True, random_state=1, unlabeled_value=-1)
    shown = "LabeledStratifiedKFold(n_splits=3, random_state=1, shuffle=True,\n            unlabeled_value=-1)"
    assert repr(cv) == shown
    for copy in (clone(cv, safe=False), pickle.loads(pickle.dumps(cv))):
        assert [test.tolist() for _, test in copy.split(X, y)] == [test.tolist() for _, test in cv.split(X, y)]


def test_a_rare_class_warns_as_in_scikit_learn():
    y = np.array([0] * 6 + [1] * 2 + [-1] * 10)
    with pytest.warns(UserWarning, match="The least populated class in y has only 2 members"):
        folds = list(LabeledStratifiedKFold(3).split(y, y))
    assert sorted(int(row) for _, test in folds for row in test) == list(range(8))


def test_groups_are_ignored_with_a_warning(small):
    X, _, y = small
    with pytest.warns(UserWarning, match="The groups parameter is ignored by LabeledStratifiedKFold"):
        assert len(list(LabeledStratifiedKFold(3).split(X, y, groups=y))) == 3


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "LabeledStratifiedKFold needs y to tell labeled rows, got None"),
        (np.full(20, -1), r"needs a class with at least 5 labeled rows, but y has 0 labeled among 20 rows"),
        (
            [0, 1, 0, 1] + [-1] * 16,
            r"LabeledStratifiedKFold\(n_splits=5\).*4 labeled among 20 rows, at most 2 in a class",
        ),
        (np.linspace(0, 1, 20), "Unknown label type: continuous"),
        (np.zeros((20, 2)), "y should be a 1d array"),
        (["a", "-1"] * 10, "holds the string '-1'"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        list(LabeledStratifiedKFold(5).split(np.zeros((20, 2)), y))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_splits": 1}, ValueError, "n_splits=2 or more"),
        ({"n_splits": 2.5}, ValueError, "must be of Integral type"),
        ({"shuffle": 1}, TypeError, "shuffle must be True or False"),
        ({"random_state": 0}, ValueError, "Setting a random_state has no effect since shuffle is"),
    ],
)
def test_bad_parameters_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        LabeledStratifiedKFold(**options)


@pytest.mark.parametrize("model", [LabelSpreading(kernel="knn"), SelfTrainingClassifier(KNeighborsClassifier(3))])
def test_digits_mostly_unlabeled_score_what_they_are_worth(digits, model):
    X, y = digits
    y_few = mask_labels(y, 180, random_state=0)
    hidden = y_few == -1
    truth = accuracy_score(y[hidden], clone(model).fit(X, y_few).predict(X[hidden]))
    assert cross_val_score(model, X, y_few, cv=3).mean() < 0.12
    assert cross_val_score(model, X, y_few, cv=LabeledStratifiedKFold(3)).mean() == pytest.approx(truth, abs=0.05)
    assert truth > 0.9


# ---------------------------------------------------------------------------------------------- make_labeled_scorer


@pytest.fixture(scope="module")
def fitted(small):
    X, y, _ = small
    return LogisticRegression().fit(X, y)


METRICS = [
    ("accuracy", {}),
    ("balanced_accuracy", {}),
    ("neg_log_loss", {}),
    ("roc_auc_ovr", {}),
    (accuracy_score, {}),
    (f1_score, {"average": "macro"}),
    (log_loss, {"response_method": "predict_proba", "greater_is_better": False, "labels": [0, 1, 2]}),
    (make_scorer(f1_score, average="micro"), {}),
]


def _plain(metric, kwargs):
    if isinstance(metric, str):
        return get_scorer(metric)
    return make_scorer(metric, **kwargs) if hasattr(metric, "__name__") else metric


@pytest.mark.parametrize(("metric", "kwargs"), METRICS)
def test_the_score_is_that_of_the_labeled_rows_alone(small, fitted, metric, kwargs):
    X, _, y = small
    labeled = y != -1
    score = make_labeled_scorer(metric, **kwargs)(fitted, X, y)
    assert score == _plain(metric, kwargs)(fitted, X[labeled], y[labeled])


@pytest.mark.parametrize(("metric", "kwargs"), METRICS)
def test_with_all_rows_labeled_it_is_the_plain_scorer(small, fitted, metric, kwargs):
    X, y, _ = small
    for marker in (-1, None):
        scorer = make_labeled_scorer(metric, unlabeled_value=marker, **kwargs)
        assert scorer(fitted, X, y) == _plain(metric, kwargs)(fitted, X, y)


def test_accuracy_is_the_default(small, fitted):
    X, _, y = small
    assert make_labeled_scorer()(fitted, X, y) == make_labeled_scorer("accuracy")(fitted, X, y)


def test_binary_metrics_work_with_numbers_in_objects_and_strings(small):
    X, y, y_few = small
    model = LogisticRegression().fit(X, y > 0)
    objects = np.where(y_few == -1, None, y_few > 0)
    labeled = y_few != -1
    wanted = get_scorer("roc_auc")(model, X[labeled], (y_few > 0)[labeled])
    assert make_labeled_scorer("roc_auc")(model, X, objects) == wanted
    words = LogisticRegression().fit(X, _as_words(y))
    assert make_labeled_scorer()(words, X, _as_words(y_few)) == words.score(X[labeled], _as_words(y_few)[labeled])


@pytest.mark.parametrize(
    "container",
    [np.asarray, np.ndarray.tolist, sparse.csr_array, sparse.coo_matrix, sparse.csc_array],
    ids=["array", "list", "csr", "coo", "csc"],
)
def test_rows_are_taken_from_any_container(small, fitted, container):
    X, _, y = small
    assert make_labeled_scorer()(fitted, container(X), y) == make_labeled_scorer()(fitted, X, y)


def test_rows_are_taken_from_data_frames_by_position(small):
    pd = pytest.importorskip("pandas")
    X, y, y_few = small
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(80)[::-1])
    model = LogisticRegression().fit(frame, y)
    score = make_labeled_scorer()(model, frame, pd.Series(y_few, index=frame.index))
    assert score == model.score(frame[y_few != -1], y[y_few != -1])


def test_rows_are_taken_from_polars_frames(small):
    pl = pytest.importorskip("polars")
    X, y, y_few = small
    model = LogisticRegression().fit(pl.DataFrame(X), y)
    score = make_labeled_scorer()(model, pl.DataFrame(X), pl.Series(y_few))
    assert score == model.score(pl.DataFrame(X[y_few != -1]), y[y_few != -1])


def test_rows_are_taken_from_tables_of_pyarrow(small):
    pa = pytest.importorskip("pyarrow")
    X, y, y_few = small
    table = pa.table(dict(zip("abcd", X.T, strict=True)))
    predicted = cross_val_predict_labeled(LogisticRegression(), table.take(np.flatnonzero(y_few >= 0)), y[y_few >= 0])
    expected = cross_val_predict_labeled(LogisticRegression(), X[y_few >= 0], y[y_few >= 0])
    np.testing.assert_array_equal(predicted, expected)
    model = LogisticRegression().fit(X, y)
    assert make_labeled_scorer()(LogisticRegression().fit(table, y), table, y_few) == make_labeled_scorer()(
        model, X, y_few
    )


def test_rows_are_taken_from_tensors(small):
    torch = pytest.importorskip("torch")
    X, _, y = small

    class Tensors(DummyClassifier):
        def predict(self, X):
            assert isinstance(X, torch.Tensor)
            return (X[:, 0] > 1).long().numpy()

    model = Tensors().fit(X, y)
    labeled = y != -1
    wanted = accuracy_score(y[labeled], X[labeled, 0] > 1)
    assert make_labeled_scorer()(model, torch.from_numpy(X), torch.from_numpy(y)) == wanted


def test_what_has_one_entry_per_row_is_cut_too(small, fitted):
    X, _, y = small
    labeled = y != -1
    weights = np.random.RandomState(0).uniform(size=len(y))
    for given in (weights, weights.tolist()):
        score = make_labeled_scorer()(fitted, X, y, sample_weight=given)
        assert score == pytest.approx(fitted.score(X[labeled], y[labeled], sample_weight=weights[labeled]))


def test_a_callable_with_the_arguments_of_a_scorer_is_one(small, fitted):
    X, _, y = small

    def n_rows(estimator, X, y=None):
        return len(X)

    def n_labels(model, data, labels):
        return len(labels)

    def error_count(y_true, y_pred, cost):
        return cost * (y_true != y_pred).sum()

    errors = (fitted.predict(X) != y)[y != -1].sum()
    assert make_labeled_scorer(n_rows)(fitted, X, y) == 41
    assert make_labeled_scorer(n_labels)(fitted, X, y) == 41
    assert make_labeled_scorer(error_count, cost=3, greater_is_better=False)(fitted, X, y) == -3 * errors


@pytest.mark.parametrize(
    ("scorer", "shown"),
    [
        (make_labeled_scorer(), "make_labeled_scorer(make_scorer(accuracy_score, response_method='predict'))"),
        (
            make_labeled_scorer(f1_score, average="macro", unlabeled_value="?"),
            "make_labeled_scorer(make_scorer(f1_score, response_method='predict', average=macro), unlabeled_value='?')",
        ),
    ],
)
def test_scorers_show_what_they_do(scorer, shown):
    assert repr(scorer) == shown


@pytest.mark.parametrize(("metric", "kwargs"), METRICS)
def test_scorers_pickle_and_copy(small, fitted, metric, kwargs):
    X, _, y = small
    scorer = make_labeled_scorer(metric, **kwargs)
    for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
        assert copy(fitted, X, y) == scorer(fitted, X, y)
        assert repr(copy) == repr(scorer)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(80, -1), "no labeled row to score: all 80 entries are -1.*LabeledStratifiedKFold"),
        (np.full(80, np.nan), "no labeled row to score.*LabeledStratifiedKFold"),
        (np.array(["-1"] * 80), "holds the string '-1'"),
        (np.zeros((80, 2)), "y should be a 1d array"),
    ],
)
def test_scores_that_cannot_be_had_are_refused(small, fitted, y, message):
    with pytest.raises(ValueError, match=message):
        make_labeled_scorer()(fitted, small[0], y)


@pytest.mark.parametrize(
    ("metric", "kwargs", "error", "message"),
    [
        ("accurracy", {}, ValueError, "'accurracy' is not a valid scoring value"),  # codespell:ignore
        ("f1", {"average": "macro"}, TypeError, "average can only be passed with a metric function, but metric='f1'"),
        (make_scorer(f1_score), {"average": "macro"}, TypeError, "average can only be passed with a metric function"),
        (None, {}, TypeError, "metric must be a scorer's name, a metric function or a scorer, got None"),
        (3, {}, TypeError, "metric must be a scorer's name"),
    ],
)
def test_bad_metrics_are_refused(metric, kwargs, error, message):
    with pytest.raises(error, match=message):
        make_labeled_scorer(metric, **kwargs)


# ----------------------------------------------------------------------------------- both inside scikit-learn's tools


def _search(model, scoring, **options):
    grid = {"kneighborsclassifier__n_neighbors": [1, 5], "kneighborsclassifier__weights": ["uniform", "distance"]}
    cv = LabeledStratifiedKFold(3, shuffle=True, random_state=0)
    return GridSearchCV(model, grid, cv=cv, scoring=scoring, error_score="raise", **options)


@pytest.fixture(scope="module")
def model():
    """A pipeline that treats -1 as a class: scores of training folds then show whether a scorer skips it."""
    return make_pipeline(StandardScaler(), KNeighborsClassifier())


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_searches_in_parallel_find_what_a_plain_loop_finds(small, model, backend):
    X, _, y = small
    scoring = {
        "accuracy": make_labeled_scorer(),
        "f1": make_labeled_scorer(f1_score, average="macro"),
        "raw": "accuracy",
    }
    plain = _search(model, scoring, refit="f1", return_train_score=True).fit(X, y)
    with parallel_backend(backend):
        parallel = _search(model, scoring, refit="f1", return_train_score=True, n_jobs=2).fit(X, y)
    assert parallel.best_params_ == plain.best_params_
    for name in ("mean_test_accuracy", "mean_test_f1", "mean_train_accuracy"):
        np.testing.assert_array_equal(parallel.cv_results_[name], plain.cv_results_[name])
    # Test folds have only labeled rows, so the plain scorer agrees on them; training folds have unlabeled rows too.
    np.testing.assert_array_equal(plain.cv_results_["mean_test_accuracy"], plain.cv_results_["mean_test_raw"])
    assert (plain.cv_results_["mean_train_accuracy"] != plain.cv_results_["mean_train_raw"]).any()


def test_cross_validate_with_string_labels(small):
    X, _, y = small
    model, cv = LabelSpreading(kernel="knn", n_neighbors=5), LabeledStratifiedKFold(3)
    wanted = cross_validate(model, X, y, cv=cv, scoring=make_labeled_scorer(), return_train_score=True)
    words = Words(model)
    got = cross_validate(words, X, _as_words(y), cv=cv, scoring=make_labeled_scorer(), return_train_score=True)
    np.testing.assert_array_equal(got["test_score"], wanted["test_score"])
    np.testing.assert_array_equal(got["train_score"], wanted["train_score"])


def test_sample_weight_reaches_the_scorer_through_searches(small):
    X, _, y = small
    seen = []

    def weighted(y_true, y_pred, sample_weight=None):
        seen.append((len(y_true), len(sample_weight)))
        return accuracy_score(y_true, y_pred, sample_weight=sample_weight)

    cv = LabeledStratifiedKFold(3)
    scoring = {"ours": make_labeled_scorer(weighted), "named": make_labeled_scorer()}
    for one in (scoring, scoring["ours"]):
        search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=cv, scoring=one, refit=False, error_score="raise")
        search.fit(X, y, sample_weight=np.arange(1.0, 81))
    if _VERSION >= (1, 8):  # searches pass weights on without routing
        assert len(seen) == 6
    assert all(n_rows == n_weights for n_rows, n_weights in seen)


def test_metadata_routing_passes_through(small):
    X, _, y = small
    seen = []

    def weighted(y_true, y_pred, sample_weight=None):
        seen.append(sample_weight)
        return accuracy_score(y_true, y_pred, sample_weight=sample_weight)

    weights = np.arange(1.0, 81)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_labeled_scorer(weighted).set_score_request(sample_weight=True)
        model = LogisticRegression().set_fit_request(sample_weight=False)
        cv = LabeledStratifiedKFold(3)
        search = GridSearchCV(model, {"C": [1.0]}, cv=cv, scoring=scorer, error_score="raise")
        search.fit(X, y, sample_weight=weights)
        cross_validate(model, X, y, cv=cv, scoring={"a": scorer}, params={"sample_weight": weights})
    wanted = [weights[test].tolist() for _, test in cv.split(X, y)]
    assert [given.tolist() for given in seen] == wanted + wanted


def _mean_of_labels(y_true, y_pred):
    return float(np.mean(y_pred))


@pytest.mark.parametrize(
    ("metric", "kwargs", "name"),
    [
        ("accuracy", {}, "accuracy"),
        ("neg_log_loss", {}, "neg_log_loss"),
        (f1_score, {"average": "macro"}, "f1_score"),
        (_mean_of_labels, {"greater_is_better": False}, "neg__mean_of_labels"),
        (make_scorer(accuracy_score), {}, "accuracy_score"),
    ],
)
def test_scorers_have_a_name(metric, kwargs, name):
    scorer = make_labeled_scorer(metric, **kwargs)
    assert scorer.__name__ == pickle.loads(pickle.dumps(scorer)).__name__ == name


def test_displays_take_a_labeled_scorer(small):
    """scikit-learn's displays read the name of a scorer that is callable."""
    X, _, y = small
    cv = LabeledStratifiedKFold(3)
    display = LearningCurveDisplay.from_estimator(
        LabelSpreading(), X, y, cv=cv, scoring=make_labeled_scorer("accuracy"), train_sizes=[0.8, 1.0], shuffle=False
    )
    assert display.ax_.get_ylabel() == "Accuracy" and np.isfinite(display.test_scores).all()


# ---------------------------------------------------------------------------------------- cross_val_predict_labeled


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_predictions_are_those_of_a_loop_over_folds(small, method):
    """In the order of the rows, whatever the order of the folds; unlabeled rows are trained on, and left out."""
    X, _, y = small
    cv = LabeledStratifiedKFold(3, shuffle=True, random_state=0)
    model = SelfTrainingClassifier(LogisticRegression())
    predicted, indices = cross_val_predict_labeled(model, X, y, cv=cv, method=method, return_indices=True)
    assert np.array_equal(indices, np.flatnonzero(y >= 0))
    expected = {}
    for train, test in cv.split(X, y):
        fitted = clone(model).fit(X[train], y[train])
        expected.update(zip(test, getattr(fitted, method)(X[test]), strict=True))
    np.testing.assert_array_equal(predicted, np.array([expected[row] for row in indices]))
    with pytest.raises(ValueError, match="only works for partitions"):
        cross_val_predict(model, X, y, cv=cv)


@pytest.mark.parametrize("method", ["predict", "decision_function"])
def test_with_all_rows_labeled_it_is_cross_val_predict(small, method):
    X, y, _ = small
    model = LogisticRegression()
    for cv in (None, 4, KFold(3), list(StratifiedKFold(3).split(X, y))):
        expected = cross_val_predict(model, X, y, cv=cv, method=method)
        np.testing.assert_array_equal(cross_val_predict_labeled(model, X, y, cv=cv, method=method), expected)


def test_predictions_of_words_with_any_container_and_marker(small):
    X, _, y = small
    words, pandas = _as_words(y), pytest.importorskip("pandas")
    model = Words(SelfTrainingClassifier(LogisticRegression()))
    expected = cross_val_predict_labeled(model, X, words)
    assert set(expected) <= {"one", "two", "three"} and expected.shape == (41,)
    for rows in (X.tolist(), pandas.DataFrame(X).to_numpy(), np.asfortranarray(X)):
        assert np.array_equal(cross_val_predict_labeled(model, rows, words.tolist(), n_jobs=1), expected)
    other = np.where(y == -1, 9, y)
    with_nine = cross_val_predict_labeled(LogisticRegression(), X, other, unlabeled_value=9)
    assert with_nine.shape == (41,)


def test_unlabeled_rows_in_test_folds_are_left_out(small):
    """Any folds will do; only their labeled rows are predicted."""
    X, _, y = small
    model, cv = KNeighborsClassifier(3), KFold(4, shuffle=True, random_state=0)
    predicted, indices = cross_val_predict_labeled(model, X, y, cv=cv, return_indices=True)
    expected = cross_val_predict(model, X, y, cv=cv)[y >= 0]
    assert np.array_equal(predicted, expected) and len(indices) == 41


def test_a_class_without_a_row_in_a_training_fold_gets_a_column(small):
    X, _, y = small
    y = y.copy()
    y[np.flatnonzero(y == 2)[1:]] = -1
    with pytest.warns(UserWarning), pytest.warns(RuntimeWarning, match="Number of classes in training fold"):
        proba = cross_val_predict_labeled(LogisticRegression(), X[y != -1], y[y != -1], cv=3, method="predict_proba")
    assert proba.shape == ((y != -1).sum(), 3)
    np.testing.assert_allclose(proba.sum(1), 1)


@pytest.mark.parametrize("cv", [ShuffleSplit(3, random_state=0), [(np.arange(40), np.arange(40, 80))]])
def test_splits_must_test_each_labeled_row_once(small, cv):
    X, _, y = small
    with pytest.raises(ValueError, match="test each labeled row once, but of 41 labeled rows, cv=.* never"):
        cross_val_predict_labeled(LogisticRegression(), X, y, cv=cv)
    with pytest.raises(ValueError, match="needs a class with at least 5 labeled"):
        cross_val_predict_labeled(LogisticRegression(), X, np.full(80, -1))


def test_parameters_of_fit_are_passed_on(small):
    X, _, y = small
    weight = np.where(y == 0, 20.0, 1.0)
    model = LogisticRegression()
    weighted = cross_val_predict_labeled(model, X, y, params={"sample_weight": weight})
    assert (weighted == 0).sum() > (cross_val_predict_labeled(model, X, y) == 0).sum()
