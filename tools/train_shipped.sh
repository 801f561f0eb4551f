#!/usr/bin/env bash
# Trains the shipped models, one after the other; each file records its own command (na-sbl-lte10-m75-k10 was trained by
# the two below, in other folders). Skips those that exist and
# resumes those that were interrupted. na-sbl-wide was trained in four parts (docs/estimators.md), of the last of which its
# file has the command; na-sbl-wide-window before its scenario had receivers, by the commit of 0.2.0; na-alista-wide by the
# command below from the one of 0.2.0 (--start), 5,000 steps.
#   tools/train_shipped.sh [NAME ...]      e.g. na-alista-lte10-m75 na-sbl-wide; all when none is named
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
declare -A options=(
  [alista]="--steps 2000"
  [na-alista]="--steps 3000 --inputs r,u"
  [na-alista-wide]="--steps 9000 --inputs r,u --learning-rate 1e-3"
  [na-alista-lte10-m75]="--steps 4000 --inputs r,u"
  [na-alista-lte10-reference-m75]="--steps 5000 --inputs r,u"
  [na-sbl]="--steps 1000"
  [na-sbl-wide]="--steps 37000 --batch 32 --iterations 7"
  [na-sbl-lte10-m100]="--steps 3000"
  [na-sbl-lte10-m75]="--steps 2500"
  [na-sbl-lte10-m50]="--steps 1500"
  [na-sbl-lte10-reference-m75]="--steps 1500"
  [alista-synthetic-40db]="--steps 500 --learning-rate 2e-2"
  [alista-synthetic-20db]="--steps 400 --learning-rate 2e-2"
  [na-alista-synthetic-40db]="--steps 1000 --hidden 128 --learning-rate 2e-3"
  [na-alista-synthetic-20db]="--steps 600 --hidden 128 --learning-rate 2e-3"
)
for algorithm in na-alista alista na-sbl; do
  for job in lte10:75 lte10-reference:75 wide: lte10:100 lte10:50 lte10-reference:100 lte10-reference:50; do
    scenario=${job%%:*} pilots=${job#*:}
    name=$algorithm-$scenario${pilots:+-m$pilots}
    [[ $# -eq 0 || " $* " == *" $name "* ]] || continue
    output=models/$name.h5
    [ -e "$output" ] && continue
    # shellcheck disable=SC2086
    chanest train --scenario "$scenario" ${pilots:+--pilots "$pilots"} --algorithm "$algorithm" \
      ${options[$name]:-${options[$algorithm]}} --output "$output" $([ -e "$output.checkpoint" ] && echo --resume)
  done
done
name=na-sbl-lte10-m75-k10 # from the shipped one of K = 6: that one longer, then grown to K = 10
if [[ $# -eq 0 || " $* " == *" $name "* ]] && [ ! -e "models/$name.h5" ]; then
  common="--scenario lte10 --pilots 75 --algorithm na-sbl --learning-rate 2e-3"
  mkdir -p runs
  longer=runs/$name.longer.h5 output=models/$name.h5
  # shellcheck disable=SC2086
  [ -e "$longer" ] || chanest train $common --start na-sbl-lte10-m75 --steps 16000 --output "$longer" \
    $([ -e "$longer.checkpoint" ] && echo --resume)
  # shellcheck disable=SC2086
  chanest train $common --start "$longer" --iterations 10 --steps 9000 --seed 2 --output "$output" \
    $([ -e "$output.checkpoint" ] && echo --resume)
  rm "$longer"
fi
for name in alista-synthetic-40db na-alista-synthetic-40db alista-synthetic-20db na-alista-synthetic-20db; do
  [[ $# -eq 0 || " $* " == *" $name "* ]] || continue
  output=models/$name.h5 snr=${name##*-}
  [ -e "$output" ] && continue
  # shellcheck disable=SC2086
  chanest train --scenario synthetic $([ "$snr" = 40db ] || echo --snr "${snr%db}") --algorithm "${name%-synthetic*}" \
    ${options[$name]} --output "$output" $([ -e "$output.checkpoint" ] && echo --resume)
done
