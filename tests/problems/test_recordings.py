"""Recorded channels, the delay profiles of every kind of scenario, and the spreads of the standard ones."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from chanest import PilotPattern, Scenario, load_scenario
from chanest.errors import FileError
from chanest.problems import seeded, shipped
from chanest.problems.ofdm.draw import frequency_response
from chanest.problems.ofdm.recordings import FORMAT, load_recording
from chanest.problems.random import BLOCK

PATTERN = PilotPattern.random(20, 0)


def recorded(n: int, paths: int = 3) -> dict[str, np.ndarray]:
    """Channels of unit power, each with a gain and a delay of its own."""
    rng = np.random.default_rng(0)
    gains = rng.normal(size=(n, paths)) + 1j * rng.normal(size=(n, paths))
    gains[::2, -1] = 0
    delays = np.sort(rng.uniform(0, 3e-6, (n, paths)), -1)
    delays -= delays[:, :1]
    return {"delays_s": delays, "gains": gains / np.linalg.norm(gains, axis=-1, keepdims=True)}


def write(path: Path, fields: dict[str, np.ndarray], format: str | None = FORMAT) -> Path:
    with h5py.File(path, "w") as file:
        if format is not None:
            file.attrs["format"] = format
        for name, values in fields.items():
            file[name] = values
    return path


def scenario_of(path: Path, n_taps: int = 64) -> Scenario:
    """As munich.toml, with another file."""
    return load_scenario("munich").replace(channel={"kind": "recorded", "file": str(path)}, n_taps=n_taps)


def spread(delays: torch.Tensor, powers: torch.Tensor) -> float:
    """The standard deviation of the delay."""
    mean = (powers * delays).sum()
    return float((powers * (delays - mean).square()).sum().sqrt())


class TestShipped:
    def test_unit_power_and_delays_from_zero(self):
        scenario, recording = load_scenario("munich"), load_recording("munich.h5")
        power = torch.cat(
            [
                frequency_response(
                    recording.delays_s[part] * scenario.sample_rate_hz, recording.gains[part], scenario.grid
                )
                .abs()
                .square()
                .mean(-1)
                for part in torch.arange(len(recording.gains)).split(1024)
            ]
        )
        torch.testing.assert_close(power, torch.ones_like(power), rtol=0, atol=1e-3)
        earliest = torch.where(recording.gains != 0, recording.delays_s, torch.inf).amin(-1)
        assert bool((earliest == 0).all())
        assert recording.delays_s.dtype == torch.float64
        assert recording.gains.dtype == torch.complex64

    def test_they_fit_the_window_of_their_scenario(self):
        scenario, recording = load_scenario("munich"), load_recording("munich.h5")
        longest = float(recording.delays_s[recording.gains != 0].max()) * scenario.sample_rate_hz
        assert longest < scenario.n_taps + scenario.first_tap_samples


class TestFiles:
    def test_what_was_written_is_read(self, tmp_path):
        fields = recorded(5)
        read = load_recording(str(write(tmp_path / "own.h5", fields)))
        np.testing.assert_array_equal(read.delays_s.numpy(), fields["delays_s"])
        np.testing.assert_array_equal(read.gains.numpy(), fields["gains"].astype(np.complex64))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"gains": recorded(4)["gains"]}, "gains: expected the shape of delays_s"),
            ({"gains": recorded(5)["gains"][:, 0]}, "gains: expected the shape of delays_s"),
            ({"gains": np.zeros((0, 3), complex), "delays_s": np.zeros((0, 3))}, "gains: expected the shape"),
            ({"gains": recorded(5)["gains"].real}, "gains: expected complex"),
            ({"gains": recorded(5)["gains"] * np.nan}, "gains: expected"),
            ({"gains": recorded(5)["gains"] * [[1], [1], [0], [1], [1]]}, "not zero in every channel"),
            ({"delays_s": recorded(5)["delays_s"] * np.nan}, "delays_s: expected finite"),
            ({"delays_s": -recorded(5)["delays_s"]}, "delays_s: expected finite numbers, not negative"),
            ({"delays_s": recorded(5)["delays_s"][0]}, "delays_s"),
            ({"delays_s": None}, "delays_s"),
            ({"gains": None}, "gains"),
        ],
    )
    def test_impossible_values_are_named(self, tmp_path, change, said):
        fields = {name: values for name, values in (recorded(5) | change).items() if values is not None}
        self.refused(write(tmp_path / "bad.h5", fields), said)

    @pytest.mark.parametrize("format", [None, "chanest-model"])
    def test_other_hdf5_files(self, tmp_path, format):
        self.refused(write(tmp_path / "other.h5", recorded(5), format), f"format: expected {FORMAT}, found {format}")

    def test_other_files(self, tmp_path):
        (tmp_path / "text.h5").write_text("delays_s,gains\n0,1\n")
        self.refused(tmp_path / "text.h5", "expected recorded channels in HDF5")
        self.refused(tmp_path / "missing.h5", "no such file")
        self.refused(tmp_path, "no such file")

    @staticmethod
    def refused(path: Path, said: str) -> None:
        with pytest.raises(FileError) as caught:
            load_recording(str(path))
        message = str(caught.value)
        assert said in message
        assert path.name in message
        assert "\n" not in message


class TestScenarioOfAFile:
    def test_the_file_lies_beside_the_toml(self, tmp_path, monkeypatch):
        folder, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
        folder.mkdir()
        elsewhere.mkdir()
        (folder / "data").mkdir()
        write(folder / "data" / "own.h5", recorded(40))
        text = (shipped("scenarios") / "munich.toml").read_text().replace('"munich.h5"', '"data/own.h5"')
        (folder / "own.toml").write_text(text)
        drawn = []
        for where, path in ((folder, "own.toml"), (tmp_path, "site/own.toml"), (elsewhere, folder / "own.toml")):
            monkeypatch.chdir(where)
            scenario = load_scenario(path)
            monkeypatch.chdir(elsewhere)
            drawn.append(scenario.draw(PATTERN, 8, seeded(0, "test")).observations)
        assert torch.equal(drawn[0], drawn[1])
        assert torch.equal(drawn[0], drawn[2])

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileError, match=r"nowhere\.h5: no such file"):
            scenario_of(tmp_path / "nowhere.h5").draw(PATTERN, 8, seeded(0, "test"))

    def test_a_seed_gives_the_same_channels(self):
        scenario = load_scenario("munich")
        first, again, other = (scenario.draw(PATTERN, 16, seeded(seed, "test")) for seed in (3, 3, 4))
        assert torch.equal(first.observations, again.observations)
        assert torch.equal(first.truth["cfr"], again.truth["cfr"])
        for name in ("delays", "gains"):
            assert torch.equal(first.paths[name], again.paths[name]), name
        assert not torch.equal(first.observations, other.observations)

    @pytest.mark.parametrize("n", [100, 600])
    def test_no_channel_twice_before_all_were_used(self, tmp_path, n):
        fields = recorded(n)
        scenario = scenario_of(write(tmp_path / "own.h5", fields))
        for block in scenario.simulate(PATTERN, 2 * BLOCK, seed=0):
            power = block.paths["gains"].abs()
            distance = (power.unsqueeze(1) - torch.from_numpy(np.abs(fields["gains"])).float()).abs().sum(-1)
            index = distance.argmin(-1)
            assert float(distance.gather(1, index.unsqueeze(1)).max()) < 1e-5  # but for a phase, a recorded channel
            counts = torch.bincount(index, minlength=n)
            assert int(counts.max()) == -(-BLOCK // n)
            assert int(counts.min()) == BLOCK // n

    def test_a_common_phase_is_random(self, tmp_path):
        fields = recorded(1)
        data = scenario_of(write(tmp_path / "own.h5", fields)).draw(PATTERN, 4000, seeded(0, "test"))
        turn = data.paths["gains"][:, :2] / torch.from_numpy(fields["gains"][:, :2]).to(torch.complex64)
        torch.testing.assert_close(turn.abs(), torch.ones(4000, 2), rtol=0, atol=1e-4)
        torch.testing.assert_close(turn[:, 0], turn[:, 1], rtol=0, atol=1e-4)
        for harmonic in (1, 2, 3):
            assert float((turn[:, 0] ** harmonic).mean().abs()) < 0.06


class TestDelayProfile:
    @pytest.mark.parametrize("name", ["lte10", "lte10-reference", "wide", "epa", "eva", "etu", "tdl-a", "munich"])
    def test_it_is_the_mean_of_what_is_drawn(self, name):
        """Cumulative power over the delay, within the chance of 8,192 channels and half an eighth of a sample."""
        scenario = load_scenario(name)
        delays, powers = scenario.delay_profile()
        assert float(powers.sum()) == pytest.approx(1)
        assert bool((powers >= 0).all())
        assert delays.dtype == powers.dtype == torch.float64
        data = scenario.draw(PATTERN, 8192, seeded(1, "test"))
        variances = data.paths["variances"].double() / len(data)
        if name == "munich":  # of unit power in the band, where the paths of a channel interfere
            variances = variances / variances.sum()
        assert float(variances.sum()) == pytest.approx(1, abs=0.02)
        for bound in (0.3, 1.2, 3.3, 6.2, 12.3, 25.3, 50.3, 100.3, 200.3):
            drawn = float(variances[data.paths["delays"] < bound].sum())
            assert float(powers[delays < bound].sum()) == pytest.approx(drawn, abs=0.02), bound

    def test_of_recorded_channels_it_is_their_mean(self, tmp_path):
        fields = {"delays_s": np.array([[0, 1.0], [0, 2.5]]) / 15.36e6, "gains": np.array([[0.8, 0.6j], [1, 0.5]])}
        delays, powers = scenario_of(write(tmp_path / "own.h5", fields)).delay_profile()
        torch.testing.assert_close(delays, torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64))
        expected = torch.tensor([1.64, 0.36, 0.25], dtype=torch.float64) / 2.25
        torch.testing.assert_close(powers, expected, rtol=1e-6, atol=0)

    @pytest.mark.parametrize(("name", "rms_ns"), [("tdl-a", 100), ("tdl-c300", 300)])
    def test_rms_delay_spread_of_the_tdl_profiles(self, name, rms_ns):
        scenario = load_scenario(name)
        delays, powers = scenario.delay_profile()
        assert spread(delays / scenario.sample_rate_hz * 1e9, powers) == pytest.approx(rms_ns, rel=0.05)
        linear = 10 ** (np.array(scenario.channel.powers_db) / 10)
        np.testing.assert_allclose(powers.numpy(), linear / linear.sum())
        np.testing.assert_allclose(delays.numpy(), np.array(scenario.channel.delays_ns) * 15.36e-3)
