//! Which file names are safe to join to a folder.

use std::path::Path;

use crate::error::{Result, bail};

/// No model has names near this long; file systems stop at 255 bytes a part.
const LONGEST: usize = 1024;

/// `name` as a path below some folder.
///
/// Names come from index files and callers nobody checked. Every source passes every name through here before it
/// reaches a path or a URL.
///
/// # Errors
/// `Malformed` for anything but `part/part/...`: `..`, `.`, empty parts, absolute paths, drive letters, backslashes,
/// control characters.
pub(super) fn check(name: &str) -> Result<&Path> {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    let plain = name.len() <= LONGEST
        && !name.contains(|c: char| c == '\\' || c == ':' || c.is_control())
        && name.split('/').all(part);
    if !plain {
        bail!(Malformed, "file name `{}` leaves the model folder", shown(name));
    }
    Ok(Path::new(name))
}

/// `text` of unknown origin, fit for a message: escaped and cut.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
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
    fn hostile_text_is_cut_and_escaped() {
        assert_eq!(shown("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), 201);
    }
}
