"""Links to other projects without a network: small intersphinx inventories of the names that our pages refer to.

``intersphinx`` normally downloads each project's ``objects.inv``. These pages name few foreign objects, so the list
below takes its place; a name that is missing here is a warning, and so an error, of the build.
"""

import zlib
from pathlib import Path

SKLEARN_CLASSES = """
base.BaseEstimator calibration.CalibratedClassifierCV calibration.CalibrationDisplay frozen.FrozenEstimator
kernel_approximation.Nystroem linear_model.LogisticRegression mixture.GaussianMixture
model_selection.GridSearchCV model_selection.HalvingRandomSearchCV neighbors.KernelDensity
neural_network.BernoulliRBM pipeline.Pipeline
preprocessing.StandardScaler semi_supervised.SelfTrainingClassifier svm.SVC impute.SimpleImputer
impute.IterativeImputer decomposition.FactorAnalysis decomposition.PCA preprocessing.OneHotEncoder
ensemble.IsolationForest semi_supervised.LabelSpreading utils.Bunch model_selection.StratifiedKFold
model_selection.StratifiedGroupKFold model_selection.TimeSeriesSplit impute.MissingIndicator
"""
SKLEARN_FUNCTIONS = """
base.clone compose.make_column_selector metrics.make_scorer model_selection.cross_validate
model_selection.cross_val_score model_selection.cross_val_predict model_selection.train_test_split
calibration.calibration_curve metrics.log_loss metrics.roc_auc_score metrics.get_scorer_names
metrics.f1_score datasets.fetch_openml
"""
# project: (address, {role: {page with $ for the name: names}})
PROJECTS = {
    "sklearn": (
        "https://scikit-learn.org/stable/",
        {
            "py:class": {"modules/generated/$.html#$": [f"sklearn.{name}" for name in SKLEARN_CLASSES.split()]},
            "py:function": {"modules/generated/$.html#$": [f"sklearn.{name}" for name in SKLEARN_FUNCTIONS.split()]},
            "py:exception": {"modules/generated/$.html#$": ["sklearn.exceptions.ConvergenceWarning"]},
            "std:term": {"glossary.html#term-$": ["random_state", "cross-validation-generator"]},
        },
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        {
            "py:class": {
                "reference/generated/$.html#$": ["numpy.ndarray", "numpy.memmap"],
                "reference/random/legacy.html#$": ["numpy.random.RandomState"],
            },
            "py:function": {"reference/generated/$.html#$": ["numpy.load"]},
            "py:data": {"reference/constants.html#$": ["numpy.nan"]},
        },
    ),
    "python": (
        "https://docs.python.org/3/",
        {
            "py:class": {
                "library/functions.html#$": ["int", "float", "bool", "object", "slice"],
                "library/stdtypes.html#$": ["str", "dict", "list", "tuple", "bytes"],
                "library/pathlib.html#$": ["pathlib.Path"],
            },
            "py:function": {"library/functions.html#$": ["callable"]},
            "py:data": {"library/constants.html#$": ["None", "True", "False"]},
            "std:label": {"library/stdtypes.html#$": ["bltin-boolean-values"]},  # what numpydoc links bool to
            "std:term": {"glossary.html#term-$": ["sequence", "iterable", "mapping"]},
            "py:exception": {
                "library/exceptions.html#$": [
                    *("ValueError", "TypeError", "KeyError", "OSError", "ImportError", "FileNotFoundError"),
                    *("KeyboardInterrupt", "UserWarning", "AttributeError", "MemoryError"),
                ]
            },
        },
    ),
    "torch": (
        "https://docs.pytorch.org/docs/stable/",
        {"py:class": {"generated/$.html#$": ["torch.nn.Module"], "tensors.html#$": ["torch.Tensor"]}},
    ),
    "matplotlib": (
        "https://matplotlib.org/stable/",
        {
            "py:class": {
                "api/_as_gen/$.html#$": ["matplotlib.axes.Axes"],
                "api/figure_api.html#$": ["matplotlib.figure.Figure"],
            }
        },
    ),
    "pandas": (
        "https://pandas.pydata.org/docs/",
        {
            "py:class": {"reference/api/$.html#$": ["pandas.DataFrame", "pandas.Series"]},
            "py:data": {"reference/api/$.html#$": ["pandas.NA"]},
        },
    ),
}


def inventory(project, pages_by_role):
    """The bytes of an ``objects.inv`` (version 2)."""
    lines = [
        f"{name} {role} 1 {page.replace('$', name)} -"
        for role, pages in pages_by_role.items()
        for page, names in pages.items()
        for name in names
    ]
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: stable\n# zlib-compressed\n"
    return head.encode() + zlib.compress("\n".join(sorted(lines)).encode())


def write_inventories(folder):
    """Write all inventories; return the value of ``intersphinx_mapping``."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, (address, pages_by_role) in PROJECTS.items():
        path = Path(folder) / f"{project}.inv"
        path.write_bytes(inventory(project, pages_by_role))
        mapping[project] = (address, str(path))
    return mapping
