"""The receiver front end: from baseband samples, or received pilots, to observations H + noise at the pilots."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...errors import ObservationError
from ...lazy import torch
from ..base import check_noise
from .pilots import PilotPattern
from .slots import SlotPattern

if TYPE_CHECKING:
    from torch import Tensor


def observe(
    samples: Tensor,
    pattern: PilotPattern,
    pilot_symbols: Tensor | complex = 1.0,
    cp_samples: int = 256,
    norm: str = "backward",
) -> Tensor:
    """Observations of one OFDM symbol from its baseband samples: drop the CP, FFT, take the pilots, divide.

    The symbol was made as CP + ifft(X, norm=norm). White noise of variance s^2 per sample has the variance
    n_fft s^2 per received pilot with norm="backward", s^2 with norm="ortho".

    Args:
        samples: (*batch, cp_samples + n_fft) complex.
        pattern: where the pilots lie.
        pilot_symbols: what was sent, a number or (n_pilots,), of one modulus.
        cp_samples: length of the cyclic prefix; the delays of the channel must fit in it.
        norm: "backward" (numpy's default) or "ortho", as in the transmitter's inverse FFT.

    Returns:
        (*batch, n_pilots), H + noise at the pilots.

    Raises:
        ObservationError: wrong length, real samples, NaN or Inf, unusable pilot symbols.

    >>> pattern = PilotPattern.random(75, seed=0)
    >>> grid = torch.zeros(1024, dtype=torch.complex64)
    >>> grid[torch.from_numpy(pattern.bins)] = 1j
    >>> symbol = torch.fft.ifft(grid)
    >>> h = observe(torch.cat([symbol[-256:], symbol]), pattern, pilot_symbols=1j)
    >>> bool(torch.allclose(h, torch.ones(75, dtype=torch.complex64), atol=1e-5))
    True
    """
    length = cp_samples + pattern.n_fft
    if not samples.is_complex():
        raise ObservationError(f"expected complex baseband samples, got {samples.dtype}", field="samples")
    if samples.ndim == 0 or samples.shape[-1] != length:
        raise ObservationError(
            f"expected shape (*batch, {length}), {cp_samples} of CP and {pattern.n_fft} of symbol, "
            f"got {tuple(samples.shape)}",
            field="samples",
        )
    if norm not in ("backward", "ortho"):
        raise ObservationError(f'expected "backward" or "ortho", got {norm!r}', field="norm")
    spectrum = torch.fft.fft(samples[..., cp_samples:], norm=norm)
    received = spectrum[..., torch.from_numpy(pattern.bins).to(samples.device)]
    check_pilots(received, pattern, None)
    return received / checked_symbols(pilot_symbols, received)


def check_pilots(received: Tensor, pattern: PilotPattern | SlotPattern, noise_variance: Tensor | float | None) -> None:
    """Raise ObservationError unless received pilots are complex, finite and match the pattern.

    >>> check_pilots(torch.ones(3), PilotPattern((-2, 1, 2)), None)
    Traceback (most recent call last):
    ...
    chanest.errors.ObservationError: received_pilots: expected complex64 or complex128, got float32
    """
    if received.dtype not in (torch.complex64, torch.complex128):
        raise ObservationError(
            f"expected complex64 or complex128, got {str(received.dtype).removeprefix('torch.')}",
            field="received_pilots",
        )
    if received.ndim == 0 or received.shape[-1] != len(pattern):
        raise ObservationError(
            f"expected shape (*batch, {len(pattern)}) for {len(pattern)} pilot subcarriers, "
            f"got {tuple(received.shape)}",
            field="received_pilots",
        )
    if not received.numel():
        raise ObservationError(
            f"expected at least one observation, got {tuple(received.shape)}", field="received_pilots"
        )
    if not math.isfinite(float(received.detach().abs().sum())):  # or too large a sum
        finite = torch.isfinite(torch.view_as_real(received.resolve_conj())).all(-1)
        if not finite.all():
            index = tuple((~finite).nonzero()[0].tolist())
            raise ObservationError("NaN or Inf", field="received_pilots", index=index)
    check_noise(noise_variance, received.shape[:-1])


def checked_symbols(pilot_symbols: Tensor | complex, received: Tensor) -> Tensor:
    """Pilot symbols as a tensor to divide by; ObservationError unless finite, of one modulus, and fitting.

    >>> checked_symbols(-1, torch.ones(3, dtype=torch.complex64))
    tensor(-1.+0.j)
    """
    symbols = torch.as_tensor(pilot_symbols).to(received.device, received.dtype)
    if symbols.ndim and symbols.shape != received.shape[-1:]:
        raise ObservationError(
            f"expected a number or shape ({received.shape[-1]},), got {tuple(symbols.shape)}", field="pilot_symbols"
        )
    modulus = symbols.abs()
    if not bool(torch.isfinite(modulus).all()) or not float(modulus.min()) > 0:
        raise ObservationError("expected finite numbers other than zero", field="pilot_symbols")
    if float(modulus.max()) > float(modulus.min()) * 1.001:
        raise ObservationError(
            f"expected one modulus, got {float(modulus.min()):.4g}...{float(modulus.max()):.4g}", field="pilot_symbols"
        )
    return symbols
