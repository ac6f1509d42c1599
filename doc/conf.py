"""Configuration of the documentation; `make doc` builds it."""

import skdgm

project = "skdgm"
author = "the skdgm developers"
copyright = "2026, the skdgm developers"
version = release = skdgm.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "literal"

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc sections say it in words
numpydoc_show_class_members = False  # the template lists the methods
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_show_sourcelink = False
