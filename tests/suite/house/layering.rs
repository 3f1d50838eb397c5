//! The sources keep the rules of src/lib.rs: which module may use which, where `unsafe` may stand, how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::common::paths::{Modules, PACKAGES};

/// Which modules a module may use. All may use [`COMMON`].
pub(crate) const USES: &[(&str, &[&str])] = &[
    ("ffi", &["chat", "engine", "generation", "grammar", "runtime", "sampler", "tokenizer"]),
    ("generation", &["engine", "grammar", "sampler", "tokenizer"]),
    ("grammar", &["sampler", "tokenizer"]),
    ("engine", &["graph", "kept", "kernels", "model", "plan", "runtime", "sampler", "source", "tokenizer", "weights"]),
    ("model", &["graph", "kernels"]),
    ("runtime", &["graph", "kept", "kernels", "weights"]),
    ("weights", &["graph", "kernels", "source"]),
    ("graph", &["kernels"]),
    ("kernels", &[]),
    ("source", &[]),
    ("plan", &[]),
    ("kept", &["graph", "kernels"]),
    ("sampler", &[]),
    ("tokenizer", &["chat", "source"]),
    ("chat", &[]),
    ("json", &[]),
    ("error", &[]),
];

/// What every module may use.
const COMMON: &[&str] = &["error", "json", "testing"];

/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &["ffi/", "kernels/", "runtime/", "tokenizer/retries.rs", "weights/mapping.rs"];

/// Lines of a source file, tests at its end not counted.
const LONGEST: usize = 450;

struct Source {
    /// Relative to src/.
    path: String,
    /// Lines in front of `#[cfg(test)]`, comments left out.
    lines: Vec<String>,
}

impl Source {
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    fn matches<'a>(&'a self, what: &'a str) -> impl Iterator<Item = &'a String> {
        self.lines.iter().filter(move |line| line.contains(what))
    }
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, files) } else { files.push(path) }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code = |line: &&str| !line.trim_start().starts_with("//");
            Source {
                path: file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(),
                lines: text.lines().filter(code).map(str::to_owned).collect(),
            }
        })
        .collect()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    for source in sources() {
        let module = source.module();
        // A package cannot name what lies outside it.
        if module == "lib" || PACKAGES.contains(&module) {
            continue;
        }
        let (_, allowed) =
            USES.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("{} has no rule", source.path));
        for line in source.matches("crate::") {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                // `use crate::{Engine, ...}`: the crate's own public names.
                let public = used.is_empty() || used.starts_with(char::is_uppercase);
                let fine =
                    used == module || COMMON.contains(&used) || allowed.contains(&used) || (public && module == "ffi");
                assert!(fine, "src/{}: {module} must not use {used}: {line}", source.path);
            }
        }
    }
}

#[test]
fn only_runtime_names_ort() {
    for source in sources().iter().filter(|s| s.module() != "runtime") {
        for line in &source.lines {
            let names = line.contains("use ort::")
                || line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').any(|w| w.starts_with("ort::"));
            assert!(!names, "src/{} names ort: {line}", source.path);
        }
    }
}

#[test]
fn unsafe_stays_in_its_places() {
    for source in sources() {
        if UNSAFE.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        let line = source.lines.iter().find(|line| line.contains("unsafe ") || line.contains("unsafe{"));
        assert!(line.is_none(), "src/{}: {}", source.path, line.unwrap());
    }
}

#[test]
fn only_ffi_exports_symbols() {
    for source in sources().iter().filter(|s| s.module() != "ffi") {
        assert_eq!(source.matches("no_mangle").count(), 0, "src/{} exports a symbol", source.path);
        assert_eq!(source.matches("CStr::from_ptr").count() * usize::from(source.module() != "runtime"), 0);
    }
}

#[test]
fn names_of_graphs_are_typed_once() {
    let literals = |text: &str| -> Vec<String> {
        let quoted = text.split('"').skip(1).step_by(2);
        // Plain words may name other things, too, such as a dimension.
        let telling = |name: &&str| name.len() > 3 && name.chars().any(|c| c == '_' || c.is_uppercase());
        quoted.filter(telling).map(|name| format!("\"{name}\"")).collect()
    };
    let sources = sources();
    let names = sources.iter().find(|source| source.path == "graph/names.rs").unwrap();
    let names: Vec<String> = names.lines.iter().flat_map(|line| literals(line)).collect();
    assert!(names.len() >= 6, "{names:?}");
    for source in sources.iter().filter(|s| s.path != "graph/names.rs") {
        // Elsewhere the same words may be config.json's.
        let prefix = if matches!(source.module(), "graph" | "runtime") { "" } else { "c" };
        for name in names.iter().map(|name| format!("{prefix}{name}")) {
            let again = source.matches(&name).next();
            assert!(again.is_none(), "src/{} types a name of graph/names.rs: {}", source.path, again.unwrap());
        }
    }
}

#[test]
fn no_file_is_long() {
    for source in sources() {
        assert!(source.lines.len() <= LONGEST, "src/{} has {} lines", source.path, source.lines.len());
    }
}

/// Folders some of whose parts, or of those of a folder in them, still use each other in a circle, and why.
const CIRCLES: &[(&str, &str)] = &[
    ("model", "a family is of a type that lies beside the list of all families"),
    (
        "runtime",
        "everything needs the loaded runtime, which holds everything, and the end of a process stops all of it",
    ),
    ("tokenizer", "a stream needs the tokenizer that makes it"),
    ("chat/jinja", "values, calls and scopes of an interpreter need each other by nature"),
    ("chat/jinja/filters", "`map` and `select` find other filters by name"),
    ("chat/jinja/python", "a value may be a dict or an iterator, which hold values"),
    ("chat/jinja/run", "a call runs code, and code calls"),
    ("weights", "loading tells its events by a type that the catalogue needs"),
    ("weights/packs", "the name of a pack is written by a function of the mod.rs"),
];

/// A folder's parts are its files, mod.rs among them, and its folders. Part a uses part b where code in a names what a file of b
/// holds. A façade counts for nothing: what a mod.rs passes on by `pub use` is held by the file that defines it, and the mod.rs
/// does not use it. No part of a folder may use another that uses it, be it through others. Tests are left out.
#[test]
fn parts_of_a_folder_use_each_other_in_one_direction() {
    let mut folders: BTreeMap<String, BTreeMap<(String, String), String>> = BTreeMap::new();
    for ((from, to), path) in modules().uses() {
        let (a, b): (Vec<&str>, Vec<&str>) = (from.split('/').collect(), to.split('/').collect());
        let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        let why = format!("src/{from} names {path} of src/{to}");
        let parts = (a[common].to_owned(), b[common].to_owned());
        folders.entry(a[..common].join("/")).or_default().entry(parts).or_insert(why);
    }
    assert!(folders.contains_key("engine") && folders.contains_key("kernels"), "no uses found: {folders:?}");
    let mut wrong = Vec::new();
    for (folder, uses) in &folders {
        let in_circles = uses.iter().filter(|((from, to), _)| reaches(uses.keys(), to, from));
        let lines: Vec<&str> = in_circles.map(|(_, why)| why.as_str()).collect();
        let known = |known: &str| known == folder || folder.starts_with(&format!("{known}/"));
        if lines.is_empty() && CIRCLES.iter().any(|(known, _)| known == folder) {
            wrong.push(format!("src/{folder} has no circle any more: take it off the list"));
        } else if !lines.is_empty() && !CIRCLES.iter().any(|(folder, _)| known(folder)) {
            wrong.push(format!("src/{folder} has a circle:\n  {}", lines.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether `from` uses `to`, be it through others.
fn reaches<'a>(uses: impl Iterator<Item = &'a (String, String)> + Clone, from: &'a String, to: &String) -> bool {
    let (mut seen, mut left) = (BTreeSet::from([from]), vec![from]);
    while let Some(part) = left.pop() {
        if part == to {
            return true;
        }
        left.extend(
            uses.clone().filter(|(user, _)| user == part).map(|(_, used)| used).filter(|used| seen.insert(used)),
        );
    }
    false
}

#[test]
fn nobody_climbs_out_of_a_top_level_module() {
    let escapes = modules().escapes();
    let lines: Vec<String> = escapes.iter().map(|e| format!("src/{}: {}", e.file, e.path)).collect();
    assert!(lines.is_empty(), "by super:\n{}", lines.join("\n"));
}

/// The modules of all sources but tests.
fn modules() -> Modules {
    let is_test = |path: &str| path.split(['/', '.', '_']).any(|word| matches!(word, "tests" | "testing"));
    let code = sources().into_iter().filter(|source| !is_test(&source.path));
    Modules::read(code.map(|source| (source.path, source.lines.join("\n"))))
}
