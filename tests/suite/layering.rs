//! The sources keep the rules of src/lib.rs: which module may use which, where `unsafe` may stand, how long a file may be.

use std::path::{Path, PathBuf};

/// Which modules a module may use. All may use [`COMMON`].
pub(crate) const USES: &[(&str, &[&str])] = &[
    ("ffi", &["engine", "runtime", "sampler", "tokenizer"]),
    ("engine", &["graph", "kept", "kernels", "model", "runtime", "sampler", "source", "tokenizer", "weights"]),
    ("model", &["graph", "kernels"]),
    ("runtime", &["graph", "kept", "kernels", "weights"]),
    ("weights", &["graph", "kernels", "source"]),
    ("graph", &["kernels"]),
    ("kernels", &[]),
    ("source", &[]),
    ("kept", &["graph", "kernels"]),
    ("sampler", &[]),
    ("tokenizer", &["source"]),
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
        // The kernels are a package of their own, which cannot name what lies outside it.
        if module == "lib" || module == "kernels" {
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
