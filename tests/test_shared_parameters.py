"""What several estimators share, parameters and fitted attributes, has one type line and one text in all docstrings.

The first paragraph of an entry is the same everywhere; what holds for one estimator stands in paragraphs below it.
"""

import ast
import inspect
import re

import numpy as np
import pytest

import skdgm

ESTIMATORS = [getattr(skdgm, name) for name in skdgm.__all__ if name not in ("Checkpoint", "load", "save")]

# Entries whose text is shared beyond the first paragraph: how many paragraphs are.
N_SHARED = {"likelihood": 2, "class_prior": 3}
# Entries of an estimator that mean something else there, and why.
OTHER_MEANING = {
    # an SVM: it counts kernel features, fits and label switches, not latent dimensions and epochs
    "TransductiveSVC": ["n_components", "max_iter", "tol", "n_iter_", "history_"],
    # one layer after the other, each with its own encoder and history, and one likelihood for all columns
    "StackedAutoencoder": [
        "n_components",
        "inference",
        "likelihood",
        "early_stopping",
        "history_",
        "validation_scores_",
    ],
    # a meta-estimator, not a classifier of latent codes
    "SemiSupervisedMetaClassifier": ["estimator"],
    # the model that fills the cells
    "DeepImputer": ["estimator", "estimator_"],
    # the likelihood of the encoder's latent dimensions, not of the columns of X
    "M1M2Classifier": ["likelihood"],
}
# Entries that mean the same, but not every estimator takes all values, and why.
OTHER_VALUES = {
    "n_components": "DLGM has several layers; only unsupervised models choose the number themselves",
    "weight_prior": "only VAE and DLGM have 'auto': a few rows per column call for factor analysis",
    "max_iter": "StackedAutoencoder trains each layer for a fixed number of epochs, so no None",
    "n_iter_no_change": "the same",
    "input_noise_level": "StackedAutoencoder has one default for all kinds of noise, so no None",
}


def entries(estimator, section):
    """Name: (type line, paragraphs) of a numpydoc section."""
    doc = inspect.cleandoc(estimator.__doc__)
    body = re.search(rf"^{section}\n-+\n(.*?)(?=^\S[^\n]*\n---|\Z)", doc, re.DOTALL | re.MULTILINE)[1]
    found = {}
    for head, text in re.findall(r"^(\S[^\n]*)\n((?:[ ]+[^\n]*\n|\n)*)", body + "\n", re.MULTILINE):
        names, _, kind = head.partition(" : ")
        paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())]
        found.update(dict.fromkeys(names.split(", "), (kind, paragraphs)))
    return found


def of_same_meaning(section):
    """Name: {estimator: (type line without the default, paragraphs)} of all that mean the same."""
    found_by_name = {}
    for estimator in ESTIMATORS:
        for name, (kind, paragraphs) in entries(estimator, section).items():
            if name not in OTHER_MEANING.get(estimator.__name__, []):
                found_by_name.setdefault(name, {})[estimator.__name__] = (kind.partition(", default=")[0], paragraphs)
    return found_by_name


BY_NAME = of_same_meaning("Parameters") | of_same_meaning("Attributes")
SHARED = {name: found for name, found in BY_NAME.items() if len(found) > 1}


@pytest.mark.parametrize("name", SHARED)
def test_shared_entries_have_one_type_and_one_text(name):
    first, *others = SHARED[name]
    n_shared = N_SHARED.get(name, 1)
    for other in others:
        if name not in OTHER_VALUES:
            assert SHARED[name][other][0] == SHARED[name][first][0], f"type of {name}: {other}, {first}"
        assert SHARED[name][other][1][:n_shared] == SHARED[name][first][1][:n_shared], f"{name}: {other}, {first}"


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_docstrings_name_parameters_and_defaults_of_the_signature(estimator):
    documented = entries(estimator, "Parameters")
    signature = {name: parameter.default for name, parameter in inspect.signature(estimator).parameters.items()}
    assert list(documented) == list(signature)
    for name, default in signature.items():
        if default is inspect.Parameter.empty:
            assert "default" not in documented[name][0], name
            continue
        text = documented[name][0].partition(", default=")[2]
        assert default is np.nan if text == "np.nan" else ast.literal_eval(text) == default, name


def test_exceptions_are_needed():
    """An exception for what agrees, or for what nobody has, is to be deleted."""
    for estimator, names in OTHER_MEANING.items():
        own = {s: entries(getattr(skdgm, estimator), s) for s in ("Parameters", "Attributes")}
        for name in names:
            kind, paragraphs = next(section[name] for section in own.values() if name in section)
            reference = next(iter(BY_NAME[name].values()))
            assert (kind.partition(", default=")[0], paragraphs[0]) != (reference[0], reference[1][0]), name
    for name in OTHER_VALUES:
        assert len({kind for kind, _ in SHARED[name].values()}) > 1, name
