//! Compiles calls.c, which calls the library as C programs do: through its header.

fn main() {
    println!("cargo:rerun-if-changed=calls.c");
    println!("cargo:rerun-if-changed=../include/ortshard.h");
    cc::Build::new().file("calls.c").include("../include").std("c11").compile("fuzz_calls");
}
