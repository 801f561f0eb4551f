"""``chanest estimate``."""

import json
import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from ..arrayfile import ArrayWriter, check_output
from ..errors import AlgorithmError, ChanestError, ModelError
from ..estimator import Estimate, Model
from ..evaluation import REFERENCES, Score, check_band, estimate_file, evaluate, plain, simulation_writer
from ..observations import Chunk, PilotFile
from ..picking import ESTIMATORS, load_model, pick_model
from ..pilots import draw_pattern
from ..plots import check_plot_path
from ..scenario import Scenario, load_scenario, scenario_names
from ..signals import Simulation, simulate
from .common import (
    DEFAULT_ALGORITHM,
    check_distinct,
    check_iterations,
    check_samples,
    chosen_device,
    chosen_scenario,
    console,
    naming_options,
    progress_bar,
)
from .pictures import plot_received, plot_simulated

_SAME_ITERATION = ("ista", "fista", "na-alista")  # peers that --iterations is for, too


@dataclass(frozen=True)
class EstimateOptions:
    """The options of ``chanest estimate``, as given."""

    scenario: str | None
    pilots: int | None
    snr: float | None
    algorithm: str | None
    model: str | None
    iterations: int | None
    samples: int | None
    seed: int | None
    device: str
    input: Path | None
    output: Path | None
    plot: Path | None
    json: bool
    force: bool


def run(options: EstimateOptions) -> None:
    """Estimate simulated or received pilots, and print what came of it."""
    check_iterations(options.iterations)
    device = chosen_device(options.device)
    model = Path(options.model) if options.model else None
    check_distinct(input=options.input, model=model, output=options.output, plot=options.plot)
    if options.output is not None:
        check_output(options.output, options.force)
    if options.plot is not None:
        check_plot_path(options.plot, options.force)
    if options.input is None:
        _simulated(options, device)
    else:
        _received(options, options.input, device)


def _simulated(options: EstimateOptions, device: torch.device) -> None:
    n_samples = 1000 if options.samples is None else options.samples
    seed = 0 if options.seed is None else options.seed
    check_samples(n_samples, seed)
    scenario = chosen_scenario(options.scenario or "lte10", options.pilots, options.snr)
    pattern = draw_pattern(scenario, seed)
    given = load_model(options.model) if options.model else None
    chosen = _chosen_name(options, given)
    asked = options.iterations
    model = given or pick_model(chosen, scenario, len(pattern), asked)
    with naming_options({"iterations": "--iterations"}):
        model.algorithm.checked_iterations(asked)
    check_band(model, scenario)
    models, left_out = _family(scenario, model, len(pattern), asked)
    used = {n: asked for n in models if asked and n in (chosen, *_SAME_ITERATION)}
    writer = ArrayWriter(options.output, options.force) if options.output else None
    with writer or nullcontext(), progress_bar("estimating", n_samples) as bar:
        if writer:
            for name, value in (
                ("scenario", scenario.name),
                ("snr_db", scenario.snr_db),
                ("seed", seed),
            ):
                writer.attribute(name, value)
        write = writer and simulation_writer(writer, n_samples, model)

        def on_block(first: int, block: Simulation, estimates: Any) -> None:
            if write:
                write(first, estimates[chosen])
            bar.advance(len(block))

        scores = evaluate(
            scenario,
            pattern,
            models,
            n_samples,
            seed,
            device,
            n_iterations=used,
            error_variance_of=(chosen,) if writer else (),
            on_block=on_block,
        )
    if options.plot:
        drawn = max(1, 8192 // max(used.get(n, m.algorithm.n_iterations) for n, m in models.items()))
        block = next(simulate(scenario, pattern, min(n_samples, drawn, 512), seed))
        plot_simulated(options.plot, options.force, scenario, block, models, used, pattern, chosen)
    score = scores[chosen]
    facts = {
        "scenario": scenario.name,
        "algorithm": chosen,
        "model": model.name,
        "n_pilots": scenario.n_pilots,
        "n_distinct_pilots": len(pattern),
        "snr_db": scenario.snr_db,
        "snr_convention": scenario.snr_convention,
        "n_samples": n_samples,
        "n_iterations": used.get(chosen, model.algorithm.n_iterations),
        "seed": seed,
        "device": str(device),
        **plain(score),
        "algorithms": {name: plain(score) for name, score in scores.items()},
    }
    if options.json:
        print(json.dumps(facts))
        return
    _print_table(facts, scores, {n: used.get(n, m.algorithm.n_iterations) for n, m in models.items()})
    fitted = model.scenario
    print(
        f"{chosen}: model {model.name}"
        + (f", trained for {fitted.name}, {_pilots_of(model)}" if model.training else f" (scenario {fitted.name})")
    )
    for reason in left_out:
        print(f"left out: {reason}")
    _say_written(options)


def _received(options: EstimateOptions, source: Path, device: torch.device) -> None:
    of_a_simulation = {
        "--pilots": options.pilots,
        "--snr": options.snr,
        "--samples": options.samples,
        "--seed": options.seed,
    }
    for option, value in of_a_simulation.items():
        if value is not None:
            raise ChanestError(f"{option}: describes a simulation, not {source}; leave it out")
    with PilotFile(source) as pilots:
        given = load_model(options.model) if options.model else None
        chosen = _chosen_name(options, given)
        origin = pilots.scenario_name if pilots.scenario_name in scenario_names() else "wide"
        scenario = load_scenario(options.scenario or origin)
        model = given or pick_model(chosen, scenario, len(pilots.pattern), options.iterations)
        with naming_options({"iterations": "--iterations"}):
            model.algorithm.checked_iterations(options.iterations)
        first: list[tuple[Chunk, Estimate]] = []
        writer = ArrayWriter(options.output, options.force) if options.output else None
        with writer or nullcontext(), progress_bar("estimating", pilots.n_observations) as bar:
            if writer:
                writer.attribute("input", source.name)

            def on_chunk(rows: int, chunk: Chunk, estimate: Estimate) -> None:
                if not first:
                    first.append((chunk, estimate))
                bar.advance(rows)

            score = estimate_file(
                pilots,
                model,
                device,
                output=writer,
                n_iterations=options.iterations,
                error_variance=writer is not None,
                on_chunk=on_chunk,
            )
        if options.plot:
            plot_received(options.plot, options.force, *first[0], pilots, chosen)
        facts: dict[str, Any] = {
            "scenario": options.scenario or pilots.scenario_name,
            "algorithm": chosen,
            "model": model.name,
            "n_pilots": len(pilots.pattern),
            "n_distinct_pilots": len(pilots.pattern),
            "snr_db": None,
            "snr_convention": None,
            "n_samples": pilots.n_observations,
            "n_iterations": options.iterations or model.algorithm.n_iterations,
            "seed": None,
            "device": str(device),
            **plain(score),
            "algorithms": {chosen: plain(score)},
        }
    if options.json:
        print(json.dumps(facts))
        return
    _print_table(facts, {chosen: score}, {chosen: facts["n_iterations"]})
    print(f"{chosen}: model {model.name}" + (f", trained for {model.scenario.name}" if model.training else ""))
    _say_written(options)


def _chosen_name(options: EstimateOptions, given: Model | None) -> str:
    if options.algorithm is not None and options.algorithm not in ESTIMATORS:
        raise AlgorithmError(f"--algorithm: expected one of {', '.join(ESTIMATORS)}, got {options.algorithm}")
    if given is None:
        return options.algorithm or DEFAULT_ALGORITHM
    if options.algorithm not in (None, given.algorithm.name):
        raise AlgorithmError(
            f"--algorithm: {options.algorithm} asked for, model {given.name} is {given.algorithm.name}"
        )
    return given.algorithm.name


def _family(
    scenario: Scenario, chosen: Model, n_pilots: int, n_iterations: int | None
) -> tuple[dict[str, Model], list[str]]:
    """The chosen model among its peers, in the order of the table; and why some peers are not there."""
    models, left_out = {}, []
    for name in ESTIMATORS:
        if name == chosen.algorithm.name:
            models[name] = chosen
            continue
        try:
            peer = pick_model(name, scenario, n_pilots, n_iterations if name in _SAME_ITERATION else None)
            check_band(peer, scenario)
            models[name] = peer
        except ModelError as error:
            left_out.append(str(error))
    return models, left_out


def _print_table(facts: dict[str, Any], scores: dict[str, Score], iterations: dict[str, int]) -> None:
    received = facts["snr_db"] is None
    at = "received pilots" if received else f"{facts['snr_db']:g} dB ({facts['snr_convention']} SNR)"
    distinct = "" if facts["n_pilots"] == facts["n_distinct_pilots"] else f" ({facts['n_distinct_pilots']} distinct)"
    table = Table(
        title=f"{facts['scenario'] or 'unknown origin'}: {facts['n_pilots']} pilots{distinct}, {at}, "
        f"{facts['n_samples']} channels",
        title_justify="left",
    )
    batch = scores[facts["algorithm"]].batch
    table.add_column("estimator")
    for heading in ("K", "CIR NMSE (dB)", "CFR NMSE (dB)", f"µs per estimate (batch {batch})"):
        table.add_column(heading, justify="right")
    for name, score in scores.items():
        if name == REFERENCES[0]:
            table.add_section()
        table.add_row(
            name,
            str(iterations.get(name, "")),
            _db(score.cir_nmse_db),
            _db(score.cfr_nmse_db),
            f"{score.seconds_per_estimate * 1e6:.1f}",
            style="bold" if name == facts["algorithm"] else None,
        )
    console().print(table)
    if not received:
        print("oracle-ls and oracle-mmse are told the true delays: bounds, not estimators")


def _db(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"


def _pilots_of(model: Model) -> str:
    span = model.scenario.training.n_pilots
    return f"{span[0]}–{span[1]} pilots" if span else f"{model.scenario.n_pilots} pilots"


def _say_written(options: EstimateOptions) -> None:
    for path in (options.output, options.plot):
        if path is not None:
            print(f"wrote {path}")
