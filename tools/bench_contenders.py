"""Who runs in tools/bench_estimators.py: our algorithms, the textbook, dense matrices, scikit-learn, Sionna.

A contender is prepared for one pilot pattern, as a receiver prepares itself: operators, matrices and textbook networks
are made once. What is timed takes y of unit norm (:class:`Data`) and gives taps or, where there are none, the CFR.
"""

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from textbook import TextbookNAALISTA, TextbookNASBL
from torch import Tensor

from chanest import DenseOperator, Model, PartialDFT, PilotPattern, Scenario
from chanest.algorithms import LMMSE, Interpolator
from chanest.models import noise_of_y, normalise, pick_model
from chanest.models.cuda_graph import CapturedEstimator
from chanest.problems import ofdm
from chanest.problems.ofdm.operator_cache import cfr_of

ESTIMATORS = ("na-alista", "alista", "na-sbl", "sbl", "omp", "ep", "lmmse-true")
CHUNK = 512  # estimates at a time, of what has matrices of M x N for each: 8192 would take gigabytes
SIONNA_CHUNK = 64  # it has matrices of 600 x 600 for each
SNR_DB = 10.0


@dataclass(frozen=True)
class Data:
    """A batch as every contender gets it.

    Attributes:
        scenario, pattern: lte10 with 75 pilots.
        observations: (batch, 75), as a receiver has them; noise_variance: (batch,) of an entry.
        y, scale: of unit norm, and what it was divided by; noise: (batch,) of an entry of y.
        phi: our operator.
        cir, cfr: the truth.
    """

    scenario: Scenario
    pattern: PilotPattern
    observations: Tensor
    noise_variance: Tensor
    y: Tensor
    scale: Tensor
    noise: Tensor
    phi: PartialDFT
    cir: Tensor
    cfr: Tensor

    def first(self, n: int, start: int = 0) -> "Data":
        """``n`` of the estimates, from one on."""
        if n >= len(self.y):
            return self
        cut = {name: value[start : start + n] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **cut)  # type: ignore[arg-type]


def make_data(batch: int, device: torch.device) -> Data:
    """Seeded: the same in every run."""
    scenario = ofdm("lte10").replace(n_pilots=75, snr_db=SNR_DB)
    pattern = scenario.sensing(0)
    drawn = scenario.draw(pattern, batch, 0).to(device)
    y, scale = normalise(drawn.observations)
    noise = noise_of_y(drawn.noise_variance, scale, len(pattern))
    phi = pattern.operator(scenario.n_taps, scenario.first_tap_samples, device=device)
    truth = drawn.truth["cir"], drawn.truth["cfr"]
    return Data(scenario, pattern, drawn.observations, drawn.noise_variance, y, scale, noise, phi, *truth)


@dataclass(frozen=True)
class Contender:
    """One way to estimate.

    Attributes:
        run: what is timed.
        n: estimates in a run: the batch, or a part of it where all of it would not fit memory.
        cfr: from what it returns to the CFR, (n, 600).
    """

    run: Callable[[], Tensor]
    n: int
    cfr: Callable[[Tensor], Tensor]


def contenders(name: str, data: Data) -> dict[str, Contender]:
    """All ways to run an estimator: "chanest", "Model.estimate", and its peers.

    >>> sorted(contenders("na-alista", make_data(1, torch.device("cpu"))))
    ['Model.estimate', 'chanest', 'dense', 'textbook']
    """
    device, n = data.y.device, len(data.y)
    some = data.first(CHUNK)
    model = pick_model(name, data.scenario, len(data.pattern))
    whole = deepcopy(model)
    found = {
        "Model.estimate": Contender(
            lambda: whole.estimate(data.observations, data.pattern, data.noise_variance).cfr, n, lambda cfr: cfr
        )
    }
    if isinstance(model.algorithm, Interpolator):
        return {"chanest": _interpolating(model, data), **found, **_sionna(model, data.first(SIONNA_CHUNK))}
    if device.type == "cuda" and name in ("na-alista", "alista"):
        graph = CapturedEstimator(model, data.pattern, n, device=device)
        found["CUDA graph"] = Contender(lambda: graph(data.observations).cfr, n, lambda cfr: cfr)
    algorithm = model.algorithm.to(device)

    def tapwise(run: Callable[[], Tensor], of: Data) -> Contender:
        return Contender(run, len(of.y), lambda x: cfr_of(x * of.scale, of.pattern.grid))

    found["chanest"] = tapwise(lambda: algorithm(data.y, data.phi, noise_variance=data.noise).x, data)
    dense = DenseOperator(data.phi.dense().contiguous())
    found["dense"] = tapwise(lambda: algorithm(some.y, dense, noise_variance=some.noise).x, some)
    if name == "na-alista":
        network = TextbookNAALISTA(model, data.pattern, device=device)
        found["textbook"] = tapwise(lambda: network(data.y), data)
    if name == "na-sbl":
        sbl = TextbookNASBL(model, data.pattern, device=device)
        found["textbook"] = tapwise(lambda: sbl(some.y, some.noise), some)
    if name == "omp":
        found |= _scikit_learn(some, dense.matrix)
    return found


def _interpolating(model: Model, data: Data) -> Contender:
    interpolator, band = model.algorithm, model.band(data.y.dtype, data.y.device, data.pattern.grid)

    def run() -> Tensor:
        return interpolator(data.y, data.phi, band, data.noise, False)[0]

    return Contender(run, len(data.y), lambda cfr: cfr * data.scale)


def _scikit_learn(data: Data, matrix: Tensor) -> dict[str, Contender]:
    """orthogonal_mp_gram on the real system [Re -Im; Im Re], stopped at the noise: it takes real and imaginary parts
    as atoms of their own, so it is not complex OMP. All estimates of a batch have one noise variance."""
    sklearn = package("sklearn.linear_model")
    if data.y.device.type != "cpu" or sklearn is None:
        return {}
    from threadpoolctl import ThreadpoolController  # type: ignore[import-not-found,unused-ignore]

    ThreadpoolController().limit(limits=torch.get_num_threads(), user_api="blas")  # it stays so until the next
    a = matrix.numpy()
    stacked = np.block([[a.real, -a.imag], [a.imag, a.real]]).astype(np.float32)
    gram = np.asfortranarray(stacked.T @ stacked)
    h = data.observations / len(data.pattern) ** 0.5
    tolerance = float(data.noise_variance.double().mean())  # M times that of an entry of h

    def run() -> Tensor:
        y = torch.cat([h.real, h.imag], 1).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # dependent atoms end it, as they end ours
            norms = (y * y).sum(1)
            x = sklearn.orthogonal_mp_gram(gram, (y @ stacked).T, tol=tolerance, norms_squared=norms, copy_Xy=False)
        real, imaginary = torch.from_numpy(x.reshape(2, a.shape[1], -1))
        return torch.complex(real, imaginary).mT

    return {"scikit-learn": Contender(run, len(h), lambda x: cfr_of(x.to(data.y.dtype), data.pattern.grid))}


def _sionna(model: Model, data: Data) -> dict[str, Contender]:
    """Sionna's LMMSEChannelEstimator, told the true delay profile and noise: one OFDM symbol with the same pilots."""
    ofdm = package("sionna.phy.ofdm")
    if not hasattr(ofdm, "LMMSEChannelEstimator") or not isinstance(model.algorithm, LMMSE):
        return {}
    scenario, device = data.scenario, data.y.device
    name = "cpu" if device.type == "cpu" else f"cuda:{device.index or 0}"
    guard = (scenario.n_fft - scenario.n_used) // 2
    guards = guard, scenario.n_fft - scenario.n_used - guard - 1
    spacing = scenario.subcarrier_spacing_hz
    grid = ofdm.ResourceGrid(1, scenario.n_fft, spacing, num_guard_carriers=guards, dc_null=True, device=name)
    used = torch.from_numpy(scenario.used_subcarriers)
    mask = np.isin(scenario.used_subcarriers, data.pattern.subcarriers)[None, None, None]
    ones = np.ones((1, 1, len(data.pattern)), np.complex64)
    grid.pilot_pattern = ofdm.PilotPattern(mask, ones, device=name)
    turns = torch.outer(used.double(), model.algorithm.delays) / scenario.n_fft
    e = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)
    covariance = ((e * model.algorithm.powers) @ e.mH).to(torch.complex64).to(device)
    time = torch.ones(1, 1, dtype=torch.complex64, device=device)
    estimator = ofdm.LMMSEChannelEstimator(grid, time, covariance, order="f-t", device=name)
    received = torch.zeros(len(data.y), 1, 1, 1, scenario.n_fft, dtype=torch.complex64, device=device)
    at = torch.tensor(data.pattern.subcarriers, device=device) + scenario.n_fft // 2
    received[:, 0, 0, 0, at] = data.observations

    def run() -> Tensor:
        return estimator(received, data.noise_variance)[0][:, 0, 0, 0, 0, 0]

    return {"sionna": Contender(run, len(received), lambda cfr: cfr)}


@cache
def package(name: str) -> Any:
    """The module, or None where it cannot be imported."""
    try:
        return import_module(name)
    except ImportError:
        return None


def skipped(names: list[str], device: torch.device) -> list[str]:
    """A line for each peer that these estimators would have, and that cannot run here."""
    lines = []
    if "omp" in names and device.type != "cpu":
        lines.append("skipped: scikit-learn's OMP runs on the CPU only")
    elif "omp" in names and package("sklearn.linear_model") is None:
        lines.append("skipped: scikit-learn's OMP; pip install scikit-learn")
    if "lmmse-true" in names and not hasattr(package("sionna.phy.ofdm"), "LMMSEChannelEstimator"):
        lines.append("skipped: Sionna's LMMSE, which is in Sionna 2.1 and later; pip install 'chanest[sionna]'")
    return lines
