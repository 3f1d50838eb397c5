#!/bin/sh
# Makes a folder of what is installed, which works wherever it is put: `make package`, `make install`.
#
#     package.sh OUT LIB ONNXRUNTIME
#
# LIB is the folder of libraries within it, such as lib or lib/x86_64-linux-gnu. ONNXRUNTIME says which ONNX Runtime goes beside
# the library: `yes` fetches the pinned one, a path names a library or its folder, `no` leaves it to be found.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$1 lib=$2 onnxruntime=$3
here=$root/tools/install built=$root/target/release
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
abi=$(sed -n 's/^#define ORTSHARD_ABI_VERSION //p' "$root/include/ortshard.h")
native=$(cat "$built/native-libs.txt")

rm -rf "$out"
libraries=$out/$lib licences=$out/share/licenses/ortshard
mkdir -p "$libraries/.debug" "$libraries/pkgconfig" "$libraries/cmake/ortshard" "$out/include" "$licences"

# The debugger finds the symbols by the name and checksum that the library keeps of them.
name=libortshard.so.$version
objcopy --only-keep-debug --compress-debug-sections "$built/libortshard.so" "$libraries/.debug/$name.debug"
objcopy --strip-all --add-gnu-debuglink="$libraries/.debug/$name.debug" "$built/libortshard.so" "$libraries/$name"
ln -s "$name" "$libraries/libortshard.so.$abi"
ln -s "libortshard.so.$abi" "$libraries/libortshard.so"
# Bitcode for other compilers of Rust is half of it.
objcopy --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd "$built/libortshard.a" "$libraries/libortshard.a"

# Where the folder above LIB is, seen from a file in LIB/pkgconfig; in LIB/cmake/ortshard it is one further up.
up=$(printf '%s/pkgconfig' "$lib" | sed 's/[^/][^/]*/../g')
fill() {
    sed -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" -e "s|@LIB@|$lib|g" -e "s|@UP@|$up|g" -e "s|@NATIVE@|$native|g" \
        -e "s|@NATIVE_LIST@|$(printf %s "$native" | tr ' ' ';')|g" -e "s|@MAJOR@|${version%%.*}|g" \
        -e "s|@SERIES@|${version%.*}|g" "$here/$1.in" > "$2/$1"
}
fill ortshard.pc "$libraries/pkgconfig"
fill ortshard-static.pc "$libraries/pkgconfig"
fill ortshardConfig.cmake "$libraries/cmake/ortshard"
fill ortshardConfigVersion.cmake "$libraries/cmake/ortshard"

cp "$root"/include/* "$out/include"
cp "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$licences"
cd "$root"
"${PYTHON:-python3}" "$here/licences.py" --out "$licences/THIRD-PARTY.txt"
standard=$("${RUSTC:-rustc}" --print sysroot)/share/doc/rust/COPYRIGHT-library.html
[ ! -e "$standard" ] || cp "$standard" "$licences/rust-standard-library.html"

case $onnxruntime in
no | '') ;;
yes)
    "${PYTHON:-python3}" tools/setup/fetch_onnxruntime.py --licences --out target/onnxruntime-licensed
    mkdir "$licences/onnxruntime"
    cp target/onnxruntime-licensed/LICENSE target/onnxruntime-licensed/ThirdPartyNotices.txt "$licences/onnxruntime"
    cp target/onnxruntime-licensed/libonnxruntime.so "$libraries/libonnxruntime.so.$(cat target/onnxruntime-licensed/version)"
    ;;
*)
    if [ -d "$onnxruntime" ]; then
        found=$(find "$onnxruntime/" -maxdepth 1 -name 'libonnxruntime.so*' | sort -V | tail -n 1)
    else
        found=$onnxruntime
    fi
    case ${found##*/} in
    libonnxruntime.so*) cp -L "$found" "$libraries/" ;;
    *) echo "ONNXRUNTIME=$onnxruntime is neither a libonnxruntime.so nor a folder that holds one" >&2 && exit 1 ;;
    esac
    ;;
esac

find "$out" -type d -exec chmod 755 {} +
find "$out" -type f -exec chmod 644 {} +
find "$libraries" -name 'lib*.so.*' -type f ! -name '*.debug' -exec chmod 755 {} +
# `make uninstall` removes what this lists.
mkdir -p "$out/share/ortshard"
list=$(cd "$out" && find . ! -type d | sed 's|^\./||' | LC_ALL=C sort)
printf '%s\nshare/ortshard/installed.txt\n' "$list" > "$out/share/ortshard/installed.txt"
