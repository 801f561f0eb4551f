#!/usr/bin/env bash
# Trains the shipped models, one after the other; each file records its own command. Skips those that exist.
#   tools/train_shipped.sh [alista|na-alista ...]
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
declare -A steps=([alista]=2000 [na-alista]=5000)
for algorithm in ${@:-na-alista alista}; do
  for job in lte10:75 lte10-reference:75 wide: lte10:100 lte10:50 lte10-reference:100 lte10-reference:50; do
    scenario=${job%%:*} pilots=${job#*:}
    output=models/$algorithm-$scenario${pilots:+-m$pilots}.h5
    [ -e "$output" ] && continue
    resume=$([ -e "$output.checkpoint" ] && echo --resume || true)
    chanest train --scenario "$scenario" ${pilots:+--pilots "$pilots"} --algorithm "$algorithm" \
      --steps "${steps[$algorithm]}" --output "$output" $resume
  done
done
