//! What was promised of the binary interface is kept: the library has all of what each earlier version had, unchanged, and runs
//! programs that were compiled with its header.
//!
//! `make freeze-abi` keeps a version's header and programs in tests/abi.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::c::{self, Build, Setup};
use crate::common::{Model, device, skipped};

const MODEL: &str = "qwen3_16";

/// The folders of earlier versions, and of this one.
fn versions() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/abi");
    let mut versions: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    assert!(!versions.is_empty(), "tests/abi is empty: run `make freeze-abi`");
    versions
}

fn frozen_json(version: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(version.join("include/ortshard.json")).unwrap()).unwrap()
}

fn entries<'a>(json: &'a Value, kind: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    json[kind].as_object().unwrap().iter()
}

/// The types of a function's parameters: their names may change.
fn types(function: &Value) -> Vec<&Value> {
    function["parameters"].as_array().unwrap().iter().map(|parameter| &parameter[1]).collect()
}

fn fields(layout: &Value) -> &[Value] {
    layout["fields"].as_array().unwrap()
}

/// Why programs that know a struct as `old` cannot go on with `new`. Fields may be added at the end where `struct_size` tells
/// which of them a program knows, and not in the padding, which such programs leave as it is.
fn struct_breaks(old: &Value, new: &Value) -> Option<String> {
    if old == new {
        return None;
    }
    let (before, after) = (fields(old), fields(new));
    if let Some(lost) = before.iter().enumerate().find(|(index, field)| after.get(*index) != Some(field)) {
        return Some(format!("{} is not what or where it was", lost.1["name"]));
    }
    if before[0]["name"] != "struct_size" {
        return Some("it has no struct_size, so it must stay as it is".to_owned());
    }
    let end = old["size"].as_u64().unwrap();
    let early = after[before.len()..].iter().find(|field| field["offset"].as_u64().unwrap() < end)?;
    Some(format!("{} lies in the padding of the older struct", early["name"]))
}

/// What an older program needs and this library does not have.
fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, value) in entries(old, "constants").filter(|(name, _)| !name.starts_with("ORTSHARD_VERSION_")) {
        if new["constants"].get(name) != Some(value) {
            broken.push(format!("the constant {name} was {value}"));
        }
    }
    for kind in ["aliases", "callbacks"] {
        for (name, value) in entries(old, kind) {
            let same = match (value.is_object(), new[kind].get(name)) {
                (true, Some(now)) => types(now) == types(value) && now["result"] == value["result"],
                (_, now) => now == Some(value),
            };
            if !same {
                broken.push(format!("the type {name} was {value}"));
            }
        }
    }
    for (name, function) in entries(old, "functions") {
        let now = new["functions"].get(name);
        if !now.is_some_and(|now| types(now) == types(function) && now["result"] == function["result"]) {
            broken.push(format!("the function {name} was {function}"));
        }
    }
    for (name, layout) in entries(old, "structs") {
        let why = new["structs"].get(name).map_or(Some("it is gone".to_owned()), |now| struct_breaks(layout, now));
        broken.extend(why.map(|why| format!("the struct {name}: {why}")));
    }
    for handle in old["handles"].as_array().unwrap() {
        if !new["handles"].as_array().unwrap().contains(handle) {
            broken.push(format!("the handle {handle} is gone"));
        }
    }
    broken
}

#[test]
fn nothing_that_programs_are_compiled_with_has_changed() {
    let today = c::json();
    for version in versions() {
        let frozen = frozen_json(&version);
        if frozen["constants"]["ORTSHARD_ABI_VERSION"] != today["constants"]["ORTSHARD_ABI_VERSION"] {
            continue;
        }
        let broken = breaks(&frozen, &today);
        assert!(
            broken.is_empty(),
            "programs of {} would not run any more, and docs/abi.md says they do (if that version is not released yet: `make \
             freeze-abi`):\n  {}",
            version.file_name().unwrap().to_str().unwrap(),
            broken.join("\n  ")
        );
    }
}

/// The check above sees each kind of change.
#[test]
fn changes_are_seen() {
    let old = c::json();
    let sees = |path: &str, value: Value| {
        let mut new = old.clone();
        *new.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = value;
        let broken = breaks(&old, &new);
        assert_eq!(broken.len(), 1, "{path}: {broken:?}");
    };
    sees("/constants/ORTSHARD_ERROR_IO", 299.into());
    sees("/functions/ortshard_request_position/parameters/1/1", "int64_t *".into());
    sees("/functions/ortshard_version/result", "void".into());
    sees("/aliases/ortshard_status", "int64_t".into());
    sees("/callbacks/ortshard_progress_callback/result", "void".into());
    sees("/structs/ortshard_oom/fields/1/offset", 12.into());
    sees("/structs/ortshard_tensor/fields/2/size", 64.into());
    sees("/handles/0", "ortshard_other".into());

    let field =
        |name: &str, offset: u64| serde_json::json!({"name": name, "type": "int32_t", "offset": offset, "size": 4});
    let with = |name: &str, offset: u64| {
        let mut new = old.clone();
        let layout = &mut new["structs"][name];
        layout["fields"].as_array_mut().unwrap().push(field("later", offset));
        layout["size"] = (offset + 8).into();
        breaks(&old, &new)
    };
    let size = |name: &str| old["structs"][name]["size"].as_u64().unwrap();
    assert_eq!(with("ortshard_oom", size("ortshard_oom")), Vec::<String>::new());
    assert!(with("ortshard_tensor", size("ortshard_tensor"))[0].contains("no struct_size"));
    let padded = "ortshard_runtime_info";
    assert!(with(padded, size(padded) - 4)[0].contains("padding"));
    let mut new = old.clone();
    new["functions"]["ortshard_more"] = serde_json::json!({"result": "void", "parameters": []});
    new["constants"]["ORTSHARD_MORE"] = 1.into();
    assert_eq!(breaks(&old, &new), Vec::<String>::new());
}

#[test]
fn programs_of_earlier_versions_run() {
    if c::prebuilt() || !device::native_operators() {
        skipped("programs of earlier versions are run on the processor, where the library is built");
        return;
    }
    let (setup, model) = (Setup::new(Build::Earlier), Model::open(MODEL));
    for version in versions() {
        let programs = setup.compile_earlier(&version);
        assert!(programs.len() > 10, "{}: {} programs", version.display(), programs.len());
        for program in programs {
            setup.run(&program, &model);
        }
    }
}
