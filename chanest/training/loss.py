"""What training minimises: the mean over groups of samples of log NMSE."""

import math

import torch
from torch import Tensor

from ..algorithms import Algorithm
from .batches import TrainingBatch
from .distributed import Processes


def own_groups(y: Tensor) -> bool:
    """Whether every sample of a batch is a group of its own: those of a receiver are, (batch, R, M)."""
    return y.ndim == 3


def group_loss(
    algorithm: Algorithm, batch: TrainingBatch, snr_groups: int, processes: Processes | None = None
) -> tuple[Tensor, float]:
    """The loss of one batch, and its NMSE in dB, the same in every process.

    A group's NMSE is a ratio of sums, so its energies are added up over the processes before the logarithm, wherever
    their shares of the batch begin and end. The gradients of the loss add up likewise (``processes.sum_gradients``).

    Args:
        algorithm: its iterates before the last one count with ``algorithm.supervision``.
        batch: the whole batch; this process estimates its share.
        snr_groups: equal parts of the batch, one behind the other, each at an SNR of its own.
        processes: this one alone when not given.

    Raises:
        TrainingError: fewer samples than processes, or a process has ended.

    >>> from chanest import load_scenario
    >>> from chanest.algorithms import ALISTA
    >>> from chanest.training.batches import training_batch
    >>> batch = training_batch(load_scenario("lte10"), seed=0, step=0, n_samples=16, snr_groups=8, device="cpu")
    >>> loss, nmse_db = group_loss(ALISTA(n_iterations=2), batch, snr_groups=8)
    >>> loss.requires_grad, nmse_db < 0
    (True, True)
    """
    processes = processes or Processes()
    n_samples = len(batch.y)
    share = processes.share(n_samples)
    if own_groups(batch.y):
        snr_groups = n_samples
    own = batch.rows(share)
    recovery = algorithm(
        own.y, own.phi, record=algorithm.supervision > 0, noise_variance=own.noise_variance, snapshots=own.y.ndim == 3
    )

    def of_groups(x: Tensor) -> Tensor:
        """This process's part of the energy in every group of one SNR."""
        energy = (torch.view_as_real(x).square().sum(-1) if x.is_complex() else x.square()).sum(-1)
        energy = energy if own.weight is None else energy * own.weight
        whole = torch.nn.functional.pad(energy, (share.start, n_samples - share.stop))
        return whole.view(snr_groups, -1).sum(-1)

    found = [recovery.x, *recovery.iterates[:-1]]
    sums = processes.sum(torch.stack([of_groups(own.truth), *(of_groups(own.answer(x) - own.truth) for x in found)]))
    power, error = sums[0].detach(), sums[1:]
    log_nmse = (error / power.clamp_min(1e-6 * power.mean())).log().mean(-1)
    loss = log_nmse[0] + algorithm.supervision * log_nmse[1:].sum()
    return loss, 10 * math.log10(float((error[0].sum() / power.sum()).detach()) or 1e-30)
