//! The committed header is the one that the sources make, C compilers take it, and the library exports exactly what it
//! declares.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const GENERATED: &str = include_str!(env!("ORTSHARD_GENERATED_HEADER"));

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/ortshard.h")
}

/// `make header` sets `ORTSHARD_UPDATE_HEADER`, which makes this test write the file instead.
#[test]
fn the_committed_header_is_up_to_date() {
    if std::env::var_os("ORTSHARD_UPDATE_HEADER").is_some() {
        std::fs::write(committed(), GENERATED).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(committed()).unwrap_or_default();
    let difference = GENERATED.lines().zip(committed.lines()).position(|(new, old)| new != old);
    assert!(
        committed == GENERATED,
        "include/ortshard.h is out of date (first difference in line {}); run `make header` and commit the result",
        difference.unwrap_or_else(|| GENERATED.lines().count().min(committed.lines().count())) + 1
    );
}

#[test]
fn every_function_is_documented() {
    let parts: Vec<&str> = GENERATED.split("\nORTSHARD_API").collect();
    for (before, function) in parts.iter().zip(&parts[1..]) {
        let declaration = function.split(';').next().unwrap();
        let comment = &before[before.rfind("/**").unwrap()..];
        assert!(comment.ends_with("*/"), "no documentation:{declaration}");
        let status = declaration.trim_start().starts_with("ortshard_status ");
        assert!(!status || comment.contains("Errors:"), "no `Errors:` for{declaration}");
        assert!(comment.contains("@since "), "no `@since` for{declaration}");
    }
}

/// The list of functions above each object is complete, and names no other.
#[test]
fn objects_list_their_functions() {
    let mut lists = 0;
    for part in GENERATED.split("typedef struct ").collect::<Vec<_>>().windows(2) {
        let Some((object, _)) = part[1].split_once(' ').filter(|(_, rest)| rest.starts_with("ortshard_")) else {
            continue;
        };
        let comment = &part[0][part[0].rfind("/**").unwrap()..];
        let Some(list) = comment.split("Functions:").nth(1) else { continue };
        let words = list.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.len() > 1);
        let short = words.clone().filter(|word| word.starts_with('_')).map(|word| format!("{object}{word}"));
        let long = words.filter(|word| word.starts_with("ortshard_")).map(str::to_owned);
        let listed: BTreeSet<String> = short.chain(long).collect();
        assert_eq!(listed, taking(object), "functions of {object}");
        lists += 1;
    }
    assert_eq!(lists, 6);
}

/// The functions that take the object, or give it where it is theirs to make.
fn taking(object: &str) -> BTreeSet<String> {
    let declarations = GENERATED.split("\nORTSHARD_API").skip(1).map(|part| part.split(';').next().unwrap());
    let named = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == object);
    let takes = |declaration: &str| {
        let (head, parameters) = declaration.split_once('(').unwrap();
        let function = head.rsplit([' ', '*']).next().unwrap().to_owned();
        let gives = |parameter: &str| parameter.contains("**") && !parameter.contains("*const *");
        let own = function.strip_prefix(object).is_some_and(|rest| rest.starts_with('_'));
        let mut mentions = parameters.split(',').filter(|parameter| named(parameter));
        mentions.any(|parameter| own || !gives(parameter)).then_some(function)
    };
    declarations.filter_map(takes).collect()
}

/// Every failure that a C test provokes is in the list of errors of the function that it provokes it in.
#[test]
fn errors_that_tests_provoke_are_listed() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("c_tests");
    let (mut provoked, mut unlisted) = (0, BTreeSet::new());
    for file in std::fs::read_dir(tests).unwrap().map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for call in text.split("FAILS(").skip(1) {
            let status = call.split(',').next().unwrap();
            let mut parts = call.splitn(3, '"');
            // The text that the message is to contain, and what is behind it.
            let (Some(text), Some(call)) = (parts.nth(1), parts.next()) else { continue };
            // The introduction says of all functions what they give for such a handle.
            if status == "INVALID_ARGUMENT" && text == "freed" {
                continue;
            }
            let function = call.trim_start_matches([',', ' ', '\n']).split('(').next().unwrap();
            if function.starts_with("ortshard_") {
                provoked += 1;
                if !errors(function).contains(status) {
                    unlisted.insert(format!("{function}: {status} ({})", file.file_name().unwrap().display()));
                }
            }
        }
    }
    assert!(provoked > 100 && unlisted.is_empty(), "{unlisted:#?} of {provoked}");
}

/// The statuses that the header lists for a function, with those of the functions that it refers to.
fn errors(function: &str) -> BTreeSet<&'static str> {
    let listed = comment(function).split("Errors:").nth(1).unwrap_or_else(|| panic!("no `Errors:` for {function}"));
    let listed = ["Threads:", "Ownership:", "@since"].iter().fold(listed, |text, end| text.split(end).next().unwrap());
    let words = |text: &'static str| text.split(|c: char| !c.is_ascii_alphanumeric() && !"_()".contains(c));
    let mut all: BTreeSet<&str> = words(listed).collect();
    for others in listed.split("those of").skip(1) {
        let others = words(others).filter(|word| !word.is_empty());
        for other in others.take_while(|word| *word == "and" || word.ends_with("()")).filter(|word| *word != "and") {
            all.extend(errors(other.trim_end_matches("()")));
        }
    }
    all
}

/// What the header says above a function.
fn comment(function: &str) -> &'static str {
    let parts: Vec<&str> = GENERATED.split("\nORTSHARD_API").collect();
    let declares = |part: &str| part.split('(').next().unwrap().rsplit([' ', '*']).next() == Some(function);
    let at = parts.iter().skip(1).position(|part| declares(part)).unwrap_or_else(|| panic!("no function {function}"));
    &parts[at][parts[at].rfind("/**").unwrap()..]
}

#[cfg(target_os = "linux")]
#[test]
fn the_library_exports_what_the_header_declares() {
    let library = std::env::current_exe().unwrap().with_file_name("libortshard.so");
    let symbols = Command::new("nm").args(["--dynamic", "--defined-only", "--format=posix"]).arg(&library).output();
    let Ok(symbols) = symbols else {
        crate::common::skipped("nm is not installed, so the exported symbols were not compared with the header");
        return;
    };
    assert!(symbols.status.success(), "nm {}: {}", library.display(), String::from_utf8_lossy(&symbols.stderr));
    let exported: BTreeSet<String> = String::from_utf8_lossy(&symbols.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(exported, declared());
}

/// The names before every `(` that follow a declaration's type.
fn declared() -> BTreeSet<String> {
    let declarations = GENERATED.split("\nORTSHARD_API").skip(1);
    let names = declarations.map(|declaration| {
        let head = declaration.split('(').next().unwrap();
        head.rsplit([' ', '*']).next().unwrap().to_owned()
    });
    let names: BTreeSet<String> = names.collect();
    assert!(names.len() > 30 && names.iter().all(|name| name.starts_with("ortshard_")), "{names:?}");
    names
}
