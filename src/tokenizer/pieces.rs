//! Encodes a long text in about as much memory as the text itself takes.
//!
//! The `tokenizers` crate keeps 140 bytes for each byte of a text. Here a text is cut into *pieces*. The crate finds
//! the added tokens of each piece and normalises the text between them. The normalised text between two added tokens
//! is joined to a *stretch*, which shows no trace of the pieces. A stretch goes through the pre-tokenizer's stages
//! (see [`split`](super::split)), and the model turns each of its *parts* into ids. These are the ids of the whole
//! text if two things hold.
//!
//! First, a piece may end only where neither an added token nor the normalizer looks across the end. That is between
//! a character that is no space and a *border* ([`BORDERS`]), if neither of them is the edge of an added token and no
//! added token has the two side by side. The normalizers that are known here treat a border by itself.
//!
//! Second, a part can be as long as the text if no pre-tokenizer cuts it (Llama 2, Gemma, Mistral), and then it has
//! to be cut, too. BPE merges only what makes a token of its vocabulary. So if no token has two certain characters
//! side by side, no token spans the place between them, and merges on one side do not depend on the other. A part is
//! cut at such a place.

use std::collections::{HashMap, HashSet};

use tokenizers::{
    AddedVocabulary, Encoding, Model, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential,
    OffsetType, Token, Tokenizer,
};

use super::memory::{self, Ids};
use super::split::Splitter;
use crate::error::{Error, Result};

/// The most bytes of a text that is not cut.
pub(super) const PIECE: usize = 64 << 10;

/// The most bytes that are encoded in one piece if a text cannot be cut.
pub(super) const LONGEST: usize = 16 << 20;

/// The characters that a piece, or a part that is cut off, may start with.
const BORDERS: [char; 6] = [' ', '\n', '\u{2581}', '。', '，', '、'];

/// An id that stands for a text in the post-processor.
const TEXT: u32 = u32::MAX;

/// What encoding in pieces has to know of a tokenizer.
#[derive(Debug)]
pub(super) struct Pieces {
    /// The least bytes of a piece, and of a part that is cut off.
    size: usize,
    /// Pairs that may not be cut: a character and a border that an added token has side by side.
    pairs: HashSet<(char, char)>,
    /// The first and last characters of added tokens.
    edges: HashSet<char>,
    /// The text that the normalizer puts before every stretch.
    prefix: String,
    /// For each border, the characters that tokens have before it; `None` if parts cannot be cut for this model.
    merged: Option<HashMap<char, HashSet<char>>>,
    before: Vec<u32>,
    after: Vec<u32>,
}

/// The normalised text between two added tokens, as far as it has been joined.
#[derive(Debug, Default)]
struct Stretch {
    text: String,
    /// Whether the stretch has begun, even if it is still empty.
    open: bool,
    /// Whether the stretch starts where the whole text does.
    at_start: bool,
}

impl Pieces {
    /// `None` if `tokenizer` has stages that are not known here.
    pub(super) fn new(tokenizer: &Tokenizer) -> tokenizers::Result<Option<Self>> {
        Splitter::new(tokenizer.get_pre_tokenizer())
            .and(Some(()))
            .map_or(Ok(None), |()| Self::of_known_splitter(tokenizer))
    }

    fn of_known_splitter(tokenizer: &Tokenizer) -> tokenizers::Result<Option<Self>> {
        let normalizer = tokenizer.get_normalizer();
        let mut stages = Vec::new();
        let Some((before, after)) = around(tokenizer)?.filter(|_| local(normalizer, &mut stages)) else {
            return Ok(None);
        };
        let mut prefix = String::new();
        if let Some((NormalizerWrapper::Prepend(prepend), rest)) = stages.split_first() {
            prefix = normalized(&prepend.prepend, rest)?;
            stages.remove(0);
        }
        // The text that the normalizer makes of a border. It must not be empty.
        let images = BORDERS.map(|border| normalized(border.encode_utf8(&mut [0; 4]), &stages));
        let images: Vec<_> = images.into_iter().collect::<tokenizers::Result<_>>()?;
        let Some(images) = images.iter().map(|image| image.chars().next()).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };

        let (mut pairs, mut edges) = (HashSet::new(), HashSet::new());
        for token in tokenizer.get_added_vocabulary().get_added_tokens_decoder().values() {
            if let Some(normalizer) = normalizer.filter(|_| token.normalized) {
                // Such a token is looked for in normalised text, so its pairs are those of its normalised spelling.
                let content = normalized(&token.content, &[normalizer])?;
                let looks_around = token.single_word || token.lstrip || token.rstrip;
                if looks_around || content.chars().skip(1).any(|c| images.contains(&c)) {
                    return Ok(None);
                }
            }
            let characters: Vec<char> = token.content.chars().collect();
            pairs.extend(characters.windows(2).map(|pair| (pair[0], pair[1])));
            edges.extend([characters.first(), characters.last()].into_iter().flatten());
        }
        let merged = merged(tokenizer.get_model());
        Ok(Some(Self { size: PIECE, pairs, edges, prefix, merged, before, after }))
    }

    /// Gives the ids of `text`, in which the added tokens `known` are looked for, to `ids`.
    pub(super) fn encode(
        &self,
        tokenizer: &Tokenizer,
        known: &AddedVocabulary,
        text: &str,
        add_special: bool,
        ids: &mut impl Ids,
    ) -> tokenizers::Result<()> {
        let Some(splitter) = Splitter::new(tokenizer.get_pre_tokenizer()) else {
            return Err("its pre_tokenizer is of several minds".into());
        };
        if add_special {
            ids.take(self.before.iter().copied())?;
        }
        let mut stretch = Stretch::default();
        let mut start = 0;
        while start < text.len() {
            let end = self.end_of_piece(text, start);
            self.take((tokenizer, known), &splitter, &text[start..end], start == 0, &mut stretch, ids)?;
            start = end;
        }
        self.finish(tokenizer, &splitter, &mut stretch, ids)?;
        if add_special {
            ids.take(self.after.iter().copied())?;
        }
        Ok(())
    }

    /// The end of the piece that starts at `start`.
    fn end_of_piece(&self, text: &str, start: usize) -> usize {
        let mut earliest = (start + self.size).min(text.len());
        while !text.is_char_boundary(earliest) {
            earliest += 1;
        }
        let mut last = text[start..earliest].chars().next_back();
        for (place, border) in text[earliest..].char_indices() {
            let fits = |last: char| {
                !last.is_whitespace()
                    && ![last, border].iter().any(|c| self.edges.contains(c))
                    && !self.pairs.contains(&(last, border))
            };
            if BORDERS.contains(&border) && last.is_some_and(fits) {
                return earliest + place;
            }
            last = Some(border);
        }
        text.len()
    }

    /// Adds a piece to the stretch, and turns all stretches that end in the piece into ids.
    fn take(
        &self,
        (tokenizer, known): (&Tokenizer, &AddedVocabulary),
        splitter: &Splitter<'_>,
        piece: &str,
        first: bool,
        stretch: &mut Stretch,
        ids: &mut impl Ids,
    ) -> tokenizers::Result<()> {
        longest(piece.len())?;
        memory::to_encode(piece.len())?;
        let parts = known.extract_and_normalize(tokenizer.get_normalizer(), piece);
        let parts = parts.get_splits(OffsetReferential::Original, OffsetType::Byte);
        for (index, (text, offsets, tokens)) in parts.into_iter().enumerate() {
            if let Some(tokens) = tokens {
                self.finish(tokenizer, splitter, stretch, ids)?;
                ids.take(tokens.iter().map(|token| token.id))?;
                continue;
            }
            // If this text continues a stretch, the normalizer's prefix is in front of it as well, and belongs at the
            // stretch's start only.
            let goes_on = index == 0 && stretch.open;
            if !stretch.open {
                *stretch = Stretch { open: true, at_start: first && offsets.0 == 0, ..Stretch::default() };
            }
            let text = if goes_on { text.strip_prefix(self.prefix.as_str()).unwrap_or(text) } else { text };
            memory::append(&mut stretch.text, text)?;
        }
        Ok(())
    }

    /// Turns the stretch into ids, and starts the next.
    fn finish(
        &self,
        tokenizer: &Tokenizer,
        splitter: &Splitter<'_>,
        stretch: &mut Stretch,
        ids: &mut impl Ids,
    ) -> tokenizers::Result<()> {
        if stretch.text.is_empty() {
            *stretch = Stretch::default();
            return Ok(());
        }
        // The pre-tokenizer's stages may take so much for the stretch as a whole.
        memory::probe(stretch.text.len().saturating_mul(8), "splitting a text")?;
        let Stretch { text, at_start, .. } = std::mem::take(stretch);
        splitter.run(&text, at_start, &mut |part| {
            let mut rest = part;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(self.end_of_part(rest));
                longest(now.len())?;
                memory::to_encode(now.len())?;
                let tokens = tokenizer.get_model().tokenize(now)?;
                ids.take(tokens.iter().map(|token| token.id))?;
                rest = later;
            }
            Ok(())
        })
    }

    /// How much of `part` the model can turn into ids whatever follows.
    fn end_of_part(&self, part: &str) -> usize {
        let Some(merged) = self.merged.as_ref().filter(|_| part.len() > self.size) else {
            return part.len();
        };
        let mut last = None;
        for (place, border) in part.char_indices() {
            let fits = |last| merged.get(&border).is_some_and(|before| !before.contains(&last));
            if place >= self.size && last.is_some_and(fits) {
                return place;
            }
            last = Some(border);
        }
        part.len()
    }
}

/// Refuses a text that cannot be cut and is too long for the crate.
pub(super) fn longest(length: usize) -> Result<()> {
    if length <= LONGEST {
        return Ok(());
    }
    let message = format!(
        "this tokenizer takes {length} bytes of the text in one piece, more than {} MiB: encode it in parts, or with \
         words and spaces in it",
        LONGEST >> 20
    );
    Err(Error::new(crate::error::ErrorKind::Unsupported, message))
}

/// Adds the stages of `normalizer` to `stages`. Returns whether each of them treats a border and the text before it
/// independently.
fn local<'a>(normalizer: Option<&'a NormalizerWrapper>, stages: &mut Vec<&'a NormalizerWrapper>) -> bool {
    let Some(normalizer) = normalizer else { return true };
    match normalizer {
        NormalizerWrapper::Sequence(sequence) => {
            return sequence.as_ref().iter().all(|inner| local(Some(inner), stages));
        }
        NormalizerWrapper::Prepend(_) if !stages.is_empty() => return false,
        NormalizerWrapper::Replace(_) => {
            let pattern = serde_json::to_value(normalizer).unwrap_or_default();
            if pattern["pattern"]["String"].as_str().is_none_or(|text| text.chars().count() != 1) {
                return false;
            }
        }
        NormalizerWrapper::Prepend(_)
        | NormalizerWrapper::NFC(_)
        | NormalizerWrapper::NFD(_)
        | NormalizerWrapper::NFKC(_)
        | NormalizerWrapper::NFKD(_)
        | NormalizerWrapper::Lowercase(_)
        | NormalizerWrapper::ByteLevel(_) => {}
        _ => return false,
    }
    stages.push(normalizer);
    true
}

/// `text` after `stages`.
fn normalized(text: &str, stages: &[&NormalizerWrapper]) -> tokenizers::Result<String> {
    let mut text = NormalizedString::from(text);
    stages.iter().try_for_each(|stage| stage.normalize(&mut text))?;
    Ok(text.get().to_owned())
}

/// The ids that the post-processor puts before and after a text; `None` if it does more than that.
fn around(tokenizer: &Tokenizer) -> tokenizers::Result<Option<(Vec<u32>, Vec<u32>)>> {
    let text = Encoding::from_tokens(vec![Token::new(TEXT, String::new(), (0, 0))], 0);
    let encoding = tokenizer.post_process(text, None, true)?;
    let mut parts = encoding.get_ids().split(|id| *id == TEXT).map(<[u32]>::to_vec);
    Ok(match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(after), None) => Some((before, after)),
        _ => None,
    })
}

/// For each border, the characters that tokens of `model` have before it; `None` if the model does not merge as BPE
/// does.
fn merged(model: &ModelWrapper) -> Option<HashMap<char, HashSet<char>>> {
    let ModelWrapper::BPE(bpe) = model else { return None };
    let plain = |affix: &Option<String>| affix.as_ref().is_none_or(String::is_empty);
    if bpe.dropout.is_some()
        || bpe.ignore_merges
        || !plain(&bpe.continuing_subword_prefix)
        || !plain(&bpe.end_of_word_suffix)
    {
        return None;
    }
    let vocabulary = bpe.get_vocab();
    // A character that is no token becomes the unknown token, or bytes, which could merge across the cut.
    let known = |c: char| vocabulary.contains_key(c.encode_utf8(&mut [0; 4]) as &str);
    let mut merged: HashMap<char, HashSet<char>> =
        BORDERS.into_iter().filter(|border| known(*border)).map(|border| (border, HashSet::new())).collect();
    for token in vocabulary.keys() {
        if token.len() > 6
            && token.match_indices("<0x").any(|(place, _)| token.as_bytes().get(place + 5) == Some(&b'>'))
        {
            return None;
        }
        for (first, second) in token.chars().zip(token.chars().skip(1)) {
            if let Some(before) = merged.get_mut(&second) {
                before.insert(first);
            }
        }
    }
    Some(merged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};
    use serde_json::{Value, json};

    use super::*;

    const FRAGMENTS: &[&str] = &[
        " ",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n",
        "\t",
        "\u{a0}",
        "▁",
        "the",
        "quick",
        "Hello",
        "WORLD",
        "x",
        "don't",
        "é",
        "e\u{301}",
        "\u{301}",
        "今",
        "世界",
        "。",
        "，",
        "、",
        "한국",
        "ไทย",
        "123",
        "4567",
        "²",
        "!",
        "...",
        "(",
        "😀",
        "👩\u{200d}👧",
        "<s>",
        "</s>",
        "<|eot|>",
        "<tool call>",
        "<x>",
        " <x> ",
        "tool",
        "call>",
        "Day",
        "day",
        "a b",
        "<",
        ">",
    ];

    fn fixture(name: &str) -> Value {
        let path = format!("{}/tests/tokenizers/{name}/tokenizer.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn tokenizer(json: &Value) -> Tokenizer {
        let mut tokenizer = Tokenizer::from_bytes(json.to_string()).unwrap();
        tokenizer.with_truncation(None).unwrap();
        tokenizer.with_padding(None);
        tokenizer
    }

    /// Tries small pieces on random texts, and returns the largest number of pieces in one text.
    fn try_out(what: &str, tokenizer: &Tokenizer, seed: u64, rounds: u32) -> usize {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let Some(mut pieces) = Pieces::new(tokenizer).unwrap() else { return 0 };
        let mut most = 0;
        for round in 0..rounds {
            let mut below = |bound: usize| random.next_u32() as usize % bound;
            let text: String = (0..below(40)).map(|_| FRAGMENTS[below(FRAGMENTS.len())]).collect();
            pieces.size = [1, 5, 30][below(3)];
            let special = round % 2 == 0;
            let mut ids = Vec::new();
            pieces.encode(tokenizer, tokenizer.get_added_vocabulary(), &text, special, &mut ids).unwrap();
            let wanted = tokenizer.encode_fast(text.as_str(), special).unwrap();
            assert_eq!(ids, wanted.get_ids(), "{what}: {text:?} by {}", pieces.size);
            let (mut start, mut count) = (0, 0);
            while start < text.len() {
                (start, count) = (pieces.end_of_piece(&text, start), count + 1);
            }
            most = most.max(count);
        }
        most
    }

    #[test]
    fn pieces_have_the_ids_of_the_whole() {
        for (seed, name) in ["llama3", "qwen", "gpt2", "llama2", "mistral", "gemma", "unigram"].into_iter().enumerate()
        {
            assert!(try_out(name, &tokenizer(&fixture(name)), seed as u64, 1000) > 5, "{name}");
        }
    }

    #[test]
    fn added_tokens_of_every_kind_are_found() {
        for name in ["llama3", "qwen", "llama2", "mistral"] {
            for flags in 0..32 {
                let flag = |bit: u32| flags >> bit & 1 == 1;
                let mut json = fixture(name);
                let list = json["added_tokens"].as_array_mut().unwrap();
                for content in ["<x>", "Day", "tool", "."] {
                    let id = 5000 + list.len();
                    list.push(json!({
                        "id": id, "content": content, "single_word": flag(0), "lstrip": flag(1), "rstrip": flag(2),
                        "normalized": flag(3), "special": flag(4)
                    }));
                }
                let cut = try_out(&format!("{name}, {flags:b}"), &tokenizer(&json), flags, 150) > 1;
                let looks_around = flags & 7 != 0 && json["normalizer"].is_object();
                assert_eq!(cut, !(flag(3) && looks_around), "{name}, {flags:b}");
            }
        }
    }

    fn regex(pattern: &str, behavior: &str, invert: bool) -> Value {
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert})
    }

    fn bytes(space: bool, regex: bool) -> Value {
        json!({"type": "ByteLevel", "add_prefix_space": space, "use_regex": regex, "trim_offsets": true})
    }

    #[test]
    fn pre_tokenizers_of_every_kind_are_known() {
        let mut sequences = Vec::new();
        for behavior in ["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"] {
            for invert in [false, true] {
                // One pattern looks behind, one across what may be a border, and one matches the empty text in
                // places.
                for pattern in [r"\s+(?!\S)|\s+", r"(?<=\p{L}) ?\p{N}{1,3}+|,$", r"\p{L}(?: \p{L}+)*", r"\b|^"] {
                    sequences.push(vec![regex(pattern, behavior, invert), bytes(false, false)]);
                }
                let words = regex(" ?\\p{L}+", "Isolated", false);
                sequences.push(vec![words, regex("[aeiou]", behavior, invert), bytes(true, false)]);
            }
        }
        for individual in [false, true] {
            sequences.push(vec![json!({"type": "Digits", "individual_digits": individual}), bytes(false, true)]);
        }
        sequences.push(vec![bytes(true, true)]);
        sequences.push(vec![bytes(true, true), regex("Ġ", "MergedWithNext", false)]);
        sequences.push(vec![json!({"type": "WhitespaceSplit"}), bytes(true, true)]);
        for (seed, sequence) in sequences.into_iter().enumerate() {
            let mut json = fixture("llama3");
            json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": sequence});
            let what = json["pre_tokenizer"].to_string();
            assert!(try_out(&what, &tokenizer(&json), seed as u64, 150) > 1, "{what}");
        }
        for scheme in ["always", "first", "never"] {
            for split in [false, true] {
                for name in ["mistral", "unigram"] {
                    let mut json = fixture(name);
                    json["pre_tokenizer"] =
                        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split});
                    assert!(try_out(&json["pre_tokenizer"].to_string(), &tokenizer(&json), 7, 300) > 1);
                }
            }
        }
    }

    #[test]
    fn normalizers_that_look_around_are_not_cut() {
        for (normalizer, cut) in [
            (json!({"type": "Lowercase"}), true),
            (json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}), true),
            (json!({"type": "Replace", "pattern": {"String": "a"}, "content": ""}), true),
            (json!({"type": "Prepend", "prepend": "_ "}), true),
            (json!({"type": "Replace", "pattern": {"String": "\n"}, "content": ""}), false),
            (json!({"type": "Replace", "pattern": {"String": "a b"}, "content": "c"}), false),
            (json!({"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}), false),
            (json!({"type": "Strip", "strip_left": true, "strip_right": true}), false),
        ] {
            let mut json = fixture("gpt2");
            json["normalizer"] = normalizer.clone();
            let tokenizer = tokenizer(&json);
            assert_eq!(Pieces::new(&tokenizer).unwrap().is_some(), cut, "{normalizer}");
            if cut {
                try_out(&normalizer.to_string(), &tokenizer, 3, 300);
            }
        }
    }
}
