"""Estimators of the synthetic setting beside each other, and one of them over a file of measurements."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version

import torch
from torch import Tensor

from ..algorithms import Recovery
from ..errors import ModelError
from ..files.arrays import ArrayWriter
from ..files.vectors import VectorFile
from ..models.model import Model
from ..operators import DenseOperator
from ..problems.gaussian import SyntheticScenario
from ..problems.random import BLOCK
from ..problems.vectors import Vectors, simulate_vectors
from .scoring import REFERENCES, Score, Tally


@torch.inference_mode()
def evaluate_vectors(
    scenario: SyntheticScenario,
    phi: DenseOperator,
    models: Mapping[str, Model],
    n_samples: int,
    seed: int,
    device: torch.device,
    *,
    n_iterations: Mapping[str, int] | None = None,
    on_block: Callable[[int, Vectors, Mapping[str, Recovery]], None] | None = None,
) -> dict[str, Score]:
    """Simulate vectors and score models and references on them; the NMSE of x stands in ``cir_nmse_db``.

    Args:
        scenario, phi, n_samples, seed: what to simulate.
        models: by name; they are told the noise variance.
        device: where to recover.
        n_iterations: for some of the models, another K.
        on_block: called after every block with the number of its first vector, the block, and what was found.

    Returns:
        a score per model, then per reference, which is told the support (``oracle-ls``, ``oracle-mmse``).

    Raises:
        ModelError: a model was made for the other setting.
        AlgorithmError: its matrices are of another size.

    >>> from chanest.models.zoo import pick_model
    >>> from chanest.problems.load import load_any_scenario
    >>> from chanest.problems.vectors import draw_matrix
    >>> scenario = load_any_scenario("synthetic")
    >>> models = {"vamp": pick_model("vamp", scenario)}
    >>> scores = evaluate_vectors(scenario, draw_matrix(scenario, 0), models, 64, 0, torch.device("cpu"))
    >>> scores["oracle-mmse"].cir_nmse_db < scores["vamp"].cir_nmse_db < -30
    True
    """
    tallies = {name: Tally() for name in (*models, *REFERENCES)}
    on_device = phi.to(device)
    first = 0
    for block in simulate_vectors(scenario, phi, n_samples, seed):
        data = block.to(device)
        found: dict[str, Recovery] = {}
        for name, model in models.items():
            asked = (n_iterations or {}).get(name)
            run = partial(model.recover, data.observations, on_device, data.noise_variance, n_iterations=asked)
            found[name] = run()
            tallies[name].cir.add(found[name].x.cpu(), block.x)
            if first == 0:
                tallies[name].time(run, len(block), device)
        for name in REFERENCES:
            told = partial(told_the_support, block, phi, name == "oracle-mmse")
            tallies[name].cir.add(told(), block.x)
            if first == 0:
                tallies[name].time(told, len(block), torch.device("cpu"))
        if on_block is not None:
            on_block(first, block, found)
        first += len(block)
    return {name: tally.score() for name, tally in tallies.items()}


def told_the_support(block: Vectors, phi: DenseOperator, mmse: bool) -> Tensor:
    """Least squares, or the MMSE estimate, of x where its support is known: bounds, not estimators.

    >>> from chanest.problems.load import load_any_scenario
    >>> from chanest.problems.vectors import draw_matrix
    >>> scenario = load_any_scenario("synthetic")
    >>> phi = draw_matrix(scenario, 0)
    >>> block = next(simulate_vectors(scenario, phi, 4, 0))
    >>> bool((told_the_support(block, phi, mmse=True) - block.x).abs().max() < 0.2)
    True
    """
    present = (block.x != 0).double()
    load = block.noise_variance.double() if mmse else 1e-9 * torch.ones(len(block), dtype=torch.float64)
    matrix = phi.matrix.double()
    c = torch.einsum("mn,bn,kn->bmk", matrix, present, matrix)
    c = c + load[:, None, None] * torch.eye(len(matrix), dtype=torch.float64)
    w = torch.cholesky_solve(block.observations.double().unsqueeze(-1), torch.linalg.cholesky(c)).squeeze(-1)
    return (present * (w @ matrix)).float()


@torch.inference_mode()
def recover_file(
    vectors: VectorFile,
    model: Model,
    device: torch.device,
    *,
    output: ArrayWriter | None = None,
    n_iterations: int | None = None,
    on_chunk: Callable[[int], None] | None = None,
) -> Score:
    """Recover every vector of a file, chunk by chunk.

    Args:
        vectors: an open file.
        model: made for the synthetic setting.
        device: where to recover.
        output: where the vectors go: ``x``, and which model found them.
        n_iterations: another K than the model's.
        on_chunk: called after every chunk with the number of vectors in it.

    Raises:
        ModelError: the model was made for the other setting.
        AlgorithmError: its matrices are of another size.
        ObservationError: NaN or Inf, or a Phi that cannot be used.
    """
    tally = Tally()
    if output:
        _say_who(output, model)
    phi = vectors.phi.to(device)
    for chunk in vectors.chunks(BLOCK):
        noise = None if chunk.noise_variance is None else chunk.noise_variance.to(device)
        run = partial(model.recover, chunk.observations.to(device), phi, noise, n_iterations=n_iterations)
        x = run().x.cpu()
        if not tally.batch:
            tally.time(run, len(x), device)
        if chunk.x is not None:
            tally.cir.add(x, chunk.x)
        if output:
            lengths = tuple(s.stop - s.start for s in chunk.at)
            shape = (*vectors.batch_shape, x.shape[-1])
            output.write_rows("x", shape, chunk.at, x.reshape(*lengths, x.shape[-1]).numpy())
        if on_chunk is not None:
            on_chunk(len(x))
    return tally.score()


def vector_writer(file: ArrayWriter, n_samples: int, model: Model) -> Callable[[int, Tensor], None]:
    """A function that writes the vectors of one block, given the number of the first."""
    _say_who(file, model)

    def write(first: int, x: Tensor) -> None:
        file.write_rows("x", (n_samples, x.shape[-1]), (slice(first, first + len(x)),), x.cpu().numpy())

    return write


def _say_who(file: ArrayWriter, model: Model) -> None:
    file.attribute("model", model.name)
    file.attribute("algorithm", model.algorithm.name)
    file.attribute("chanest_version", version("chanest"))


def check_setting(model: Model, scenario: SyntheticScenario) -> None:
    """Raise ModelError unless a model was made for the synthetic setting.

    >>> from chanest import load_model
    >>> from chanest.problems.load import load_any_scenario
    >>> check_setting(load_model("na-alista-lte10-m75"), load_any_scenario("synthetic"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    chanest.errors.ModelError: model na-alista-lte10-m75: made for OFDM pilots (scenario lte10), ...
    """
    if not isinstance(model.scenario, SyntheticScenario):
        raise ModelError(
            f"model {model.name}: made for OFDM pilots (scenario {model.scenario.name}), "
            f"not for the vectors of {scenario.name}"
        )
