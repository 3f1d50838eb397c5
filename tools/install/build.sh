#!/bin/sh
# Builds the library as it is released, into target/release: without a path of this machine in it. Beside it,
# target/release/native-libs.txt has what a program that links the static library needs besides.
set -eu
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
rustc=${RUSTC:-rustc}
[ -z "${CARGO_BUILD_TARGET-}" ] || {
    echo "CARGO_BUILD_TARGET is $CARGO_BUILD_TARGET: for another machine, use cargo-c: cargo cinstall --target $CARGO_BUILD_TARGET" >&2
    exit 1
}
tab=$(printf '\t')
separator=$(printf '\037')

# The folders whose names must not be seen, each with what is seen instead. Cargo unpacks packages only when it fetches them.
$cargo fetch --locked --target "$("$rustc" -vV | sed -n 's/^host: //p')"
home=${CARGO_HOME:-$HOME/.cargo}
folders=$(
    printf '%s\t%s\n' "$(pwd -P)" ortshard
    printf '%s\t%s\n' "$("$rustc" --print sysroot)/lib/rustlib/src/rust" /rustc
    for folder in "$home"/registry/src/* "$home"/git/checkouts; do
        printf '%s\t%s\n' "$folder" crates
    done
)

# Of several options for a path the last one counts, so folders inside others come behind them.
rust=
c=
while IFS=$tab read -r from to; do
    rust="$rust$separator--remap-path-prefix=$from=$to"
    # C compilers' options are split at blanks.
    case $from in *' '*) ;; *) c="$c -ffile-prefix-map=$from=$to" ;; esac
done <<EOF
$folders
EOF
# What the linker can, on Linux: it makes functions of the same machine code one, a twentieth of the library, and calls within the
# library direct ones instead of ones through a table. For that rustc is told that the table is bound lazily, and the linker that it
# is not: what is bound is read-only from the beginning, as without this.
probe=target/release/probe
mkdir -p target/release
for option in -Clink-arg=-Wl,--icf=all "-Crelro-level=partial$separator-Clink-arg=-Wl,-z,relro,-z,now"; do
    if echo 'fn main() {}' | (IFS=$separator && "$rustc" - -o "$probe" $option) 2> /dev/null; then
        rust="$rust$separator$option"
    fi
done
rm -f "$probe"
own=${CARGO_ENCODED_RUSTFLAGS-$(printf %s "${RUSTFLAGS-}" | tr ' ' '\037')}
export CARGO_ENCODED_RUSTFLAGS="${own:+$own$separator}${rust#"$separator"}"
export CFLAGS="${CFLAGS-}$c"
unset RUSTFLAGS

# Wherever else the environment has cargo build.
$cargo rustc --lib --release --locked --target-dir target -- --print native-static-libs=target/release/native-libs.txt
ln -sf libortshard.so target/release/libortshard.so.0
