"""An estimator as a module of tensors only, which exporters can trace: pilots in, channel out."""

import json

import torch
from torch import Tensor, nn

from ...algorithms import ALISTA, NAALISTA, NASBL, Algorithm
from ...errors import ModelError
from ...models import Model, noise_of_y, normalise
from ...models.guard import kept, kept_share, unsure
from ...operators import PartialDFT, power_start
from ...problems import PilotPattern

TRACEABLE: tuple[type[Algorithm], ...] = (ALISTA, NAALISTA, NASBL)
PILOTS, SUBCARRIERS, NOISE = "received_pilots", "pilot_subcarriers", "noise_variance"


class ChannelProgram(nn.Module):
    """What :meth:`Model.estimate` does with a told noise variance, without its checks.

    Args:
        model: of the algorithms alista, na-alista or na-sbl, for OFDM pilots.

    Raises:
        ModelError: of another algorithm, or for synthetic vectors.

    >>> from chanest import load_model
    >>> program = ChannelProgram(load_model("alista-lte10-m75"))
    >>> pilots, noise = torch.ones(2, 4, dtype=torch.complex64), torch.ones(2)
    >>> [tuple(output.shape) for output in program(pilots, torch.tensor([-200, -3, 7, 300]), noise)]
    [(2, 600), (2, 256), (2, 600)]
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.algorithm = traceable(model, TRACEABLE)
        self.scenario = model.ofdm
        self.band = model.band(torch.complex64, "cpu")
        self.band.forward(power_start(self.scenario.n_taps).to(torch.complex64))  # both cached before any tracing

    def forward(
        self, received_pilots: Tensor, pilot_subcarriers: Tensor, noise_variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate channels.

        Args:
            received_pilots: (batch, n_pilots) complex64, any units.
            pilot_subcarriers: (n_pilots,) int64, distinct, -n_used/2...-1, 1...n_used/2.
            noise_variance: (batch,) float32, complex variance per received pilot, in the same units.

        Returns:
            cfr (batch, n_used) complex64 on the used subcarriers, cir (batch, n_taps) complex64, error_variance
            (batch, n_used) float32.
        """
        s = self.scenario
        y, scale = normalise(received_pilots)
        noise = noise_of_y(noise_variance, scale, received_pilots.shape[-1])
        phi = PartialDFT(pilot_subcarriers % s.n_fft, s.n_taps, s.first_tap_samples, s.n_fft, y.dtype)
        found = self.algorithm(y, phi, noise_variance=noise)
        share = kept_share(phi.forward(found.x), self.band.forward(found.x), y)
        variance = unsure(self.algorithm.error_variance(found, y, phi, self.band, noise), share, y)
        cir = kept(found.x, share) * scale
        return self.band.forward(cir) * s.n_used**0.5, cir, variance * scale.square()


def traceable(model: Model, kinds: tuple[type[Algorithm], ...]) -> Algorithm:
    """The model's algorithm; ModelError unless it is exactly one of these, for OFDM."""
    if type(model.algorithm) not in kinds:
        raise ModelError(
            f"model {model.name}: this format takes {' and '.join(kind.name for kind in kinds)}, "
            f"the model is {model.algorithm.name}; --to hdf5 and --to mat take every model"
        )
    assert isinstance(model.algorithm, Algorithm)
    _ = model.ofdm
    return model.algorithm.to("cpu", torch.float32).eval()


def facts(model: Model, pattern: PilotPattern) -> str:
    """What a program says of itself, as JSON."""
    s = model.ofdm
    return json.dumps(
        {
            "model": model.name,
            "algorithm": model.algorithm.name,
            "scenario": s.name,
            "n_pilots": len(pattern),
            "pilot_subcarriers": pattern.subcarriers,
            "n_fft": s.n_fft,
            "n_used": s.n_used,
            "n_taps": s.n_taps,
            "first_tap_samples": s.first_tap_samples,
        }
    )
