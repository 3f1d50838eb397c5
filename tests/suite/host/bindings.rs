//! Other languages' tools take the header: as it is, or after the one line that its introduction names.
//!
//! What is not installed is skipped with a loud line; `make bindings` installs what it can, and then runs these.

use std::path::PathBuf;
use std::process::Command;

use crate::c::{self, Build, Setup, succeed};
use crate::common::{Model, device};

const MODEL: &str = "mistral_window";

fn here(name: &str) -> PathBuf {
    c::root().join("tests/bindings").join(name)
}

fn include(name: &str) -> PathBuf {
    c::root().join("include").join(name)
}

/// A folder for what a tool makes.
fn scratch(setup: &Setup, tool: &str) -> PathBuf {
    let folder = setup.folder.join(tool);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn has_python_module(module: &str) -> bool {
    let found = Command::new("python3").args(["-c", &format!("import {module}")]).output();
    found.is_ok_and(|output| output.status.success())
}

/// What the model says after its prompt, as the programs here print it.
fn golden(model: &Model) -> String {
    c::list(&model.greedy[..8]) + "\n"
}

fn skipped(what: &str) -> bool {
    if c::prebuilt() || !device::native_operators() {
        eprintln!("SKIPPED: {what} is tried on the processor, where the library is built");
        return true;
    }
    false
}

#[test]
fn ctypes_by_the_json() {
    if skipped("ctypes") || !c::is_installed("python3") {
        eprintln!("SKIPPED: python3 is not there, so ortshard.json was not used");
        return;
    }
    let setup = Setup::new(Build::Bindings);
    let mut command = Command::new("python3");
    command.arg(c::root().join("tools/bench/peers/binding.py")).arg(setup.library());
    succeed(&mut command, "binding.py");
}

#[test]
fn cffi_after_one_line_of_cpp() {
    if skipped("cffi") || !c::is_installed("cpp") || !has_python_module("cffi") {
        eprintln!("SKIPPED: cpp, python3 or its module cffi is not there");
        return;
    }
    let setup = Setup::new(Build::Bindings);
    let text = scratch(&setup, "cffi").join("declarations.h");
    let line = "cpp -P -DORTSHARD_DECLARATIONS_ONLY ortshard.h";
    assert!(std::fs::read_to_string(include("ortshard.h")).unwrap().contains(line), "the header names another line");
    let mut words = line.split(' ');
    let made = Command::new(words.next().unwrap()).args(words).current_dir(c::root().join("include")).output().unwrap();
    std::fs::write(&text, made.stdout).unwrap();
    let model = Model::open(MODEL);
    let mut command = setup.with_settings(Command::new("python3"), &model);
    command.arg(here("with_cffi.py")).arg(text).arg(include("ortshard.json")).arg(setup.library()).arg(&model.path);
    let output = succeed(&mut command, "cffi");
    assert_eq!(String::from_utf8_lossy(&output.stdout), golden(&model));
}

#[test]
fn ctypesgen_as_it_is() {
    if skipped("ctypesgen") || !c::is_installed("ctypesgen") {
        eprintln!("SKIPPED: ctypesgen is not installed");
        return;
    }
    let setup = Setup::new(Build::Bindings);
    let folder = scratch(&setup, "ctypesgen");
    let mut command = Command::new("ctypesgen");
    command.arg("-L").arg(setup.library().parent().unwrap()).arg("-lortshard");
    command.arg(include("ortshard.h")).arg("-o").arg(folder.join("made_by_ctypesgen.py"));
    succeed(&mut command, "ctypesgen");
    let mut command = Command::new("python3");
    succeed(command.arg(here("with_ctypesgen.py")).arg(&folder).arg(include("ortshard.json")), "what ctypesgen made");
}

#[test]
fn bindgen_as_it_is() {
    if skipped("bindgen") || !c::is_installed("bindgen") {
        eprintln!("SKIPPED: bindgen is not installed");
        return;
    }
    let setup = Setup::new(Build::Bindings);
    let folder = scratch(&setup, "bindgen");
    let (made, program) = (folder.join("made.rs"), folder.join("program"));
    let mut command = Command::new("bindgen");
    command.args(["--no-prepend-enum-name", "--allowlist-item", "(ortshard|ORTSHARD)_.*"]);
    succeed(command.arg(include("ortshard.h")).arg("-o").arg(&made), "bindgen");
    let libraries = setup.library().parent().unwrap().display().to_string();
    let mut command = Command::new("rustc");
    command.env("MADE_BY_BINDGEN", &made).arg("--edition=2021").arg(here("with_bindgen.rs")).arg("-o").arg(&program);
    command.args(["-L", &libraries, "-lortshard", "-C", &format!("link-arg=-Wl,-rpath,{libraries}")]);
    succeed(&mut command, "rustc");
    succeed(&mut Command::new(program), "what bindgen made");
}

#[test]
fn cgo_as_it_is() {
    if skipped("cgo") || !Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: go is not installed");
        return;
    }
    let setup = Setup::new(Build::Bindings);
    let (model, folder) = (Model::open(MODEL), scratch(&setup, "cgo"));
    let (program, libraries) = (folder.join("program"), setup.library().parent().unwrap().display().to_string());
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(&program).arg(".").current_dir(here("cgo"));
    command.env("CGO_CFLAGS", format!("'-I{}' -DORTSHARD_NODISCARD=", c::root().join("include").display()));
    command.env("CGO_LDFLAGS", format!("'-L{libraries}' -lortshard '-Wl,-rpath,{libraries}'"));
    command.env("GOCACHE", folder.join("cache")).env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "1");
    succeed(&mut command, "go build");
    let output = succeed(&mut setup.with_settings(Command::new(program), &model), "cgo");
    assert_eq!(String::from_utf8_lossy(&output.stdout), golden(&model));
}

/// In every standard of C and C++, with warnings that none of them should have.
#[test]
fn every_standard_of_c_and_cpp_takes_it() {
    const WARNINGS: &[&str] = &["-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wundef"];
    const C: &[&str] = &["c89", "c99", "c11", "c17", "c2x"];
    const CPP: &[&str] = &["c++98", "c++11", "c++14", "c++17", "c++20", "c++23"];
    let check = |mut compiler: Command, language: &str, standard: &str| {
        c::check_header(compiler.args(WARNINGS), &[&format!("-std={standard}"), "-x", language]);
    };
    for standard in C {
        check(c::compiler(), "c", standard);
    }
    if !c::is_installed("c++") {
        eprintln!("SKIPPED: c++ is not installed, so the header was not compiled as C++");
        return;
    }
    for standard in CPP {
        check(Command::new("c++"), "c++", standard);
    }
}

/// Nobody has to look at a status that the compiler has been told not to mind, and everybody else is warned.
#[test]
fn a_status_that_nobody_looks_at_is_warned_of() {
    let folder = scratch(&Setup::new(Build::Bindings), "nodiscard");
    let file = folder.join("unused.c");
    std::fs::write(&file, "#include \"ortshard.h\"\nvoid f(ortshard_sampler *s) { ortshard_sampler_reset(s); }\n")
        .unwrap();
    let compiles = |extra: &[&str]| {
        let mut command = c::compiler();
        command.args(["-Werror", "-c", "-o", "/dev/null"]).args(extra).arg("-I").arg(c::root().join("include"));
        command.arg(&file).output().unwrap().status.success()
    };
    assert!(compiles(&["-DORTSHARD_NODISCARD="]));
    assert!(!compiles(&[]), "the compiler does not know warn_unused_result");
}
