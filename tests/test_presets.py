"""Presets: parameters that the replication scripts measured, and changes of them."""

import importlib
import sys
from pathlib import Path

import pytest
from sklearn.base import clone

from skdgm import DLGM, VAE, M1Classifier, M1M2Classifier

REPLICATION = Path(__file__).parents[1] / "examples" / "replication"


@pytest.fixture
def measured(monkeypatch):
    """Imports a script whose runs the page of the papers' tables reports."""
    monkeypatch.syspath_prepend(str(REPLICATION))

    def imported(name):
        script = importlib.import_module(name)
        for module in (name, "_runs"):
            del sys.modules[module]
        return script

    return imported


def test_presets_are_what_was_measured(measured):
    """Every parameter of the runs, and no other."""
    script = measured("mnist_few_labels")
    ours, upper = M1M2Classifier.from_preset("images_few_labels"), script.M1M2
    assert changed(ours) == changed(M1M2Classifier(**upper, encoder=ours.encoder))
    assert changed(ours.encoder) == changed(
        VAE(
            **script.M1,
        ).set_params(random_state=None)
    )
    ours = M1Classifier.from_preset("images_few_labels")
    assert changed(ours.encoder) == changed(VAE(**script.LONG_M1).set_params(random_state=None))
    assert {name: getattr(ours.estimator, name) for name in script.TSVM} == script.TSVM
    assert not ours.passthrough and ours.n_draws is None


def test_the_preset_of_dlgm_is_what_was_measured(measured):
    """The first stage; precision="auto" is bfloat16 at this size, and draws and refinement are those of the scores."""
    script = measured("mnist_fixed_nll")
    (stage,) = script.STAGES["top_down_mixture_preset"]
    ours = DLGM.from_preset("binary_images")
    scores = {"n_importance_samples": script.FEWER_DRAWS, "n_refinement_steps": script.N_REFINEMENT_STEPS}
    assert changed(ours) == changed(DLGM(**stage | scores | {"precision": "auto"}))


def changed(estimator):
    """Parameters of an estimator, without those of nested ones."""
    return {name: value for name, value in estimator.get_params(deep=False).items() if name != "encoder"}


def test_presets_can_be_changed_and_are_independent():
    first = M1M2Classifier.from_preset("images_few_labels", max_iter=5, encoder__max_iter=3, random_state=0)
    second = M1M2Classifier.from_preset("images_few_labels")
    assert (first.max_iter, first.encoder.max_iter, first.random_state) == (5, 3, 0)
    assert (second.max_iter, second.encoder.max_iter) == (300, 140)
    assert clone(first).get_params(deep=False).keys() == first.get_params(deep=False).keys()


@pytest.mark.parametrize("cls", [VAE, DLGM, M1Classifier, M1M2Classifier])
def test_an_unknown_preset_lists_the_known_ones(cls):
    with pytest.raises(ValueError, match=rf"name must be one of \['.*images.*'\] for {cls.__name__}, got 'image'"):
        cls.from_preset("image")
