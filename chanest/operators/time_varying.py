"""Taps that change from OFDM symbol to OFDM symbol, seen by the pilots of several symbols at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OperatorError
from ..kernels.adapters import run, suits
from . import tap_domain
from .base import JointMoments, cached, squared
from .cholesky import cholesky, diagonal_load, inverse, solve_all
from .partial_dft import PartialDFT, posterior_arrays
from .superposed import Superposed

SMALLEST_SHARE = 1e-6  # lambda of a direction in which symbols tell anything


@dataclass(frozen=True)
class Evidence:
    """How well correlations in time explain observations.

    Attributes:
        log_determinant: (batch, D) log |C| of each, times the snapshots.
        agreement: (batch, D, P, P) complex, sum over the snapshots of y_p^H C^-1 y_p', y_p being y on a symbol alone.
    """

    log_determinant: Tensor
    agreement: Tensor

    def log_likelihood(self, turns: Tensor) -> Tensor:
        """(batch, D, V) float64 but for a constant, where symbols are turned by one of (batch, V, P) or (V, P)."""
        agreement, turns = self.agreement.to(torch.complex128), turns.to(torch.complex128)
        turns = turns.expand(len(agreement), *turns.shape[-2:])
        fit = torch.einsum("bdpq,bvp,bvq->bdv", agreement, turns, turns.conj()).real
        return -fit - self.log_determinant.double().unsqueeze(-1)


@dataclass(frozen=True)
class Motion:
    """How taps may change between the P symbols that carry pilots.

    Attributes:
        correlations: (D, P, P) float64, candidates for T: real, 1 on the diagonal.
        turns: (V, P) complex128 of modulus 1, candidates for what turns all taps from symbol to symbol.
        log_prior: (V,) float64 of these.
    """

    correlations: Tensor
    turns: Tensor
    log_prior: Tensor


def mean_turn(turns: Tensor, weights: Tensor) -> Tensor:
    """(batch, S) of modulus 1: the mean of turns (V, S), weighed by (batch, V)."""
    mean = weights.to(turns.dtype) @ turns
    return mean / mean.abs().clamp_min(1e-12)


class TimeVarying:
    """y = sum over the symbols p of diag(pilots on p) Phi x_p: taps x_n[p] ~ CN(0, g_n T), T between symbols.

    C = T[p, p'] (Phi diag(g) Phi^H) + S, entry by entry, of all pilots together.

    Args:
        phi: from the taps of one symbol to the pilots of all, one after the other.
        symbol: (M,) int64, 0...P - 1, of each pilot.
        motion: candidates for T.
        weights: (batch, D) of the candidates, whose mean is T; all alike when not given.

    Attributes:
        correlation: (batch, P, P), T; (1, P, P) where no weights are given.
        looks: (batch,), (tr T)^2/||T||^2: how many independent symbols these amount to, 1 of a channel at rest.
        share: (batch,) of the pilots, that one look has.
        unit: noise variances as this takes them over those of single pilots of unit norm.

    Raises:
        OperatorError: symbols of another number of pilots.

    >>> phi = PartialDFT(torch.tensor([-300, -7, -300, 120]), n_taps=16)
    >>> motion = Motion(torch.eye(2).unsqueeze(0), torch.ones(1, 2) + 0j, torch.zeros(1))
    >>> moving = TimeVarying(phi, torch.tensor([0, 0, 1, 1]), motion)
    >>> moving.adjoint(torch.ones(3, 4) + 0j).shape, moving.looks.tolist()
    (torch.Size([3, 2, 16]), [2.0])
    """

    def __init__(
        self, phi: PartialDFT | Superposed, symbol: Tensor, motion: Motion, weights: Tensor | None = None
    ) -> None:
        if symbol.shape != (phi.n_measurements,):
            raise OperatorError(f"expected ({phi.n_measurements},), got {tuple(symbol.shape)}", field="symbol")
        self.phi, self.symbol, self.motion, self.weights = phi, symbol.to(phi.device), motion, weights
        self.layer, self.symbols, self.n_layers = phi.layer, phi.symbols, phi.n_layers
        self.n_measurements, self.n_coefficients = phi.n_measurements, phi.n_coefficients
        self.dtype, self.device, self.n_fft, self.batch_shape = phi.dtype, phi.device, phi.n_fft, phi.batch_shape
        self.first_tap_samples, self.spacing_samples = phi.first_tap_samples, phi.spacing_samples
        self.resolution_samples, self.window_told = phi.resolution_samples, phi.window_told
        self.coarse_ratio, self.subcarriers = phi.coarse_ratio, phi.layer.subcarriers
        candidates = motion.correlations.to(phi.device)
        self.n_symbols = candidates.shape[-1]
        if weights is None:
            self.correlation = candidates.mean(0, keepdim=True)
        else:
            self.correlation = torch.einsum("bd,dpq->bpq", weights.double(), candidates)
        self.independent = self.n_symbols**2 / self.correlation.square().sum((-2, -1))
        self.looks, self.share, self.unit = self.independent, 1 / self.independent, 1.0

    def arranged(self, y: Tensor) -> Tensor:
        """Observations (batch, R, M) as this takes them."""
        return y

    def of_symbol(self, values: Tensor) -> Tensor:
        """What is known of every pilot, (batch, M), as this takes it."""
        return values

    def of_pilots(self, values: Tensor) -> Tensor:
        """The inverse of :meth:`of_symbol`."""
        return values

    def turned_back(self, y: Tensor, weights: Tensor) -> Tensor:
        """Observations (batch, R, M) without what turned their symbols, candidates being weighed (batch, V)."""
        turn = mean_turn(self.motion.turns.to(y.device), weights)
        return y * turn.conj()[:, self.symbol].to(y.dtype).unsqueeze(-2)

    def turned(self, y: Tensor, turn: Tensor) -> Tensor:
        """Symbols of y as this takes it, multiplied by (batch, P)."""
        return y * turn[:, self.symbol].to(y.dtype).unsqueeze(-2)

    def with_weights(self, weights: Tensor) -> "TimeVarying":
        """The same pilots and taps, (batch, D) other weights of the candidates."""
        return self._with(self.phi, self.motion, weights)

    def unrelated(self) -> "TimeVarying":
        """The same pilots, had a tap on a symbol nothing to do with the same tap on others: T = I."""
        still = torch.eye(self.n_symbols, dtype=torch.float64, device=self.device).unsqueeze(0)
        return self._with(self.phi, Motion(still, self.motion.turns, self.motion.log_prior), None)

    def rows(self, which: Tensor) -> "TimeVarying":
        """The same for some of the batch."""
        return self if self.weights is None else self.with_weights(self.weights[which])

    def to(self, dtype: torch.dtype) -> "TimeVarying":
        """The same in another precision."""
        return self._over(self.phi.to(dtype))

    def widened(self, n_taps: int) -> "TimeVarying":
        """The same pilots over more delays, from the same first one."""
        return self._over(self.phi.widened(n_taps))

    def _over(self, phi: PartialDFT | Superposed) -> "TimeVarying":
        return self._with(phi, self.motion, self.weights)

    def _with(self, phi: PartialDFT | Superposed, motion: Motion, weights: Tensor | None) -> "TimeVarying":
        return TimeVarying(phi, self.symbol, motion, weights)

    def coarser(self, ratio: int) -> "TimeVarying":
        """The same over delays ``ratio`` times as far apart."""
        return self._over(self.phi.coarser(ratio))

    def adjoint(self, y: Tensor) -> Tensor:
        """Of every symbol by itself: (*batch, M) -> (*batch, P, N)."""
        coded = y.unsqueeze(-2) * self.phi.symbols.conj()
        of_layers = self.phi.layer.adjoint_of_symbols(coded, self.symbol, self.n_symbols)
        return of_layers.movedim(-2, -3).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        """(*batch, P, N) -> (*batch, M)."""
        seen = self.phi.forward(x)
        return seen.gather(-2, self.symbol.expand(*seen.shape[:-2], 1, -1)).squeeze(-2)

    def response(self, x: Tensor) -> Tensor:
        """What taps T x, x (batch, R, P, N) = g :meth:`adjoint` C^-1 y, look like to all pilots: (batch, R, M)."""
        return self.forward(torch.einsum("bpq,brqn->brpn", self.correlation.to(x.dtype), x))

    def log_rank_deficit(self) -> Tensor:
        """(batch,) log of M over the effective rank of C, for taps of one variance."""
        norms = cached(self.phi, ("norms between symbols", tuple(self.symbol.tolist())), self._norms)
        return (self.phi.n_measurements * (norms * self.correlation.square()).sum((-2, -1))).log()

    def _norms(self) -> Tensor:
        """(P, P): ||.||^2 of the blocks of Phi Phi^H over its trace^2."""
        phi = self.phi
        c = phi.covariance(torch.ones(phi.n_coefficients, dtype=phi.dtype.to_real(), device=phi.device))
        of = torch.nn.functional.one_hot(self.symbol, self.n_symbols).to(c.real.dtype)
        return of.mT @ squared(c) @ of / c.diagonal().real.sum().square()

    def covariance(self, g: Tensor, noise_variance: Tensor) -> Tensor:
        """C, loaded: (batch, M, M), from g (batch, N) and the noise of every pilot (batch, M)."""
        load = diagonal_load(g.sum(-1, keepdim=True), noise_variance, self.phi.n_measurements)
        return self.phi.covariance(g) * self._between_pilots(g.dtype) + torch.diag_embed(load).to(self.phi.dtype)

    def joint_moments(self, y: Tensor, g: Tensor, noise_variance: Tensor, reach: int | None = None) -> JointMoments:
        """The posterior of taps that snapshots and symbols share, in the measure of one look.

        With Q = q^H T q and Delta = tr(T D) of a tap, these over the larger of ``looks`` and g Delta, which is how many
        directions of its symbols are resolved: of independent symbols the mean of |q|^2 and of d, of a channel at rest
        those of all pilots together.

        Args:
            y: (batch, R, M).
            g: (batch, N).
            noise_variance: (batch, M).
            reach: as of the operator of one symbol; all are found here.
        """
        phi = self.phi
        if suits(y, phi, g) and isinstance(phi, PartialDFT):
            observed, spectra, loads, _ = phi.for_kernel(y, g, noise_variance)
            found = posterior_arrays(phi, observed, spectra, loads, *self._for_kernel(len(y)), True)
            if found is not None:
                _, sums, outer, (surprise, information), scalars = map(torch.from_numpy, found)
                q2, d = phi.along_lags(outer).clamp_min(0), phi.along_lags(sums)
                return self._of_one_look(q2, d, g, scalars[2] / phi.n_measurements, surprise, information)
        c_inverse = inverse(self.covariance(g, noise_variance))
        w = (c_inverse @ y.mT).mT
        between = self._between_pilots(g.dtype)
        q2 = phi.quadratic_diagonal(w.mT @ w.conj() / y.shape[-2] * between).clamp_min(0)
        d = phi.quadratic_diagonal(c_inverse * between)
        fit = (y.conj() * w).real.mean((-2, -1))
        information = c_inverse.diagonal(dim1=-2, dim2=-1).real
        return self._of_one_look(q2, d, g, fit, squared(w).mean(-2), information)

    def _of_one_look(
        self, q2: Tensor, d: Tensor, g: Tensor, fit: Tensor, surprise: Tensor, information: Tensor
    ) -> JointMoments:
        each = torch.maximum(g * d, self.independent.to(g.dtype).unsqueeze(-1))
        return JointMoments(q2 / each, d / each, fit, surprise, information)

    def joint_solution(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        """w = C^-1 y of all snapshots, (batch, R, M)."""
        phi = self.phi
        if suits(y, phi, g) and isinstance(phi, PartialDFT):
            from ..kernels.posterior import solve

            observed, spectra, loads, _ = phi.for_kernel(y, g, noise_variance)
            w, solved = np.empty_like(observed), np.empty(len(observed), bool)
            given = spectra, loads, observed, *phi.folded_lags, *self._for_kernel(len(y))
            run(solve, len(w), *given, w, solved)
            if solved.all():
                return phi.with_delay(torch.from_numpy(w))
        return solve_all(self.covariance(g, noise_variance), y.mT).mT

    def evidence(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Evidence:
        """How well the candidates for T explain y (batch, R, M)."""
        phi, (n, r, _), p, correlations = self.phi, y.shape, self.n_symbols, self.motion.correlations
        if suits(y, phi, g) and isinstance(phi, PartialDFT):
            from ..kernels.posterior import evidence, evidence_of_two

            observed, spectra, loads, _ = phi.for_kernel(y, g, noise_variance)
            log_determinant = np.empty((n, len(correlations)), np.float32)
            agreement = np.empty((n, len(correlations), p, p), np.complex64)
            candidates = np.ascontiguousarray(correlations.float().numpy())
            given = spectra, loads, observed, *phi.folded_lags
            if p == 2:
                n_first, rho = int((self.symbol == 0).sum()), np.ascontiguousarray(candidates[:, 0, 1])
                run(evidence_of_two, n, *given, n_first, rho, log_determinant, agreement)
            else:
                run(evidence, n, *given, self.symbol.int().numpy(), candidates, log_determinant, agreement)
            if not np.isnan(log_determinant).any():
                return Evidence(torch.from_numpy(log_determinant) * r, torch.from_numpy(agreement))
        log_determinants, agreements = [], []
        alone = y.unsqueeze(-2) * torch.nn.functional.one_hot(self.symbol, p).mT.to(y.dtype)  # (batch, R, P, M)
        for weight in torch.eye(len(correlations), device=y.device):
            c = self.with_weights(weight.unsqueeze(0)).covariance(g, noise_variance)
            factor = cholesky(c)
            v = torch.linalg.solve_triangular(factor, alone.flatten(1, 2).mT, upper=False)
            v = v.mT.unflatten(1, (r, p))
            agreements.append(torch.einsum("brpm,brqm->bpq", v.conj(), v))
            log_determinants.append(2 * r * factor.diagonal(dim1=-2, dim2=-1).real.log().sum(-1))
        return Evidence(torch.stack(log_determinants, 1), torch.stack(agreements, 1))

    def explained(self, band: PartialDFT, g: Tensor, noise_variance: Tensor) -> Tensor:
        """B_k[p, p'] = v_p^H C^-1 v_p', v_p the covariance of the pilots with subcarrier k on symbol p but for T.

        Args:
            band: the subcarriers of one layer.
            g, noise_variance: (batch, N), (batch, M).

        Returns:
            (batch, L, n, P, P) Hermitian, such that T[t, :] B T[:, t] of what sum g varies by is explained.
        """
        exact, g, noise_variance = self.to(torch.complex128), g.double(), noise_variance.double()
        phi, band = exact.phi, band.to(torch.complex128)  # what is left is a small difference
        factor = cholesky(exact.covariance(g, noise_variance))
        of = torch.nn.functional.one_hot(self.symbol, self.n_symbols).to(phi.dtype)  # (M, P)
        made = []
        for layer, code in zip(g.unflatten(-1, (phi.n_layers, -1)).unbind(-2), phi.symbols, strict=True):
            v = phi.layer.cross_covariance(band, layer) * code.unsqueeze(-1) * band.n_measurements**0.5
            alone = v.unsqueeze(-1) * of.unsqueeze(-2)  # (batch, M, n, P)
            white = torch.linalg.solve_triangular(factor, alone.flatten(-2), upper=False).unflatten(
                -1, alone.shape[-2:]
            )
            made.append(torch.einsum("bmkp,bmkq->bkpq", white.conj(), white))
        return torch.stack(made, 1)

    def _between_pilots(self, dtype: torch.dtype) -> Tensor:
        """T of every two pilots, (batch, M, M)."""
        return self.correlation.to(dtype)[:, self.symbol][:, :, self.symbol]

    def _for_kernel(self, n: int) -> tuple[Any, Any]:
        correlation = self.correlation.float().expand(n, -1, -1).contiguous()
        return self.symbol.int().numpy(), correlation.numpy()


class Repeated(TimeVarying):
    """:class:`TimeVarying` where all symbols carry the same pilots, with the same symbols and noise: no matrix of all.

    With T = U diag(lambda) U^T, what U makes of the symbols are independent observations of one symbol's pilots with
    the variances lambda g. Observations are taken as (batch, R P, M), snapshots of one symbol's pilots, and scaled so.

    Args:
        phi: from the taps to the pilots of one symbol.
        motion, weights: as of :class:`TimeVarying`.

    >>> phi = PartialDFT(torch.tensor([-300, -7]), n_taps=16)
    >>> motion = Motion(torch.eye(2).unsqueeze(0), torch.ones(1, 2) + 0j, torch.zeros(1))
    >>> moving = Repeated(phi, motion)
    >>> moving.adjoint(moving.arranged(torch.ones(3, 1, 4) + 0j)).shape
    torch.Size([3, 1, 2, 16])
    """

    def __init__(self, phi: PartialDFT | Superposed, motion: Motion, weights: Tensor | None = None) -> None:
        super().__init__(phi, torch.zeros(phi.n_measurements, dtype=torch.int64), motion, weights)
        self.looks, self.share = self.independent / self.n_symbols, torch.ones_like(self.independent)
        self.unit = float(self.n_symbols)
        self.subcarriers = self.subcarriers.repeat(self.n_symbols)
        self.symbol = torch.arange(self.n_symbols, device=phi.device).repeat_interleave(self.n_measurements)

    def _with(self, phi: PartialDFT | Superposed, motion: Motion, weights: Tensor | None) -> "Repeated":
        return Repeated(phi, motion, weights)

    def arranged(self, y: Tensor) -> Tensor:
        p = self.n_symbols
        return y.unflatten(-1, (p, -1)).flatten(1, 2) * p**0.5

    def of_symbol(self, values: Tensor) -> Tensor:
        return values[..., : self.n_measurements]

    def thinned(self, at: Tensor) -> tuple["Repeated", Tensor]:
        """The same for some of a symbol's pilots, (n,) int64, of one layer; and which these are of all symbols'."""
        assert isinstance(self.phi, PartialDFT)
        m, phi = self.n_measurements, self.phi
        fewer = cached(phi, ("thinned", len(at)), lambda: phi.seen_at(phi.subcarriers[at]))
        every = (torch.arange(self.n_symbols, device=at.device).unsqueeze(-1) * m + at).flatten()
        return Repeated(fewer, self.motion, self.weights), every

    def of_pilots(self, values: Tensor) -> Tensor:
        return values.repeat(1, self.n_symbols)

    def turned(self, y: Tensor, turn: Tensor) -> Tensor:
        by_symbol = y.unflatten(1, (-1, self.n_symbols)) * turn.to(y.dtype)[:, None, :, None]
        return by_symbol.flatten(1, 2)

    def adjoint(self, y: Tensor) -> Tensor:
        """(batch, R P, M) -> (batch, R, P, N)."""
        return self.phi.adjoint(y).unflatten(-2, (-1, self.n_symbols))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, R, P, N) -> (batch, R, P M), pilots of unit norm."""
        return self.phi.forward(x).flatten(-2) / self.n_symbols**0.5

    def log_rank_deficit(self) -> Tensor:
        return cached(self.phi, "deficit", self._deficit).expand(len(self.correlation))

    def _deficit(self) -> Tensor:
        """(1,)."""
        phi = self.phi
        c = phi.covariance(torch.ones(phi.n_coefficients, dtype=phi.dtype.to_real(), device=phi.device))
        return (self.n_measurements * squared(c).sum() / c.diagonal().real.sum().square()).log().reshape(1)

    def flat_moments(self, y: Tensor, total: Tensor, level: Tensor) -> JointMoments:
        """:meth:`joint_moments` for variances ``total``/N of all taps and one noise of all pilots, (batch,) both."""
        share, rotated = self._independent(y)
        g = (total / self.n_coefficients).unsqueeze(-1).expand(-1, self.n_coefficients)
        parts = [
            self.phi.flat_moments(rotated[:, q], share[:, q].to(g.dtype) * total, level) for q in range(self.n_symbols)
        ]
        return self._joined(parts, share, g)

    def joint_moments(self, y: Tensor, g: Tensor, noise_variance: Tensor, reach: int | None = None) -> JointMoments:
        share, rotated = self._independent(y)
        parts = []
        for q in range(self.n_symbols):
            own = share[:, q, None].to(g.dtype) * g
            parts.append(self.phi.joint_moments(rotated[:, q].contiguous(), own, noise_variance, reach))
        return self._joined(parts, share, g)

    def _joined(self, parts: list[JointMoments], share: Tensor, g: Tensor) -> JointMoments:
        """Moments of independent observations, each with its share of the variances g, as those of one look."""
        own = share.to(g.dtype).unsqueeze(-1)
        q2, d = (sum(own[:, q] * getattr(m, name) for q, m in enumerate(parts)) for name in ("q2", "d"))
        of_all = ("fit", "surprise", "information")
        means = (torch.stack([getattr(m, name) for m in parts]).mean(0) for name in of_all)
        return self._of_one_look(q2, d, g, *means)

    def joint_solution(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
        share, rotated = self._independent(y)
        w = [
            self.phi.joint_solution(rotated[:, q].contiguous(), share[:, q, None].to(g.dtype) * g, noise_variance)
            for q in range(self.n_symbols)
        ]
        back = torch.einsum("bqrm,bpq->brpm", torch.stack(w, 1), self._directions(len(y))[1].to(y.dtype))
        return back.flatten(1, 2)

    def evidence(self, y: Tensor, g: Tensor, noise_variance: Tensor) -> Evidence:
        """By the eigenvectors of D Phi^H S^-1 Phi D, D^2 the variances of the taps that are alive, in double."""
        phi: Any = self.phi.to(torch.complex128)
        p, candidates = self.n_symbols, self.motion.correlations.to(y.device)
        lambdas, axes = torch.linalg.eigh(candidates)  # (D, P), (D, P, P)
        lambdas = lambdas.clamp_min(0)
        weight = 1 / diagonal_load(g.sum(-1, keepdim=True), noise_variance, self.n_measurements).double()
        white = weight.sqrt().unsqueeze(-2)
        by_symbol = (y.to(phi.dtype) * white).unflatten(1, (-1, p))  # (batch, R, P, M)
        energy = torch.diag_embed(squared(by_symbol).sum((1, -1))).to(phi.dtype)
        made, order = [], []
        for some, taps in tap_domain.chosen_taps(g):
            correlations = tap_domain.Correlations(phi, weight[some])
            root = g[some].gather(-1, taps).double().sqrt()
            normal = root.unsqueeze(-1) * correlations.between(taps, taps) * root.unsqueeze(-2)
            sigma, basis = torch.linalg.eigh(normal)
            sigma = sigma.clamp_min(0)
            matched = phi.adjoint(by_symbol[some] * white[some].unsqueeze(-2))
            at = taps[:, None, None].expand(*matched.shape[:-1], -1)
            beta = (matched.gather(-1, at) * root[:, None, None]) @ basis.conj().unsqueeze(1)  # (n, R, P, A)
            grown = 1 + lambdas[None, :, :, None] * sigma[:, None, None]  # (n, D, P, A)
            log_determinant = grown.log().sum((-2, -1)) * by_symbol.shape[1]
            seen = torch.einsum("brpa,brqa->bapq", beta.conj(), beta)
            filtered = lambdas[None, :, :, None] / grown
            directed = torch.einsum("dpx,bdxa,dqx->bdapq", axes, filtered, axes).to(seen.dtype)
            made.append((log_determinant, energy[some].unsqueeze(1) - torch.einsum("bdapq,bapq->bdpq", directed, seen)))
            order.append(some)
        back = torch.cat(order).argsort()
        log_determinant, agreement = (torch.cat(parts)[back] for parts in zip(*made, strict=True))
        return Evidence(log_determinant, agreement)

    def explained(self, band: PartialDFT, g: Tensor, noise_variance: Tensor) -> Tensor:
        share, axes = self._directions(len(g))
        total = g.double().unflatten(-1, (self.n_layers, -1)).sum(-1)[..., None]  # (batch, L, 1)
        along = []
        for q in range(self.n_symbols):
            own = share[:, q, None]
            left = tap_domain.variance_of_layers(self.phi, band, own.to(g.dtype) * g, noise_variance)
            own = own.unsqueeze(-1)
            along.append(torch.where(own > SMALLEST_SHARE, (own * total - left) / own.clamp_min(1e-12).square(), 0.0))
        return torch.einsum("bpx,blkx,bqx->blkpq", axes, torch.stack(along, -1), axes)

    def _directions(self, n: int) -> tuple[Tensor, Tensor]:
        """lambda (n, P) and U (n, P, P)."""
        share, axes = torch.linalg.eigh(self.correlation)
        return share.clamp_min(0).expand(n, -1), axes.expand(n, -1, -1)

    def _independent(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """lambda (batch, P), and what U makes of the symbols of y, (batch, P, R, M)."""
        share, axes = self._directions(len(y))
        return share, torch.einsum("brpm,bpq->bqrm", y.unflatten(1, (-1, self.n_symbols)), axes.to(y.dtype))
