"""The arithmetic and the bytes of one estimate, counted by hand: what tools/bench_estimators.py takes its floors from.

A :class:`Unit` is what a machine has a ceiling for: an FFT of some length, a matrix product of some shape, a Cholesky
factorisation, an inverse from one, a byte moved. An estimate is a :class:`Count`: what every way of computing it
needs, and parts for which there are several ways, of which the floor takes the fastest. Bytes are those of complex64
and float32 in elementwise passes, gathers and scatters, fused as far as they can be: a vector is read and written
where it has to be known as a whole first. FFTs, products and factorisations bring their own traffic along in their
ceilings. What is made once per pilot pattern (W, L, schedules, phases) is not counted.

M pilots, N taps, n_fft the DFT length, K iterations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from typing import Any

from scipy.fft import next_fast_len


@dataclass(frozen=True)
class Unit:
    """Something that the machine can do so many times a second.

    Attributes:
        kind: "fft", "product" and "large product" (real), "complex product", "cholesky", "inverse" (complex), "byte".
        size: (length,) of an FFT; (rows, inner, columns) of a product, rows per estimate; (n,) of square matrices; ().
    """

    kind: str
    size: tuple[int, ...] = ()

    @property
    def flops(self) -> float:
        """Real operations: 5 n log2 n; 2 and 8 per (complex) multiply-add; 4/3 n^3 and 8/3 n^3; 0 for a byte."""
        match self.kind, self.size:
            case "fft", (n,):
                return 5 * n * log2(n)
            case "product", (rows, inner, columns):
                return 2.0 * rows * inner * columns
            case "complex product", (rows, inner, columns):
                return 8.0 * rows * inner * columns
            case "large product", (n,):
                return 2.0 * n**3
            case "cholesky", (n,):
                return 4 / 3 * n**3
            case "inverse", (n,):
                return 8 / 3 * n**3
            case _:
                return 0.0

    def __str__(self) -> str:
        return " ".join([self.kind, "x".join(map(str, self.size))]).strip()


BYTE = Unit("byte")
Work = dict[Unit, float]


@dataclass(frozen=True)
class Part:
    """Something that is done ``times`` times, in the way of several that is fastest on the machine at hand."""

    name: str
    times: float
    ways: Mapping[str, Work]


@dataclass(frozen=True)
class Count:
    """What one estimate takes: ``fixed``, and one way of each part."""

    fixed: Work
    parts: tuple[Part, ...] = ()

    def fastest(self, seconds: Mapping[Unit, float]) -> tuple[Work, dict[str, str]]:
        """The least work, given the seconds that each unit takes, and the way chosen for each part."""
        chosen = {
            part.name: min((floor(work, seconds), way) for way, work in part.ways.items())[1] for part in self.parts
        }
        return add(self.fixed, *(scaled(p.times, p.ways[chosen[p.name]]) for p in self.parts)), chosen

    @property
    def units(self) -> set[Unit]:
        """All units that some way needs."""
        return {unit for work in (self.fixed, *(w for p in self.parts for w in p.ways.values())) for unit in work}


def add(*works: Work) -> Work:
    """The sum."""
    return {unit: sum(work.get(unit, 0.0) for work in works) for unit in dict.fromkeys(u for w in works for u in w)}


def scaled(times: float, work: Work) -> Work:
    """So many times."""
    return {unit: times * n for unit, n in work.items()}


def flops(work: Work) -> float:
    """Real operations."""
    return sum(n * unit.flops for unit, n in work.items())


def floor(work: Work, seconds: Mapping[Unit, float]) -> float:
    """Seconds, when nothing overlaps: the sum over the units."""
    return sum(n * seconds[unit] for unit, n in work.items())


def product(rows: int, inner: int, columns: int, complex: bool = False) -> Work:
    """A matrix product."""
    return {Unit("complex product" if complex else "product", (rows, inner, columns)): 1.0}


def moved(n_bytes: float) -> Work:
    """Bytes read and written by elementwise passes, gathers and scatters."""
    return {BYTE: float(n_bytes)}


@dataclass(frozen=True)
class Problem:
    """The sizes."""

    n_pilots: int
    n_taps: int
    n_fft: int
    n_used: int

    @property
    def forward(self) -> dict[str, Work]:
        """Phi x. Padded: one FFT, gather (8M read, 8M written). Pruned, where N divides n_fft: n_fft/N FFTs of N, of x
        times twiddle factors (8N read, 8 n_fft written). Dense: a product."""
        m, n = self.n_pilots, self.n_taps
        gather = moved(16 * m)
        ways = {
            "padded": add(gather, {Unit("fft", (self.n_fft,)): 1}),
            "dense": product(1, n, m, complex=True),
        }
        if self.n_fft % n == 0:
            twiddles = moved(8 * (n + self.n_fft))
            ways["pruned"] = add(gather, twiddles, {Unit("fft", (n,)): self.n_fft // n})
        return ways

    @property
    def adjoint(self) -> dict[str, Work]:
        """Phi^H y: the same backwards, the scatter into a grid of zeros (8M read, 8 n_fft written) first."""
        scatter = moved(8 * self.n_pilots + 8 * self.n_fft)
        ways = {
            "padded": add(scatter, {Unit("fft", (self.n_fft,)): 1}),
            "dense": product(1, self.n_pilots, self.n_taps, complex=True),
        }
        if self.n_fft % self.n_taps == 0:
            twiddles = moved(8 * (self.n_taps + self.n_fft))
            ways["pruned"] = add(scatter, twiddles, {Unit("fft", (self.n_taps,)): self.n_fft // self.n_taps})
        return ways

    @property
    def gradient(self) -> dict[str, Work]:
        """Phi^H b where b = Phi x - y is known: an adjoint, or Phi^H Phi x - Phi^H y by two FFTs of a circulant matrix
        that holds the Toeplitz one, with its eigenvalues between them (16 bytes per point)."""
        length = next_fast_len(2 * self.n_taps - 1)
        return {**self.adjoint, "toeplitz": add({Unit("fft", (length,)): 2}, moved(16 * length))}

    def na_alista(self, n_iterations: int, lstm_hidden: int, n_inputs: int) -> Count:
        """K steps of the LSTM and its head; b and ||b||_1 (16M bytes), ||c||_1 (8N), x - gamma c (24N), the shrinkage,
        which must know all moduli first (16N); gates, cell, hidden state and relu (36H). The first iteration
        starts at x = 0."""
        m, n, h = self.n_pilots, self.n_taps, lstm_hidden
        network = add(
            product(1, n_inputs, 4 * h), product(1, h, 4 * h), product(1, h, h), product(1, h, 2), moved(36 * h)
        )
        passes = moved(16 * m + 48 * n)
        return Count(
            scaled(n_iterations, add(network, passes)),
            (
                Part("forward", n_iterations - 1, self.forward),
                Part("first adjoint", 1, self.adjoint),
                Part("adjoint", n_iterations - 1, self.gradient),
            ),
        )

    def alista(self, n_iterations: int) -> Count:
        """With the analytic W: Phi x - y (16M bytes), A^-1 of it, an adjoint, its columns scaled (4N), x - gamma c
        (24N), shrinkage (16N). Dense: A^-1 is part of W."""
        m, n = self.n_pilots, self.n_taps
        whitening = product(1, m, m, complex=True)
        weights = {way: w if way == "dense" else add(w, whitening, moved(4 * n)) for way, w in self.adjoint.items()}
        return Count(
            scaled(n_iterations, moved(16 * m + 40 * n)),
            (Part("forward", n_iterations - 1, self.forward), Part("adjoint", n_iterations, weights)),
        )

    @property
    def covariance(self) -> Work:
        """Phi diag(g) Phi^H: one FFT, M^2 entries gathered and written (16 bytes each)."""
        return add({Unit("fft", (self.n_fft,)): 1}, moved(16 * self.n_pilots**2))

    @property
    def moments(self) -> Work:
        """Covariance, Cholesky, inverse, C^-1 y (8M^2 bytes), the diagonal of Phi^H C^-1 Phi (8M^2 bytes into a grid of
        8 n_fft, one FFT). The adjoint is counted apart."""
        m = self.n_pilots
        inverse = {Unit("cholesky", (m,)): 1.0, Unit("inverse", (m,)): 1.0}
        diagonal = add({Unit("fft", (self.n_fft,)): 1}, moved(8 * m**2 + 8 * self.n_fft))
        return add(self.covariance, inverse, moved(8 * m**2), diagonal)

    @property
    def posterior_mean(self) -> Work:
        """Covariance, Cholesky, two triangular solves (4M^2 bytes each)."""
        return add(self.covariance, {Unit("cholesky", (self.n_pilots,)): 1.0}, moved(8 * self.n_pilots**2))

    def sbl(self, n_iterations: int) -> Count:
        """K - 1 times moments and the update of g (20N bytes), once the mean."""
        update = add(self.moments, moved(20 * self.n_taps))
        fixed = add(scaled(n_iterations - 1, update), self.posterior_mean)
        return Count(fixed, (Part("adjoint", n_iterations, self.adjoint),))

    def na_sbl(self, n_iterations: int, n_hidden: int) -> Count:
        """SBL, and in each update 12 features of every tap (64N bytes), a perceptron that reads those of three taps
        (its SiLUs 16 bytes per unit and tap), and a small one for the noise."""
        n, small = self.n_taps, n_hidden // 2
        taps = add(product(n, 36, n_hidden), product(n, n_hidden, n_hidden), product(n, n_hidden, 1))
        noise = add(product(1, 7, small), product(1, small, small), product(1, small, 1))
        rules = add(taps, noise, moved(64 * n + 16 * n * n_hidden))
        sbl = self.sbl(n_iterations)
        return Count(add(sbl.fixed, scaled(n_iterations - 1, rules)), sbl.parts)

    def ep(self, n_iterations: int) -> Count:
        """K times moments, a forward, an adjoint, and means and variances of both messages (60N bytes)."""
        fixed = scaled(n_iterations, add(self.moments, moved(60 * self.n_taps)))
        return Count(fixed, (Part("forward", n_iterations, self.forward), Part("adjoint", n_iterations, self.adjoint)))

    def omp(self, n_atoms: float) -> Count:
        """For each atom that is taken an adjoint, its largest modulus (8N bytes), a column (8M), and Gram-Schmidt twice
        against half as many rows on average (32M bytes per row). At last a triangular solve (4 bytes an entry)."""
        m = self.n_pilots
        per_atom = moved(8 * self.n_taps + 8 * m + 32 * m * n_atoms / 2)
        return Count(
            add(scaled(n_atoms, per_atom), moved(4 * n_atoms**2)), (Part("adjoint", n_atoms + 1, self.adjoint),)
        )

    def lmmse(self) -> Count:
        """One noise variance per estimate: into the eigenbasis, scaled (16M bytes), onto the band. The basis is made
        once."""
        m = self.n_pilots
        return Count(add(product(1, m, m, complex=True), product(1, m, self.n_used, complex=True), moved(16 * m)))

    def of(self, name: str, hyperparameters: Mapping[str, Any], n_atoms: float = 0.0) -> Count:
        """The count of an estimator by its name and hyperparameters; ``n_atoms`` of OMP, as it was measured."""
        k = hyperparameters.get("n_iterations", 1)
        match name:
            case "na-alista":
                n_inputs = len(hyperparameters["lstm_inputs"].split(","))
                return self.na_alista(k, hyperparameters["lstm_hidden"], n_inputs)
            case "alista":
                return self.alista(k)
            case "na-sbl":
                return self.na_sbl(k, hyperparameters["n_hidden"])
            case "sbl":
                return self.sbl(k)
            case "ep":
                return self.ep(k)
            case "omp":
                return self.omp(n_atoms)
            case "lmmse-true":
                return self.lmmse()
            case _:
                raise ValueError(f"no count for {name}")
