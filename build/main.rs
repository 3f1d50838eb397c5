//! Writes the C header, and the same facts as JSON for programs, into `OUT_DIR`, where tests/suite/header.rs compares them with
//! include/; and names the shared library.

mod header;
mod json;
mod source;

use std::error::Error;
use std::path::{Path, PathBuf};

/// The number of the ABI: it changes when programs must be compiled anew.
const ABI: &str = "0";

/// The files of src/ffi that C can see, in a reader's order. A file without `//!` goes on with the section before it.
const FILES: &[&str] = &[
    // What every program needs.
    "basics/version",
    "frame/status",
    "basics/last_error",
    "basics/objects",
    "basics/constants",
    "engine/options",
    "engine/spec",
    "engine/progress",
    "engine/lifecycle",
    "run/shard",
    "run/tensor",
    "run/request_options",
    "run/request",
    "text/sampler",
    "text/tokenizer",
    "text/text_stream",
    // Several requests in a call.
    "run/chain",
    "run/batch",
    // What some programs need.
    "engine/model",
    "engine/lookup",
    "run/state",
    "engine/checkpoint",
    "engine/estimate",
    "engine/files",
    "engine/stats",
    "host/runtime",
    "host/device",
    "host/log",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=src/ffi");

    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let sections = sections(&root.join("src/ffi"))?;
    let preamble = std::fs::read_to_string(root.join("src/ffi/preamble.h"))?;
    let made = [
        ("ORTSHARD_GENERATED_HEADER", "ortshard.h", header::of(&preamble, &sections)?),
        ("ORTSHARD_GENERATED_JSON", "ortshard.json", json::of(&sections)?),
    ];
    for (variable, name, text) in made {
        let path = out.join(name);
        std::fs::write(&path, text)?;
        println!("cargo:rustc-env={variable}={}", path.display());
    }

    println!("cargo:rustc-env=ORTSHARD_ABI_VERSION={ABI}");
    if std::env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libortshard.so.{ABI}");
    }
    Ok(())
}

fn sections(folder: &Path) -> Result<Vec<source::Section>, Box<dyn Error>> {
    let mut sections: Vec<source::Section> = Vec::new();
    for name in FILES {
        let path = folder.join(name).with_extension("rs");
        let text = std::fs::read_to_string(&path)?;
        let read = source::read(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        match sections.last_mut() {
            Some(last) if read.title.is_empty() => last.items.extend(read.items),
            _ => sections.push(read),
        }
    }
    Ok(sections)
}
