"""The guide as a site: `make docs` builds it into build/docs, where it opens without a server."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from recbole_dtlns import __version__

project = "recbole_dtlns"
author = "the authors of recbole_dtlns"
copyright = "the authors of recbole_dtlns, MIT licence"  # noqa: A001, RUF100
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "myst_nb",
    "generated_reference",
]
exclude_patterns = ["evidence/**", "_build"]
root_doc = "index"

myst_enable_extensions = ["attrs_block", "attrs_inline", "deflist"]
myst_heading_anchors = 4
# Tables that commands place bring headings of their own level.
suppress_warnings = ["myst.header"]
nb_execution_mode = "off"  # tests/package/test_notebooks.py executes them

smartquotes = False  # options begin with two dashes
default_role = "code"  # docstrings mark code as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_default_options = {"exclude-members": "model_config, model_post_init"}
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"recbole_dtlns {__version__}"
html_static_path = ["_static"]
html_css_files = ["guide.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
