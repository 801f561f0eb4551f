"""NA-SBL: a small network, shared by all taps, chooses the variance update of sparse Bayesian learning.

Ours. Beside it: SBL (Tipping 2001; Wipf & Rao 2004), unfolded SBL whose update is a network (Gao et al., arXiv
2205.05202; Hu et al., arXiv 2201.08477), and Toeplitz-structured SBL for line spectra (Hansen, Fleury & Rao).
What is new: covariance and diagonal by FFT for any set of pilots, a rule per tap that starts at EM and sees
only scale-free features, and one network for every pattern.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..kernels import n_threads, over_rows
from ..kernels.adapters import prepared, rows, run, singles, suits
from ..kernels.constants import N_OWN, N_SHARED
from ..operators import LinearOperator, Moments, PartialDFT, cached, tap_domain
from .base import Algorithm
from .error_calibration import PosteriorCalibration
from .gaussian import log_rank_deficit
from .na_sbl_rules import LARGEST, SMALLEST, beside_neighbours, factor, features, prior, updated
from .noise import CEILING, FLOOR, noise_level
from .perceptron import Perceptron
from .results import Posterior, Recovery, Trace

_TOGETHER = 32  # rows whose spectra a cache holds


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
    weighs_delays = True
    learned = True
    complex_only = True
    any_n_iterations = False
    supervision = 0.1

    def __init__(self, n_iterations: int = 6, n_hidden: int = 32, decay: float = 0.0) -> None:
        super().__init__(n_iterations, n_hidden=n_hidden, decay=decay)
        AlgorithmError.unless(n_iterations >= 2, "at least 2", n_iterations, "n_iterations")
        AlgorithmError.unless(n_hidden >= 2, "at least 2", n_hidden, "n_hidden")
        AlgorithmError.unless(decay >= 0, "a number not below 0", decay, "decay")
        self.decay = decay
        self.tap_rules = nn.ModuleList(Perceptron(3 * (N_OWN + N_SHARED), n_hidden) for _ in range(n_iterations - 1))
        self.noise_rules = nn.ModuleList(Perceptron(N_SHARED + 1, n_hidden // 2) for _ in range(n_iterations - 1))
        self.calibration = PosteriorCalibration()
        self.initialise(torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        """Every perceptron at zero output: EM."""
        for perceptron in (*self.tap_rules, *self.noise_rules, self.calibration):
            perceptron.initialise(generator)

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        if not trace.record and suits(y, phi, self) and isinstance(phi, PartialDFT) and tap_domain.never_pays(phi):
            found = self._compiled_recovery(y, phi, noise_variance)
            if found is not None:
                return found
        if noise_variance is None:
            noise_variance = self._infer(y, phi, None, Trace(False))[1]
        g, s = self._infer(y, phi, noise_variance, trace)
        x = phi.posterior_mean(y, g, s)
        trace.add(x)
        return trace.recovery(x, Posterior(g, s))

    def _compiled_recovery(self, y: Tensor, phi: PartialDFT, told: Tensor | None) -> Recovery | None:
        """The same by compiled loops, some rows at a time through all iterations; None where a pivot fails.

        Little is done between the loops, and what they need of some rows stays in the cache.
        """
        from ..kernels.na_sbl import update

        (observed,), s = rows(phi.without_delay(y)), noise_level(y, phi, told).detach().reshape(-1).numpy().copy()
        m, (p, deficit) = phi.n_measurements, self._start(phi, torch.float32)
        start, log_p, rules = singles(p), singles(p.log()), prepared(self, self._arrays)
        limits = singles((SMALLEST, LARGEST, FLOOR / m, CEILING / m))
        g, x = (np.empty((len(observed), len(start)), kind) for kind in (np.float32, np.complex64))
        failed: list[int] = []

        def infer(at: slice, known: bool) -> None:
            own, own_g, own_s = observed[at], np.repeat(start[None], at.stop - at.start, 0), s[at]
            constants = np.float32(m), np.float32(known), np.float32(deficit)
            for rule in rules:
                moments = phi.moments_of_rows(own, own_g, own_s)
                if moments is None:
                    failed.append(at.start)
                    return
                q, d, fit, em = moments
                new_g, new_s, base = np.empty_like(own_g), np.empty_like(own_s), own_s if known else em
                given = q, d, own_g, own_s, base, fit, em, log_p, constants, limits, *rule
                update(*given, new_g, new_s, 0, len(own))
                own_g, own_s = new_g, new_s
            g[at], s[at] = own_g, own_s

        def solve(start: int, end: int) -> None:
            for first in range(start, end, _TOGETHER):
                at = slice(first, min(first + _TOGETHER, end))
                for known in (False, True) if told is None else (True,):
                    infer(at, known)
                    if failed:
                        return
                found = phi.solution_of_rows(observed[at], g[at], s[at])
                if found is None:
                    failed.append(first)
                    return
                x[at] = found

        over_rows(solve, len(observed), n_threads())
        if failed:
            return None
        shape = y.shape[:-1]
        made = Posterior(torch.from_numpy(g).view(*shape, -1), torch.from_numpy(s).view(shape))
        return Recovery(torch.from_numpy(x).view(*shape, -1), posterior=made)

    def _start(self, phi: LinearOperator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The variances before the first update, (N,), and the log rank deficit with them."""
        p = cached(
            phi,
            ("prior", self.decay, dtype),
            lambda: prior(phi.n_coefficients, self.decay, torch.ones((), dtype=dtype, device=phi.device)),
        )
        return p, cached(phi, ("log rank deficit", self.decay, p.dtype), lambda: log_rank_deficit(phi, p))

    def _infer(
        self, y: Tensor, phi: LinearOperator, noise_variance: Tensor | None, trace: Trace
    ) -> tuple[Tensor, Tensor]:
        """g and s after K - 1 updates, with the noise variance told or not."""
        known = noise_variance is not None
        s = noise_level(y, phi, noise_variance)
        p, deficit = self._start(phi, s.dtype)
        g = p.expand(*y.shape[:-1], -1)
        compiled = prepared(self, self._arrays) if suits(y, phi, self) else None
        update = self._update if compiled is None else self._compiled_update
        for rule in compiled or zip(self.tap_rules, self.noise_rules, strict=True):
            m = phi.posterior_moments(y, g, s)
            trace.add(m.mean)
            g, s = update(rule, m, g, s, p, phi.n_measurements, known, deficit)
        return g, s

    def _update(
        self, rule: Any, m: Moments, g: Tensor, s: Tensor, p: Tensor, n_measurements: int, known: bool, deficit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """g and s of the next iteration, by its perceptrons of the taps and of the noise."""
        tap_rule, noise_rule = rule
        taps, noise = features(m, g, s, p, n_measurements, known, deficit)
        new_s = (s if known else m.noise) * factor(noise_rule(noise))
        limits = FLOOR / n_measurements, CEILING / n_measurements
        return updated(m, g, tap_rule(beside_neighbours(taps))), new_s.clamp(*limits)

    def _compiled_update(
        self, rule: Any, m: Moments, g: Tensor, s: Tensor, p: Tensor, n_measurements: int, known: bool, deficit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """:meth:`_update` by a compiled loop."""
        from ..kernels.na_sbl import update

        given, log_p = rows(m.q, m.d, g, s, s if known else m.noise, m.fit, m.noise), singles(p.log())
        constants = np.float32(n_measurements), np.float32(known), np.float32(deficit)
        limits = singles((SMALLEST, LARGEST, FLOOR / n_measurements, CEILING / n_measurements))
        new_g, new_s = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (g, s))
        made = new_g.view(-1, g.shape[-1]).numpy(), new_s.view(-1).numpy()
        run(update, len(made[1]), *given, log_p, constants, limits, *rule, *made)
        return new_g, new_s

    def _arrays(self) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """The perceptrons of every iteration as the compiled loop takes them."""
        made = []
        for tap_rule, noise_rule in zip(self.tap_rules, self.noise_rules, strict=True):
            weight_in, *rest = tap_rule.parameters()
            weight = weight_in.unflatten(-1, (3, N_OWN + N_SHARED))
            own, shared = weight[..., :N_OWN].flatten(-2), weight[..., N_OWN:].movedim(-2, 0)
            weight_in, bias_in, weight, *others = noise_rule.parameters()
            of_noise = (weight_in.mT, bias_in, weight.mT, *others)
            made.append((tuple(map(singles, (own, shared, *rest))), tuple(map(singles, of_noise))))
        return made
