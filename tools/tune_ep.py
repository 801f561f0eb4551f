"""Grid search of EP's prior where a scenario has none of its own: sparsity and decay, on training channels of `wide`.

    python tools/tune_ep.py

Prints the mean CFR NMSE over 0, 10 and 20 dB at 75 pilots; the best pair stands in chanest/picking.py.
"""

from itertools import product

import torch

from chanest.algorithms import EP
from chanest.evaluation.metrics import nmse_db
from chanest.models.model import Model
from chanest.problems.load import load_scenario
from chanest.problems.ofdm.draw import draw, draw_pattern
from chanest.problems.random import seeded


@torch.inference_mode()
def main() -> None:
    """Print the grid."""
    wide = load_scenario("wide")
    pattern = draw_pattern(wide, seed=1)
    found = {}
    for sparsity, decay in product((24.0, 48.0), (0.0, 1.5, 3.0, 6.0)):
        model = Model(EP(sparsity=sparsity, decay=decay), wide)
        nmse = []
        for snr in (0.0, 10.0, 20.0):
            batch = draw(wide, pattern, 256, seeded(0, "train"), snr)
            estimate = model.estimate(batch.observations, pattern, batch.noise_variance)
            nmse.append(nmse_db(estimate.cfr, batch.cfr))
        found[sparsity, decay] = sum(nmse) / len(nmse)
        print(f"sparsity {sparsity:g}, decay {decay:g}: {', '.join(f'{v:.2f}' for v in nmse)} dB", flush=True)
    best = min(found, key=lambda pair: found[pair])
    print(f"best mean: sparsity = {best[0]:g}, decay = {best[1]:g}")


if __name__ == "__main__":
    main()
