"""``chanest estimate`` in the synthetic setting."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from ..algorithms import Recovery
from ..errors import ChanestError, ModelError
from ..evaluation.scoring import Score, plain
from ..evaluation.vectors import check_setting, evaluate_vectors, recover_file, vector_writer
from ..files.arrays import ArrayWriter
from ..files.vectors import VectorFile
from ..models.model import Model
from ..models.zoo import SYNTHETIC_PEERS, load_model, pick_model
from ..problems.gaussian import SyntheticScenario
from ..problems.load import load_any_scenario, scenario_names
from ..problems.vectors import Vectors, draw_matrix
from .common import check_samples, naming_options, progress_bar
from .estimation import (
    SAME_ITERATIONS,
    EstimateOptions,
    chosen_name,
    print_table,
    say_written,
)


def simulated(options: EstimateOptions, scenario: SyntheticScenario, device: torch.device) -> None:
    """Recover simulated vectors beside every peer."""
    _refuse_plot(options)
    n_samples = 1000 if options.samples is None else options.samples
    seed = 0 if options.seed is None else options.seed
    check_samples(n_samples, seed)
    model, chosen = _model(options, scenario)
    models, left_out = _peers(scenario, model, options.iterations)
    used = {n: options.iterations for n in models if options.iterations and n in (chosen, *SAME_ITERATIONS)}
    writer = ArrayWriter(options.output, options.force) if options.output else None
    with writer or nullcontext(), progress_bar("recovering", n_samples) as bar:
        write = writer and vector_writer(writer, n_samples, model)

        def on_block(first: int, block: Vectors, found: Mapping[str, Recovery]) -> None:
            if write:
                write(first, found[chosen].x)
            bar.advance(len(block))

        phi = draw_matrix(scenario, seed)
        scores = evaluate_vectors(scenario, phi, models, n_samples, seed, device, n_iterations=used, on_block=on_block)
    facts = _facts(scenario, model, options, scores, device) | {"snr_db": scenario.snr_db, "seed": seed}
    facts |= {"n_samples": n_samples, "n_iterations": used.get(chosen, model.algorithm.n_iterations)}
    if options.json:
        print(json.dumps(facts))
        return
    print_table(facts, scores, {n: used.get(n, m.algorithm.n_iterations) for n, m in models.items()})
    trained = f", trained at {model.scenario.snr_db:g} dB" if model.training else ""
    print(f"{chosen}: model {model.name}{trained}; vamp is told the prior and the noise: the limit of large matrices")
    for reason in left_out:
        print(f"left out: {reason}")
    say_written(options)


def received(options: EstimateOptions, source: Path, device: torch.device) -> None:
    """Recover the vectors of a file of measurements."""
    _refuse_plot(options)
    with VectorFile(source) as vectors:
        origin = vectors.scenario_name if vectors.scenario_name in scenario_names() else "synthetic"
        given = load_any_scenario(options.setting.scenario or origin)
        if not isinstance(given, SyntheticScenario):
            raise ChanestError(f"{source} holds measurements of a matrix phi, {given.name} is OFDM", field="--scenario")
        sizes = {"n_measurements": vectors.phi.n_measurements, "n_coefficients": vectors.phi.n_coefficients}
        simulated_at = {} if vectors.snr_db is None else {"snr_db": vectors.snr_db}
        sparsity = given.sparsity if vectors.sparsity is None else vectors.sparsity
        scenario = given.replace(**sizes, **simulated_at, sparsity=min(sparsity, sizes["n_coefficients"]))
        model, chosen = _model(options, scenario)
        writer = ArrayWriter(options.output, options.force) if options.output else None
        with writer or nullcontext(), progress_bar("recovering", vectors.n_observations) as bar:
            if writer:
                writer.attribute("input", source.name)
            score = recover_file(
                vectors, model, device, output=writer, n_iterations=options.iterations, on_chunk=bar.advance
            )
        facts = _facts(scenario, model, options, {chosen: score}, device)
        facts |= {"scenario": vectors.scenario_name, "snr_db": None, "seed": None, "n_samples": vectors.n_observations}
    facts["n_iterations"] = options.iterations or model.algorithm.n_iterations
    if options.json:
        print(json.dumps(facts))
        return
    print_table(facts, {chosen: score}, {chosen: facts["n_iterations"]})
    print(f"{chosen}: model {model.name}")
    say_written(options)


def _model(options: EstimateOptions, scenario: SyntheticScenario) -> tuple[Model, str]:
    given = load_model(options.model) if options.model else None
    chosen = chosen_name(options, given)
    with naming_options({"algorithm": "--algorithm"}):
        model = given or pick_model(chosen, scenario, None, options.iterations)
    check_setting(model, scenario)
    with naming_options({"iterations": "--iterations"}):
        model.algorithm.checked_iterations(options.iterations)
    return model, chosen


def _peers(scenario: SyntheticScenario, chosen: Model, asked: int | None) -> tuple[dict[str, Model], list[str]]:
    models, left_out = {}, []
    for name in dict.fromkeys((*SYNTHETIC_PEERS, chosen.algorithm.name)):
        if name == chosen.algorithm.name:
            models[name] = chosen
            continue
        try:
            models[name] = pick_model(name, scenario, None, asked if name in SAME_ITERATIONS else None)
        except ModelError as error:
            left_out.append(str(error))
    return models, left_out


def _facts(
    scenario: SyntheticScenario,
    model: Model,
    options: EstimateOptions,
    scores: Mapping[str, Score],
    device: torch.device,
) -> dict[str, Any]:
    return {
        "scenario": scenario.name,
        "algorithm": model.algorithm.name,
        "model": model.name,
        "n_pilots": None,
        "n_distinct_pilots": None,
        "n_measurements": scenario.n_measurements,
        "n_coefficients": scenario.n_coefficients,
        "snr_convention": None,
        "device": str(device),
        **plain(scores[model.algorithm.name]),
        "algorithms": {name: plain(score) for name, score in scores.items()},
    }


def _refuse_plot(options: EstimateOptions) -> None:
    if options.plot:
        raise ChanestError("draws channels; leave it out in the synthetic setting", field="--plot")
