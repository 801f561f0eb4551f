"""The receiver front end undoes what a transmitter and a channel do in the time domain."""

import numpy as np
import pytest
import torch

from chanest import PilotPattern, observe
from chanest.errors import ObservationError


@pytest.mark.parametrize("norm", ["backward", "ortho"])
def test_a_symbol_through_a_cir_gives_phi_x(norm):
    rng = np.random.default_rng(0)
    pattern = PilotPattern.random(75, 0)
    grid = np.zeros(1024, complex)
    used = np.r_[1:301, 724:1024]
    grid[used] = rng.choice([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j], 600) / np.sqrt(2)  # data and pilots alike
    symbol = np.fft.ifft(grid, norm=norm)
    sent = np.concatenate([symbol[-256:], symbol])
    cir = np.zeros(256, complex)
    cir[[0, 17, 255]] = [1, 0.5j, -0.3]
    received = np.convolve(sent, cir)[: sent.size]
    observed = observe(torch.from_numpy(received), pattern, torch.from_numpy(grid[pattern.bins]), norm=norm)
    phi = pattern.operator(256, dtype=torch.complex128)
    torch.testing.assert_close(observed, phi.forward(torch.from_numpy(cir)) * 75**0.5)


@pytest.mark.parametrize(
    ("samples", "options", "said"),
    [
        (torch.zeros(1280), {}, "complex"),
        (torch.zeros(1279, dtype=torch.complex64), {}, "1280"),
        (torch.full((1280,), torch.nan, dtype=torch.complex64), {}, "NaN"),
        (torch.zeros(1280, dtype=torch.complex64), {"pilot_symbols": 0}, "other than zero"),
        (torch.zeros(1280, dtype=torch.complex64), {"pilot_symbols": torch.ones(3)}, "pilot_symbols"),
        (torch.zeros(1280, dtype=torch.complex64), {"norm": "forward"}, "norm"),
    ],
)
def test_unusable_samples_are_refused(samples, options, said):
    with pytest.raises(ObservationError, match=said):
        observe(samples, PilotPattern.random(75, 0), **options)


def test_pilot_symbols_of_several_moduli_are_refused():
    symbols = torch.ones(75, dtype=torch.complex64)
    symbols[3] = 2
    with pytest.raises(ObservationError, match="one modulus"):
        observe(torch.zeros(1280, dtype=torch.complex64), PilotPattern.random(75, 0), symbols)
