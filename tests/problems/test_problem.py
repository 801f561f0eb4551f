"""What holds of every problem, whatever its setting."""

import numpy as np
import pytest
import torch

from chanest import load_scenario
from chanest.errors import ScenarioError
from chanest.evaluation import ErrorSums
from chanest.files import open_measurements, write_measurements
from chanest.models import load_model, normalise, shipped_models
from chanest.problems import Problem

NAMES = ("lte10", "lte10-reference", "wide", "munich", "synthetic")
OTHER = {"synthetic": "lte10"}
pytestmark = pytest.mark.parametrize("name", NAMES)


def same(one, other, n: int) -> bool:
    """Whether the first n samples of two batches are equal to the bit."""
    pairs = [(one.observations, other.observations), (one.noise_variance, other.noise_variance)]
    pairs += [(one.truth[key], other.truth[key]) for key in one.truth]
    pairs += [(one.paths[key], other.paths[key]) for key in one.paths]
    return all(torch.equal(a[:n], b[:n]) for a, b in pairs)


def sensing_equal(one, other) -> bool:
    return torch.equal(one.matrix, other.matrix) if hasattr(one, "matrix") else one == other


def coefficients(problem: Problem, batch) -> torch.Tensor:
    """The true ones; where paths lie between the taps, some whose response is then the truth."""
    known = batch.truth.get(problem.quantities[0])
    return torch.randn(len(batch), problem.n_taps, dtype=torch.complex64) if known is None else known


def test_equal_problems_and_seeds_give_the_same_bits(name):
    problem, equal = load_scenario(name), load_scenario(name)
    assert problem == equal
    sensing, again, other = problem.sensing(3), equal.sensing(3), problem.sensing(4)
    assert sensing_equal(sensing, again)
    assert sensing_equal(sensing, other) == (name == "lte10-reference")  # whose pattern is the published one
    first, second, third = problem.draw(sensing, 8, 5), equal.draw(again, 8, 5), problem.draw(sensing, 8, 6)
    assert first.truth.keys() == second.truth.keys() <= set(problem.quantities)
    assert same(first, second, 8)
    assert not torch.equal(first.observations, third.observations)


def test_a_sample_does_not_depend_on_how_many_there_are(name):
    problem = load_scenario(name)
    sensing = problem.sensing(0)
    (few,), (many, rest) = (list(problem.simulate(sensing, n, seed=5)) for n in (40, 530))
    assert (len(few), len(many), len(rest)) == (40, 512, 18)
    assert same(few, many, 40)


def test_batches_are_cut_and_moved_whole(name):
    problem = load_scenario(name)
    batch = problem.draw(problem.sensing(0), 6, 0)
    part = batch[slice(2, 5)]
    assert len(part) == 3
    assert part.truth.keys() == batch.truth.keys()
    assert all(torch.equal(part.truth[key], values[2:5]) for key, values in batch.truth.items())
    assert all(torch.equal(part.paths[key], values[2:5]) for key, values in batch.paths.items())
    assert same(batch.to("cpu"), batch, 6)


def test_the_oracle_that_knows_the_noise_is_ahead_of_the_one_that_does_not(name):
    problem = load_scenario(name).replace(snr_db=5)
    sensing = problem.sensing(0)
    batch = problem.draw(sensing, 256, 0)
    nmse = {}
    for oracle, found in problem.oracles(batch, sensing).items():
        values = found()
        assert values.keys() == batch.truth.keys()
        for key, truth in batch.truth.items():
            assert (values[key].shape, values[key].dtype) == (truth.shape, truth.dtype)
            sums = ErrorSums()
            sums.add(values[key], truth)
            nmse[oracle, key] = sums.nmse_db
    for key in batch.truth:
        if name != "munich":  # whose phases are not of the prior
            assert nmse["oracle-mmse", key] < nmse["oracle-ls", key]
        assert nmse["oracle-mmse", key] < -3


def test_the_forward_model_says_what_was_observed_and_every_quantity(name):
    problem = load_scenario(name).replace(snr_db=100)
    sensing = problem.sensing(0)
    batch = problem.draw(sensing, 6, 0)
    x = coefficients(problem, batch)
    forward = problem.forward_model(sensing, batch.observations.dtype, "cpu")
    found = forward.quantities(x)
    assert tuple(found) == problem.quantities
    _, rms = normalise(batch.observations)
    scaled = forward.phi.forward(x / forward.scale(rms))  # of unit norm, as an algorithm sees it
    assert forward.phi.n_measurements == batch.observations.shape[-1]
    torch.testing.assert_close(forward.phi.column_norms(), torch.ones(x.shape[-1]), rtol=1e-4, atol=1e-4)
    if problem.quantities[0] in batch.truth:
        for key, truth in batch.truth.items():
            torch.testing.assert_close(found[key], truth, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(scaled.norm(dim=-1), torch.ones(6), rtol=1e-3, atol=1e-3)
    else:
        k = torch.from_numpy(problem.used_subcarriers).double()
        n = torch.arange(problem.n_taps) + problem.first_tap_samples
        response = x.to(torch.complex128) @ torch.exp(-2j * torch.pi * torch.outer(n.double(), k) / problem.n_fft)
        torch.testing.assert_close(found["cfr"], response.to(torch.complex64), rtol=1e-3, atol=1e-3)


def test_training_compares_the_true_coefficients_with_the_truth(name):
    problem = load_scenario(name)
    sensing = problem.training_sensing(0, 0)
    batch = problem.draw(sensing, 6, 0)
    target = problem.target(sensing, batch)
    x = coefficients(problem, batch)
    assert target.phi.n_coefficients == x.shape[-1]
    if problem.quantities[0] in batch.truth:
        assert torch.equal(target.compared(x), target.truth)
    else:
        expected = problem.forward_model(sensing, x.dtype, "cpu").quantities(x)["cfr"]
        torch.testing.assert_close(target.compared(x), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(target.truth, batch.truth["cfr"])


def test_training_draws_again_what_a_step_saw(name):
    problem = load_scenario(name)
    drawn = [problem.training_sensing(0, step) for step in (-1, 0, 1)]
    assert all(sensing_equal(a, problem.training_sensing(0, step)) for step, a in zip((-1, 0, 1), drawn, strict=True))
    assert sensing_equal(drawn[0], drawn[1]) == sensing_equal(drawn[1], drawn[2]) == problem.training.fixed


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".mat"])
def test_a_file_reads_back_as_it_was_drawn(name, suffix, tmp_path):
    problem = load_scenario(name)
    sensing, n = problem.sensing(0), 520
    path = tmp_path / f"simulated{suffix}"
    write_measurements(path, problem, sensing, problem.simulate(sensing, n, 2), n, 2)
    with open_measurements(path) as file:
        assert (file.scenario_name, file.n_observations, file.batch_shape) == (name, n, (n,))
        assert sensing_equal(file.sensing, sensing)
        assert file.first_tap_samples == problem.first_tap_samples
        assert file.scenario_for(problem) == problem
        chunks = list(file.chunks(512))
    drawn = list(problem.simulate(sensing, n, 2))
    assert file.truth_names == tuple(drawn[0].truth)
    for chunk, batch in zip(chunks, drawn, strict=True):
        torch.testing.assert_close(chunk.observations, batch.observations)
        torch.testing.assert_close(chunk.noise_variance.float(), batch.noise_variance)
        for key, truth in batch.truth.items():
            torch.testing.assert_close(chunk.truth[key].to(truth.dtype), truth)


def test_a_problem_serves_itself_and_not_the_other_setting(name):
    problem, other = load_scenario(name), load_scenario(OTHER.get(name, "synthetic"))
    assert problem.refuses(problem) is None
    reason = problem.refuses(other)
    assert reason
    assert other.name in reason
    assert problem.distance(other, 75) is None


def test_shipped_models_for_a_problem_are_the_nearest(name):
    problem = load_scenario(name)
    size = getattr(problem, problem.size_fields[0])
    far = {path.stem: problem.distance(load_model(path.stem).scenario, size) for path in shipped_models()}
    near = {model: distance for model, distance in far.items() if distance is not None}
    own = [model for model in near if load_model(model).scenario.name == name]
    wanted = own or [model for model in near if "wide" in model]
    assert min(near, key=lambda model: near[model]) in wanted
    assert near.keys() <= {m for m in far if problem.refuses(load_model(m).scenario) is None}


def test_what_is_told_of_it(name):
    problem = load_scenario(name)
    sensing = problem.sensing(0)
    facts = problem.facts(sensing)
    assert {"n_pilots", "n_distinct_pilots", "snr_convention"} <= facts.keys()
    size = getattr(problem, problem.size_fields[0])
    assert size in facts.values()
    assert problem.size.startswith(str(size))
    assert str(problem).startswith(f"{name}: {problem.description}\n")
    assert problem.noise_convention == (facts["snr_convention"] or "")
    low, high = problem.training.snr_db
    assert (f"{low:g}" if low == high else f"{low:g} to {high:g}") in str(problem)
    assert problem.trained_size in str(problem) or name == "synthetic"


def test_training_on_other_terms(name):
    problem = load_scenario(name)
    assert problem.trained_with(None, None, resized=False) == problem
    other = problem.trained_with((3, 4), None, resized=False)
    assert other.training.snr_db == (3, 4)
    for fixed in (True, False):
        changed = problem.trained_with(None, fixed, resized=False)
        assert changed.training.fixed == fixed
        if fixed:
            sensing = changed.training_sensing(0, 0)
            m, n, field = changed.matrix_size(0)
            target = changed.target(sensing, changed.draw(sensing, 2, 0))
            assert (m, n) == (target.phi.n_measurements, target.phi.n_coefficients)
            assert field == ("complex" if problem.dtype.is_complex else "real")
        else:
            with pytest.raises(ScenarioError, match=r"draws a new .* every step; give --fixed-pattern"):
                changed.matrix_size(0)


def test_a_copy_is_validated(name):
    problem = load_scenario(name)
    assert problem.replace(snr_db=7).snr_db == 7
    with pytest.raises(ScenarioError, match=f"scenario {name}: surprise: unknown field"):
        problem.replace(surprise=1)
    with pytest.raises(ScenarioError, match="snr_db"):
        problem.replace(snr_db=float("nan"))
    with pytest.raises(ScenarioError, match=problem.size_fields[0]):
        problem.replace(**{problem.size_fields[0]: 1})


def test_estimates_and_observations_have_headers_of_their_own(name):
    problem = load_scenario(name)
    sensing = problem.sensing(0)
    attributes, header = problem.file_header(sensing, 7)
    assert (attributes["scenario"], attributes["snr_db"], attributes["seed"]) == (name, problem.snr_db, 7)
    assert problem.estimate_header(sensing).keys() <= header.keys()
    rows = problem.file_rows(problem.draw(sensing, 3, 0), header)
    assert all(isinstance(values, np.ndarray) and len(values) == 3 for values in rows.values())
