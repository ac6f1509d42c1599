"""scikit-learn's own checks on every public estimator, including those that parametrize_with_checks leaves out."""

from inspect import signature

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsOneClassifier
from sklearn.semi_supervised import LabelSpreading
from sklearn.utils import estimator_checks as checks
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

import skdgm

SHORT = {
    "hidden_layer_sizes": (32,),
    "max_iter": 15,
    "learning_rate_init": 0.01,
    "batch_size": 50,
    "n_importance_samples": 5,
}
NEW_FOR_STRICT = (
    {"xfail_strict": True} if "xfail_strict" in signature(checks.parametrize_with_checks).parameters else {}
)


def encoder():
    return skdgm.VAE(4, **SHORT, kl_warmup=1.0)  # the classifiers' default: the best density may need no codes


ESTIMATORS = {
    "VAE": lambda: skdgm.VAE(3, **SHORT),
    "DLGM": lambda: skdgm.DLGM((4, 2), **SHORT),
    "DeepImputer": lambda: skdgm.DeepImputer(skdgm.VAE(3, **SHORT)),
    "StackedAutoencoder": lambda: skdgm.StackedAutoencoder((8, 4), **{**SHORT, "rbm_max_iter": 15}),
    "M1Classifier": lambda: skdgm.M1Classifier(encoder=encoder()),
    "M2Classifier": lambda: skdgm.M2Classifier(3, **SHORT),
    "ADGMClassifier": lambda: skdgm.ADGMClassifier(3, **SHORT),
    "M1M2Classifier": lambda: skdgm.M1M2Classifier(3, encoder=encoder(), **SHORT),
    "TransductiveSVC": lambda: skdgm.TransductiveSVC(),
    "SemiSupervisedMetaClassifier": lambda: skdgm.SemiSupervisedMetaClassifier(
        VotingClassifier([("logistic", LogisticRegression()), ("spread", LabelSpreading())], voting="soft")
    ),
}
META_ESTIMATORS = [
    skdgm.TransductiveSVC(),
    CalibratedClassifierCV(skdgm.TransductiveSVC(), cv=3),
    StackingClassifier([("svc", skdgm.TransductiveSVC()), ("logistic", LogisticRegression())], cv=3),
    OneVsOneClassifier(skdgm.TransductiveSVC()),
]


def variants():
    """Every estimator; classifiers both with and without a marker of unlabeled rows."""
    for make in [*ESTIMATORS.values(), lambda: skdgm.TransductiveSVC(n_components=8)]:  # the primal trainer
        yield make()
        if "unlabeled_value" in make().get_params(deep=False):
            yield make().set_params(unlabeled_value=None)
    yield ESTIMATORS["DLGM"]().set_params(inference="top_down")
    yield ESTIMATORS["M1Classifier"]().set_params(estimator=LogisticRegression())  # with predict_proba
    for inner in META_ESTIMATORS:
        yield skdgm.SemiSupervisedMetaClassifier(inner)


def expected_failures(estimator):
    """With the marker -1, a check that uses -1 as a class must fail; scikit-learn exempts its own classes by name.

    A row of weight 2 counts as two rows in expectation only, because minibatches differ. (Weight 0 is exact: see
    test_weights.py.)
    """
    failures = {}
    if getattr(estimator, "unlabeled_value", None) == -1:
        failures["check_classifiers_classes"] = "labels -1 and 1: here -1 marks unlabeled rows (unlabeled_value=-1)"
    if has_fit_parameter(estimator, "sample_weight"):
        of_repeated = "repeated rows come in other minibatches"
        failures["check_sample_weight_equivalence_on_dense_data"] = of_repeated
        if get_tags(estimator).input_tags.sparse:
            failures["check_sample_weight_equivalence_on_sparse_data"] = of_repeated
    if isinstance(getattr(estimator, "estimator", None), VotingClassifier | StackingClassifier):
        of_member = "the ensemble's error says that a member does not support 'sample weights', in these words"
        failures["check_classifiers_one_label_sample_weights"] = of_member
    return failures


def test_every_public_estimator_is_checked():
    """Fails if a new estimator is not added to this file."""
    assert set(ESTIMATORS) == set(skdgm.__all__) - {"Checkpoint", "load", "save"}


class StopAfter:
    """A callback that stops the fit: some checks set max_iter=1000, but 60 epochs are enough."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and context.task_id + 1 >= self.n_epochs


def stopped(estimator):
    """The estimator with that callback, if scikit-learn has callbacks."""
    return estimator.set_callbacks(StopAfter(60)) if hasattr(estimator, "set_callbacks") else estimator


# CalibratedClassifierCV says of TransductiveSVC that it takes no weights
@pytest.mark.filterwarnings("ignore:Since WithUnlabeledRows does not appear to accept sample_weight")
@checks.parametrize_with_checks(list(variants()), expected_failed_checks=expected_failures, **NEW_FOR_STRICT)
def test_scikit_learns_checks(estimator, check):
    """All checks that check_estimator runs."""
    is_slow = getattr(check, "func", check).__name__ == "check_class_weight_classifiers"
    check(stopped(estimator) if is_slow else estimator)


# --- checks that are not yielded by default ---------------------------------------------------------------------------

OF_TRANSFORMERS = [
    checks.check_transformer_get_feature_names_out,
    checks.check_transformer_get_feature_names_out_pandas,
    checks.check_set_output_transform,
    checks.check_set_output_transform_pandas,
    checks.check_set_output_transform_polars,
    checks.check_global_output_transform_pandas,
    checks.check_global_set_output_transform_polars,
]
OF_ALL = [
    checks.check_dataframe_column_names_consistency,
    checks.check_param_validation,
    checks.check_inplace_ensure_writeable,
]
NEEDS = {"pandas": "pandas", "polars": "polars", "column_names": "pandas"}


def more_checks():
    for name, make in ESTIMATORS.items():
        for check in [*OF_ALL, *(OF_TRANSFORMERS if hasattr(make(), "transform") else [])]:
            yield pytest.param(name, check, id=f"{name}-{check.__name__}")


@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")  # they mix frames and arrays
@pytest.mark.parametrize(("name", "check"), list(more_checks()))
def test_checks_not_yielded_by_default(name, check):
    """Feature names, set_output, parameter validation, read-only input."""
    for part, package in NEEDS.items():
        if part in check.__name__:
            pytest.importorskip(package)
    estimator = ESTIMATORS[name]()
    estimator = estimator.set_params(max_iter=2) if "max_iter" in estimator.get_params() else estimator
    check(name, estimator)


@pytest.mark.parametrize("name", [name for name, make in ESTIMATORS.items() if hasattr(make(), "class_weight")])
def test_balanced_class_weights_help_where_classes_are_unequal(name):
    """check_class_weight_balanced_classifiers: a better f1 score on balanced rows, trained on a tenth of class 1."""
    X, y = make_classification(n_samples=600, class_sep=0.7, random_state=0)
    is_test = np.arange(600) >= 400
    is_train = ~is_test & ((y == 0) | (np.cumsum(y) % 8 == 0))
    assert y[is_train].mean() < 0.11 and y[is_test].mean() > 0.4
    classifier = stopped(ESTIMATORS[name]())
    rows = (X[is_train], y[is_train], X[is_test], y[is_test])
    checks.check_class_weight_balanced_classifiers(name, classifier, *rows, ["balanced"])


@pytest.mark.parametrize("name", ["M1Classifier", "M2Classifier", "ADGMClassifier", "M1M2Classifier"])
def test_defaults_learn_in_15_epochs(name):
    """check_classifiers_train, which requires 83 % on 200 and 300 rows, with defaults except for the epochs."""
    classifier = {
        "M1Classifier": lambda: skdgm.M1Classifier(encoder=skdgm.VAE(kl_warmup=1.0, max_iter=15)),
        "M2Classifier": lambda: skdgm.M2Classifier(max_iter=15),
        "ADGMClassifier": lambda: skdgm.ADGMClassifier(max_iter=15),
        "M1M2Classifier": lambda: skdgm.M1M2Classifier(
            max_iter=15, encoder=skdgm.VAE(n_components=50, kl_warmup=1.0, max_iter=15)
        ),
    }[name]()
    checks.check_classifiers_train(name, classifier)


def test_minus_one_is_a_class_where_nothing_is_unlabeled():
    """The check that is expected to fail with unlabeled_value=-1 passes with None, so it hides no other failure."""
    named = {check for make in ESTIMATORS.values() for check in expected_failures(make())}
    assert named == {
        "check_classifiers_classes",
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
        "check_classifiers_one_label_sample_weights",
    }
    assert not any(
        "check_classifiers_classes" in expected_failures(make().set_params(unlabeled_value=None))
        for make in ESTIMATORS.values()
        if "unlabeled_value" in make().get_params(deep=False)
    )
