"""Run the tutorials, examples/NAME.py, and write their pages, docs/tutorials/NAME.md: text, code, output, pictures.

    python tools/run_tutorials.py [NAME ...]           run and write; all of them when none is named
    python tools/run_tutorials.py --check [NAME ...]   run, and compare the output with that of the pages

A tutorial is a script in cells: what follows ``# %%`` is code, what follows ``# %% [markdown]`` text. A page shows what
each cell printed and the pictures that it saved.
"""

import argparse
import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "tutorials"
PICTURES = (".svg", ".png")
_NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]\d+)?")
RELATIVE, ABSOLUTE = 0.1, 0.3  # by how much numbers may differ from machine to machine
_LIMIT_S = 120  # of one core


@dataclass
class Cell:
    """A piece of a tutorial, and what came of it when it ran."""

    text: str
    is_code: bool
    line: int = 1
    printed: str = ""
    pictures: list[str] = field(default_factory=list)


def tutorials() -> list[str]:
    """The names of all, in the order of the page that lists them."""
    return re.findall(r"^([\w-]+)$", (PAGES / "index.md").read_text().split("{toctree}")[1], re.MULTILINE)


def cells(script: Path) -> list[Cell]:
    """The cells of a script; the first is its docstring."""
    found: list[Cell] = []
    for line_number, line in enumerate(script.read_text().splitlines(), 1):
        if line.startswith("# %%"):
            found.append(Cell("", "[markdown]" not in line, line_number + 1))
        elif found:
            found[-1].text += line + "\n"
        elif line.strip('"'):
            found = [Cell(line.strip('"') + "\n", False)]
    for cell in found:
        if cell is found[0]:  # the docstring, whose opening quotes are gone
            cell.text = cell.text.strip().strip('"')
        elif not cell.is_code:
            cell.text = re.sub(r"^# ?", "", cell.text, flags=re.MULTILINE)
        cell.text = cell.text.strip()
    return [cell for cell in found if cell.text]


def run(script: Path, folder: Path) -> list[Cell]:
    """Run a script cell by cell in an empty folder, where its files and pictures stay."""
    found, names = cells(script), {"__name__": "__main__", "__file__": str(script)}
    matplotlib.use("agg")
    with contextlib.chdir(folder), matplotlib.rc_context():
        for cell in found:
            if not cell.is_code:
                continue
            there = set(os.listdir())
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile("\n" * (cell.line - 1) + cell.text, script, "exec"), names)
            cell.printed = printed.getvalue().rstrip()
            cell.pictures = sorted(name for name in set(os.listdir()) - there if name.endswith(PICTURES))
    return found


def page(script: Path, done: Sequence[Cell]) -> str:
    """The page of a tutorial that has run."""
    parts = []
    for cell in done:
        if not cell.is_code:
            parts.append(cell.text)
            continue
        parts.append(f"```python\n{cell.text}\n```")
        if cell.printed:
            parts.append(f"prints\n\n```text\n{cell.printed}\n```")
        parts += [f"![{Path(name).stem.replace('-', ' ')}]({script.stem}/{name})" for name in cell.pictures]
    where = f"`chanest examples {script.stem}` writes this script, [{script.name}](../../examples/{script.name})."
    note = f"<!-- made by tools/run_tutorials.py {script.stem}: change examples/{script.name} instead -->"
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{note}\n\n{title}\n\n*{where}*\n{rest}\n"


def differences(now: str, then: str) -> list[str]:
    """Where two pages differ: in words at all, in numbers by more than machines do."""
    found = []
    lines, others = now.splitlines(), then.splitlines()
    if len(lines) != len(others):
        found.append(f"{len(lines)} lines, the page has {len(others)}")
    for ours, theirs in zip(lines, others, strict=False):
        numbers = [[float(n.replace("−", "-")) for n in _NUMBER.findall(line)] for line in (ours, theirs)]
        near = len(numbers[0]) == len(numbers[1]) and all(
            abs(a - b) <= max(ABSOLUTE, RELATIVE * abs(b)) for a, b in zip(*numbers, strict=True)
        )
        if not near or re.sub(r"\s+", " ", _NUMBER.sub("0", ours)) != re.sub(r"\s+", " ", _NUMBER.sub("0", theirs)):
            found.append(f"now {ours!r}, on the page {theirs!r}")
    return found


def _cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    times = os.times()
    return sum(times[:4])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    told = parser.parse_args(arguments)
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")  # no dates in pictures
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # its chanest
    for name in told.names or tutorials():
        script, start = ROOT / "examples" / f"{name}.py", _cpu_seconds()
        with tempfile.TemporaryDirectory() as folder:
            done = run(script, Path(folder))
            text, seconds = page(script, done), _cpu_seconds() - start
            if told.check:
                wrong = differences(text, (PAGES / f"{name}.md").read_text())
                if wrong:
                    said = f"{name}: not what its page shows; run this without --check"
                    raise SystemExit("\n".join([said, *wrong[:20]]))
            else:
                (PAGES / f"{name}.md").write_text(text)
                shutil.rmtree(PAGES / name, ignore_errors=True)
                for picture in [picture for cell in done for picture in cell.pictures]:
                    (PAGES / name).mkdir(exist_ok=True)
                    shutil.copy(Path(folder, picture), PAGES / name / picture)
        print(f"{name}: {seconds:.0f} s", file=sys.stderr)
        if seconds > _LIMIT_S:
            raise SystemExit(f"{name}: expected {_LIMIT_S} s at most")


if __name__ == "__main__":
    main()
