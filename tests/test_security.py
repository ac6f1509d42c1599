"""What SECURITY.md promises of the source and of the packages that CI installs. test_io.py has the hostile files."""

import ast
import re
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

requirements = pytest.importorskip("packaging.requirements")
canonical = pytest.importorskip("packaging.utils").canonicalize_name

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for folder in ("skdgm", "tools", "examples", "doc/_ext") for path in (ROOT / folder).rglob("*.py")
)
RUN_TEXT = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput"}
UNPICKLE = {"pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load", "joblib.load", "marshal.loads"}
# Folders of scripts that read what they have written: earlier runs, and messages between a process and its children.
OWN_PICKLES = {"replication", "distributed"}
ALLOW_CODE = {"shell": True, "allow_pickle": True, "weights_only": False}


def calls(tree):
    """Every call: its name with dots, and its keyword arguments that are constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            constants = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            yield ast.unparse(node.func), constants, node.lineno


def faults(source, *, may_unpickle=False):
    """Lines of a source that run text as code, or open files that could."""
    refused = RUN_TEXT if may_unpickle else RUN_TEXT | UNPICKLE
    return [
        f"{line}: {name}"
        for name, constants, line in calls(ast.parse(source))
        if name in refused or any(constants.get(key, "unset") is value for key, value in ALLOW_CODE.items())
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_runs_text_or_opens_pickles(path):
    assert not faults(path.read_text("utf8"), may_unpickle=bool(OWN_PICKLES & set(path.parts)))


@pytest.mark.parametrize(
    "source",
    ["eval('1')", "import os; os.system(x)", "run(c, shell=True)", "np.load(f, allow_pickle=True)", "torch.load(f)"],
)
def test_a_fault_is_found(source):
    assert faults(source)
    assert not faults("model.eval(); run(c, shell=False); np.load(f); 'eval(1)'")


# --- packages of CI -------------------------------------------------------------------------------------------------


def pinned(file):
    """The versions in a file of requirements, by name."""
    lines = [line for line in (ROOT / file).read_text("utf8").splitlines() if line and line[0] != "#"]
    return {canonical(name): version for name, version in (re.split("==| ", line)[:2] for line in lines)}


def test_every_package_of_ci_has_a_hash_and_the_version_of_the_constraints():
    lines = (ROOT / "requirements-ci.txt").read_text("utf8").splitlines()
    assert all(
        re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines if line[:1] not in ("#", "")
    )
    hashed, constraints = pinned("requirements-ci.txt"), pinned("constraints.txt")
    wrong = {name: version for name, version in hashed.items() if constraints.get(name) != version}
    assert not wrong, f"run tools/hash_requirements.py, or pin in constraints.txt: {wrong}"


def needed(names):
    """The installed packages that requirements lead to, with their extras."""
    waiting, seen = [requirements.Requirement(name) for name in names], set()
    while waiting:
        one = waiting.pop()
        for extra in ["", *one.extras]:
            key = canonical(one.name), extra
            if key not in seen and (not one.marker or one.marker.evaluate({"extra": ""})):
                seen.add(key)
                below = map(requirements.Requirement, metadata.requires(one.name) or [])
                waiting += [r for r in below if not r.marker or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def test_ci_needs_no_package_without_a_hash():
    """What the extras of `make install` require, as far as it is installed here."""
    if (sys.version_info[:2], sysconfig.get_platform()) != ((3, 11), "linux-x86_64"):
        pytest.skip("requirements-ci.txt is for Python 3.11 on Linux, x86-64")
    if metadata.version("numpy") != pinned("constraints.txt")["numpy"]:
        pytest.skip("the packages that are installed here are not those of constraints.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))
    (extras,) = re.findall(r"-e '\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text("utf8"))[:1]
    optional = project["project"]["optional-dependencies"]
    names = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    waiting = extras.split(",")
    while waiting:
        for name in optional[waiting.pop()]:
            found = re.fullmatch(r"skdgm\[([\w,]+)\]", name)
            waiting += found.group(1).split(",") if found else []
            names += [] if found or not is_installed(name) else [name]
    lacking = needed(names) - pinned("requirements-ci.txt").keys()
    assert not lacking, f"run tools/hash_requirements.py: {sorted(lacking)}"


def is_installed(name):
    try:
        return metadata.version(requirements.Requirement(name).name)
    except metadata.PackageNotFoundError:
        return False
