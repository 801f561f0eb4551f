"""``chanest estimate`` in the OFDM setting."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from ..evaluation.scoring import check_band, estimate_file, evaluate, plain, simulation_writer
from ..files.arrays import ArrayWriter
from ..files.measurements import Chunk, PilotFile
from ..models.model import Estimate, Model
from ..models.zoo import PEERS, load_model, pick_model
from ..problems.load import load_scenario, scenario_names
from ..problems.ofdm.draw import Simulation, draw_pattern, simulate
from ..problems.ofdm.scenario import Scenario
from .common import check_samples, naming_options, progress_bar
from .estimation import (
    SAME_ITERATIONS,
    EstimateOptions,
    chosen_name,
    print_table,
    say_written,
)
from .pictures import plot_received, plot_simulated


def simulated(options: EstimateOptions, scenario: Scenario, device: torch.device) -> None:
    """Estimate simulated channels beside every peer."""
    n_samples = 1000 if options.samples is None else options.samples
    seed = 0 if options.seed is None else options.seed
    check_samples(n_samples, seed)
    pattern = draw_pattern(scenario, seed)
    given = load_model(options.model) if options.model else None
    chosen = chosen_name(options, given)
    asked = options.iterations
    model = given or pick_model(chosen, scenario, len(pattern), asked)
    with naming_options({"iterations": "--iterations"}):
        model.algorithm.checked_iterations(asked)
    check_band(model, scenario)
    models, left_out = _family(scenario, model, len(pattern), asked)
    used = {n: asked for n in models if asked and n in (chosen, *SAME_ITERATIONS)}
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
    print_table(facts, scores, {n: used.get(n, m.algorithm.n_iterations) for n, m in models.items()})
    fitted = model.scenario
    print(
        f"{chosen}: model {model.name}"
        + (f", trained for {fitted.name}, {_pilots_of(model)}" if model.training else f" (scenario {fitted.name})")
    )
    for reason in left_out:
        print(f"left out: {reason}")
    say_written(options)


def received(options: EstimateOptions, source: Path, device: torch.device) -> None:
    """Estimate the channels of received pilots."""
    with PilotFile(source) as pilots:
        given = load_model(options.model) if options.model else None
        chosen = chosen_name(options, given)
        origin = pilots.scenario_name if pilots.scenario_name in scenario_names() else "wide"
        scenario = load_scenario(options.setting.scenario or origin)
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
            "scenario": options.setting.scenario or pilots.scenario_name,
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
    print_table(facts, {chosen: score}, {chosen: facts["n_iterations"]})
    print(f"{chosen}: model {model.name}" + (f", trained for {model.scenario.name}" if model.training else ""))
    say_written(options)


def _family(
    scenario: Scenario, chosen: Model, n_pilots: int, n_iterations: int | None
) -> tuple[dict[str, Model], list[str]]:
    """The chosen model among its peers, in the order of the table; and why some peers are not there."""
    models, left_out = {}, []
    for name in dict.fromkeys((*PEERS, chosen.algorithm.name)):
        if name == chosen.algorithm.name:
            models[name] = chosen
            continue
        try:
            peer = pick_model(name, scenario, n_pilots, n_iterations if name in SAME_ITERATIONS else None)
            check_band(peer, scenario)
            models[name] = peer
        except ModelError as error:
            left_out.append(str(error))
    return models, left_out


def _pilots_of(model: Model) -> str:
    made_for = model.ofdm
    span = made_for.training.n_pilots
    return f"{span[0]}–{span[1]} pilots" if span else f"{made_for.n_pilots} pilots"
