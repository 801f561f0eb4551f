"""Ray-trace the channels of a city's outdoor users with sionna-rt, for the data set scenarios/munich.h5.

    python -m venv /tmp/rt && /tmp/rt/bin/pip install sionna-rt==2.2.0 h5py
    export DRJIT_LIBLLVM_PATH=/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1    # Debian's libllvm19; not on a GPU
    /tmp/rt/bin/python tools/trace_city.py --output munich.h5

sionna-rt is no dependency of chanest, hence the environment of its own. Without a CUDA GPU it compiles its kernels
with LLVM: `apt install libllvm19`; the versions 14 and 15 crash. Munich takes some 15 minutes and 6 GB then.

One rooftop base station serves a regular grid of users 1.5 m above the ground; both have one isotropic, vertically
polarised antenna. Reflected and diffracted paths (no diffracted ones with ``--no-diffraction``) are kept, with exact
delays; nothing is transmitted through or scattered by walls. Users in buildings or out of coverage are left out. Per
user the earliest delay is 0 and the mean power over the 600 subcarriers of LTE at 10 MHz is 1.
"""

import argparse
import ctypes
import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import drjit as dr  # type: ignore[import-not-found,unused-ignore]
import h5py
import mitsuba as mi  # type: ignore[import-not-found,unused-ignore]
import numpy as np
import sionna.rt as rt

BASE_STATION_M = [8.5, 21.0, 27.0]  # Sionna's tutorials': 1 m above the edge of a 26 m high roof in Munich's centre
CARRIER_HZ = 2.14e9  # the centre of LTE band 1's downlink
USER_HEIGHT_M = 1.5
MAX_DEPTH = 5
SUBCARRIERS_HZ = 15e3 * np.r_[-300:0, 1:301]
SAMPLE_RATE_HZ = 15.36e6
MAX_SPAN_SAMPLES = 255.0
WEAKEST_PATH_DB = -45.0  # relative to the user's strongest path
# 24 dB SNR at 46 dBm transmit power. Below it, chance decides which of the many diffracted paths are found.
COVERAGE_DB = -120.0
MAX_PATHS_PER_CHUNK = 2_000_000
RAYS_TIMES_USERS = 24_000_000  # bounds the memory to some 6 GB


def avoid_wide_vectors() -> None:
    """Make Dr.Jit use 8 lanes where it would use 16: LLVM 16 and 19 fail on a scalar ``fminimum`` there."""
    library = ctypes.CDLL(str(Path(dr.__file__).parent / "libdrjit-core.so"))
    set_target = library["_Z19jit_llvm_set_targetPKcS0_j"]
    set_target.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint32]
    if library["_Z21jit_llvm_vector_widthv"]() > 8:
        set_target(b"haswell", None, 8)


def outdoor_grid(scene: rt.Scene, center: list[float], spacing: float, radius: float) -> np.ndarray:
    """Positions (users, 3) of the grid within ``radius`` of ``center`` that see the sky from the ground."""
    steps = spacing * np.arange(-np.floor(radius / spacing), np.floor(radius / spacing) + 1)
    xy = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    xy = (xy[np.hypot(*xy.T) <= radius] + center[:2]).astype(np.float32)
    box = scene.mi_scene.bbox()
    above = mi.Point3f(xy[:, 0], xy[:, 1], np.full(len(xy), box.max.z + 1, np.float32))
    hit = scene.mi_scene.ray_intersect(mi.Ray3f(above, mi.Vector3f(0, 0, -1)))
    ground = np.array(hit.is_valid()) & (np.array(hit.p.z) < box.min.z + 0.1)
    return np.c_[xy, np.full(len(xy), box.min.z + USER_HEIGHT_M)][ground].astype(np.float32)


def normalise(delays: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """One user's strong paths by delay, earliest at 0, with unit mean power; None out of coverage or too long."""
    power = np.abs(gains) ** 2
    if 10 * np.log10(max(power.sum(), 1e-30)) < COVERAGE_DB:
        return None
    strong = np.flatnonzero(power > power.max() * 10 ** (WEAKEST_PATH_DB / 10))
    strong = strong[np.argsort(delays[strong], kind="stable")]
    delays, gains = (delays[strong] - delays[strong[0]]).astype(np.float32), gains[strong]
    if delays[-1] * SAMPLE_RATE_HZ > MAX_SPAN_SAMPLES:
        return None
    response = np.exp(-2j * np.pi * np.outer(SUBCARRIERS_HZ, delays.astype(np.float64))) @ gains
    return delays, gains / np.sqrt(np.mean(np.abs(response) ** 2))


def trace(
    scene: rt.Scene, users: np.ndarray, rays: int, seed: int, diffraction: bool
) -> tuple[list, np.ndarray, np.ndarray]:
    """(delays, gains) or None, the power gain in dB and line of sight of each user."""
    solver = rt.PathSolver(deterministic=True)
    paths_of, power_db, sight = [], [], []
    chunk = max(1, RAYS_TIMES_USERS // rays)
    for start in range(0, len(users), chunk):
        part = users[start : start + chunk]
        for i, position in enumerate(part):
            scene.add(rt.Receiver(f"user{i}", position=position.tolist()))
        found = solver(
            scene,
            max_depth=MAX_DEPTH,
            samples_per_src=rays,
            max_num_paths_per_src=MAX_PATHS_PER_CHUNK,
            refraction=False,
            diffraction=diffraction,
            seed=seed,
        )
        delays = found.tau.numpy()[:, 0].astype(np.float64)
        gains = (found.a[0].numpy() + 1j * found.a[1].numpy())[:, 0, 0, 0].astype(np.complex128)
        gains *= np.exp(-2j * np.pi * CARRIER_HZ * delays)
        valid = found.valid.numpy().reshape(delays.shape) & (gains != 0)
        direct = valid & (found.interactions.numpy()[:, :, 0] == rt.InteractionType.NONE).all(0)
        for i, mine in enumerate(valid):
            paths_of.append(normalise(delays[i, mine], gains[i, mine]) if mine.any() else None)
            power_db.append(10 * np.log10(max(np.sum(np.abs(gains[i, mine]) ** 2), 1e-30)))
            scene.remove(f"user{i}")
        sight.extend(direct.any(1))
        print(f"\r{start + len(part)}/{len(users)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return paths_of, np.array(power_db, np.float32), np.array(sight, bool)


def summarise(delays: np.ndarray, gains: np.ndarray, sight: np.ndarray) -> None:
    """Print the number of users and paths and their spreads."""
    weight = np.abs(gains.astype(np.complex128)) ** 2
    weight /= weight.sum(1, keepdims=True)
    samples = delays.astype(np.float64) * SAMPLE_RATE_HZ
    spread = np.sqrt(np.sum(weight * (samples - np.sum(weight * samples, 1, keepdims=True)) ** 2, 1))
    count = (gains != 0).sum(1)
    print(f"{len(gains)} users, {100 * sight.mean():.1f} % in line of sight")
    print(f"paths per user: median {np.median(count):g}, min {count.min()}, max {count.max()}")
    print(f"RMS delay spread in samples: median {np.median(spread):.2f}, 90 % {np.quantile(spread, 0.9):.2f}")
    print(f"largest delay: {samples.max():.1f} samples")


def main() -> None:
    """Trace, normalise, write and summarise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("scenarios/munich.h5"))
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.add_argument("--scene", default="munich", help="the name of a scene of sionna.rt.scene")
    parser.add_argument("--base-station", type=float, nargs=3, default=BASE_STATION_M, metavar=("X", "Y", "Z"))
    parser.add_argument("--radius", type=float, default=250.0, help="of the grid around the base station [m]")
    parser.add_argument("--spacing", type=float, default=7.5, help="of the grid [m]")
    parser.add_argument("--rays", type=int, default=2_000_000, help="shot by the base station")
    parser.add_argument("--no-diffraction", dest="diffraction", action="store_false", help="leave diffracted paths out")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.output.exists() and not options.force:
        parser.error(f"{options.output} exists; --force overwrites it")
    if not hasattr(rt.scene, options.scene):
        parser.error(f"sionna.rt has no scene {options.scene!r}")
    if "llvm" in mi.variant():
        avoid_wide_vectors()
    scene = rt.load_scene(getattr(rt.scene, options.scene))
    scene.frequency = CARRIER_HZ
    scene.tx_array = scene.rx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    scene.add(rt.Transmitter("base station", position=options.base_station))
    users = outdoor_grid(scene, options.base_station, options.spacing, options.radius)
    paths_of, power_db, sight = trace(scene, users, options.rays, options.seed, options.diffraction)
    kept = [i for i, paths in enumerate(paths_of) if paths is not None]
    if not kept:
        sys.exit("no user is in coverage")
    shape = len(kept), max(len(paths_of[i][0]) for i in kept)
    delays, gains = np.zeros(shape, np.float32), np.zeros(shape, np.complex64)
    for row, i in enumerate(kept):
        delays[row, : len(paths_of[i][0])], gains[row, : len(paths_of[i][1])] = paths_of[i]
    attributes = {
        "format": "chanest-channels",
        "format_version": 1,
        "description": f"Ray-traced channels of outdoor users in the sionna-rt scene {options.scene}, one base station",
        "command": f"python tools/trace_city.py {' '.join(sys.argv[1:])}".strip(),
        "scene": options.scene,
        "carrier_hz": CARRIER_HZ,
        "base_station_m": np.array(options.base_station),
        "user_height_m": USER_HEIGHT_M,
        "antennas": "one isotropic, vertically polarised antenna on both sides",
        "interactions": "line of sight, specular reflection"
        + (", first-order diffraction" if options.diffraction else ""),
        "max_depth": MAX_DEPTH,
        "seed": options.seed,
        "rays": options.rays,
        "grid_spacing_m": options.spacing,
        "grid_radius_m": options.radius,
        "grid_users_outdoor": len(users),
        "weakest_path_db": WEAKEST_PATH_DB,
        "coverage_db": COVERAGE_DB,
        "max_span_samples": MAX_SPAN_SAMPLES,
        "normalisation": "mean of |H[k]|^2 over k = -300..-1, 1..300 is 1 at 15 kHz spacing; earliest delay 0",
        "sionna_rt_version": version("sionna-rt"),
        "mitsuba_version": version("mitsuba"),
        "drjit_version": version("drjit"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    temporary = options.output.with_name(f".{options.output.name}.{os.getpid()}")
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs.update(attributes)
            data = {"delays_s": delays, "gains": gains, "positions_m": users[kept]}
            data |= {"line_of_sight": sight[kept].astype(np.uint8), "power_gain_db": power_db[kept]}
            for name, values in data.items():
                file.create_dataset(name, data=values, compression="gzip", compression_opts=9, shuffle=True)
        temporary.replace(options.output)
    finally:
        temporary.unlink(missing_ok=True)
    print(f"{len(users)} outdoor grid points, {sum(p > -300 for p in power_db)} with a path")
    summarise(delays, gains, sight[kept])
    print(f"{options.output}: {options.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
