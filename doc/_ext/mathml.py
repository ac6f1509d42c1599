"""Sphinx extension: formulas become MathML in the page, which browsers draw without scripts, fonts, or a network."""

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.util import logging

logger = logging.getLogger(__name__)
converter = LatexToMathML(fancy_error=False, annotation=False)


def to_mathml(tex, *, is_block):
    r"""MathML of a formula; a block with rows or alignment is an ``align*``, one with a ``\tag`` is numbered by it."""
    if is_block and ("\\\\" in tex or "&" in tex):
        tex = rf"\begin{{align*}}{tex}\end{{align*}}"
    elif r"\tag" in tex:
        tex = rf"\begin{{equation}}{tex}\end{{equation}}"
    return converter.convert_with_local_state(tex, displaystyle=is_block)


def render(translator, node, *, is_block):
    """Write the formula, or warn (an error under -W) and show its source."""
    tex = node.astext().strip()
    try:
        html = to_mathml(tex, is_block=is_block)
    except LatexError as error:
        logger.warning("cannot convert the formula %s: %s", tex, error, location=node)
        html = translator.encode(tex)
    tag = "div" if is_block else "span"
    translator.body.append(translator.starttag(node, tag, "", CLASS="math notranslate nohighlight"))
    translator.body.append(f"{html}</{tag}>")
    raise nodes.SkipNode


def visit_inline(translator, node):
    render(translator, node, is_block=False)


def visit_block(translator, node):
    render(translator, node, is_block=True)


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
