"""The docs hold: links lead somewhere, commands have the options shown, code runs, tutorials print what is shown."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from chanest.cli.app import COMMANDS, app

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"((?:^<!--.*?-->\n+)*)^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(chanest [^`]+)`|^\$? *(?:\.venv/bin/)?(chanest .+)$", re.MULTILINE)
EXTRAS = ("sionna", "tensorflow", "onnxruntime")
if not PAGES:
    pytest.skip("docs come with a checkout", allow_module_level=True)


def name_of(path):
    return str(path.relative_to(ROOT))


def tutorials():
    return [path.stem for path in sorted((ROOT / "examples").glob("*.py"))]


def code_of(page):
    return [code for note, code in BLOCK.findall(page.read_text()) if "not run:" not in note]


def commands_of(page):
    """Commands as a user would type them: no placeholders, no comments, continued lines joined."""
    text = re.sub(r"\\?\n {2,}(?=--|-)", " ", page.read_text())
    for inline, line in INLINE.findall(text):
        command = re.sub(r"\s+#.*", "", " ".join((inline or line).split()))
        words = (
            shlex.split(re.split(r" (?:\||>|&&|;) | {2,}", command)[0])
            if not re.search(r"[\[…]|\.\.\.", command)
            else []
        )
        if len(words) > 1 and words[1] in COMMANDS:
            yield words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    made = {"cli.md"}  # by the site
    dead = [
        link
        for link in links
        if not link.startswith(("http", "#", "mailto:"))
        and not (page.parent / link.partition("#")[0]).exists()
        and Path(link.partition("#")[0]).name not in made
    ]
    assert dead == []


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands_of(page))], ids=name_of)
def test_every_command_shown_has_its_options(page):
    group = typer.main.get_command(app)
    for words in commands_of(page):
        command = group.get_command(None, words[1])
        shown = {word.partition("=")[0] for word in words[2:] if word.startswith("--")}
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert shown - {"--help"} <= known, " ".join(words)


def test_the_readme_is_one_screen_and_a_bit():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_tutorial_has_a_page_that_is_listed():
    listed = (ROOT / "docs" / "tutorials" / "index.md").read_text()
    for name in tutorials():
        title = (ROOT / "examples" / f"{name}.py").read_text().partition("\n")[0].lstrip('"')
        assert title.startswith("# ")
        assert f"\n{title}\n" in (ROOT / "docs" / "tutorials" / f"{name}.md").read_text()
        assert f"\n{name}\n" in listed


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in PAGES if code_of(p) and p.parent.name != "tutorials" and p.name != "README.md"], ids=name_of
)
def test_the_code_of_a_page_runs(page, tmp_path):
    """Block after block in one program; a block marked ``<!-- not run: why -->`` is left out.

    The README's is run by test_packaging.py.
    """
    program = ""
    for code in code_of(page):
        for extra in EXTRAS:
            if f"import {extra}" in code.replace("from ", "import ") and importlib.util.find_spec(extra) is None:
                pytest.skip(f"needs {extra}")
        program += code + "\n"
    run(["-c", program], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", tutorials())
def test_a_tutorial_prints_what_its_page_shows(name, tmp_path):
    script = (ROOT / "examples" / f"{name}.py").read_text()
    for extra in EXTRAS:
        if re.search(rf"^(?:from|import) {extra}", script, re.MULTILINE) and importlib.util.find_spec(extra) is None:
            pytest.skip(f"needs {extra}")
    if "g++" in script and shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    run([str(ROOT / "tools" / "run_tutorials.py"), "--check", name], tmp_path)


def run(arguments, folder):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
