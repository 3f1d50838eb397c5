//! The committed header and its JSON are what the sources make, what the header says of functions and errors is so, and the
//! library exports exactly what it declares.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::c;

const HEADER: &str = include_str!(env!("ORTSHARD_GENERATED_HEADER"));
const JSON: &str = include_str!(env!("ORTSHARD_GENERATED_JSON"));

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn json() -> Value {
    serde_json::from_str(JSON).unwrap()
}

/// `make header` sets `ORTSHARD_UPDATE_HEADER`, which makes this test write the files instead.
#[test]
fn the_committed_header_is_up_to_date() {
    for (name, generated) in [("ortshard.h", HEADER), ("ortshard.json", JSON)] {
        let path = root().join("include").join(name);
        if std::env::var_os("ORTSHARD_UPDATE_HEADER").is_some() {
            std::fs::write(path, generated).unwrap();
            continue;
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let difference = generated.lines().zip(committed.lines()).position(|(new, old)| new != old);
        assert!(
            committed == generated,
            "include/{name} is out of date (first difference in line {}); run `make header`, look at what docs/abi.md says \
             of such a change, and commit the result",
            difference.unwrap_or_else(|| generated.lines().count().min(committed.lines().count())) + 1
        );
    }
}

#[test]
fn lines_fit() {
    let long = HEADER.lines().find(|line| line.chars().count() > 120);
    assert_eq!(long, None, "longer than 120 characters");
}

/// Every function is documented, says for how many threads it is, and in words that stand by themselves.
#[test]
fn every_function_is_documented() {
    for (function, declared) in json()["functions"].as_object().unwrap() {
        let comment = comment(function);
        assert!(comment.len() > 30, "no documentation: {function}");
        let initialises = function.ends_with("_init");
        let status = declared["result"] == "ortshard_status" && !initialises;
        assert!(!status || comment.contains("Threads:"), "no `Threads:` for {function}");
        assert!(!comment.contains("The same"), "{function} says what another function says");
    }
}

/// The list of functions above each object is complete, and names no other.
#[test]
fn objects_list_their_functions() {
    let mut lists = 0;
    for object in json()["handles"].as_array().unwrap() {
        let object = object.as_str().unwrap();
        let at = HEADER.find(&format!("\ntypedef struct {object} {object};")).unwrap();
        let comment = &HEADER[HEADER[..at].rfind("/**").unwrap()..at];
        let list = comment.split("Functions:").nth(1).unwrap();
        let words = list.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.len() > 1);
        let short = words.clone().filter(|word| word.starts_with('_')).map(|word| format!("{object}{word}"));
        let long = words.filter(|word| word.starts_with("ortshard_")).map(str::to_owned);
        let listed: BTreeSet<String> = short.chain(long).collect();
        assert_eq!(listed, taking(object), "functions of {object}");
        lists += 1;
    }
    assert_eq!(lists, 9);
}

/// The functions that take the object, or give it where it is theirs to make.
fn taking(object: &str) -> BTreeSet<String> {
    let takes = |(function, declared): (&String, &Value)| {
        let own = function.strip_prefix(object).is_some_and(|rest| rest.starts_with('_'));
        let types = declared["parameters"].as_array().unwrap().iter().map(|one| one[1].as_str().unwrap());
        let mut mentions = types.filter(|kind| kind.trim_start_matches("const ").split(' ').next() == Some(object));
        mentions.any(|kind| own || !kind.ends_with("**")).then(|| function.clone())
    };
    json()["functions"].as_object().unwrap().iter().filter_map(takes).collect()
}

/// The list of contents names every function once, in the order in which they stand.
#[test]
fn the_contents_are_complete() {
    let contents = HEADER.split(" * CONTENTS").nth(1).unwrap().split(" * CONVENTIONS").next().unwrap();
    let words: Vec<&str> = contents.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let mut at = 0;
    for function in json()["functions"].as_object().unwrap().keys().filter(|name| !name.ends_with("_init")) {
        let found = words[at..].iter().position(|word| *word == function.trim_start_matches("ortshard_"));
        at += found.unwrap_or_else(|| panic!("{function} is not in the list of contents, or not in order")) + 1;
    }
}

/// What is named with `()` or in capitals is there.
#[test]
fn names_in_the_text_exist() {
    let json = json();
    let words = HEADER.split(|c: char| !c.is_ascii_alphanumeric() && !"_()*".contains(c));
    for word in words {
        if let Some(function) = word.split_once("()").map(|(function, _)| function.trim_matches(['*', '(']))
            && function.starts_with("ortshard_")
        {
            let known = json["functions"].get(function).is_some() || function.starts_with("ortshard_x_");
            assert!(known, "{function}() is no function");
        }
        if word.starts_with("ORTSHARD_DTYPE") || word.starts_with("ORTSHARD_ERROR") || word.starts_with("ORTSHARD_OOM_")
        {
            let known = json["constants"].get(word).is_some() || word.ends_with("_*") || word == "ORTSHARD_OOM_INIT";
            assert!(known, "{word} is no constant");
        }
    }
}

/// Every status that a list of errors names is one.
#[test]
fn listed_errors_exist() {
    let json = json();
    for (function, _) in json["functions"].as_object().unwrap() {
        let words = errors(function)
            .into_iter()
            .filter(|word| word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
        for word in words.filter(|word| *word != "LOAD" && !word.starts_with("ORTSHARD_")) {
            let constant = format!("ORTSHARD_ERROR_{word}");
            assert!(json["constants"].get(&constant).is_some(), "{function} lists {word}");
        }
    }
}

/// Every failure that a C test provokes is in the list of errors of the function that it provokes it in, or in that of all.
#[test]
fn errors_that_tests_provoke_are_listed() {
    let everywhere = everywhere();
    assert!(everywhere.contains("NULL_ARGUMENT") && everywhere.contains("PANIC"), "{everywhere:?}");
    let (mut provoked, mut unlisted) = (0, BTreeSet::new());
    for file in c::sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        for call in text.split("FAILS(").skip(1) {
            let status = call.split(',').next().unwrap();
            let mut parts = call.splitn(3, '"');
            // The text that the message is to contain, and what is behind it.
            let (Some(text), Some(call)) = (parts.nth(1), parts.next()) else { continue };
            let function = call.trim_start_matches([',', ' ', '\n']).split('(').next().unwrap();
            if function.starts_with("ortshard_") {
                provoked += 1;
                // Of these two any function gives some, and each lists its own.
                let common = match status {
                    "INVALID_ARGUMENT" => OF_ANY_FUNCTION.iter().any(|of_any| text.contains(of_any)),
                    "INVALID_STATE" => text.contains("callback") || text.contains("in use"),
                    _ => everywhere.contains(status),
                };
                if !common && !errors(function).contains(status) {
                    unlisted.insert(format!("{function}: {status} ({})", file.file_name().unwrap().display()));
                }
            }
        }
    }
    assert!(provoked > 100 && unlisted.is_empty(), "{unlisted:#?} of {provoked}");
}

/// What messages say of arguments that any function refuses: handles, sizes of structs and constants.
const OF_ANY_FUNCTION: &[&str] =
    &["freed", "handle", "struct_size", "sizeof", " is ", "not an ORTSHARD", "fit into memory"];

fn words(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !"_()".contains(c)).filter(|word| !word.is_empty())
}

/// What any function may return.
fn everywhere() -> BTreeSet<&'static str> {
    let said = HEADER.split("Any function may return").nth(1).unwrap().split(". ").next().unwrap();
    // INVALID_ARGUMENT and INVALID_STATE are said of all functions for reasons that are all functions'.
    words(said.split(" *   Arguments").next().unwrap()).collect()
}

/// The statuses that the header lists for a function, with those of the functions that it refers to.
fn errors(function: &str) -> BTreeSet<&'static str> {
    let Some(listed) = comment(function).split("Errors:").nth(1) else { return BTreeSet::new() };
    let listed = ["Threads:", "Ownership:"].iter().fold(listed, |text, end| text.split(end).next().unwrap());
    let mut all: BTreeSet<&str> = words(listed).collect();
    for others in listed.split("those of").skip(1) {
        let others = words(others).take_while(|word| *word == "and" || word.ends_with("()"));
        for other in others.filter(|word| *word != "and") {
            all.extend(errors(other.trim_end_matches("()")));
        }
    }
    all
}

/// What the header says above a function.
fn comment(function: &str) -> &'static str {
    let parts: Vec<&str> = HEADER.split("ORTSHARD_API\n").collect();
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
    let declared: BTreeSet<String> = json()["functions"].as_object().unwrap().keys().cloned().collect();
    assert!(declared.len() > 70 && declared.iter().all(|name| name.starts_with("ortshard_")), "{declared:?}");
    assert_eq!(exported, declared);
}
