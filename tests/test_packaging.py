"""The README's commands are what CI runs, and the wheel works from any directory."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_ci_runs_the_two_commands_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE)
    assert len(commands) == 2
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert all(command in ci for command in commands)


def test_the_python_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
    assert "dB" in capsys.readouterr().out


def test_types_are_promised_and_delivered():
    assert "Typing :: Typed" in (ROOT / "pyproject.toml").read_text()
    assert (ROOT / "chanest" / "py.typed").is_file()


@pytest.mark.slow
def test_the_wheel_holds_scenarios_and_models_and_works_from_any_directory(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT], check=True, timeout=300
    )
    (wheel,) = tmp_path.glob("chanest-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "chanest/py.typed" in names
    for kind, suffix in (("scenarios", "toml"), ("models", "h5"), ("examples", "py")):
        there = {Path(name).name for name in names if name.startswith(f"chanest/shipped/{kind}/")}
        assert {path.name for path in (ROOT / kind).glob(f"*.{suffix}")} <= there
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "import sys; sys.argv[1:] = ['estimate', '--samples', '64', '--json']; from chanest.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(done.stdout)["model"] == "na-alista-lte10-m75"
