//! The files of a tokenizer: bounded in size, each error naming its file.

use serde_json::Value;

use crate::error::{Result, bail, err};
use crate::json;
use crate::source::{ModelFiles, OnTransfer, names};

/// Bytes that `tokenizer.json` may have.
const TOKENIZER_LIMIT: u64 = 256 << 20;

/// Bytes that any other file may have.
const SIDE_LIMIT: u64 = 16 << 20;

/// The model's tokenizer, the one file that there must be.
pub(super) const TOKENIZER: &str = names::TOKENIZER;

/// The chat template, where it is a file of its own.
const TEMPLATE: &str = "chat_template.jinja";

/// How messages name the file `name`.
pub(super) fn label(files: &dyn ModelFiles, name: &str) -> String {
    format!("{name} of {}", files.describe())
}

/// The bytes of the tokenizer's main file.
pub(super) fn read_tokenizer(files: &dyn ModelFiles, name: &str, on: &mut OnTransfer<'_>) -> Result<Vec<u8>> {
    let content = files.read_required(name, TOKENIZER_LIMIT, on)?;
    json::check_beginning(&content, &label(files, name))?;
    Ok(content)
}

/// A JSON object, with the name to tell in errors. A file that does not exist is an empty one.
#[derive(Debug)]
pub(super) struct Json {
    label: String,
    root: Value,
}

impl Json {
    pub(super) fn read(files: &dyn ModelFiles, name: &str, on: &mut OnTransfer<'_>) -> Result<Self> {
        let label = label(files, name);
        let root = match files.read(name, SIDE_LIMIT, on)? {
            None => Value::Null,
            Some(bytes) => match serde_json::from_slice(&bytes) {
                Ok(root @ Value::Object(_)) => root,
                Ok(_) => bail!(Malformed, "{label} is not a JSON object"),
                Err(error) => return Err(err!(Malformed, "{label} is not JSON").with_source(error)),
            },
        };
        Ok(Self { label, root })
    }

    /// The value at `key`, unless it is missing or null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.root.get(key).filter(|value| !value.is_null())
    }

    fn wrong<T>(&self, key: &str, wanted: &str) -> Result<T> {
        bail!(Malformed, "{}: {key} is not {wanted}", self.label)
    }

    /// A truth value.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.wrong(key, "true or false"),
        }
    }

    /// A token's spelling: a string, or an object with it as `content`.
    pub(super) fn token(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(token)) => Ok(Some(token)),
            Some(value) => match value.get("content").and_then(Value::as_str) {
                Some(token) => Ok(Some(token)),
                None => self.wrong(key, "a token"),
            },
        }
    }

    /// One token id or a list of them; falls back to the language part of a multi-modal config. A negative id, which
    /// old configs use for "none", is left out.
    pub(super) fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let nested = || self.root.get("text_config").and_then(|config| config.get(key));
        let values = match self.get(key).or_else(nested) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let mut ids = Vec::new();
        for value in values {
            match value.as_i64().map(u32::try_from) {
                Some(Ok(id)) => ids.push(id),
                Some(Err(_)) if value.as_i64() < Some(0) => {}
                _ => return self.wrong(key, "a token id or a list of them"),
            }
        }
        Ok(ids)
    }

    /// A chat template: a string, or the `default` (else the only) one of a list of `{name, template}`.
    fn template(&self, key: &str) -> Result<Option<String>> {
        let list = match self.get(key) {
            None => return Ok(None),
            Some(Value::String(template)) => return Ok(Some(template.clone())),
            Some(Value::Array(list)) => list,
            Some(_) => return self.wrong(key, "a template or a list of them"),
        };
        let named = |item: &&Value| item.get("name").and_then(Value::as_str) == Some("default");
        let chosen = list.iter().find(named).or(if list.len() == 1 { list.first() } else { None });
        match chosen.map(|item| item.get("template").and_then(Value::as_str)) {
            None => Ok(None),
            Some(Some(template)) => Ok(Some(template.to_owned())),
            Some(None) => self.wrong(key, "a list of {name, template}"),
        }
    }
}

/// The optional files beside `tokenizer.json`.
#[derive(Debug)]
pub(super) struct SideFiles {
    /// `tokenizer_config.json`.
    pub(super) tokenizer: Json,
    /// `special_tokens_map.json`.
    pub(super) map: Json,
    /// `generation_config.json`.
    pub(super) generation: Json,
    /// `config.json`.
    pub(super) model: Json,
    template: Option<String>,
}

impl SideFiles {
    pub(super) fn read(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<Self> {
        let tokenizer = Json::read(files, "tokenizer_config.json", on)?;
        let template = match files.read(TEMPLATE, SIDE_LIMIT, on)? {
            None => tokenizer.template("chat_template")?,
            Some(bytes) => Some(
                String::from_utf8(bytes)
                    .map_err(|error| err!(Malformed, "{} is not UTF-8", label(files, TEMPLATE)).with_source(error))?,
            ),
        };
        Ok(Self {
            tokenizer,
            map: Json::read(files, "special_tokens_map.json", on)?,
            generation: Json::read(files, names::GENERATION, on)?,
            model: Json::read(files, names::CONFIG, on)?,
            template,
        })
    }

    /// `chat_template.jinja`, else what `tokenizer_config.json` holds.
    pub(super) fn into_chat_template(self) -> Option<String> {
        self.template
    }
}
