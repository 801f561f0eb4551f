#!/usr/bin/env bash
# The trainings behind docs/choices.md: prints each command and the validation NMSE that it reached.
#   tools/ablate.sh [a|b]      half of them, or all
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
folder=$(mktemp -d)
reference="--scenario lte10-reference --pilots 75 --steps 1000"
wide="--scenario wide --steps 500 --learning-rate 1e-3"
a=("$reference --algorithm alista --ridge 0" "$reference --algorithm alista --ridge 0.1"
   "$reference --algorithm na-alista --inputs u" "$wide --algorithm na-alista --inputs u")
b=("$reference --algorithm na-alista --ridge 0.1" "$reference --algorithm na-alista --inputs r,u"
   "$wide --algorithm na-alista --inputs r,u")
case "${1:-all}" in a) jobs=("${a[@]}") ;; b) jobs=("${b[@]}") ;; *) jobs=("${a[@]}" "${b[@]}") ;; esac
for job in "${jobs[@]}"; do
  # shellcheck disable=SC2086
  said=$(chanest train $job --output "$folder/model.h5" --force)
  echo "chanest train $job: ${said##*validation }"
done
