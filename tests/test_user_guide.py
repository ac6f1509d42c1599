"""Examples of the user guide run."""

import doctest
import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parent.parent / "doc" / "user_guide"
PAGES = [page for page in sorted(GUIDE.glob("*.rst")) if ">>>" in page.read_text("utf8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run(page):
    needed = re.search(r"^\.\. needs: (.+)$", page.read_text("utf8"), re.MULTILINE)
    for package in needed.group(1).split() if needed else ():
        pytest.importorskip(package)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testfile(str(page), module_relative=False, optionflags=options, encoding="utf8")
    assert result.attempted and not result.failed
