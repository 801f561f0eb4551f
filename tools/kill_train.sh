#!/usr/bin/env bash
# Kills at random times: nothing torn, nothing of another command's lost, and what resumes ends with the same bits.
#
#     tools/kill_train.sh [KILLS] [FOLDER] [PYTHON]        100 in a new folder
#
# A fifth of the kills each: train (resumed after every kill; the model must have the tensors of a training that nobody
# interrupted), estimate --output and estimate --force (the output is whole or as before), compare --resume and reproduce
# (the CSV is whole, and in the end that of an uninterrupted run), link --resume (the same; left out where Sionna is not
# installed). SIGKILL, SIGTERM and SIGINT take turns. Prints counts, and exits with 1 where something was torn.
set -euo pipefail
kills=${1:-100} folder=${2:-$(mktemp -d)} python=${3:-python}
mkdir -p "$folder" && cd "$folder"
export OMP_NUM_THREADS=1
run() { "$python" -m chanest "$@" >out.txt 2>err.txt; }

train=(train --algorithm alista --iterations 3 --pilots 20 --steps 300 --batch 32 --seed 1)
compare=(compare --algorithms ista,omp --scenarios lte10 --pilots 20,40 --snr 0:20:10 --samples 400)
reproduce=(reproduce 4 --algorithms ista --samples 64 --seed 1)
link=(link --algorithms linear --pilots 75 --ebno 8:10:1 --slots 192)
torn=0 done_kills=0 finished=0

fail() {
    torn=$((torn + 1))
    cp err.txt "failed-$torn.txt"
    echo "TORN: $*"
}

# What killed processes have left: a later one takes it over when it writes the same file, not before.
left() { find . -maxdepth 1 -name '.*.partial' | sort | paste -sd' '; }

# An HDF5 file that is read to its end by chanest itself, and a CSV whose rows all have the columns of the first.
whole() {
    case $1 in
    *.csv) "$python" -c 'import csv, sys; r = list(csv.DictReader(open(sys.argv[1]))); sys.exit(any(None in x or None in x.values() for x in r))' "$1" ;;
    *) "$python" -m chanest info "$1" >/dev/null 2>err.txt ;;
    esac
}

# As csv without the seconds, which no two runs share.
same_csv() {
    "$python" - "$1" "$2" <<'PY'
import csv, sys
a, b = ([{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(open(p))] for p in sys.argv[1:])
sys.exit(a != b)
PY
}

same_model() {
    "$python" - "$1" "$2" <<'PY'
import sys
import torch
from chanest import load_model
a, b = (dict(load_model(p).algorithm.state_dict()) for p in sys.argv[1:])
sys.exit(not all(torch.equal(a[k], b[k]) for k in a))
PY
}

# One command in the background, a signal after a random time; 0 where it had ended before.
killed() {
    local signal=$1 longest=$2
    shift 2
    # a shell lets what it starts in the background ignore SIGINT
    env --default-signal=INT setsid "$python" -m chanest "$@" >out.txt 2>err.txt &
    local pid=$!
    sleep "$(awk -v s=$RANDOM -v m="$longest" 'BEGIN { printf "%.2f", m * s / 32768 }')"
    if kill -"$signal" "$pid" 2>/dev/null; then done_kills=$((done_kills + 1)); fi
    if [ -t 1 ]; then printf '%d kills\r' "$done_kills"; else echo "$done_kills $signal $1" >>kills.txt; fi
    local code=0
    wait "$pid" 2>/dev/null || code=$?
    case $code in
    0) finished=$((finished + 1)) ;;
    130 | 137 | 143) ;;
    *) fail "$1: exit code $code: $(head -c 300 err.txt)" ;;
    esac
    if [ "$(wc -l <err.txt)" -gt 1 ]; then fail "$1: $(wc -l <err.txt) lines on stderr: $(head -c 300 err.txt)"; fi
    return 0
}

RANDOM=${SEED:-1}
signals=(KILL TERM KILL INT)
commands=(train estimate compare reproduce)
if "$python" -c 'import sionna.phy' 2>/dev/null; then commands+=(link); fi
echo "uninterrupted runs"
run "${train[@]}" --output whole.h5
run simulate --scenario lte10 --pilots 20 --samples 4000 --output pilots.h5
run estimate --input pilots.h5 --algorithm ista --output whole-estimates.h5
run "${compare[@]}" --output whole.csv
run "${reproduce[@]}" --output whole-figures
for ((i = 0; done_kills < kills; i++)); do
    signal=${signals[i / ${#commands[@]} % ${#signals[@]}]}
    case ${commands[i % ${#commands[@]}]} in
    train)
        resume=()
        if [ -e model.h5.checkpoint ]; then
            whole model.h5.checkpoint || fail "checkpoint after kill $done_kills: $(cat err.txt)"
            resume=(--resume)
        fi
        killed "$signal" 9 "${train[@]}" --output model.h5 "${resume[@]}"
        if [ -e model.h5 ]; then
            same_model model.h5 whole.h5 || fail "the resumed model differs"
            rm model.h5
        fi
        ;;
    estimate)
        before=$(left)
        if ((i / ${#commands[@]} % 2)); then
            cp whole-estimates.h5 there.h5
            killed "$signal" 6 estimate --input pilots.h5 --algorithm omp --output there.h5 --force
            whole there.h5 || fail "a file that was to be replaced: $(cat err.txt)"
            rm -f there.h5
        else
            killed "$signal" 6 estimate --input pilots.h5 --algorithm ista --output new.h5
            if [ -e new.h5 ]; then whole new.h5 || fail "an output: $(cat err.txt)"; fi
            rm -f new.h5
        fi
        if [ "$signal" != KILL ] && [ "$(left)" != "$before" ]; then fail "estimate left $(left), before: $before"; fi
        ;;
    compare)
        resume=()
        if [ -e sweep.csv ]; then resume=(--resume); fi
        killed "$signal" 7 "${compare[@]}" --output sweep.csv "${resume[@]}"
        if [ -e sweep.csv ]; then whole sweep.csv || fail "sweep.csv"; fi
        ;;
    reproduce)
        killed "$signal" 8 "${reproduce[@]}" --output figures
        if [ -d figures ]; then
            for file in figures/*.csv; do
                if [ -e "$file" ]; then whole "$file" || fail "$file"; fi
            done
        fi
        ;;
    link)
        resume=()
        if [ -e link.csv ]; then resume=(--resume); fi
        killed "$signal" 15 "${link[@]}" --output link.csv "${resume[@]}"
        if [ -e link.csv ]; then whole link.csv || fail "link.csv"; fi
        ;;
    esac
done
echo "ends"
resume=()
if [ -e model.h5.checkpoint ]; then resume=(--resume); fi
run "${train[@]}" --output model.h5 "${resume[@]}" || fail "training does not go on: $(cat err.txt)"
same_model model.h5 whole.h5 || fail "the model of $done_kills kills differs from that of none"
resume=()
if [ -e sweep.csv ]; then resume=(--resume); fi
run "${compare[@]}" --output sweep.csv "${resume[@]}" || fail "compare does not go on: $(cat err.txt)"
same_csv sweep.csv whole.csv || fail "the sweep differs"
run "${reproduce[@]}" --output figures || fail "reproduce does not go on: $(cat err.txt)"
for file in whole-figures/*.csv; do
    same_csv "figures/${file##*/}" "$file" || fail "${file##*/} of a figure differs"
done
if [ -e link.csv ]; then
    run "${link[@]}" --output link.csv --resume || fail "link does not go on: $(cat err.txt)"
    whole link.csv || fail "link.csv at the end"
fi
rm -f .*.partial
left=$(compgen -G ".*" | grep -v '^\.\.\?$' || true)
if [ -n "$left" ]; then fail "left: $left"; fi
echo "$done_kills kills of ${commands[*]}, $finished had ended before: $torn torn"
exit $((torn > 0))
