#!/usr/bin/env bash
# What a GPU says of chanest, in at most 8 minutes: tools/check_gpu.sh [FOLDER] [DEVICE]
# FOLDER (gpu-check) gets gpu.json and gpu.md, a table for docs/performance.md. DEVICE is cuda; cpu tries the script itself.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-gpu-check}") device=${2:-cuda} python=${PYTHON:-python}
mkdir -p "$folder"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

timeout 120 "$python" -m pytest -m gpu tests/operators tests/models tests/algorithms -q >"$folder/tests.txt" 2>&1
echo "tests: exit status $?; $(tail -n 1 "$folder/tests.txt")"
timeout 180 "$python" tools/bench_estimators.py --device "$device" --threads 1 --batches 1,14,512,8192 --laps 5 \
    --most-seconds 0.5 --training-batch 512 --json "$folder/bench.json" --force >"$folder/bench.txt" 2>&1
echo "bench: exit status $?; $folder/bench.txt"
timeout 120 "$python" tools/check_gpu.py "$folder" --device "$device"
status=$?
if [ "$device" = cuda ] && [ "$("$python" -c 'import torch; print(torch.cuda.device_count())')" -ge 2 ]; then
    timeout 60 "$python" -m torch.distributed.run --nproc-per-node 2 -m chanest train --scenario lte10 --algorithm alista \
        --steps 20 --device cuda --output "$folder/nccl.h5" --force >"$folder/nccl.txt" 2>&1
    echo "NCCL, two cards: exit status $?; $(tail -n 1 "$folder/nccl.txt")"
fi
exit $status
