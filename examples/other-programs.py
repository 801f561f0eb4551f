"""# Out to MATLAB, TensorFlow, Python and C++

Where chanest does not run, its results and models do. Estimates go out as `.mat`; a model goes out as a program for
PyTorch without chanest (`.pt2`), as a SavedModel for TensorFlow, as ONNX, or as a struct of numbers for a receiver in
any language. Every export is run by its own reader and compared with the model before it is kept. Needs `pip install
'chanest[tensorflow,onnx]'`.
"""

# %%
import subprocess
import sys

import numpy as np
import onnxruntime
import torch
from scipy.io import loadmat

from chanest import load_model, load_scenario


def chanest(arguments):
    ran = subprocess.run([sys.executable, "-m", "chanest", *arguments.split()], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


# %% [markdown]
# ## Estimates to MATLAB and Octave
#
# `chanest estimate --input pilots.mat --output channels.mat`, then in MATLAB `found = load('channels.mat'); h =
# found.cfr; v = found.error_variance;`. What MATLAB and Octave write and read: [File formats](../file-formats.md).

# %% [markdown]
# ## A model to MATLAB, or to a language of your own
#
# A struct `model` of named tensors; [the equations](../models.md) say what to do with them, and a hundred lines of
# NumPy in `tests/models/plain_numpy.py` do it. The HDF5 file itself holds the same: `h5read('na-sbl-lte10-m75.h5',
# '/parameters/…')`.

# %%
chanest("export na-sbl-lte10-m75 --to mat")
model = loadmat("na-sbl-lte10-m75.mat", simplify_cells=True)["model"]
print(list(model), model["hyperparameters"])

# %% [markdown]
# ## A receiver in Python without chanest
#
# `.pt2` is a program of torch.export: 75 pilots on any subcarriers, any batch, any number of channels at a time. The
# receiver below imports torch and nothing else.

# %%
print(chanest("export na-alista-lte10-m75 --to torch-export --pilots 75"))
scenario = load_scenario("lte10").replace(n_pilots=75)
pattern = scenario.sensing(seed=5)
data = scenario.draw(pattern, 4, generator=0)
torch.save([data.observations, torch.tensor(pattern.subcarriers), data.noise_variance], "received.pt")

receiver = """
import sys, torch

program = torch.export.load("na-alista-lte10-m75.pt2").module()
received, subcarriers, noise_variance = torch.load("received.pt")
cfr, cir, error_variance = program(received, subcarriers, noise_variance)
torch.save(cfr, "cfr.pt")
print("cfr", tuple(cfr.shape), "- chanest imported:", "chanest" in sys.modules)
"""
print(subprocess.run([sys.executable, "-c", receiver], capture_output=True, text=True, check=True).stdout.strip())
ours = load_model("na-alista-lte10-m75").estimate(data.observations, pattern, data.noise_variance).cfr.numpy()


def agrees(cfr):
    return bool(np.abs(np.asarray(cfr) - ours).max() < 1e-4 * np.abs(ours).max())


print("agrees with chanest:", agrees(torch.load("cfr.pt")))

# %% [markdown]
# ## C++
#
# ONNX: one pattern of pilots, complex numbers as a last axis of two, run by onnxruntime. Here from Python:

# %%
print(chanest("export na-alista-lte10-m75 --to onnx --pilots 75 --seed 5").splitlines()[0])
session = onnxruntime.InferenceSession("na-alista-lte10-m75.onnx")
inputs = {
    "received_pilots": torch.view_as_real(data.observations).numpy(),
    "noise_variance": data.noise_variance.numpy(),
}
cfr, cir, error_variance = session.run(["cfr", "cir", "error_variance"], inputs)
print("agrees with chanest:", agrees(cfr[..., 0] + 1j * cfr[..., 1]))

# %% [markdown]
# and the same from C++ (not run here):
#
# ```cpp
# #include <onnxruntime_cxx_api.h>
#
# Ort::Env env;
# Ort::Session session(env, "na-alista-lte10-m75.onnx", Ort::SessionOptions{});
# auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
# std::vector<float> pilots(4 * 75 * 2), noise(4, 0.1f);  // yours
# int64_t of_pilots[] = {4, 75, 2}, of_noise[] = {4};
# Ort::Value inputs[] = {
#     Ort::Value::CreateTensor<float>(memory, pilots.data(), pilots.size(), of_pilots, 3),
#     Ort::Value::CreateTensor<float>(memory, noise.data(), noise.size(), of_noise, 1)};
# const char *in[] = {"received_pilots", "noise_variance"}, *out[] = {"cfr", "cir", "error_variance"};
# auto found = session.Run(Ort::RunOptions{nullptr}, in, inputs, 2, out, 3);
# ```
#
# A `.pt2` runs in programs that have Python: torch 2.13's ahead-of-time compiler, which would make a package for C++ of
# it, stops on its complex operations. NA-SBL goes to C++ through TensorFlow's SavedModel.
#
# ## TensorFlow
#
# A SavedModel takes any number of pilots on any subcarriers, and needs TensorFlow alone.

# %%
print(chanest("export na-alista-lte10-m75 --to savedmodel").splitlines()[0])
receiver = """
import numpy as np
import tensorflow as tf

served = tf.saved_model.load("na-alista-lte10-m75.savedmodel").signatures["serving_default"]
received, subcarriers, noise_variance = (np.load(f"{name}.npy") for name in ("received", "subcarriers", "noise"))
found = served(
    received_pilots=tf.constant(received),
    pilot_subcarriers=tf.constant(subcarriers),
    noise_variance=tf.constant(noise_variance),
)
np.save("cfr.npy", found["cfr"].numpy())
print({name: tuple(value.shape) for name, value in sorted(found.items())})
"""
np.save("received.npy", data.observations.numpy())
np.save("subcarriers.npy", np.array(pattern.subcarriers, np.int32))
np.save("noise.npy", data.noise_variance.numpy().astype(np.float32))
print(subprocess.run([sys.executable, "-c", receiver], capture_output=True, text=True, check=True).stdout.strip())
print("agrees with chanest:", agrees(np.load("cfr.npy")))

# %% [markdown]
# ## What goes where
#
# | | NA-ALISTA | NA-SBL of a number of pilots | `na-sbl-wide` |
# |---|---|---|---|
# | `.h5`, `.mat`: the numbers | yes | yes | yes |
# | SavedModel | yes | yes | yes |
# | `.pt2` | yes | yes | not yet |
# | ONNX, one pilot pattern | yes | no | no |
#
# Inputs, outputs and why: [Exports](../exports.md), [TensorFlow](../tensorflow.md).
