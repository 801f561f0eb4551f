"""SparseChannelEstimator, pilot patterns and SparseCIR beside Sionna's own blocks."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("sionna.phy", reason="needs chanest[sionna]")

from sionna.phy import config
from sionna.phy.channel import (
    ApplyOFDMChannel,
    ChannelModel,
    GenerateOFDMChannel,
    OFDMChannel,
    TimeChannel,
    gen_single_sector_topology,
)
from sionna.phy.channel.tr38901 import CDL, TDL, Antenna, AntennaArray, PanelArray, UMi
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.nr import PUSCHConfig, PUSCHLSChannelEstimator, PUSCHReceiver, PUSCHTransmitter
from sionna.phy.ofdm import (
    LMMSEEqualizer,
    LSChannelEstimator,
    OFDMDemodulator,
    OFDMModulator,
    RemoveNulledSubcarriers,
    ResourceGrid,
    ResourceGridMapper,
)
from sionna.phy.ofdm import PilotPattern as SionnaPilotPattern

from chanest import PilotPattern, load_model, load_scenario, nmse_db
from chanest.errors import AlgorithmError, ModelError, ObservationError, PilotError, ScenarioError
from chanest.integrations.sionna import (
    SparseChannelEstimator,
    SparseCIR,
    pilot_patterns,
    random_pilot_pattern,
)
from chanest.models import pick_model
from chanest.problems import jakes, seeded

LTE = {"num_guard_carriers": (212, 211), "dc_null": True, "cyclic_prefix_length": 256}


@pytest.fixture(autouse=True)
def _seeded():
    config.seed = 1  # of Sionna's noise, bits and TDL


def lte_grid(n_symbols: int = 1, pilot_symbols: tuple[int, ...] = (0,), n_pilots: int = 75, **others) -> ResourceGrid:
    """LTE 10 MHz with random pilots."""
    grid = ResourceGrid(n_symbols, 1024, 15e3, **LTE, **others)
    grid.pilot_pattern = random_pilot_pattern(n_pilots, grid, pilot_symbols, seed=3)
    return grid


def complex_normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def sent_over(grid: ResourceGrid, model: ChannelModel, no: float | None, batch: int) -> tuple[torch.Tensor, ...]:
    """Received grid and the channel on the effective subcarriers; every transmitter sends random symbols."""
    data = complex_normal(batch, grid.num_tx, grid.num_streams_per_tx, grid.num_data_symbols)
    y, h = OFDMChannel(model, grid, return_channel=True)(ResourceGridMapper(grid)(data), no)
    return y, RemoveNulledSubcarriers(grid)(h)


def close(found: torch.Tensor, expected: torch.Tensor, relative: float) -> None:
    assert float((found - expected).norm() / expected.norm()) < relative


@st.composite
def grids(draw_from) -> ResourceGrid:
    """Grids of any size, guards, DC, streams, with Kronecker pilots or random ones."""
    fft_size = draw_from(st.sampled_from([75, 76, 128, 129]))
    dc_null = draw_from(st.booleans())
    num_tx, num_streams = draw_from(st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2)]))
    left = draw_from(st.integers(0, 9))
    spare = (fft_size - left - dc_null) % 4  # a Kronecker pattern needs a multiple of the streams
    n_symbols = draw_from(st.integers(1, 5))
    symbols = sorted(draw_from(st.sets(st.integers(0, n_symbols - 1), min_size=1, max_size=3)))
    streams = {"num_tx": num_tx, "num_streams_per_tx": num_streams}
    kronecker = {"pilot_pattern": "kronecker", "pilot_ofdm_symbol_indices": symbols}
    grid = ResourceGrid(
        n_symbols, fft_size, 15e3, num_guard_carriers=(left, spare), dc_null=dc_null, **streams, **kronecker
    )
    if draw_from(st.booleans()):
        grid.pilot_pattern = random_pilot_pattern(draw_from(st.integers(2, 15)), grid, symbols, seed=left)
    return grid


class TestAsADropIn:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(grid=grids(), rx=st.integers(1, 2), antennas=st.integers(1, 3), leading=st.integers(0, 3))
    def test_with_linear_interpolation_it_is_sionnas_own_between_the_pilots(self, grid, rx, antennas, leading):
        y = complex_normal(2, rx, antennas, grid.num_ofdm_symbols, grid.fft_size)
        no = 0.1 + torch.rand((2, rx, antennas)[:leading], generator=torch.Generator().manual_seed(0))
        h_hat, err_var = SparseChannelEstimator(grid, algorithm="linear")(y, no)
        expected, expected_variance = LSChannelEstimator(grid, "lin")(y, no)
        assert h_hat.shape == expected.shape
        assert h_hat.dtype == expected.dtype
        assert err_var.shape == expected_variance.shape
        assert err_var.dtype == expected_variance.dtype
        assert bool((err_var > 0).all())
        band = (grid.effective_subcarrier_ind - grid.dc_ind).tolist()
        for pilots in pilot_patterns(grid):
            inside = slice(band.index(pilots.pattern.subcarriers[0]), band.index(pilots.pattern.subcarriers[-1]) + 1)
            if grid.dc_null and band[inside.start] < 0 < band[inside.stop - 1]:
                continue  # Sionna's interpolation does not know that a subcarrier is missing
            at = (..., pilots.tx, pilots.stream, pilots.ofdm_symbol, inside)
            torch.testing.assert_close(h_hat[at], expected[at], rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("name", ["na-alista-lte10-m75", "na-sbl-lte10-m75"])
    @pytest.mark.parametrize("precision", ["single", "double"])
    def test_it_is_model_estimate_on_the_same_pilots(self, name, precision):
        grid = lte_grid(precision=precision)
        estimator = SparseChannelEstimator(grid, name, precision=precision)
        data = load_scenario("lte10").draw(PilotPattern.random(75, 3), 4, seeded(0, "test"))
        (pilots,) = pilot_patterns(grid)
        assert pilots.pattern.subcarriers == PilotPattern.random(75, 3).subcarriers
        sent = grid.pilot_pattern.pilots[0, 0]
        bins = torch.zeros(4, 1024, dtype=sent.dtype)  # as the receiver's FFT gives them
        bins[:, torch.from_numpy(pilots.pattern.bins)] = data.observations.to(sent.dtype) * sent
        assert np.any(np.diff(pilots.pattern.bins) < 0)
        y = torch.fft.fftshift(bins, dim=-1).reshape(2, 1, 2, 1, 1024)
        h_hat, err_var = estimator(y, data.noise_variance.reshape(2, 1, 2))
        expected = load_model(name).estimate(
            data.observations.to(sent.dtype), PilotPattern.random(75, 3), data.noise_variance, error_variance=True
        )
        assert h_hat.dtype == sent.dtype
        tolerance = 1e-9 if precision == "double" else 1e-3
        close(h_hat.reshape(4, 600), expected.cfr, tolerance)
        close(err_var.reshape(4, 600), expected.error_variance, tolerance)

    @pytest.mark.parametrize(
        ("fft_size", "guards", "dc_null", "n_fft"),
        [
            (624, (0, 0), False, 1024),
            (401, (3, 50), False, 1024),
            (512, (100, 7), True, 1024),
            (1024, (0, 0), False, 2048),
            (2048, (424, 423), True, 2048),
            (2048, (0, 40), False, 4096),
        ],
    )
    def test_paths_are_found_on_any_band_and_at_dc(self, fft_size, guards, dc_null, n_fft):
        grid = ResourceGrid(1, fft_size, 15e3, num_guard_carriers=guards, dc_null=dc_null)
        grid.pilot_pattern = random_pilot_pattern(90, grid)
        estimator = SparseChannelEstimator(grid, algorithm="omp")
        assert estimator.model.ofdm.n_fft == n_fft
        delays, gains = torch.tensor([0.0, 13.0, 140.0, 250.0]) / 1024, complex_normal(3, 4)
        k = torch.from_numpy(grid.effective_subcarrier_ind - grid.dc_ind)
        h = gains @ torch.exp(-2j * torch.pi * delays[:, None] * k)
        x = ResourceGridMapper(grid)(complex_normal(3, 1, 1, grid.num_data_symbols))
        y = torch.zeros_like(x)
        y[..., grid.effective_subcarrier_ind] = x[..., grid.effective_subcarrier_ind] * h[:, None, None, None]
        h_hat, _ = estimator(y, 1e-6)
        assert nmse_db(h_hat.squeeze(), h) < -45
        assert (0 in k) != dc_null

    @pytest.mark.parametrize("n_streams", [2, 4])
    def test_orthogonal_streams_do_not_see_each_other(self, n_streams):
        """Kronecker pilots are normalised over their zeros, so that each is louder than one."""
        grid = ResourceGrid(
            4, 624, 30e3, num_streams_per_tx=n_streams, pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[1, 3]
        )
        estimator = SparseChannelEstimator(grid)
        assert [slot.streams for slot in estimator._slots] == [(i,) for i in range(n_streams)]
        x = ResourceGridMapper(grid)(complex_normal(2, 1, n_streams, grid.num_data_symbols))[:, 0]
        channel = OFDMChannel(SparseCIR("eva", num_tx_ant=n_streams), grid, return_channel=True)
        y, h = channel(x.unsqueeze(1))
        h_hat, err_var = estimator(y, 1e-4)
        assert nmse_db(h_hat, h) < -25
        only = (h[:, :, :, 0, :1] * x[:, None, None, :1]).sum(3)  # the first stream alone
        alone, variance = estimator(only, 1e-4)
        close(alone[..., 0, :, :], h_hat[..., 0, :, :], 1e-3)
        close(variance[..., 0, :, :], err_var[..., 0, :, :], 1e-2)

    def test_noise_is_taken_antenna_by_antenna(self):
        grid = lte_grid(2, (1,))
        estimator = SparseChannelEstimator(grid, "na-sbl-lte10-m75")
        y, _ = sent_over(grid, SparseCIR("lte10", num_rx=2, num_rx_ant=2), 0.1, 3)
        no = torch.tensor([0.01, 0.1, 1.0]).reshape(3, 1, 1) * torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        h_hat, err_var = estimator(y, no)
        for i, j, k in np.ndindex(3, 2, 2):
            alone = estimator(y[i : i + 1, j : j + 1, k : k + 1], no[i, j, k])
            close(h_hat[i, j, k], alone[0][0, 0, 0], 1e-3)
            close(err_var[i, j, k], alone[1][0, 0, 0], 1e-2)
        for shorter, same in ((no[:, :, 0], no[:, :, :1]), (no[:, 0, 0], no[:, :1, :1])):
            torch.testing.assert_close(estimator(y, shorter), estimator(y, same.expand(3, 2, 2)))
        torch.testing.assert_close(estimator(y, 0.1), estimator(y, torch.full((3, 2, 2), 0.1)))

    def test_of_pilots_of_differing_moduli_the_mean_noise_counts(self):
        grid = lte_grid()
        scale = torch.linspace(0.5, 2, 75)
        grid.pilot_pattern.pilots = grid.pilot_pattern.pilots * scale
        y, _ = sent_over(grid, SparseCIR("lte10"), 0.1, 4)
        h_hat, _ = SparseChannelEstimator(grid, "na-sbl-lte10-m75")(y, 0.1)
        (pilots,) = pilot_patterns(grid)
        received = y[:, 0, 0, 0, torch.tensor(pilots.pattern.subcarriers) + grid.dc_ind]
        expected = load_model("na-sbl-lte10-m75").estimate(
            received / grid.pilot_pattern.pilots[0, 0], pilots.pattern, float((0.1 / scale**2).mean())
        )
        close(h_hat.reshape(4, 600), expected.cfr, 1e-2)

    def test_rows_are_cut_into_chunks_that_change_nothing(self, monkeypatch):
        grid = lte_grid()
        y, _ = sent_over(grid, SparseCIR("lte10"), 0.1, 5)
        whole = SparseChannelEstimator(grid)(y, 0.1)
        monkeypatch.setattr(sys.modules[SparseChannelEstimator.__module__], "_CHUNK", 2 * 75 * 272)
        torch.testing.assert_close(SparseChannelEstimator(grid)(y, 0.1), whole, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("algorithm", ["ista", "alista", "omp", "ep", "sbl", "spline", "lmmse-true", "lmmse-flat"])
    def test_every_algorithm_serves_by_name(self, algorithm):
        grid = lte_grid()
        y, h = sent_over(grid, SparseCIR("lte10"), 0.01, 16)
        h_hat, err_var = SparseChannelEstimator(grid, algorithm=algorithm, scenario="lte10")(y, 0.01)
        measured = float((h_hat - h).abs().square().mean())
        assert measured < (8 if algorithm == "spline" else 0.7)
        assert bool((err_var >= 0).all())

    @pytest.mark.parametrize("spacing", [4, 6, 12])
    @pytest.mark.parametrize("options", [{"model": "na-alista-wide"}, {"algorithm": "sbl"}, {"algorithm": "omp"}])
    def test_on_a_comb_no_path_is_found_twice(self, spacing, options):
        grid = ResourceGrid(1, 624, 15e3)
        mask = np.zeros((1, 1, 1, 624), dtype=bool)
        mask[..., ::spacing] = True
        grid.pilot_pattern = SionnaPilotPattern(mask, np.ones((1, 1, mask.sum()), np.complex64))
        y, h = sent_over(grid, SparseCIR("eva"), 0.003, 24)
        h_hat, _ = SparseChannelEstimator(grid, **options)(y, 0.003)
        assert nmse_db(h_hat, h) < -22

    def test_lmmse_true_knows_the_delays_of_the_grids_own_numerology(self):
        scenario = load_scenario("tdl-c300").replace(subcarrier_spacing_hz=30e3)
        grid = ResourceGrid(1, 1024, 30e3)
        grid.pilot_pattern = random_pilot_pattern(150, grid)
        y, h = sent_over(grid, SparseCIR(scenario), 0.01, 64)
        h_hat, err_var = SparseChannelEstimator(grid, algorithm="lmmse-true", scenario="tdl-c300")(y, 0.01)
        error = float((h_hat - h).abs().square().mean())
        assert error < 0.01
        assert 0.8 < float(err_var.mean()) / error < 1.25


class TestOverTime:
    def test_estimates_are_interpolated_between_pilot_symbols_and_held_outside(self):
        grid = lte_grid(9, (2, 6))
        y, _ = sent_over(grid, SparseCIR("lte10"), 0.01, 2)
        y[..., 6, :] *= -1  # nothing like static
        h_hat, err_var = SparseChannelEstimator(grid, "na-alista-lte10-m75")(y, 0.01)
        first, last = h_hat[..., 2, :], h_hat[..., 6, :]
        errors = err_var[..., 2, :], err_var[..., 6, :]
        powers = (h.abs().square().mean(-1, keepdim=True) for h in (first, last))
        common = [e / (p / e).log1p().clamp_min(1) for e, p in zip(errors, powers, strict=True)]
        for symbol, share in ((0, 0), (1, 0), (3, 0.25), (4, 0.5), (7, 1), (8, 1)):
            torch.testing.assert_close(h_hat[..., symbol, :], (1 - share) * first + share * last)
            expected = (1 - share) ** 2 * (errors[0] - common[0]) + share**2 * (errors[1] - common[1])
            expected = expected + ((1 - share) * common[0].sqrt() + share * common[1].sqrt()) ** 2
            torch.testing.assert_close(err_var[..., symbol, :], expected)
        for symbol, own in ((2, first), (6, last)):
            alone = ResourceGrid(1, 1024, 15e3, **LTE)
            mask = grid.pilot_pattern.mask[:, :, symbol : symbol + 1]
            at = slice(0, 75) if symbol == 2 else slice(75, 150)
            alone.pilot_pattern = SionnaPilotPattern(mask, grid.pilot_pattern.pilots[..., at])
            found, _ = SparseChannelEstimator(alone, "na-alista-lte10-m75")(y[..., symbol : symbol + 1, :], 0.01)
            close(own, found[..., 0, :], 1e-5)

    def test_streams_may_send_pilots_on_different_symbols_in_any_order(self):
        """Equal patterns first and last, another one between: estimates must come back in the order of time."""
        grid = ResourceGrid(3, 128, 15e3)
        mask = np.zeros((1, 1, 3, 128), dtype=bool)
        mask[..., 0, 0::4] = mask[..., 1, 1::4] = mask[..., 2, 0::4] = True
        grid.pilot_pattern = SionnaPilotPattern(mask, np.ones((1, 1, 96), np.complex64))
        y = torch.ones(1, 1, 1, 3, 128, dtype=torch.complex64) * torch.tensor([1.0, 2.0, 3.0]).unsqueeze(-1)
        h_hat, _ = SparseChannelEstimator(grid, algorithm="linear")(y, 0.1)
        torch.testing.assert_close(h_hat.squeeze(), y.squeeze(), rtol=1e-4, atol=1e-4)

    def test_static_pools_the_pilots_of_all_symbols(self):
        grid = lte_grid(6, (1, 4))
        y, h = sent_over(grid, SparseCIR("lte10"), 0.1, 16)
        with pytest.warns(UserWarning, match=r"141 pilots, trained for 100; na-sbl-wide serves any grid"):
            static = SparseChannelEstimator(grid, "na-sbl-lte10-m100", time="static")
        pooled, err_var = static(y, 0.1)
        apart, _ = SparseChannelEstimator(grid, "na-sbl-lte10-m75")(y, 0.1)
        assert nmse_db(pooled, h) < nmse_db(apart, h) - 1
        assert bool((pooled == pooled[..., :1, :]).all() & (err_var == err_var[..., :1, :]).all())
        sums, counts = torch.zeros(16, 1024, dtype=y.dtype), torch.zeros(1024)
        for pilots in pilot_patterns(grid):
            at = torch.tensor(pilots.pattern.subcarriers) + grid.dc_ind
            sent = grid.pilot_pattern.pilots[0, 0, torch.from_numpy(pilots.places)]
            sums[:, at] += y[:, 0, 0, pilots.ofdm_symbol, at] * sent.conj()
            counts[at] += 1
        at = counts.nonzero().squeeze()
        assert 75 < len(at) < 150
        pattern = PilotPattern(tuple((at - grid.dc_ind).tolist()))
        expected = load_model("na-sbl-lte10-m100").estimate(
            sums[:, at] / counts[at], pattern, float(0.1 * (1 / counts[at]).mean())
        )
        close(pooled[..., 0, :].reshape(16, 600), expected.cfr, 1e-2)

    def test_a_symbol_with_one_pilot_is_refused_unless_pooled(self):
        grid = ResourceGrid(3, 64, 15e3)
        mask = np.zeros((1, 1, 3, 64), dtype=bool)
        mask[0, 0, 0, :9], mask[0, 0, 2, 5] = True, True
        grid.pilot_pattern = SionnaPilotPattern(mask, np.ones((1, 1, 10), np.complex64))
        with pytest.raises(PilotError, match="transmitter 0, stream 0: OFDM symbol 2 has 1 pilot, expected at least 2"):
            SparseChannelEstimator(grid)
        SparseChannelEstimator(grid, time="static")(torch.ones(1, 1, 1, 3, 64) + 0j, 0.1)


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        ("options", "error", "said"),
        [
            ({"model": "magic"}, ModelError, "expected a file, or one of"),
            ({"algorithm": "magic"}, AlgorithmError, "expected one of ista"),
            ({"model": "na-sbl-wide", "algorithm": "sbl"}, AlgorithmError, "got both"),
            ({"model": "na-alista-synthetic-40db"}, ModelError, "synthetic"),
            ({"model": pick_model("fista", load_scenario("tdl-a").replace(penalties={"ista": 0.1, "fista": 0.1}))},
             ModelError, "gives no error variance"),
            ({"model": "na-sbl-wide", "n_iterations": 99}, AlgorithmError, "asked for 99"),
            ({"time": "cubic"}, AlgorithmError, 'time: expected "auto", "linear" or "static"'),
            ({"model": "na-sbl-wid"}, ModelError, r"do you mean na-sbl-wide\?"),
            ({"model": "omp"}, ModelError, "omp is an algorithm"),
            ({"model": 3}, ModelError, "expected the name of a model or the path of a file, got int"),
            ({"doppler_hz": 97.0, "time": "linear"}, AlgorithmError, 'doppler_hz: expected none with time="linear"'),
        ],
    )  # fmt: skip
    def test_options(self, options, error, said):
        with pytest.raises(error, match=said):
            SparseChannelEstimator(lte_grid(), **options)

    def test_a_grid_without_pilots(self):
        with pytest.raises(PilotError, match="sends no pilots"):
            SparseChannelEstimator(ResourceGrid(1, 64, 15e3))

    @pytest.mark.parametrize(
        ("y", "no", "said"),
        [
            (torch.zeros(1, 1, 1, 1, 600) + 0j, 0.1, r"\(1, 1024\), got .*\(1, 1, 1, 1, 600\)"),
            (torch.zeros(1, 1, 1024) + 0j, 0.1, "expected complex numbers of shape"),
            (torch.ones(1, 1, 1, 1, 1024), 0.1, "expected complex numbers of shape .* got float32 of"),
            (torch.ones(2, 1, 1, 1, 1024) + 0j, torch.ones(3), r"no: .*got \(3,\)"),
            (torch.full((2, 1, 1, 1, 1024), torch.nan) + 0j, 0.1, "NaN"),
            (torch.ones(2, 1, 1, 1, 1024) + 0j, -0.1, "noise_variance"),
        ],
    )
    def test_inputs(self, y, no, said):
        with pytest.raises(ObservationError, match=said):
            SparseChannelEstimator(lte_grid())(y, no)

    def test_without_sionna_the_extra_is_named(self):
        code = (
            "import sys; sys.modules['sionna'] = None\n"
            "import chanest.integrations\nfrom chanest.errors import ChanestError\n"
            "try:\n    import chanest.integrations.sionna\nexcept ChanestError as error:\n    print(error)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "Sionna: not installed; pip install 'chanest[sionna]'"


class TestErrorVariance:
    @pytest.mark.parametrize("no", [0.3, 0.03, 0.001])
    @pytest.mark.parametrize(("model", "scenario"), [("na-sbl-lte10-m75", "lte10"), ("na-sbl-wide", "eva")])
    def test_it_is_what_the_error_turns_out_to_be(self, model, scenario, no):
        grid = lte_grid(4, (0, 3))
        y, h = sent_over(grid, SparseCIR(scenario), no, 64)
        h_hat, err_var = SparseChannelEstimator(grid, model)(y, no)
        ratio = err_var.mean((0, 1, 2, 3, 4, 6)) / (h_hat - h).abs().square().mean((0, 1, 2, 3, 4, 6))
        assert bool(((ratio > 0.6) & (ratio < 1.7)).all()), ratio


class TestGradients:
    @pytest.mark.parametrize("model", ["na-sbl-wide", "lmmse-exponential"])
    def test_they_are_right(self, model):
        grid = ResourceGrid(1, 12, 15e3, precision="double")
        grid.pilot_pattern = random_pilot_pattern(6, grid)
        model = load_model(model) if "wide" in model else pick_model(model, load_scenario("wide"))
        estimator = SparseChannelEstimator(grid, model, precision="double")
        y = complex_normal(1, 1, 1, 1, 12, dtype=torch.complex128).requires_grad_()
        assert torch.autograd.gradcheck(lambda y: estimator(y, 0.1)[0][..., ::5], (y,), rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("model", ["na-alista-lte10-m75", "na-sbl-lte10-m75"])
    def test_they_reach_the_transmitter(self, model):
        """A trainable constellation and trainable pilots, upstream of the channel."""
        grid = lte_grid(2, (0,))
        pilots = grid.pilot_pattern.pilots.clone().requires_grad_()
        grid.pilot_pattern.pilots = pilots
        points = complex_normal(4).requires_grad_()
        symbols = points[torch.randint(4, (8, 1, 1, grid.num_data_symbols), generator=torch.Generator().manual_seed(0))]
        channel = OFDMChannel(SparseCIR("lte10"), grid)
        y = channel(ResourceGridMapper(grid)(symbols), 0.1)
        h_hat, err_var = SparseChannelEstimator(grid, model)(y, 0.1)
        equalizer = LMMSEEqualizer(grid, StreamManagement(np.array([[1]]), 1))
        x_hat, _ = equalizer(y, h_hat, err_var, torch.tensor(0.1))
        (x_hat - symbols).abs().square().mean().backward()
        for parameter in (points, pilots):
            assert bool(parameter.grad.isfinite().all())
            assert float(parameter.grad.abs().min()) > 0


class TestPatterns:
    def test_random_pilots_are_orthogonal_qpsk_with_data_beside_them(self):
        grid = ResourceGrid(6, 128, 15e3, num_tx=2, num_streams_per_tx=2, num_guard_carriers=(5, 8), dc_null=True)
        grid.pilot_pattern = random_pilot_pattern(20, grid, (5, 1), seed=7)
        patterns = pilot_patterns(grid)
        assert [(p.tx, p.stream, p.ofdm_symbol) for p in patterns] == [
            (tx, stream, symbol) for tx in (0, 1) for stream in (0, 1) for symbol in (1, 5)
        ]
        for symbol in (1, 5):
            taken = np.concatenate([p.pattern.subcarriers for p in patterns if p.ofdm_symbol == symbol])
            assert len(set(taken)) == 80
            assert all(len(p.pattern) == 20 for p in patterns)
        assert patterns[0].pattern != patterns[1].pattern
        pilots = grid.pilot_pattern.pilots
        sent = pilots[pilots != 0]
        torch.testing.assert_close(sent.abs(), torch.ones(160))
        torch.testing.assert_close(sent.pow(4), -torch.ones(160) + 0j)
        assert grid.num_data_symbols == 6 * 114 - 2 * 80
        again = random_pilot_pattern(20, grid, (5, 1), seed=7)
        assert bool((again.pilots == pilots).all() & (again.mask == grid.pilot_pattern.mask).all())
        assert not bool((random_pilot_pattern(20, grid, (5, 1), seed=8).mask == grid.pilot_pattern.mask).all())

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(grid=grids())
    def test_ours_from_any_grid_name_the_elements_that_sionna_fills(self, grid):
        """What ResourceGridMapper sends when all data are zero stands exactly on the patterns' DFT bins."""
        zero = torch.zeros(1, grid.num_tx, grid.num_streams_per_tx, grid.num_data_symbols, dtype=torch.complex64)
        x = torch.fft.ifftshift(ResourceGridMapper(grid)(zero), dim=-1)[0]  # DFT bins
        for p in pilot_patterns(grid):
            bins = torch.from_numpy(p.pattern.bins)
            own = x[p.tx, p.stream, p.ofdm_symbol]
            expected = grid.pilot_pattern.pilots[p.tx, p.stream, torch.from_numpy(p.places)]
            torch.testing.assert_close(own[bins], expected)
            own[bins] = 0
        assert not bool(x.any())

    @pytest.mark.parametrize(
        ("n_pilots", "symbols", "said"),
        [
            (1, (0,), "expected 2...32 for each of 2 streams on 64 subcarriers, got 1"),
            (33, (0,), "got 33"),
            (4, (), "ofdm_symbols"),
            (4, (1, 1), "ofdm_symbols: expected distinct ones in 0...2"),
            (4, (3,), "ofdm_symbols"),
        ],
    )
    def test_impossible_random_pilots(self, n_pilots, symbols, said):
        with pytest.raises(PilotError, match=said):
            random_pilot_pattern(n_pilots, ResourceGrid(3, 64, 15e3, num_tx=2), symbols)


class TestChannels:
    @pytest.mark.parametrize("scenario", ["lte10", "wide", "eva", "munich"])
    def test_they_are_those_of_the_scenario(self, scenario):
        grid = lte_grid()
        expected = load_scenario(scenario).draw(PilotPattern.random(75, 3), 20, seeded(5, "test")).truth["cfr"]
        _, h = sent_over(grid, SparseCIR(scenario, seed=5), None, 20)
        close(h.reshape(20, 600), expected, 1e-3)

    def test_one_seed_gives_the_same_channels_whatever_others_draw(self):
        model = SparseCIR("wide", seed=1)
        a, tau = model(4, 1)
        config.seed = 99
        torch.manual_seed(7)
        again = SparseCIR("wide", seed=1)
        torch.testing.assert_close(again(4, 1), (a, tau))
        assert not bool((again(4, 1)[1] == tau).any())
        assert not bool((SparseCIR("wide", seed=2)(4, 1)[1] == tau).all())

    @pytest.mark.parametrize(("scenario", "precision"), [("lte10", "double"), ("munich", "single")])
    def test_antennas_share_delays_and_have_unit_power_and_gains_of_their_own(self, scenario, precision):
        model = SparseCIR(scenario, num_rx=2, num_rx_ant=3, num_tx=2, num_tx_ant=2, precision=precision)
        a, tau = model(300, 5, 1e6)
        assert a.shape[:5] == (300, 2, 3, 2, 2)
        assert a.shape[-1] == 5
        assert tau.shape == (300, 2, 2, a.shape[5])
        assert (a.dtype, tau.dtype) == (model.cdtype, model.dtype)
        assert bool((a == a[..., :1]).all())
        frequencies = 15e3 * torch.arange(-300, 301, 10)
        turns = tau[:, :, None, :, None, :, None] * frequencies
        power = (a[..., :1] * torch.exp(-2j * torch.pi * turns)).sum(5).abs().square().mean((0, -1))
        torch.testing.assert_close(power, torch.ones_like(power), rtol=0.25, atol=0)
        gains = a[..., 0].permute(1, 2, 3, 4, 0, 5).reshape(24, -1)
        correlation = (gains @ gains.mH).abs() / gains.abs().square().sum(-1).mean()
        assert float((correlation - torch.eye(24) * correlation).max()) < 0.25

    @pytest.mark.parametrize(("l_min", "agree"), [(0, True), (-6, False)])
    def test_frequency_and_time_domain_agree_with_l_min_0(self, l_min, agree):
        """Delays fill the cyclic prefix to its last sample; l_min = -6 would need six more."""
        sizes = {"n_fft": 64, "n_used": 52, "n_taps": 17, "cp_samples": 16, "n_pilots": 20}
        scenario = load_scenario("lte10").replace(**sizes)
        grid = ResourceGrid(4, 64, 15e3, cyclic_prefix_length=16)
        x = complex_normal(8, 1, 1, 4, 64)
        in_frequency = OFDMChannel(SparseCIR(scenario, seed=2), grid)(x)
        samples = OFDMModulator(16)(x)
        channel = TimeChannel(SparseCIR(scenario, seed=2), grid.bandwidth, samples.shape[-1], l_min=l_min, l_max=16)
        in_time = OFDMDemodulator(64, l_min, 16)(channel(samples))
        error = float((in_time - in_frequency).norm() / in_frequency.norm())
        assert error < 1e-4 if agree else error > 0.05

    def test_a_tdl_of_sionna_works_as_it_is(self):
        grid = lte_grid(14, (2, 11))
        channel = TDL("C", 300e-9, 3.5e9, min_speed=3.0, num_rx_ant=2)
        y, h = sent_over(grid, channel, 0.1, 16)
        ours, _ = SparseChannelEstimator(grid)(y, 0.1)
        theirs, _ = LSChannelEstimator(grid, "lin")(y, torch.tensor(0.1))
        assert nmse_db(ours, h) < -12
        assert nmse_db(ours, h) < nmse_db(theirs, h) - 3

    @pytest.mark.parametrize("kind", ["A", "C", "D"])
    def test_a_cdl_of_sionna_works_as_it_is(self, kind):
        """Uplink to a panel of four dual-polarised elements, a user who walks."""
        base = AntennaArray(2, 2, "dual", "cross", "38.901", 3.5e9)
        channel = CDL(kind, 300e-9, 3.5e9, Antenna("single", "V", "omni", 3.5e9), base, "uplink", min_speed=1.0)
        grid = lte_grid(14, (2, 11))
        y, h = sent_over(grid, channel, 0.1, 8)
        ours, err_var = SparseChannelEstimator(grid, "na-sbl-wide")(y, 0.1)
        theirs, _ = LSChannelEstimator(grid, "lin")(y, torch.tensor(0.1))
        assert ours.shape == h.shape == (8, 1, 8, 1, 1, 14, 600)
        assert nmse_db(ours, h) < min(-12, nmse_db(theirs, h) - 3)
        assert 0.5 < float(err_var.mean() / (ours - h).abs().square().mean()) < 2


class TestInALinkOfSionna:
    """A link as Sionna's tutorials build it, which knows nothing of chanest."""

    def bler(self, grid: ResourceGrid, estimator, no: float, batch: int) -> float:
        config.seed = 42
        n_bits = 2 * grid.num_data_symbols
        encoder = LDPC5GEncoder(n_bits // 2, n_bits)
        bits = BinarySource()([batch, 1, 1, n_bits // 2])
        x = ResourceGridMapper(grid)(Mapper("qam", 2)(encoder(bits)))
        y = OFDMChannel(TDL("C", 300e-9, 3.5e9, min_speed=0.0), grid, normalize_channel=True)(x, no)
        h_hat, err_var = estimator(y, torch.tensor(no))
        x_hat, no_eff = LMMSEEqualizer(grid, StreamManagement(np.array([[1]]), 1))(y, h_hat, err_var, torch.tensor(no))
        decoded = LDPC5GDecoder(encoder, hard_out=True)(Demapper("app", "qam", 2)(x_hat, no_eff))
        return float((decoded != bits).any(-1).float().mean())

    def test_swapping_the_estimator_lowers_the_block_error_rate(self):
        grid = lte_grid(3, (0,))
        no = 10 ** (-5 / 10)
        theirs = self.bler(grid, LSChannelEstimator(grid, interpolation_type="lin"), no, 60)
        ours = self.bler(grid, SparseChannelEstimator(grid), no, 60)
        assert ours < theirs - 0.3


def test_the_example_of_the_documentation_prints_what_stands_there(capsys):
    page = (Path(__file__).resolve().parents[2] / "docs" / "link.md").read_text()
    example, printed = re.search(r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", page, re.DOTALL).groups()
    exec(compile(example, "link.md", "exec"), {})
    found, expected = (re.findall(r"(\w+) BLER ([\d.]+)", text) for text in (capsys.readouterr().out, printed))
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (_, measured), (_, stated) in zip(found, expected, strict=True):
        assert abs(float(measured) - float(stated)) < 0.05  # a few blocks hang on the last bits of a float


class TestMovingUsers:
    def slots(self, kmh: float, antennas: int = 1, n: int = 24, symbols=(2, 10)) -> tuple[torch.Tensor, ...]:
        grid = lte_grid(14, symbols)
        channel = TDL("C", 300e-9, 2.1e9, min_speed=kmh / 3.6, max_speed=kmh / 3.6, num_rx_ant=antennas)
        return grid, *sent_over(grid, channel, 0.01, n)

    @pytest.mark.parametrize(("kmh", "ahead_db"), [(3, 5), (60, 4), (150, 2)])
    def test_ahead_of_a_line_between_symbols_at_any_speed(self, kmh, ahead_db):
        grid, y, h = self.slots(kmh)
        h_hat, err_var = SparseChannelEstimator(grid)(y, 0.01)
        straight, _ = SparseChannelEstimator(grid, time="linear")(y, 0.01)
        theirs, _ = LSChannelEstimator(grid, "lin")(y, torch.tensor(0.01))
        assert nmse_db(h_hat, h) < nmse_db(straight, h) - 0.8
        assert nmse_db(h_hat, h) < nmse_db(theirs, h) - ahead_db - 1
        for where in (slice(None), [2, 10], [6], [13]):
            measured = (h_hat - h)[..., where, :].abs().square().mean()
            assert abs(10 * float((err_var[..., where, :].mean() / measured).log10())) < 2.5

    def test_antennas_share_their_delays(self):
        grid, y, h = self.slots(60, antennas=4)
        together, _ = SparseChannelEstimator(grid)(y, 0.01)
        apart, _ = SparseChannelEstimator(grid, antennas_alike=False)(y, 0.01)
        assert nmse_db(together, h) < nmse_db(apart, h) - 0.4

    def test_one_pilot_symbol_and_a_doppler_that_is_told(self):
        grid, y, h = self.slots(150, symbols=(2,))
        held, _ = SparseChannelEstimator(grid)(y, 0.01)
        told, err_var = SparseChannelEstimator(grid, doppler_hz=292.0)(y, 0.01)
        assert nmse_db(told, h) < nmse_db(held, h) - 0.5
        error = (told - h).abs().square()
        assert float(err_var[..., 13, :].mean()) > 10 * float(err_var[..., 2, :].mean())
        assert abs(10 * float((err_var.mean() / error.mean()).log10())) < 5

    @pytest.mark.parametrize("doppler", [-100.0, float("nan")])
    def test_a_doppler_that_is_none(self, doppler):
        with pytest.raises(ScenarioError, match="max_doppler_hz: expected a finite number of Hz from 0 on"):
            SparseCIR("lte10", max_doppler_hz=doppler)

    def test_gains_of_a_scenario_in_motion(self):
        a, tau = SparseCIR("eva", num_rx_ant=2, max_doppler_hz=200.0)(400, 14, 14e3)
        assert a.shape == (400, 1, 2, 1, 1, 9, 14)
        assert tau.shape == (400, 1, 1, 9)
        lag = (a[..., 0].conj() * a[..., 6]).sum().real / a[..., 0].abs().square().sum()
        assert float(lag) == pytest.approx(float(jakes([200.0], np.zeros(1), np.array([6 / 14e3]))), abs=0.06)
        with pytest.raises(ScenarioError, match="at most 512 time steps"):
            SparseCIR("eva", max_doppler_hz=200.0)(2, 600, 14e3)

    def test_a_frequency_offset_is_found(self):
        grid, y, h = self.slots(3)
        turn = torch.exp(2j * torch.pi * 100 * grid.ofdm_symbol_duration * torch.arange(14)).unsqueeze(-1)
        found, _ = SparseChannelEstimator(grid, cfo_hz=None)(y * turn, 0.01)
        untreated, _ = SparseChannelEstimator(grid)(y * turn, 0.01)
        assert nmse_db(found, h * turn) < min(-24, nmse_db(untreated, h * turn) - 1)

    def test_two_users_of_one_cdm_group(self):
        """Ports 0 and 1 of DMRS type 1: the same resource elements, a cover code along frequency."""
        grid = ResourceGrid(14, 512, 30e3, num_tx=2, num_guard_carriers=(100, 100))
        mask = np.zeros((2, 1, 14, 312), dtype=bool)
        mask[:, :, [2, 11], ::2] = True
        code = np.ones((2, 1, 2 * 156), np.complex64)
        code[1, :, 1::2] = -1
        grid.pilot_pattern = SionnaPilotPattern(mask, code)
        tdl = TDL("A", 100e-9, 3.5e9, min_speed=1.0, max_speed=1.0)
        users = [OFDMChannel(tdl, ResourceGrid(14, 512, 30e3, num_guard_carriers=(100, 100)), return_channel=True)] * 2
        x = ResourceGridMapper(grid)(complex_normal(16, 2, 1, grid.num_data_symbols))
        received = [channel(x[:, i : i + 1]) for i, channel in enumerate(users)]
        y = sum(one for one, _ in received) + complex_normal(16, 1, 1, 14, 512, seed=3) * 0.1
        h = torch.stack([one[..., 0, 0, :, 100:412] for _, one in received], 3).unsqueeze(4)
        estimator = SparseChannelEstimator(grid)
        assert [slot.streams for slot in estimator._slots] == [(0, 1)]
        h_hat, err_var = estimator(y, 0.01)
        theirs, _ = LSChannelEstimator(grid, "lin")(y, torch.tensor(0.01))
        assert h_hat.shape == theirs.shape == h.shape
        assert nmse_db(h_hat, h) < min(-24, nmse_db(theirs, h) - 6)
        assert 0.4 < float(err_var.mean() / (h_hat - h).abs().square().mean()) < 2.5


def test_two_users_on_ports_0_and_1_in_a_pusch_receiver():
    """NR's uplink: DMRS of one CDM group, told apart by a cover code; the estimator in the receiver's place for it."""
    users = []
    for port in (0, 1):
        user = PUSCHConfig()
        user.carrier.n_size_grid, user.carrier.subcarrier_spacing = 24, 30
        user.num_antenna_ports = user.num_layers = 1
        user.dmrs.dmrs_port_set, user.dmrs.additional_position, user.dmrs.num_cdm_groups_without_data = [port], 1, 2
        user.tb.mcs_index = 19
        users.append(user)
    transmitter = PUSCHTransmitter(users)
    grid = transmitter.resource_grid
    tdl = TDL("A", 100e-9, 3.5e9, min_speed=1.0, max_speed=3.0, num_rx_ant=4)
    channel = GenerateOFDMChannel(tdl, grid, normalize_channel=True)
    x, bits = transmitter(12)
    h = torch.cat([channel(12), channel(12)], 3)
    y, no = ApplyOFDMChannel()(x, h, 0.01), torch.tensor(0.01)
    dmrs = users[0].dmrs
    estimators = (
        SparseChannelEstimator(grid),
        PUSCHLSChannelEstimator(
            grid, dmrs.length, dmrs.additional_position, dmrs.num_cdm_groups_without_data, interpolation_type="lin"
        ),
    )
    lost, nmse = [], []
    for estimator in estimators:
        receiver = PUSCHReceiver(
            transmitter, channel_estimator=estimator, stream_management=StreamManagement(np.ones([1, 2]), 1)
        )
        lost.append(float((receiver(y, no) != bits).any(-1).float().mean()))
        nmse.append(nmse_db(estimator(y, no)[0], h))
    assert nmse[0] < nmse[1] - 6
    assert lost[0] <= lost[1]
    with pytest.raises(AlgorithmError, match=r"of their own with time=\"linear\", got 0 and 1 .*take na-sbl-wide"):
        SparseChannelEstimator(grid, time="linear")


@pytest.mark.slow
def test_four_transmitters_sixteen_antennas_beat_least_squares():
    """Slots of 14 symbols, pilots on two, 624 subcarriers: an urban micro cell (3GPP 38.901), walking users."""
    config.seed = 7
    array = {"polarization": "dual", "polarization_type": "cross", "antenna_pattern": "38.901"}
    base = PanelArray(num_rows_per_panel=2, num_cols_per_panel=4, carrier_frequency=3.5e9, **array)
    user = Antenna("single", "V", "omni", carrier_frequency=3.5e9)
    cell = UMi(3.5e9, "low", user, base, "uplink", enable_pathloss=False, enable_shadow_fading=False)
    cell.set_topology(*gen_single_sector_topology(8, 4, "umi", min_ut_velocity=0.0, max_ut_velocity=3.0))
    grid = ResourceGrid(
        14, 624, 30e3, num_tx=4, pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[2, 11]
    )  # fmt: skip
    ours, theirs = SparseChannelEstimator(grid, "na-sbl-wide"), LSChannelEstimator(grid, interpolation_type="lin")
    for snr_db in (0, 10, 20):
        no = 10 ** (-snr_db / 10)
        data = complex_normal(8, 4, 1, grid.num_data_symbols)
        y, h = OFDMChannel(cell, grid, normalize_channel=True, return_channel=True)(ResourceGridMapper(grid)(data), no)
        h_hat, err_var = ours(y, no)
        peer, _ = theirs(y, torch.tensor(no))
        assert h_hat.shape == h.shape == (8, 1, 16, 4, 1, 14, 624)
        errors = [(found - h).abs().square().mean((1, 2, 4, 5, 6)) for found in (h_hat, peer)]  # of every user
        middle = [10 * float(e.median().log10()) for e in errors]
        print(
            f"{snr_db} dB: na-sbl-wide {nmse_db(h_hat, h):.1f} dB, median user {middle[0]:.1f} dB; "
            f"LS with linear interpolation {nmse_db(peer, h):.1f} dB, median user {middle[1]:.1f} dB"
        )
        assert nmse_db(h_hat, h) < nmse_db(peer, h) - 1
        assert middle[0] < middle[1] - 6
        ratio = float((err_var.mean((1, 2, 4, 5, 6)) / errors[0]).median())
        assert 0.4 < ratio < 2.5, ratio


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu():
    found = []
    for device in ("cpu", "cuda:0"):
        grid = lte_grid(3, (0, 2), device=device)
        y = complex_normal(4, 1, 2, 3, 1024).to(device)
        found.append([t.cpu() for t in SparseChannelEstimator(grid, device=device)(y, 0.1)])
    close(found[1][0], found[0][0], 1e-3)
    a, _ = SparseCIR("lte10", device="cuda:0")(4, 2)
    assert a.device.type == "cuda"
