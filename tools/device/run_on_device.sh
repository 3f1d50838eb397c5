#!/bin/sh
# Runs the tests of tests/on_device.txt, and then the benchmarks, on a device: a line for each, and status 1 if one failed.
# Where the device is not there it says so and why, and ends with status 0.
#
#     tools/device/run_on_device.sh [--device cuda | cuda:N | coreml | cpu-stock] [--tests | --benches] [options of the benchmarks]
#
# In the source tree it runs them with cargo. `make gpu-suite` makes a folder that needs neither that nor a compiler nor a
# network; there this is called `run`.
#
# ONNX Runtime is the library that ORTSHARD_ONNXRUNTIME names, else the one in the folder (in the source tree:
# target/onnxruntime-gpu, target/onnxruntime), else that of python3's onnxruntime package. CUDA's libraries are looked for
# beside it, in python3's nvidia packages, and where the system looks.

root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHON=${PYTHON:-python3}
device=cuda
parts="tests benches"
while [ $# -gt 0 ]; do
    case $1 in
    --device) device=$2; shift 2 ;;
    --tests | --benches) parts=${1#--}; shift ;;
    *) break ;;
    esac
done

in_folder() { [ -d "$root/bin" ]; }

# ---- libraries ----

python_files() { "$PYTHON" "$root/tools/device/python_files.py" "$1" 2>/dev/null; }

if [ -z "${ORTSHARD_ONNXRUNTIME:-}" ]; then
    gpu="$root/target/onnxruntime-gpu/libonnxruntime.so"
    [ "$device" = cpu-stock ] && gpu=
    for library in "$root/lib/libonnxruntime.so" "$gpu" "$root/target/onnxruntime/libonnxruntime.so" \
        $(python_files 'onnxruntime/capi/libonnxruntime.so.*'); do
        if [ -f "$library" ]; then
            ORTSHARD_ONNXRUNTIME=$library
            break
        fi
    done
fi
if [ -z "${ORTSHARD_ONNXRUNTIME:-}" ]; then
    echo "FAILED: there is no ONNX Runtime in this folder and none in $PYTHON's packages; set ORTSHARD_ONNXRUNTIME to a library"
    exit 1
fi
export ORTSHARD_ONNXRUNTIME
for folder in $(python_files 'nvidia/*/lib'); do
    LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
[ -n "${LD_LIBRARY_PATH:-}" ] && export LD_LIBRARY_PATH

# ---- the device ----

export ORTSHARD_TEST_DEVICE="$device"
if in_folder; then
    export ORTSHARD_TEST_ROOT="$root" ORTSHARD_CACHE="$root/scratch/packed"
    devices="$root/bin/devices"
else
    devices="$root/target/c/devices"
fi
if [ "$device" != cpu-stock ]; then
    there=$("$devices" "$device" 2>&1)
    found=$?
    if [ $found = 2 ]; then
        echo "SKIPPED: nothing was run on $there"
        case $ORTSHARD_ONNXRUNTIME in
        "$root/target/onnxruntime/"*) echo "A GPU is used with an ONNX Runtime that has CUDA: make onnxruntime-gpu" ;;
        esac
        exit 0
    fi
    if [ $found != 0 ]; then
        echo "FAILED  $there"
        exit 1
    fi
    echo "$there"
fi
echo "== $device with $ORTSHARD_ONNXRUNTIME"

# ---- running ----

failures=0

# Runs a command; prints a line that says how it went, and what it printed if it failed.
step() {
    name=$1
    shift
    begin=$(date +%s)
    said=$("$@" 2>&1)
    status=$?
    seconds=$(($(date +%s) - begin))
    counts=$(printf '%s\n' "$said" | sed -n 's/^test result: [a-zA-Z]*\. \([0-9]* passed; [0-9]* failed\);.*/, \1/p')
    if [ $status = 0 ]; then
        echo "ok      $name ($seconds s$counts)"
    else
        echo "FAILED  $name ($seconds s$counts, status $status)"
        failures=$((failures + 1))
    fi
    # Each test of it and what was skipped, or everything where something failed.
    if [ $status = 0 ]; then
        printf '%s\n' "$said" | awk -v program="$name" '
            sub(/.*SKIPPED /, "") { print "SKIPPED     " $0; split($0, words, ": "); skipped[words[1]]; next }
            match($0, /[a-z_]+\.c \.\.\. ok/) { print "ok          " program ": " substr($0, RSTART, RLENGTH - 7); next }
            /^test .* \.\.\. ok$/ && !($2 in skipped) { sub(/.*::/, "", $2); print "ok          " program ": " $2 }'
    else
        printf '%s\n' "$said" | sed 's/^/    /'
    fi
}

run_tests() {
    while read -r name left_out; do
        case $name in '' | '#'*) continue ;; esac
        arguments="$name:: --nocapture"
        for test in $left_out; do arguments="$arguments --skip $name::$test"; done
        # shellcheck disable=SC2086 # words, on purpose
        if in_folder; then
            step "$name" "$root/bin/suite" $arguments </dev/null
        else
            step "$name" "${CARGO:-cargo}" test --locked --manifest-path "$root/Cargo.toml" --test suite -- $arguments </dev/null
        fi
    done <"$root/tests/on_device.txt"
}

for part in $parts; do
    case $part in
    tests) run_tests ;;
    benches)
        bench_device=$device
        [ "$device" = cpu-stock ] && bench_device=cpu
        # Where make puts numpy if python3 has none.
        export PYTHONPATH="$root/target/python${PYTHONPATH:+:$PYTHONPATH}"
        in_folder && set -- --library "$root/lib/libortshard.so" "$@"
        "$PYTHON" "$root/tools/bench/bench_gpu.py" --device "$bench_device" "$@" || failures=$((failures + 1))
        ;;
    esac
done

if [ $failures -gt 0 ]; then
    echo "== $failures failed on $device"
    exit 1
fi
echo "== all passed on $device"
