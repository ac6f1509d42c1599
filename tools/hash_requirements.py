"""Write requirements-ci.txt: what `make lint`, `make test`, and `make dist` install, with versions and SHA-256 hashes.

    .venv/bin/python tools/hash_requirements.py

pip resolves the extras under constraints.txt, without installing anything, and reports the wheel that it would take for
each package, with its hash. So the hashes are those of the wheels for this platform and Python; .ci/run uses the file
on Linux, x86-64, and Python 3.11, where it must be written.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements-ci.txt"
HEADER = """\
# What CI installs on Linux, x86-64, Python 3.11, where pip accepts no other file than these (see SECURITY.md).
# Written by tools/hash_requirements.py. Run it after a change of constraints.txt or of an extra.

"""


def installed_extras():
    """The extras that `make install` and `make dist` install."""
    (extras,) = re.findall(r"-e '\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text("utf8"))[:1]
    return [*extras.split(","), "dist"]


def resolved(requirements):
    """What pip would install: a list of records, one for each package."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--dry-run", "--ignore-installed", "--no-build-isolation", "--report", str(report)]
        command = [sys.executable, "-m", "pip", "install", "--quiet", *options, "-c", "constraints.txt"]
        subprocess.run([*command, *requirements], check=True, cwd=ROOT)
        return json.loads(report.read_text("utf8"))["install"]


def line_of(package):
    """The line of a package: its name, its version, and the hash of its wheel."""
    name, source = package["metadata"]["name"], package["download_info"]
    version = package["metadata"]["version"].partition("+")[0]  # torch's pin is for all its builds
    if not source["url"].endswith(".whl"):
        raise SystemExit(f"{name}=={version} has no wheel for this platform, and building it would run its code.")
    return f"{name}=={version} --hash=sha256:{source['archive_info']['hashes']['sha256']}"


def main():
    packages = resolved([f".[{','.join(installed_extras())}]", "hatchling"])
    lines = sorted((line_of(package) for package in packages if package["metadata"]["name"] != "skdgm"), key=str.lower)
    REQUIREMENTS.write_text(HEADER + "\n".join(lines) + "\n", "utf8")
    print(f"{REQUIREMENTS.name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
