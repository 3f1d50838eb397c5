#!/usr/bin/env bash
# What `make install` puts somewhere works there: programs in C and C++ are compiled, linked and run with it, by pkg-config and by
# CMake, with the shared and the static library and as a plugin, with nothing in the environment, and again after all of it was moved.
#
#     tests/install/run.sh PACKAGE ONNXRUNTIME
#
# PACKAGE is what tools/install/package.sh made, ONNXRUNTIME the library that goes beside it. What is missing here is SKIPPED.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
package=$(realpath "$1") onnxruntime=$(realpath "$2")
work=$root/target/install-tests
story=$root/models/stories
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
strict=(-std=c11 -Wall -Wextra -Wpedantic -Werror)
strict_cpp=(-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror)
CC=${CC:-cc} CXX=${CXX:-c++}

ok() { echo "install: $1 ... ok"; }
skipped() { echo "SKIPPED: install: $1"; }
fail() {
    echo "install: $1 ... FAILED" >&2
    exit 1
}

# The most that the shared library may take, in bytes.
most=12000000

# Runs a program with nothing in the environment, somewhere else: it must tell a story, the same as every other.
tells() {
    local said
    said=$(cd / && env -i "$@" "$story") || fail "$*"
    [ "${#said}" -gt 100 ] || fail "$*: $said"
    [ "$said" = "${told:=$said}" ] || fail "$*: tells another story: $said"
}

rm -rf "$work"
mkdir -p "$work"

# ---- for whom it is built ----

if said=$(CARGO_BUILD_TARGET=other tools/install/build.sh 2>&1); then fail "built for another machine"; fi
[[ $said == *"cargo cinstall --target other"* ]] || fail "for another machine: $said"
ok "not for another machine"

# ---- where it is put ----

put() { make --no-print-directory install-package DESTDIR="$work/first" PREFIX=/opt/ortshard > /dev/null; }
[ "$package" = "$root/target/package" ] || fail "$package is not what install-package takes"
mkdir -p "$work/first/opt/ortshard/lib"
echo other > "$work/first/opt/ortshard/lib/other"
put && put
prefix=$work/first/opt/ortshard
[ "$(readlink "$prefix/lib/libortshard.so.0")" = "libortshard.so.$version" ] || fail "the links"
readelf -d "$prefix/lib/libortshard.so" | grep -q 'SONAME.*\[libortshard.so.0\]' || fail "the soname"
listed=$(sort "$prefix/share/ortshard/installed.txt")
there=$(cd "$prefix" && find . ! -type d | sed 's|^\./||' | grep -v '^lib/other$' | LC_ALL=C sort)
[ "$(LC_ALL=C sort <<< "$listed")" = "$there" ] || fail "the list of what is installed"
ok "DESTDIR, PREFIX, links, soname"

make --no-print-directory uninstall DESTDIR="$work/first" PREFIX=/opt/ortshard
[ "$(cd "$work/first" && find . -type f)" = ./opt/ortshard/lib/other ] || fail "uninstall: $(find "$work/first" -type f)"
[ ! -e "$prefix/include" ] || fail "uninstall left a folder"
put
ok "uninstall leaves what is not ours"

# ---- what is in it ----

library=$prefix/lib/libortshard.so.$version
symbols=$prefix/lib/.debug/libortshard.so.$version.debug
size=$(stat -c %s "$library")
[ "$size" -le "$most" ] || fail "libortshard.so has $size bytes, more than $most"
! readelf -S "$library" | grep -q '\.debug_' || fail "the library is not stripped"
readelf -S "$symbols" | grep -q '\.debug_info' || fail "there are no debug symbols"
readelf --string-dump=.gnu_debuglink "$library" | grep -q "libortshard.so.$version.debug" || fail "no link to the debug symbols"
readelf -d "$library" | grep -q 'Flags:.* NOW' && readelf -l "$library" | grep -q GNU_RELRO || fail "what is bound can be written"
ok "the library has $size bytes, and its debug symbols lie apart"

# Paths shorter than this are everybody's.
objcopy --decompress-debug-sections "$symbols" "$work/symbols"
for path in "$root" "${CARGO_HOME:-$HOME/.cargo}" "$(rustc --print sysroot)"; do
    [ "${#path}" -gt 4 ] || continue
    for file in "$library" "$prefix/lib/libortshard.a" "$work/symbols"; do
        ! grep -qaF "$path" "$file" || fail "${file##*/} has the build path $path"
    done
    ! grep -rqaF "$path" "$prefix/lib/pkgconfig" "$prefix/lib/cmake" "$prefix/share" || fail "a file has the build path $path"
done
ok "no path of this machine is in it"

licences=$prefix/share/licenses/ortshard
for name in tokenizers ring onig_sys rustls; do
    grep -q "^  $name [0-9]" "$licences/THIRD-PARTY.txt" || fail "no licence of $name"
done
grep -q "K.Kosako" "$licences/THIRD-PARTY.txt" || fail "no licence of Oniguruma's C code"
grep -q "Permission is hereby granted" "$licences/LICENSE-MIT" || fail "no licence of our own"
ok "licences of all that is linked"

# ---- programs ----

# A name with a version, as in the packages of Python and Node.
beside=libonnxruntime.so.1.31.1

by_pkg_config() { # PREFIX OUT
    local pc=(env "PKG_CONFIG_PATH=$1/lib/pkgconfig" pkg-config) out=$2
    mkdir -p "$out"
    cp -L "$onnxruntime" "$1/lib/$beside"
    ln -sf "$1/lib/$beside" "$out/$beside"
    [ "$("${pc[@]}" --modversion ortshard)" = "$version" ] || fail "the version in ortshard.pc"
    # pkg-config quotes as the shell does.
    local folder shared shared_static whole
    eval "folder=$("${pc[@]}" --variable=libdir ortshard)"
    eval "shared=($("${pc[@]}" --cflags --libs ortshard))"
    eval "shared_static=($("${pc[@]}" --static --cflags --libs ortshard))"
    eval "whole=($("${pc[@]}" --cflags --libs ortshard-static))"

    "$CC" "${strict[@]}" tests/install/story.c "${shared[@]}" -Wl,-rpath,"$folder" -o "$out/shared"
    tells "$out/shared"
    # What --static adds harms nobody who has the shared library.
    "$CC" "${strict[@]}" tests/install/story.c "${shared_static[@]}" -Wl,-rpath,"$folder" -o "$out/shared-static"
    tells "$out/shared-static"

    "$CC" "${strict[@]}" tests/install/story.c "${whole[@]}" -o "$out/whole"
    ! readelf -d "$out/whole" | grep -q libortshard || fail "the static program needs the shared library"
    ! readelf -lW "$out/whole" | grep GNU_STACK | grep -q RWE || fail "the static program has a stack that can be executed"
    tells "$out/whole"

    "$CC" "${strict[@]}" -shared -fPIC tests/install/plugin.c "${whole[@]}" -o "$out/plugin.so"
    "$CC" "${strict[@]}" tests/install/host.c -ldl -o "$out/host"
    only_tell "$out/plugin.so"
    tells "$out/host" "$out/plugin.so"
}

# A plugin shows its host one function and nothing of what is in it.
only_tell() {
    local shown
    shown=$(nm -D --defined-only --format=posix "$1" | grep -v -E '^(_init|_fini|_edata|_end|__bss_start) ' | cut -d' ' -f1)
    [ "$shown" = tell ] || fail "$1 exports $(wc -w <<< "$shown") symbols"
}

by_cmake() { # PREFIX OUT
    local out=$2
    mkdir -p "$out"
    cmake -S tests/install/cmake -B "$out" -DCMAKE_PREFIX_PATH="$1" > "$out.log" && cmake --build "$out" >> "$out.log" ||
        { cat "$out.log" && fail "CMake"; }
    ln -sf "$1/lib/$beside" "$out/$beside"
    tells "$out/shared"
    tells "$out/whole"
    tells "$out/cpp"
    only_tell "$out/libplugin.so"
    tells "$work/host" "$out/libplugin.so"
}

mv "$work/first" "$work/moved once"
prefix="$work/moved"
mv "$work/moved once/opt/ortshard" "$prefix"
have_cmake=$(command -v cmake || :)
for place in "$prefix" "$work/moved again"; do
    [ "$place" = "$prefix" ] || { mv "$prefix" "$place" && prefix=$place; }
    if command -v pkg-config > /dev/null; then
        by_pkg_config "$prefix" "$work/pkg-config"
        ok "pkg-config: shared, static, plugin, with an empty environment, in ${prefix##*/}"
    else
        skipped "pkg-config is not there"
    fi
    "$CC" "${strict[@]}" tests/install/host.c -ldl -o "$work/host"
    if [ -n "$have_cmake" ]; then
        rm -rf "$work/cmake"
        cp -L "$onnxruntime" "$prefix/lib/$beside"
        by_cmake "$prefix" "$work/cmake"
        ok "CMake: shared, static, plugin, C++, in ${prefix##*/}"
    else
        skipped "CMake is not there"
    fi
done

# ---- C++ ----

for compiler in g++ clang++; do
    command -v $compiler > /dev/null || { skipped "$compiler is not there" && continue; }
    for standard in c++17 c++20 c++2b; do
        $compiler -std=$standard "${strict_cpp[@]}" -I"$prefix/include" examples/generate.cpp -L"$prefix/lib" -lortshard \
            -Wl,-rpath,"$prefix/lib" -o "$work/cpp"
        tells "$work/cpp"
    done
    # `make test` has them run in C++17.
    for program in c_tests/cpp/*.cc; do
        exceptions=-fexceptions
        [ "${program##*/}" != no_exceptions.cc ] || exceptions=-fno-exceptions
        $compiler -std=c++2b $exceptions "${strict_cpp[@]}" -I"$prefix/include" -fsyntax-only "$program"
    done
    ok "ortshard.hpp with $compiler"
done

# ---- the binary interface ----

exported=$(nm -D --defined-only --format=posix "$prefix/lib/libortshard.so" | cut -d' ' -f1 | sort)
for frozen in tests/abi/*/; do
    name=$(basename "$frozen")
    for function in $("${PYTHON:-python3}" -c "
import json, sys
print(*json.load(open(sys.argv[1]))['functions'])" "$frozen/include/ortshard.json"); do
        grep -qx "$function" <<< "$exported" || fail "$function of $name is not exported"
    done
    if ! command -v abidiff > /dev/null; then
        skipped "abidiff is not there (Debian: abigail-tools)"
        continue
    fi
    library_of() { # FOLDER OUT
        "${PYTHON:-python3}" tests/install/stubs.py "$1/ortshard.json" > "$2.c"
        "$CC" -g -shared -fPIC -DORTSHARD_NODISCARD= -Wno-unused-parameter -I"$1" "$2.c" -o "$2.so"
    }
    library_of "$frozen/include" "$work/abi-$name"
    library_of "$prefix/include" "$work/abi-now"
    "${PYTHON:-python3}" tests/install/stubs.py --growing "$frozen/include/ortshard.json" > "$work/growing.suppr"
    # Structs that may grow are left out of the first comparison, changed or not. In the second they may have grown, and nothing else.
    compare=(abidiff --no-added-syms "$work/abi-$name.so" "$work/abi-now.so")
    "${compare[@]}" --suppressions "$work/growing.suppr" || fail "abidiff finds what programs of $name cannot take"
    "${compare[@]}" > "$work/abidiff.log" || [ $? -eq 4 ] || { cat "$work/abidiff.log" && fail "abidiff"; }
    ! grep -E 'data member (change|deletion)|changed:$' "$work/abidiff.log" | grep -v "'struct ortshard_.* changed:$" ||
        { cat "$work/abidiff.log" && fail "a field that programs of $name know has changed"; }
    ok "abidiff: nothing that programs of $name know has changed"
done
