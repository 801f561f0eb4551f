"""The small network that NA-SBL's rules and its calibration share."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu


class Perceptron(nn.Module):
    """Two hidden layers with SiLU: (*batch, n_inputs) -> (*batch,).

    Parameters: ``input/weight`` (n_hidden, n_inputs), ``hidden/weight`` (n_hidden, n_hidden), ``output/weight``
    (1, n_hidden), and ``bias`` of each.

    >>> Perceptron(10, 4)(torch.zeros(2, 3, 10)).shape
    torch.Size([2, 3])
    """

    def __init__(self, n_inputs: int, n_hidden: int) -> None:
        super().__init__()
        self.input, self.hidden = nn.Linear(n_inputs, n_hidden), nn.Linear(n_hidden, n_hidden)
        self.output = nn.Linear(n_hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(silu(self.hidden(silu(self.input(features))))).squeeze(-1)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Weights uniform within 1/sqrt(inputs); the last layer and all biases zero, so that it starts at zero."""
        for name, parameter in self.named_parameters():
            if "weight" in name and "output" not in name:
                bound = parameter.shape[-1] ** -0.5
                parameter.copy_(2 * bound * torch.rand(parameter.shape, generator=generator) - bound)
            else:
                parameter.zero_()
