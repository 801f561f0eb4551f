"""NA-ALISTA: a network chooses step size and threshold for each target, in each iteration (Algorithm 1)."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import AlgorithmError
from ..kernels.adapters import WIDE, Array, prepared, recover, singles, suits, suits_training
from ..kernels.na_alista_autograd import unrolled
from ..operators import LinearOperator
from ..operators.tables import tables
from .error_calibration import ResidualCalibration
from .na_alista_rules import THRESHOLD, log_norms, steps_and_thresholds
from .proximal import IterativeShrinkage
from .results import Recovery, Trace
from .shrinkage import soft_threshold

MOST_BY_TABLE = 256  # pilots up to which W^H y is no dearer from a table than by FFT
_FEATURES = {"r": 1, "u": 1, "r,u": 2}


class NeurallyAugmented(IterativeShrinkage):
    """ALISTA whose step sizes and thresholds a network chooses, from a state that it updates in every iteration."""

    learned = True

    def __init__(
        self,
        n_iterations: int = 16,
        lstm_hidden: int = 64,
        lstm_inputs: str = "r,u",
        sparsity: float = 8,
        ridge: float = 0.0,
        schedule: str | None = None,
    ) -> None:
        network = {"lstm_hidden": lstm_hidden, "lstm_inputs": lstm_inputs}
        super().__init__(n_iterations, ridge=ridge, **network, sparsity=sparsity, schedule=schedule)
        AlgorithmError.unless(lstm_inputs in _FEATURES, '"r", "u" or "r,u"', f'"{lstm_inputs}"', "lstm_inputs")
        AlgorithmError.unless(lstm_hidden >= 1, "at least 1", lstm_hidden, "lstm_hidden")
        n_features = _FEATURES[lstm_inputs]
        self.lstm_inputs, self.lstm_hidden = lstm_inputs, lstm_hidden
        self._remember(n_features)
        self.hidden, self.head = nn.Linear(lstm_hidden, lstm_hidden), nn.Linear(lstm_hidden, 2)
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_deviation", torch.ones(n_features))
        self.feature_mean: Tensor
        self.feature_deviation: Tensor
        self.calibration = ResidualCalibration()
        self.initialise(torch.Generator().manual_seed(0))

    @abstractmethod
    def _remember(self, n_features: int) -> None:
        """Make the layer that reads the features, and its initial state."""

    @abstractmethod
    def initial_state(self, n: int) -> tuple[Tensor, ...]:
        """The state before the first iteration, for n targets; its last tensor is what the head reads."""

    @abstractmethod
    def next_state(self, features: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The state after reading the features (n, inputs)."""

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Weights uniform within 1/sqrt(inputs), the head's a tenth of that; biases start gamma at 1/L."""
        for name, parameter in self.named_parameters():
            if name.startswith("calibration"):
                continue
            if "weight" in name:
                bound = parameter.shape[-1] ** -0.5 * (0.1 if name.startswith("head") else 1)
                parameter.copy_(2 * bound * torch.rand(parameter.shape, generator=generator) - bound)
            else:
                parameter.zero_()
        self.head.bias.fill_(math.log(math.e - 1))  # softplus gives 1: gamma = 1/L, theta = 0.02

    def _iterate(
        self, y: Tensor, phi: LinearOperator, n_iterations: int, trace: Trace, noise_variance: Tensor | None
    ) -> Recovery:
        w, exempt = self.weights(phi), self.exempt(n_iterations)
        reciprocal_norm = 1 / w.squared_norm().unsqueeze(-1)
        z = w.adjoint(y)
        x = torch.zeros_like(z)
        batch = z.shape[:-1]
        state = self.initial_state(math.prod(batch))
        for k in range(n_iterations):
            if "r" in self.lstm_inputs:
                b = phi.forward(x) - y
                c = w.adjoint(b)
            else:
                b, c = None, w.gram(x) - z
            features = self.standardised(self.features(b, c))
            state = self.next_state(features.reshape(math.prod(batch), -1), state)
            gamma, theta = (chosen.reshape(*batch, 1) for chosen in self.chosen(state))
            gamma = gamma * reciprocal_norm
            x = soft_threshold(x - gamma * c, theta, exempt[k])
            trace.add(x, gamma, theta)
        return trace.recovery(x)

    def features(self, b: Tensor | None, c: Tensor) -> Tensor:
        """log ||b||_1 and/or log ||c||_1, as the network reads them: (*batch, inputs)."""
        vectors = ({"r": b, "u": c}[name] for name in self.lstm_inputs.split(","))
        return log_norms(torch.stack([v.abs().sum(-1) for v in vectors if v is not None], -1))

    def standardised(self, features: Tensor) -> Tensor:
        """Features of mean 0 and deviation 1."""
        return (features - self.feature_mean) / self.feature_deviation

    def chosen(self, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """gamma (in units of 1/L) and theta for a state, (n,) each."""
        return steps_and_thresholds(self.head(self.hidden(state[-1]).relu()))

    @torch.no_grad()
    def fit_normalisation(self, y: Tensor, phi: LinearOperator) -> None:
        """Set mean and deviation of the features from one batch, along the untrained iterations."""
        w = self.weights(phi)
        iterates = (torch.zeros_like(w.adjoint(y)), *self(y, phi, record=True).iterates[:-1])
        residuals = (phi.forward(x) - y for x in iterates)
        features = torch.stack([self.features(b, w.adjoint(b)) for b in residuals]).flatten(end_dim=-2)
        self.feature_mean.copy_(features.mean(0))
        self.feature_deviation.copy_(features.std(0).clamp_min(1e-3))


class NAALISTA(NeurallyAugmented):
    """Neurally augmented ALISTA.

    b = Phi x - y, c = W^H b; the LSTM reads log ||b||_1 and/or log ||c||_1 (sums of moduli), standardised; a
    two-layer head maps its CELL state to (gamma L, theta / 0.02) by softplus; x <- eta_theta(x - gamma c).
    The same network runs in every iteration, so K can be changed after training.

    The paper feeds the norms themselves; their logarithms serve all SNRs alike. Reading u alone saves the
    residual b, so that the Toeplitz gram gives c in two short FFTs.

    Args:
        n_iterations: K.
        lstm_hidden: H.
        lstm_inputs: "r", "u" or "r,u".
        sparsity: S of the schedule of support selection; 0 for none.
        ridge: of the analytic weights; 0 for W = Phi; the analytic ones were no better (docs/choices.md).
        schedule: of support selection, "ofdm" (also where None), "published" or "synthetic".

    Parameters: ``lstm/weight_ih`` (4H, inputs), ``lstm/weight_hh`` (4H, H), ``lstm/bias_ih`` (4H,) and
    ``lstm/bias_hh`` (4H,), gates in the order input, forget, cell, output; ``hidden/weight`` (H, H),
    ``hidden/bias`` (H,); ``head/weight`` (2, H), ``head/bias`` (2,); ``initial_hidden``, ``initial_cell`` (H,);
    ``calibration`` (:class:`ResidualCalibration`).
    Normalisation: ``feature_mean``, ``feature_deviation`` (inputs,).

    Raises:
        AlgorithmError: unknown lstm_inputs, or a size below 1.

    >>> NAALISTA(lstm_hidden=32, lstm_inputs="r,u").feature_mean.shape
    torch.Size([2])
    """

    name = "na-alista"

    def _remember(self, n_features: int) -> None:
        self.lstm = nn.LSTMCell(n_features, self.lstm_hidden)
        self.initial_hidden, self.initial_cell = (nn.Parameter(torch.zeros(self.lstm_hidden)) for _ in range(2))

    def initial_state(self, n: int) -> tuple[Tensor, ...]:
        return self.initial_hidden.expand(n, -1), self.initial_cell.expand(n, -1)

    def next_state(self, features: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.lstm(features, state)

    def _compiled(self, y: Tensor, phi: LinearOperator, n_iterations: int) -> Recovery | None:
        estimates = suits(y, phi, self)
        if not estimates and not suits_training(y, phi, self):
            return None
        w, n = self.weights(phi), phi.n_coefficients
        loop = self._loop_arrays(phi, n_iterations)
        if not estimates:
            observed = y.reshape(-1, y.shape[-1])
            x = unrolled(observed, w.adjoint(observed), loop, self.network())
            return Recovery(x.reshape(*y.shape[:-1], -1))
        from ..kernels.na_alista import na_alista

        matched = w.adjoint(y.reshape(-1, y.shape[-1])) if phi.n_measurements > MOST_BY_TABLE else y.new_zeros(0, n)
        return Recovery(recover(y, n, na_alista, np.ascontiguousarray(matched.numpy()), *loop))

    def prepared_loop(self, phi: LinearOperator) -> Callable[[Array, Array], None] | None:
        if phi.n_measurements > MOST_BY_TABLE:
            return None
        from ..kernels.na_alista import na_alista

        loop, n = self._loop_arrays(phi, self.n_iterations), phi.n_coefficients
        matched = np.zeros((0, n), np.complex64)
        return lambda y, x: na_alista(y, matched, *loop, x, 0, len(y))

    def _loop_arrays(self, phi: LinearOperator, n_iterations: int) -> tuple[Any, ...]:
        """What the compiled loop takes beside y and W^H y."""
        made, exempt = tables(phi, self.weights(phi)), np.minimum(self.exempt(n_iterations), phi.n_coefficients)
        return made.arrays, exempt, self.scales(made.reciprocal_norm), *prepared(self, self.arrays)

    def network(self) -> tuple[Tensor, ...]:
        """The parameters that iterations use."""
        layers = (parameter for layer in (self.lstm, self.hidden, self.head) for parameter in layer.parameters())
        return (*layers, self.initial_hidden, self.initial_cell)

    def scales(self, reciprocal_norm: float) -> Array:
        """The factors of the head's answers: float32 (2,), for gamma and theta."""
        return singles((reciprocal_norm, THRESHOLD))

    def arrays(self) -> tuple[Any, ...]:
        """The network as the compiled loop takes it: its inputs, and its weights, transposed."""
        lstm, rest = self.lstm, (0, -self.lstm_hidden % WIDE)

        def wide(t: Tensor) -> Array:
            return singles(nn.functional.pad(t, rest))

        def gates(t: Tensor) -> Array:
            return singles(nn.functional.pad(t.unflatten(-1, (4, -1)), rest).flatten(-2))

        return (
            np.array(["r" in self.lstm_inputs, "u" in self.lstm_inputs]),
            singles(torch.stack([self.feature_mean, 1 / self.feature_deviation])),
            (gates(lstm.weight_ih.mT), gates(lstm.weight_hh.mT), gates(lstm.bias_ih + lstm.bias_hh)),
            (wide(self.hidden.weight.mT), wide(self.hidden.bias)),
            (wide(self.head.weight), singles(self.head.bias)),
            wide(torch.stack([self.initial_hidden, self.initial_cell])),
        )


class NAALISTARNN(NeurallyAugmented):
    """NA-ALISTA with a vanilla recurrent network in place of the LSTM (paper, Table 1).

    h <- tanh(weight_ih features + bias_ih + weight_hh h + bias_hh), and the head reads h.

    Args:
        n_iterations, lstm_hidden, lstm_inputs, sparsity, ridge, schedule: as :class:`NAALISTA`.

    Parameters: as :class:`NAALISTA`, but ``rnn/weight_ih`` (H, inputs), ``rnn/weight_hh`` (H, H), ``rnn/bias_ih``
    and ``rnn/bias_hh`` (H,) in place of ``lstm``, and no ``initial_cell``.

    >>> NAALISTARNN(lstm_hidden=32).rnn.weight_hh.shape
    torch.Size([32, 32])
    """

    name = "na-alista-rnn"

    def _remember(self, n_features: int) -> None:
        self.rnn = nn.RNNCell(n_features, self.lstm_hidden)
        self.initial_hidden = nn.Parameter(torch.zeros(self.lstm_hidden))

    def initial_state(self, n: int) -> tuple[Tensor, ...]:
        return (self.initial_hidden.expand(n, -1),)

    def next_state(self, features: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self.rnn(features, *state),)


class NAALISTAMLP(NeurallyAugmented):
    """NA-ALISTA with a perceptron that remembers nothing in place of the LSTM (paper, Table 1).

    The head reads relu(weight features + bias) of the iteration at hand.

    Args:
        n_iterations, lstm_hidden, lstm_inputs, sparsity, ridge, schedule: as :class:`NAALISTA`.

    Parameters: as :class:`NAALISTA`, but ``input/weight`` (H, inputs) and ``input/bias`` (H,) in place of ``lstm``,
    and no initial state.

    >>> NAALISTAMLP(lstm_hidden=32).input.weight.shape
    torch.Size([32, 2])
    """

    name = "na-alista-mlp"

    def _remember(self, n_features: int) -> None:
        self.input = nn.Linear(n_features, self.lstm_hidden)

    def initial_state(self, n: int) -> tuple[Tensor, ...]:
        return ()

    def next_state(self, features: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self.input(features).relu(),)
