"""The group of commands: it lists what the commands say, helps everywhere, completes, and runs only what is asked."""

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module

import pytest

from chanest.algorithms import ALGORITHMS, INTERPOLATORS
from chanest.cli.app import COMMANDS
from chanest.evaluation import scoring


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_by_the_beginning_of_its_docstring(name):
    command = getattr(import_module(f"chanest.cli.{name}"), name)
    assert inspect.getdoc(command).startswith(COMMANDS[name].removesuffix("."))


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_the_help_lists_every_command(chanest, asked):
    ran = chanest(asked)
    assert (ran.code, ran.err) == (0, "")
    assert all(f"{name} " in ran.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_those_with_options_examples(chanest, name):
    ran = chanest(name, "-h")
    assert (ran.code, ran.err) == (0, "")
    assert name in ("models", "scenarios") or f"\n  chanest {name} " in ran.out
    assert "COMMAND" not in ran.out


def test_estimators_are_listed_where_one_is_asked_for(chanest):
    said = "".join(chanest("estimate", "--help").out.split())
    assert ",".join((*ALGORITHMS, *INTERPOLATORS)) in said
    said = "".join(chanest("train", "--help").out.split())
    assert ",".join(name for name, algorithm in ALGORITHMS.items() if algorithm.learned) in said


def test_only_runs_the_chosen_estimator_alone(chanest, monkeypatch, tmp_path):
    timed = []
    time = scoring.ErrorTally.time
    monkeypatch.setattr(scoring.ErrorTally, "time", lambda tally, *rest: timed.append(time(tally, *rest)))
    options = ("estimate", "--pilots", "75", "--snr", "10", "--samples", "20", "--algorithm", "linear")
    alone = json.loads(chanest(*options, "--only", "--json").out)
    assert len(timed) == 1
    assert list(alone["algorithms"]) == ["linear"]
    beside = json.loads(chanest(*options, "--json").out)
    assert beside["cfr_nmse_db"] == alone["cfr_nmse_db"]
    assert list(alone) == list(beside)
    table = chanest(*options, "--only").out
    assert "linear" in table
    assert "oracle" not in table


def test_the_shell_completes_commands_and_options():
    def completed(words, place):
        asked = {"_CHANEST_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
        code = "from chanest.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=False
        )
        return done.stdout.split()

    assert completed("chanest esti", 1) == ["estimate"]
    assert "--pilots" in completed("chanest estimate --pi", 2)


@pytest.mark.parametrize("width", [40, 80])
def test_tables_cut_nothing_on_narrow_terminals(monkeypatch, capsys, width):
    from rich.console import Console
    from rich.table import Column, Table

    from chanest.cli import terminal
    from chanest.cli.models import models
    from chanest.models import model_names

    monkeypatch.setattr(terminal, "console", lambda: Console(width=width, highlight=False, markup=False, emoji=False))
    models()
    terminal.show(Table("estimator", Column("what it says of itself, at length", justify="right"), title="a table"))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    assert "…" not in printed
    assert all(name in printed.split() for name in model_names())
