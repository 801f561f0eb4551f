"""``chanest examples``."""

import ast
from pathlib import Path
from typing import Annotated

import typer

from ..errors import FileError
from ..files import refuse_existing, replacing
from ..problems import shipped
from .options import ForceOption


def examples(
    name: Annotated[str, typer.Argument(help="The one to write; all are listed when none is named.")] = "",
    force: ForceOption = False,
) -> None:
    """Write a tutorial's script where you are, or list them.

    \b
    chanest examples
    chanest examples your-capture
    """
    scripts = {path.stem: path for path in sorted(shipped("examples").glob("*.py"))}
    if not name:
        for stem, script in scripts.items():
            print(f"{stem:<16} {_title(script)}")
        return
    if name not in scripts:
        raise FileError(f"no such example; expected one of {', '.join(scripts)}", path=name)
    output = Path(f"{name}.py")
    refuse_existing(output, force)
    with replacing(output) as partial:
        partial.write_text(scripts[name].read_text(encoding="utf-8"), encoding="utf-8")
    print(f"wrote {output}; its text, output and pictures: docs/tutorials/{name}.md")


def _title(script: Path) -> str:
    said = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return said.partition("\n")[0].lstrip("# ")
