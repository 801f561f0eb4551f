"""``.pt2``: a program that torch.export.load runs without chanest."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from ...errors import ExportError
from ...models import Model
from ...problems import PilotPattern
from .program import ChannelProgram, facts
from .verifying import OUTPUTS, Inputs, Outputs

TOLERANCES = (1e-5, 1e-5, 1e-4)
_STRANGER = """
import sys
sys.modules["chanest"] = None
import numpy, torch
torch.set_num_threads(1)  # as the model ran: it rounds by them
program = torch.export.load(sys.argv[1]).module()
given = numpy.load(sys.argv[2])
outputs = program(*(torch.from_numpy(given[name]) for name in given.files))
numpy.savez(sys.argv[3], *(output.detach().numpy() for output in outputs))
"""


def write_torch(path: Path, model: Model, pattern: PilotPattern) -> None:
    """Write a :class:`ChannelProgram` for as many pilots as the pattern has, on any subcarriers, in any batch.

    Raises:
        ModelError: the model is not alista, na-alista or na-sbl.
    """
    program = ChannelProgram(model).eval()
    example = torch.ones(2, len(pattern), dtype=torch.complex64), torch.tensor(pattern.subcarriers), torch.ones(2)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        exported = torch.export.export(program, example, dynamic_shapes=({0: batch}, None, {0: batch}), strict=False)
    with path.open("wb") as file:  # by name it would insist on a suffix
        torch.export.save(exported, file, extra_files={"chanest.json": facts(model, pattern)})


def run_torch(path: Path, inputs: Inputs) -> Outputs:
    """What a fresh Python process makes of a file, in which chanest cannot be imported.

    Raises:
        ExportError: that process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "given.npz"), Path(folder, "found.npz")
        np.savez(
            given,
            received_pilots=inputs.received_pilots.numpy(),
            pilot_subcarriers=np.asarray(inputs.pattern.subcarriers),
            noise_variance=inputs.noise_variance.numpy(),
        )
        command = [sys.executable, "-c", _STRANGER, str(path.resolve()), str(given), str(found)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ExportError(f"does not run without chanest ({reason})", path=path)
        with np.load(found) as arrays:
            return tuple(torch.from_numpy(arrays[f"arr_{i}"]) for i in range(len(OUTPUTS)))
