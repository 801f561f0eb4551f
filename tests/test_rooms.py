"""Who may import whom (docs/design.md), and what importing chanest must not drag in."""

import ast
import subprocess
import sys
from pathlib import Path

import chanest

PACKAGE = Path(chanest.__file__).parent
ORDER = [
    "errors",
    "processes",
    "resources",
    "scenario",
    "pilots",
    "operators",
    "frontend",
    "recordings",
    "signals",
    "vectors",
    "shrinkage",
    "metrics",
    "kernels",
    "algorithms",
    "modelfile",
    "bands",
    "estimator",
    "captured",
    "picking",
    "trainingdata",
    "calibrating",
    "objective",
    "training",
    "arrayfile",
    "observations",
    "vectorfile",
    "evaluation",
    "vectorscores",
    "plots",
    "engines",
    "sweeps",
    "exports",
    "experiments",
    "link",
    "cli",
    "__main__",
]
ALGORITHMS_SEE = {"errors", "operators", "shrinkage", "kernels", "algorithms"}


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module imports relatively, at any depth of nesting."""
    depth = len(path.relative_to(PACKAGE).parts)
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            rooms |= {name.split(".")[0] for name in names}
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("chanest"):
            rooms.add(node.module.split(".")[1])
    return rooms - {"__version__"}


def test_imports_go_downward_only():
    seen = set()
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        seen.add(room)
        for other in imported_rooms(path) - {room}:
            assert ORDER.index(other) < ORDER.index(room), f"{path}: {room} imports {other}"
            if room == "algorithms":
                assert other in ALGORITHMS_SEE, f"{path}: algorithms imports {other}"
    assert seen == set(ORDER)


def test_importing_chanest_stays_light():
    heavy = ("matplotlib", "sionna", "tensorflow", "scipy.optimize", "dask", "distributed", "numba")
    code = f"import sys, chanest; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_file_grows_past_one_reading():
    long = {str(p): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 320}
    assert not long
