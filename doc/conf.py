"""Configuration of the documentation; `make doc` builds it.

The build needs no network: formulas are MathML, links to other projects come from `_ext/inventories.py`. A quick build,
without running the examples of the gallery: `make doc SPHINXOPTS="-q -W -D plot_gallery=0"`.
"""

import sys
import warnings
from inspect import isclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]  # the examples of the gallery import skdgm, too

from inventories import write_inventories  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.experimental import enable_iterative_imputer  # noqa: E402, F401 - the gallery links to it

import skdgm  # noqa: E402

project = "skdgm"
author = "the skdgm developers"
copyright = "2026, the skdgm developers"
version = release = skdgm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "mathml",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.py"]
default_role = "literal"
html_math_renderer = "mathml"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

intersphinx_mapping = write_inventories(HERE / "_build" / "inventories")

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc sections say it in words
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False  # the template lists the methods
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # in type lines, link what Python and the names below are, and no other word
numpydoc_xref_aliases = {
    **{name: f"skdgm.{name}" for name in skdgm.__all__},
    "array-like": ":term:`array-like`",
    "Axes": "matplotlib.axes.Axes",
    "Bunch": "sklearn.utils.Bunch",
    "callable": "callable",
    "ConvergenceWarning": "sklearn.exceptions.ConvergenceWarning",
    "DataFrame": "pandas.DataFrame",
    "Figure": "matplotlib.figure.Figure",
    "frame": ":term:`frame`",
    "FrozenEstimator": "sklearn.frozen.FrozenEstimator",
    "ndarray": "numpy.ndarray",
    "np.nan": "numpy.nan",
    "RandomState": "numpy.random.RandomState",
    "Tensor": "torch.Tensor",
    "torch.nn.Module": "torch.nn.Module",
}
nitpicky = True  # a reference without a target is a warning: mend it, or add a foreign name to _ext/inventories.py
nitpick_ignore_regex = [("py:obj", r"\w+_")]  # fitted attributes that are properties, described on the same page

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"(?:^|/)(?!plot_)[^/]*\.py$",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skdgm",),
    "reference_url": {"skdgm": None},
    "inspect_global_variables": True,
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "show_memory": False,
    "download_all_examples": False,
    "plot_gallery": "True",
    "abort_on_example_error": False,
}
# Results that an example shows as HTML link to this site. (Elsewhere they link to nothing: it has no fixed address.)
for Estimator in filter(isclass, (getattr(skdgm, name) for name in skdgm.__all__)):
    Estimator._doc_link_module, Estimator._doc_link_template = "skdgm", "../generated/skdgm.{estimator_name}.html"
# Examples train for as long as a reader is willing to wait.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

html_theme = "pydata_sphinx_theme"
html_title = "skdgm"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "logo": {"text": "skdgm"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "show_nav_level": 1,
    "navigation_depth": 3,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "back_to_top_button": True,
}
html_sidebars = {name: [] for name in ("index", "getting_started", "install", "choose", "faq", "glossary", "search")}


def add_sorting(app, page, *_):
    """Make the tables of results sortable."""
    if page.startswith(("benchmarks", "replication")):
        app.add_js_file("sort_tables.js", defer="defer")


def setup(app):
    app.connect("html-page-context", add_sorting)
