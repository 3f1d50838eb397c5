#!/bin/sh
# Keeps the binary interface of this version for all later ones, in tests/abi: its header, and programs compiled with it.
# `make freeze-abi`, at a release or, before the first, after any change of the header.
set -eu
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
out=tests/abi/$version
rm -rf "$out"
mkdir -p "$out/include" "$out/programs"
cp include/ortshard.h include/ortshard.json "$out/include"
cp c_tests/check.h c_tests/model.h "$out/programs"
# What holds in every later version: not what unknown constants and fields do, or how many there are.
for program in abi/free_order abi/last_error abi/null_args abi/reentry abi/statuses memory/memory_limit requests/batch \
    requests/chain requests/flat requests/state shards/checkpoint shards/partition shards/whole_model text/chat text/generation \
    text/sampler text/text_stream text/tokenizer; do
    cp "c_tests/$program.c" "$out/programs"
done
echo "wrote $out"
