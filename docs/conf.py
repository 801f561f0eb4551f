"""The site: built, checked and served by ``python tools/build_site.py --serve``."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import chanest
from chanest.cli.app import COMMANDS, app

DOCS = Path(__file__).parent
# Rooms that users call, with what they hold; the public door has pages of its own (reference/api.md).
ROOMS = {
    "problems": "Scenarios, grids, pilots and channels",
    "operators": "Linear operators",
    "algorithms": "Algorithms and interpolators",
    "models": "Models",
    "files": "Files",
    "evaluation": "Measuring",
    "evaluation.plots": "Pictures",
    "training": "Training",
    "errors": "Errors",
    "integrations.sionna": "Sionna 2",
    "integrations.tensorflow": "TensorFlow",
    "integrations.export": "Exports",
    "reproduction": "The paper",
}

project = "chanest"
author = "The chanest developers"
copyright = "The chanest developers, Apache-2.0"
version = release = chanest.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["site", "_build"]
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Input", "params_style"), ("Output", "params_style")]
add_module_names = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "chanest"
html_domain_indices = False
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}


def _escaped(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with roles: ``(*batch, n)``, ``|x|^2`` and ``x_`` are no markup there."""
    for index, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = re.split(r"(``.*?``|:[\w:]+:`[^`]*`|`[^`]*`_?)", line)
        parts[::2] = [re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
        lines[index] = re.sub(r"(?<=: )([A-Z])\.$", r"\1\\.", "".join(parts))  # no list that begins at K.


def _written(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _rooms() -> None:
    """A page per room: what its ``__all__`` has beside the names of the public door."""
    for room, title in ROOMS.items():
        module = import_module(f"chanest.{room}")
        names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
        own = {name: getattr(module, name) for name in names if not hasattr(chanest, name)}
        of_room = [
            (inspect.isclass(obj), name)
            for name, obj in own.items()
            if (inspect.isclass(obj) or inspect.isfunction(obj)) and obj.__module__.startswith(module.__name__)
        ]
        text = f"# {title}\n\n```{{eval-rst}}\n.. automodule:: {module.__name__}\n   :no-members:\n\n"
        for is_class, name in sorted(of_room, key=lambda pair: (not pair[0], pair[1].lower())):
            directive = "autoclass" if is_class else "autofunction"
            members = "\n   :members:\n   :show-inheritance:" if is_class else ""
            text += f".. {directive}:: {module.__name__}.{name}{members}\n\n"
        _written(DOCS / "reference" / "rooms" / f"{room}.md", text + "```\n")


def _commands() -> None:
    """What ``-h`` prints, of every command."""
    import typer

    group: Any = typer.main.get_command(app)
    text = "# Command line\n\nWhat `chanest COMMAND -h` prints.\n"
    for name in COMMANDS:
        command = group.get_command(None, name)
        with command.make_context(f"chanest {name}", [], resilient_parsing=True) as context:
            text += f"\n## chanest {name}\n\n```text\n{command.get_help(context)}\n```\n"
    _written(DOCS / "reference" / "cli.md", text)


def _outward(app: Any, docname: str, source: list[str]) -> None:
    """Pages link to files at the repository's top, which have pages of their own here."""
    for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY"):
        source[0] = source[0].replace(f"](../{name}.md", f"](/develop/{name.lower()}.md")


def _made(app: Any) -> None:
    _rooms()
    _commands()


def setup(app: Any) -> None:
    app.connect("builder-inited", _made)
    app.connect("autodoc-process-docstring", _escaped, priority=100)
    app.connect("source-read", _outward)
