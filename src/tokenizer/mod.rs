//! Text to token ids and back, by a model's `tokenizer.json`.
//!
//! The files are data: nothing in them runs as code. A [`Tokenizer`] needs no weights and no shard.

mod added;
mod chat;
mod encode;
mod files;
mod growth;
mod memory;
mod patterns;
mod pieces;
mod retries;
mod special;
mod spellings;
mod split;
mod stages;
mod stream;
mod templates;
mod tokens;
#[cfg(feature = "grammar")]
mod vocabulary;

#[cfg(feature = "grammar")]
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
#[cfg(feature = "grammar")]
use std::sync::Arc;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use tokenizers::{AddedVocabulary, Decoder};

pub use self::encode::EncodeOptions;
pub(crate) use self::stream::State as StreamState;
pub use self::stream::TextStream;

use self::added::Listed;
use self::files::{Json, SideFiles};
use self::pieces::Pieces;
use self::special::{Special, Tokens};
use self::spellings::Spellings;
use self::stages::Stages;
use self::stream::State;
use self::templates::Templates;
use crate::error::{Error, Result, Site, bail, err};
use crate::source::{Folder, ModelFiles, OnTransfer, Transfer, names};

/// The end-of-sequence ids that a model declares, in `generation_config.json`, else in `config.json`. For models
/// without a tokenizer.
pub(crate) fn declared_eos(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<Vec<u32>> {
    special::declared_eos(&Json::read_generation(files, on)?, &Json::read(files, names::CONFIG, on)?)
}

/// From so many tokens on, they are decoded one by one, which takes no more memory than the text.
const LONG: usize = 16 << 10;

/// Bytes that a token takes while a tokenizer is written as JSON.
const WRITING: usize = 512;

/// An immutable tokenizer: `Send`, `Sync`, and usable from many threads at once without waiting.
#[derive(Debug)]
pub struct Tokenizer {
    /// The name of the main file in messages.
    label: String,
    inner: tokenizers::Tokenizer,
    size: usize,
    special: Special,
    stages: Stages,
    /// How to encode long texts, found out when the first comes; `None` if the tokenizer does not let texts be cut.
    pieces: OnceLock<Option<Pieces>>,
    /// The added tokens, of which special ones are not looked for; made when they are first needed.
    ordinary: OnceLock<AddedVocabulary>,
    /// No added tokens.
    none: OnceLock<AddedVocabulary>,
    /// Made when text is first streamed; `None` if there was too little memory.
    spellings: OnceLock<Option<Spellings>>,
    chat_templates: Templates,
    fingerprint: OnceLock<[u8; 32]>,
    /// What others have made of the vocabulary.
    #[cfg(feature = "grammar")]
    kept: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Tokenizer {
    /// Opens the tokenizer of a model folder, or the `tokenizer.json` that `path` names.
    ///
    /// Read from the same folder where they exist: `tokenizer_config.json`, `special_tokens_map.json`,
    /// `added_tokens.json`, `generation_config.json` and `config.json` (added and special tokens), and
    /// `chat_template.jinja` with `additional_chat_templates/tool_use.jinja` and `rag.jinja`. Where they disagree, the
    /// rule of `transformers` 5 decides; a `generation_config.json` that is not JSON is left out, with a warning in the
    /// log. Truncation and padding that `tokenizer.json` may ask for are switched off.
    ///
    /// The tokenizer of a model that is no folder comes from [`Engine::tokenizer`](crate::Engine::tokenizer).
    ///
    /// # Errors
    /// `NotFound` if there is no `tokenizer.json`; `Io` if a file cannot be read; `Malformed`, naming the file, if its
    /// content breaks its format, could make a text thousands of times longer, or exceeds 256 MiB (16 MiB for the
    /// other files), or if it is a link that leaves the folder.
    pub fn open(path: &Path) -> Result<Self> {
        let on = &mut |_| Ok(());
        if path.is_dir() {
            return Self::of(&Folder::open(path)?, on);
        }
        let (folder, name) = Folder::around(path)?;
        Self::read(&folder, name, on)
    }

    /// The tokenizer of the model that has these files. `on` is told of the transfer of the main file, and called
    /// during that of the others, which are small.
    pub(crate) fn of(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<Self> {
        Self::read(files, files::TOKENIZER, on)
    }

    fn read(files: &dyn ModelFiles, name: &str, on: &mut OnTransfer<'_>) -> Result<Self> {
        let label = files::label(files, name);
        let mut main = Transfer::default();
        let json = files::read_tokenizer(files, name, &mut |now| {
            main = now;
            on(now)
        })?;
        let beside = SideFiles::read(files, &mut |_| on(main))?;
        let listed = Listed::read(&json, &label)?;
        let byte_level = json.windows(11).any(|bytes| bytes == b"\"ByteLevel\"");
        let tokens = Tokens::read(&beside, &listed, byte_level)?;
        let (json, new) = listed.merge(json, &tokens.changes, tokens.all_anew)?;
        retries::limit();
        let (inner, size) = guarded(&label, || {
            let mut inner = tokenizers::Tokenizer::from_bytes(json)?;
            growth::check(&inner)?;
            inner.add_tokens(&new);
            inner.set_encode_special_tokens(tokens.split);
            inner.with_truncation(None)?;
            inner.with_padding(None);
            let size = inner.get_vocab_size(true);
            Ok((inner, size))
        })?;
        special::refuse_patched(&beside, size)?;
        let is_special = |id| inner.id_to_token(id).is_some_and(|t| inner.get_added_vocabulary().is_special_token(&t));
        let special = Special::new(tokens, &beside, |token| inner.token_to_id(token), is_special)?;
        let stages = Stages::new(inner.get_decoder());
        Ok(Self {
            chat_templates: beside.into_chat_templates(),
            label,
            inner,
            size,
            special,
            stages,
            pieces: OnceLock::new(),
            ordinary: OnceLock::new(),
            none: OnceLock::new(),
            spellings: OnceLock::new(),
            fingerprint: OnceLock::new(),
            #[cfg(feature = "grammar")]
            kept: OnceLock::new(),
        })
    }

    /// The text of `ids`; with `skip_special`, without the special tokens among them.
    ///
    /// Bytes that are not UTF-8 become U+FFFD. No spaces are cleaned up around punctuation.
    ///
    /// # Errors
    /// `OutOfRange`, naming the id and its index, if an id is not in the vocabulary; `OutOfMemory`.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let streams = ids.len() > LONG && State::streams(self);
        let (mut text, mut state, mut tokens) = (String::new(), State::default(), Vec::new());
        if !streams {
            memory::to_decode(ids.len())?;
        }
        for (index, &id) in ids.iter().enumerate() {
            let Some(token) = self.id_to_token(id) else {
                bail!(OutOfRange, "id {id} at index {index} is not in the vocabulary of {} tokens", self.size);
            };
            if skip_special && self.is_special_token(&token) {
                continue;
            }
            if streams {
                state.push(self, id, &token, &mut text)?;
            } else {
                tokens.push(token);
            }
        }
        if streams {
            state.finish(self, &mut text)?;
            return Ok(text);
        }
        match self.inner.get_decoder() {
            Some(decoder) => guarded(&self.label, || decoder.decode(tokens)),
            None => Ok(tokens.join(" ")),
        }
    }

    /// The SHA-256 of all that decides which text is which tokens. It is made when it is first asked for: that takes a second for
    /// 150,000 tokens.
    pub(crate) fn fingerprint(&self) -> Result<[u8; 32]> {
        if let Some(made) = self.fingerprint.get() {
            return Ok(*made);
        }
        memory::probe(self.size.saturating_mul(WRITING), "the tokenizer as text")?;
        let json = guarded(&self.label, || self.inner.to_string(false))?;
        Ok(*self.fingerprint.get_or_init(|| Sha256::digest(json).into()))
    }

    /// The beginning-of-sequence id that the model's files declare, whether or not [`Self::encode`] adds it.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// Every end-of-sequence id: those of `generation_config.json`, or of `config.json` where that has none; then
    /// special tokens that `config.json` declares, and the tokenizer's own `eos_token`.
    #[must_use]
    pub fn eos(&self) -> &[u32] {
        &self.special.eos
    }

    /// Whether generation ends at `id`.
    #[must_use]
    pub fn is_eos(&self, id: u32) -> bool {
        self.special.eos.contains(&id)
    }

    /// The padding id, if the model's files declare one; there is no default.
    #[must_use]
    pub fn pad(&self) -> Option<u32> {
        self.special.pad
    }
}

/// Runs a call into the `tokenizers` crate. The crate panics if the content of `tokenizer.json` contradicts itself,
/// or if one of its patterns takes too many steps on a text. Such a panic becomes `Malformed`, as the crate's errors
/// do.
fn guarded<T>(label: &str, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    // Nothing half changed can be seen afterwards: the tokenizer is dropped, or was only read.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(error) => err!(Malformed, "{label} is not a usable tokenizer").with_source(error),
        }),
        Err(panic) => match panic.downcast_ref::<String>().and_then(|message| message.strip_prefix(REGEX_PANIC)) {
            Some("fail to memory") => Err(Error::oom(Site::Run, "cpu", 0, "a pattern of the tokenizer")),
            Some(why) => bail!(Malformed, "{label} has a pattern that cannot be tried on this text: {why}"),
            None => bail!(Malformed, "{label} contradicts itself: its tokenizer panicked"),
        },
    }
}

/// The beginning of the panic message of a failed search.
const REGEX_PANIC: &str = "Onig: Regex search error: ";
