//! Text to token ids.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokenizers::{AddedVocabulary, Encoding, Model, OffsetType, PreTokenizer};

use super::memory::{Count, Ids};
use super::pieces::Pieces;
use super::{Tokenizer, guarded, memory, pieces};
use crate::error::Result;

/// Bytes of addresses for a thread: glibc's allocator gives it 64 MiB of its own, which it cuts out of twice as many.
const THREAD: usize = 66 << 20;

/// Bytes for the result of a text in a list, ids not counted.
const RESULT: usize = 512;

/// Bytes of several texts from which on they are shared out among threads.
const SHARED: usize = 256 << 10;

/// How a text is encoded. The default is the text, with the special tokens that it spells out, and nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// With the tokens that `tokenizer.json` puts around a text, such as its BOS.
    pub add_special: bool,
    /// Special tokens that are spelled out in the text are text like any other.
    pub special_as_text: bool,
}

/// Which added tokens are looked for in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    All,
    /// Those that are not special.
    Ordinary,
    None,
}

impl From<EncodeOptions> for Look {
    fn from(options: EncodeOptions) -> Self {
        if options.special_as_text { Self::Ordinary } else { Self::All }
    }
}

impl Tokenizer {
    /// The token ids of `text`, however many: never truncated, never padded.
    ///
    /// With `add_special`, the tokens that `tokenizer.json` puts around a text (such as its BOS) are added; like
    /// `transformers` 5, this heeds no `add_bos_token` or `add_eos_token` of `tokenizer_config.json`. A text from
    /// [`Self::apply_chat_template`] already holds them: encode it with `add_special = false`, or it gets a second
    /// BOS. Special tokens spelled out in `text` are recognised either way; [`Self::encode_as`] can take them as text.
    ///
    /// A long text is encoded piece by piece, in memory of some ten times its size.
    ///
    /// # Errors
    /// `Malformed`, naming the file, if the tokenizer's own rules fail on this text; `Unsupported` if more than 16
    /// MiB of the text would have to be encoded in one piece: because it has no space or line end after a word for so
    /// long, or because the tokenizer has a normalizer or pre-tokenizer that is rare with language models;
    /// `OutOfMemory`.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        self.encode_as(text, EncodeOptions { add_special, ..EncodeOptions::default() })
    }

    /// As [`Self::encode`], with options.
    pub fn encode_as(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.encode_into(&mut ids, text, options.into(), options.add_special)?;
        Ok(ids)
    }

    /// How many ids [`Self::encode_as`] gives, without keeping them.
    pub fn count(&self, text: &str, options: EncodeOptions) -> Result<usize> {
        let mut count = Count(0);
        self.encode_into(&mut count, text, options.into(), options.add_special)?;
        Ok(count.0)
    }

    /// The ids of each text. Long lists are shared out among threads.
    ///
    /// # Errors
    /// Those of [`Self::encode`], for the first text that fails.
    pub fn encode_texts(&self, texts: &[&str], options: EncodeOptions) -> Result<Vec<Vec<u32>>> {
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        let threads = if bytes < SHARED { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
        let encode = |index: usize| {
            let encoded = self.encode_as(texts[index], options);
            encoded.map_err(|error| error.within(format!("text {index} of {}", texts.len())))
        };
        let threads = threads.min(texts.len());
        memory::probe(texts.len().saturating_mul(RESULT), "a list of texts")?;
        // With little memory, one text after another.
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0).min(pieces::PIECE);
        let each = THREAD + memory::encoding(longest);
        let helped = threads > 1 && Vec::<u8>::new().try_reserve_exact((threads + 1) * each + 8 * bytes).is_ok();
        if !helped {
            return (0..texts.len()).map(encode).collect();
        }
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= texts.len() {
                    break;
                }
                let encoded = encode(index);
                // Nobody panics while holding the lock.
                if let Ok(mut done) = done.lock() {
                    done.push((index, encoded));
                }
            }
        };
        std::thread::scope(|scope| {
            // A thread that cannot be started, or has no memory of its own, leaves its work to the others.
            let help = || {
                if memory::to_encode(longest).is_ok() {
                    work();
                }
            };
            for _ in 1..threads {
                drop(std::thread::Builder::new().name("tokenizer".to_owned()).spawn_scoped(scope, help));
            }
            work();
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, encoded)| encoded).collect()
    }

    /// The ids of `text`, each with the bytes of the text that it stands for.
    ///
    /// The ranges are those of Python's `tokenizers`. A token that stands for a part of a character has the whole
    /// character; one that `add_special` adds has an empty range; and a `tokenizer.json` may say that the space before
    /// a word is not counted to it (`trim_offsets`).
    ///
    /// # Errors
    /// Those of [`Self::encode`]; `Unsupported` for any text of more than 16 MiB.
    pub fn encode_with_ranges(&self, text: &str, options: EncodeOptions) -> Result<Vec<(u32, Range<usize>)>> {
        pieces::longest(text.len())?;
        memory::to_encode(text.len().saturating_mul(2))?;
        let encoding =
            guarded(&self.label, || self.whole(text, options.into(), options.add_special, OffsetType::Byte))?;
        let ranges = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(encoding.get_ids().iter().copied().zip(ranges).collect())
    }

    /// Gives the ids of `text` to `ids`.
    pub(super) fn encode_into(&self, ids: &mut impl Ids, text: &str, look: Look, add_special: bool) -> Result<()> {
        if text.len() > pieces::PIECE
            && let Some(pieces) = self.pieces()?
        {
            let known = self.vocabulary(look)?;
            return guarded(&self.label, || pieces.encode(&self.inner, known, text, add_special, ids));
        }
        pieces::longest(text.len())?;
        memory::to_encode(text.len())?;
        let encoding = guarded(&self.label, || self.whole(text, look, add_special, OffsetType::None))?;
        ids.take(encoding.get_ids().iter().copied())
    }

    /// What the `tokenizers` crate makes of `text`.
    fn whole(&self, text: &str, look: Look, add_special: bool, offsets: OffsetType) -> tokenizers::Result<Encoding> {
        let inner = &self.inner;
        let mut parts = self.vocabulary(look)?.extract_and_normalize(inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut parts)?;
        }
        parts.tokenize(|part| inner.get_model().tokenize(part.get()))?;
        inner.post_process(parts.into_encoding(None, 0, offsets)?, None, add_special)
    }

    /// The added tokens to look for.
    fn vocabulary(&self, look: Look) -> Result<&AddedVocabulary> {
        let all = self.inner.get_added_vocabulary();
        Ok(match look {
            Look::All => all,
            Look::Ordinary => {
                if let Some(ordinary) = self.ordinary.get() {
                    return Ok(ordinary);
                }
                memory::to_sort(all.get_added_tokens_decoder().len())?;
                self.ordinary.get_or_init(|| {
                    let mut ordinary = all.clone();
                    ordinary.set_encode_special_tokens(true);
                    ordinary
                })
            }
            Look::None => self.none.get_or_init(AddedVocabulary::new),
        })
    }

    fn pieces(&self) -> Result<Option<&Pieces>> {
        if let Some(known) = self.pieces.get() {
            return Ok(known.as_ref());
        }
        memory::to_sort(self.inner.get_added_vocabulary().get_added_tokens_decoder().len())?;
        let pieces = guarded(&self.label, || Pieces::new(&self.inner))?;
        Ok(self.pieces.get_or_init(|| pieces).as_ref())
    }
}
