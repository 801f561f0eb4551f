"""SavedModels as TensorFlow reads them; ``chanest.link.tensorflow`` writes them."""

import importlib
from pathlib import Path

import numpy as np
import torch

from ..errors import ExtraError
from .program import NOISE, OUTPUTS, PILOTS, SUBCARRIERS
from .verifying import Inputs, Outputs

TOLERANCE = {"alista": 1e-4, "na-alista": 1e-4, "na-sbl": 3e-2}


def run_savedmodel(folder: Path, inputs: Inputs) -> Outputs:
    """What TensorFlow makes of a SavedModel's ``serving_default``.

    Raises:
        ExtraError: TensorFlow is not installed.
    """
    try:
        tf = importlib.import_module("tensorflow")
    except ImportError:
        raise ExtraError("--to savedmodel: TensorFlow is not installed; pip install 'chanest[tensorflow]'") from None
    loaded = tf.saved_model.load(str(folder))
    found = loaded.signatures["serving_default"](
        **{
            PILOTS: tf.constant(inputs.received_pilots.numpy()),
            SUBCARRIERS: tf.constant(np.asarray(inputs.pattern.subcarriers, np.int32)),
            NOISE: tf.constant(inputs.noise_variance.numpy()),
        }
    )
    cfr, cir, variance = (torch.from_numpy(np.array(found[name])) for name in OUTPUTS)
    return cfr, cir, variance
