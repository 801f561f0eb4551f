"""OFDM scenarios: what is transmitted, over which channels, at which noise level."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ...errors import PilotError, ScenarioError
from ...lazy import torch
from ..base import (
    Batch,
    ForwardModel,
    Penalties,
    Problem,
    Range,
    Target,
    Training,
    Values,
    ascending,
    not_none,
    words_of_range,
)
from ..oracles import path_gains
from ..random import BLOCK, seeded
from .channels import DelayAxis, PathChannel, Paths, ProfileChannel, RecordedChannel, TapChannel
from .delays import period_samples
from .draw import frequency_response, pilot_noise, reference_noise
from .frontend import check_pilots
from .grid import Grid
from .operator_cache import cached_operator, cfr_of, whole_band
from .pilots import PilotPattern
from .receivers import Receiver, Receivers, draw_received, draw_receiver
from .slots import SlotPattern

if TYPE_CHECKING:
    from torch import Tensor

    from ...operators import PartialDFT

_EP_SPARSITY, _EP_DECAY = 48.0, 1.5  # EP's prior where taps do not lie on the sample grid: tools/tune_classical.py
_ANY_CHANNEL = Penalties(
    ista=0.0905,
    fista=0.064,
    ista_error=(-2.303, -0.557, -1.041, 3.641, 1.603, -0.682, -1.093),
    fista_error=(-1.188, -0.325, -1.258, 1.934, 0.771, -0.191, -0.436),
)
_NOISE = {"pilot": pilot_noise, "reference": reference_noise}


class TrainingRange(Training):
    """What a model trained for the scenario must serve.

    ``n_pilots`` (log-uniform) replaces the scenario's own count when given; ``comb_fraction`` of the patterns
    are regular combs; ``fixed_pattern`` trains on the one pattern that the training's seed draws. ``receivers`` are
    what estimators that take snapshots are trained for.
    """

    n_pilots: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(ge=2)]] | None = None
    """fewest and most pilots, log-uniform between; the scenario's own number when missing"""
    comb_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """share of the batches whose pilots are a regular comb; the others are random"""
    fixed_pattern: bool = False
    """train on the one pattern that the training's seed draws"""
    receivers: Receivers | None = None
    """train for receivers of every kind; see [training.receivers]"""

    @model_validator(mode="after")
    def _check(self) -> TrainingRange:
        if self.n_pilots is not None:
            ascending("n_pilots", self.n_pilots)
        return self

    @property
    def fixed(self) -> bool:
        return self.fixed_pattern


class Scenario(Problem):
    """One complete, frozen description of an OFDM setting (design: "a problem is a value").

    The band is the DC-free one of LTE, subcarriers -n_used/2...-1 and 1...n_used/2, or that of ``grid_name``
    (:meth:`Grid.named`), whose DFT length and number of subcarriers it has then. Channels have E||x||^2 = 1.
    ``snr_convention`` is ``"pilot"`` (the paper's definition: SNR at every pilot) or ``"reference"`` (the published
    code's: noise relative to the mean over all n_fft bins, see :mod:`chanest.problems.ofdm.draw`).

    >>> from chanest import load_scenario
    >>> scenario = load_scenario("lte10").replace(n_pilots=50, snr_db=20)
    >>> scenario.n_pilots, scenario.n_taps, len(scenario.used_subcarriers)
    (50, 256, 600)
    """

    quantities: ClassVar[tuple[str, ...]] = ("cir", "cfr")
    size_fields: ClassVar[tuple[str, ...]] = ("n_pilots",)
    peers: ClassVar[tuple[str, ...]] = (
        *("ista", "fista", "alista", "na-alista", "na-sbl", "omp", "sbl", "ep"),
        *("lmmse-true", "lmmse-exponential", "lmmse-flat", "spline", "linear"),
    )
    sensing_word: ClassVar[str] = "pilot pattern"
    sample_word: ClassVar[str] = "channels"
    support_word: ClassVar[str] = "delays"

    name: Annotated[str, Field(min_length=1)]
    """what tables and files call it"""
    description: str = ""
    """a line for people"""
    n_fft: Annotated[int, Field(ge=8)] = 1024
    """DFT length, samples of a symbol"""
    n_used: Annotated[int, Field(ge=2, multiple_of=2)] = 600
    """subcarriers that carry pilots or data, half below and half above an empty DC"""
    grid_name: str = ""
    """another band by name, such as lte20, nr-106-30 or wifi20, whose n_fft and n_used must stand here too"""
    cp_samples: Annotated[int, Field(ge=0)] = 256
    """cyclic prefix, samples: what links send, and when they warn of longer channels"""
    subcarrier_spacing_hz: Annotated[float, Field(gt=0)] = 15e3
    """Hz; n_fft times this is the sample rate"""
    n_taps: Annotated[int, Field(ge=1)] = 256
    """taps, a sample apart, that are estimated"""
    first_tap_samples: int = 0
    """delay of the first of them, samples; negative where paths lie between the samples and leak"""
    n_pilots: Annotated[int, Field(ge=2)] = 75
    """pilots of an observation"""
    pilot_draw: Literal["distinct", "published"] = "distinct"
    """random distinct subcarriers from the seed, or the pattern of the published code"""
    snr_db: Annotated[float, Field(ge=-50, le=100)] = 10.0
    """dB"""
    snr_convention: Literal["pilot", "reference"] = "pilot"
    """SNR at every pilot, or the published code's: noise relative to the mean over all bins"""
    channel: Annotated[TapChannel | PathChannel | ProfileChannel | RecordedChannel, Field(discriminator="kind")]
    """how channels are drawn; see the kinds of [channel]"""
    training: TrainingRange = TrainingRange()
    """what models are trained for; see [training]"""
    penalties: Penalties = _ANY_CHANNEL
    """of ISTA and FISTA, see [penalties]; those of the scenario wide when missing"""

    @model_validator(mode="after")
    def _check(self) -> Scenario:
        if self.grid_name:
            try:
                named = Grid.named(self.grid_name)
            except PilotError as error:
                raise ValueError("grid_name", error.what) from None
            if (named.n_fft, named.n_used) != (self.n_fft, self.n_used):
                raise ValueError(
                    "grid_name",
                    f"expected n_fft = {named.n_fft} and n_used = {named.n_used} beside {self.grid_name}, "
                    f"got {self.n_fft} and {self.n_used}",
                )
        if self.n_used >= self.n_fft:
            raise ValueError("n_used", f"expected fewer than n_fft = {self.n_fft} subcarriers, got {self.n_used}")
        if self.n_taps > self.n_fft:
            raise ValueError("n_taps", f"expected at most n_fft = {self.n_fft}, got {self.n_taps}")
        if self.n_pilots > self.n_used:
            raise ValueError("n_pilots", f"expected 2...{self.n_used} (the used subcarriers), got {self.n_pilots}")
        most = self.training.n_pilots
        if most is not None and most[1] > self.n_used:
            raise ValueError("training.n_pilots", f"expected 2...{self.n_used}, got {most[1]}")
        if self.channel.prior is not None and self.channel.prior[0] > self.n_taps:
            raise ValueError(
                "channel.sparsity", f"expected at most n_taps = {self.n_taps}, got {self.channel.prior[0]}"
            )
        if self.snr_convention == "reference" and not self.on_grid:
            raise ValueError("snr_convention", '"reference" is defined for a channel of kind "taps" only')
        return self

    @property
    def grid(self) -> Grid:
        """DFT length and band."""
        return Grid.named(self.grid_name) if self.grid_name else _grid(self.n_used, self.n_fft)

    def on(self, grid_name: str) -> Scenario:
        """The scenario on another grid, by its name: delays in samples keep their share of the DFT length.

        >>> from chanest import load_scenario
        >>> moved = load_scenario("wide").on("nr-106-30")
        >>> moved.n_fft, moved.n_used, moved.subcarrier_spacing_hz, moved.window_samples
        (2048, 1272, 30000.0, (-16.0, 528.0))
        """
        grid = Grid.named(grid_name)
        factor = grid.n_fft / self.n_fft
        counts = self.training.n_pilots
        training = self.training.model_copy(
            update={"n_pilots": None if counts is None else tuple(min(n, grid.n_used) for n in counts)}
        )
        return self.replace(
            grid_name=grid_name,
            n_fft=grid.n_fft,
            n_used=grid.n_used,
            subcarrier_spacing_hz=grid.subcarrier_spacing_hz,
            cp_samples=round(self.cp_samples * factor),
            n_taps=max(1, math.ceil(self.n_taps * factor)),
            first_tap_samples=math.floor(self.first_tap_samples * factor),
            n_pilots=min(self.n_pilots, grid.n_used),
            channel=self.channel.scaled(factor).model_dump(),
            training=training.model_dump(),
        )

    @property
    def used_subcarriers(self) -> np.ndarray:
        """``(n_used,) int64``: the subcarriers that carry pilots or data, ascending, without DC."""
        return np.asarray(self.grid.used_subcarriers, dtype=np.int64)

    @property
    def window_samples(self) -> tuple[float, float]:
        """First and last delay of the taps that are estimated."""
        return float(self.first_tap_samples), float(self.first_tap_samples + self.n_taps)

    @property
    def sample_rate_hz(self) -> float:
        """n_fft times the subcarrier spacing: 15.36 MHz for LTE 10 MHz."""
        return self.n_fft * self.subcarrier_spacing_hz

    @property
    def on_grid(self) -> bool:
        """Whether every channel is a vector of taps, so that the CIR has a true value to compare with."""
        return self.channel.prior is not None

    # drawing ----------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        return torch.complex64

    def sensing(self, seed: int) -> PilotPattern:
        """The pilot pattern of a run: drawn from the seed, or the published one where the scenario says so.

        >>> from chanest import load_scenario
        >>> len(load_scenario("lte10").replace(n_pilots=50).sensing(seed=1))
        50
        """
        if self.pilot_draw == "published":
            return PilotPattern.published(self.n_pilots, self.grid)
        return PilotPattern.random(self.n_pilots, seed, self.grid)

    def draw_paths(self, n_samples: int, generator: torch.Generator) -> Paths:
        """Delays in samples (float64), gains (complex64) and prior variances (float32): (n_samples, paths) each.

        >>> from chanest import load_scenario
        >>> from chanest.problems import seeded
        >>> delays, gains, variances = load_scenario("eva").draw_paths(5, seeded(0, "test"))
        >>> gains.shape, round(float(variances[0].sum()), 6)
        (torch.Size([5, 9]), 1.0)
        """
        return self.channel.draw(n_samples, generator, self._axis)

    def draw(
        self,
        sensing: PilotPattern,
        n_samples: int,
        generator: torch.Generator | int,
        snr_db: Tensor | float | None = None,
    ) -> Batch:
        """Draw channels, noise and observations; rounded up to blocks of 512 inside for the ``reference`` convention.

        >>> from chanest import load_scenario
        >>> lte10 = load_scenario("lte10")
        >>> batch = lte10.draw(lte10.sensing(0), 5, generator=0)
        >>> batch.observations.shape, batch.truth["cfr"].shape
        (torch.Size([5, 75]), torch.Size([5, 600]))
        """
        generator = seeded(generator, "test") if isinstance(generator, int) else generator
        n_drawn = -(-n_samples // BLOCK) * BLOCK if self.snr_convention == "reference" else n_samples
        delays, gains, variances = self.draw_paths(n_drawn, generator)
        cfr = frequency_response(delays, gains, self.grid)
        at_pilots = cfr[:, np.searchsorted(self.used_subcarriers, sensing.subcarriers)]
        snr = torch.as_tensor(self.snr_db if snr_db is None else snr_db, dtype=torch.float32).expand(n_samples)
        level, relative = _NOISE[self.snr_convention](at_pilots, snr, sensing)
        at_pilots = at_pilots[:n_samples]
        noise = torch.randn(at_pilots.shape, dtype=torch.complex64, generator=generator)
        noise = noise * (level.unsqueeze(-1) * relative).sqrt()
        paths = {"delays": delays, "gains": gains, "variances": variances}
        truth = {"cfr": cfr[:n_samples]}
        if self.on_grid:
            truth = {"cir": self._taps(delays, gains)[:n_samples], **truth}
        return Batch(at_pilots + noise, level, truth, {name: v[:n_samples] for name, v in paths.items()})

    def _told_the_support(self, batch: Batch, sensing: PilotPattern, noise_variance: Tensor | None) -> Values:
        delays, variances = batch.paths["delays"], batch.paths["variances"]
        gains = path_gains(
            batch.observations, torch.tensor(sensing.subcarriers), delays, variances, noise_variance, self.n_fft
        ).to(torch.complex64)
        cfr = {"cfr": frequency_response(delays, gains, self.grid)}
        return {"cir": self._taps(delays, gains), **cfr} if self.on_grid else cfr

    def delay_profile(self) -> tuple[Tensor, Tensor]:
        """The mean power delay profile: delays in samples and powers of sum 1, float64, (paths,) each.

        Exact where the scenario fixes the delays; else the mean over its channels, on delays an eighth of a sample
        apart. Paths of recorded channels count as incoherent.

        >>> from chanest import load_scenario
        >>> delays, powers = load_scenario("epa").delay_profile()
        >>> len(delays), round(float(powers.sum()), 6)
        (7, 1.0)
        """
        return self.channel.delay_profile(self._axis)

    @property
    def _axis(self) -> DelayAxis:
        return DelayAxis(self.n_taps, self.first_tap_samples, self.sample_rate_hz)

    def _taps(self, delays: Tensor, gains: Tensor) -> Tensor:
        taps = delays.long() - self.first_tap_samples
        return torch.zeros(len(gains), self.n_taps, dtype=gains.dtype).scatter_add(-1, taps, gains)

    # estimating -------------------------------------------------------------------------------------------

    def check(self, observations: Tensor, sensing: PilotPattern, noise_variance: Tensor | float | None) -> None:
        check_pilots(observations, sensing, noise_variance)

    def operator(self, pattern: PilotPattern, dtype: torch.dtype, device: torch.device | str) -> PartialDFT:
        """Phi from the scenario's delay window to some pilots, kept from call to call."""
        return cached_operator(pattern, self.n_taps, self.first_tap_samples, dtype, device)

    def forward_model(
        self, sensing: PilotPattern | Receiver, dtype: torch.dtype, device: torch.device | str
    ) -> ForwardModel:
        if isinstance(sensing, Receiver):
            phi, band = (
                sensing.operator(device),
                sensing.band(torch.from_numpy(sensing.pattern.used_subcarriers), device),
            )
        else:
            phi, band = (self.operator(p, dtype, device) for p in (sensing, whole_band(sensing.grid)))

        def quantities(cir: Tensor) -> Values:
            return {"cir": cir, "cfr": band.forward(cir) * band.n_measurements**0.5}

        return ForwardModel(phi, lambda rms: rms, quantities, band)

    def refuses(self, made_for: Problem) -> str | None:
        if not isinstance(made_for, Scenario):
            return f"made for synthetic vectors (scenario {made_for.name}), not for OFDM pilots"
        return None

    def distance(self, made_for: Problem, n_measurements: int) -> tuple[float, ...] | None:
        if not isinstance(made_for, Scenario) or made_for.name not in (self.name, "wide"):
            return None
        if made_for.name != "wide" and made_for.grid != self.grid:
            return None
        apart = 0.0 if made_for.training.n_pilots else abs(math.log(made_for.n_pilots / n_measurements))
        return (float(made_for.name != self.name), apart)

    def hyperparameters(self) -> dict[str, Any]:
        sparsity, decay = self.channel.prior or (_EP_SPARSITY, _EP_DECAY)
        return {"sparsity": sparsity, "decay": decay}

    # training ---------------------------------------------------------------------------------------------

    def training_sensing(self, seed: int, step: int) -> PilotPattern:
        """The pilot pattern of one step of training, as the training range says.

        >>> from chanest import load_scenario
        >>> wide = load_scenario("wide")
        >>> len({len(wide.training_sensing(0, step)) for step in range(10)}) > 5
        True
        """
        training = self.training
        if training.fixed_pattern:
            return self.sensing(seed)
        generator = seeded(seed, "pattern", step + 1)
        n_pilots = self.n_pilots
        if training.n_pilots is not None:
            low, high = (math.log(n) for n in training.n_pilots)
            n_pilots = round(math.exp(low + (high - low) * float(torch.rand(1, generator=generator))))
        if float(torch.rand(1, generator=generator)) < training.comb_fraction:
            spacing = max(1, round(self.n_used / n_pilots))
            return PilotPattern.comb(spacing, int(torch.randint(spacing, (1,), generator=generator)), self.grid)
        return PilotPattern.random(n_pilots, int(torch.randint(2**62, (1,), generator=generator)), self.grid)

    def validation_sensing(self, seed: int, index: int) -> PilotPattern:
        return self.sensing(seed + (0 if self.training.fixed_pattern else index))

    def beyond_training(self, pattern: PilotPattern, any_receiver: bool = False) -> list[str]:
        """How pilots lie outside of what a model trained for the scenario has seen, a few words each; empty where not.

        Args:
            pattern: the pilots.
            any_receiver: of a model that was trained for ``training.receivers``.

        >>> from chanest import load_scenario
        >>> load_scenario("lte10").beyond_training(PilotPattern.comb(6))
        ['100 pilots, trained for 75', 'a regular comb, trained for random pilots']
        >>> load_scenario("wide").beyond_training(PilotPattern.comb(6), any_receiver=True)
        []
        """
        training, n, said = self.training, len(pattern), []
        receivers = training.receivers if any_receiver else None
        counts = training.n_pilots if receivers is None else receivers.n_pilots
        if counts is None and not 0.8 * self.n_pilots <= n <= 1.25 * self.n_pilots:
            said.append(f"{n} pilots, trained for {self.n_pilots}")
        elif counts is not None and not counts[0] <= n <= counts[1]:
            said.append(f"{n} pilots, trained for {counts[0]} to {counts[1]}")
        share = (pattern.subcarriers[-1] - pattern.subcarriers[0] + 1) / pattern.n_fft
        own = (self.used_subcarriers[-1] - self.used_subcarriers[0] + 1) / self.n_fft
        least, most = (0.035, 1.0) if receivers is not None else (0.8 * own, 1.25 * own)
        if not least <= share <= most:
            wanted = f"{own:.0%}" if receivers is None else f"{least:.1%} and more"
            said.append(f"pilots over {share:.1%} of the DFT length, trained for {wanted}")
        if receivers is None and training.comb_fraction == 0 and period_samples(pattern) < pattern.n_fft:
            said.append("a regular comb, trained for random pilots")
        return said

    def training_receiver(self, seed: int, step: int, joint: bool) -> Receiver | None:
        ranges = self.training.receivers
        if ranges is None or (not joint and (step < 0 or step % 2)):
            return None
        receiver = draw_receiver(ranges, self.grid, self.window_samples, seed, step)
        return receiver if joint else receiver.alone(self.first_tap_samples, self.n_taps)

    def training_draw(
        self, sensing: PilotPattern | Receiver, n_samples: int, generator: torch.Generator, snr_db: Tensor
    ) -> tuple[Batch, Tensor | None]:
        if not isinstance(sensing, Receiver):
            return super().training_draw(sensing, n_samples, generator, snr_db)
        alone = sensing.n_snapshots == 0
        n_samples = n_samples if alone else min(n_samples, max(8, 256 // sensing.n_snapshots))
        channel = self.channel.separate() if sensing.separate else self.channel
        drawn = [channel.draw_delays(n_samples, generator, self._axis) for _ in sensing.symbols]
        delays, variances = (torch.stack(one) for one in zip(*drawn, strict=True))
        paths = delays, variances
        batch = draw_received(sensing, paths, max(1, sensing.n_snapshots), snr_db[:n_samples], generator)
        if alone:
            batch = Batch(batch.observations[:, 0], batch.noise_variance, {"cfr": batch.truth["cfr"][:, 0, 0]})
        return batch, None

    def target(self, sensing: PilotPattern | Receiver, batch: Batch) -> Target:
        if isinstance(sensing, Receiver):
            return self._joint_target(sensing, batch)
        phi = sensing.operator(self.n_taps, self.first_tap_samples, batch.observations.dtype, batch.observations.device)
        if self.on_grid:
            return Target(phi, lambda rms: rms, batch.truth["cir"], lambda x: x)
        return Target(phi, lambda rms: rms, batch.truth["cfr"], lambda x: cfr_of(x, self.grid, self.first_tap_samples))

    def _joint_target(self, receiver: Receiver, batch: Batch) -> Target:
        """On some 96 of the used subcarriers."""
        truth, n_layers = batch.truth["cfr"], len(receiver.symbols)
        used = torch.from_numpy(receiver.pattern.used_subcarriers)
        some = torch.randperm(len(used), generator=seeded(len(used), "pattern", len(receiver)))[:96].sort().values
        phi, band = receiver.operator(truth.device), receiver.band(used[some], truth.device)

        if truth.ndim == 2:  # one vector at a time
            return Target(phi, lambda rms: rms, truth[..., some], lambda x: band.forward(x) * len(some) ** 0.5)

        def compared(x: Tensor) -> Tensor:
            response = band.forward(x.unflatten(-1, (n_layers, -1))) * len(some) ** 0.5
            return response.flatten(1)

        return Target(phi, lambda rms: rms.unsqueeze(-1), truth[..., some].flatten(1), compared)

    def training_hyperparameters(self) -> dict[str, Any]:
        prior = self.channel.prior
        circle = {} if self.training.receivers is None else {"delays": "circle"}
        return {"penalty": self.penalties.ista, **({} if prior is None else {"decay": prior[1]}), **circle}

    def matrix_size(self, seed: int) -> tuple[int, int, str]:
        if not self.training.fixed_pattern:
            raise ScenarioError(f"scenario {self.name} draws a new pilot pattern every step; give --fixed-pattern")
        return len(self.sensing(seed)), self.n_taps, "complex"

    def trained_with(self, snr_db: Range | None, fixed: bool | None, resized: bool) -> Self:
        training = not_none(snr_db=snr_db, fixed_pattern=fixed) | ({"n_pilots": None} if resized else {})
        return self.replace(training={**self.training.model_dump(), **training}) if training else self

    # files ------------------------------------------------------------------------------------------------

    def file_header(self, sensing: PilotPattern, seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Pilots are QPSK symbols of modulus 1."""
        bits = np.random.default_rng([seed, len(sensing)]).integers(0, 4, len(sensing))
        attributes = {
            "scenario": self.name,
            "snr_db": self.snr_db,
            "snr_convention": self.snr_convention,
            "seed": seed,
            "subcarrier_spacing_hz": self.subcarrier_spacing_hz,
        }
        return attributes, {
            "pilot_subcarriers": np.asarray(sensing.subcarriers, dtype=np.int64),
            "pilot_symbols": np.exp(0.25j * np.pi * (2 * bits + 1)).astype(np.complex64),
            "n_fft": np.asarray(self.n_fft),
            **self.estimate_header(sensing),
        }

    def file_rows(self, batch: Batch, header: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        received = {"received_pilots": batch.observations.numpy() * header["pilot_symbols"]}
        truth = {name: values.numpy() for name, values in batch.truth.items()}
        return {**received, **truth, "noise_variance": batch.noise_variance.numpy()}

    def estimate_header(self, sensing: PilotPattern | SlotPattern) -> dict[str, np.ndarray]:
        used = {"used_subcarriers": sensing.used_subcarriers}
        if isinstance(sensing, SlotPattern):
            return used | {"output_times_s": np.asarray(sensing.output_times_s)}
        return used | {"first_tap_samples": np.asarray(self.first_tap_samples)}

    def constants(self) -> dict[str, Tensor]:
        from ...operators import power_start

        return {"power_start": power_start(self.n_taps)}

    # words ------------------------------------------------------------------------------------------------

    def facts(self, sensing: PilotPattern) -> dict[str, Any]:
        return {
            "n_pilots": self.n_pilots,
            "n_distinct_pilots": len(sensing),
            "snr_convention": self.snr_convention,
        }

    @property
    def size(self) -> str:
        return f"{self.n_pilots} pilots"

    @property
    def trained_size(self) -> str:
        return words_of_range(self.training.n_pilots) if self.training.n_pilots else str(self.n_pilots)

    def training_words(self, seed: object) -> str:
        return super().training_words(seed).replace(self.size, f"{self.trained_size} pilots", 1)

    @property
    def noise_convention(self) -> str:
        return self.snr_convention

    @property
    def trained_for(self) -> str:
        span = self.training.n_pilots
        return f"trained for {self.name}, {f'{span[0]}–{span[1]}' if span else self.n_pilots} pilots"

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.description}\n"
            f"  OFDM: {self.n_used} of {self.n_fft} subcarriers, "
            f"{self.subcarrier_spacing_hz / 1e3:g} kHz apart, "
            f"{self.sample_rate_hz / 1e6:g} Msample/s, CP {self.cp_samples} samples\n"
            f"  channel: {self.channel.words(self.n_taps)}\n"
            f"  estimated taps: {self.n_taps} from {self.first_tap_samples} samples on\n"
            f"  default: {self.n_pilots} pilots, {self.snr_db:g} dB, {self.snr_convention} SNR convention\n"
            f"  training: {self.trained_size} pilots, SNR {words_of_range(self.training.snr_db)} dB"
        )


_grid = cache(Grid.around_dc)
