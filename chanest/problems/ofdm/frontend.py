"""The receiver front end: from baseband samples, or received pilots, to observations H + noise at the pilots."""

import torch
from torch import Tensor

from ...errors import ObservationError
from .pilots import PilotPattern


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


def check_pilots(received: Tensor, pattern: PilotPattern, noise_variance: Tensor | float | None) -> None:
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
    finite = torch.isfinite(torch.view_as_real(received.resolve_conj())).all(-1)
    if not finite.all():
        first = tuple((~finite).nonzero()[0].tolist())
        raise ObservationError("NaN or Inf", field="received_pilots", index=first)
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


def check_measurements(observations: Tensor, matrix: Tensor, noise_variance: Tensor | float | None) -> None:
    """Raise ObservationError unless y and Phi of the synthetic setting are real, finite and fit each other.

    >>> check_measurements(torch.ones(5, 2), torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 2.0]]), None)
    Traceback (most recent call last):
    ...
    chanest.errors.ObservationError: phi: column 1 is zero; leave it out, nothing can be said of its coefficient
    """
    for name, values in (("phi", matrix), ("observations", observations)):
        if values.dtype not in (torch.float32, torch.float64):
            found = str(values.dtype).removeprefix("torch.")
            raise ObservationError(f"expected float32 or float64, got {found}", field=name)
    if matrix.dtype != observations.dtype:
        wanted, found = (str(t.dtype).removeprefix("torch.") for t in (observations, matrix))
        raise ObservationError(f"expected {wanted} like the observations, got {found}", field="phi")
    if matrix.ndim != 2:
        raise ObservationError(
            f"expected a matrix (n_measurements, n_coefficients), got {tuple(matrix.shape)}", field="phi"
        )
    m, n = matrix.shape
    if not 1 <= m < n:
        raise ObservationError(
            f"expected fewer rows (measurements) than columns (coefficients), got {m} x {n}", field="phi"
        )
    if observations.ndim == 0 or observations.shape[-1] != m or not observations.numel():
        raise ObservationError(
            f"expected shape (*batch, {m}) for {m} rows of phi, got {tuple(observations.shape)}", field="observations"
        )
    for name, values in (("phi", matrix), ("observations", observations)):
        finite = torch.isfinite(values)
        if not finite.all():
            first = tuple((~finite).nonzero()[0].tolist())
            raise ObservationError("NaN or Inf", field=name, index=first)
    zero = (matrix == 0).all(0)
    if zero.any():
        column = int(zero.nonzero()[0])
        raise ObservationError(
            f"column {column} is zero; leave it out, nothing can be said of its coefficient", field="phi"
        )
    check_noise(noise_variance, observations.shape[:-1])


def check_noise(noise_variance: Tensor | float | None, batch: torch.Size) -> None:
    """Raise ObservationError unless noise variances are finite, not negative, and one or one per observation.

    >>> check_noise(-1.0, torch.Size([4]))
    Traceback (most recent call last):
    ...
    chanest.errors.ObservationError: noise_variance: expected finite numbers, not negative
    """
    if noise_variance is None:
        return
    variance = torch.as_tensor(noise_variance)
    if not bool((torch.isfinite(variance) & (variance >= 0)).all()):
        raise ObservationError("expected finite numbers, not negative", field="noise_variance")
    if variance.ndim and variance.shape != batch:
        raise ObservationError(
            f"expected a number or shape {tuple(batch)}, got {tuple(variance.shape)}", field="noise_variance"
        )
