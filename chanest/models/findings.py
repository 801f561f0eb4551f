"""What else a posterior tells of a received channel: timing, SNR, whether anything was sent, paths, covariance."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..algorithms.active_taps import active_taps, response_columns
from ..algorithms.na_sbl_circle_rules import OUTLYING, SILENT
from ..algorithms.results import JointPosterior
from ..operators import PartialDFT, Superposed, TimeVarying
from .groups import Groups

_STRONG = 0.03  # of the power of all paths: what the first one of them has at least
_FALSE_ALARMS = 1e-3  # of paths
_APART = 1.0  # times the resolution: peaks of the variances that are nearer are one path
_NEWTON_STEPS = 8
DETECTED = 2e-3  # probability of a false alarm below which something was sent
FEW = 0.15  # of the pilots that may count as jammed where it is asked whether anything was sent


@dataclass(frozen=True)
class Paths:
    """Paths of every group, in the order of their delays; filled up with NaN delays and zeros.

    Attributes:
        delays_samples: (batch, P) float64, between the taps.
        gains: (batch, R, P), of every snapshot.
        variances: (batch, P), of a gain's error.
        layers: (batch, P) int64.
        count: (batch,) int64.
    """

    delays_samples: Tensor
    gains: Tensor
    variances: Tensor
    layers: Tensor
    count: Tensor


def peaks(g: Tensor, phi: PartialDFT | Superposed) -> tuple[Tensor, Tensor]:
    """Delays at which the variances of taps pile up, and the variance there: (batch, P) both, NaN and 0 where fewer.

    Taps that lie within the resolution of each other are one peak, at their mean delay.
    """
    n_layers = phi.n_layers
    layer = phi.layer
    reach = max(1, round(_APART * layer.resolution_samples / layer.spacing_samples / 2))
    n = layer.n_coefficients
    rows = g.double().reshape(-1, n)
    padded = torch.cat([rows[:, -2 * reach :], rows, rows[:, : 2 * reach]], -1)
    smooth, inner, moment = (rows.new_zeros(len(rows), width) for width in (n + 2 * reach, n, n))
    for i in range(-reach, reach + 1):
        smooth.add_(padded[:, reach + i : 3 * reach + i + n], alpha=1 - abs(i) / (reach + 1))
        beside = padded[:, 2 * reach + i : 2 * reach + i + n]
        inner.add_(beside)
        moment.add_(beside, alpha=i)
    highest = torch.nn.functional.max_pool1d(smooth.unsqueeze(1), 2 * reach + 1, 1).squeeze(1)
    smooth = smooth[:, reach:-reach]
    is_peak = (smooth >= highest) & (smooth > 0)
    is_peak &= ~(is_peak.roll(1, -1) & (smooth.roll(1, -1) >= smooth))
    count = max(1, int(is_peak.sum(-1).max()))
    power, at = torch.where(is_peak, inner, 0.0).topk(count, -1)
    where = at + (moment / inner.clamp_min(1e-30)).gather(-1, at)
    delays = layer.first_tap_samples + layer.spacing_samples * where
    delays = torch.where(power > 0, delays, torch.nan)
    shape = (-1, n_layers * count)
    return delays.reshape(shape), power.reshape(shape)


def timing_samples(g: Tensor, phi: PartialDFT | Superposed, circle_samples: float | None) -> Tensor:
    """(batch,) float64: the delay of the first strong path; NaN where there is none.

    Args:
        g: (batch, N) tap variances.
        phi: the operator.
        circle_samples: its length, where delays are on a circle: the first path is then the one after the longest gap.
    """
    delays, power = peaks(g, phi)
    strong = power >= _STRONG * power.amax(-1, keepdim=True).clamp_min(1e-30)
    delays = torch.where(strong & ~delays.isnan(), delays, torch.inf)
    order = delays.sort(-1).values
    first = order[:, :1]
    if circle_samples is not None:
        last = torch.where(order.isinf(), -torch.inf, order).amax(-1, keepdim=True)
        before = torch.cat([last - circle_samples, order[:, :-1]], -1)
        gap = torch.where(order.isinf(), -torch.inf, order - before)
        first = order.gather(-1, gap.argmax(-1, keepdim=True))
    first = first.squeeze(-1)
    return torch.where(first.isinf(), torch.nan, first)


def noise_found(groups: Groups, x: Tensor, posterior: JointPosterior, phi: PartialDFT | Superposed) -> Tensor:
    """(groups,) float64, noise variance of an observation over the power: as told, or what the estimate leaves over.

    ||y - Phi x||^2 over M less the degrees of freedom that the taps took, sum g d; pilots weigh by what is known of
    their noise.
    """
    m = groups.y.shape[-1]
    if groups.noise is not None:
        told = groups.noise.double() * m
        return told if told.ndim == 1 else m / (1 / told).sum(-1)
    relative = (posterior.noise_variance / posterior.level.unsqueeze(-1)).double()
    residual = (groups.y - phi.forward(x)).abs().double().square().mean(-2)
    heard = (1 / relative).clamp_max(1).sum(-1)  # of so many pilots at the level
    active = active_taps(phi, posterior.variances, posterior.noise_variance)
    d = posterior.variances.gather(-1, active.taps).double()
    taken = torch.where(d > 0, 1 - active.covariance.diagonal(dim1=-2, dim2=-1).real / d.clamp_min(1e-300), 0.0).sum(-1)
    return (residual / relative).sum(-1) / (heard - taken).clamp_min(0.1 * heard) * m


def snr_db(groups: Groups, posterior: JointPosterior, noise: Tensor) -> Tensor:
    """(groups,) float64: mean power of the pilots less the noise, over the noise; pilots weigh as they are heard."""
    m = groups.y.shape[-1]
    weight = 1 / posterior.noise_variance.double()
    weight = weight / weight.sum(-1, keepdim=True)
    power = (groups.y.abs().double().square().mean(-2) * weight).sum(-1) * m
    if groups.noise is None:  # weighted like the power
        noise = noise / (posterior.level.unsqueeze(-1) / posterior.noise_variance).double().mean(-1)
    return 10 * ((power - noise) / noise.clamp_min(1e-12)).clamp_min(1e-3).log10()


def false_alarm_probability(
    groups: Groups, posterior: JointPosterior, phi: PartialDFT | Superposed | TimeVarying
) -> Tensor:
    """(groups,) float64: how likely noise alone is to show so much energy in one stretch of delays, at most 1.

    A scan statistic: for every length of 1, 2, 4 ... cells up to a quarter of the pilots and every place on the coarse
    grid, matched energy over noise is a Gamma variable of as many cells times snapshots; the smallest probability of
    all counts, times the number of independent places and of lengths. The noise is as told, or what it would be if
    nothing was sent; pilots that were found jammed weigh as little as in the estimate.
    """
    coarse = phi.coarser(phi.coarse_ratio)
    layer = coarse.layer
    n_snapshots, m = groups.y.shape[-2:]
    relative = (posterior.noise_variance / posterior.level.unsqueeze(-1)).double()
    known = torch.ones_like(relative) if groups.ratio is None else groups.ratio.double()
    if groups.noise is not None and groups.noise.ndim == 2:
        known = groups.noise.double() * (1 / groups.noise.double()).mean(-1, keepdim=True)
    jammed = relative > OUTLYING * known
    jammed &= jammed.double().mean(-1, keepdim=True) <= FEW
    relative = torch.where(jammed, relative, known)
    power = groups.y.abs().double().square().mean(-2)
    if groups.noise is None:
        heard = relative < SILENT
        level = torch.where(heard, power / relative, 0.0).sum(-1) / heard.sum(-1).clamp_min(1)
    else:
        told = groups.noise.double()
        level = told if told.ndim == 1 else m / (1 / told).sum(-1)
    noise = (level.unsqueeze(-1) * relative).clamp_min(1e-30)
    weighted = (groups.y / noise.to(groups.y.real.dtype).unsqueeze(-2)).to(groups.y.dtype)
    kappa = (1 / noise).mean(-1, keepdim=True)
    if isinstance(coarse, TimeVarying):  # symbols add up like snapshots, each over its own noise
        of = torch.nn.functional.one_hot(coarse.symbol, coarse.n_symbols).double()
        own = (1 / noise) @ of / m * coarse.unit
        matched = coarse.adjoint(coarse.arranged(weighted)).abs().double().square()
        energy = (matched.sum(1) / own.unsqueeze(-1)).sum(1)
        n_snapshots, m = n_snapshots * coarse.n_symbols, int(of.sum(0).min())
    else:
        energy = coarse.adjoint(weighted).abs().double().square().sum(-2) / kappa
    rows = energy.reshape(len(energy), -1, layer.n_coefficients)
    cells = layer.spacing_samples / layer.resolution_samples  # of a tap
    least = torch.ones_like(level)
    lengths = [2**i for i in range(12) if 2**i <= max(1, m // 4) and 2**i <= layer.n_coefficients * cells]
    sums = torch.cat([torch.zeros_like(rows[..., :1]), torch.cat([rows, rows], -1).cumsum(-1)], -1)
    for length in lengths:
        taps = max(1, round(length / cells))
        summed = (sums[..., taps : taps + layer.n_coefficients] - sums[..., : layer.n_coefficients]).amax((-2, -1))
        shape = max(taps * cells, 1.0) * n_snapshots
        scaled = summed * (shape / (taps * n_snapshots))
        places = max(1.0, phi.n_coefficients / phi.coarse_ratio * cells / length) * (1 if length == 1 else 2)
        least = torch.minimum(least, places * torch.special.gammaincc(torch.full_like(scaled, shape), scaled))
    return (least * len(lengths)).clamp_max(1)


def paths_of(y: Tensor, posterior: JointPosterior, phi: PartialDFT | Superposed) -> Paths:
    """Paths: peaks of the variances, moved to the most likely delays by Gauss-Newton steps, the insignificant dropped.

    Args:
        y: (batch, R, M).
        posterior: g and the noise of every pilot.
        phi: the operator.
    """
    layer = phi.layer
    n_layers = phi.n_layers
    symbols = phi.symbols
    delays = peaks(posterior.variances, phi)[0]
    k = layer.subcarriers.double()
    cells = phi.n_coefficients * phi.spacing_samples / phi.resolution_samples
    found = []
    for row in range(len(y)):
        index = (~delays[row].isnan()).nonzero().squeeze(-1)
        of_layer = index // (delays.shape[-1] // n_layers)
        found.append(
            _refined(y[row], posterior.noise_variance[row], delays[row, index], of_layer, symbols, k, layer, cells)
        )
    most = max(1, max(len(one[0]) for one in found))
    batch, r = len(y), y.shape[-2]
    made = Paths(
        torch.full((batch, most), torch.nan, dtype=torch.float64),
        torch.zeros(batch, r, most, dtype=torch.complex128),
        torch.zeros(batch, most, dtype=torch.float64),
        torch.zeros(batch, most, dtype=torch.int64),
        torch.tensor([len(one[0]) for one in found]),
    )
    for row, (tau, gains, variance, of_layer) in enumerate(found):
        n = len(tau)
        made.delays_samples[row, :n], made.gains[row, :, :n] = tau, gains
        made.variances[row, :n], made.layers[row, :n] = variance, of_layer
    return made


def _refined(
    y: Tensor, noise: Tensor, tau: Tensor, of_layer: Tensor, symbols: Tensor, k: Tensor, layer: PartialDFT, cells: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Delays, gains (R, P), their error variances and layers of one group, by least squares in the gains."""
    r, m = y.shape
    white = noise.double().rsqrt()
    target = (y.to(torch.complex128) * white).mT  # (M, R)
    step = -2j * torch.pi * k / layer.n_fft
    least = _gamma_quantile(r, cells)

    def columns(tau: Tensor, of_layer: Tensor) -> Tensor:
        return (
            torch.exp(step.unsqueeze(-1) * tau)
            * symbols[of_layer].to(torch.complex128).mT
            * (white / m**0.5).unsqueeze(-1)
        )

    while len(tau):
        for _ in range(_NEWTON_STEPS):
            a = columns(tau, of_layer)
            normal = a.mH @ a + 1e-9 * torch.eye(len(tau), dtype=a.dtype) * a.abs().square().sum(0).mean()
            gains = torch.linalg.solve(normal, a.mH @ target)  # (P, R)
            slope = step.unsqueeze(-1) * a  # of the columns
            residual = target - a @ gains
            inside = slope - a @ torch.linalg.solve(normal, a.mH @ slope)
            correlation = gains @ gains.mH
            hessian = ((slope.mH @ inside) * correlation.conj()).real
            gradient = (slope.mH @ residual * gains.conj()).real.sum(-1)
            hessian = hessian + 1e-9 * torch.diag(hessian.diagonal().clamp_min(1e-30))
            most = 0.25 * layer.resolution_samples
            tau = tau + torch.linalg.solve(hessian, gradient).clamp(-most, most)
        a = columns(tau, of_layer)
        normal = a.mH @ a + 1e-9 * torch.eye(len(tau), dtype=a.dtype) * a.abs().square().sum(0).mean()
        inverse = torch.linalg.inv(normal)
        gains = inverse @ a.mH @ target
        variance = inverse.diagonal().real
        significance = gains.abs().square().sum(-1) / variance
        weakest = int(significance.argmin())
        apart = _nearest(tau, of_layer)
        if float(significance[weakest]) < least:
            keep = torch.arange(len(tau)) != weakest
        elif float(apart.min()) < 0.5 * layer.resolution_samples:
            close = int(torch.where(apart == apart.min(), significance, torch.inf).argmin())
            keep = torch.arange(len(tau)) != close
        else:
            order = tau.argsort()
            return tau[order], gains[order].mT, variance[order], of_layer[order]
        tau, of_layer = tau[keep], of_layer[keep]
    return tau, torch.zeros(r, 0, dtype=torch.complex128), tau, of_layer


def _nearest(tau: Tensor, of_layer: Tensor) -> Tensor:
    """Distance of every delay to the nearest other one of its layer."""
    apart = (tau.unsqueeze(-1) - tau).abs()
    other = (of_layer.unsqueeze(-1) != of_layer) | torch.eye(len(tau), dtype=torch.bool)
    return torch.where(other, torch.inf, apart).amin(-1)


def _gamma_quantile(r: int, cells: float) -> float:
    """What the largest of so many sums of r exponential variables exceeds with the probability of a false alarm."""
    from scipy.stats import gamma

    return float(gamma.isf(-math.expm1(math.log1p(-_FALSE_ALARMS) / max(cells, 1.0)), r))


def response_factor(
    posterior: JointPosterior, phi: PartialDFT | Superposed, band: PartialDFT, error_variance: Tensor | None
) -> Tensor:
    """F (batch, L n_used, A) with F F^H the error covariance of the CFR of all layers, one below the other.

    Scaled by row where an error variance (batch, L, n_used) is given, to have that on its diagonal.
    """
    active = active_taps(phi, posterior.variances, posterior.noise_variance)
    eigenvalues, basis = torch.linalg.eigh(active.covariance)
    root = basis * eigenvalues.clamp_min(0).sqrt().unsqueeze(-2)
    n_layers = phi.n_layers
    factor = torch.cat([response_columns(phi, band, active.taps, i) @ root for i in range(n_layers)], -2)
    if error_variance is not None:
        own = factor.abs().square().sum(-1).clamp_min(1e-300)
        factor = factor * (error_variance.double().flatten(-2) / own).sqrt().unsqueeze(-1)
    return factor
