"""What the algorithms share: their parameters, linear layers and perceptrons."""

from collections.abc import Callable

import tensorflow as tf

from ...algorithms import Algorithm, Recovery
from .operators import PartialDFT


class TensorFlowAlgorithm(tf.Module):
    """An algorithm of chanest.algorithms with its parameters, frozen, as variables of their names in PyTorch."""

    def __init__(self, algorithm: Algorithm) -> None:
        super().__init__(name=algorithm.name.replace("-", "_"))
        self.hyperparameters = dict(algorithm.hyperparameters)
        tensors = {**dict(algorithm.named_parameters()), **dict(algorithm.named_buffers())}
        self.tensors = {
            name: tf.Variable(tensor.detach().cpu().numpy(), trainable=False, name=name.replace(".", "_"))
            for name, tensor in tensors.items()
        }

    def __call__(self, y: tf.Tensor, phi: PartialDFT, noise_variance: tf.Tensor | None) -> Recovery:
        """x from y = Phi x + z, (batch, M) -> (batch, N); the noise variance (batch,) of an entry of y, or None."""
        raise NotImplementedError

    def error_variance(
        self, found: Recovery, y: tf.Tensor, phi: PartialDFT, band: PartialDFT, noise_variance: tf.Tensor | None
    ) -> tf.Tensor:
        """Variance of the error of sqrt(M') (Phi' x), of the CFR where Phi' is the band: (batch, M')."""
        raise NotImplementedError

    def parameter(self, name: str, like: tf.Tensor) -> tf.Tensor:
        """A parameter in the precision of another tensor."""
        return tf.cast(self.tensors[name], like.dtype)

    def linear(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """(..., inputs) -> (..., outputs)."""
        weight = self.parameter(f"{name}.weight", x)
        return tf.tensordot(x, weight, [[-1], [1]]) + self.parameter(f"{name}.bias", x)

    def perceptron(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """Two hidden layers with SiLU: (..., inputs) -> (...)."""
        x = tf.nn.silu(self.linear(f"{name}.input", x))
        x = tf.nn.silu(self.linear(f"{name}.hidden", x))
        return self.linear(f"{name}.output", x)[..., 0]


def in_chunks(
    f: Callable[..., tuple[tf.Tensor, ...]], size: int, rows: tuple[tf.Tensor, ...], dtypes: tuple[tf.DType, ...]
) -> tuple[tf.Tensor, ...]:
    """f of at most ``size`` rows at a time, to bound the memory; the last chunk is filled with ones.

    Args:
        f: (chunk, ...) tensors to matrices (chunk, n).
        size: of a chunk.
        rows: tensors (batch, ...).
        dtypes: of what f returns.
    """
    n = tf.shape(rows[0])[0]
    size = tf.maximum(tf.minimum(n, size), 1)
    n_chunks = -(-n // size)

    def cut(row: tf.Tensor) -> tf.Tensor:
        filled = tf.pad(row, [[0, n_chunks * size - n]] + [[0, 0]] * (row.shape.rank - 1), constant_values=1)
        return tf.reshape(filled, tf.concat([[n_chunks, size], tf.shape(row)[1:]], 0))

    signature = tuple(tf.TensorSpec([None, None], dtype) for dtype in dtypes)
    found = tf.map_fn(
        lambda chunk: f(*chunk), tuple(map(cut, rows)), fn_output_signature=signature, parallel_iterations=1
    )
    return tuple(tf.reshape(part, [n_chunks * size, tf.shape(part)[-1]])[:n] for part in found)
