"""Sphinx configuration: settings only; what happens during a build lives in the extensions here."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Small extensions of our own stand beside this file.
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

project = "Federated chest X-rays"
author = "the Federated chest X-rays contributors"
copyright = author
version = release = "0.1.0"
language = "en"

extensions = [
    "quiet_build",  # first: others import TensorFlow
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
    "sphinxext.opengraph",
    "nbsphinx",
    "sphinx_gallery.gen_gallery",
    "gallery_hooks",
    "figures",
    "finished_html",
    "benchmark_page",
    "build_progress",
    "browser_model",
    "landing_page",
    "mathml",
    "page_cards",
    "verdicts",
]
templates_path = ["_templates"]
exclude_patterns = [
    "_build",
    "_templates",
    "site_check",
    "auto_examples/index.rst",  # all pages in one section; ours is gallery.rst
    "auto_examples/**.ipynb",  # sphinx-gallery's downloads, which nbsphinx would claim as pages
    "sg_execution_times.rst",  # loads a script from the network
]
rst_prolog = """
.. role:: python(code)
   :language: python
"""

# -- Strictness: the build runs with -W -n ---------------------------------------------------------
# The site is built without internet, so names of other packages have no inventory to link to.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(keras|matplotlib|numpy|pandas|pathlib|substra|substrafl|substratools|tensorflow|torch)\..*",
    ),
]

# -- Formulas: MathML, which browsers draw by themselves; MathJax would come from the network ------
html_math_renderer = "mathml"

# -- API reference ---------------------------------------------------------------------------------
autosummary_generate = True
autodoc_typehints = "none"
autodoc_preserve_defaults = True  # as in the source: one is the path of a file of this machine
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# -- References ------------------------------------------------------------------------------------
bibtex_bibfiles = ["refs.bib"]
bibtex_default_style = "unsrt"

# -- The one notebook that nbsphinx renders, as Substra's documentation would ----------------------
nbsphinx_execute = "never"
# Neither require.js nor widgets are needed; both would be loaded from the network.
nbsphinx_requirejs_path = ""
nbsphinx_widgets_path = ""

# -- Gallery ---------------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "build_progress.longest_first",  # in which pages run
    "doc_module": "helpers",
    "backreferences_dir": "generated/backreferences",
    "inspect_global_variables": False,
    "remove_config_comments": True,
    "ignore_repr_types": r"Path",  # where a page wrote its table
    "parallel": min(4, os.cpu_count() or 1),  # pages that run tasks or measure time opt out
    "reset_modules": ("matplotlib", "gallery_hooks.reset_run", "build_progress.report_page"),
    "reset_modules_order": "both",
    "abort_on_example_error": True,
    "min_reported_time": 1,
    "write_computation_times": False,
    "show_signature": False,
    "image_scrapers": "figures.scrape_figures",
    "image_srcset": ["2x"],
    "default_thumb_file": str(HERE / "_static" / "thumb.png"),
    "junit": "junit-gallery.xml",
    "download_all_examples": True,  # gallery.rst offers the archive of scripts
    "pypandoc": {"extra_args": ["--lua-filter", str(HERE / "plain_roles.lua")]},
}

# Names of pages have no spaces, as a test checks. Folders above the repository may have some, which
# this warning counts, too, although no link holds them.
suppress_warnings = ["sphinx_gallery.space_in_filename"]

# -- HTML ------------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_context = {"default_mode": "auto"}  # as the reader's system has it
html_copy_source = False
html_theme_options = {
    "logo": {"text": project, "alt_text": f"{project}, to the start page"},
    "navbar_end": ["theme-switcher"],
    "navbar_align": "left",
    "header_links_before_dropdown": 5,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "article_footer_items": [],  # the theme shows previous and next by itself
    "primary_sidebar_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# Pages without pages below them have nothing to show in a sidebar.
LEAVES = (
    "index",
    "own_data",
    "data_sheet",
    "try_it",
    "from_pytorch",
    "tools",
    "deployed",
    "benchmark/index",
    "glossary",
    "404",
    "references",
    "changes",
)
html_sidebars = {page: [] for page in LEAVES}
# Lines of code are longer than prose: on a wide screen, too, the gallery's list of pages is in a
# drawer, which the button in the header opens (site.css).
html_sidebars |= {"auto_examples/**": ["sidebar-nav-bs"]}

# -- Copy buttons and link previews ----------------------------------------------------------------
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"
ogp_site_url = ""  # the publishing workflow names it
ogp_image = "_static/flagship.png"
ogp_social_cards = {"enable": False}
