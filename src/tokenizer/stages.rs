//! How a tokenizer's decoder can be run token by token.
//!
//! A decoder is a chain of stages over a list of tokens. Almost every chain in use has the shape *each, join, then,
//! lead*: stages that look at one token and whether it is the first; then one that turns tokens into one text; then
//! ones that replace single characters of it; then one that strips its start. Such a decoder streams exactly. With
//! any other, all tokens are decoded together at the end.

use tokenizers::{Decoder, DecoderWrapper};

use DecoderWrapper as Stage;

/// A decoder, taken apart into stages that stream.
#[derive(Debug)]
pub(super) struct Stages {
    each: Vec<Each>,
    /// How tokens become one text.
    pub(super) join: Join,
    /// Replacements of characters in the joined text.
    then: Vec<Replacement>,
    /// A character that is stripped from the start of the text, and how many times at most.
    pub(super) lead: (char, usize),
}

/// How tokens become one text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// Their texts are joined without a space.
    Text,
    /// Their texts are joined with a space between, as `tokenizers` does without a decoder.
    Spaced,
    /// Their letters are bytes in the GPT-2 alphabet; bytes that are not UTF-8 become U+FFFD.
    ByteLevel,
    /// Runs of tokens like `<0x0A>` are bytes; a run that is not UTF-8 becomes one U+FFFD per byte.
    ByteFallback,
    /// The decoder is not known to stream: it needs all tokens.
    Whole,
}

/// A stage that looks at one token.
#[derive(Debug)]
enum Each {
    /// One that needs no memory of its own for it.
    Replace(Replacement),
    /// One that does that with all tokens but the first.
    ReplaceLater(Replacement, Box<Stage>),
    Other(Box<Stage>),
}

/// A character that becomes a text, wherever it occurs.
#[derive(Debug)]
struct Replacement {
    character: char,
    text: String,
}

impl Stages {
    pub(super) fn new(decoder: Option<&Stage>) -> Self {
        let Some(decoder) = decoder else {
            return Self { each: Vec::new(), join: Join::Spaced, then: Vec::new(), lead: (' ', 0) };
        };
        let mut stages = Vec::new();
        flatten(decoder, &mut stages);
        let mut stages = stages.into_iter().peekable();

        let local = |stage: &&Stage| {
            matches!(stage, Stage::Replace(_) | Stage::Strip(_) | Stage::Metaspace(_) | Stage::WordPiece(_))
        };
        let each = |stage: &Stage| match (Replacement::of(stage), stage) {
            (Some(replacement), _) => Each::Replace(replacement),
            (None, Stage::Metaspace(spaces)) => {
                let replacement = Replacement { character: spaces.get_replacement(), text: " ".to_owned() };
                Each::ReplaceLater(replacement, Box::new(stage.clone()))
            }
            (None, _) => Each::Other(Box::new(stage.clone())),
        };
        let each = std::iter::from_fn(|| stages.next_if(local)).map(each).collect();
        let mut join = match stages.peek() {
            Some(Stage::ByteLevel(_)) => Join::ByteLevel,
            Some(Stage::ByteFallback(_)) => Join::ByteFallback,
            _ => Join::Text,
        };
        if join != Join::Text {
            stages.next();
        }
        let fused = stages.next_if(|stage| matches!(stage, Stage::Fuse(_))).is_some() || join == Join::ByteLevel;
        let then = std::iter::from_fn(|| {
            let replacement = Replacement::of(stages.peek()?)?;
            stages.next();
            Some(replacement)
        });
        let then = then.collect();
        let lead = match stages.next_if(|stage| matches!(stage, Stage::Strip(strip) if fused && strip.stop == 0)) {
            Some(Stage::Strip(strip)) => (strip.content, strip.start),
            _ => (' ', 0),
        };
        if stages.next().is_some() {
            join = Join::Whole;
        }
        Self { each, join, then, lead }
    }

    /// The text of one token after the *each* stages.
    pub(super) fn apply(&self, token: String, first: bool) -> tokenizers::Result<String> {
        let mut piece = token;
        self.apply_to(&mut piece, first, &mut String::new())?;
        Ok(piece)
    }

    /// Makes the text of one token of its spelling. `spare` is memory.
    pub(super) fn apply_to(&self, piece: &mut String, first: bool, spare: &mut String) -> tokenizers::Result<()> {
        for stage in &self.each {
            match stage {
                Each::Replace(replacement) => replacement.make(piece, 0, spare),
                Each::ReplaceLater(replacement, _) if !first => replacement.make(piece, 0, spare),
                Each::ReplaceLater(_, stage) | Each::Other(stage) => {
                    let token = std::mem::take(piece);
                    // The stages only ask whether a token is the first. One that is not is decoded with a copy of itself
                    // in front.
                    let chain = if first { vec![token] } else { vec![token.clone(), token] };
                    *piece = stage.decode_chain(chain)?.pop().unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    /// Whether `token`, which adds `bytes` to a text that it does not begin, gives others where it begins one.
    #[cfg(feature = "grammar")]
    pub(super) fn begins_otherwise(&self, token: &str, bytes: &[u8]) -> tokenizers::Result<bool> {
        let (lead, count) = self.lead;
        let is_stripped = count > 0 && bytes.starts_with(lead.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(is_stripped || self.apply(token.to_owned(), true)? != self.apply(token.to_owned(), false)?)
    }

    /// The joined `text`, or any part of it, after the *then* stages.
    pub(super) fn finish(&self, text: String) -> String {
        let mut text = text;
        self.finish_from(&mut text, 0, &mut String::new());
        text
    }

    /// Does that with what `text` has from `begin` on. `spare` is memory.
    pub(super) fn finish_from(&self, text: &mut String, begin: usize, spare: &mut String) {
        self.then.iter().for_each(|replacement| replacement.make(text, begin, spare));
    }
}

impl Replacement {
    /// What `stage` does, if that is all it does.
    fn of(stage: &Stage) -> Option<Self> {
        let Stage::Replace(_) = stage else { return None };
        let json = serde_json::to_value(stage).ok()?;
        let mut pattern = json["pattern"]["String"].as_str()?.chars();
        match (pattern.next(), pattern.next()) {
            (Some(character), None) => Some(Self { character, text: json["content"].as_str()?.to_owned() }),
            _ => None,
        }
    }

    /// Replaces what `text` has from `begin` on. `spare` is memory.
    fn make(&self, text: &mut String, begin: usize, spare: &mut String) {
        if !text[begin..].contains(self.character) {
            return;
        }
        spare.clear();
        let mut parts = text[begin..].split(self.character);
        spare.push_str(parts.next().unwrap_or_default());
        for part in parts {
            spare.push_str(&self.text);
            spare.push_str(part);
        }
        text.truncate(begin);
        text.push_str(spare);
    }
}

fn flatten<'a>(decoder: &'a Stage, stages: &mut Vec<&'a Stage>) {
    match decoder {
        Stage::Sequence(sequence) => sequence.get_decoders().iter().for_each(|inner| flatten(inner, stages)),
        stage => stages.push(stage),
    }
}
