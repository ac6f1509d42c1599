"""Public names: pages, docstrings against signatures, types in a user's strict mypy, HTML; and the list of extras."""

import inspect
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pytest
import torch

import skdgm

ROOT = Path(__file__).parent.parent
API = (ROOT / "doc" / "api.rst").read_text("utf8")
# Modules that cannot be imported without an optional library.
LIBRARIES = {"skdgm.onnx": "skl2onnx", "skdgm.dask": "dask"}
INTERNAL = {"skdgm.likelihoods"}  # users name likelihoods by strings

# A number's entry says what happens when it grows or shrinks, in one of these words.
GROWTH = re.compile(r"\b(larger|longer|smaller|more|fewer|higher|lower|too (many|few|large|small))\b", re.IGNORECASE)
HOOKS = {"setup", "teardown", "on_fit_task_begin", "on_fit_task_end"}  # of scikit-learn's callback API
NOT_AMOUNTS = {"random_state", "unlabeled_value", "missing_values", "verbose"}
NOT_AMOUNTS |= {"n_inputs", "n_outputs"}  # what a builder is told of its layer


def is_importable(path):
    return path not in LIBRARIES or find_spec(LIBRARIES[path]) is not None


def names_by_module():
    """The names of the reference, by module."""
    found = {}
    for section in API.split("currentmodule:: ")[1:]:
        path, _, text = section.partition("\n")
        found.setdefault(path, []).extend(re.findall(r"^   (\w+)$", text, re.MULTILINE))
    return {path: names for path, names in found.items() if is_importable(path)}


def documented_calls():
    """(name, object) of all classes and functions of the reference, and of their own public methods."""
    for path, names in NAMES.items():
        for name in names:
            value = getattr(import_module(path), name)
            if callable(value):
                yield f"{path}.{name}", value
            if inspect.isclass(value):
                yield from ((f"{path}.{name}.{method}", member) for method, member in own_methods(value))


def own_methods(cls):
    """Public methods that skdgm defines: not those that scikit-learn defines, makes, or calls as hooks."""
    for name, member in inspect.getmembers(cls, callable):
        is_made = name.endswith("_request") or name == "set_callbacks"
        is_hook = cls.__module__.startswith("skdgm.callbacks.") and name in HOOKS
        home = getattr(inspect.unwrap(member), "__module__", None) or ""
        if not name.startswith("_") and not is_made and not is_hook and home.startswith("skdgm."):
            yield name, member


NAMES = names_by_module()
DOCUMENTED = dict(documented_calls())


def parameters_of(value):
    """Parameters of a call, by name, without self and without ``**params``."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    signature = inspect.signature(value)
    return {name: p for name, p in signature.parameters.items() if name not in ("self", "cls") and p.kind not in kinds}


def entries_of(value):
    """Name: (type line, text) of the section Parameters."""
    doc = inspect.cleandoc(value.__doc__ or "")
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n---|\Z)", doc, re.DOTALL | re.MULTILINE)
    found = {}
    for head, text in re.findall(r"^(\S[^\n]*)\n((?:[ ]+[^\n]*\n|\n)*)", (section[1] if section else "") + "\n", re.M):
        names, _, kind = head.partition(" : ")
        found.update(dict.fromkeys(names.split(", "), (kind, text)))
    return {name: entry for name, entry in found.items() if not name.startswith("*")}


@pytest.mark.parametrize("path", NAMES)
def test_the_reference_lists_the_public_names_and_no_others(path):
    elsewhere = set() if path == "skdgm" else set(skdgm.__all__)  # skdgm.save, not skdgm.io.save
    assert sorted(NAMES[path]) == sorted(set(import_module(path).__all__) - elsewhere)


def test_every_module_with_public_names_is_in_the_reference():
    found = [f"skdgm.{name}" for _, name, _ in iter_modules(skdgm.__path__) if not name.startswith("_")]
    public = {path for path in found if is_importable(path) and hasattr(import_module(path), "__all__")}
    assert {"skdgm", *public} - INTERNAL == set(NAMES)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_docstring_lists_the_parameters_of_the_signature(name):
    value = DOCUMENTED[name]
    assert list(entries_of(value)) == list(parameters_of(value))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_docstring_gives_the_defaults_of_the_signature(name):
    value = DOCUMENTED[name]
    entries = entries_of(value)
    for parameter in parameters_of(value).values():
        kind = entries[parameter.name][0]
        if "default=" in kind:
            stated = eval(kind.partition("default=")[2], {"np": np, "torch": torch})
            assert repr(stated) == repr(parameter.default), f"{parameter.name} : {kind}"


@pytest.mark.parametrize("name", [name for name, value in DOCUMENTED.items() if inspect.isclass(value)])
def test_a_number_tells_what_happens_when_it_grows(name):
    silent = [
        parameter
        for parameter, (kind, text) in entries_of(DOCUMENTED[name]).items()
        if re.match(r"(int|float)\b", kind) and parameter not in NOT_AMOUNTS and not GROWTH.search(text)
    ]
    assert not silent


@pytest.mark.parametrize("name", sorted(set(skdgm.__all__) - {"Checkpoint", "load", "save"}))
def test_the_html_links_to_no_page_of_scikit_learn(name):
    """skdgm's pages have no fixed address yet, and scikit-learn has no page of its estimators."""
    needed = {"estimator": skdgm.M2Classifier()} if name == "SemiSupervisedMetaClassifier" else {}
    assert getattr(skdgm, name)(**needed)._get_doc_link() == ""


def test_the_install_page_lists_every_extra():
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    listed = re.findall(r"^`(\w+)`  ", (ROOT / "doc" / "install.rst").read_text("utf8"), re.MULTILINE)
    assert sorted(listed) == sorted(extras)


USER_SCRIPT = """
import numpy as np
import torch

from skdgm import (
    DLGM, VAE, ADGMClassifier, DeepImputer, M1Classifier, M1M2Classifier, M2Classifier,
    SemiSupervisedMetaClassifier, StackedAutoencoder, TransductiveSVC, load, save,
)
from skdgm.callbacks import MLflowCallback, TensorBoardCallback, WandbCallback
from skdgm.datasets import load_mnist, load_table, mask_labels
from skdgm.display import LatentMapDisplay, LossCurveDisplay
from skdgm.model_selection import LabeledStratifiedKFold, cross_val_predict_labeled, make_labeled_scorer
from skdgm.export import export_program, prediction_module
from skdgm.io import TRUSTED_TYPES
from skdgm.networks import Convolutional, Residual, Sizes
from skdgm.readers import ParquetReader

X = np.random.default_rng(0).normal(size=(30, 3))
y = mask_labels(np.arange(30) % 3, 9, random_state=0)
vae = VAE(2, max_iter=3).fit(X)
dlgm, stack = DLGM((2, 1)).fit(X), StackedAutoencoder((3, 2)).fit(X)
m2, m1m2, m1, svc = M2Classifier(), M1M2Classifier(2), M1Classifier(), TransductiveSVC(C=1.0)
meta = SemiSupervisedMetaClassifier(m2).fit(X, y)
DeepImputer(vae).fit_transform(X)
for density in (vae, dlgm):
    density.partial_fit(X).transform(X)
    density.inverse_transform(X), density.score_samples(X), density.elbo_samples(X), density.impute(X)
    density.score(X), density.sample(3)
stack.transform(X), stack.score(X), stack.sample(3), stack.latent_marginal_bound(X), stack.is_exact_
for classifier in (m2, m1m2):
    classifier.fit(X, y).predict(X)
    classifier.predict_proba(X), classifier.predict_log_proba(X), classifier.score(X, y), classifier.sample(3, y=1)
    classifier.impute(X), classifier.temperature_
m1.fit(X, y).decision_function(X)
m1.predict(X), m1.transform(X), m1.score(X, y), svc.fit(X, y).predict(X), svc.score(X, y), meta.score(X, y)
cross_val_predict_labeled(m2, X, y, cv=LabeledStratifiedKFold(3)), make_labeled_scorer("accuracy")
load_mnist(), load_table("adult"), ParquetReader("table.parquet")
LossCurveDisplay.from_estimator(vae).plot(), LatentMapDisplay.from_estimator(vae, X)
VAE(network=Convolutional((8, 16)), image_shape=(8, 8)), VAE(network=Residual(2))
vae.set_callbacks(TensorBoardCallback("runs"), MLflowCallback("tables"), WandbCallback(mode="offline"))
save(vae, "vae.skdgm")
load("vae.skdgm"), len(TRUSTED_TYPES)
prediction_module(vae, "transform"), export_program(vae, "transform")


def build(sizes: Sizes) -> torch.nn.Module:
    return torch.nn.Linear(sizes.n_inputs, sizes.n_outputs)


VAE(network=build)
"""


def test_a_users_script_passes_mypy_strict(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "user.py"
    script.write_text(USER_SCRIPT)
    command = [sys.executable, "-m", "mypy", str(script)]  # strict by pyproject.toml, and in the cache of `make lint`
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
