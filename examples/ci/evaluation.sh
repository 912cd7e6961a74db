#!/bin/sh
# The suite of a posture, wherever a shell runs. Usage: evaluation.sh DIR
# Ends with 0 if everything holds, 1 if something does not, 2 if it could not run.
set -u
dir=${1:?the folder with countersign.yaml}
worst=0
step() {
    "$@" || { code=$?; [ "$code" -le "$worst" ] || worst=$code; }
}
step countersign check "$dir"
step countersign eval generate "$dir"
step countersign eval run "$dir" --format text
step countersign eval run "$dir" --agent hijacked
exit "$worst"
