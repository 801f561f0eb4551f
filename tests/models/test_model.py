"""Model.estimate: units do not matter, conventions hold, models are picked sensibly."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from child import MEBIBYTE, measurable, measured
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest import Grid, Model, PilotPattern, load_model, load_scenario, nmse_db
from chanest.algorithms import ALISTA, FISTA, ISTA, NAALISTA
from chanest.errors import AlgorithmError, ModelError, ObservationError, PilotError
from chanest.models import normalise, pick_model, rescaled, shipped_models, unambiguous
from chanest.problems import seeded
from chanest.problems.ofdm.operator_cache import cfr_of

LTE10 = load_scenario("lte10")
PATTERN = PilotPattern.random(75, 0)
MODELS = [Model(a.requires_grad_(False), LTE10) for a in (ISTA(), FISTA(), ALISTA(), NAALISTA(lstm_hidden=8))]


def pilots(n: int = 4) -> torch.Tensor:
    return LTE10.draw(PATTERN, n, seeded(0, "test")).observations


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.algorithm.name)
@settings(max_examples=20, deadline=None)
@given(exponent=st.floats(-12, 12), phase=st.sampled_from([1, 1j, -1]))
def test_a_receivers_units_do_not_matter(model, exponent, phase):
    a = 10**exponent * phase
    expected = model.estimate(pilots(), PATTERN).cfr
    found = model.estimate(a * pilots(), PATTERN).cfr / a
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.algorithm.name)
def test_one_sample_does_not_see_the_others(model):
    loud = pilots()
    loud[0] *= 1e6
    quiet = model.estimate(pilots(), PATTERN).cir[1:]
    torch.testing.assert_close(model.estimate(loud, PATTERN).cir[1:], quiet)


def test_cfr_is_the_dft_of_the_cir():
    estimate = MODELS[0].estimate(pilots().to(torch.complex128), PATTERN)
    padded = torch.fft.fft(estimate.cir, 1024)
    torch.testing.assert_close(estimate.cfr, padded[..., estimate.used_subcarriers % 1024])
    assert estimate.cfr.dtype == torch.complex128


def test_many_iterations_without_noise_reproduce_the_observations():
    sparse = torch.zeros(1, 256, dtype=torch.complex64)
    sparse[0, [3, 80]] = torch.tensor([1.0, 0.4j])
    observed = cfr_of(sparse, LTE10.grid)[
        :, torch.isin(torch.from_numpy(LTE10.used_subcarriers), torch.tensor(PATTERN.subcarriers))
    ]
    estimate = Model(FISTA(2000, 1e-4), LTE10).estimate(observed, PATTERN)
    assert float((estimate.cir - sparse).norm()) < 0.01


def test_pilot_symbols_are_divided_out():
    symbols = torch.exp(1j * torch.arange(75)) * 2
    plain = MODELS[0].estimate(pilots(), PATTERN).cir
    found = MODELS[0].estimate(pilots() * symbols, PATTERN, pilot_symbols=symbols).cir
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)


def test_all_zero_pilots_give_a_zero_channel():
    estimate = MODELS[3].estimate(torch.zeros(2, 75, dtype=torch.complex64), PATTERN)
    assert bool((estimate.cir == 0).all() & (estimate.cfr == 0).all())


@pytest.mark.parametrize(
    ("received", "options", "said"),
    [
        (torch.zeros(2, 75), {}, "expected complex64 or complex128, got float32"),
        (torch.zeros(2, 74, dtype=torch.complex64), {}, r"expected shape \(\*batch, 75\)"),
        (torch.zeros(2, 75, dtype=torch.complex64).index_fill(1, torch.tensor([5]), torch.nan), {}, r"\[0, 5\]: NaN"),
        (pilots(2), {"noise_variance": -1.0}, "noise_variance"),
        (pilots(2), {"noise_variance": torch.ones(3)}, "noise_variance"),
        (pilots(2), {"pilot_symbols": torch.ones(2)}, "pilot_symbols"),
    ],
)
def test_unusable_pilots_are_refused(received, options, said):
    with pytest.raises(ObservationError, match=said):
        MODELS[0].estimate(received, PATTERN, **options)


def test_another_dft_length_is_served():
    longer = PilotPattern(PATTERN.subcarriers, Grid(2048, LTE10.grid.used_subcarriers))
    found = MODELS[0].estimate(pilots(), longer)
    assert found.cir.shape[-1] == 2 * MODELS[0].ofdm.n_taps
    assert torch.equal(found.cfr, rescaled(MODELS[0], 2048).estimate(pilots(), longer).cfr)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_normalise_survives_extreme_units(scale):
    y, rms = normalise(scale * pilots())
    torch.testing.assert_close(y.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(y * 75**0.5 * rms, scale * pilots())


class TestOtherBands:
    NAMES = ("na-alista", "na-sbl", "omp", "linear", "spline", "lmmse-exponential")

    @pytest.mark.parametrize("name", NAMES)
    def test_the_cfr_is_that_of_the_patterns_band(self, name):
        """A band that holds LTE's: the same values there, and more beside them."""
        model = pick_model(name, LTE10, 75)
        band = tuple(range(-310, 330))
        wider = PilotPattern(PATTERN.subcarriers, Grid(1024, band))
        found = model.estimate(pilots(), wider, 0.1, error_variance=True)
        expected = model.estimate(pilots(), PATTERN, 0.1, error_variance=True)
        assert found.used_subcarriers.tolist() == list(band)
        inside = torch.isin(found.used_subcarriers, expected.used_subcarriers)
        torch.testing.assert_close(found.cfr[:, inside], expected.cfr, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.error_variance[:, inside], expected.error_variance, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("name", ["na-sbl", "omp", "linear", "spline", "lmmse-exponential", "lmmse-true"])
    def test_on_a_longer_dft_a_model_finds_the_same_channel(self, name):
        """Twice as many taps on the same band; NA-ALISTA, trained on sparser ones, would lose 10 dB."""
        model = pick_model(name, LTE10, 75)
        longer = PilotPattern(PATTERN.subcarriers, Grid(2048, LTE10.grid.used_subcarriers))
        data = LTE10.draw(PATTERN, 64, seeded(0, "test"))
        found = rescaled(model, 2048).estimate(data.observations, longer, data.noise_variance)
        expected = model.estimate(data.observations, PATTERN, data.noise_variance)
        assert abs(nmse_db(found.cfr, data.truth["cfr"]) - nmse_db(expected.cfr, data.truth["cfr"])) < 2.5

    @pytest.mark.parametrize(("spacing", "window"), [(1, (256, 0)), (4, (256, 0)), (5, (204, 0)), (64, (16, 0))])
    def test_on_a_comb_the_window_is_what_the_pilots_tell_apart(self, spacing, window):
        pattern = PilotPattern(tuple(range(-300, 0, spacing)))
        fitted = unambiguous(pick_model("sbl", LTE10), pattern)
        assert (fitted.ofdm.n_taps, fitted.ofdm.first_tap_samples) == window
        columns = fitted.operator(pattern, torch.complex128, "cpu").dense()
        coherence = (columns.mH @ columns).abs() - torch.eye(columns.shape[-1])
        assert float(coherence.max()) < 1 - 1e-6

    def test_a_short_window_still_begins_near_delay_zero(self):
        fitted = unambiguous(pick_model("sbl", load_scenario("wide")), PilotPattern((-300, -100, 100)))
        assert (fitted.ofdm.n_taps, fitted.ofdm.first_tap_samples) == (5, -1)


class TestPicking:
    @pytest.mark.parametrize(
        ("scenario", "n_pilots", "name"),
        [
            ("lte10", 75, "na-alista-lte10-m75"),
            ("lte10", 60, "na-alista-lte10-m50"),
            ("lte10", 300, "na-alista-lte10-m100"),
            ("lte10-reference", 73, "na-alista-lte10-reference-m75"),
            ("wide", 33, "na-alista-wide"),
            ("etu", 75, "na-alista-wide"),
        ],
    )
    def test_the_nearest_model_of_the_scenario_else_wide(self, scenario, n_pilots, name):
        assert pick_model("na-alista", load_scenario(scenario), n_pilots).name == name

    def test_penalties_come_from_the_scenario(self):
        assert pick_model("ista", LTE10, 75).algorithm.penalty == LTE10.penalties.ista

    def test_unknown_names(self):
        with pytest.raises(AlgorithmError, match="ista, fista"):
            pick_model("magic", LTE10, 75)
        with pytest.raises(ModelError, match="expected a file, or one of"):
            load_model("magic")


def test_the_shipped_models_are_all_there():
    wanted = {
        f"{algorithm}-{scenario}"
        for algorithm in ("alista", "na-alista", "na-sbl")
        for scenario in ("wide", *(f"{kind}-m{m}" for kind in ("lte10", "lte10-reference") for m in (100, 75, 50)))
    }
    wanted |= {"na-sbl-lte10-m75-k10", "na-sbl-wide-window"}
    wanted |= {f"{name}-synthetic-{snr}db" for name in ("alista", "na-alista") for snr in (40, 20)}
    assert {path.stem for path in shipped_models()} == wanted


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.algorithm.name)
def test_gpu_agrees_with_cpu_in_single_precision(model):
    expected = model.estimate(pilots(64), PATTERN).cfr
    found = model.estimate(pilots(64).cuda(), PATTERN).cfr.cpu()
    model.algorithm.cpu()
    assert float((found - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize("scale", [1e-45, 1e-40])
def test_pilots_too_faint_for_single_precision_are_silence_not_nan(scale):
    estimate = MODELS[3].estimate(pilots() * scale, PATTERN)
    assert bool(estimate.cfr.isfinite().all())


def test_an_empty_batch_is_refused():
    with pytest.raises(ObservationError, match="at least one observation"):
        MODELS[0].estimate(torch.zeros(0, 75, dtype=torch.complex64), PATTERN)


@pytest.mark.skipif(not measurable, reason="reads the memory of a process in /proc")
def test_unknown_noise_needs_little_memory_at_any_number_of_pilots():
    """The noise level of a batch by products of matrices: a basis per entry would take 14 GB here."""
    code = """
from chanest import PilotPattern, load_model, load_scenario
pattern = PilotPattern.random(600, 0)
received = load_scenario("lte10").draw(pattern, 512, 0).observations
model = load_model("na-alista-wide")
before = most()
model.estimate(received, pattern, error_variance=True)
print(most() - before)
"""
    assert 0 < int(measured(code)[0]) < 700 * MEBIBYTE


def test_noise_variance_survives_extreme_units():
    model = load_model("na-sbl-wide")
    data = LTE10.draw(PATTERN, 4, seeded(0, "test"))
    expected = model.estimate(data.observations, PATTERN, data.noise_variance.double()).cfr
    found = model.estimate(data.observations * 1e-24, PATTERN, data.noise_variance.double() * 1e-48).cfr
    torch.testing.assert_close(found * 1e24, expected, rtol=1e-3, atol=1e-3)


def test_an_interpolator_serves_another_dft_length():
    longer = PilotPattern(PATTERN.subcarriers, Grid(2048, LTE10.grid.used_subcarriers))
    linear = pick_model("linear", LTE10, 75)
    assert torch.equal(linear.estimate(pilots(), longer).cfr, linear.estimate(pilots(), PATTERN).cfr)


class TestPrecision:
    """A model serves any precision, from many threads, and stays what it was."""

    def test_double_precision_leaves_the_model_as_it_was(self):
        model = load_model("na-alista-lte10-m75")
        single, double = (
            model.estimate(pilots().to(dtype), PATTERN).cfr for dtype in (torch.complex64, torch.complex128)
        )
        assert double.dtype == torch.complex128
        assert all(p.dtype == torch.float32 for p in model.algorithm.parameters())
        assert torch.equal(model.estimate(pilots(), PATTERN).cfr, single)
        torch.testing.assert_close(double.to(torch.complex64), single, rtol=1e-3, atol=1e-4)

    def test_threads_that_mix_precisions_get_what_each_alone_gets(self):
        model = load_model("na-alista-lte10-m75")
        given = [pilots().to(dtype) for dtype in (torch.complex64, torch.complex128)] * 16
        alone = [load_model("na-alista-lte10-m75").estimate(y, PATTERN).cfr for y in given[:2]]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda y: model.estimate(y, PATTERN).cfr, given))
        for i, cfr in enumerate(found):
            assert torch.equal(cfr, alone[i % 2])

    def test_a_copy_follows_the_parameters(self):
        model = Model(ALISTA(n_iterations=2).requires_grad_(False), LTE10)
        y = pilots().to(torch.complex128)
        before = model.estimate(y, PATTERN).cfr
        model.algorithm.log_threshold.add_(1.0)
        after = model.estimate(y, PATTERN).cfr
        assert not torch.equal(before, after)
        assert torch.equal(after, Model(model.algorithm, LTE10).estimate(y, PATTERN).cfr)

    def test_gradients_reach_the_parameters_from_another_precision(self):
        model = Model(ALISTA(n_iterations=2), LTE10)
        model.estimate(pilots().to(torch.complex128), PATTERN).cfr.abs().square().sum().backward()
        single = Model(ALISTA(n_iterations=2), LTE10)
        single.estimate(pilots(), PATTERN).cfr.abs().square().sum().backward()
        torch.testing.assert_close(
            model.algorithm.log_threshold.grad, single.algorithm.log_threshold.grad, rtol=1e-3, atol=0
        )


def test_one_band_has_one_spelling_and_gives_one_estimate():
    narrow = Grid.around_dc(300)
    pattern, same = (PilotPattern((-150, -7, 5, 120), grid) for grid in (narrow, Grid(1024, narrow.used_subcarriers)))
    assert pattern == same
    assert hash(pattern) == hash(same)
    model, y = load_model("na-sbl-wide"), pilots()[:, :4]
    found = [model.estimate(y, p) for p in (pattern, same)]
    assert found[0].cfr.shape[-1] == pattern.n_used == 300
    assert torch.equal(found[0].cfr, found[1].cfr)
    assert found[0].used_subcarriers.tolist() == list(narrow.used_subcarriers)


class TestArrays:
    """NumPy arrays are taken wherever tensors are, and answered in kind."""

    data = LTE10.draw(PATTERN, 4, 0)

    @pytest.mark.parametrize("name", ["na-alista", "na-sbl", "omp", "linear"])
    def test_arrays_give_arrays_of_the_same_numbers(self, name):
        model, y, noise = pick_model(name, LTE10, 75), self.data.observations, self.data.noise_variance
        record = name != "linear"
        expected = model.estimate(y, PATTERN, noise, record=record, error_variance=True)
        found = model.estimate(y.numpy(), PATTERN, noise.numpy(), record=record, error_variance=True)
        for part in ("cir", "cfr", "used_subcarriers", "error_variance", "step_sizes", "thresholds"):
            ours, theirs = getattr(found, part), getattr(expected, part)
            assert (ours is None) == (theirs is None), part
            if ours is not None:
                assert isinstance(ours, np.ndarray), part
                np.testing.assert_array_equal(ours, theirs.numpy())
        assert len(found.iterates) == len(expected.iterates)
        for ours, theirs in zip(found.iterates, expected.iterates, strict=True):
            np.testing.assert_array_equal(ours, theirs.numpy())

    @pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
    def test_the_precision_is_that_of_the_array_and_it_need_not_be_contiguous(self, dtype):
        y = self.data.observations.numpy().astype(dtype)
        found = MODELS[2].estimate(np.asfortranarray(y)[::2], PATTERN).cfr
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, MODELS[2].estimate(torch.from_numpy(y[::2].copy()), PATTERN).cfr.numpy())

    @pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor], ids=lambda kind: kind.__name__)
    def test_subcarriers_are_a_pattern_on_the_models_grid(self, kind):
        model, y, given = MODELS[3], self.data.observations, kind(PATTERN.subcarriers)
        expected = model.estimate(y, PATTERN)
        found = model.estimate(y, given)
        assert torch.equal(found.cfr, expected.cfr)
        assert torch.equal(found.used_subcarriers, expected.used_subcarriers)

    @pytest.mark.parametrize("given", [[3, 2], [0, 4], [1, 1], [[1, 2]], [1.5, 2], [400, 401], [7]], ids=str)
    def test_subcarriers_that_are_no_pattern_are_refused(self, given):
        with pytest.raises(PilotError, match="pilot subcarriers"):
            MODELS[3].estimate(np.ones((2, len(given)), complex), given)

    def test_pilot_symbols_and_one_noise_variance_as_arrays(self):
        symbols = 2 * np.exp(1j * np.arange(75)).astype(np.complex64)
        model, sent = pick_model("na-sbl", LTE10, 75), self.data.observations.numpy() * symbols
        expected = model.estimate(
            torch.from_numpy(sent), PATTERN, torch.tensor(0.4), pilot_symbols=torch.from_numpy(symbols)
        )
        found = model.estimate(sent, PATTERN, np.float32(0.4) * np.ones(4, np.float32), pilot_symbols=symbols)
        np.testing.assert_allclose(found.cfr, expected.cfr.numpy(), rtol=1e-5, atol=1e-6)

    def test_unusable_arrays_are_refused_like_tensors(self):
        y = self.data.observations.numpy().copy()
        y[1, 7] = np.nan
        with pytest.raises(ObservationError, match=r"received_pilots\[1, 7\]: NaN or Inf"):
            MODELS[0].estimate(y, PATTERN)
        with pytest.raises(ObservationError, match="expected complex64 or complex128, got float32"):
            MODELS[0].estimate(y.real.copy(), PATTERN)
