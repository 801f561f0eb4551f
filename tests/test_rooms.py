"""Who may import whom (docs/design.md), no circles, and what importing chanest must not drag in."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import chanest

PACKAGE = Path(chanest.__file__).parent
ORDER = [
    "errors",
    "lazy",
    "parsers",
    "kernels",
    "operators",
    "problems",
    "files",
    "algorithms",
    "models",
    "evaluation",
    "training",
    "integrations",
    "reproduction",
    "cli",
    "__main__",
]
ALGORITHMS_SEE = {"errors", "operators", "kernels", "algorithms"}


def module_of(path: Path) -> tuple[str, ...]:
    """The parts of a module's name below chanest; of a package those of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(name: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The modules of chanest that a module imports, wherever it does, under TYPE_CHECKING too."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            source = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
        elif (node.module or "").split(".")[0] == "chanest":
            source = tuple((node.module or "").split(".")[1:])
        else:
            continue
        source = tuple(part for part in source if part)
        for alias in node.names:
            found.add((*source, alias.name) if (*source, alias.name) in MODULES else source)
    return found - {name}


def test_imports_go_downward_only():
    for name in MODULES:
        if not name:
            continue
        for other in imports(name):
            if other and other[0] != name[0]:
                assert ORDER.index(other[0]) < ORDER.index(name[0]), f"{'.'.join(name)} imports {'.'.join(other)}"
                assert name[0] != "algorithms" or other[0] in ALGORITHMS_SEE, f"{'.'.join(name)}: {'.'.join(other)}"
    assert {name[0] for name in MODULES if name} == set(ORDER)


def test_no_module_imports_itself_by_way_of_others():
    """Inside rooms too. ``from .. import x`` of a package counts as an import of x where x is a module."""
    try:
        TopologicalSorter({name: imports(name) for name in MODULES}).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(".".join(name) or "chanest" for name in circle.args[1]))


def test_the_setting_is_chosen_in_problems_alone():
    """Nowhere else is there a class of a setting to ask for by isinstance, type or match, nor a field that names it."""
    classes = {"Scenario", "GaussianScenario", "Problem"}
    for name, path in MODULES.items():
        if name[:1] == ("problems",):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            asked: list[ast.AST] = []
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass", "type"):
                asked = node.args[1:]
            elif isinstance(node, ast.match_case | ast.Compare):
                asked = [node.pattern] if isinstance(node, ast.match_case) else [node.left, *node.comparators]
            for part in (inner for one in asked for inner in ast.walk(one)):
                said = f"{path}:{getattr(part, 'lineno', '')}"
                assert getattr(part, "id", getattr(part, "attr", "")) not in {*classes, "setting"}, said


def test_rooms_import_few_rooms():
    """38 rooms of version 0.1.0 had 203 arrows between them."""
    arrows = {(name[0], other[0]) for name in MODULES if name for other in imports(name) if other}
    arrows = {(room, other) for room, other in arrows if room != other}
    assert len(arrows) <= 101


def test_the_top_of_the_package_is_its_rooms():
    entries = {path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "shipped")}
    assert len(entries) <= 17
    assert entries == {
        *("__init__.py", "__main__.py", "errors.py", "lazy.py", "py.typed"),
        *(set(ORDER) - {"errors", "lazy", "__main__"}),
    }


HEAVY = ("torch", "matplotlib", "sionna", "tensorflow", "scipy.optimize", "dask", "distributed", "numba")


def heavy_after(code):
    """Which heavy packages a fresh interpreter has imported after some code."""
    said = f"{code}\nimport sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "code",
    [
        "import chanest; chanest.load_scenario('munich'), chanest.Grid.lte(10), chanest.PilotPattern.random(75, 0)",
        *(
            f"from chanest.cli.app import app; app({arguments.split()}, standalone_mode=False)"
            for arguments in ("--help", "scenarios", "scenarios --schema", "models", "info munich", "info na-sbl-wide")
        ),
    ],
)
def test_what_computes_nothing_imports_no_torch(code):
    assert heavy_after(code) == "[]"


def test_what_computes_imports_torch_and_no_more():
    code = "import chanest; chanest.load_scenario('lte10').draw(chanest.PilotPattern.random(75, 0), 1, 0)"
    assert heavy_after(code) == "['torch']"
    assert heavy_after("from chanest import *") == "['torch']"
