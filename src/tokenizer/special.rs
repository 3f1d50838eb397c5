//! Which tokens are added and which are special. Seven files say so, and they need not agree.
//!
//! The rule is that of `transformers` 5.24 for a model with a `tokenizer.json` (`AutoTokenizer`, `TokenizersBackend`):
//!
//! * **`tokenizer.json`** decides how text becomes ids: normalizer, pre-tokenizer, model, decoder, and the
//!   post-processor, which alone decides which tokens stand around a text. Nobody reads `add_bos_token` and
//!   `add_eos_token` of `tokenizer_config.json`.
//! * **`tokenizer_config.json`** names tokens: by `bos_token` and the other keys of [`STANDARD`], by any other key
//!   that ends in `_token` and has a text, and by `extra_special_tokens` if it is an object. Those names are the
//!   variables of a chat template. `extra_special_tokens` as a list adds tokens without a name; where no file has such a
//!   list, `additional_special_tokens` does. With `split_special_tokens`, special tokens are encoded like ordinary text.
//! * **`added_tokens_decoder`** in it lists added tokens with flags; the flags win over those of `tokenizer.json`. With
//!   it, `special_tokens_map.json` and `added_tokens.json` are not read.
//! * **`special_tokens_map.json`**, else, wins over what `tokenizer_config.json` says of the same key, but for a text under
//!   a name of the model's own; lists of `extra_special_tokens` are joined. And
//!   **`added_tokens.json`** lists added tokens: special if they have a name or are in `extra_special_tokens`.
//! * A token that is listed or named becomes an added token, special if it is named. Its id is the one that it has in
//!   the vocabulary, else the next free one: listed tokens come first, in the order of the ids that the list states.
//!   A stated id means nothing else. `padding` of `tokenizer.json` names the `pad_token` where nothing else does.
//! * A class names tokens where the files do not ([`defaults`]). The class is the `tokenizer_class` of
//!   `tokenizer_config.json`, else that of `config.json`; but Mistral has no class, and Qwen2 always its own.
//! * `fix_mistral_regex` is refused where it would replace the pattern of a Mistral's `tokenizer.json`.
//! * **`generation_config.json`** says where generation ends; see [`Special::eos`].
//!
//! A broken `generation_config.json` is ignored with a warning. Any other of these files that is broken is refused by
//! its name, as `transformers` does; a file that is not read may be broken.
//!
//! One difference to `transformers` is known. For some classes (`LlamaTokenizer` without a byte-level vocabulary,
//! `GPT2Tokenizer`, `GemmaTokenizer` and others) `transformers` 5 takes only vocabulary, merges and post-processor
//! from `tokenizer.json` and builds the rest anew from the class; added tokens that the vocabulary lacks get the ids
//! that are stated for them, and those that only `tokenizer.json` has are dropped if there is an
//! `added_tokens_decoder`. Here `tokenizer.json` decides, as in `transformers` 4 and in every program that reads the
//! file with `tokenizers`: it is what the author published and what the model was trained with. For most published
//! models both give the same. They differ, without a word, if the file's stages are not those of the class. The
//! common case is Llama 2's own file, which puts a space before the text behind each special token; the class puts
//! none: `<s>hi` is `<s>`, `▁hi` here and `<s>`, `hi` there.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::added::{Declared, Listed};
use super::files::{Json, SideFiles};
use crate::error::{Result, bail};

/// The names that every tokenizer may give.
const STANDARD: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The keys of tokens that are special without a name, or of names and tokens in an object: the newer and the older one.
const EXTRA: &str = "extra_special_tokens";
const ADDITIONAL: &str = "additional_special_tokens";

/// The names and tokens that the classes of published causal models have.
fn defaults(class: &str) -> &'static [(&'static str, &'static str)] {
    match class {
        "LlamaTokenizer" | "CodeLlamaTokenizer" => {
            &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")]
        }
        "Qwen2Tokenizer" => {
            &[("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")]
        }
        "GPT2Tokenizer" => {
            &[("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")]
        }
        "GPTNeoXTokenizer" => &[
            ("bos_token", "<|endoftext|>"),
            ("eos_token", "<|endoftext|>"),
            ("unk_token", "<|endoftext|>"),
            ("pad_token", "<|padding|>"),
        ],
        "GemmaTokenizer" => &[
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
        _ => &[],
    }
}

/// The class that `transformers` takes; empty for the class that names no tokens.
fn class(side: &SideFiles, byte_level: bool) -> &str {
    let stated = || side.tokenizer.text("tokenizer_class").or(side.model.text("tokenizer_class"));
    let stated = match side.model.text("model_type") {
        Some("qwen2") => Some("Qwen2Tokenizer"),
        Some("qwen3") => stated().or(Some("Qwen2Tokenizer")),
        Some("llama") | None => stated(),
        _ => None,
    };
    let class = stated.map_or("", |class| class.strip_suffix("Fast").unwrap_or(class));
    if class == "LlamaTokenizer" && byte_level { "" } else { class }
}

/// Refuses a tokenizer of `size` tokens if `transformers` would replace its pattern.
pub(super) fn refuse_patched(side: &SideFiles, size: usize) -> Result<()> {
    let mistral = ["mistral", "mistral3", "voxtral", "ministral", "pixtral"];
    let version = side.model.text("transformers_version").and_then(|version| version.split('.').next()?.parse().ok());
    let concerned = size > 100_000
        && side.model.text("model_type").is_none_or(|model| mistral.contains(&model))
        && version.is_none_or(|major: u32| major < 5);
    if concerned && side.tokenizer.flag("fix_mistral_regex")? == Some(true) {
        bail!(
            Unsupported,
            "fix_mistral_regex of tokenizer_config.json is not supported: save the tokenizer with transformers, which \
             writes the fixed pattern to tokenizer.json, and take the key away"
        );
    }
    Ok(())
}

/// The tokens that the files declare, before they have ids.
#[derive(Debug)]
pub(super) struct Tokens {
    /// The named tokens, in the order in which missing ones are added.
    names: Vec<(String, Declared)>,
    /// Flags for tokens that exist, and tokens to add.
    pub(super) changes: Vec<Declared>,
    /// Whether `transformers` ignores the flags of `tokenizer.json`.
    pub(super) all_anew: bool,
    /// Whether special tokens are encoded like ordinary text.
    pub(super) split: bool,
}

impl Tokens {
    /// Reads the files. `byte_level` says whether the vocabulary of `tokenizer.json` is one of bytes.
    pub(super) fn read(side: &SideFiles, listed: &Listed, byte_level: bool) -> Result<Self> {
        let class = class(side, byte_level);
        let mut names = Names::of(&side.tokenizer)?;
        let added = if let Some(list) = side.tokenizer.get("added_tokens_decoder") {
            Added::of_decoder(list, &side.tokenizer)?
        } else {
            names.override_by(&side.map)?;
            Added::of_legacy(&side.added, listed, &names.special())?
        };
        names.complete(&added, defaults(class), listed.pad.as_deref());
        let (named, extra) = names.resolved();

        let is_named: HashSet<_> = named.iter().map(|(_, token)| token.content.as_str()).collect();
        let known: HashSet<_> =
            listed.tokens().map(|(_, token)| token.content).chain(added.by_content.into_keys()).collect();
        let mut changes: Vec<_> = added.by_id.into_values().collect();
        let all = || named.iter().map(|(_, token)| token).chain(&extra);
        changes.extend(all().filter(|token| !known.contains(&token.content)).cloned());
        for token in &mut changes {
            token.special |= is_named.contains(token.content.as_str());
        }
        if class == "Qwen2Tokenizer" {
            changes.extend(all().map(|token| Declared::new(&token.content, true)));
        }
        let split = side.tokenizer.flag("split_special_tokens")?.unwrap_or(false);
        Ok(Self { names: named, changes, all_anew: !defaults(class).is_empty(), split })
    }
}

/// The tokens that have names, and those that are special without a name.
#[derive(Debug, Default)]
struct Names {
    /// The tokens with standard names; `None` if a file says that there is none.
    named: Vec<(String, Option<Declared>)>,
    /// The model's own names that `tokenizer_config.json` gives with flags, and those of `special_tokens_map.json`.
    flagged: Own,
    /// Its other own names, which win over those.
    own: Own,
    /// The list `extra_special_tokens`; `None` if no file has it, be it empty.
    extra: Option<Vec<Declared>>,
    /// The list `additional_special_tokens`, which counts where that one is not there.
    additional: Vec<Declared>,
}

/// The names that are the model's own, each once, in the order in which they came.
#[derive(Debug, Default)]
struct Own {
    list: Vec<(String, Declared)>,
    places: HashMap<String, usize>,
}

impl Own {
    fn set(&mut self, name: &str, token: Declared) {
        if let Some(place) = self.places.get(name) {
            self.list[*place].1 = token;
        } else {
            self.places.insert(name.to_owned(), self.list.len());
            self.list.push((name.to_owned(), token));
        }
    }

    fn set_all(&mut self, file: &Json, object: &Map<String, Value>) -> Result<()> {
        for (name, value) in object {
            if let Some(token) = token(file, name, value)? {
                self.set(name, token);
            }
        }
        Ok(())
    }
}

impl Names {
    /// The names in `tokenizer_config.json`.
    fn of(file: &Json) -> Result<Self> {
        let mut names = Self::default();
        for (key, value) in file.entries().filter(|(key, _)| key.ends_with("_token")) {
            if STANDARD.contains(&key.as_str()) {
                names.named.push((key.clone(), token(file, key, value)?));
            } else if (value.is_string() || value.get("__type").is_some())
                && let Some(token) = token(file, key, value)?
            {
                let own = if value.is_string() { &mut names.own } else { &mut names.flagged };
                own.set(key, token);
            }
        }
        let empty = |value: &Value| match value {
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
            value => value.is_null(),
        };
        let renamed = file.value(EXTRA).is_none_or(empty) && file.value(ADDITIONAL).is_some();
        let key = if renamed { ADDITIONAL } else { EXTRA };
        match file.value(key) {
            None => {}
            Some(Value::Object(object)) => names.own.set_all(file, object)?,
            Some(_) => names.extra = Some(tokens(file, key)?),
        }
        if !renamed && names.extra.is_none() {
            names.additional = tokens(file, ADDITIONAL)?;
        }
        Ok(names)
    }

    /// Applies `special_tokens_map.json`.
    fn override_by(&mut self, map: &Json) -> Result<()> {
        for (key, value) in map.entries() {
            match (key.as_str(), value) {
                (EXTRA, Value::Object(object)) => {
                    self.own.set_all(map, object)?;
                    self.extra = None;
                }
                (EXTRA, Value::Null) => self.extra = Some(Vec::new()),
                (EXTRA, _) => self.extra.get_or_insert_default().extend(tokens(map, key)?),
                (ADDITIONAL, _) => self.additional = tokens(map, key)?,
                (name, _) if !name.ends_with("_token") => {}
                (name, _) => {
                    let token = token(map, key, value)?.map(Declared::into_special);
                    if STANDARD.contains(&name) {
                        self.named.retain(|(other, _)| other != name);
                        self.named.push((key.clone(), token));
                    } else if let Some(token) = token {
                        self.flagged.set(name, token);
                    }
                }
            }
        }
        Ok(())
    }

    /// The spellings of all tokens that are special so far.
    fn special(&self) -> HashSet<&str> {
        let named = self.named.iter().filter_map(|(_, token)| token.as_ref());
        named.chain(self.extra.iter().flatten()).map(|token| token.content.as_str()).collect()
    }

    /// Sorts the standard names, gives their tokens the flags of the added tokens, and adds the defaults that no file
    /// mentions.
    fn complete(&mut self, added: &Added, defaults: &[(&str, &str)], pad: Option<&str>) {
        let mut said: HashMap<_, _> = std::mem::take(&mut self.named).into_iter().collect();
        for name in STANDARD {
            let token = if let Some(token) = said.remove(name) {
                token.map(|token| added.by_content.get(&token.content).cloned().unwrap_or(token))
            } else {
                let default = defaults.iter().find(|(key, _)| *key == name).map(|(_, content)| *content);
                let content = default.or(pad.filter(|_| name == "pad_token"));
                content.map(|content| Declared::new(content, true))
            };
            self.named.push((name.to_owned(), token));
        }
    }

    /// The tokens with names, each name once, and those without.
    fn resolved(self) -> (Vec<(String, Declared)>, Vec<Declared>) {
        let mut all = Own::default();
        let standard = self.named.into_iter().filter_map(|(name, token)| Some((name, token?)));
        for (name, token) in standard.chain(self.flagged.list).chain(self.own.list) {
            all.set(&name, token);
        }
        (all.list, self.extra.unwrap_or(self.additional))
    }
}

/// The added tokens that the files beside `tokenizer.json` list.
#[derive(Debug, Default)]
struct Added {
    by_id: BTreeMap<u32, Declared>,
    by_content: HashMap<String, Declared>,
}

impl Added {
    fn insert(&mut self, id: u32, token: Declared) {
        self.by_content.insert(token.content.clone(), token.clone());
        self.by_id.insert(id, token);
    }

    /// The `added_tokens_decoder` of `file`.
    fn of_decoder(list: &Value, file: &Json) -> Result<Self> {
        let mut added = Self::default();
        let Some(list) = list.as_object() else {
            return file.wrong("added_tokens_decoder", "an object of ids and tokens");
        };
        for (id, token) in list {
            let token = Some(token).filter(|token| token.is_object()).and_then(|token| Declared::read(token, false));
            let (Ok(id), Some(token)) = (id.parse(), token) else {
                return file.wrong(&format!("added_tokens_decoder.{id}"), "a token with its id");
            };
            added.insert(id, token);
        }
        Ok(added)
    }

    /// The tokens of `added_tokens.json`; where `tokenizer.json` uses the same id, its token.
    fn of_legacy(file: &Json, listed: &Listed, special: &HashSet<&str>) -> Result<Self> {
        let mut added = Self::default();
        for (content, id) in file.entries() {
            let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
                return file.wrong(content, "a token's id");
            };
            added.insert(id, Declared::new(content, special.contains(content.as_str())));
        }
        listed.tokens().for_each(|(id, token)| added.insert(id, token));
        Ok(added)
    }
}

/// Reads `value`, which `file` has at `key`, as a token; `None` if it is null.
fn token(file: &Json, key: &str, value: &Value) -> Result<Option<Declared>> {
    match Declared::read(value, true) {
        None if !value.is_null() => file.wrong(key, "a token"),
        token => Ok(token),
    }
}

/// The list of tokens that `file` has at `key`.
fn tokens(file: &Json, key: &str) -> Result<Vec<Declared>> {
    match file.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => {
            let tokens: Option<_> = list.iter().map(|value| Declared::read(value, true)).collect();
            tokens.map_or_else(|| file.wrong(key, "a list of tokens"), Ok)
        }
        Some(_) => file.wrong(key, "a list of tokens"),
    }
}

/// The special tokens of a model.
#[derive(Debug)]
pub(super) struct Special {
    pub(super) bos: Option<u32>,
    /// Where generation ends. `generation_config.json` decides, as in `transformers`: `config.json` is often stale,
    /// so it counts only if `generation_config.json` says nothing.
    ///
    /// Two more tokens end a text than in `transformers`, where it would go on until it is cut off: the tokenizer's
    /// own `eos_token`, and a special token that `config.json` declares. The reason is that chat models are published
    /// with the end of a turn in only one of the three files. A stale id does no harm here, since no answer has a
    /// special token in its middle. The end of a turn that no file declares is not found.
    pub(super) eos: Vec<u32>,
    pub(super) pad: Option<u32>,
    /// Variables for a chat template: `bos_token` and the like, with the token's spelling.
    pub(super) names: Vec<(String, String)>,
    /// The control tokens of chats, beside special ones, if `chat_control_tokens` of `tokenizer_config.json` lists
    /// them.
    pub(super) control: Option<Vec<String>>,
}

/// The end-of-sequence ids of a model without a tokenizer: those of `generation_config.json`, else of `config.json`.
pub(super) fn declared_eos(generation: &Json, model: &Json) -> Result<Vec<u32>> {
    let mut eos = generation.ids("eos_token_id")?;
    if generation.get("eos_token_id").is_none() {
        eos = model.ids("eos_token_id")?;
    }
    let mut seen = HashSet::new();
    eos.retain(|id| seen.insert(*id));
    Ok(eos)
}

impl Special {
    pub(super) fn new(
        tokens: Tokens,
        side: &SideFiles,
        id_of: impl Fn(&str) -> Option<u32>,
        is_special: impl Fn(u32) -> bool,
    ) -> Result<Self> {
        let names: Vec<_> = tokens.names.into_iter().map(|(name, token)| (name, token.content)).collect();
        let by_name = |name| names.iter().find(|(key, _)| *key == name).and_then(|(_, token)| id_of(token));
        let declared = |key| -> Result<Option<u32>> {
            let ids = side.generation.ids(key)?.into_iter().chain(side.model.ids(key)?);
            Ok(ids.into_iter().next())
        };
        let mut eos = declared_eos(&side.generation, &side.model)?;
        let more = side.model.ids("eos_token_id")?.into_iter().filter(|id| is_special(*id));
        for id in more.chain(by_name("eos_token")) {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        let bos = by_name("bos_token").or(declared("bos_token_id")?);
        let pad = by_name("pad_token").or(declared("pad_token_id")?);
        let control = match side.tokenizer.get("chat_control_tokens") {
            None => None,
            Some(Value::Array(list)) => list.iter().map(|token| token.as_str().map(str::to_owned)).collect(),
            Some(_) => return side.tokenizer.wrong("chat_control_tokens", "a list of texts"),
        };
        Ok(Self { bos, eos, pad, names, control })
    }
}
