"""``chanest info`` says what a person wants to know of a model; ``chanest examples`` hands out the tutorials."""

import ast
from pathlib import Path

import pytest

from chanest import model_names


@pytest.mark.parametrize("name", model_names())
def test_a_model_in_a_dozen_lines_and_its_tensors_when_asked_for(chanest, name):
    said, all_said = (chanest("info", name, *more).out for more in ((), ("--tensors",)))
    assert len(said.splitlines()) <= 12
    for what in ("trained on", "SNR", "NMSE -", f'load_model("{name}")', f"--model {name}", "--tensors"):
        assert what in said
    assert "parameters/" not in said
    assert "parameters/" in all_said
    assert said.splitlines()[:-1] == all_said.splitlines()[: len(said.splitlines()) - 1]


def test_na_sbl_wide_says_for_how_many_pilots(chanest):
    assert "any receiver, 16–128 pilots, SNR -5 to 35 dB" in chanest("info", "na-sbl-wide").out


def test_examples_are_listed_and_written_once(chanest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = chanest("examples")
    assert listed.code == 0
    names = [line.split()[0] for line in listed.out.splitlines()]
    assert "your-capture" in names
    for name in names:
        assert chanest("examples", name).code == 0
        ast.parse(Path(f"{name}.py").read_text())
    again = chanest("examples", names[0])
    assert again.code == 2
    assert "--force" in again.err
    assert chanest("examples", names[0], "--force").code == 0
    unknown = chanest("examples", "nothing")
    assert unknown.code == 2
    assert "your-capture" in unknown.err
