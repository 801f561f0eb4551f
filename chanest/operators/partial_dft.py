"""The OFDM operator: rows of a DFT at the pilot subcarriers, columns at the delays, applied by FFT only."""

import math
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from .. import kernels
from ..errors import OperatorError
from ..kernels.adapters import Array, are_plain, rows, run, suits
from . import tap_domain
from .base import JointMoments, LinearOperator, Moments, cached
from .chirp import ChirpTransform
from .cholesky import LOADING, diagonal_load

SHORTER = 0.6  # of the operations of an FFT, where two others take its place
_CACHED = 2**18  # entries that a cache holds


class PartialDFT(LinearOperator):
    """Phi[m, n] = exp(-2 pi i k_m tau_n / n_fft) / sqrt(M), k_m the pilots' subcarriers, tau_n the delays in samples.

    Delays run from ``first_tap_samples`` for ``n_taps`` steps of ``spacing_samples``. Columns have unit norm. No
    M x N matrix is ever built: ``forward`` and ``adjoint`` take one FFT of length n_fft / spacing, ``gram`` a pair of
    about 2 n_taps (Phi^H Phi is Toeplitz), ``covariance`` and ``quadratic_diagonal`` one FFT each (their entries
    depend on differences of pilots only).

    Args:
        subcarriers: (*batch_shape, M) integers, distinct: one set for the batch, or one per batch entry. A DFT bin is a
            subcarrier mod n_fft; signed ones, counted from the carrier's centre, are kept for interpolators, and
            count where delays lie between the samples.
        n_taps: N.
        first_tap_samples: delay of the first column, may be negative; a multiple of the spacing.
        n_fft: DFT length.
        dtype: torch.complex64 or torch.complex128.
        device: where the operator works.
        spacing_samples: between two delays: 1, 1/2, 1/4 ... or 2, 4 ..., of which n_fft is a multiple.
        window_told: whether the channel is known to lie at these delays, the first paths near the beginning, so that
            the place of a tap counts; else they are just all that the pilots tell apart.
        coarse_ratio: of the spacings of the grid that an algorithm may start on and of this one.

    Raises:
        OperatorError: more taps than n_fft / spacing, a spacing or a first tap that is off the grid, or no
            subcarriers.

    >>> phi = PartialDFT(torch.tensor([-300, -7, 5, 120]), n_taps=256)
    >>> phi.forward(torch.zeros(3, 256, dtype=torch.complex64)).shape
    torch.Size([3, 4])
    """

    n_layers = 1

    def __init__(
        self,
        subcarriers: Tensor,
        n_taps: int,
        first_tap_samples: float = 0,
        n_fft: int = 1024,
        dtype: torch.dtype = torch.complex64,
        device: torch.device | str = "cpu",
        spacing_samples: float = 1.0,
        window_told: bool = False,
        coarse_ratio: int = 4,
    ) -> None:
        length, first = n_fft / spacing_samples, first_tap_samples / spacing_samples
        if not (length.is_integer() and first.is_integer()):
            raise OperatorError(
                f"expected a divisor of n_fft = {n_fft} and of the first tap {first_tap_samples:g}, "
                f"got {spacing_samples:g}",
                field="spacing_samples",
            )
        most = "n_fft" if spacing_samples == 1 else "n_fft / spacing"
        OperatorError.unless(1 <= n_taps <= length, f"1...{most} = {length:g}", n_taps, "n_taps")
        if subcarriers.shape[-1] < 1:
            raise OperatorError("expected at least one per batch entry", field="subcarriers")
        self.subcarriers = subcarriers.to(device, torch.int64)
        self.n_fft, self.first_tap_samples, self.spacing_samples = n_fft, first_tap_samples, spacing_samples
        self.window_told, self.coarse_ratio = window_told, coarse_ratio
        self.length, self._first = int(length), int(first)
        self.bins = self.subcarriers % self.length
        self.n_measurements, self.n_coefficients = self.bins.shape[-1], n_taps
        self.batch_shape = self.bins.shape[:-1]
        self.dtype, self.device = dtype, self.bins.device

    def forward(self, x: Tensor) -> Tensor:
        if (chirp := self._chirp) is not None:
            return self._by_rows(lambda x: chirp.forward(x) * self._phase, x)
        return self._by_rows(lambda x: self._take(self._spectrum(x), self._positions) * self._phase, x)

    def adjoint(self, y: Tensor) -> Tensor:
        if (chirp := self._chirp) is not None:
            return self._by_rows(lambda y: chirp.adjoint(y * self._phase.conj()), y)
        return self._by_rows(lambda y: self._taps(self._scatter(y * self._phase.conj())), y)

    def adjoint_of_symbols(self, y: Tensor, symbol: Tensor, n_symbols: int) -> Tensor:
        """Phi^H of the pilots of every OFDM symbol by themselves: (*batch, M) -> (*batch, P, N).

        Args:
            y: one observation of pilots of several symbols; those of one symbol stand on distinct subcarriers.
            symbol: (M,) int64, 0...P - 1, of each pilot.
            n_symbols: P.
        """
        grid = y.new_zeros(*y.shape[:-1], n_symbols * self.length)
        grid = grid.index_copy(-1, symbol * self.length + self.bins, y * self._phase.conj())
        return self._taps(grid.unflatten(-1, (n_symbols, self.length)))

    def without_delay(self, y: Tensor) -> Tensor:
        """y as an operator whose first delay is 0 would see it: (*batch, M) -> (*batch, M)."""
        return y * self._phase.conj() * self.n_measurements**0.5 if self._first else y

    def with_delay(self, y: Tensor) -> Tensor:
        """The inverse of :meth:`without_delay`."""
        return y * self._phase * self.n_measurements**0.5 if self._first else y

    def gram(self, x: Tensor) -> Tensor:
        length, eigenvalues = self._circulant
        return torch.fft.ifft(torch.fft.fft(x, length).mul_(eigenvalues))[..., : self.n_coefficients]

    def covariance(self, g: Tensor) -> Tensor:
        spectrum = torch.fft.fft(g.to(self.dtype), self.length)
        differences = self._differences
        flat = self._take(spectrum, differences.flatten(-2))
        # exp(-2 pi i (k - k') first / length), the taps' common delay
        phase = self._phase * self.n_measurements**0.5
        lag = phase.unsqueeze(-1) * phase.conj().unsqueeze(-2)
        return flat.unflatten(-1, differences.shape[-2:]) * lag / self.n_measurements

    def cross_covariance(self, other: LinearOperator, g: Tensor) -> Tensor:
        if not isinstance(other, PartialDFT) or self.batch_shape or other.batch_shape:
            return super().cross_covariance(other, g)
        spectrum = torch.fft.fft(g.to(self.dtype), self.length)
        differences = (self.bins.unsqueeze(-1) - other.bins) % self.length
        lag = self._phase.unsqueeze(-1) * other._phase.conj()
        return spectrum[..., differences.flatten()].unflatten(-1, differences.shape) * lag

    def quadratic_diagonal(self, c: Tensor) -> Tensor:
        phase = self._phase * self.n_measurements**0.5
        lag = (phase.conj().unsqueeze(-1) * phase.unsqueeze(-2)).expand(c.shape)
        index = self._differences.expand(c.shape).flatten(-2)
        grid = c.new_zeros(*c.shape[:-2], self.length).scatter_add_(-1, index, (c * lag).flatten(-2))
        return self._taps(grid).real / self.n_measurements

    def posterior_moments(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Moments:
        taps = partial(tap_domain.posterior_moments, self)
        return tap_domain.where_it_pays(self, (y, g, noise_variance), (1, 1, 0), taps, self._moments_of_pilots)

    def _moments_of_pilots(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Moments:
        if not suits(y, self, g):
            return super().posterior_moments(y, g, noise_variance)
        found = self._compiled_posterior(y.unsqueeze(-2), g, noise_variance.unsqueeze(-1), joint=False)
        if found is None:
            return super().posterior_moments(y, g, noise_variance)
        w, lags, _, _, scalars = found
        misfit, trace, fit = (row / self.n_measurements for row in scalars)
        q, d = self.adjoint(self.with_delay(w.squeeze(-2))), self.along_lags(lags)
        return Moments(g * q, q, d, fit, noise_variance * (1 + noise_variance * (misfit - trace)))

    def joint_moments(self, y: Tensor, g: Tensor, noise_variance: Tensor, reach: int | None = None) -> JointMoments:
        taps = partial(tap_domain.joint_moments, self, reach=reach)
        return tap_domain.where_it_pays(self, (y, g, noise_variance), (2, 1, 1), taps, self._joint_of_pilots)

    def _joint_of_pilots(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> JointMoments:
        if not suits(y, self, g):
            return super().joint_moments(y, g, noise_variance)
        found = self._compiled_posterior(y, g, noise_variance, joint=True)
        if found is None:
            return super().joint_moments(y, g, noise_variance)
        _, lags, outer, (surprise, information), scalars = found
        q2 = self.along_lags(outer).clamp_min(0)
        return JointMoments(q2, self.along_lags(lags), scalars[2] / self.n_measurements, surprise, information)

    def joint_solution(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        taps = partial(tap_domain.joint_solution, self)
        return tap_domain.where_it_pays(self, (y, g, noise_variance), (2, 1, 1), taps, self._solution_of_pilots)

    def _solution_of_pilots(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        if not suits(y, self, g):
            return super().joint_solution(y, g, noise_variance)
        w = self._compiled_solution(y, g, noise_variance)
        return super().joint_solution(y, g, noise_variance) if w is None else w

    def _solution(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        def taps(y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
            return tap_domain.joint_solution(self, y.unsqueeze(-2), g, noise_variance.unsqueeze(-1)).squeeze(-2)

        return tap_domain.where_it_pays(self, (y, g, noise_variance), (1, 1, 0), taps, self._one_of_pilots)

    def _one_of_pilots(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        if not suits(y, self, g):
            return super()._solution(y, g, noise_variance)
        w = self._compiled_solution(y.unsqueeze(-2), g, noise_variance.unsqueeze(-1))
        return super()._solution(y, g, noise_variance) if w is None else w.squeeze(-2)

    def _eigenvectors(self) -> tuple[Tensor, Tensor]:
        return tap_domain.eigenvectors(self) if tap_domain.few_taps(self) else super()._eigenvectors()

    def _compiled_posterior(
        self, y: Tensor, g: Tensor, noise_variance: Tensor, joint: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None:
        """w (*batch, R, M) without the delay, and what else the kernel gives; None where it fails."""
        observed, spectra, loads, batch = self.for_kernel(y, g, noise_variance)
        found = posterior_arrays(self, observed, spectra, loads, *_one_symbol(observed), joint)
        if found is None:
            return None
        w, sums, outer, diagonals, scalars = map(torch.from_numpy, found)
        made = w.reshape(y.shape), sums.reshape(*batch, -1), outer.reshape(*batch, -1) if joint else outer
        return *made, diagonals.reshape(2, *batch, -1), scalars.reshape(3, *batch)

    def _compiled_solution(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor | None:
        from ..kernels.posterior import solve

        observed, spectra, loads, _ = self.for_kernel(y, g, noise_variance)
        w, solved = np.empty_like(observed), np.empty(len(observed), bool)
        run(solve, len(w), spectra, loads, observed, *self.folded_lags, *_one_symbol(observed), w, solved)
        return self.with_delay(torch.from_numpy(w).reshape(y.shape)) if solved.all() else None

    def moments_of_rows(self, observed: Array, g: Array, s: Array) -> tuple[Array, Array, Array, Array] | None:
        """What :meth:`posterior_moments` gives in arrays, in this thread; None where a pivot is not positive.

        Args:
            observed: (n, M) complex64, y without the delay.
            g: (n, N) float32.
            s: (n,) float32.

        Returns:
            q (n, N) complex64, d (n, N), fit (n,) and the noise variance of EM (n,), float32.
        """
        from ..kernels.posterior import collect, place_pilots, posterior

        (n, m), joint = observed.shape, observed[:, None]
        w, lags = np.empty_like(joint), np.zeros((n, self.length // 2 + 1), np.complex64)
        diagonals, scalars = np.empty((2, n, m), np.float32), np.empty((3, n), np.float32)
        given = *self._spectra_and_loads(g, s), joint, self.length, *self.folded_lags, *_one_symbol(joint)
        posterior(*given, w, lags, np.empty((0, 0), np.complex64), diagonals, scalars, 0, n)
        grid = np.empty((n, self.length), np.complex64)
        place_pilots(w[:, 0], self._own_bins, grid)
        taps = torch.fft.ifft(torch.from_numpy(grid), norm="forward").numpy()
        sums = torch.fft.irfft(torch.from_numpy(lags), self.length, norm="forward").numpy()
        q, d, fit, em = np.empty(g.shape, np.complex64), np.empty_like(g), np.empty_like(s), np.empty_like(s)
        return (q, d, fit, em) if collect(taps, sums, scalars, s, m, q, d, fit, em) else None

    def solution_of_rows(self, observed: Array, g: Array, s: Array) -> Array | None:
        """The posterior mean in arrays, in this thread, as of :meth:`moments_of_rows`; None where a pivot is not
        positive.
        """
        from ..kernels.posterior import place_pilots, solve

        n, joint = len(observed), observed[:, None]
        w, solved = np.empty_like(joint), np.empty(n, bool)
        solve(*self._spectra_and_loads(g, s), joint, *self.folded_lags, *_one_symbol(joint), w, solved, 0, n)
        if not solved.all():
            return None
        grid = np.empty((n, self.length), np.complex64)
        place_pilots(w[:, 0], self._own_bins, grid)
        taps = torch.fft.ifft(torch.from_numpy(grid), norm="forward").numpy()[:, : self.n_coefficients]
        return taps * (g * np.float32(self.n_measurements**-0.5))

    def _spectra_and_loads(self, g: Array, s: Array) -> tuple[Array, Array]:
        from ..kernels.posterior import place_loads

        load = np.empty((len(g), self.n_measurements), np.float32)
        place_loads(g, s, np.float32(LOADING), load)
        return torch.fft.rfft(torch.from_numpy(g), self.length).numpy(), load

    @cached_property
    def _own_bins(self) -> Array:
        return self.bins.numpy()

    def for_kernel(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> tuple[Array, Array, Array, torch.Size]:
        """y (n, R, M) without the delay, spectra of g (n, length // 2 + 1), loads (n, M), the shape of the batch."""
        batch, (r, m) = y.shape[:-2], y.shape[-2:]
        load = diagonal_load(g.sum(-1, keepdim=True), noise_variance, m).expand(*batch, m).reshape(-1, m)
        spectrum = self._by_rows(lambda g: torch.fft.rfft(g, self.length), g)
        spectrum = spectrum.expand(*batch, -1).reshape(-1, self.length // 2 + 1)
        made = (self.without_delay(y).reshape(-1, r, m), spectrum, load)
        observed, spectra, loads = (np.ascontiguousarray(t.detach().resolve_conj().resolve_neg().numpy()) for t in made)
        return observed, spectra, loads, batch

    def along_lags(self, lags: Tensor) -> Tensor:
        """diag(Phi^H C Phi) from the sums of C along equal lags, (*batch, length // 2 + 1) -> (*batch, N)."""
        n = self.n_coefficients
        sums = self._by_rows(lambda lags: torch.fft.irfft(lags, self.length, norm="forward")[..., :n], lags)
        return sums / self.n_measurements

    @property
    def layer(self) -> "PartialDFT":
        """The operator of one layer: this one."""
        return self

    @property
    def symbols(self) -> Tensor:
        """(1, M): 1 on every pilot."""
        return torch.ones(1, self.n_measurements, dtype=self.dtype, device=self.device)

    def to(self, dtype: torch.dtype) -> "PartialDFT":
        """The same in another precision."""
        return cached(self, ("to", dtype), lambda: self._like(dtype=dtype))

    def coarser(self, ratio: int) -> "PartialDFT":
        """The same pilots over delays ``ratio`` times as far apart, as many as fit, from the same first one."""
        n_taps, spacing = self.n_coefficients // ratio, self.spacing_samples * ratio
        return cached(self, ("coarser", ratio), lambda: self._like(n_taps=n_taps, spacing_samples=spacing))

    def widened(self, n_taps: int) -> "PartialDFT":
        """The same pilots over more delays, from the same first one, as if they were not told."""
        return self._like(n_taps=n_taps, window_told=False)

    def seen_at(self, subcarriers: Tensor) -> "PartialDFT":
        """The same delays at other subcarriers, (n,) int64."""
        return self._like(subcarriers=subcarriers)

    def _like(self, **changes: Any) -> "PartialDFT":
        own: dict[str, Any] = {
            "subcarriers": self.subcarriers,
            "n_taps": self.n_coefficients,
            "first_tap_samples": self.first_tap_samples,
            "n_fft": self.n_fft,
            "dtype": self.dtype,
            "device": self.device,
            "spacing_samples": self.spacing_samples,
            "window_told": self.window_told,
            "coarse_ratio": self.coarse_ratio,
        }
        return PartialDFT(**(own | changes))

    @cached_property
    def resolution_samples(self) -> float:
        """Delays nearer to each other than this look alike: n_fft over the span of the pilots."""
        return self.n_fft / (int(self.subcarriers.max() - self.subcarriers.min()) + 1)

    # the pieces -------------------------------------------------------------------------------------------

    def _by_rows(self, transform: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """``transform`` of (*batch, n); on a CPU of as many rows at a time as a cache holds."""
        if torch.compiler.is_compiling() or self.batch_shape or x.device.type != "cpu":
            return transform(x)
        size = self.length if self._chirp is None else self._chirp.size
        n_rows, step = x.numel() // max(1, x.shape[-1]), max(1, _CACHED // size)
        if n_rows <= 2 * step or (torch.is_grad_enabled() and x.requires_grad):
            return transform(x)
        parts = [transform(part) for part in x.reshape(n_rows, -1).split(step)]
        return torch.cat(parts).reshape(*x.shape[:-1], -1)

    def _spectrum(self, x: Tensor) -> Tensor:
        """All n_fft bins of x, (*batch, N) -> (*batch, n_fft); pruned where x fills whole decimated blocks."""
        if self._n_blocks == 1:
            return torch.fft.fft(x, self.length)
        # X[n_blocks q + r] = sum_n (x[n] exp(-2 pi i r n / n_fft)) exp(-2 pi i q n / (n_fft / n_blocks))
        return torch.fft.fft(x.unsqueeze(-2) * self._twiddles, self.length // self._n_blocks).flatten(-2)

    def _taps(self, grid: Tensor) -> Tensor:
        """The first N outputs of the unnormalised inverse DFT: (*batch, n_fft) -> (*batch, N)."""
        return torch.fft.ifft(grid, norm="forward")[..., : self.n_coefficients]

    def _take(self, spectrum: Tensor, index: Tensor) -> Tensor:
        """Entries of spectra (*batch, n_fft), by indices (*batch_shape, n)."""
        return spectrum.gather(-1, index.expand(*spectrum.shape[:-1], -1)) if self.batch_shape else spectrum[..., index]

    def _scatter(self, y: Tensor) -> Tensor:
        grid = y.new_zeros(*y.shape[:-1], self.length)
        if self.batch_shape:
            return grid.scatter_(-1, self.bins.expand(y.shape), y)
        return grid.index_copy_(-1, self.bins, y)

    @cached_property
    def _n_blocks(self) -> int:
        """How many short FFTs replace the padded one: it pays when x fills at least half of each."""
        for n_blocks in (8, 4):
            length, rest = divmod(self.length, n_blocks)
            if not rest and length // 2 < self.n_coefficients <= length:
                return n_blocks
        return 1

    @cached_property
    def _chirp(self) -> ChirpTransform | None:
        """In place of one long FFT, where two short ones are much less; in double precision, for it rounds more."""
        if self.dtype != torch.complex128 or self.batch_shape:
            return None
        made = ChirpTransform(self.subcarriers, self.n_coefficients, self.length)
        chirps, one = (n * math.log2(n) for n in (made.size + 1, self.length + 1))
        return made if 2 * chirps < SHORTER * one else None

    @cached_property
    def _positions(self) -> Tensor:
        """Where each pilot's bin lies in the output of :meth:`_spectrum`."""
        return self.bins % self._n_blocks * (self.length // self._n_blocks) + self.bins // self._n_blocks

    @cached_property
    def _twiddles(self) -> Tensor:
        r = torch.arange(self._n_blocks, device=self.device).unsqueeze(-1)
        return self._unit(-r * torch.arange(self.n_coefficients, device=self.device))

    @cached_property
    def _phase(self) -> Tensor:
        """(*batch_shape, M): exp(-2 pi i k first_tap / n_fft) / sqrt(M)."""
        return self._unit(-self.bins * self._first) / self.n_measurements**0.5

    @property
    def phases(self) -> Tensor:
        """(*batch_shape, M) exp(-2 pi i k first_tap / n_fft), of a delay before the first tap."""
        return self._phase * self.n_measurements**0.5

    @cached_property
    def _differences(self) -> Tensor:
        """(*batch_shape, M, M): (k_m - k_m') mod n_fft."""
        return (self.bins.unsqueeze(-1) - self.bins.unsqueeze(-2)) % self.length

    @cached_property
    def folded_lags(self) -> tuple[Array, Array]:
        """Pairs of pilots as entries of a spectrum (:mod:`chanest.kernels.posterior`), (M, M) both.

        int32 k_i - k_j mod n_fft, folded into 0...n_fft // 2; float32 -1 where the folded entry is the conjugate.
        """
        return self._folded(self)

    def _folded(self, other: "PartialDFT") -> tuple[Array, Array]:
        difference = (self.bins.numpy()[:, None] - other.bins.numpy()) % self.length
        sign = np.where(2 * difference <= self.length, 1.0, -1.0)
        return np.minimum(difference, self.length - difference).astype(np.int32), sign.astype(np.float32)

    def unexplained(self, band: "PartialDFT", g: Tensor, noise_variance: Tensor) -> Tensor | None:
        """The variance of sqrt(M') (Phi' x) given y for the rows of a band over the same taps, by a compiled loop.

        Args:
            band: Phi', M' rows.
            g: (n, N).
            noise_variance: (n,).

        Returns:
            (n, M'); None where there is no such loop, or a pivot is not positive.
        """
        fits = not self.batch_shape and not band.batch_shape and band.length == self.length
        single = self.dtype == torch.complex64 and g.dtype == noise_variance.dtype == torch.float32
        if not (kernels.available() and fits and single and are_plain(g, noise_variance) and len(g)):
            return None
        from ..kernels.posterior import unexplained

        (variances, s), one = rows(g, noise_variance), np.ones((len(g), 1, 1), np.float32)
        if self.__dict__.get("_beside", (None,))[0] is not band:
            self.__dict__["_beside"] = (band, self._folded(band))  # of the last band alone: there is one, mostly
        spectra, loads = self._spectra_and_loads(variances, s)
        found = np.empty((len(g), band.n_measurements), np.float32)
        given = spectra, loads, *self.folded_lags, np.zeros(self.n_measurements, np.int32), one
        run(unexplained, len(g), *given, *self.__dict__["_beside"][1], variances.sum(-1), found)
        return None if np.isnan(found).any() else torch.from_numpy(found)

    @cached_property
    def _circulant(self) -> tuple[int, Tensor]:
        """Length and eigenvalues of a circulant matrix whose corner is Phi^H Phi.

        Its first column is t[n] = sum_m exp(2 pi i k_m n / n_fft) / M, wrapped Hermitian around zero; the
        shift by the first tap cancels.
        """
        n, length = self.n_coefficients, next_fast_len(2 * self.n_coefficients - 1)
        nothing = torch.zeros(*self.batch_shape, self.length, dtype=torch.complex128, device=self.device)
        occupied = nothing.scatter(-1, self.bins, 1.0)
        if length >= self.length:
            return self.length, (occupied.real * self.length / self.n_measurements).to(self.dtype)
        t = torch.fft.ifft(occupied, norm="forward") / self.n_measurements
        gap = t.new_zeros(*self.batch_shape, length - 2 * n + 1)
        column = torch.cat([t[..., :n], gap, t[..., 1:n].conj().flip(-1)], -1)
        return length, torch.fft.fft(column).real.to(self.dtype)

    def _unit(self, turns: Tensor) -> Tensor:
        """exp(2 pi i turns / n_fft) for integer turns, reduced first so that large products stay exact."""
        angle = 2 * torch.pi * (turns % self.length).to(torch.float64) / self.length
        return torch.polar(torch.ones_like(angle), angle).to(self.dtype)


def posterior_arrays(
    phi: PartialDFT, observed: Array, spectra: Array, loads: Array, symbol: Array, correlation: Array, joint: bool
) -> tuple[Array, Array, Array, Array, Array] | None:
    """w, sums along lags of C^-1, and of the mean of w w^H if ``joint``, diagonals and scalars of
    :mod:`chanest.kernels.posterior`; None where a pivot is not positive.

    Args:
        phi: the operator.
        observed, spectra, loads: of :meth:`PartialDFT.for_kernel`.
        symbol: (M,) int32 of each pilot.
        correlation: (n, P, P) float32 of the taps between symbols.
    """
    from ..kernels.posterior import posterior

    n, _, m = observed.shape
    w, sums = np.empty_like(observed), np.zeros_like(spectra)
    outer = np.zeros_like(spectra) if joint else np.zeros((0, 0), np.complex64)
    diagonals, scalars = np.empty((2, n, m), np.float32), np.empty((3, n), np.float32)
    given = spectra, loads, observed, phi.length, *phi.folded_lags, symbol, correlation
    run(posterior, n, *given, w, sums, outer, diagonals, scalars)
    return None if np.isnan(scalars[0]).any() else (w, sums, outer, diagonals, scalars)


def _one_symbol(observed: Array) -> tuple[Array, Array]:
    """All pilots on one OFDM symbol."""
    n, _, m = observed.shape
    return np.zeros(m, np.int32), np.ones((n, 1, 1), np.float32)
