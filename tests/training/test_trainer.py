"""Training: deterministic, resumable to the bit, stopped by NaN."""

import dataclasses

import h5py
import pytest
import torch

from chanest import Scenario, load_scenario
from chanest.algorithms import ALISTA, ISTA, NAALISTA
from chanest.errors import FileError, TrainingError
from chanest.models import read_model
from chanest.training import TrainingSettings, checkpoint_path, train

LTE10 = load_scenario("lte10").replace(n_pilots=40)
SETTINGS = TrainingSettings(steps=12, batch_size=16, checkpoint_every=4, calibration_batches=2)


class Killed(Exception):
    pass


def small() -> NAALISTA:
    return NAALISTA(n_iterations=3, lstm_hidden=4, lstm_inputs="u")


def killed_at(step):
    def progress(done, nmse, rate):
        if done == step:
            raise Killed

    return progress


def parameters(path):
    algorithm, _, _ = read_model(path)
    return algorithm.state_dict()


@pytest.mark.parametrize("make", [small, lambda: ALISTA(n_iterations=3)])
def test_a_killed_training_resumes_to_the_same_bits(tmp_path, make):
    whole, cut = tmp_path / "whole.h5", tmp_path / "cut.h5"
    train(make(), LTE10, SETTINGS, whole)
    with pytest.raises(Killed):
        train(make(), LTE10, SETTINGS, cut, progress=killed_at(10))
    assert checkpoint_path(cut).exists()
    assert not cut.exists()
    train(make(), LTE10, SETTINGS, cut, resume=True)
    assert not checkpoint_path(cut).exists()
    for name, tensor in parameters(whole).items():
        assert torch.equal(tensor, parameters(cut)[name]), name
    with h5py.File(whole) as a, h5py.File(cut) as b:
        assert (a["training/nmse_db"][()] == b["training/nmse_db"][()]).all()
        assert a["training"].attrs["validation_nmse_db"] == b["training"].attrs["validation_nmse_db"]


def test_the_seed_decides_everything(tmp_path):
    first, again, other = (tmp_path / f"{name}.h5" for name in ("first", "again", "other"))
    train(small(), LTE10, SETTINGS, first)
    torch.rand(7)  # the global generator must not matter
    train(small(), LTE10, SETTINGS, again)
    train(small(), LTE10, TrainingSettings(steps=12, batch_size=16, seed=1, calibration_batches=2), other)
    assert all(torch.equal(t, parameters(again)[name]) for name, t in parameters(first).items())
    assert not all(torch.equal(t, parameters(other)[name]) for name, t in parameters(first).items())


def test_training_improves(tmp_path):
    nmse = []
    settings = TrainingSettings(steps=80, batch_size=64, learning_rate=1e-2, calibration_batches=2)
    train(small(), LTE10, settings, tmp_path / "m.h5", progress=lambda step, value, rate: nmse.append(value))
    assert sum(nmse[-10:]) / 10 < sum(nmse[:10]) / 10 - 1


@pytest.mark.parametrize("name", ["wide", "etu", "lte10-reference"])
def test_every_kind_of_scenario_trains(tmp_path, name):
    settings = TrainingSettings(steps=60, batch_size=64, learning_rate=1e-2, calibration_batches=2)
    model = train(small(), load_scenario(name), settings, tmp_path / "m.h5")
    assert model.training["validation_nmse_db"] < -2  # the zero channel scores 0


def test_validation_is_on_the_fixed_pattern_and_at_the_trained_snr(tmp_path, monkeypatch):
    seen = []

    def spy(scenario, pattern, n, generator, snr_db=None, draw=Scenario.draw):
        seen.append((pattern, snr_db))
        return draw(scenario, pattern, n, generator, snr_db)

    monkeypatch.setattr(Scenario, "draw", spy)
    scenario = LTE10.replace(training={"snr_db": (20, 20), "fixed_pattern": True})
    train(small(), scenario, TrainingSettings(steps=1, batch_size=16, calibration_batches=1), tmp_path / "m.h5")
    assert len({pattern for pattern, _ in seen}) == 1
    assert [snr for _, snr in seen[3:]] == [20] * 4


@pytest.mark.parametrize("step", [2, 6])  # before and after the first regular checkpoint
def test_nan_stops_with_the_last_good_weights_kept(tmp_path, step):
    algorithm = small()

    def poison(done, nmse, rate):
        if done == step:
            algorithm.head.bias.data.fill_(torch.nan)

    with pytest.raises(TrainingError, match=rf"step {step + 1}.*not finite.*m\.h5\.checkpoint"):
        train(algorithm, LTE10, SETTINGS, tmp_path / "m.h5", progress=poison)
    assert all(bool(t.isfinite().all()) for t in parameters(checkpoint_path(tmp_path / "m.h5")).values())


def test_resuming_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(FileError, match="no checkpoint"):
        train(small(), LTE10, SETTINGS, tmp_path / "m.h5", resume=True)
    with pytest.raises(Killed):
        train(small(), LTE10, SETTINGS, tmp_path / "m.h5", progress=killed_at(5))
    other = TrainingSettings(steps=13, batch_size=16, calibration_batches=2)
    with pytest.raises(TrainingError, match="other settings"):
        train(small(), LTE10, other, tmp_path / "m.h5", resume=True)
    with pytest.raises(TrainingError, match="other settings"):
        train(ALISTA(3), LTE10, SETTINGS, tmp_path / "m.h5", resume=True)


def test_impossible_settings():
    with pytest.raises(TrainingError, match="steps"):
        TrainingSettings(steps=0)
    with pytest.raises(TrainingError, match="multiple of snr_groups"):
        TrainingSettings(batch_size=10)
    with pytest.raises(TrainingError, match="nothing to learn"):
        train(ISTA(), LTE10, SETTINGS, None)


def test_patterns_follow_the_training_range():
    wide = load_scenario("wide")
    patterns = [wide.training_sensing(0, step) for step in range(-1, 299)]
    counts = [len(p) for p in patterns]
    assert min(counts) >= 24
    assert max(counts) <= 200
    combs = [p for p in patterns if len({b - a for a, b in zip(p.subcarriers, p.subcarriers[1:], strict=False)}) <= 2]
    assert 0.2 < len(combs) / 300 < 0.4
    assert len({LTE10.training_sensing(0, step) for step in range(-1, 9)}) == 10
    reference = load_scenario("lte10-reference")
    assert len({reference.training_sensing(0, step) for step in range(-1, 9)}) == 1


def test_calibration_is_told_counted_and_resumed(tmp_path, monkeypatch):
    """It counts in the seconds; where it is interrupted, only it is left to do."""
    settings = TrainingSettings(steps=3, batch_size=16, snr_groups=2, calibration_batches=12)
    scenario, output = load_scenario("lte10"), tmp_path / "m.h5"
    done: list[tuple[int, int]] = []

    def interrupt(so_far: int, work: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(ALISTA(4), scenario, settings, output, calibrating=interrupt)
    assert not output.exists()
    steps: list[int] = []
    resumed = train(
        ALISTA(4),
        scenario,
        settings,
        output,
        resume=True,
        progress=lambda step, nmse, rate: steps.append(step),
        calibrating=lambda so_far, work: done.append((so_far, work)),
    )
    assert steps == []
    assert [so_far for so_far, _ in done] == sorted(so_far for so_far, _ in done)
    assert len(done) >= 8
    assert done[-1] == (done[0][1], done[0][1])
    whole = train(ALISTA(4), scenario, settings, tmp_path / "whole.h5")
    assert torch.equal(resumed.algorithm.calibration.linear.weight, whole.algorithm.calibration.linear.weight)
    trained = train(ALISTA(4), scenario, dataclasses.replace(settings, calibration_batches=0), tmp_path / "no.h5")
    assert whole.training["wall_seconds"] > trained.training["wall_seconds"]
