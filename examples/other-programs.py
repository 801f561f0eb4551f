"""# Out to MATLAB, TensorFlow, Python and C++

Where chanest does not run, its results and models do. Estimates go out as `.mat`; a model goes out as a program for
PyTorch without chanest (`.pt2`), as a SavedModel for TensorFlow and C++, as ONNX, or as a struct of numbers for a
receiver in any language. Every export is run by its own reader and compared with the model before it is kept. Needs
`pip install '.[tensorflow,onnx]'`, and for C++ a compiler.
"""

# %%
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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
# receiver below imports torch and nothing else. (torch 2.13's ahead-of-time compiler, which would make a package for
# C++ of it, stops on its complex operations: C++ takes the SavedModel below.)

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
# ## ONNX
#
# One pattern of pilots, complex numbers as a last axis of two, run by onnxruntime, which has interfaces for many
# languages.

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
# ## C++
#
# The same SavedModel from C++, by TensorFlow's C library: TensorFlow's Python wheel has its header and both libraries
# (so has the `libtensorflow` archive, without Python). Any model may stand in its place, also `na-sbl-wide`.

# %%
program = """
#include <tensorflow/c/c_api.h>
#include <complex>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

template <class T> std::vector<T> read(const char *path) {
    std::vector<T> values;
    std::FILE *file = std::fopen(path, "rb");
    for (T one; file && std::fread(&one, sizeof one, 1, file);) values.push_back(one);
    return values;
}

template <class T> TF_Tensor *tensor(TF_DataType type, std::vector<int64_t> shape, const std::vector<T> &values) {
    TF_Tensor *made = TF_AllocateTensor(type, shape.data(), shape.size(), values.size() * sizeof(T));
    std::memcpy(TF_TensorData(made), values.data(), values.size() * sizeof(T));
    return made;
}

int main() {
    auto received = read<std::complex<float>>("received.bin");  // (batch, M)
    auto subcarriers = read<int32_t>("subcarriers.bin");        // (M,)
    auto noise = read<float>("noise.bin");                      // (batch,)
    int64_t m = subcarriers.size(), batch = noise.size();

    TF_Status *status = TF_NewStatus();
    TF_Graph *graph = TF_NewGraph();
    const char *tags[] = {"serve"}, *model = "na-alista-lte10-m75.savedmodel";
    TF_Session *session =
        TF_LoadSessionFromSavedModel(TF_NewSessionOptions(), nullptr, model, tags, 1, graph, nullptr, status);
    TF_Tensor *cfr = nullptr;
    if (TF_GetCode(status) == TF_OK) {
        auto at = [&](const char *name) { return TF_Output{TF_GraphOperationByName(graph, name), 0}; };
        TF_Output in[] = {at("serving_default_received_pilots"), at("serving_default_pilot_subcarriers"),
                          at("serving_default_noise_variance")};
        TF_Tensor *given[] = {tensor(TF_COMPLEX64, {batch, m}, received), tensor(TF_INT32, {m}, subcarriers),
                              tensor(TF_FLOAT, {batch}, noise)};
        TF_Output out = at("StatefulPartitionedCall");  // its outputs go by name: cfr is the first
        TF_SessionRun(session, nullptr, in, given, 3, &out, &cfr, 1, nullptr, 0, nullptr, status);
    }
    if (TF_GetCode(status) != TF_OK) {
        std::fprintf(stderr, "%s\\n", TF_Message(status));
        return 1;
    }
    std::FILE *file = std::fopen("cfr.bin", "wb");
    std::fwrite(TF_TensorData(cfr), 1, TF_TensorByteSize(cfr), file);
    std::fclose(file);
    std::printf("cfr (%ld, %ld)\\n", long(TF_Dim(cfr, 0)), long(TF_Dim(cfr, 1)));
}
"""
Path("receiver.cpp").write_text(program)
data.observations.numpy().tofile("received.bin")
np.array(pattern.subcarriers, np.int32).tofile("subcarriers.bin")
data.noise_variance.numpy().astype(np.float32).tofile("noise.bin")
wheel = Path(find_spec("tensorflow").origin).parent
libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{wheel}"]
command = f"g++ -std=c++17 -fuse-ld=gold receiver.cpp -o receiver -I{wheel}/include -L{wheel}"
subprocess.run([*command.split(), *libraries], check=True)  # the default linker takes longer
print(subprocess.run(["./receiver"], capture_output=True, text=True, check=True).stdout.strip())
print("agrees with chanest:", agrees(np.fromfile("cfr.bin", np.complex64).reshape(4, -1)))

# %% [markdown]
# ## What goes where
#
# | | NA-ALISTA | NA-SBL of a number of pilots | `na-sbl-wide` |
# |---|---|---|---|
# | `.h5`, `.mat`: the numbers | yes | yes | yes |
# | SavedModel: TensorFlow, C, C++ | yes | yes | yes |
# | `.pt2` | yes | yes | not yet |
# | ONNX, one pilot pattern | yes | no | no |
#
# Inputs, outputs and why: [Exports](../exports.md), [TensorFlow](../tensorflow.md).
