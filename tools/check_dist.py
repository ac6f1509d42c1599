"""Check the wheel and the sdist in a folder, and the wheel as it is installed in the Python that runs this.

`make dist` calls it with an environment that holds the wheel and nothing of the checkout.
"""

import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris

import skdgm
from skdgm import VAE, M2Classifier
from skdgm.datasets import mask_labels

ROOT = Path(__file__).resolve().parent.parent
SDIST_HOLDS = ["LICENSE", "README.md", "CHANGELOG.md", "Makefile", "SECURITY.md", "constraints.txt", "pyproject.toml"]


def files_of(folder):
    """The source files of a folder of the checkout, as paths from its root."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.suffix == ".py" or path.name == "py.typed")
    return {path.relative_to(ROOT).as_posix() for path in paths}


def check_wheel(path):
    names = set(zipfile.ZipFile(path).namelist())
    info = f"skdgm-{skdgm.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"skdgm", info}, "the wheel holds more than skdgm"
    missing = {*files_of("skdgm"), f"{info}/licenses/LICENSE"} - names
    assert not missing, f"the wheel lacks {sorted(missing)}"


def check_sdist(path):
    names = {name.split("/", 1)[-1] for name in tarfile.open(path).getnames()}
    missing = {*files_of("skdgm"), *files_of("tests"), *SDIST_HOLDS} - names
    assert not missing, f"the sdist lacks {sorted(missing)}"
    assert not any("__pycache__" in name or name.startswith((".venv", "doc/_build")) for name in names)


def check_installed():
    package = Path(skdgm.__file__).parent
    assert package.is_relative_to(sys.prefix), f"skdgm comes from {package}, not from the wheel"
    assert (package / "py.typed").is_file()
    assert metadata.version("skdgm") == skdgm.__version__
    assert {"numpy", "scikit-learn", "torch"} <= {line.split(">=")[0] for line in metadata.requires("skdgm")}


def check_fits():
    X, y = load_iris(return_X_y=True)
    vae = VAE(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0).fit(X)
    assert vae.transform(X).shape == (150, 2) and np.isfinite(vae.score_samples(X)).all()
    m2 = M2Classifier(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0).fit(X, mask_labels(y, 30, random_state=0))
    assert m2.predict_proba(X).shape == (150, 3) and 0 <= m2.score(X, y) <= 1


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    check_installed()
    check_fits()
    print(f"{wheel} and {sdist}: complete; the wheel installs, imports and fits")
