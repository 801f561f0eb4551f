"""Error rates of a link: every estimator on the same slots, one Eb/N0 at a time."""

from .transmission import ORACLE, PERFECT, SIONNA_LS, TOLD, ChannelEstimator, Link, Slots  # first: needs Sionna

# isort: split

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import version
from itertools import count, pairwise

import sionna
import torch
from scipy.stats import binomtest
from sionna.phy.utils import sim_ber
from torch import Tensor

from ...evaluation import ErrorSums
from ...models import ESTIMATORS
from ...problems import Scenario

Case = tuple[Scenario, str, float, int, int, int, str, int, float]  # the arguments of a Link
LINK_ESTIMATORS = (PERFECT, ORACLE, SIONNA_LS, TOLD, *ESTIMATORS)
KEY = ("scenario", "n_pilots", "modulation", "ebno_db")
COLUMNS = (
    *KEY,
    "estimator",
    "model",
    "ber",
    "bler",
    "bler_low",
    "bler_high",
    "cfr_nmse_db",
    "goodput",
    "bits",
    "bit_errors",
    "blocks",
    "block_errors",
    "blocks_per_slot",
    "data_symbols",
    "rate",
    "symbols",
    "pilot_symbols",
    "antennas",
    "doppler_hz",
    "algorithms",
    "n_slots",
    "target_errors",
    "seed",
    "device",
    "scenarios",
    "chanest_version",
    "sionna_version",
)
_SYMBOLS_PER_BATCH = 192  # OFDM symbols sent at once
_KEPT = 64  # batches of a point that are kept for the next estimator


def usual_estimators(scenario: Scenario, simple: bool = True) -> tuple[str, ...]:
    """What is compared when nothing is asked for; least squares on the true taps where the channel has taps.

    Args:
        scenario: of the channels.
        simple: one antenna of a user at rest; else what is told the covariances is the bound.

    >>> from chanest import load_scenario
    >>> usual_estimators(load_scenario("tdl-c300"))
    ('perfect', 'na-sbl', 'na-alista', 'lmmse-exponential', 'linear')
    """
    if not simple:
        return (PERFECT, TOLD, "na-sbl-wide", SIONNA_LS)
    bounds = (PERFECT, ORACLE) if scenario.on_grid else (PERFECT,)
    return (*bounds, "na-sbl", "na-alista", "lmmse-exponential", "linear")


@dataclass
class Counts:
    """Errors of one estimator at one point."""

    bits: int = 0
    bit_errors: int = 0
    blocks: int = 0
    block_errors: int = 0
    cfr: ErrorSums = field(default_factory=ErrorSums)


def simulate_point(
    link: Link,
    estimators: Sequence[str],
    ebno_db: float,
    n_slots: int = 256,
    target_errors: int = 50,
    on_estimator: Callable[[str], None] | None = None,
) -> list[dict[str, object]]:
    """Send slots until each estimator has made enough block errors: rows with the columns of :data:`COLUMNS`.

    All estimators see the same bits, channels and noise, from the first slot on; at another Eb/N0 the noise only has
    another level. Sionna's ``sim_ber`` counts and stops.

    The 95 % interval of the BLER is Wilson's; it takes the blocks as independent, which those of one slot are not. The
    goodput is (1 - BLER) times the resource elements of a slot that carry coded bits: symbols delivered per slot.

    Args:
        link: what is sent.
        estimators: some of :data:`LINK_ESTIMATORS`, shipped models, model files.
        ebno_db: energy per information bit over N0, counting cyclic prefix and pilots as Sionna's ``ebnodb2no`` does.
        n_slots: at most, rounded up to whole batches (192 OFDM symbols).
        target_errors: block errors after which an estimator is done; 0 for none.
        on_estimator: called before each estimator, with its name.

    Raises:
        ModelError, AlgorithmError: see :meth:`Link.estimator`.

    >>> from chanest import load_scenario
    >>> link = Link(load_scenario("lte10"), n_symbols=1)
    >>> rows = simulate_point(link, ["perfect", "linear"], ebno_db=12, n_slots=192)
    >>> [row["estimator"] for row in rows], rows[0]["bler"] < 0.1 < 0.5 < rows[1]["bler"]
    (['perfect', 'linear'], True)
    """
    made = {name: link.estimator(name) for name in estimators}
    batch_size = min(n_slots, max(1, _SYMBOLS_PER_BATCH // link.grid.num_ofdm_symbols))
    transmitted = lru_cache(maxsize=_KEPT)(lambda index: link.transmit(ebno_db, batch_size, index))
    data_symbols = link.n_blocks * link.symbols_per_block
    rows: list[dict[str, object]] = []
    for name, (estimator, model) in made.items():
        if on_estimator is not None:
            on_estimator(name)
        counts = _count(link, estimator, ebno_db, transmitted, batch_size, n_slots, target_errors)
        bler = counts.block_errors / counts.blocks
        interval = binomtest(counts.block_errors, counts.blocks).proportion_ci(method="wilson")
        rows.append(
            {
                "scenario": link.scenario.name,
                "n_pilots": link.scenario.n_pilots,
                "modulation": link.modulation,
                "ebno_db": ebno_db,
                "estimator": name,
                "model": model,
                "ber": counts.bit_errors / counts.bits,
                "bler": bler,
                "bler_low": float(interval.low),
                "bler_high": float(interval.high),
                "cfr_nmse_db": None if name == PERFECT else counts.cfr.nmse_db,
                "goodput": (1 - bler) * data_symbols,
                "bits": counts.bits,
                "bit_errors": counts.bit_errors,
                "blocks": counts.blocks,
                "block_errors": counts.block_errors,
                "blocks_per_slot": link.n_blocks,
                "data_symbols": data_symbols,
                "chanest_version": version("chanest"),
                "sionna_version": sionna.__version__,
            }
        )
    return rows


@cache
def link_of(
    scenario: Scenario,
    modulation: str,
    rate: float,
    n_symbols: int,
    n_pilot_symbols: int,
    seed: int,
    device: str,
    n_antennas: int = 1,
    doppler_hz: float = 0.0,
) -> Link:
    """A :class:`Link`, made once per process.

    >>> from chanest import load_scenario
    >>> case = load_scenario("lte10"), "qpsk", 0.5, 1, 1, 0, "cpu"
    >>> link_of(*case) is link_of(*case)
    True
    """
    return Link(scenario, modulation, rate, n_symbols, n_pilot_symbols, seed, device, n_antennas, doppler_hz)


def measure_point(
    case: Case,
    estimators: Sequence[str],
    ebno_db: float,
    n_slots: int,
    target_errors: int,
    note: Callable[[str], None],
) -> list[dict[str, object]]:
    """:func:`simulate_point` as a task of a sweep: all arguments can be sent to another process.

    >>> from chanest import load_scenario
    >>> rows = measure_point((load_scenario("lte10"), "qpsk", 0.5, 1, 1, 0, "cpu", 1, 0.0), ["linear"], 6, 8, 0, print)
    75 pilots, qpsk, 6 dB: linear
    >>> rows[0]["blocks"]
    8
    """
    where = f"{case[0].n_pilots} pilots, {case[1]}, {ebno_db:g} dB"
    return simulate_point(
        link_of(*case), estimators, ebno_db, n_slots, target_errors, lambda name: note(f"{where}: {name}")
    )


def _count(
    link: Link,
    estimator: ChannelEstimator,
    ebno_db: float,
    transmitted: Callable[[int], Slots],
    batch_size: int,
    n_slots: int,
    target_errors: int,
) -> Counts:
    counts, indices = Counts(), count()

    def send(batch_size: int, ebno_db: Tensor) -> tuple[Tensor, Tensor]:
        slots = transmitted(next(indices))
        h_hat, error_variance = estimator(slots)
        counts.cfr.add(h_hat, slots.cfr.expand_as(h_hat))
        return slots.bits, link.decode(slots, h_hat, error_variance)

    def keep(
        step: int, point: int, ebno_db: Tensor, bit_errors: Tensor, block_errors: Tensor, bits: Tensor, blocks: Tensor
    ) -> None:
        counts.bits, counts.bit_errors = int(bits), int(bit_errors)
        counts.blocks, counts.block_errors = int(blocks), int(block_errors)

    sim_ber(
        send,
        torch.tensor([ebno_db]),
        batch_size,
        max_mc_iter=math.ceil(n_slots / batch_size),
        num_target_block_errors=target_errors or None,
        early_stop=False,
        verbose=False,
        callback=keep,
        device=link.device,
    )
    return counts


def ebno_at(rows: Iterable[Mapping[str, str]], bler: float = 0.1) -> float | None:
    """The Eb/N0 in dB where a curve first falls to a BLER, between points linear in log10; None where it never does.

    A point without errors counts as half an error. A curve that begins below the BLER gives minus infinity.

    Args:
        rows: of one estimator, with ``ebno_db, bler, blocks`` as text, in any order.
        bler: the level.

    >>> rows = [{"ebno_db": str(x), "bler": str(10.0**-x), "blocks": "1000"} for x in (0, 0.5, 2)]
    >>> round(ebno_at(rows), 6), ebno_at(rows, 1e-4)
    (1.0, None)
    """
    curve = sorted((float(r["ebno_db"]), max(float(r["bler"]), 0.5 / float(r["blocks"]))) for r in rows)
    if curve and curve[0][1] <= bler:
        return -math.inf if curve[0][1] < bler else curve[0][0]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if y1 <= bler < y0:
            return x0 + (x1 - x0) * math.log(y0 / bler) / math.log(y0 / y1)
    return None
