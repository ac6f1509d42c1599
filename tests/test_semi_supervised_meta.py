"""Tests of members that learn from unlabeled rows, in SemiSupervisedMetaClassifier and in M1Classifier."""

import gc
import pickle

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import SelectFromModel, SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from skdgm import VAE, M1Classifier, M2Classifier, SemiSupervisedMetaClassifier, TransductiveSVC
from skdgm.datasets import mask_labels
from skdgm.estimators._unlabeled import IN_USE, has_reader, reads_unlabeled
from skdgm.model_selection import LabeledStratifiedKFold


class Recorder(ClassifierMixin, BaseEstimator):
    """A semi-supervised member that records what it gets, and predicts as its nearest labeled row."""

    def __init__(self, unlabeled_value="?"):
        self.unlabeled_value = unlabeled_value

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_, self.marker_ = X, y, sample_weight, self.unlabeled_value
        labeled = y != self.unlabeled_value
        self.nearest_ = KNeighborsClassifier(1).fit(np.asarray(X)[labeled], y[labeled])
        self.classes_ = self.nearest_.classes_
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return self.nearest_.predict(np.asarray(X))

    def predict_proba(self, X):
        return self.nearest_.predict_proba(np.asarray(X))


class Supervised(Recorder):
    """The same, without a parameter that says that it reads unlabeled rows."""

    def __init__(self):
        self.unlabeled_value = None  # not a parameter


SPREAD = LabelSpreading(gamma=1.0)
M2 = M2Classifier(5, hidden_layer_sizes=(30,), max_iter=15, random_state=0)
LOGISTIC = LogisticRegression()
SMALL_VAE = VAE(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0)


@pytest.fixture(scope="module")
def data():
    """Digits 0 to 3, in [0, 1]: 300 training rows with 24 labels, first the labeled ones; and 400 test rows."""
    X, y = load_digits(n_class=4, return_X_y=True)
    X, few = X / 16, mask_labels(y[:300], 24, random_state=0)
    order = np.argsort(few < 0, kind="stable")
    return X[:300][order], few[order], X[300:], y[300:]


METAS = {
    "hard voting": lambda member: VotingClassifier([("a", member), ("b", member), ("logistic", LOGISTIC)]),
    "soft voting": lambda member: VotingClassifier([("a", member), ("logistic", LOGISTIC)], voting="soft"),
    "stacking": lambda member: StackingClassifier([("a", member), ("logistic", LOGISTIC)], cv=3),
    "bagging": lambda member: BaggingClassifier(member, n_estimators=3, random_state=0),
    "one-vs-rest": OneVsRestClassifier,
    "one-vs-one": OneVsOneClassifier,
    "calibration": lambda member: CalibratedClassifierCV(member, cv=3),
    "calibration without ensemble": lambda member: CalibratedClassifierCV(member, cv=3, ensemble=False),
    "search": lambda member: GridSearchCV(member, {}, cv=3),
    "output codes": lambda member: OutputCodeClassifier(member, code_size=3, random_state=0),
}


@pytest.mark.parametrize("name", METAS)
def test_accuracy_is_near_that_of_the_member(name, data):
    """Label spreading in every meta-estimator of scikit-learn: near its own accuracy, far from that of plain use."""
    X, y, X_test, y_test = data
    alone = clone(SPREAD).fit(X, y).score(X_test, y_test)
    model = SemiSupervisedMetaClassifier(METAS[name](SPREAD)).fit(X, y)
    assert model.score(X_test, y_test) > alone - 0.03 > 0.9
    assert model.classes_.tolist() == model.estimator_.classes_.tolist() == [0, 1, 2, 3]
    assert set(model.predict(X_test)) <= {0, 1, 2, 3}
    if name in ("hard voting", "soft voting", "stacking", "bagging", "one-vs-rest", "one-vs-one"):
        assert METAS[name](SPREAD).fit(X, y).score(X_test, y_test) < 0.6  # scikit-learn alone: without an error


@pytest.mark.parametrize("name", ["hard voting", "soft voting", "stacking", "bagging", "one-vs-rest", "calibration"])
def test_accuracy_with_m2(name, data):
    """M2Classifier as a member."""
    X, y, X_test, y_test = data
    model = SemiSupervisedMetaClassifier(METAS[name](M2)).fit(X, y)
    assert model.score(X_test, y_test) > clone(M2).fit(X, y).score(X_test, y_test) - 0.05
    assert model.classes_.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("as_words", [False, True])
def test_one_voter_predicts_what_it_predicts_alone(as_words, data):
    """Label spreading has no randomness: exactly the same labels and probabilities, from the same rows."""
    X, y, X_test, _ = data
    alone = clone(SPREAD).fit(X, y)
    names = np.array(["a", "b", "c", "d"], dtype=object)
    labels = np.where(y < 0, None, names[y]) if as_words else y
    for member in (SPREAD, make_pipeline(StandardScaler(), SPREAD)):
        alone = clone(member).fit(X, y)
        for meta in (VotingClassifier([("a", member)], voting="soft"), member):
            model = SemiSupervisedMetaClassifier(meta).fit(X, labels)
            predicted = alone.predict(X_test)
            assert np.array_equal(model.predict(X_test), names[predicted] if as_words else predicted)
            assert np.array_equal(model.predict_proba(X_test), alone.predict_proba(X_test))


@pytest.mark.parametrize("name", METAS)
def test_every_member_gets_all_unlabeled_rows_and_only_labeled_rows_of_its_fold(name, data):
    """Members see the rows that the meta-estimator chose, then all unlabeled rows, whatever the marker is."""
    X, y, _, _ = data
    words = np.where(y < 0, "none", np.array(["a", "b", "c", "d"], dtype=object)[y]).astype(object)
    model = SemiSupervisedMetaClassifier(METAS[name](Recorder()), unlabeled_value="none").fit(X, words)
    recorders = found(model.estimator_)
    assert recorders
    for member in recorders:
        is_unlabeled = member.y_ == -1
        assert member.marker_ == -1 and np.array_equal(member.X_[is_unlabeled], X[y < 0])
        rows = {row.tobytes() for row in member.X_[~is_unlabeled]}
        assert rows <= {row.tobytes() for row in X[y >= 0]}
        assert set(member.y_[~is_unlabeled]) == set(range(len(member.classes_)))
    assert model.classes_.tolist() == ["a", "b", "c", "d"]
    assert model.score(X[y >= 0], words[y >= 0]) > 0.9


def found(estimator):
    """All fitted recorders in a fitted meta-estimator."""
    if isinstance(estimator, Recorder):
        return [estimator] if hasattr(estimator, "X_") else []
    names = ("estimators_", "calibrated_classifiers_", "estimator", "estimator_", "best_estimator_")
    parts = [vars(estimator).get(name) for name in names if name in vars(estimator)]
    parts = [part for group in parts for part in (group if isinstance(group, list | tuple) else [group])]
    return [recorder for part in parts if hasattr(part, "__dict__") for recorder in found(part)]


def test_supervised_members_and_the_final_estimator_get_labeled_rows(data):
    """They are not wrapped: their labels are those that the meta-estimator gives them."""
    X, y, _, _ = data
    stack = StackingClassifier([("a", SPREAD), ("b", Supervised())], final_estimator=Recorder(-1), cv=3)
    fitted = SemiSupervisedMetaClassifier(stack).fit(X, y).estimator_
    assert np.array_equal(fitted.named_estimators_["b"].X_, X[y >= 0])
    assert fitted.final_estimator_.X_.shape[0] == (y >= 0).sum() and -1 not in fitted.final_estimator_.y_
    alone = SemiSupervisedMetaClassifier(SVC()).fit(X, y)
    assert isinstance(alone.estimator_, SVC) and alone.estimator_.shape_fit_[0] == (y >= 0).sum()
    labeled_only = SemiSupervisedMetaClassifier(VotingClassifier([("a", Recorder(None))])).fit(X, y).estimator_
    assert np.array_equal(labeled_only.estimators_[0].X_, X[y >= 0])


def test_frozen_members_stay_as_they_are(data):
    """A frozen classifier is calibrated on the labeled rows, and not fitted again."""
    X, y, X_test, y_test = data
    fitted = clone(SPREAD).fit(X, y)
    model = SemiSupervisedMetaClassifier(CalibratedClassifierCV(FrozenEstimator(fitted), cv=3)).fit(X, y)
    assert model.estimator_.calibrated_classifiers_[0].estimator.estimator is fitted
    assert model.score(X_test, y_test) > 0.9


# --- searches ---------------------------------------------------------------------------------------------------------


def test_a_search_in_it_finds_what_labeled_folds_find(data):
    """Scores equal those of the whole estimator under LabeledStratifiedKFold; -1 is never scored."""
    X, y, _, _ = data
    grid = {"gamma": [0.01, 1.0, 100.0]}
    search = SemiSupervisedMetaClassifier(GridSearchCV(SPREAD, grid, cv=3)).fit(X, y).estimator_
    wanted = [
        cross_val_score(clone(SPREAD).set_params(gamma=gamma), X, y, cv=LabeledStratifiedKFold(3)).mean()
        for gamma in grid["gamma"]
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], wanted)
    assert len(set(wanted)) > 1 and search.best_estimator_.estimator_.gamma == search.best_params_["gamma"]


def test_parameters_of_members_are_found_under_their_names(data):
    """In a search inside and in one outside, also for a member of a member, and for members that are searched over."""
    X, y, _, _ = data
    voting = VotingClassifier([("a", make_pipeline(StandardScaler(), Recorder())), ("b", SPREAD)])
    grid = {"b__gamma": [0.5, 1.0], "a__standardscaler__with_mean": [False]}
    inside = SemiSupervisedMetaClassifier(GridSearchCV(voting, grid, cv=2)).fit(X, y)
    assert inside.estimator_.best_estimator_.estimator_.named_estimators_["b"].estimator_.gamma in (0.5, 1.0)
    outer = {f"estimator__{name}": values for name, values in grid.items()}
    outside = GridSearchCV(SemiSupervisedMetaClassifier(voting), outer, cv=LabeledStratifiedKFold(2)).fit(X, y)
    assert np.isfinite(outside.best_score_) and outside.best_estimator_.classes_.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("members", [[SVC(), Recorder()], [Recorder(), SVC()]])
def test_members_to_choose_from_get_what_they_can_use(members, data):
    """A search may replace a member by one that reads unlabeled rows, or the other way round."""
    X, y, _, _ = data
    pipeline = make_pipeline(StandardScaler(), members[0])
    for base, name in ((pipeline, type(members[0]).__name__.lower()), (VotingClassifier([("a", members[0])]), "a")):
        search = GridSearchCV(base, {name: [members[1]]}, cv=2)
        fitted = SemiSupervisedMetaClassifier(search).fit(X, y).estimator_
        last = fitted.best_estimator_.estimator_
        last = last.steps[-1][1] if name != "a" else getattr(last.estimators_[0], "estimator_", last.estimators_[0])
        n_rows = len(last.X_) if isinstance(last, Recorder) else last.shape_fit_[0]
        assert n_rows == (len(X) if isinstance(last, Recorder) else (y >= 0).sum())


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_unlabeled_rows_are_neither_copied_nor_kept(n_jobs, data):
    """Clones share them; after fit nobody has them, also after a fit in other processes."""
    X, y, X_test, _ = data
    X, others = np.repeat(X, 6, axis=1), set(IN_USE)
    members = [("bag", BaggingClassifier(SPREAD, n_estimators=2, random_state=0)), ("b", SPREAD)]
    model = SemiSupervisedMetaClassifier(VotingClassifier(members, n_jobs=n_jobs)).fit(X, y)
    assert all(rows._rows is None for rows in IN_USE.values())
    # only the rows that LabelSpreading itself keeps: in three members, and one affinity each
    kept = sum(array.nbytes for array in arrays(model))
    assert len(pickle.dumps(model)) < kept + 100_000
    again = pickle.loads(pickle.dumps(model))
    X_test = np.repeat(X_test, 6, axis=1)
    assert np.array_equal(again.predict(X_test), model.predict(X_test))
    with pytest.raises(RuntimeError, match="LabelSpreading was part of a SemiSupervisedMetaClassifier.*Fit that"):
        model.estimator_.estimators_[1].fit(X[:20], y[:20])
    del model, again
    gc.collect()
    assert set(IN_USE) <= others


def arrays(model):
    """The arrays of all label spreadings in a fitted model."""
    bag, single = model.estimator_.estimators_
    spreads = [single.estimator_, *(member.estimator_ for member in bag.estimator_.estimators_)]
    return [value for spread in spreads for value in vars(spread).values() if isinstance(value, np.ndarray)]


def test_processes_predict_the_same(data):
    X, y, X_test, _ = data
    one, two = (
        SemiSupervisedMetaClassifier(StackingClassifier([("a", SPREAD)], cv=3, n_jobs=n_jobs)).fit(X, y)
        for n_jobs in (None, 2)
    )
    assert np.array_equal(one.predict_proba(X_test), two.predict_proba(X_test))


def test_clones_are_unfitted_and_fits_repeat(data):
    X, y, X_test, _ = data
    model = SemiSupervisedMetaClassifier(METAS["bagging"](SPREAD)).fit(X, y)
    copy = clone(model)
    assert not hasattr(copy, "estimator_") and copy.get_params()["estimator__n_estimators"] == 3
    assert np.array_equal(copy.fit(X, y).predict_proba(X_test), model.predict_proba(X_test))
    before = model.predict(X_test)
    with pytest.raises(ValueError, match="y has no labeled row"):
        model.fit(X, np.full(len(y), -1))
    assert np.array_equal(model.predict(X_test), before)


# --- kinds of X and metadata ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_reach_the_members_as_frames(library, data):
    """Pipelines of members may select columns by name; another order of columns is refused."""
    frames = pytest.importorskip(library)
    X, y, X_test, y_test = data
    names = [f"pixel{j}" for j in range(64)]
    table = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    test = frames.DataFrame(dict(zip(names, X_test.T, strict=True)))
    columns = ColumnTransformer([("upper", "passthrough", names[:40])])
    voting = VotingClassifier([("upper", make_pipeline(columns, SPREAD)), ("all", SPREAD)], voting="soft")
    model = SemiSupervisedMetaClassifier(voting).fit(table, y)
    assert model.score(test, y_test) > 0.9 and model.feature_names_in_.tolist() == names
    assert not hasattr(SemiSupervisedMetaClassifier(SPREAD).fit(X, y), "feature_names_in_")
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(test[names[::-1]])


def test_sparse_rows_and_tensors(data):
    """Sparse rows give the same as dense ones if the members take them; tensors give tensors."""
    torch = pytest.importorskip("torch")
    X, y, X_test, _ = data
    voting = VotingClassifier([("a", SelfTrainingClassifier(LOGISTIC)), ("b", LOGISTIC)], voting="soft")
    dense, thin = (SemiSupervisedMetaClassifier(voting).fit(rows, y) for rows in (X, sparse.coo_matrix(X)))
    expected = dense.predict_proba(X_test)
    np.testing.assert_allclose(thin.predict_proba(sparse.csr_array(X_test)), expected, atol=1e-3)
    tensors = SemiSupervisedMetaClassifier(voting).fit(torch.tensor(X), torch.tensor(y))
    assert np.array_equal(tensors.predict_proba(torch.tensor(X_test)).numpy(), expected)


def test_metadata_is_split_and_put_together_again(data):
    """Weights of all rows reach a member in the order of its rows; without weights there are none."""
    X, y, _, _ = data
    weight = np.random.default_rng(0).random(len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        members = [("a", Recorder().set_fit_request(sample_weight=True)), ("b", Supervised())]
        members[1][1].set_fit_request(sample_weight="weight_b")
        model = SemiSupervisedMetaClassifier(VotingClassifier(members))
        fitted = model.fit(X, y, sample_weight=weight, weight_b=2 * weight).estimator_
        assert np.array_equal(fitted.estimators_[0].estimator_.weight_, weight)
        assert np.array_equal(fitted.estimators_[1].weight_, 2 * weight[y >= 0])
        bag = BaggingClassifier(members[0][1], n_estimators=1, random_state=0)
        member = SemiSupervisedMetaClassifier(bag).fit(X, y, sample_weight=weight).estimator_.estimators_[0].estimator_
        drawn, of_unlabeled = np.split(member.weight_, [-(y < 0).sum()])  # rows that bagging did not draw are left out
        assert np.array_equal(of_unlabeled, weight[y < 0])
        assert drawn.sum() == pytest.approx(weight[y >= 0].sum())  # on the scale of the weights that were given
        np.testing.assert_allclose(drawn / drawn.min(), np.rint(drawn / drawn.min()))
    with pytest.raises((ValueError, TypeError), match="sample.weight"):
        SemiSupervisedMetaClassifier(VotingClassifier([("a", SPREAD)])).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("factor", [None, 1.0, 7.0])
@pytest.mark.parametrize("wrap", [SemiSupervisedMetaClassifier, lambda meta: M1Classifier(meta, encoder=SMALL_VAE)])
def test_weights_of_a_meta_estimator_have_the_scale_of_those_of_unlabeled_rows(wrap, factor, data):
    """AdaBoostClassifier makes weights that sum to 1; equal weights are the same as none."""
    X, y, _, _ = data
    weight = None if factor is None else np.full(len(y), factor)
    model = wrap(AdaBoostClassifier(Recorder(), n_estimators=1, random_state=0)).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(model.estimator_.estimators_[0].estimator_.weight_, factor or 1.0)


WEIGHTED = [SPREAD, M2, LOGISTIC, VotingClassifier([("a", M2)], voting="soft")]


@pytest.mark.parametrize("inner", WEIGHTED, ids=lambda inner: type(inner).__name__)
def test_weights_without_metadata_routing_are_passed_on(inner, data):
    X, y, _, _ = data
    model = SemiSupervisedMetaClassifier(inner)
    if inner is SPREAD:
        with pytest.raises(TypeError, match="sample_weight"):
            model.fit(X, y, sample_weight=np.ones(len(y)))
        return
    used = np.random.default_rng(0).random(len(y)) < 0.8
    weighted = model.fit(X, y, sample_weight=1.0 * used).predict_proba(X[:20])
    np.testing.assert_allclose(weighted, model.fit(X[used], y[used]).predict_proba(X[:20]), atol=1e-3)


def test_transform_and_names_of_the_inner_estimator(data):
    X, y, X_test, _ = data
    stack = SemiSupervisedMetaClassifier(StackingClassifier([("a", SPREAD), ("logistic", LOGISTIC)], cv=3))
    table = stack.set_output(transform="pandas").fit_transform(X, y)
    assert table.shape == (300, 8) and list(table.columns) == list(stack.get_feature_names_out())
    stack.set_output(transform="default")
    assert isinstance(stack.transform(X_test), np.ndarray)
    calibrated = SemiSupervisedMetaClassifier(CalibratedClassifierCV(SPREAD))
    for method in ("transform", "fit_transform", "set_output", "decision_function"):
        assert not hasattr(calibrated, method)
    assert hasattr(calibrated, "predict_proba") and not hasattr(SemiSupervisedMetaClassifier(SVC()), "predict_proba")


def test_score_counts_labeled_rows_only(data):
    X, y, _, _ = data
    model = SemiSupervisedMetaClassifier(METAS["bagging"](SPREAD)).fit(X, y)
    assert model.score(X, y) == accuracy_score(y[y >= 0], model.predict(X[y >= 0]))
    with pytest.raises(ValueError, match="LabeledStratifiedKFold"):
        model.score(X, np.full(len(y), -1))


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, lambda X: np.where(X > 0.5, "dark", X.astype(object))])
@pytest.mark.parametrize("params", [{"max_features": 0.5}, {"bootstrap_features": True}, {}])
def test_members_must_see_the_columns_of_x(params, kind, data, monkeypatch):
    """Fewer columns, or the same number in another choice: the unlabeled rows would not match."""
    X, y, _, _ = data
    bagging = BaggingClassifier(Recorder(), n_estimators=2, random_state=0, **params)
    model = SemiSupervisedMetaClassifier(bagging)
    monkeypatch.setattr(Recorder, "fit", lambda self, X, y, sample_weight=None: self)
    if not params:
        model.fit(kind(X), y)
        return
    with pytest.raises(ValueError, match="Recorder should learn.*max_features=1.0 and bootstrap_features=False"):
        model.fit(kind(X), y)


def test_steps_of_pipelines_must_suit(data):
    """Rows must not change before they reach the member, and no step may read -1 as a class."""
    X, y, X_test, y_test = data
    around = make_pipeline(StandardScaler(), CalibratedClassifierCV(SPREAD))
    with pytest.raises(ValueError, match="do not pass through StandardScaler, which the pipeline has before Calibra"):
        SemiSupervisedMetaClassifier(around).fit(X, y)
    inside = make_pipeline(StandardScaler(), SemiSupervisedMetaClassifier(CalibratedClassifierCV(SPREAD, cv=3)))
    nothing = make_pipeline("passthrough", CalibratedClassifierCV(SPREAD, cv=3))
    for good in (inside, nothing):
        assert SemiSupervisedMetaClassifier(good).fit(X, y).classes_.tolist() == [0, 1, 2, 3]
    selector = SelectFromModel(LOGISTIC)
    selected = make_pipeline(selector, SPREAD)
    with pytest.raises(ValueError, match="SelectFromModel would read their marker as a class.*FrozenEstimator"):
        SemiSupervisedMetaClassifier(VotingClassifier([("a", selected)])).fit(X, y)
    for nested in (
        ColumnTransformer([("a", SelectKBest(k=3), slice(0, 64))]),
        ColumnTransformer([("a", StandardScaler(), slice(0, 2))], remainder=SelectKBest(k=3)),
        make_union(StandardScaler(), SelectKBest(k=3)),
        make_pipeline(StandardScaler(), make_union(SelectKBest(k=3))),
    ):
        with pytest.raises(ValueError, match="SelectKBest would read their marker as a class.*FrozenEstimator"):
            SemiSupervisedMetaClassifier(make_pipeline(nested, SPREAD)).fit(X, y)
    frozen = make_pipeline(FrozenEstimator(selector.fit(X[y >= 0], y[y >= 0])), SPREAD)
    assert SemiSupervisedMetaClassifier(VotingClassifier([("a", frozen)])).fit(X, y).score(X_test, y_test) > 0.8


@pytest.mark.parametrize("marker", ["?", 9])
def test_markers_of_all_parts_become_that_of_the_member(marker, data):
    """Earlier steps, the base estimator of self-training, and the final estimator of a stack, too."""
    X, y, X_test, y_test = data
    classes = ["a", "b", "c", "d"] if marker == "?" else [1, 2, 3, 4]
    words = np.array([*classes, marker], dtype=object)[y]
    m2 = clone(M2).set_params(unlabeled_value=marker)
    steps = make_pipeline(make_union(m2), clone(m2))
    training = SelfTrainingClassifier(clone(m2))
    stack = StackingClassifier([("a", clone(m2))], final_estimator=clone(m2), cv=3)
    for inner in (steps, training, stack):
        model = SemiSupervisedMetaClassifier(inner, unlabeled_value=marker).fit(X, words)
        assert model.classes_.tolist() == classes
        assert model.score(X_test, np.array(classes, dtype=object)[y_test]) > 0.8
    assert len(stack.final_estimator.get_params()) and stack.final_estimator.unlabeled_value == marker  # a copy changed
    fitted = SemiSupervisedMetaClassifier(steps, unlabeled_value=marker).fit(X, words).estimator_.estimator_
    assert fitted[0].transformer_list[0][1].classes_.tolist() == [0, 1, 2, 3]


def test_members_that_are_fitted_must_be_frozen(data):
    X, y, X_test, y_test = data
    fitted = clone(M2).fit(X, y)
    with pytest.raises(ValueError, match='StackingClassifier with cv="prefit" .*FrozenEstimator'):
        SemiSupervisedMetaClassifier(StackingClassifier([("a", fitted)], cv="prefit")).fit(X, y)
    stack = StackingClassifier([("a", FrozenEstimator(fitted))], cv="prefit")
    assert SemiSupervisedMetaClassifier(stack).fit(X, y).score(X_test, y_test) > 0.8


def test_classes_of_members_are_those_of_the_labels(data):
    """A member that takes -1, or a class without labels, for a class is refused."""
    X, y, _, _ = data

    class Takes(Recorder):
        def fit(self, X, y):
            super().fit(X, y)
            self.classes_ = np.unique(y)
            return self

    with pytest.raises(ValueError, match="Takes read the marker -1 of unlabeled rows as a class"):
        SemiSupervisedMetaClassifier(VotingClassifier([("a", Takes())])).fit(X, y)
    prior = dict.fromkeys(range(5), 0.2)
    with pytest.raises(ValueError, match="M2Classifier was fitted to labels encoded as 0 to 3.*class_prior"):
        SemiSupervisedMetaClassifier(VotingClassifier([("a", clone(M2).set_params(class_prior=prior))])).fit(X, y)


def test_metadata_of_unlabeled_rows_must_be_known(data):
    """A member gets only what is known of all its rows."""
    from skdgm.estimators._unlabeled import UnlabeledRows

    X, y, _, _ = data
    rows, ages = UnlabeledRows(X[y < 0], X[y >= 0]), np.arange((y >= 0).sum())
    with pytest.raises(ValueError, match="Recorder got age for its labeled rows only"):
        rows.append_to(X[y >= 0], y[y >= 0], {"age": ages}, "Recorder")
    weight = rows.comparable(ages)  # weights that a meta-estimator makes may have any scale
    _, _, params = rows.append_to(X[y >= 0], y[y >= 0], {"sample_weight": weight, "copy": True}, "Recorder")
    expected = [*ages / ages.mean(), *np.ones((y < 0).sum())]
    np.testing.assert_allclose(params["sample_weight"], expected)
    assert params["copy"] is True


@pytest.mark.parametrize(
    ("estimator", "reads", "has"),
    [
        (SPREAD, True, True),
        (SelfTrainingClassifier(SVC()), True, True),
        (M2, True, True),
        (TransductiveSVC(unlabeled_value=None), False, False),
        (SVC(), False, False),
        (make_pipeline(StandardScaler(), make_pipeline(SPREAD)), True, True),
        (make_pipeline(SPREAD, SVC()), False, False),
        (FrozenEstimator(M2), False, False),
        (CalibratedClassifierCV(M2), False, True),
        (CalibratedClassifierCV(FrozenEstimator(M2)), False, False),
        (CalibratedClassifierCV(), False, False),
        (VotingClassifier([("a", "drop"), ("b", make_pipeline(BaggingClassifier(M2)))]), False, True),
        (GridSearchCV(SVC(), [{"C": [1]}]), False, False),
        (GridSearchCV(make_pipeline(SVC()), [{"svc": [SVC(), M2]}, {"svc__C": np.ones(2)}]), False, True),
        (StackingClassifier([("a", SVC())], final_estimator=M2), False, False),
        (SemiSupervisedMetaClassifier(SVC()), True, True),
        (make_pipeline(StandardScaler(), "passthrough"), False, False),
    ],
)
def test_what_reads_unlabeled_rows(estimator, reads, has):
    assert reads_unlabeled(estimator) == reads and has_reader(estimator) == has


# --- M1Classifier -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae(data):
    return VAE(6, hidden_layer_sizes=(30,), max_iter=15, random_state=0, early_stopping=False).fit(data[0])


@pytest.mark.parametrize("fit_on", ["auto", "all"])
@pytest.mark.parametrize("name", [*METAS, "pipeline"])
def test_m1_looks_into_its_estimator(name, fit_on, data, vae):
    """A reader of unlabeled rows gets all of them, also inside of others; classes are those of the labels.

    A row is its code and its columns.
    """
    X, y, _, _ = data
    inner = make_pipeline(StandardScaler(), Recorder()) if name == "pipeline" else METAS[name](Recorder())
    labels = np.where(y < 0, None, np.array(["a", "b", "c", "d"], dtype=object)[y])
    model = M1Classifier(inner, encoder=FrozenEstimator(vae), fit_on=fit_on, random_state=0).fit(X, labels)
    rows = np.hstack([model.transform(X), vae._encoder_inputs(X)])
    members = [model.estimator_[-1]] if name == "pipeline" else found(model.estimator_)
    assert members
    for member in members:
        unlabeled = member.X_[member.y_ == -1]
        wanted = model.estimator_[0].transform(rows[y < 0]) if name == "pipeline" else rows[y < 0]
        assert np.array_equal(unlabeled, wanted)
    assert set(model.predict(X)) == {"a", "b", "c", "d"} and model.classes_.tolist() == ["a", "b", "c", "d"]
    assert model.score(X, labels) > 0.9
    labeled = clone(model).set_params(fit_on="labeled").fit(X, labels)
    members = [labeled.estimator_[-1]] if name == "pipeline" else found(labeled.estimator_)
    assert all(-1 not in member.y_ for member in members)


def test_m1_sets_the_marker_of_its_estimator(data, vae):
    """It hands out -1, so an estimator with another marker is told; one without a marker gets labeled rows."""
    X, y, _, _ = data
    other, default, none = (
        M1Classifier(TransductiveSVC(unlabeled_value=marker), encoder=FrozenEstimator(vae), random_state=0).fit(X, y)
        for marker in ("?", -1, None)
    )
    assert np.array_equal(other.decision_function(X), default.decision_function(X))
    assert not np.array_equal(none.decision_function(X), default.decision_function(X))
    assert none.estimator_.classes_.tolist() == [0, 1, 2, 3]


def test_m1_keeps_frozen_inner_estimators(data, vae):
    """What a frozen estimator predicts are labels, even if it has the attributes of a reader."""
    X, y, _, _ = data
    first = M1Classifier(TransductiveSVC(), encoder=FrozenEstimator(vae), random_state=0).fit(X, y)
    rows = np.hstack([first.transform(X), vae._encoder_inputs(X)])
    labels = np.where(y < 0, -1, y * 10)
    frozen = FrozenEstimator(TransductiveSVC().fit(rows, labels))
    model = M1Classifier(frozen, encoder=FrozenEstimator(vae)).fit(X, labels)
    assert set(model.predict(X)) == {0, 10, 20, 30}


def test_m1_refuses_estimators_that_take_the_marker_for_a_class(data, vae):
    """fit_on="all" cannot make a supervised estimator read unlabeled rows: before, it predicted a wrong class."""
    X, y, _, _ = data
    for inner in (SVC(), CalibratedClassifierCV(SVC(), cv=3)):
        with pytest.raises(ValueError, match="read the marker -1 of unlabeled rows as a class"):
            M1Classifier(inner, encoder=FrozenEstimator(vae), fit_on="all").fit(X, y)
    pipeline = make_pipeline(SelectKBest(k=2), SPREAD)
    with pytest.raises(ValueError, match="SelectKBest would read"):
        M1Classifier(pipeline, encoder=FrozenEstimator(vae)).fit(X, y)


def test_m1_stacks(data, vae):
    """A StackingClassifier has no predict before it is fitted."""
    X, y, _, _ = data
    model = M1Classifier(StackingClassifier([("a", SPREAD)], cv=3), encoder=FrozenEstimator(vae)).fit(X, y)
    assert model.score(X, y) > 0.9


# --- parameters by label, and kinds of tables ------------------------------------------------------------------------

N_TABLE = 90


def table_and_labels(names=(0, 1)):
    """Rows of two overlapping classes, the first half of them labeled."""
    rng = np.random.default_rng(0)
    X, codes = rng.standard_normal((N_TABLE, 2)), rng.integers(0, 2, N_TABLE)
    y = np.asarray(names, object)[codes]
    y[N_TABLE // 2 :] = None
    return X, y


def weighted(names, prior=None):
    prior = prior and dict(zip(names, prior, strict=True))
    return M2Classifier(2, max_iter=5, class_weight={names[0]: 20.0}, class_prior=prior or "estimated", random_state=0)


CODES = VAE(2, prior="normal", max_iter=2, random_state=0)
WRAPPERS = {
    "M1": lambda inner: M1Classifier(inner, encoder=CODES, random_state=0),
    "meta": SemiSupervisedMetaClassifier,
}


@pytest.mark.filterwarnings("ignore:class_prior=.* does not fit")
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("prior", [None, (0.3, 0.7)])
def test_parameters_by_label_are_those_of_the_labels(wrap, prior):
    """The labels 1 and 2 have the weights and the prior that 0 and 1 have in the same fit; so have names."""
    found = []
    for names in [(0, 1), (1, 2), ("cat", "dog")]:
        X, y = table_and_labels(names)
        found.append(wrap(weighted(names, prior)).fit(X, y).predict_proba(X))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    X, y = table_and_labels()
    plain = wrap(M2Classifier(2, max_iter=5, class_prior="estimated", random_state=0)).fit(X, y).predict_proba(X)
    assert found[0][:, 0].mean() > plain[:, 0].mean() + 0.1


def test_parameters_by_label_inside_self_training():
    X, y = table_and_labels((1, 2))
    learner = SelfTrainingClassifier(LogisticRegression(class_weight={1: 50.0}))
    predicted = SemiSupervisedMetaClassifier(learner).fit(X, y).predict(X)
    assert (predicted == 1).mean() > 0.9


def test_masked_cells_and_mixed_lists_are_read_as_m2_reads_them():
    X, y = table_and_labels()
    masked = np.ma.masked_array(np.where(X > 1, -9999.0, X), X > 1)
    mixed = [["red" if i % 2 else "blue", float(x)] for i, x in enumerate(X[:, 0])]
    for table in (masked, mixed):
        member = M2Classifier(2, max_iter=3, random_state=0)
        wrapped = SemiSupervisedMetaClassifier(member).fit(table, y)
        assert [choice.likelihood for choice in wrapped.estimator_.estimator_.likelihoods_] == [
            choice.likelihood for choice in clone(member).fit(table, y).likelihoods_
        ]
        assert wrapped.predict_proba(table).shape == (N_TABLE, 2)
    filled = SemiSupervisedMetaClassifier(clone(member)).fit(masked.filled(np.nan), y)
    masked_fit = SemiSupervisedMetaClassifier(clone(member)).fit(masked, y)
    assert np.array_equal(masked_fit.predict_proba(masked), filled.predict_proba(masked.filled(np.nan)))


def test_tables_of_pyarrow():
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("narwhals")
    X, y = table_and_labels()
    table = pa.table({"a": X[:, 0], "b": X[:, 1]})
    member = M2Classifier(2, max_iter=3, random_state=0)
    found = SemiSupervisedMetaClassifier(member).fit(table, y).predict_proba(table)
    np.testing.assert_allclose(found, SemiSupervisedMetaClassifier(member).fit(X, y).predict_proba(X), atol=1e-6)
