"""How far the TensorFlow versions of all shipped models lie from PyTorch, at each model's own number of pilots.

    python tools/compare_tensorflow.py [--samples 64]

Per algorithm and SNR, the noise variance told: the largest relative distance of a CFR in float64; in float32 the
largest, the share above the limit (1e-5, NA-SBL 1e-2) and the largest difference of a model's CFR NMSE; and the
largest distance between PyTorch's own float32 and float64, and between TensorFlow's.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import torch

from chanest import PilotPattern, load_model, nmse_db
from chanest.integrations.tensorflow import SparseEstimator
from chanest.models import shipped_models
from chanest.problems import seeded

LIMITS = {"alista": 1e-5, "na-alista": 1e-5, "na-sbl": 1e-2}


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)


def compare(name: str, snr_db: float, n: int) -> dict[str, np.ndarray | float]:
    """Distances of n estimates by one model."""
    model = load_model(name)
    pattern = PilotPattern.random(model.ofdm.n_pilots, seed=1)
    data = model.ofdm.replace(snr_db=snr_db).draw(pattern, n, seeded(3, "test"))
    noise = torch.as_tensor(data.noise_variance).double().expand(n)
    estimator = SparseEstimator(model)
    ours, theirs = [], []
    for dtype in (torch.complex64, torch.complex128):
        pilots = data.observations.to(dtype)
        ours.append(model.estimate(pilots, pattern, noise).cfr)
        theirs.append(estimator(pilots.numpy(), pattern, noise.numpy()).cfr.numpy())
    nmse = [float(nmse_db(cfr, data.truth["cfr"])) for cfr in (ours[0], torch.from_numpy(theirs[0]))]
    return {
        "double": distances(theirs[1], ours[1].numpy()),
        "single": distances(theirs[0], ours[0].numpy()),
        "nmse": abs(nmse[0] - nmse[1]),
        "torch": distances(ours[0].numpy(), ours[1].numpy()),
        "tensorflow": distances(theirs[0], theirs[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64)
    n = parser.parse_args().samples
    names = [path.stem for path in shipped_models() if "synthetic" not in path.stem]
    print("algorithm  SNR | float64 | float32: max  share  NMSE/dB | float32-float64: torch  TensorFlow")
    for algorithm, limit in LIMITS.items():
        for snr_db in (0, 10, 20, 30, 40):
            rows = [compare(name, float(snr_db), n) for name in names if name.startswith(algorithm)]
            worst = {key: max(np.max(row[key]) for row in rows) for key in rows[0]}
            share = np.mean([row["single"] > limit for row in rows])
            print(
                f"{algorithm:9} {snr_db:4} | {worst['double']:.1e} | {worst['single']:.1e}  {share:.2%}  "
                f"{worst['nmse']:.4f} | {worst['torch']:.1e}  {worst['tensorflow']:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
