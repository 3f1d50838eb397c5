//! `tests/README.md` and `tests/on_device.txt` tell the truth: the tests they name exist, and every scenario has its file named.

use std::collections::BTreeMap;
use std::path::Path;

/// The texts of all Rust and C files below `folder`, by file name.
fn texts(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            texts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "c") {
            *found.entry(name).or_default() += &std::fs::read_to_string(&path).unwrap();
        }
    }
}

/// A test that is renamed would not be left out any more, and one that is gone is no test.
#[test]
fn the_list_of_device_tests_names_what_exists() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let list = std::fs::read_to_string(tests.join("on_device.txt")).unwrap();
    let lines: Vec<&str> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(lines.len() >= 10, "{lines:?}");
    for line in lines {
        let mut names = line.split(' ');
        let file = tests.join("suite").join(names.next().unwrap()).with_extension("rs");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("{line}: there is no {}", file.display()));
        for left_out in names {
            assert!(text.contains(&format!("fn {left_out}(")), "no {left_out} in {}", file.display());
        }
    }
}

#[test]
fn the_table_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    for folder in ["src", "tests", "c_tests"] {
        texts(&root.join(folder), &mut files);
    }
    let table = std::fs::read_to_string(root.join("tests/README.md")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut scenarios = Vec::new();
    let mut named = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        scenarios.extend(cells[1].split(' ').next().and_then(|number| number.parse::<u32>().ok()));
        // Every other piece between backticks is a name.
        let tests = cells[3].split('`').skip(1).step_by(2).filter(|name| !name.starts_with("make "));
        for test in tests {
            named += 1;
            let (file, function) = test.split_once("::").unwrap_or((test, ""));
            let file = if file.contains('.') { file.to_owned() } else { format!("{file}.rs") };
            let text = files.get(&file).unwrap_or_else(|| panic!("{row}\nthere is no {file}"));
            assert!(text.contains(&format!("fn {function}(")) || function.is_empty(), "{row}\nno {function} in {file}");
        }
    }
    assert!(named > 40 && scenarios.is_sorted_by(|a, b| a < b) && scenarios.len() >= 11, "{scenarios:?}");
    for folder in ["tests/suite", "c_tests"] {
        for file in std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let tests = file.extension().is_some_and(|extension| extension == "rs" || extension == "c");
            assert!(
                !tests || name == "main.rs" || table.contains(name.trim_end_matches(".rs")),
                "{folder}/{name} is not in the table"
            );
        }
    }
}
