#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# All fuzzers, one after the other, in about MINUTES minutes (10 when it is unset). What the
# machine lacks (clang, atheris) is said and left out. Exit status 1 when anything was found.
set -u
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-.venv/bin/python}
seconds=$((60 * ${MINUTES:-10}))
work=fuzz/work
status=0
mkdir -p "$work"

say() { printf '== %s\n' "$*"; }

say "models, mutated"
if [ -n "${MCUDEPLOY_MODELS:-}" ]; then set -- --folder "$MCUDEPLOY_MODELS"; else set --; fi
"$python" fuzz/mutate.py tflite --cases 100000000 --seconds $((seconds / 2)) \
    --seed "$(date +%j)" "$@" || status=1

for target in board manifest baseline buffers frames; do
    "$python" fuzz/mutate.py "$target" --cases $((seconds * 10)) || status=1
done

if "$python" -c 'import atheris' 2>/dev/null; then
    for target in tflite board frames; do
        say "$target, by coverage"
        mkdir -p "$work/$target"
        "$python" fuzz/coverage.py "$target" -max_total_time=$((seconds / 12)) -timeout=5 \
            -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$work/" \
            "$work/$target" "fuzz/corpus/$target" 2>"$work/$target.log" || { status=1; tail -n 40 "$work/$target.log"; }
        grep -E 'stat::number_of_executed_units|DONE' "$work/$target.log"
    done
else
    say "atheris is not installed: no fuzzing by coverage"
fi

if command -v clang >/dev/null; then
    say "the firmware's frame decoder"
    clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -Ifirmware/runtime fuzz/frame_fuzzer.c firmware/runtime/frame.c firmware/runtime/crc32.c \
        -o "$work/frame_fuzzer" || exit 2
    mkdir -p "$work/firmware"
    "$work/frame_fuzzer" -max_total_time=$((seconds / 12)) -max_len=2048 -print_final_stats=1 \
        -artifact_prefix="$work/" "$work/firmware" fuzz/corpus/frames 2>"$work/firmware.log" ||
        { status=1; tail -n 40 "$work/firmware.log"; }
    grep -E 'stat::number_of_executed_units|DONE' "$work/firmware.log"
else
    say "clang is not installed: the firmware's decoder is not fuzzed"
fi
exit $status
