//! The hub's names: models, revisions, commits, entity tags. Each becomes a path, so each is checked once, here.

use std::fmt;

use crate::error::{Result, bail};
use crate::source::name;

/// A model's name on the hub: `name` or `org/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct HubId(String);

impl HubId {
    /// `text` as a model's name, if it keeps the hub's rules for names.
    pub(in crate::source) fn parse(text: &str) -> Option<Self> {
        let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let part = |part: &str| {
            let bytes = part.as_bytes();
            bytes.len() <= 96
                && bytes.first().is_some_and(word)
                && bytes.last().is_some_and(word)
                && bytes.iter().all(|b| word(b) || matches!(b, b'-' | b'.'))
        };
        #[allow(clippy::case_sensitive_file_extension_comparisons, reason = "the hub compares it so")]
        let forbidden = text.contains("--") || text.contains("..") || text.ends_with(".git");
        (!forbidden && text.split('/').count() <= 2 && text.split('/').all(part)).then(|| Self(text.to_owned()))
    }

    /// The model's folder in the cache.
    pub(in crate::source) fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A branch, a tag or a commit of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Revision(String);

impl Revision {
    /// `text` as a revision; without a text, main.
    ///
    /// # Errors
    /// `InvalidArgument` if `text` cannot be the name of a git reference.
    pub(in crate::source) fn parse(text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or("main");
        if name::check(text).is_err() || text.contains([' ', '?', '*', '[', '~', '^']) || text.len() > 255 {
            bail!(InvalidArgument, "revision `{}` is not a branch, tag or commit", name::shown(text));
        }
        Ok(Self(text.to_owned()))
    }

    /// The commit, if the revision is one: then it cannot move.
    pub(in crate::source) fn pinned(&self) -> Option<Commit> {
        Commit::parse(&self.0)
    }

    /// The revision as it is written.
    pub(in crate::source) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A full commit hash: 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Commit(String);

impl Commit {
    /// `text` as a commit, if it is one.
    pub(in crate::source) fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| Self(text.to_owned()))
    }

    /// The 40 digits.
    pub(in crate::source) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The entity tag of a file's content, which names its blob. Most often it is the content's hash.
#[cfg(any(feature = "download", test))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Etag(String);

#[cfg(any(feature = "download", test))]
impl Etag {
    /// The header `text`, without `W/` and quotes, if it can be a file's name.
    pub(in crate::source) fn parse(text: &str) -> Option<Self> {
        let bare = text.trim().trim_start_matches("W/").trim_matches('"');
        let plain = (1..=128).contains(&bare.len())
            && !bare.starts_with('.')
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        // The cache itself appends `.incomplete` to a tag, so no tag may end so.
        (plain && !bare.ends_with(".incomplete")).then(|| Self(bare.to_owned()))
    }

    /// The tag without quotes.
    pub(in crate::source) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_hubs_rules() {
        let long = "a".repeat(96);
        for good in ["gpt2", "org/name", "Qwen/Qwen2.5-0.5B", "_a/b_", "a/b.c-d", &format!("{long}/{long}")] {
            assert!(HubId::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            ".a",
            "a.",
            "-a",
            "a-",
            "a--b",
            "a..b",
            "a.git",
            "é",
            "a b",
            &format!("{long}a"),
        ] {
            assert!(HubId::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(HubId::parse("a/b").unwrap().folder(), "models--a--b");
    }

    #[test]
    fn revisions_and_tags_cannot_leave_the_cache() {
        for good in ["main", "v1.0", "refs/pr/3", "feature/x"] {
            assert!(Revision::parse(Some(good)).is_ok(), "{good}");
        }
        for bad in ["", "../x", "/x", "a//b", "a\\b", "a b", "a\nb"] {
            assert!(Revision::parse(Some(bad)).is_err(), "{bad}");
        }
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert!(Revision::parse(Some(commit)).unwrap().pinned().is_some());
        assert!(Revision::parse(None).unwrap().pinned().is_none());
        assert_eq!(Etag::parse("W/\"abc\"").unwrap().as_str(), "abc");
        for bad in ["", "\"\"", "../x", "a/b", ".x", "a b", "x.incomplete"] {
            assert!(Etag::parse(bad).is_none(), "{bad}");
        }
    }
}
