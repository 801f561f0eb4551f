"""Chirps against the dense matrix, and where an operator takes them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chanest import Grid, PartialDFT, PilotPattern
from chanest.operators.chirp import ChirpTransform


@settings(deadline=None)
@given(
    subcarriers=st.lists(st.integers(-700, 700), min_size=1, max_size=40, unique=True),
    step=st.integers(1, 5),
    n_taps=st.integers(1, 60),
    length=st.sampled_from([600, 1024, 4096]),
)
def test_it_is_a_part_of_a_dft(subcarriers: list[int], step: int, n_taps: int, length: int) -> None:
    k = step * torch.tensor(subcarriers)
    matrix = torch.exp(-2j * torch.pi * (k.unsqueeze(-1) * torch.arange(n_taps) % length).double() / length)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, n_taps, dtype=torch.complex128, generator=generator)
    y = torch.randn(2, len(k), dtype=torch.complex128, generator=generator)
    chirp = ChirpTransform(k, n_taps, length)
    torch.testing.assert_close(chirp.forward(x), x @ matrix.mT, rtol=1e-10, atol=1e-10 * n_taps)
    torch.testing.assert_close(chirp.adjoint(y), y @ matrix.conj(), rtol=1e-10, atol=1e-10 * len(k))


def test_an_operator_takes_it_where_it_is_shorter() -> None:
    nr = PilotPattern.comb(2, 0, Grid.nr(106))
    window = dict(n_taps=800, first_tap_samples=-2.5, spacing_samples=0.25)
    phi = nr.operator(**window, dtype=torch.complex128)
    assert phi._chirp is not None
    assert nr.operator(**window)._chirp is None  # single precision
    assert nr.operator(n_taps=600, dtype=torch.complex128)._chirp is None  # a short DFT
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 800, dtype=torch.complex128, generator=generator)
    y = torch.randn(3, len(nr), dtype=torch.complex128, generator=generator)
    by_fft = PartialDFT(torch.tensor(nr.subcarriers), 800, -2.5, nr.n_fft, torch.complex128, spacing_samples=0.25)
    by_fft.__dict__["_chirp"] = None
    torch.testing.assert_close(phi.forward(x), by_fft.forward(x), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(phi.adjoint(y), by_fft.adjoint(y), rtol=1e-11, atol=1e-12)
