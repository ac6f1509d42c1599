"""The page of the papers' tables has the tables of the results files."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "replication"


def test_the_page_has_the_tables_of_the_results(monkeypatch):
    """`python examples/replication/report.py` brings it up to date."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    import report

    text = report.PAGE.read_text()
    assert len(report.BLOCK.findall(text)) == 20
    assert report.page(text) == text
    for name in set(sys.modules) - before:  # the scripts have names that others may have, too
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
