"""The kinds of OFDM channels."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..base import Frozen, ascending


class TapChannel(Frozen):
    """Taps on the sample grid: ``sparsity`` of them, CN(0, p_i) with p_i proportional to exp(-decay*i/n_taps).

    ``support = "uniform"`` places exactly ``sparsity`` taps (paper, section 4.3); ``"bernoulli"`` gives every
    tap the probability sparsity/n_taps (the published code).
    """

    kind: Literal["taps"]
    sparsity: Annotated[int, Field(ge=1)]
    decay: Annotated[float, Field(ge=0)]
    support: Literal["uniform", "bernoulli"] = "uniform"


class PathChannel(Frozen):
    """Paths between the samples: their number, delay span and power decay drawn anew for every channel.

    The number is uniform in ``n_paths``, the span log-uniform in ``span_samples``, delays are uniform in
    0...span, powers exp(-decay*delay/span) with decay uniform in ``decay``.

    Shadowing multiplies every path's power by 10^(N(0, s)/10), s uniform in ``spread_db``. Clusters: every path but
    the first joins the cluster that came before with a probability that is uniform in ``clustered``, behind its head
    by an exponential delay whose mean is log-uniform in ``cluster_samples``; none leaves 0...span. Dense multipath: 32
    weak paths more, with a span and a decay of their own, hold a share of the power that is log-uniform in
    ``dense_share``.
    """

    kind: Literal["paths"]
    n_paths: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    span_samples: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    decay: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]
    spread_db: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (0.0, 0.0)
    clustered: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = (0.0, 0.0)
    dense_share: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.0, 0.0)
    cluster_samples: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.1, 3.0)

    @model_validator(mode="after")
    def _check(self) -> "PathChannel":
        for name in ("n_paths", "span_samples", "decay", "spread_db", "clustered", "dense_share", "cluster_samples"):
            ascending(name, getattr(self, name))
        if self.dense_share[0] == 0 < self.dense_share[1]:
            raise ValueError("dense_share", "expected a positive low end, or [0, 0] for none")
        return self


class ProfileChannel(Frozen):
    """A fixed delay profile with Rayleigh fading: excess delays in ns, relative powers in dB."""

    kind: Literal["profile"]
    delays_ns: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    powers_db: Annotated[tuple[float, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "ProfileChannel":
        if len(self.delays_ns) != len(self.powers_db):
            raise ValueError(
                "powers_db", f"expected one power per delay ({len(self.delays_ns)}), got {len(self.powers_db)}"
            )
        return self


class RecordedChannel(Frozen):
    """Channels from a file of path gains and delays (docs/file-formats.md): measured, or ray-traced.

    ``file`` is the name of a shipped one, or a path; in a TOML file, a path from that file on.
    """

    kind: Literal["recorded"]
    file: Annotated[str, Field(min_length=1)]
