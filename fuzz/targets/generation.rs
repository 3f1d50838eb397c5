#![no_main]

libfuzzer_sys::fuzz_target!(init: ortshard_fuzz::catch_panics(), |data: &[u8]| ortshard_fuzz::generation::run(data));
