"""``chanest estimate``."""

import json as json_format
import math
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Column, Table

from ..errors import AlgorithmError, ChanestError, ModelError
from ..evaluation import REFERENCES, Score, estimate_file, estimate_writer, evaluate, plain, write_solution
from ..evaluation.plots import check_plot_path
from ..files import FINDINGS, MOTION, ArrayWriter, Chunk, MeasurementFile, PilotFile, check_output, open_measurements
from ..models import ESTIMATORS, Model, Solution, check_serves, load_model, pick_model
from ..problems import Batch, Grid, PilotPattern, Problem, Sensing, load_scenario, not_none, ofdm, scenario_names
from .findings import words_of_findings
from .options import (
    DEFAULT_ALGORITHM,
    MOST_ITERATIONS,
    RECEIVED_ALGORITHM,
    AlgorithmOption,
    CoefficientsOption,
    DeviceOption,
    ForceOption,
    GridOption,
    MeasurementsOption,
    PilotsOption,
    ScenarioOption,
    SnrOption,
    check_distinct,
    check_number,
    check_samples,
    chosen_device,
    chosen_problem,
    naming_options,
)
from .pictures import plot_received, plot_simulated
from .terminal import progress_bar, progress_bars, show

_SAME_ITERATIONS = ("ista", "fista", "na-alista")  # peers that --iterations is for, too
_QUANTITIES = {"cir": "CIR NMSE (dB)", "cfr": "CFR NMSE (dB)", "x": "NMSE (dB)"}


@dataclass(frozen=True)
class _Request:
    """What is asked for, of simulated observations or of received ones."""

    algorithm: str | None
    model: str | None
    iterations: int | None
    device: torch.device
    output: Path | None
    plot: Path | None
    json: bool
    force: bool
    paths: bool


def estimate(
    scenario: ScenarioOption = None,
    pilots: PilotsOption = None,
    snr: SnrOption = None,
    measurements: MeasurementsOption = None,
    coefficients: CoefficientsOption = None,
    grid: GridOption = None,
    algorithm: AlgorithmOption = None,
    model: Annotated[str | None, typer.Option(help="A shipped model, or an HDF5 file.")] = None,
    only: Annotated[bool, typer.Option("--only", help="Leave out the peers and the bounds of the table.")] = False,
    iterations: Annotated[int | None, typer.Option(help="Iterations; the model's own when not given.")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Channels to simulate, 1...10,000,000.", show_default="1000")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of pilots, channels and noise.", show_default="0")] = None,
    device: DeviceOption = "auto",
    input_: Annotated[Path | None, typer.Option("--input", help="Received pilots: .h5, .npz, .mat.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the estimates: .h5, .npz, .mat.")] = None,
    paths: Annotated[
        bool, typer.Option("--paths", help="Write the paths too: delays, gains, variances; of --input.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw one sample: .png, .pdf, .svg.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    force: ForceOption = False,
) -> None:
    """Estimate channels from simulated pilots, or from received ones with --input.

    \b
    chanest estimate --pilots 75 --snr 10
    chanest estimate --pilots 75 --snr 10 --algorithm na-sbl --only
    chanest estimate --scenario munich --pilots 75 --snr 10 --plot one.png
    chanest estimate --input pilots.h5 --output channels.h5
    chanest estimate --input csi.npz --grid wifi20 --output channels.npz --paths
    chanest estimate --grid nr-106-30 --pilots 128 --algorithm na-sbl
    chanest estimate --scenario synthetic --snr 20
    """
    check_number("--iterations", iterations, MOST_ITERATIONS)
    request = _Request(algorithm, model, iterations, chosen_device(device), output, plot, json, force, paths)
    check_distinct(input=input_, model=Path(model) if model else None, output=output, plot=plot)
    if paths and (input_ is None or output is None):
        raise ChanestError("writes the paths of received pilots; give --input and --output", field="--paths")
    if output is not None:
        check_output(output, force)
    if plot is not None:
        check_plot_path(plot, force)
    if input_ is None:
        problem = chosen_problem(scenario, pilots, snr, measurements, coefficients, grid)
        _simulated(request, problem, 1000 if samples is None else samples, 0 if seed is None else seed, only)
        return
    of_a_simulation = {
        "--pilots": pilots,
        "--measurements": measurements,
        "--coefficients": coefficients,
        "--snr": snr,
        "--samples": samples,
        "--seed": seed,
    }
    for option, value in of_a_simulation.items():
        if value is not None:
            raise ChanestError(f"describes a simulation, not {input_}; leave it out", field=option)
    with naming_options({"grid": "--grid"}):
        wanted = None if grid is None else Grid.named(grid)
    _received(request, input_, scenario, wanted)


def _simulated(request: _Request, problem: Problem, n_samples: int, seed: int, only: bool) -> None:
    """Estimate simulated channels or vectors beside every peer."""
    _check_plot(request, problem)
    check_samples(n_samples, seed)
    sensing = problem.sensing(seed)
    model = _model(request, problem, sensing)
    chosen, asked = model.algorithm.name, request.iterations
    models, left_out = ({chosen: model}, []) if only else _peers(problem, model, sensing, asked)
    used = {n: asked for n in models if asked and n in (chosen, *_SAME_ITERATIONS)}
    writer = ArrayWriter(request.output, request.force) if request.output else None
    names = (*models, *(() if only else REFERENCES))
    with writer or nullcontext(), progress_bars(names, n_samples) as progress:
        if writer:
            writer.header({"scenario": problem.name, "snr_db": problem.snr_db, "seed": seed}, {})
        write = writer and estimate_writer(writer, (n_samples,), model, sensing)

        def on_block(first: int, block: Batch, found: Mapping[str, Solution]) -> None:
            if write:
                write_solution(write, (slice(first, first + len(block)),), found[chosen])

        scores = evaluate(
            problem,
            sensing,
            models,
            n_samples,
            seed,
            request.device,
            n_iterations=used,
            error_variance_of=(chosen,) if writer else (),
            references=() if only else REFERENCES,
            on_block=on_block,
            on_estimator=lambda name, done, seconds: progress(name, done, f"{1e6 * seconds:.4g} µs per estimate"),
        )
    iterations = {n: used.get(n, m.algorithm.n_iterations) for n, m in models.items()}
    if request.plot:
        drawn = max(1, 8192 // max(iterations.values()))
        block = next(problem.simulate(sensing, min(n_samples, drawn, 512), seed))
        plot_simulated(request.plot, request.force, problem, block, models, used, sensing, chosen)
    facts = {
        **_facts(problem.name, model, problem.facts(sensing), scores, request),
        "snr_db": problem.snr_db,
        "n_samples": n_samples,
        "n_iterations": iterations[chosen],
        "seed": seed,
    }
    trained = f", {model.trained_for}" if model.training else f" (scenario {model.scenario.name})"
    note = f"; {problem.footnote}" if problem.footnote and not only else ""
    _report(request, problem, facts, scores, iterations, f"{chosen}: model {model.name}{trained}{note}")
    if not request.json:
        for reason in left_out:
            print(f"left out: {reason}")
        _say_written(request)


def _received(request: _Request, source: Path, scenario: str | None, grid: Grid | None) -> None:
    """Estimate the channels or vectors of a file of measurements, on a grid where the file does not say which."""
    with open_measurements(source, grid) as measurements:
        if grid is not None and not isinstance(measurements, PilotFile):
            raise ChanestError(f"is of pilots, {source} has none; leave it out", field="--grid")
        problem = measurements.scenario_for(load_scenario(scenario or _origin(measurements)))
        _check_plot(request, problem)
        model = _model(request, problem, measurements.sensing, received=True)
        chosen = model.algorithm.name
        warnings = _beyond(model, measurements)
        for warning in warnings:
            print(f"chanest: warning: model {model.name}: {warning}", file=sys.stderr)
        first: list[Chunk] = []
        tally, rate = _Findings(), measurements.sample_rate_hz
        writer = ArrayWriter(request.output, request.force) if request.output else None
        with writer or nullcontext(), progress_bar("estimating", measurements.n_observations) as bar:
            if writer:
                noted = not_none(warnings="; ".join(warnings) or None, sample_rate_hz=rate)
                writer.header({"input": source.name, **noted}, {})

            def on_chunk(rows: int, chunk: Chunk, found: Solution) -> None:
                if not first:
                    first.append(chunk)
                tally.add(found)
                bar.advance(rows)

            score = estimate_file(
                measurements,
                model,
                request.device,
                output=writer,
                n_iterations=request.iterations,
                error_variance=writer is not None,
                paths=request.paths,
                on_chunk=on_chunk,
            )
        if request.plot:
            plot_received(request.plot, request.force, first[0], measurements, model)
        sizes = problem.facts(measurements.sensing)
        sizes |= {"n_pilots": sizes["n_distinct_pilots"], "snr_convention": None}
        facts = {
            **_facts(scenario or measurements.scenario_name, model, sizes, {chosen: score}, request),
            "snr_db": None,
            "n_samples": measurements.n_observations,
            "n_iterations": request.iterations or model.algorithm.n_iterations,
            "seed": None,
            "trained_for": model.trained_for,
            "warnings": warnings,
            **tally.facts,
        }
    said = f"{chosen}: model {model.name}" + (f", {model.trained_for}" if model.training else "")
    _report(request, problem, facts, {chosen: score}, {chosen: facts["n_iterations"]}, said)
    if not request.json:
        for line in tally.words(rate):
            print(line)
        if isinstance(measurements, PilotFile) and not measurements.band_told:
            print(f"the file names no used_subcarriers: estimated on {measurements.sensing.grid}")
        _say_written(request)


def _origin(measurements: MeasurementFile) -> str:
    """The scenario that simulated a file, where its model can take the observations; else the one for any."""
    name = measurements.scenario_name
    if name in scenario_names() and measurements.is_plain:
        known = load_scenario(name)
        if not isinstance(measurements.sensing, PilotPattern) or (
            known.dtype.is_complex and measurements.sensing.grid == ofdm(known).grid
        ):
            return name
    return measurements.default_scenario


def _beyond(model: Model, measurements: MeasurementFile) -> list[str]:
    """How the pilots of a file lie outside of what a model was trained for."""
    if not model.training or not isinstance(measurements.sensing, PilotPattern):
        return []
    return model.ofdm.beyond_training(measurements.sensing, model.algorithm.circle)


class _Findings:
    """What else was found in a file, over all its chunks."""

    def __init__(self) -> None:
        self._found: dict[str, list[torch.Tensor]] = {}

    def add(self, found: Solution) -> None:
        for name in (*FINDINGS, *MOTION):
            values = getattr(found, name)
            if values is not None:
                self._found.setdefault(name, []).append(values.flatten().cpu().double())

    @property
    def _columns(self) -> dict[str, torch.Tensor]:
        return {name: torch.cat(parts) for name, parts in self._found.items()}

    @property
    def facts(self) -> dict[str, Any]:
        """As the JSON shows them: medians, and the share of the channels where something was sent."""
        columns = self._columns
        if not columns:
            return {"detected": None, "median_snr_db": None, "median_timing_samples": None, "noise_variance": None}
        timing = columns["timing_samples"].nanmedian()
        return {
            "detected": float(columns["detected"].mean()),
            "median_snr_db": float(columns["snr_db"].median()),
            "median_timing_samples": None if timing.isnan() else float(timing),
            "noise_variance": float(columns["noise_variance"].mean()),
            **{f"median_{name}": float(columns[name].median()) for name in MOTION if name in columns},
        }

    def words(self, sample_rate_hz: float | None) -> list[str]:
        """In a line, delays in microseconds too where the sample rate is known; nothing where nothing was found."""
        columns = self._columns
        return [f"received: {words_of_findings(columns, sample_rate_hz)}"] if columns else []


def _model(request: _Request, problem: Problem, sensing: Sensing, received: bool = False) -> Model:
    """The model that was asked for, by name or file, or the one for the algorithm of this name."""
    given = load_model(request.model) if request.model else None
    name = request.algorithm
    if name is not None and name not in ESTIMATORS:
        raise AlgorithmError(f"expected one of {', '.join(ESTIMATORS)}, got {name}", field="--algorithm")
    if given is not None and name not in (None, given.algorithm.name):
        raise AlgorithmError(f"{name} asked for, model {given.name} is {given.algorithm.name}", field="--algorithm")
    with naming_options({"algorithm": "--algorithm", "iterations": "--iterations"}):
        default = RECEIVED_ALGORITHM if received and problem.dtype.is_complex else DEFAULT_ALGORITHM
        model = given or pick_model(name or default, problem, sensing.n_measurements, request.iterations)
        model.algorithm.checked_iterations(request.iterations)
    if not received or model.scenario.dtype != problem.dtype:
        check_serves(model, problem)
    return model


def _peers(problem: Problem, chosen: Model, sensing: Sensing, asked: int | None) -> tuple[dict[str, Model], list[str]]:
    """The chosen model among its peers, in the order of the table; and why some peers are not there."""
    models, left_out = {}, []
    for name in dict.fromkeys((*problem.peers, chosen.algorithm.name)):
        own = asked if name in _SAME_ITERATIONS else None
        try:
            peer = chosen if name == chosen.algorithm.name else pick_model(name, problem, sensing.n_measurements, own)
            check_serves(peer, problem)
            models[name] = peer
        except ModelError as error:
            left_out.append(str(error))
    return models, left_out


def _facts(
    scenario: str | None, model: Model, sizes: dict[str, Any], scores: Mapping[str, Score], request: _Request
) -> dict[str, Any]:
    """What the JSON says of the run."""
    return {
        "scenario": scenario,
        "algorithm": model.algorithm.name,
        "model": model.name,
        **{name: value for name, value in sizes.items() if name != "snr_convention"},
        "snr_db": None,
        "snr_convention": sizes["snr_convention"],
        "n_samples": None,
        "n_iterations": None,
        "seed": None,
        "device": str(request.device),
        **plain(scores[model.algorithm.name]),
        "algorithms": {name: plain(score) for name, score in scores.items()},
    }


def _report(
    request: _Request,
    problem: Problem,
    facts: dict[str, Any],
    scores: Mapping[str, Score],
    iterations: Mapping[str, int],
    said: str,
) -> None:
    """The JSON, or the table of estimators and a line on the model."""
    if request.json:
        print(json_format.dumps(facts))
        return
    show(_table(problem, facts, scores, iterations))
    if any(name in REFERENCES for name in scores):
        print(f"oracle-ls and oracle-mmse are told the true {problem.support_word}: bounds, not estimators")
    print(said)


def _table(
    problem: Problem, facts: dict[str, Any], scores: Mapping[str, Score], iterations: Mapping[str, int]
) -> Table:
    """The table of estimators; the two bounds, where there are any, below a line."""
    convention = f" ({facts['snr_convention']} SNR)" if facts["snr_convention"] else ""
    at = "received" if facts["snr_db"] is None else f"{facts['snr_db']:g} dB{convention}"
    n_pilots, n_distinct = facts["n_pilots"], facts["n_distinct_pilots"]
    size = problem.size.removesuffix(" coefficients") if n_pilots is None else f"{n_pilots} pilots"
    distinct = "" if n_pilots == n_distinct else f" ({n_distinct} distinct)"
    source, samples = facts["scenario"] or "unknown origin", f"{facts['n_samples']} {problem.sample_word}"
    batch = scores[facts["algorithm"]].batch
    headings = ("K", *(_QUANTITIES[q] for q in problem.quantities), f"µs per estimate (batch {batch})")
    table = Table(
        "estimator",
        *(Column(heading, justify="right") for heading in headings),
        title=f"{source}: {size}{distinct}, {at}, {samples}",
        title_justify="left",
    )
    for name, score in scores.items():
        if name == REFERENCES[0]:
            table.add_section()
        values = (score.nmse_db.get(quantity, math.nan) for quantity in problem.quantities)
        table.add_row(
            name,
            str(iterations.get(name, "")),
            *(f"{value:.2f}" if math.isfinite(value) else "–" for value in values),
            f"{score.seconds_per_estimate * 1e6:.1f}",
            style="bold" if name == facts["algorithm"] else None,
        )
    return table


def _check_plot(request: _Request, problem: Problem) -> None:
    if request.plot and "cfr" not in problem.quantities:
        raise ChanestError("draws channels; leave it out in the synthetic setting", field="--plot")


def _say_written(request: _Request) -> None:
    for path in (request.output, request.plot):
        if path is not None:
            print(f"wrote {path}")
