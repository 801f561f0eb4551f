"""Seeded draws: a generator of its own for every (seed, stream, index)."""

from __future__ import annotations

import numpy as np

from ..lazy import torch

BLOCK = 512  # samples per generator state, and the batch of the published code's noise levels
_STREAMS = {"test": 0, "train": 1, "validate": 2, "initialise": 3, "pattern": 4, "noise": 5, "profile": 6}


def seeded(seed: int, stream: str, index: int = 0) -> torch.Generator:
    """A generator of its own for every (seed, stream, index): test data never repeats training data.

    >>> bool(torch.rand(1, generator=seeded(0, "test")) == torch.rand(1, generator=seeded(0, "train")))
    False
    """
    key = [seed, _STREAMS[stream], index]
    if seed >= 2**32:  # SeedSequence cuts large numbers into words, which must not look like another key
        key = [seed % 2**32, seed >> 32, _STREAMS[stream], index, 1]
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
