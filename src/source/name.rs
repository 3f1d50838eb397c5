//! Checks that a file name is safe to join to a folder.

use std::path::Path;

use crate::error::{Result, bail};

/// The longest name, in bytes. No model has names near this long; file systems stop at 255 bytes for each part.
const LONGEST: usize = 1024;

/// `name` as a relative path that stays below its folder.
///
/// Names come from index files and callers, which nobody has checked. Every source checks every name here before it
/// becomes a path or a URL.
///
/// # Errors
/// `Malformed` for anything but `part/part/...`: `..`, `.`, empty parts, absolute paths, drive letters, backslashes,
/// control characters.
pub(super) fn check(name: &str) -> Result<&Path> {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    let fault = if name.is_empty() {
        "is empty"
    } else if name.len() > LONGEST {
        "is too long"
    } else if name.contains('\\') {
        "has a backslash, as on Windows: write `/` between a folder and a file"
    } else if name.contains(char::is_control) {
        "has a control character"
    } else if name.contains(':') {
        "has a colon, which stands for a drive on some systems"
    } else if !name.split('/').all(part) {
        "leaves the model folder"
    } else {
        return Ok(Path::new(name));
    };
    bail!(Malformed, "file name `{}` {fault}", shown(name))
}

/// `name` without empty parts and `.`: `./a//b` becomes `a/b`. An absolute path stays absolute.
pub(crate) fn plain(name: &str) -> String {
    let (root, rest) = name.strip_prefix('/').map_or(("", name), |rest| ("/", rest));
    let parts: Vec<&str> = rest.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.is_empty() { name.to_owned() } else { root.to_owned() + &parts.join("/") }
}

/// `text` of unknown origin as a message shows it: escaped and cut.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// `path` as a message shows it: a long one is cut in the middle.
pub(super) fn place(path: &Path) -> String {
    const MOST: usize = 300;
    const FRONT: usize = 60;
    let text = path.display().to_string();
    let length = text.chars().count();
    if length <= MOST {
        return text;
    }
    let front: String = text.chars().take(FRONT).collect();
    let back: String = text.chars().skip(length - (MOST - FRONT)).collect();
    format!("{front}…{back}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let long = "a".repeat(LONGEST + 1);
        for name in [
            "../b",
            "/etc/passwd",
            "a/../../b",
            "",
            "..",
            ".",
            "a/",
            "a//b",
            "./a",
            "a\0b",
            "..\\b",
            "C:b",
            "C:/b",
            "a\nb",
            &long,
        ] {
            assert_eq!(check(name).map_err(|e| e.kind()), Err(ErrorKind::Malformed), "{name:?}");
        }
        for name in ["model-00001-of-00002.safetensors", "a/b.json", "..a", ".gitattributes", "naïve.txt"] {
            assert!(check(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn parts_that_lead_nowhere_are_dropped() {
        for (name, wanted) in [
            ("a", "a"),
            ("./a", "a"),
            ("././a//b/./c", "a/b/c"),
            ("a/", "a"),
            ("../a", "../a"),
            ("/a", "/a"),
            ("", ""),
            (".", "."),
            ("/", "/"),
        ] {
            assert_eq!(plain(name), wanted);
        }
    }

    #[test]
    fn long_paths_keep_both_ends() {
        let path = format!("/{}/file", "folder/".repeat(800));
        let shown = place(Path::new(&path));
        assert!(shown.starts_with("/folder/") && shown.ends_with("/file") && shown.chars().count() == 301, "{shown}");
    }

    #[test]
    fn hostile_text_is_cut_and_escaped() {
        assert_eq!(shown("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), 201);
    }
}
