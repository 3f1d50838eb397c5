//! Pre-tokenizers for texts of any length: they hand on the parts of a text one by one, and keep none.
//!
//! The rules are those of `tokenizers`, whose own code keeps all parts of a text, each with a table of the places
//! that its bytes came from.

use std::sync::LazyLock;

use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::utils::SysRegex;
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior as Behavior};

use super::stream::byte_level;

/// The pattern that is built into `ByteLevel`.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The letter of the GPT-2 alphabet that stands for a byte.
static LETTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut letters = ['\0'; 256];
    for letter in '\u{21}'..='\u{143}' {
        if let Some(byte) = byte_level(letter) {
            letters[usize::from(byte)] = letter;
        }
    }
    letters
});

/// Called with each part.
type Sink<'a> = dyn FnMut(&str) -> tokenizers::Result<()> + 'a;

/// One stage: what is done to a text, and then to each of its parts.
#[derive(Debug)]
enum Stage<'a> {
    /// Cuts at the matches of a pattern, or at everything else.
    Pattern { regex: Regex<'a>, behavior: Behavior, invert: bool },
    /// Cuts at certain characters.
    Characters(fn(char) -> bool, Behavior),
    /// Puts a space in front, unless there is one.
    Space,
    /// Replaces spaces by a mark and puts one in front; then each mark may begin a part.
    Metaspace { mark: char, scheme: PrependScheme, split: bool },
    /// Replaces bytes by letters of the GPT-2 alphabet.
    Bytes,
}

#[derive(Debug)]
enum Regex<'a> {
    Lent(&'a SysRegex),
    Own(SysRegex),
}

/// A pre-tokenizer, taken apart into stages.
#[derive(Debug)]
pub(super) struct Splitter<'a> {
    stages: Vec<Stage<'a>>,
}

impl<'a> Splitter<'a> {
    /// `None` if `pre_tokenizer` has a stage that is not known here.
    pub(super) fn new(pre_tokenizer: Option<&'a PreTokenizerWrapper>) -> Option<Self> {
        let mut stages = Vec::new();
        if let Some(pre_tokenizer) = pre_tokenizer {
            take_apart(pre_tokenizer, &mut stages)?;
        }
        Some(Self { stages })
    }

    /// Calls `sink` with the parts of `text`, in order, none of them empty. `at_start` says that nothing comes before
    /// `text`.
    pub(super) fn run(&self, text: &str, at_start: bool, sink: &mut Sink<'_>) -> tokenizers::Result<()> {
        run(&self.stages, text, at_start, sink)
    }
}

fn take_apart<'a>(pre_tokenizer: &'a PreTokenizerWrapper, stages: &mut Vec<Stage<'a>>) -> Option<()> {
    match pre_tokenizer {
        PreTokenizerWrapper::Sequence(sequence) => {
            sequence.as_ref().iter().try_for_each(|inner| take_apart(inner, stages))?;
        }
        PreTokenizerWrapper::Split(split) => {
            let regex = Regex::Lent(&split.regex);
            stages.push(Stage::Pattern { regex, behavior: split.behavior, invert: split.invert });
        }
        PreTokenizerWrapper::ByteLevel(bytes) => {
            if bytes.add_prefix_space {
                stages.push(Stage::Space);
            }
            if bytes.use_regex {
                let regex = Regex::Own(SysRegex::new(GPT2).ok()?);
                stages.push(Stage::Pattern { regex, behavior: Behavior::Isolated, invert: false });
            }
            stages.push(Stage::Bytes);
        }
        PreTokenizerWrapper::Digits(digits) => {
            let behavior = if digits.individual_digits { Behavior::Isolated } else { Behavior::Contiguous };
            stages.push(Stage::Characters(char::is_numeric, behavior));
        }
        PreTokenizerWrapper::WhitespaceSplit(_) => {
            stages.push(Stage::Characters(char::is_whitespace, Behavior::Removed));
        }
        // Behind other stages it would matter where a part starts in the text, and whether it was changed. No stage
        // here knows that.
        PreTokenizerWrapper::Metaspace(space) if stages.is_empty() => stages.push(Stage::Metaspace {
            mark: space.get_replacement(),
            scheme: space.get_prepend_scheme(),
            split: space.get_split(),
        }),
        _ => return None,
    }
    Some(())
}

fn run(stages: &[Stage<'_>], text: &str, at_start: bool, sink: &mut Sink<'_>) -> tokenizers::Result<()> {
    let Some((stage, rest)) = stages.split_first() else {
        return if text.is_empty() { Ok(()) } else { sink(text) };
    };
    let mut next = |part: &str| run(rest, part, false, sink);
    match stage {
        Stage::Pattern { regex, behavior, invert } => {
            let regex = match regex {
                Regex::Lent(regex) => regex,
                Regex::Own(regex) => regex,
            };
            Parts::new(text, *behavior).cut(regex.find_iter(text), *invert, &mut next)
        }
        Stage::Characters(matches, behavior) => {
            let found = text.match_indices(*matches).map(|(start, found)| (start, start + found.len()));
            Parts::new(text, *behavior).cut(found, false, &mut next)
        }
        Stage::Space if text.starts_with(' ') => next(text),
        Stage::Space => next(&format!(" {text}")),
        Stage::Metaspace { mark, scheme, split } => {
            let mut text = text.replace(' ', mark.encode_utf8(&mut [0; 4]));
            let wanted = *scheme == PrependScheme::Always || *scheme == PrependScheme::First && at_start;
            if wanted && !text.starts_with(*mark) {
                text.insert(0, *mark);
            }
            if !split {
                return next(&text);
            }
            let found = text.match_indices(*mark).map(|(start, found)| (start, start + found.len()));
            Parts::new(&text, Behavior::MergedWithNext).cut(found, false, &mut next)
        }
        Stage::Bytes => next(&text.bytes().map(|byte| LETTERS[usize::from(byte)]).collect::<String>()),
    }
}

/// Collects the parts of a text while matches come in.
struct Parts<'a> {
    text: &'a str,
    behavior: Behavior,
    /// The last part, as long as it may still grow: its place, and whether its last piece was a match.
    held: Option<(usize, usize)>,
    matched: bool,
}

impl<'a> Parts<'a> {
    fn new(text: &'a str, behavior: Behavior) -> Self {
        Self { text, behavior, held: None, matched: false }
    }

    fn cut(
        mut self,
        matches: impl Iterator<Item = (usize, usize)>,
        invert: bool,
        sink: &mut Sink<'_>,
    ) -> tokenizers::Result<()> {
        let mut end = 0;
        for (start, stop) in matches {
            if end != start {
                self.take((end, start), invert, sink)?;
            }
            self.take((start, stop), !invert, sink)?;
            end = stop;
        }
        if end != self.text.len() {
            self.take((end, self.text.len()), invert, sink)?;
        }
        self.give(sink)
    }

    /// Takes the next piece of the text; `is_match` says whether the pattern matched it.
    fn take(&mut self, (start, stop): (usize, usize), is_match: bool, sink: &mut Sink<'_>) -> tokenizers::Result<()> {
        let joins = match self.behavior {
            Behavior::Removed if is_match => return self.give(sink),
            Behavior::Isolated | Behavior::Removed => false,
            Behavior::Contiguous => is_match == self.matched,
            Behavior::MergedWithPrevious => is_match && !self.matched,
            Behavior::MergedWithNext => self.matched && !is_match,
        };
        match &mut self.held {
            Some((_, end)) if joins => *end = stop,
            _ => {
                self.give(sink)?;
                self.held = Some((start, stop));
            }
        }
        self.matched = is_match;
        Ok(())
    }

    fn give(&mut self, sink: &mut Sink<'_>) -> tokenizers::Result<()> {
        match self.held.take().map(|(start, stop)| &self.text[start..stop]) {
            None | Some("") => Ok(()),
            Some(part) => sink(part),
        }
    }
}
