#!/usr/bin/env bash
# Trains the shipped models, one after the other; each file records its own command. Skips those that exist and
# resumes those that were interrupted.
#   tools/train_shipped.sh [NAME ...]      e.g. na-alista-lte10-m75 alista-wide; all when none is named
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
declare -A options=(
  [na-alista-wide]="--steps 4000 --inputs r,u --learning-rate 1e-3"
  [na-alista-lte10-m75]="--steps 4000"
  [na-alista-lte10-reference-m75]="--steps 5000"
)
for algorithm in na-alista alista; do
  for job in lte10:75 lte10-reference:75 wide: lte10:100 lte10:50 lte10-reference:100 lte10-reference:50; do
    scenario=${job%%:*} pilots=${job#*:}
    name=$algorithm-$scenario${pilots:+-m$pilots}
    [[ $# -eq 0 || " $* " == *" $name "* ]] || continue
    output=models/$name.h5
    [ -e "$output" ] && continue
    [ "$algorithm" = alista ] && default="--steps 2000" || default="--steps 3000"
    # shellcheck disable=SC2086
    chanest train --scenario "$scenario" ${pilots:+--pilots "$pilots"} --algorithm "$algorithm" \
      ${options[$name]:-$default} --output "$output" $([ -e "$output.checkpoint" ] && echo --resume)
  done
done
