"""NA-SBL: a small network, shared by all taps, chooses the variance update of sparse Bayesian learning.

Ours. Beside it: SBL (Tipping 2001; Wipf & Rao 2004), unfolded SBL whose update is a network (Gao et al., arXiv
2205.05202; Hu et al., arXiv 2201.08477), and Toeplitz-structured SBL for line spectra (Hansen, Fleury & Rao).
What is new: covariance and diagonal by FFT for any set of pilots, a rule per tap that starts at EM and sees
only scale-free features, and one network for every pattern.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..kernels import over_rows
from ..kernels.adapters import prepared, rows, singles, suits
from ..operators import LinearOperator, Moments, cached
from .base import Algorithm
from .error_calibration import PosteriorCalibration
from .gaussian import log_rank_deficit
from .noise import CEILING, FLOOR, noise_level
from .perceptron import Perceptron
from .results import Posterior, Recovery, Trace
from .sbl import em_variances

_OF_TAP, _OF_NOISE = 12, 7  # features
_OWN = 6  # of a tap's
LOG_SCALE = 6.0  # divides logarithmic features
LARGEST_EXPONENT = 20.0
SMALLEST, LARGEST = 1e-8, 4.0  # of g, for ||y|| = 1


class NASBL(Algorithm):
    """g <- (|mu|^2 + g (1 - g d)) exp(2 f_k(features)): EM, corrected tap by tap by a perceptron per iteration.

    Features of a tap, scale-free: log |mu|^2/p, logit(g d), log g/p, log p/s, log |q|^2/d, each divided by 6; the
    tap's place; and what all taps share: log y^H C^-1 y/M, log of the EM update of s over s, log M/75, whether s
    was given, logit of sum(g d)/M, the share of the pilots that the taps explain, and the :func:`log_rank_deficit` of
    the pilots. p is the prior variance of the tap, exp(-decay i/N). A perceptron reads a tap beside its two
    neighbours, where a path between the samples leaves its traces. The noise variance s is corrected by a second
    perceptron per iteration, from what all taps share and log M s. Where it is not given, all updates run twice: the s
    that the first ones end with is given to the second ones, which a poor first guess cannot lead astray.

    All last layers start at zero: training starts at EM, keeping a noise variance that is given.

    Args:
        n_iterations: K factorisations, K - 1 updates; 2 K - 1 where the noise is not given.
        n_hidden: units of the taps' perceptrons; those of the noise have half as many.
        decay: of the prior delay profile; 0 for a flat one.

    Parameters, for k = 0...K-2: ``tap_rules/k/input/weight`` (n_hidden, 36: the features
    of the tap before, this one, the next), ``tap_rules/k/hidden/weight``
    (n_hidden, n_hidden), ``tap_rules/k/output/weight`` (1, n_hidden), and ``bias`` of each; the same under
    ``noise_rules/k`` with 7 inputs; ``calibration`` (:class:`PosteriorCalibration`).

    Raises:
        AlgorithmError: a size below 1, or a negative decay.

    >>> sum(p.numel() for p in NASBL().tap_rules.parameters())
    11365
    """

    name = "na-sbl"
    learned = True
    complex_only = True
    any_n_iterations = False
    supervision = 0.1

    def __init__(self, n_iterations: int = 6, n_hidden: int = 32, decay: float = 0.0) -> None:
        super().__init__(n_iterations, n_hidden=n_hidden, decay=decay)
        if n_iterations < 2:
            raise AlgorithmError(f"expected at least 2, got {n_iterations}", field="n_iterations")
        if n_hidden < 2:
            raise AlgorithmError(f"expected at least 2, got {n_hidden}", field="n_hidden")
        if not decay >= 0:
            raise AlgorithmError(f"expected a number not below 0, got {decay}", field="decay")
        self.decay = decay
        self.tap_rules = nn.ModuleList(Perceptron(3 * _OF_TAP, n_hidden) for _ in range(n_iterations - 1))
        self.noise_rules = nn.ModuleList(Perceptron(_OF_NOISE, n_hidden // 2) for _ in range(n_iterations - 1))
        self.calibration = PosteriorCalibration()
        self.initialise(torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        """Every perceptron at zero output: EM."""
        for perceptron in (*self.tap_rules, *self.noise_rules, self.calibration):
            perceptron.initialise(generator)

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        if noise_variance is None:
            noise_variance = self._infer(y, phi, None, Trace(False))[1]
        g, s = self._infer(y, phi, noise_variance, trace)
        x = phi.posterior_mean(y, g, s)
        trace.add(x)
        return trace.recovery(x, Posterior(g, s))

    def _infer(
        self, y: Tensor, phi: LinearOperator, noise_variance: Tensor | None, trace: Trace
    ) -> tuple[Tensor, Tensor]:
        """g and s after K - 1 updates, with the noise variance told or not."""
        known = noise_variance is not None
        s = noise_level(y, phi, noise_variance)
        p = self.prior(phi).to(s)
        g = p.expand(*y.shape[:-1], -1)
        deficit = cached(phi, ("log rank deficit", self.decay, p.dtype), lambda: log_rank_deficit(phi, p))
        update = self._compiled_update if suits(y, phi, self) else self._update
        for k in range(self.n_iterations - 1):
            m = phi.posterior_moments(y, g, s)
            trace.add(m.mean)
            g, s = update(k, m, g, s, p, phi.n_measurements, known, deficit)
        return g, s

    def _update(
        self, k: int, m: Moments, g: Tensor, s: Tensor, p: Tensor, n_measurements: int, known: bool, deficit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """g and s of the next iteration."""
        taps, noise = self.features(m, g, s, p, n_measurements, known, deficit)
        new_g = em_variances(m, g) * _factor(self.tap_rules[k](_beside_neighbours(taps)))
        new_s = (s if known else m.noise) * _factor(self.noise_rules[k](noise))
        return new_g.clamp(SMALLEST, LARGEST), new_s.clamp(FLOOR / n_measurements, CEILING / n_measurements)

    def _compiled_update(
        self, k: int, m: Moments, g: Tensor, s: Tensor, p: Tensor, n_measurements: int, known: bool, deficit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """:meth:`_update` by a compiled loop."""
        from ..kernels.na_sbl import update

        given, log_p = rows(m.q, m.d, g, s, s if known else m.noise, m.fit, m.noise), singles(p.log())
        constants = np.float32(n_measurements), np.float32(known), np.float32(deficit)
        limits = singles((SMALLEST, LARGEST, FLOOR / n_measurements, CEILING / n_measurements))
        new_g, new_s = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (g, s))
        made = new_g.view(-1, g.shape[-1]).numpy(), new_s.view(-1).numpy()
        whole = (*given, log_p, constants, limits, *prepared(self, self._arrays)[k], *made)
        over_rows(lambda start, end: update(*whole, start, end), len(made[1]), torch.get_num_threads())
        return new_g, new_s

    def _arrays(self) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """The perceptrons of every iteration as the compiled loop takes them."""
        made = []
        for tap_rule, noise_rule in zip(self.tap_rules, self.noise_rules, strict=True):
            assert isinstance(tap_rule, Perceptron)
            assert isinstance(noise_rule, Perceptron)
            weight = tap_rule.input.weight.unflatten(-1, (3, _OF_TAP))
            own, shared = weight[..., :_OWN].flatten(-2), weight[..., _OWN:].movedim(-2, 0)
            layers = (tap_rule.hidden, tap_rule.output)
            rest = (tap_rule.input.bias, *(tensor for layer in layers for tensor in (layer.weight, layer.bias)))
            inputs, hidden, output = noise_rule.input, noise_rule.hidden, noise_rule.output
            of_noise = (inputs.weight.mT, inputs.bias, hidden.weight.mT, hidden.bias, output.weight, output.bias)
            made.append((tuple(map(singles, (own, shared, *rest))), tuple(map(singles, of_noise))))
        return made

    def prior(self, phi: LinearOperator) -> Tensor:
        """(N,) float64: the prior variances, of sum 1."""
        taps = torch.arange(phi.n_coefficients, dtype=torch.float64, device=phi.device)
        p = torch.exp(-self.decay * taps / phi.n_coefficients)
        return p / p.sum()

    def features(
        self, m: Moments, g: Tensor, s: Tensor, p: Tensor, n_measurements: int, known: bool, crowded: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the two perceptrons read: (*batch, N, 12) and (*batch, 7)."""
        tiny = torch.finfo(g.dtype).tiny
        d = m.d.clamp_min(tiny)
        log_g, log_d, log_p = g.log(), d.log(), p.log()
        log_q = m.q.abs().square().clamp_min(tiny).log()
        occupied = (g * d).clamp(1e-6, 1 - 1e-6)
        of_taps = (
            log_q + 2 * log_g - log_p,
            torch.logit(occupied),
            log_g - log_p,
            log_p - s.log().unsqueeze(-1),
            log_q - log_d,
        )
        fit = m.fit.clamp_min(tiny).log() / LOG_SCALE
        em = (m.noise.clamp_min(tiny) / s).log() / LOG_SCALE
        size = torch.full_like(s, math.log(n_measurements / 75))
        explained = torch.logit(((g * m.d).sum(-1) / n_measurements).clamp(1e-4, 1 - 1e-4)) / LOG_SCALE
        told = torch.full_like(s, float(known))
        shared = torch.stack([fit, em, size, told, explained, crowded.expand_as(s)], -1)
        place = torch.linspace(-1, 1, g.shape[-1], dtype=g.dtype, device=g.device).expand_as(g)
        own = torch.cat([torch.stack(of_taps, -1) / LOG_SCALE, place.unsqueeze(-1)], -1)
        taps = torch.cat([own, shared.unsqueeze(-2).expand(*g.shape, -1)], -1)
        level = (n_measurements * s).log() / LOG_SCALE
        noise = torch.cat([shared, level.unsqueeze(-1)], -1)
        return taps, noise


def _factor(f: Tensor) -> Tensor:
    """exp(2 f), kept where float32 and its gradient stay finite."""
    return torch.exp((2 * f).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT))


def _beside_neighbours(features: Tensor) -> Tensor:
    """(*batch, N, F) -> (*batch, N, 3F): the tap before, this one, the next; zeros beyond the ends."""
    padded = nn.functional.pad(features, (0, 0, 1, 1))
    return torch.cat([padded[..., :-2, :], features, padded[..., 2:, :]], -1)
