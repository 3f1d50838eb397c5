//! Writes the C header into `OUT_DIR`, where tests/suite/header.rs compares it with include/ortshard.h, and names the shared
//! library.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The header's sections in reading order, simple things first: the files of src/ffi that C can see.
const SECTIONS: &[&str] = &[
    "objects",
    "version",
    "status",
    "last_error",
    "model",
    "engine",
    "stats",
    "lookup",
    "audit",
    "estimate",
    "checkpoint",
    "shard",
    "tensor",
    "request",
    "batch",
    "chain",
    "state",
    "sampler",
    "next_token",
    "tokenizer",
    "text_stream",
    "runtime",
    "device",
    "log",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=src/ffi");

    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let header = PathBuf::from(std::env::var("OUT_DIR")?).join("ortshard.h");
    std::fs::write(&header, write_header(&root)?)?;
    println!("cargo:rustc-env=ORTSHARD_GENERATED_HEADER={}", header.display());

    // The number is that of the ABI: it changes when programs must be compiled anew.
    if std::env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libortshard.so.0");
    }
    Ok(())
}

fn write_header(root: &Path) -> Result<String, Box<dyn Error>> {
    let folder = root.join("src/ffi");
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    let mut header = String::from(std::fs::read_to_string(folder.join("preamble.h"))?.trim_end());
    for name in SECTIONS {
        let file = folder.join(name).with_extension("rs");
        let source = std::fs::read_to_string(&file)?;
        let mut declarations = Vec::new();
        // File by file, so that an object's constants, types and functions stand together. Types of other files stay
        // unresolved, which in C is all the same.
        cbindgen::Builder::new().with_config(config.clone()).with_src(&file).generate()?.write(&mut declarations);
        let declarations = tidy(String::from_utf8(declarations)?.trim());
        write!(header, "\n\n{}\n{}", title(&source), with_macros(&declarations, &source))?;
    }
    header.push_str("\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* ORTSHARD_H */\n");
    Ok(header)
}

/// A file's `//!` text as a comment that opens a section.
fn title(source: &str) -> String {
    let rule = "=".repeat(114);
    let mut title = format!("/* {rule}\n");
    for line in source.lines().map_while(|line| line.strip_prefix("//!")) {
        title.push_str(" *");
        title.push_str(line);
        title.push('\n');
    }
    title + " * " + &rule + " */\n"
}

/// The declarations with comments of one sentence on one line, and with types under their short names.
fn tidy(declarations: &str) -> String {
    let mut tidy: Vec<String> = Vec::new();
    for line in declarations.lines() {
        if let (" */", [.., open, text]) = (line.trim_start_matches("    "), tidy.as_mut_slice())
            && open.trim() == "/**"
        {
            open.push_str(text.trim_start().trim_start_matches('*'));
            open.push_str(" */");
            tidy.pop();
        } else {
            let declares = line.starts_with("typedef struct");
            tidy.push(if declares { line.to_owned() } else { line.replace("struct ortshard_", "ortshard_") });
        }
    }
    tidy.join("\n")
}

/// The declarations with the file's `//#` lines, which are C already, between types and functions.
fn with_macros(declarations: &str, source: &str) -> String {
    let macros: Vec<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("//#"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    if macros.is_empty() {
        return declarations.to_owned();
    }
    let first_function = declarations.find("ORTSHARD_API").unwrap_or(declarations.len());
    let its_comment = declarations[..first_function].rfind("/**").unwrap_or(first_function);
    let (types, functions) = declarations.split_at(its_comment);
    format!("{types}{}\n\n{functions}", macros.join("\n"))
}
