"""Posteriors in the domain of the taps: matrices as large as the taps that matter, however many pilots there are.

With S the noise of the pilots, T = Phi^H S^-1 Phi, D^2 = diag(g_a) of the taps a that matter, the posterior covariance
of these is P = D (I + D T_aa D)^-1 D; T is (block-)Toeplitz, from one FFT per pair of layers. All in double precision.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from .. import kernels
from ..kernels.adapters import run
from .base import JointMoments, Moments, squared
from .chirp import turned
from .cholesky import diagonal_load

T = TypeVar("T")
MATTERS = 0.005  # g of a tap that matters, times a bound on lambda_max(T) about twice as large as that
FEWEST = 140  # pilots, beyond the taps that matter, from which this is faster than a matrix of the pilots
CLEAN = 5e-4  # noise over the power, below which single precision loses so many pilots' way
_MOST_ENTRIES = 2**22
_LEAST_EIGENVALUE = 1e-9  # of the largest one
_REAL = 1e-12  # of an imaginary part that is none
_ROUNDED = 1e-6  # g T_nn of a tap whose d is lost where it is taken from its own variance


@dataclass(frozen=True)
class ActiveTaps:
    """The taps of every group that matter, and their posterior covariance.

    Attributes:
        taps: (batch, A) int64, filled up with taps of no variance where a group has fewer.
        covariance: (batch, A, A) complex128, P.
    """

    taps: Tensor
    covariance: Tensor


class Correlations:
    """T = Phi^H diag(weight) Phi of every group, as the values along its diagonals.

    Args:
        phi: :class:`PartialDFT` or :class:`Superposed`, one for the batch.
        weight: (batch, M), 1/noise.

    Attributes:
        strip: (batch, L, L, 2 N - 1), T of every pair of layers from lag N - 1 down to 1 - N.
        diagonal: (batch, L N).
    """

    def __init__(self, phi: Any, weight: Tensor) -> None:
        layer, symbols, weight = phi.layer, phi.symbols.to(torch.complex128), weight.double()
        self.n_layers, self.n, self._layer = phi.n_layers, layer.n_coefficients, layer
        grid = weight[:, None, None] * squared(symbols) if self.n_layers == 1 else _coded(weight, symbols)
        self._grid, nothing = grid, grid.new_zeros(*grid.shape[:-1], layer.length)
        spread = nothing.index_copy(-1, layer.bins, grid / phi.n_measurements)
        order = torch.arange(self.n - 1, -self.n, -1, device=weight.device) % layer.length
        if self.n_layers == 1:  # T is Hermitian, its spectrum real
            half = torch.fft.rfft(spread)
            folded = half[..., torch.minimum(order, layer.length - order)]
            self.strip = torch.where(2 * order > layer.length, folded, folded.conj()).contiguous()
            lags = half[..., :1]
        else:
            lags = torch.fft.ifft(spread, norm="forward")
            self.strip = lags[..., order].contiguous()
        self.diagonal = lags[..., 0].diagonal(dim1=-2, dim2=-1).real.repeat_interleave(self.n, -1)

    @cached_property
    def turns(self) -> Tensor | None:
        """(N,) complex128 u of unit modulus, where diag(u)^H T diag(u) is real: pilots and weights are symmetric."""
        subcarriers, n = self._layer.subcarriers, torch.arange(self.n, device=self.strip.device)
        at = subcarriers.argsort()
        ends, weights = subcarriers[at] + subcarriers[at.flip(-1)], self._grid[..., at]
        if self.n_layers > 1 or bool((ends != ends[0]).any()) or not torch.equal(weights, weights.flip(-1)):
            return None
        return turned(int(ends[0]) * n, 2 * self._layer.length)

    @cached_property
    def real_strip(self) -> Tensor:
        """diag(u)^H T diag(u) as the strip has T, (batch, 1, 1, 2 N - 1) float64, u the turns."""
        assert self.turns is not None
        lags = torch.cat([self.turns.flip(-1), self.turns[1:].conj()])  # from N - 1 down
        return (self.strip * lags.conj()).real.contiguous()

    def between(self, taps: Tensor, others: Tensor) -> Tensor:
        """T[taps, others], (batch, A) and (batch, B) -> (batch, A, B)."""
        return self._entries(self.strip, taps, others)

    def between_still(self, taps: Tensor, others: Tensor) -> Tensor:
        """(diag(u)^H T diag(u))[taps, others], float64, u the turns."""
        return self._entries(self.real_strip, taps, others)

    def _entries(self, strip: Tensor, taps: Tensor, others: Tensor) -> Tensor:
        group = torch.arange(len(taps), device=taps.device)[:, None, None]
        lag = self.n - 1 - (taps % self.n).unsqueeze(-1) + (others % self.n).unsqueeze(-2)
        return strip[group, (taps // self.n).unsqueeze(-1), (others // self.n).unsqueeze(-2), lag]


def active_taps(correlations: Correlations, g: Tensor, taps: Tensor) -> ActiveTaps:
    """P of some taps of every group, (batch, A), from the variances of all, (batch, L N)."""
    root = g.gather(-1, taps).double().sqrt()
    if _compiles(correlations.strip, root):
        return ActiveTaps(taps, _compiled_covariance(correlations, taps, root))
    normal = root.unsqueeze(-1) * correlations.between(taps, taps) * root.unsqueeze(-2)
    normal = normal + torch.eye(taps.shape[-1], dtype=normal.dtype, device=normal.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(normal)[0])
    return ActiveTaps(taps, root.unsqueeze(-1) * inverse * root.unsqueeze(-2))


def _compiled_covariance(t: Correlations, taps: Tensor, root: Tensor) -> Tensor:
    """P of :func:`active_taps`; where T is real but for turns of the taps, at a quarter of the cost."""
    from ..kernels.tap_domain import fill, scale

    strip, turned = t.strip, root.to(torch.complex128)
    if t.turns is not None:
        strip, turned = t.real_strip, root * t.turns[taps]
    normal = np.zeros((*taps.shape, taps.shape[-1]), strip.numpy().dtype)
    run(fill, len(taps), strip.numpy(), taps.numpy(), root.numpy(), normal)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(torch.from_numpy(normal))[0])
    covariance = np.empty(normal.shape, np.complex128)
    run(scale, len(taps), inverse.mT.contiguous().numpy(), turned.numpy(), covariance)
    return torch.from_numpy(covariance)


def sums_along_lags(active: ActiveTaps, n_taps: int, length: int, n_layers: int) -> Tensor:
    """Sums of P along equal differences of taps, of every pair of layers: (batch, L, L, length) complex128."""
    taps, p = active.taps, active.covariance
    if _compiles(p):
        from ..kernels.tap_domain import sum_lags

        sums = np.zeros((len(taps), n_layers, n_layers, length), np.complex128)
        run(sum_lags, len(taps), p.numpy(), taps.numpy(), n_taps, length, sums)
        return torch.from_numpy(sums)
    place, layer = taps % n_taps, taps // n_taps
    lag = (place.unsqueeze(-1) - place.unsqueeze(-2)) % length
    pair = layer.unsqueeze(-1) * n_layers + layer.unsqueeze(-2)
    nothing = p.new_zeros(len(p), n_layers**2 * length)
    added = nothing.scatter_add(-1, (pair * length + lag).flatten(1), p.flatten(1))
    return added.unflatten(-1, (n_layers, n_layers, length))


def chosen_taps(g: Tensor, least: Tensor | float = 0.0) -> Iterator[tuple[Tensor, Tensor]]:
    """Groups with about as many taps above ``least``, (batch, 1) or a number: their numbers (n,), and the taps (n, A).

    Args:
        g: (batch, N).
    """
    count = (g > least).sum(-1)
    order = count.argsort()
    start, sizes = 0, count[order].clamp_min(1).tolist()
    while start < len(order):
        end, most = start + 1, 1.25 * sizes[start] + 8
        while end < len(order) and sizes[end] <= most and (end - start) * sizes[end] * g.shape[-1] < _MOST_ENTRIES:
            end += 1
        some = order[start:end]
        yield some, g[some].topk(sizes[end - 1], -1).indices.sort(-1).values
        start = end


def pays(phi: Any, g: Tensor, noise: Tensor) -> Tensor | None:
    """Whether moments of an entry are to be found in this domain, (*batch,) bool; None where they never are.

    That is where it is faster, many pilots and few taps, or more exact.

    Args:
        phi: :class:`PartialDFT` or :class:`Superposed`.
        g: (*batch, N) tap variances.
        noise: (*batch, M).
    """
    m = phi.n_measurements
    traced = torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(g)
    if m < FEWEST or phi.batch_shape or traced or g.numel() == 0:
        return None
    noise = noise.detach()
    matter = (g.detach() > _least(phi, 1 / noise)).sum(-1)
    return (matter + FEWEST <= m) | ((matter <= 2 * m) & (noise.amin(-1) * m < CLEAN))


def where_it_pays(
    phi: Any, values: tuple[Tensor, ...], axes: tuple[int, ...], taps: Callable[..., T], pilots: Callable[..., T]
) -> T:
    """Entries in the domain that each pays in by itself, whatever it stands beside in its batch.

    Args:
        phi: the operator.
        values: arguments of both; g (*batch, N) and the noise, (*batch,) or (*batch, M), are the last two.
        axes: how many axes of each are its own.
        taps, pilots: moments, or a tensor (*batch, ...), in this domain and in that of the pilots.
    """
    g, noise = values[-2:]
    which = pays(phi, g, noise if axes[-1] else noise.unsqueeze(-1))
    count = 0 if which is None else int(which.sum())
    if which is None or count == 0:
        return pilots(*values)
    if count == which.numel():
        return taps(*values)
    batch = torch.broadcast_shapes(*(v.shape[: v.ndim - own] for v, own in zip(values, axes, strict=True)))
    which = which.expand(batch).reshape(-1)
    rows = [
        v.expand(*batch, *v.shape[v.ndim - own :]).reshape(-1, *v.shape[v.ndim - own :])
        for v, own in zip(values, axes, strict=True)
    ]
    some, rest = taps(*(v[which] for v in rows)), pilots(*(v[~which] for v in rows))
    order = torch.cat([which.nonzero(), (~which).nonzero()]).squeeze(-1).argsort()

    def joined(one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([one, other])[order].reshape(*batch, *one.shape[1:])

    if isinstance(some, Tensor):
        return joined(some, rest)  # type: ignore[arg-type, return-value]
    names = [f.name for f in fields(some)]  # type: ignore[arg-type]
    return replace(some, **{name: joined(getattr(some, name), getattr(rest, name)) for name in names})  # type: ignore


def never_pays(phi: Any) -> bool:
    """Whether there are too few pilots for it, whatever the variances."""
    return bool(phi.n_measurements < FEWEST)


def few_taps(phi: Any) -> bool:
    """Whether Phi^H Phi is a smaller matrix than Phi Phi^H, where both are large."""
    return (
        hasattr(phi, "layer")
        and not phi.batch_shape
        and phi.n_measurements >= FEWEST
        and phi.n_coefficients < phi.n_measurements
    )


def joint_moments(phi: Any, y: Tensor, g: Tensor, noise_variance: Tensor, reach: int | None) -> JointMoments:
    """As of an operator, phi.

    Args:
        phi: :class:`PartialDFT` or :class:`Superposed`.
        y, g, noise_variance, reach: see :meth:`LinearOperator.joint_moments`.
    """
    batch, dtype = y.shape[:-2], g.dtype
    made, order = [], []
    for part in _parts(phi, y, g, noise_variance):
        w, weight = part.w, part.weight
        made.append(
            (
                squared(part.phi.adjoint(w)).mean(-2),
                _diagonal(part, reach),
                (part.y.conj() * w).real.mean((-2, -1)),
                squared(w).mean(-2),
                weight - weight.square() * response_variance(part.active, part.phi),
            )
        )
        order.append(part.groups)
    back = torch.cat(order).argsort()
    joined = (torch.cat(values)[back] for values in zip(*made, strict=True))
    return JointMoments(*(values.to(dtype).reshape(*batch, *values.shape[1:]) for values in joined))


def posterior_moments(phi: Any, y: Tensor, g: Tensor, noise_variance: Tensor) -> Moments:
    """As of an operator, phi: y (*batch, M), g (*batch, N), noise_variance (*batch,)."""
    batch, made, order = y.shape[:-1], [], []
    for part in _parts(phi, y.unsqueeze(-2), g, noise_variance.unsqueeze(-1)):
        w = part.w.squeeze(-2)
        trace = part.weight - part.weight.square() * response_variance(part.active, part.phi)
        fit = (part.y.squeeze(-2).conj() * w).real.mean(-1)
        made.append((part.phi.adjoint(w), _diagonal(part, None), fit, (squared(w) - trace).mean(-1)))
        order.append(part.groups)
    back = torch.cat(order).argsort()
    q, d, fit, excess = (torch.cat(values)[back] for values in zip(*made, strict=True))
    q, d = q.to(y.dtype).reshape(*batch, -1), d.to(g.dtype).reshape(*batch, -1)
    fit, excess = (values.to(g.dtype).reshape(batch) for values in (fit, excess))
    return Moments(g * q, q, d, fit, noise_variance * (1 + noise_variance * excess))


def joint_solution(phi: Any, y: Tensor, g: Tensor, noise_variance: Tensor) -> Tensor:
    """C^-1 y, as of an operator: (*batch, R, M)."""
    parts = list(_parts(phi, y, g, noise_variance))
    w = torch.cat([part.w for part in parts])[torch.cat([part.groups for part in parts]).argsort()]
    return w.to(y.dtype).reshape(y.shape)


@dataclass(frozen=True)
class _Part:
    """Groups (n,) of a batch: y (n, R, M), g (n, N), and of the taps that matter alone, weight (n, M), T and P of them,
    and w = C^-1 y (n, R, M).
    """

    groups: Tensor
    phi: Any
    y: Tensor
    g: Tensor
    kept: Tensor
    weight: Tensor
    t: Correlations
    active: ActiveTaps
    w: Tensor


def _parts(phi: Any, y: Tensor, g: Tensor, noise_variance: Tensor) -> Iterator[_Part]:
    """A few groups with about as many taps that matter at a time."""
    g = g.expand(*y.shape[:-2], g.shape[-1])
    weights, phi = _weights(phi, g, noise_variance), phi.to(torch.complex128)
    g, y = g.reshape(-1, g.shape[-1]), y.reshape(-1, *y.shape[-2:])
    y = y.to(phi.dtype)
    least = _least(phi, weights)
    kept = torch.where(g > least, g, 0.0)  # others of as many taps as a neighbour in the batch has do not count
    for some, taps in chosen_taps(g, least):
        weight, observed = weights[some], y[some]
        t = Correlations(phi, weight)
        active = active_taps(t, kept[some], taps)
        # S^-1 (y - Phi mu), mu = P Phi_a^H S^-1 y
        matched = phi.adjoint(observed * weight.unsqueeze(-2))
        at = taps.unsqueeze(-2).expand(-1, y.shape[-2], -1)
        mean = matched.gather(-1, at) @ active.covariance.mT
        w = (observed - phi.forward(torch.zeros_like(matched).scatter(-1, at, mean))) * weight.unsqueeze(-2)
        yield _Part(some, phi, observed, g[some], kept[some], weight, t, active, w)


def gram_matrix(phi: Any) -> Tensor:
    """Phi^H Phi, (L N, L N) complex128."""
    phi = phi.to(torch.complex128)
    every = torch.arange(phi.n_coefficients, device=phi.device).unsqueeze(0)
    ones = torch.ones(1, phi.n_measurements, dtype=torch.float64, device=phi.device)
    return Correlations(phi, ones).between(every, every)[0]


def eigenvectors(phi: Any) -> tuple[Tensor, Tensor]:
    """Eigenvalues (r,) of Phi Phi^H that are not 0, and eigenvectors (M, r), from Phi^H Phi, which has them too.

    Where the pilots lie symmetrically about their middle, Phi^H Phi is real but for the turns that this gives.
    """
    gram, layer = gram_matrix(phi), phi.layer
    middle = float(layer.subcarriers.min() + layer.subcarriers.max()) / 2 / layer.length
    angle = 2 * torch.pi * middle * (torch.arange(len(gram), device=gram.device) % layer.n_coefficients)
    turn = torch.polar(torch.ones_like(angle), angle).to(gram.dtype)
    still = turn.conj().unsqueeze(-1) * gram * turn
    real = bool(still.imag.abs().max() < _REAL)
    eigenvalues, basis = torch.linalg.eigh(still.real if real else gram)
    heard = eigenvalues > _LEAST_EIGENVALUE * eigenvalues[-1]
    basis = basis[:, heard] * turn.unsqueeze(-1) if real else basis[:, heard]
    columns = phi.to(torch.complex128).forward(basis.mT)
    return eigenvalues[heard], (columns / eigenvalues[heard].sqrt().unsqueeze(-1)).mT


def _diagonal(part: _Part, reach: int | None) -> Tensor:
    """d = diag(T - T_:a P T_a:), (batch, L N): of the active taps (1 - P_aa/g_a)/g_a, but of the weakest of them."""
    t, taps, p = part.t, part.active.taps, part.active.covariance
    d, own = t.diagonal, part.kept.gather(-1, taps).double()
    strong = own * d.gather(-1, taps) > _ROUNDED
    others = _others(part.g, torch.zeros_like(part.g, dtype=torch.bool).scatter(-1, taps, strong), reach, t.n)
    if others.shape[-1]:
        if _compiles(p) and t.turns is not None:
            turns = t.turns[taps]
            still = (turns.conj().unsqueeze(-1) * p * turns.unsqueeze(-2)).real
            across = t.between_still(taps, others)
            explained = (across * (still @ across)).sum(-2)
        else:
            across = t.between(taps, others)
            explained = (across.conj() * (p @ across)).sum(-2).real
        d = d.scatter(-1, others, d.gather(-1, others) - explained)
    own = torch.where(strong, own, 1.0)
    known = (1 - p.diagonal(dim1=-2, dim2=-1).real / own) / own
    return d.scatter(-1, taps, torch.where(strong, known, d.gather(-1, taps)))


def real_spectrum(sums: Tensor) -> Tensor:
    """The DFT (..., length) of sums that are Hermitian along lags, which is real."""
    length = sums.shape[-1]
    return torch.fft.hfft(sums[..., : length // 2 + 1], length)


def response_variance(active: ActiveTaps, phi: Any) -> Tensor:
    """diag(Phi P Phi^H), (batch, M), P the posterior covariance of the taps."""
    layer, symbols = phi.layer, phi.symbols.to(torch.complex128)
    sums = sums_along_lags(active, layer.n_coefficients, layer.length, phi.n_layers)
    if phi.n_layers == 1:
        own = real_spectrum(sums[:, 0, 0])[..., layer.bins]
        return own * squared(symbols) / phi.n_measurements
    spectra = torch.fft.fft(sums)[..., layer.bins]
    return (spectra * symbols.unsqueeze(1) * symbols.conj()).sum((-3, -2)).real / phi.n_measurements


def band_variance(phi: Any, band: Any, g: Tensor, noise_variance: Tensor) -> Tensor:
    """Posterior variance of sum_n x_n exp(-2 pi i k tau_n / n_fft), k the rows of ``band``: (*batch, n_used).

    Of taps that do not matter it is what it was before.

    Args:
        phi, band: of the pilots and of the band, one layer.
        g: (*batch, N).
        noise_variance: (*batch, 1), or (*batch, M).
    """
    batch, n, made, order = g.shape[:-1], g.shape[-1], [], []
    rows, weights = g.reshape(-1, n), _weights(phi, g, noise_variance)
    least = _least(phi, weights)
    for some, taps in chosen_taps(rows, least):
        kept = torch.where(rows[some] > least[some], rows[some], 0.0)
        active = active_taps(Correlations(phi, weights[some]), kept, taps)
        left = rows[some].sum(-1) - kept.sum(-1)
        sums = sums_along_lags(active, n, band.length, 1)[:, 0, 0]
        made.append(real_spectrum(sums)[..., band.bins].clamp_min(0) + left.clamp_min(0).unsqueeze(-1))
        order.append(some)
    return torch.cat(made)[torch.cat(order).argsort()].to(g.dtype).reshape(*batch, -1)


@torch.no_grad()
def variance_of_layers(phi: Any, band: Any, g: Tensor, noise_variance: Tensor) -> Tensor:
    """Posterior variance of sum_n x_n exp(-2 pi i k tau_n / n_fft) of every layer, (batch, L, n_used) float64.

    Args:
        phi, band: of the pilots of all layers, and of the band, one layer; k are its rows.
        g: (batch, L N).
        noise_variance: (batch, M).
    """
    made, order = [], []
    for some, taps in chosen_taps(g):
        weight = 1 / noise_variance[some].double()
        active = active_taps(Correlations(phi.to(torch.complex128), weight), g[some], taps)
        made.append(variance_of_active(active, phi, band))
        order.append(some)
    return torch.cat(made)[torch.cat(order).argsort()]


def variance_of_active(active: ActiveTaps, phi: Any, band: Any) -> Tensor:
    """:func:`variance_of_layers` from P, summed along equal differences of taps, one FFT."""
    sums = sums_along_lags(active, band.n_coefficients, band.length, phi.n_layers)
    own = sums.diagonal(dim1=1, dim2=2).movedim(-1, 1)
    return real_spectrum(own)[..., band.bins].clamp_min(0)


def _weights(phi: Any, g: Tensor, noise_variance: Tensor) -> Tensor:
    """(n, M) float64, one over what the diagonal of C carries."""
    m = phi.n_measurements
    load = diagonal_load(g.sum(-1, keepdim=True), noise_variance, m)
    return (1 / load.double()).expand(*g.shape[:-1], m).reshape(-1, m)


def _least(phi: Any, weight: Tensor) -> Tensor:
    """(batch, 1): variances of taps that do not matter, lambda_max(T) at most (length/M) max sum |X_l|^2/noise."""
    loudest = (weight * squared(phi.symbols).sum(0)).amax(-1, keepdim=True)
    return MATTERS * phi.n_measurements / phi.layer.length / loudest


def _others(g: Tensor, strong: Tensor, reach: int | None, n: int) -> Tensor:
    """(batch, B) taps but those that are ``strong``, near to one with g > 0, round the circle of every layer's n."""
    wanted = torch.ones_like(strong)
    if reach is not None:
        alive = (g > 0).to(torch.float32).unflatten(-1, (-1, n))
        wide = torch.cat([alive[..., n - min(reach, n) :], alive, alive[..., : min(reach, n)]], -1)
        wanted = torch.nn.functional.max_pool1d(wide, 2 * min(reach, n) + 1, 1).flatten(-2) > 0
    wanted = wanted & ~strong
    return wanted.to(torch.int8).topk(int(wanted.sum(-1).max()), -1).indices


def _compiles(*things: Tensor) -> bool:
    """Whether compiled loops can take this: on the CPU, no gradient, no tracing."""
    return (
        kernels.available()
        and all(type(t) is Tensor and t.device.type == "cpu" and not t.requires_grad for t in things)
        and not any(torch._C._functorch.is_functorch_wrapped_tensor(t) for t in things)
    )


def _coded(weight: Tensor, symbols: Tensor) -> Tensor:
    """1/noise of the pilots (batch, M) times conj(X_l) X_l' (L, M): (batch, L, L, M)."""
    return (weight[:, None, None] * (symbols.conj().unsqueeze(1) * symbols)).contiguous()
