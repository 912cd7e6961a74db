#!/bin/sh
# A posture's proofs and its suite, wherever a shell runs. Usage: evaluation.sh DIR [REVISION]
# With a revision, such as origin/main, also what is newly permitted since: that is to be read, and fails nothing.
# Ends with 0 if everything holds, 1 if something does not, 2 if it could not run. Proofs need cvc5.
set -u
dir=${1:?the folder with countersign.yaml}
worst=0
step() {
    "$@" || { code=$?; [ "$code" -le "$worst" ] || worst=$code; }
}
step countersign check "$dir"
if [ -n "${2-}" ]; then
    countersign posture diff "git:$2" "$dir" || [ $? = 1 ] || worst=2
fi
step countersign posture prove "$dir"
step countersign eval generate "$dir"
step countersign eval run "$dir" --format text
step countersign eval run "$dir" --agent hijacked
exit "$worst"
