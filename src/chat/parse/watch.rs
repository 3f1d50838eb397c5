//! Finds the first of some literals in a text that is still growing.

use std::fmt;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind};

/// Literals to watch for.
#[derive(Clone)]
pub(super) struct Watch {
    literals: Vec<&'static str>,
    finder: Option<AhoCorasick>,
}

/// What a look at a text gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A literal: where it starts, and which one it is.
    At(usize, &'static str),
    /// None up to this byte, where one may begin that is not complete.
    NoneUntil(usize),
}

impl Watch {
    pub(super) fn new(literals: Vec<&'static str>) -> Self {
        // Of two at one place, the longer one is meant. A few short literals cannot be too many for the finder.
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&literals).ok();
        Self { literals, finder }
    }

    /// Looks at `text` from the byte `from` on. `complete`: nothing follows, so that nothing can begin at its end.
    ///
    /// A literal counts only if none that is not complete yet begins before it or is longer at its place. So it does
    /// not matter in which parts a text comes.
    pub(super) fn look(&self, text: &str, from: usize, complete: bool) -> Found {
        let begun = if complete { text.len() } else { self.begun(text, from) };
        let first =
            self.finder.as_ref().and_then(|finder| finder.find(Input::new(text).range(from..).anchored(Anchored::No)));
        match first {
            Some(found) if found.start() < begun => Found::At(found.start(), self.literals[found.pattern()]),
            _ => Found::NoneUntil(begun),
        }
    }

    /// Where the end of `text` begins that could become a literal.
    fn begun(&self, text: &str, from: usize) -> usize {
        let longest = self.literals.iter().map(|literal| literal.len()).max().unwrap_or(0);
        let mut place = from.max(text.len().saturating_sub(longest));
        while place < text.len() {
            let end = &text.as_bytes()[place..];
            if self.literals.iter().any(|literal| literal.len() > end.len() && literal.as_bytes().starts_with(end)) {
                return place;
            }
            place += 1;
        }
        text.len()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.literals.fmt(f)
    }
}
