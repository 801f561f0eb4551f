"""ALISTA and NA-ALISTA in ONNX: real arithmetic and matrices for one pilot pattern.

torch.onnx has no complex ``where`` and ``pad``, so the complex program cannot be translated; and ONNX has neither a
Cholesky factorisation nor an inverse or triangular solve, so NA-SBL cannot at all (docs/exports.md).
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...algorithms import ALISTA, NAALISTA, Algorithm
from ...algorithms.error_calibration import ResidualCalibration, residual_base, residual_features
from ...algorithms.noise import CEILING, FLOOR
from ...algorithms.shrinkage import shrinking_gain
from ...models import Model, noise_of_y
from ...problems import PilotPattern
from .extras import needed
from .program import NOISE, PILOTS, facts, traceable
from .verifying import OUTPUTS, Inputs, Outputs

TOLERANCES = (1e-4, 1e-4, 1e-3)
KINDS: tuple[type[Algorithm], ...] = (ALISTA, NAALISTA)


class RealProgram(nn.Module):
    """:class:`ChannelProgram` for one pattern, in real numbers: complex vectors have a last axis (real, imaginary).

    Inside, a vector of N complex numbers is one of 2N real ones, real parts first.

    Args:
        model: alista or na-alista, for OFDM pilots.
        pattern: where the pilots lie.

    Raises:
        ModelError: of another algorithm, or for synthetic vectors.

    >>> from chanest import load_model
    >>> program = RealProgram(load_model("alista-lte10-m75"), PilotPattern((-200, -3, 7, 300)))
    >>> [tuple(output.shape) for output in program(torch.ones(2, 4, 2), torch.ones(2))]
    [(2, 600, 2), (2, 256, 2), (2, 600)]
    """

    def __init__(self, model: Model, pattern: PilotPattern) -> None:
        super().__init__()
        algorithm = traceable(model, KINDS)
        assert isinstance(algorithm, ALISTA | NAALISTA)
        self.algorithm: ALISTA | NAALISTA = algorithm
        self.exempt = algorithm.exempt(algorithm.n_iterations)
        phi = model.operator(pattern, torch.complex128, "cpu")
        weights, band = algorithm.weights(phi), model.band(torch.complex128, "cpu")
        self.n_pilots, self.n_used = phi.n_measurements, band.n_measurements
        self.lipschitz = float(weights.squared_norm())
        rows = weights.adjoint(torch.eye(self.n_pilots, dtype=torch.complex128))
        self.phi, self.adjoint = nn.Buffer(_real(phi.dense().mT)), nn.Buffer(_real(rows))
        self.band = nn.Buffer(_real(band.dense().mT * self.n_used**0.5))

    def forward(self, received_pilots: Tensor, noise_variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`ChannelProgram.forward`, (batch, n_pilots, 2) for complex (batch, n_pilots)."""
        peak = received_pilots.abs().amax((-2, -1), keepdim=True).squeeze(-1)
        peak = torch.where(peak >= torch.finfo(peak.dtype).tiny, peak, 1.0)
        relative = received_pilots.mT.flatten(1) / peak
        rms = (relative.square().sum(-1, keepdim=True) / self.n_pilots).sqrt()
        y = relative / torch.where(rms > 0, rms, 1.0) / self.n_pilots**0.5
        scale = rms * peak
        algorithm = self.algorithm
        x = self._alista(algorithm, y) if isinstance(algorithm, ALISTA) else self._na_alista(algorithm, y)
        variance = self._error_variance(y - x @ self.phi, noise_of_y(noise_variance, scale, self.n_pilots))
        cir = x * scale
        return _pairs(cir @ self.band), _pairs(cir), (variance * scale.square()).expand(-1, self.n_used)

    def _alista(self, algorithm: ALISTA, y: Tensor) -> Tensor:
        gamma, theta = algorithm.log_step_size.exp() / self.lipschitz, algorithm.log_threshold.exp()
        x = torch.zeros_like(y @ self.adjoint)
        for k, exempt in enumerate(self.exempt):
            x = _soft_threshold(x - gamma[k] * ((x @ self.phi - y) @ self.adjoint), theta[k], exempt)
        return x

    def _na_alista(self, network: NAALISTA, y: Tensor) -> Tensor:
        x = torch.zeros_like(y @ self.adjoint)
        state = network.initial_state(y.shape[0])
        for exempt in self.exempt:
            b = x @ self.phi - y
            c = b @ self.adjoint
            state = network.next_state(network.standardised(network.features(_modulus(b), _modulus(c))), state)
            steps, thresholds = (chosen.unsqueeze(-1) for chosen in network.chosen(state))
            x = _soft_threshold(x - steps / self.lipschitz * c, thresholds, exempt)
        return x

    def _error_variance(self, residual: Tensor, noise_of_entry: Tensor) -> Tensor:
        """(batch, 1), relative to ||y|| = 1."""
        calibration = self.algorithm.calibration
        assert isinstance(calibration, ResidualCalibration)
        base = residual_base(residual.square().sum(-1))
        level = (noise_of_entry * self.n_pilots).clamp(FLOOR, CEILING).log()
        features = residual_features(base, level, self.n_pilots)
        return (base + calibration.correction(features)).exp().unsqueeze(-1)


def write_onnx(path: Path, model: Model, pattern: PilotPattern) -> None:
    """Write an ONNX file of :class:`RealProgram`, opset 18, batch dynamic.

    Raises:
        ModelError: the model is not alista or na-alista.
        ExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):  # the last before anything is made that it could not verify
        needed(package, "onnx", "onnx")
    program = RealProgram(model, pattern).eval()
    batch = torch.export.Dim("batch", min=1)
    example = torch.ones(2, len(pattern), 2), torch.ones(2)
    with torch.no_grad(), _quiet():
        made = torch.onnx.export(
            program,
            example,
            dynamo=True,
            verbose=False,
            opset_version=18,
            input_names=(PILOTS, NOISE),
            output_names=OUTPUTS,
            dynamic_shapes=({0: batch}, {0: batch}),
        )
    assert made is not None
    made.model.metadata_props["chanest"] = facts(model, pattern)
    made.save(path)


def run_onnx(path: Path, inputs: Inputs) -> Outputs:
    """What onnxruntime makes of a file.

    Raises:
        ExtraError: onnxruntime is not installed.
    """
    session = needed("onnxruntime", "onnx", "onnx").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {
        PILOTS: torch.view_as_real(inputs.received_pilots).numpy(),
        NOISE: inputs.noise_variance.numpy(),
    }
    cfr, cir, variance = (torch.from_numpy(np.asarray(found)) for found in session.run(list(OUTPUTS), given))
    return torch.view_as_complex(cfr), torch.view_as_complex(cir), variance


def _soft_threshold(x: Tensor, threshold: Tensor, exempt: int) -> Tensor:
    modulus = _modulus(x)
    gain = shrinking_gain(modulus, threshold)
    if exempt:
        gain = gain.scatter(-1, modulus.topk(exempt, sorted=False).indices, 1.0)
    return torch.cat([gain, gain], -1) * x


def _modulus(x: Tensor) -> Tensor:
    real, imaginary = x.chunk(2, -1)
    return (real.square() + imaginary.square()).sqrt()


def _pairs(x: Tensor) -> Tensor:
    """(batch, 2N) -> (batch, N, 2)."""
    return torch.stack(x.chunk(2, -1), -1)


def _real(matrix: Tensor) -> Tensor:
    """The real matrix by which rows of real parts, imaginary parts are multiplied from the right."""
    a, b = matrix.real, matrix.imag
    return torch.cat([torch.cat([a, b], -1), torch.cat([-b, a], -1)], -2).float()


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of torchvision and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
