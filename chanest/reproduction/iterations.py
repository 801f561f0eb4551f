"""What a trained NA-ALISTA does in every iteration, and the paper's figures of it: 2, 6 and 8."""

import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from ..algorithms.proximal import IterativeShrinkage
from ..models import Model
from .charts import Illustration, Row, spearman

_PAIRS = ((0, 1, 0.85), (5, 6, 0.96), (14, 15, 0.97), (5, 8, 0.93))  # i, j, the paper's Spearman coefficient
_ITERATIONS = 16


@dataclass(frozen=True)
class Course:
    """What a model did to n test vectors in each of K iterations, in the units of x, on the CPU.

    Attributes:
        errors: (K + 1, n): ||x_k - x*||_1 for x_0 = 0 ... x_K.
        u: (K, n): ||W^T (Phi x_k - y)||_1 for x_0 ... x_{K-1}, what the LSTM can read.
        u_without_noise: (K, n): ||W^T Phi (x_k - x*)||_1.
        step_sizes: (K, n).
        thresholds: (K, n): the algorithm's, which hold for ||y|| = 1, times ||y||.
    """

    errors: Tensor
    u: Tensor
    u_without_noise: Tensor
    step_sizes: Tensor
    thresholds: Tensor


@torch.inference_mode()
def follow(model: Model, n_samples: int, seed: int, device: torch.device, n_iterations: int = _ITERATIONS) -> Course:
    """What an NA-ALISTA does to test vectors of its scenario, iteration by iteration.

    >>> from chanest.algorithms import NAALISTA
    >>> from chanest import load_scenario
    >>> model = Model(NAALISTA(sparsity=50, schedule="synthetic"), load_scenario("synthetic"))
    >>> course = follow(model, 8, seed=0, device=torch.device("cpu"), n_iterations=4)
    >>> course.errors.shape, course.thresholds.shape
    (torch.Size([5, 8]), torch.Size([4, 8]))
    """
    scenario, algorithm = model.scenario, model.algorithm
    assert isinstance(algorithm, IterativeShrinkage)
    drawn = scenario.sensing(seed)
    phi = drawn.to(device)
    w = algorithm.to(device, torch.float32).weights(phi)
    blocks: list[list[Tensor]] = []
    for block in scenario.simulate(drawn, n_samples, seed):
        vectors = block.to(device)
        y, truth = vectors.observations, vectors.truth["x"]
        found = model.recover(y, phi, vectors.noise_variance, n_iterations=n_iterations, record=True)
        assert found.step_sizes is not None
        assert found.thresholds is not None
        iterates = torch.stack([torch.zeros_like(truth), *found.iterates])
        without_noise = w.gram(iterates[:-1] - truth)
        u = without_noise - w.adjoint(y - phi.forward(truth))
        scaled = found.thresholds * torch.linalg.vector_norm(y, dim=-1)
        norms = [v.abs().sum(-1) for v in (iterates - truth, u, without_noise)]
        blocks.append([v.cpu() for v in (*norms, found.step_sizes, scaled)])
    return Course(*(torch.cat(parts, -1) for parts in zip(*blocks, strict=True)))


def memory(course: Course) -> Illustration:
    """Figure 2: u of one iteration against ||x_j - x*||_1 of another; pairs beyond the last iteration are left out.

    >>> random = torch.rand(3, 50)
    >>> made = memory(Course(random, random[:2], random[:2], random[:2], random[:2]))
    >>> {row["i"] for row in made.rows}
    {0}
    """
    rows: list[Row] = []
    lines = ["Spearman coefficients of u(i) with ||x(j) - x*||_1: with the noise in y, without, and the paper's"]
    for i, j, told in _PAIRS:
        if j >= len(course.errors):
            continue
        u, clean, error = course.u[i], course.u_without_noise[i], course.errors[j]
        lines.append(f"({i}, {j}): {spearman(u, error):.2f}, {spearman(clean, error):.2f} ({told})")
        rows += [
            {"i": i, "j": j, "u": a, "u_without_noise": b, "error": c}
            for a, b, c in zip(u.tolist(), clean.tolist(), error.tolist(), strict=True)
        ]
    return Illustration(rows, "\n".join(lines))


def predictions(course: Course) -> Illustration:
    """Figure 6: step sizes and thresholds over the iterations, their means and 5 % and 95 % quantiles.

    >>> half = torch.full((2, 20), 0.5)
    >>> predictions(Course(half, half, half, half, half)).rows[1]["threshold_95"]
    0.5
    """
    named = {"step_size": course.step_sizes, "threshold": course.thresholds}
    rows: list[Row] = [{"iteration": k + 1} for k in range(len(course.thresholds))]
    for name, values in named.items():
        quantiles = torch.quantile(values, torch.tensor([0.05, 0.95]), dim=-1).tolist()
        for row, mean, low, high in zip(rows, values.mean(-1).tolist(), *quantiles, strict=True):
            row |= {f"{name}_mean": mean, f"{name}_5": low, f"{name}_95": high}
    widths = {
        name: statistics.median((row[f"{name}_95"] - row[f"{name}_5"]) / row[f"{name}_mean"] for row in rows)
        for name in named
    }
    told = {
        name: f"{rows[0][f'{name}_mean']:.3g} at first, {rows[-1][f'{name}_mean']:.3g} at last, "
        f"5 % and 95 % quantiles apart by {100 * width:.0f} % of it (median of the iterations)"
        for name, width in widths.items()
    }
    return Illustration(
        rows,
        f"means over {course.errors.shape[-1]} vectors, thresholds in the units of x\n"
        f"threshold: {told['threshold']} (paper: varies, falls to essentially zero)\n"
        f"step size: {told['step_size']} (paper: varies)",
    )


def assumption(course: Course) -> Illustration:
    """Figure 8: theta/gamma of an iteration against ||x_k - x*||_1 before it, means and deviations of the vectors.

    >>> error = torch.rand(3, 50)
    >>> print(assumption(Course(error, error[:2], error[:2], torch.ones(2, 50), 0.1 * error[:2])).facts)
    theta/gamma and ||x(k) - x*||_1: Pearson coefficient of the means 1.00, Spearman of all vectors 1.00, median of the
    iterations' own 1.00 (paper: the means are proportional)
    the mean error is 10 to 10 times the mean theta/gamma
    """
    ratio = course.thresholds / course.step_sizes
    error = course.errors[:-1]
    means = {"ratio": ratio.mean(-1), "error": error.mean(-1)}
    deviations = {"ratio": ratio.std(-1), "error": error.std(-1)}
    columns = {f"{name}_mean": v.tolist() for name, v in means.items()}
    columns |= {f"{name}_deviation": v.tolist() for name, v in deviations.items()}
    rows: list[Row] = [{"k": k, **{name: v[k] for name, v in columns.items()}} for k in range(len(ratio))]
    pearson = torch.corrcoef(torch.stack(list(means.values()))).tolist()[0][1]
    factor = means["error"] / means["ratio"]
    return Illustration(
        rows,
        f"theta/gamma and ||x(k) - x*||_1: Pearson coefficient of the means {pearson:.2f}, Spearman of all vectors "
        f"{spearman(ratio.flatten(), error.flatten()):.2f}, median of the iterations' own "
        f"{statistics.median(map(spearman, ratio, error)):.2f} "
        "(paper: the means are proportional)\n"
        f"the mean error is {float(factor.min()):.3g} to {float(factor.max()):.3g} times the mean theta/gamma",
    )
