"""Pilots of several symbols, and channels that change between them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest import Grid, PilotPattern, SlotPattern
from chanest.errors import PilotError
from chanest.problems import cached_operator, jakes, moving_gains, moving_response, slot_pattern_of

TIMES = np.arange(14) / 14e3


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_any_order_gives_the_same_slot(seed: int, n_symbols: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = np.sort(rng.choice(14, n_symbols, replace=False))
    pilots = [np.sort(rng.choice(np.r_[-300:0, 1:301], int(rng.integers(2, 20)), replace=False)) for _ in symbols]
    k, index = np.concatenate(pilots), np.repeat(symbols, [len(one) for one in pilots])
    shuffled = rng.permutation(len(k))
    pattern, order = slot_pattern_of(k[shuffled], index[shuffled], TIMES, n_fft=1024)
    order = np.arange(len(k)) if order is None else order
    np.testing.assert_array_equal(k[shuffled][order], pattern.subcarriers)
    np.testing.assert_array_equal(index[shuffled][order], symbols[pattern.symbol])
    assert [one.subcarriers for one in pattern.patterns] == [tuple(one.tolist()) for one in pilots]
    assert pattern.times_s == tuple(TIMES[symbols])
    assert pattern.output_times_s == tuple(TIMES)
    assert set(pattern.merged.subcarriers) == set(k.tolist())
    phi = cached_operator(pattern, 16, 0, torch.complex64, "cpu")
    assert phi.subcarriers.tolist() == list(pattern.subcarriers)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1, 2], [0], [0.0]), "pilot_symbol_index: expected one for each of 2 pilots"),
        (([1, 2], [0, 0.5], [0.0]), "pilot_symbol_index: expected whole numbers"),
        (([1, 2, 1, 2], [0, 0, 1, 1], [0.0, 0.0]), "symbol_times_s: expected finite times that ascend"),
        (([1, 2, 3], [0, 0, 1], [0.0, 1.0]), "symbol 1: pilot subcarriers: expected 2"),
        (([1, 1, 2, 9], [0] * 4, [0.0]), "symbol 0: pilot subcarriers: 1 stands there more than once"),
        (([1, 2], [0, 0], [[0.0]]), "symbol_times_s: expected a vector"),
    ],
)
def test_what_is_no_slot(arguments: tuple, said: str) -> None:
    with pytest.raises(PilotError, match=said):
        slot_pattern_of(*arguments, n_fft=64)


def test_patterns_of_one_grid() -> None:
    with pytest.raises(PilotError, match="expected pilots on one grid"):
        SlotPattern((PilotPattern((1, 2)), PilotPattern((1, 2), Grid(64, range(-8, 9)))), (0.0, 1.0))
    with pytest.raises(PilotError, match="expected 1 of them"):
        SlotPattern((PilotPattern((1, 2)),), (0.0, 1.0))


def test_gains_have_the_correlation_of_their_doppler() -> None:
    doppler = torch.tensor([0.0, 200.0, 700.0])
    gains = moving_gains(torch.tensor([[2.0, 0.5]] * 3), TIMES, doppler, 4000, torch.Generator().manual_seed(0))
    for row, f in zip(gains, doppler.tolist(), strict=True):
        for path, power in enumerate((2.0, 0.5)):
            one = row[..., path]
            measured = (one.conj().unsqueeze(-1) * one.unsqueeze(-2)).mean(0)
            expected = power * jakes([f], TIMES, TIMES)[0]
            assert float((measured - expected).abs().max()) < 0.1 * power


def test_the_response_is_that_of_its_paths() -> None:
    delays = torch.tensor([[0.0, 7.25]], dtype=torch.float64)
    grid, generator = Grid.nr(24), torch.Generator()
    seen = moving_response(
        delays, torch.tensor([[0.5, 0.5]]), grid, TIMES, torch.tensor([90.0]), 2, generator.manual_seed(1)
    )
    gains = moving_gains(torch.tensor([[0.5, 0.5]]), TIMES, torch.tensor([90.0]), 2, generator.manual_seed(1))
    turns = np.exp(-2j * np.pi * np.outer(delays[0].numpy(), grid.used_subcarriers) / grid.n_fft)
    np.testing.assert_allclose(seen.numpy(), gains.numpy() @ turns, atol=1e-4)
