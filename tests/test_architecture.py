"""Imports go down only: each file of skdgm imports what these tables allow, and nothing else. Typing counts, too."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "skdgm"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

# module (a file or a folder): the modules that it may import
TORCH = "noise distributions structured_normals likelihoods networks optimizer models"  # upward
MODULES = {
    "_warnings": "",
    "noise": "",
    "distributions": "noise",
    "structured_normals": "noise distributions",
    "likelihoods": "noise distributions structured_normals",
    "networks": "noise distributions structured_normals likelihoods",
    "models": "noise distributions structured_normals likelihoods networks optimizer",
    "readers": "",
    "sparse": "readers sources",
    "sources": "noise readers",
    "optimizer": "",
    "averaging": "optimizer",
    "files": "",
    "training_state": "",
    "distributed": "_labels _sklearn_compat readers sources",
    "step_graphs": "sources",
    "training": "averaging distributed optimizer sources step_graphs training_state",
    "checkpoints": "_warnings files training_state",
    "_sklearn_compat": "",
    "_labels": "_sklearn_compat _warnings",
    "model_selection": "_sklearn_compat _labels",
    "datasets": "_sklearn_compat _labels",
    "svm": "",
    "estimators": f"{TORCH} _version averaging checkpoints distributed readers sources sparse training training_state "
    "_sklearn_compat _labels _warnings svm",
    "display": "_labels",
    "callbacks": "",
    "export": "estimators svm",
    "onnx": "_warnings estimators export",
    "dask": "",
    "_version": "",
    "io": "_version checkpoints estimators files likelihoods svm",
    "__init__": "_version checkpoints estimators io",
    "command_line": "__init__ estimators io model_selection",
    "__main__": "_version command_line",
}
# module: the packages that it may import, besides Python's own
OUTSIDE = {
    **dict.fromkeys([*TORCH.split(), "averaging", "step_graphs", "training", "training_state"], "torch"),
    "files": "numpy",
    "checkpoints": "numpy torch",
    "_version": "",
    "_warnings": "",
    "readers": "numpy",
    "sources": "torch numpy",
    "sparse": "torch numpy",
    "distributed": "torch numpy sklearn",
    **dict.fromkeys(["_sklearn_compat", "_labels", "model_selection", "datasets", "svm"], "numpy scipy sklearn"),
    "estimators": "torch numpy scipy sklearn",
    "display": "numpy matplotlib sklearn",
    "callbacks": "",
    "export": "torch numpy scipy sklearn",
    "onnx": "torch numpy sklearn onnx onnxscript skl2onnx",
    "dask": "dask numpy pandas sklearn",
    "io": "numpy sklearn torch",
    "command_line": "numpy sklearn pyarrow",
    "__main__": "",
    "__init__": "",
}
# folder: file: the files of the same folder that it may import; none where it is not listed
HELPERS = "_arrays _streams _dtypes _frames _options _shards _missing_values _tables _fingerprint _checkpoints".split()
HELPERS += "_texts _far_cells".split()
HELPERS += "_callbacks _interrupt _column_kinds _likelihood_choice _columns _state _input _factors _auto_alpha".split()
HELPERS += (
    "_kernel_start _classifier _weights _unlabeled _class_prior _temperature _diagnosis _layerwise _presets".split()
)
FRAME = " ".join([*HELPERS, "_base"])
INSIDE = {
    "likelihoods": {
        **dict.fromkeys(["bernoulli", "gaussian"], "base"),
        **dict.fromkeys(["categorical", "ordinal"], "base levels"),
        "counts": "base inversion",
        "student_t": "base gaussian",
        "transformed_normal": "base gaussian",
        **dict.fromkeys(["positive", "quantile"], "base transformed_normal"),
        "__init__": "base bernoulli categorical counts gaussian ordinal positive quantile student_t",
        "columns": "__init__",
    },
    "networks": {
        "fused": "rows",
        "mlp": "batch_norm fused rows",
        "convolutional": "mlp sizes",
        "residual": "mlp sizes",
        "column_layers": "convolutional mlp residual sizes",
        "conditional": "covariances kernel_features mlp",
        "__init__": "column_layers conditional convolutional covariances kernel_features mlp residual sizes",
    },
    "distributed": {
        "__init__": "_launch _processes _rows",
        **dict.fromkeys(["_rows", "_snapshots", "_sources", "_sums"], "_processes"),
        "_worker": "_rows",
    },
    "models": {
        "refinement": "bound",
        "gaussian_latent": "adaptive bound holes imputation priors refinement",
        "vae": "gaussian_latent holes priors",
        "dlgm": "gaussian_latent holes priors",
        "label_sum": "bound",
        "m2": "adaptive bound holes imputation label_sum",
        "adgm": "holes m2",
        "m1m2": "gaussian_latent imputation m2 vae",
        "autoencoder": "binary_codes",
        "rbm": "binary_codes",
        "tempering": "rbm",
        "centering": "rbm",
        "contrastive_divergence": "centering rbm tempering",
        "enumeration": "binary_codes",
        "latent_marginal": "binary_codes enumeration",
        "partition": "binary_codes enumeration rbm",
        "stack": "binary_codes autoencoder rbm enumeration partition",
    },
    "estimators": {
        # helpers know no estimator; each may import those before it
        **{helper: " ".join(HELPERS[:i]) for i, helper in enumerate(HELPERS)},
        "_base": " ".join(HELPERS),
        "_imputation": FRAME,
        "_partial_fit": FRAME,
        "_latent_density": f"{FRAME} _imputation _partial_fit",
        "_label_terms": f"{FRAME} _partial_fit",
        "_semi_supervised": f"{FRAME} _imputation _partial_fit _label_terms",
        "vae": f"{FRAME} _latent_density",
        "dlgm": f"{FRAME} _latent_density",
        "_partial_labels": f"{FRAME} _label_terms _semi_supervised",
        "_row_classifier": f"{FRAME} _partial_labels _semi_supervised",
        "m2": "_row_classifier",
        "adgm": "_options _row_classifier _shards",
        "_stack_bounds": FRAME,
        "stacked_autoencoder": f"{FRAME} _stack_bounds",
        "transductive_svc": FRAME,
        "semi_supervised_meta": FRAME,
        # a VAE is their encoder: the only public estimator that others may import
        "_encoder": f"{FRAME} vae",
        "m1": f"{FRAME} _encoder vae transductive_svc",
        "m1m2": f"{FRAME} _encoder vae _partial_labels _semi_supervised",
        # a DLGM is its default
        "deep_imputer": f"{FRAME} _encoder _latent_density dlgm",
    },
    "svm": {"solvers": "hinge", "switching": "hinge shares", "annealing": "hinge shares solvers switching"},
    "display": {
        "__init__": "curves decoded images imputation latent posterior scores tables",
        **dict.fromkeys(["curves", "images", "latent", "posterior", "scores", "tables"], "_axes"),
        **dict.fromkeys(["decoded", "imputation"], "images"),
    },
    "callbacks": {"__init__": "mlflow tensorboard wandb", **dict.fromkeys(["mlflow", "tensorboard", "wandb"], "_base")},
    "io": {
        "_foreign": "_classes",
        "_plain": "_classes _foreign",
        "_file": "_plain",
        "__init__": "_file _foreign",
    },
    "command_line": {
        "tables": "messages",
        **dict.fromkeys(["text_files", "parquet_files"], "messages tables"),
        "files": "messages tables parquet_files text_files",
        "columns": "messages",
        "rows": "messages tables columns",
        "models": "messages tables files rows",
        "targets": "messages rows",
        "label": "messages tables files rows models targets",
        **dict.fromkeys(["impute", "outliers", "sample"], "messages tables columns files rows models"),
    },
}


def imports_of(file, tree=None):
    """The dotted name of everything that a file imports, `from a.b import c` being a.b.c."""
    for node in ast.walk(tree or ast.parse((ROOT / file).read_text("utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ["skdgm", *file.split("/")[:-1]]
            base = above[: len(above) + 1 - node.level] if node.level else []
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def file_of(name):
    """The file that defines skdgm.a.b.c: a/b/c.py, a/b.py, a/b/__init__.py, and so on."""
    parts = name.split(".")[1:]
    heads = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
    found = [file for head in heads for file in (f"{head}.py", f"{head}/__init__.py") if file in FILES]
    return found[0] if found else "__init__.py"


def split(file):
    """Module and, in a folder, the file's name: ("models", "vae") for models/vae.py."""
    module, *rest = file.removesuffix(".py").split("/")
    return module, *(rest or [""])


@pytest.mark.parametrize("file", FILES)
def test_imports_go_down_only(file):
    module, name = split(file)
    for imported in imports_of(file):
        package = imported.split(".")[0]
        if package == "skdgm":
            target, target_name = split(file_of(imported))
            inside = target == module
            allowed = INSIDE.get(module, {}).get(name, "") if inside else MODULES[module]
            assert (target_name if inside else target) in allowed.split(), (
                f"skdgm/{file} imports {imported}. Of {module if inside else 'skdgm'} it may import: {allowed or None}"
            )
        elif package not in sys.stdlib_module_names:
            allowed = OUTSIDE[module]
            assert package in allowed.split(), f"skdgm/{file} imports {imported}. It may import: {allowed or None}"
        if package == "sklearn" and module != "_sklearn_compat":
            assert "._" not in imported, f"skdgm/{file} imports {imported}. Only _sklearn_compat.py may: it is private"


def test_no_file_imports_itself_through_others():
    graph = {file: [file_of(name) for name in imports_of(file) if name.startswith("skdgm.")] for file in FILES}
    graphlib.TopologicalSorter(graph).prepare()


def test_the_tables_name_what_exists():
    files = [split(file) for file in FILES]
    assert set(MODULES) == set(OUTSIDE) == {module for module, _ in files}
    assert {(folder, name) for folder, lines in INSIDE.items() for name in lines} <= set(files)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("words", ["torch.manual_seed", "torch.set_num_threads", ".cuda()"])
def test_global_state_and_device_are_left_alone(file, words):
    assert words not in (ROOT / file).read_text("utf8")


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("display/")])
def test_display_imports_matplotlib_only_to_plot(file):
    tree = ast.parse((ROOT / file).read_text("utf8"))
    at_import = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert not any(name.startswith("matplotlib") for name in imports_of(file, at_import))


def test_torch_is_loaded_with_the_first_estimator_only():
    """datasets, model_selection and similar modules do not load it; public names, and no others, load on demand."""
    code = (
        "import sys, skdgm, skdgm.datasets, skdgm.model_selection, skdgm.display, skdgm.svm.annealing; "
        "assert not {'torch', 'matplotlib'} & set(sys.modules); "
        "assert [getattr(skdgm, name).__name__ for name in skdgm.__all__] == skdgm.__all__; "
        "assert set(skdgm.__all__) <= set(dir(skdgm)) and not hasattr(skdgm, 'GAN')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
