"""Check that no file of skdgm has more than 300 lines of code: a longer file does more than one job."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "skdgm"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
MAX_LINES = 300

NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(source):
    """Numbers of the lines that hold code, without docstrings, comments, blank lines and function signatures."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for token in tokens if token.type not in NOT_CODE for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | FUNCTION):
            lines -= docstring_lines(node)
        if isinstance(node, FUNCTION):
            lines -= signature_lines(node)
    return lines


def docstring_lines(node):
    if ast.get_docstring(node, clean=False) is None:
        return set()
    return set(range(node.body[0].lineno, node.body[0].end_lineno + 1))


def signature_lines(node):
    """Lines from ``def`` to the line before the body; a body on the line of the signature counts as code."""
    first = min(part.lineno for part in [node.body[0], *getattr(node.body[0], "decorator_list", [])])
    return set(range(node.lineno, first))


def test_lines_of_code_are_counted_as_a_reader_would():
    source = '''"""Docstring
of two lines."""

import os  # 1


class A:  # 2
    """One line."""

    # a comment
    x = """text

    of three lines"""  # 3, 4, 5

    @property  # 6
    def f(
        self,
    ) -> str:
        """Docstring."""

        def inner(): return os.sep  # 7

        return (  # 8
            inner()  # 9
        )  # 10
'''
    assert len(code_lines(source)) == 10


@pytest.mark.parametrize("file", FILES)
def test_file_has_one_job(file):
    n_lines = len(code_lines((ROOT / file).read_text("utf8")))
    assert n_lines <= MAX_LINES, f"{file} has {n_lines} lines of code, more than {MAX_LINES}: split it by task"
