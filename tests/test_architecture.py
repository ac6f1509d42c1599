"""Check that imports only go down: each module of skdgm imports only what its line in DOWN and OUTSIDE allows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "skdgm"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

TORCH_MODULES = ["noise", "distributions", "structured_normals", "likelihoods", "networks", "models"]  # upward
ARRAY_MODULES = ["_sklearn_compat", "_labels", "model_selection", "datasets"]
ENGINE = ["sources", "training"]

# module: the modules that it may import
DOWN = {
    "noise": [],
    "distributions": TORCH_MODULES[:1],
    "structured_normals": TORCH_MODULES[:2],
    "likelihoods": TORCH_MODULES[:4],
    "networks": TORCH_MODULES[:4],
    "models": TORCH_MODULES,
    "sources": TORCH_MODULES[:1],
    "training": ["sources"],
    "_sklearn_compat": [],
    "_labels": ["_sklearn_compat"],
    "model_selection": ARRAY_MODULES[:2],
    "datasets": ARRAY_MODULES[:2],
    "svm": ["svm"],
    "estimators": [*TORCH_MODULES, *ENGINE, *ARRAY_MODULES, "svm", "estimators"],
    "display": ["_labels", "display"],
    "__init__": ["estimators"],
}
# module: the packages that it may import, in addition to the standard library
OUTSIDE = {
    **dict.fromkeys([*TORCH_MODULES, "training"], {"torch"}),
    "sources": {"torch", "numpy"},
    **dict.fromkeys([*ARRAY_MODULES, "svm"], {"numpy", "scipy", "sklearn"}),
    "estimators": {"torch", "numpy", "scipy", "sklearn"},
    "display": {"numpy", "matplotlib"},
    "__init__": set(),
}


def module_of(file):
    return file.split("/")[0].removesuffix(".py")


def imported(tree, file):
    """Yield the dotted name of everything that a file imports; `from a.b import c` gives a.b.c."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ["skdgm", *file.split("/")[:-1]]
            base = above[: len(above) + 1 - node.level] if node.level else []
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


@pytest.mark.parametrize("file", FILES)
def test_imports_go_down_only(file):
    tree, module = ast.parse((ROOT / file).read_text("utf8")), module_of(file)
    for name in imported(tree, file):
        package, *rest = name.split(".")
        if package == "skdgm":
            assert "".join(rest[:1]) in DOWN[module], (
                f"{file} imports {name}, module {module!r} may import {DOWN[module]}"
            )
        elif package not in sys.stdlib_module_names:
            assert package in OUTSIDE[module], f"{file} imports {name}, module {module!r} may import {OUTSIDE[module]}"
        if package == "sklearn" and module != "_sklearn_compat":
            assert not any(part.startswith("_") for part in rest), f"{name} in {file} belongs in _sklearn_compat.py"


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("words", ["torch.manual_seed", "torch.set_num_threads", ".cuda()"])
def test_global_state_and_device_are_left_alone(file, words):
    assert words not in (ROOT / file).read_text("utf8")


@pytest.mark.parametrize("file", [file for file in FILES if module_of(file) == "display"])
def test_display_imports_matplotlib_only_to_plot(file):
    tree = ast.parse((ROOT / file).read_text("utf8"))
    at_import = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert not any(name.startswith("matplotlib") for name in imported(at_import, file))


def test_torch_is_loaded_with_the_first_estimator_only():
    """datasets, model_selection and similar modules do not load it; public names, and no others, load on demand."""
    code = (
        "import sys, skdgm, skdgm.datasets, skdgm.model_selection, skdgm.display, skdgm.svm.annealing; "
        "assert not {'torch', 'matplotlib'} & set(sys.modules); "
        "assert [getattr(skdgm, name).__name__ for name in skdgm.__all__] == skdgm.__all__; "
        "assert set(skdgm.__all__) <= set(dir(skdgm)) and not hasattr(skdgm, 'GAN')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
