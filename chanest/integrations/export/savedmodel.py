"""SavedModels as TensorFlow reads them; ``chanest.integrations.tensorflow`` writes them."""

from pathlib import Path

import numpy as np
import torch

from .extras import needed
from .program import NOISE, PILOTS, SUBCARRIERS
from .verifying import OUTPUTS, Inputs, Outputs

_FFT = (1e-4, 1e-4, 1e-3)
TOLERANCES = {
    "alista": _FFT,
    "na-alista": _FFT,
    "na-sbl": (3e-2, 3e-2, 1.0),
    "circle": (3e-2, 1.0, 1.0),  # taps nearer than the resolution trade places
}


def run_savedmodel(folder: Path, inputs: Inputs) -> Outputs:
    """What TensorFlow makes of a SavedModel's ``serving_default``.

    Raises:
        ExtraError: TensorFlow is not installed.
    """
    tf = needed("tensorflow", "savedmodel", "tensorflow")
    loaded = tf.saved_model.load(str(folder))
    found = loaded.signatures["serving_default"](
        **{
            PILOTS: tf.constant(inputs.received_pilots.numpy()),
            SUBCARRIERS: tf.constant(np.asarray(inputs.pattern.subcarriers, np.int32)),
            NOISE: tf.constant(inputs.noise_variance.numpy()),
        }
    )
    return tuple(torch.from_numpy(np.array(found[name])) for name in OUTPUTS)
