#!/bin/sh
# Runs the fuzz targets one after another, each for some seconds: tools/fuzz/fuzz.sh [SECONDS [TARGET...]]
#
# Starts from fuzz/corpus and keeps what it finds in target/fuzz/corpus. The first crash, hang or memory bomb ends it.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-7}
[ $# -gt 0 ] && shift
targets=${*:-config safetensors index state frame generation grammar stop_strings tokenizer tokenizer_config chat_template chat_json answer calls}
out=$PWD/target/fuzz

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzzing needs nightly Rust, which is not installed: rustup toolchain install nightly" >&2
    exit 1
fi
# What libFuzzer needs: the address sanitizer, and coverage of everything that is compiled here. `cfg(fuzzing)` leaves the
# kernels' vector code out, which would take longer to compile than all else.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module
 -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
 -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo +nightly build --release --locked --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$out"
built=$out/$host/release

export TMPDIR="$out/tmp"
mkdir -p "$TMPDIR"
trap 'rm -rf "$TMPDIR"' EXIT
: "${ORTSHARD_ONNXRUNTIME:=$PWD/target/onnxruntime/libonnxruntime.so}"
export ORTSHARD_ONNXRUNTIME
# ONNX Runtime keeps what it allocated once, and a request for too much memory is answered, not fatal.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
for target in $targets; do
    echo "== $target, $seconds s"
    mkdir -p "$out/corpus/$target" "$out/artifacts/$target"
    case $target in
    state | frame | generation | grammar | stop_strings | answer | calls) words= ;;
    chat_template) words=-dict=fuzz/jinja.dict ;;
    *) words=-dict=fuzz/json.dict ;;
    esac
    "$built/$target" "$out/corpus/$target" "fuzz/corpus/$target" $words \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3072 -print_final_stats=1 \
        -artifact_prefix="$out/artifacts/$target/" >"$out/$target.log" 2>&1 || {
        tail -40 "$out/$target.log" >&2
        echo "the whole output: $out/$target.log" >&2
        echo "to reproduce: $built/$target $out/artifacts/$target/NAME" >&2
        echo "once it is mended, keep the input as fuzz/corpus/$target/regression_...: cargo test tries it again" >&2
        exit 1
    }
    grep -E 'executed_units|average_exec' "$out/$target.log"
done
