//! Lists in documents are true: every test and tool is in its list, and what a list names exists.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const README: &str = "tests/README.md";

/// The table lies between this line and the end of the file.
const BEGIN: &str = "<!-- made from the first sentence of each test file: `make promises` -->\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files in `folder` (a path from the root of the repository) whose names end in `end`, sorted.
fn files(folder: &str, end: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(end));
    names.sort();
    names.into_iter().map(|name| format!("{folder}/{name}")).collect()
}

/// The folders in `folder`, sorted; both are paths from the root of the repository.
fn folders(folder: &str) -> Vec<String> {
    let paths = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect()
}

/// The files of unit tests below `folder`: `tests.rs`, `..._tests.rs`, and all in folders called `tests`.
fn unit_tests(folder: &str) -> Vec<String> {
    let folders = folders(folder);
    let below = folders.iter().flat_map(|folder| unit_tests(folder));
    let end = if folder.ends_with("/tests") { ".rs" } else { "tests.rs" };
    files(folder, end).into_iter().chain(below).collect()
}

/// The comment that a file begins with, in one line.
fn comment(path: &str) -> Option<String> {
    let text = read(path);
    let lines: Vec<&str> = if let Some(rest) = text.strip_prefix("/*") {
        rest.split_once("*/").unwrap().0.lines().map(|line| line.trim().trim_start_matches("* ")).collect()
    } else {
        let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
        lines.map(str::trim).take_while(|line| !line.is_empty()).collect()
    };
    (!lines.is_empty()).then(|| lines.join(" ").trim().to_owned())
}

/// A test file begins with its promise: the first sentence.
fn promise(path: &str) -> Option<String> {
    let comment = comment(path)?;
    let end = comment.find(". ").map_or(comment.len(), |end| end + 1);
    Some(comment[..end].to_owned())
}

fn rows(table: &mut String, heading: &str, folder: &str, paths: &[String]) {
    write!(table, "\n## {heading}\n\n| test | promise |\n|---|---|\n").unwrap();
    for path in paths {
        let promise = promise(path).unwrap_or_else(|| panic!("{path} must begin with a comment: what it promises"));
        assert!(promise.ends_with('.') && promise.len() > 20, "{path} must begin with a sentence: {promise:?}");
        assert!(!promise.contains('|'), "{path}: a table has no room for |: {promise:?}");
        let name = path.strip_prefix(folder).unwrap();
        writeln!(table, "| [{name}](../{path}) | {promise} |").unwrap();
    }
}

/// The files in the folders of `folder` whose names end in `end`, sorted.
fn grouped(folder: &str, end: &str) -> Vec<String> {
    folders(folder).iter().flat_map(|folder| files(folder, end)).collect()
}

/// The files of the suite that hold tests.
fn suite() -> Vec<String> {
    let mut suite = grouped("tests/suite", ".rs");
    suite.retain(|path| !["tests/suite/c/", "tests/suite/common/"].iter().any(|helps| path.starts_with(helps)));
    suite.retain(|path| !path.ends_with("/mod.rs"));
    suite
}

fn table() -> String {
    let (suite, mut c) = (suite(), grouped("c_tests", ".c"));
    c.extend(files("c_tests/cpp", ".cc"));
    let mut units = unit_tests("src");
    // Many need none: they test what the file beside them says. Others only help.
    units.retain(|path| promise(path).is_some() && read(path).contains("#[test]\n"));
    let mut table = String::new();
    rows(&mut table, "Through the Rust API (tests/suite)", "tests/suite/", &suite);
    rows(&mut table, "Through the C interface, and the C++ header on it (c_tests)", "c_tests/", &c);
    rows(&mut table, "Beside the code (src)", "src/", &units);
    table
}

/// Whether tables are to be written instead of compared: `make promises` sets this variable.
fn updates() -> bool {
    std::env::var_os("ORTSHARD_UPDATE_PROMISES").is_some()
}

#[test]
fn the_table_is_made_from_the_tests() {
    let text = read(README);
    let (prose, old) = text.split_once(BEGIN).expect("tests/README.md has lost the line that the table begins after");
    let new = table();
    if updates() {
        std::fs::write(root().join(README), format!("{prose}{BEGIN}{new}")).unwrap();
        return;
    }
    let wrong = new.lines().zip(old.lines()).find(|(new, old)| new != old).unwrap_or_default().0;
    assert!(old == new, "{README} is out of date at {wrong:?}; run `make promises` and commit the result");
}

/// A file that no module names would never run.
#[test]
fn every_file_of_the_suite_is_part_of_it() {
    let names = |parent: &str, name: &str| {
        let declared = [format!("mod {name};"), format!("pub(crate) mod {name};")];
        assert!(read(parent).lines().any(|line| declared.iter().any(|mods| mods == line)), "{parent} lacks {name}");
    };
    for folder in folders("tests/suite") {
        names("tests/suite/main.rs", folder.rsplit('/').next().unwrap());
    }
    for path in suite() {
        let (folder, name) = path.trim_end_matches(".rs").rsplit_once('/').unwrap();
        names(&format!("{folder}/mod.rs"), name);
    }
}

/// A test that is renamed would not be left out any more, and one that is gone is no test.
#[test]
fn the_list_of_device_tests_names_what_exists() {
    let list = read("tests/on_device.txt");
    let lines: Vec<&str> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(lines.len() >= 10, "{lines:?}");
    for line in lines {
        let mut names = line.split(' ');
        let file = format!("/{}.rs", names.next().unwrap());
        let path = suite().into_iter().find(|path| path.ends_with(&file)).unwrap_or_else(|| panic!("no file {file}"));
        let text = read(&path);
        for left_out in names {
            assert!(text.contains(&format!("#[test]\nfn {left_out}() {{\n")), "{path} has no test {left_out}");
        }
    }
}

#[test]
fn architecture_md_tells_who_may_use_whom() {
    const PAGE: &str = "docs/architecture.md";
    let page = read(PAGE);
    let begin = page.find("| module | may use |\n").unwrap();
    let end = begin + page[begin..].find("\n\n").unwrap();
    let mut table = String::from("| module | may use |\n|---|---|");
    for (module, used) in crate::house::layering::USES.iter().filter(|(_, used)| !used.is_empty()) {
        write!(table, "\n| {module} | {} |", used.join(", ")).unwrap();
    }
    if updates() {
        std::fs::write(root().join(PAGE), format!("{}{table}{}", &page[..begin], &page[end..])).unwrap();
        return;
    }
    assert_eq!(&page[begin..end], table, "{PAGE} is out of date; run `make promises` and commit the result");
}

/// The documents, by their paths from the root.
fn documents() -> Vec<String> {
    let pages = ["README.md", "CONTRIBUTING.md", "tests/README.md", "tools/README.md"].map(str::to_owned);
    files("docs", ".md").into_iter().chain(pages).collect()
}

#[test]
fn documents_name_files_that_exist() {
    let mut named = 0;
    for page in documents() {
        let text = read(&page);
        let folder = root().join(&page).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap());
        let links = links.filter(|link| !link.is_empty() && !link.contains("://")).map(|link| folder.join(link));
        // Every other piece between backticks is a name; one with a blank, a star or a bracket is more than a path.
        let quoted = text.split('`').skip(1).step_by(2).filter(|name| !name.contains([' ', '*', '<', '{', '\n']));
        let inside =
            |name: &&str| ["src/", "tests/", "c_tests/", "tools/", "docs/"].iter().any(|top| name.starts_with(top));
        for path in links.chain(quoted.filter(inside).map(|name| root().join(name))) {
            named += 1;
            assert!(path.exists(), "{page} names {}", path.display());
        }
    }
    assert!(named > 100, "{named}");
}

#[test]
fn documents_name_functions_and_types_of_the_header() {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = |text: &str| -> HashSet<String> {
        let names = text.split(|c| !word(c)).filter(|name| name.starts_with("ortshard_"));
        names.map(|name| name.trim_end_matches('_').to_owned()).collect()
    };
    let header = words(&read("include/ortshard.h"));
    for page in documents() {
        for name in words(&read(&page)) {
            assert!(header.contains(&name), "{page} names {name}: the header has none");
        }
    }
}

/// Modules that scripts share are named beside them, some as a folder.
#[test]
fn the_list_of_tools_is_complete() {
    let list = read("tools/README.md");
    for entry in std::fs::read_dir(root().join("tools")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        for file in if folder.is_dir() { files(&format!("tools/{name}"), "") } else { Vec::new() } {
            let file = file.rsplit('/').next().unwrap();
            let known = list.contains(&format!("| {name}/{file} |"))
                || [" ", "("].iter().any(|before| list.contains(&format!("{before}{file} ")));
            assert!(
                known || ["__pycache__", "requirements.txt"].contains(&file),
                "tools/{name}/{file} is not in the list"
            );
        }
    }
    for script in list.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()) {
        assert!(script == "script" || root().join("tools").join(script).exists(), "there is no tools/{script}");
    }
}
