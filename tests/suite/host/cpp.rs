//! The C++ header compiles without a warning in every standard since C++17, with exceptions and without, reaches the whole C
//! interface, and keeps what it says of errors, callbacks and ranges.

use std::process::Command;

use crate::c::{self, Build, Setup};
use crate::common::{self, Model, device, skipped};

const MODEL: &str = "qwen3_16";
const WITHOUT_EXCEPTIONS: &str = "no_exceptions";
const STANDARDS: &[&str] = &["-std=c++17", "-std=c++20", "-std=c++2b"];

/// What the C++ header does by other means: macros initialise structs.
const NOT_REACHED: &str = "_init";

fn skip() -> bool {
    if c::prebuilt() || !device::native_operators() {
        skipped("C++ is tried on the processor, where the library is built");
        return true;
    }
    if !c::is_installed("c++") {
        skipped("c++ is not installed");
        return true;
    }
    false
}

#[test]
fn programs_in_cpp() {
    if skip() {
        return;
    }
    let (setup, model) = (Setup::new(Build::Cpp), Model::open(MODEL));
    let mut names: Vec<String> = c::sources()
        .filter(|path| path.extension().is_some_and(|end| end == "cc") && path.parent().unwrap().ends_with("cpp"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let flags: &[&str] = if name == WITHOUT_EXCEPTIONS { &["-fno-exceptions"] } else { &[] };
        setup.run(&setup.compile_cpp(&name, flags), &model);
    }
}

#[test]
fn the_header_in_every_standard() {
    if skip() {
        return;
    }
    let compilers: Vec<&str> = ["g++", "clang++"].into_iter().filter(|compiler| c::is_installed(compiler)).collect();
    if compilers.len() < 2 {
        skipped(&format!("of g++ and clang++ there is only {compilers:?}"));
    }
    for compiler in compilers {
        for standard in STANDARDS {
            for exceptions in ["-fexceptions", "-fno-exceptions"] {
                let mut command = Command::new(compiler);
                c::check_cpp_header(command.args([standard, exceptions]));
            }
        }
    }
}

#[test]
fn the_whole_c_interface_is_reached() {
    let header = std::fs::read_to_string(common::root().join("include/ortshard.hpp")).unwrap();
    let code: String = header.split_once("#ifndef ORTSHARD_HPP").unwrap().1.to_owned();
    let names: std::collections::HashSet<&str> = code
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("ortshard_"))
        .collect();
    let json = c::json();
    let functions = json["functions"].as_object().unwrap().keys();
    let missing: Vec<_> =
        functions.filter(|name| !name.ends_with(NOT_REACHED) && !names.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "include/ortshard.hpp has nothing for {missing:?}");
}

#[test]
fn the_example_tells_a_story() {
    if skip() {
        return;
    }
    let source = std::fs::read_to_string(common::root().join("examples/generate.cpp")).unwrap();
    let body = source.split_once("int main").unwrap().1;
    assert!(body.lines().count() <= 15, "{body}");
    let program = Setup::new(Build::Cpp).compile_cpp_example("generate");
    let stories = common::root().join("models/stories");
    let said = program.output(&[stories.to_str().unwrap(), "One rainy morning"]);
    assert!(said.starts_with("One rainy morning") && said.len() > 100, "{said}");
}
