//! Text to token ids and back, by a model's `tokenizer.json`.
//!
//! The files are data: nothing in them is run as code. A [`Tokenizer`] needs no weights and no shard.

mod chat;
mod clock;
mod files;
mod growth;
mod meter;
mod plan;
mod special;
mod stream;
mod template;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tokenizers::Decoder;

pub use self::chat::ChatMessage;
pub use self::stream::TextStream;

use self::files::{Json, SideFiles};
use self::plan::Plan;
use self::special::Special;
use crate::error::{Result, bail, err};
use crate::source::{Folder, ModelFiles, OnTransfer, Transfer, names};

/// The end-of-sequence ids that a model declares, in `generation_config.json` and `config.json`. For models that come
/// without a tokenizer.
pub(crate) fn declared_eos(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<Vec<u32>> {
    let mut read = |name: &str| Json::read(files, name, on);
    special::declared_eos(&read(names::GENERATION)?, &read(names::CONFIG)?)
}

/// An immutable tokenizer: `Send`, `Sync`, and usable from many threads at once without waiting.
#[derive(Debug)]
pub struct Tokenizer {
    /// How messages name its main file.
    label: String,
    inner: tokenizers::Tokenizer,
    size: usize,
    special: Special,
    plan: Plan,
    chat_template: Option<String>,
}

impl Tokenizer {
    /// Opens the tokenizer of a model folder, or the `tokenizer.json` that `path` names.
    ///
    /// Read from the same folder where they exist: `tokenizer_config.json`, `special_tokens_map.json`,
    /// `generation_config.json` and `config.json` (special tokens), and `chat_template.jinja`. Truncation and padding
    /// that `tokenizer.json` may ask for are switched off.
    ///
    /// For a model that is no folder: [`Engine::tokenizer`](crate::Engine::tokenizer).
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

    /// The tokenizer of the model whose files these are. `on` hears of the transfer of its main file, and is asked
    /// during the others, which are small.
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
        let (inner, size) = guarded(&label, || {
            let mut inner = tokenizers::Tokenizer::from_bytes(json)?;
            growth::check(&inner)?;
            inner.with_truncation(None)?;
            inner.with_padding(None);
            let size = inner.get_vocab_size(true);
            Ok((inner, size))
        })?;
        let special = Special::new(&beside, |token| inner.token_to_id(token))?;
        let plan = Plan::new(inner.get_decoder());
        Ok(Self { chat_template: beside.into_chat_template(), label, inner, size, special, plan })
    }

    /// The token ids of `text`, however many: never truncated, never padded.
    ///
    /// With `add_special`, the tokens that the model wants around a text (such as its BOS) are added: those of
    /// `tokenizer.json`, or BOS and EOS exactly as `tokenizer_config.json` says if it has `add_bos_token` or
    /// `add_eos_token`. A text from [`Self::apply_chat_template`] already holds them: encode it with
    /// `add_special = false`, or it gets a second BOS. Special tokens spelled out in `text` are recognised either way.
    ///
    /// # Errors
    /// `Malformed`, naming the file, if the tokenizer's own rules fail on this text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let around = self.special.around();
        let by_file = add_special && around.is_none();
        let encoding = guarded(&self.label, || self.inner.encode_fast(text, by_file))?;
        let (before, after) = around.filter(|_| add_special).unwrap_or_default();
        Ok(before.into_iter().chain(encoding.get_ids().iter().copied()).chain(after).collect())
    }

    /// The text of `ids`; with `skip_special`, without the special tokens among them.
    ///
    /// Bytes that are not UTF-8 become U+FFFD. No spaces are cleaned up around punctuation.
    ///
    /// # Errors
    /// `OutOfRange`, naming the id and its index, if an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let mut tokens = Vec::with_capacity(ids.len());
        for (index, &id) in ids.iter().enumerate() {
            let Some(token) = self.id_to_token(id) else {
                bail!(OutOfRange, "id {id} at index {index} is not in the vocabulary of {} tokens", self.size);
            };
            if !(skip_special && self.is_special(&token)) {
                tokens.push(token);
            }
        }
        match self.inner.get_decoder() {
            Some(decoder) => guarded(&self.label, || decoder.decode(tokens)),
            None => Ok(tokens.join(" ")),
        }
    }

    /// How many tokens there are, added ones included. Ids may have gaps, and a model may have more rows of logits.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The id of the token spelled exactly `token`, such as `<|im_end|>`.
    #[must_use]
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The spelling of token `id` in the vocabulary, which is not its text: see [`Self::decode`].
    #[must_use]
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The beginning-of-sequence id that the model's files declare, whether or not [`Self::encode`] adds it.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// Every end-of-sequence id: those of `generation_config.json`, then `config.json`, then the tokenizer's own.
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

    /// The prompt text of `messages` by the model's chat template; with `add_generation_prompt`, it ends where the
    /// assistant's answer begins. Encode it with `add_special = false`.
    ///
    /// The template runs in the dialect of `transformers`, with a bounded number of steps and size of output.
    /// `strftime_now` gives UTC.
    ///
    /// # Errors
    /// `Unsupported` if the model has no chat template; `InvalidArgument` with the template's own words if it refuses
    /// these messages; `Malformed`, with the line, if the template is faulty or exceeds its bounds.
    pub fn apply_chat_template(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String> {
        let Some(template) = &self.chat_template else {
            bail!(Unsupported, "{} comes without a chat template", self.label);
        };
        chat::render(template, &self.special.names, messages, add_generation_prompt)
    }

    fn is_special(&self, token: &str) -> bool {
        self.inner.get_added_vocabulary().is_special_token(token)
    }
}

/// Runs a call into the `tokenizers` crate, which can panic where the content of `tokenizer.json` is at odds with
/// itself; that is `Malformed`, like the errors it returns.
fn guarded<T>(label: &str, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    // Nothing is left half-changed: the tokenizer is either dropped or was only read from.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(err!(Malformed, "{label} is not a usable tokenizer").with_source(error)),
        Err(_) => bail!(Malformed, "{label} contradicts itself: its tokenizer panicked"),
    }
}
