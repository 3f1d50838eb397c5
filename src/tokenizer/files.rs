//! Reads the files of a tokenizer. Their sizes are bounded, and each error names its file.

use serde_json::{Map, Value};

use super::memory;
use super::templates::Templates;
use crate::error::{ErrorKind, Result, bail, err};
use crate::json;
use crate::source::{ModelFiles, OnTransfer, names};

/// Bytes that `tokenizer.json` may have.
const TOKENIZER_LIMIT: u64 = 256 << 20;

/// Bytes that any other file may have.
const SIDE_LIMIT: u64 = 16 << 20;

/// The tokenizer itself, the only file that must exist.
pub(super) const TOKENIZER: &str = names::TOKENIZER;

/// The chat template, if it is a file of its own.
const TEMPLATE: &str = "chat_template.jinja";

/// The folder of further templates beside that file, and the names that they have.
const TEMPLATES: &str = "additional_chat_templates";
const MORE_TEMPLATES: [&str; 2] = ["tool_use", "rag"];

/// The name of the file `name` in messages.
pub(super) fn label(files: &dyn ModelFiles, name: &str) -> String {
    format!("{name} of {}", files.describe())
}

/// The bytes of the tokenizer's main file.
pub(super) fn read_tokenizer(files: &dyn ModelFiles, name: &str, on: &mut OnTransfer<'_>) -> Result<Vec<u8>> {
    let bytes = files.read_required(name, TOKENIZER_LIMIT, on)?;
    json::check_beginning(&bytes, &label(files, name))?;
    memory::to_open(&bytes)?;
    Ok(bytes)
}

/// The chat template in the file `name`, if there is one.
fn template(files: &dyn ModelFiles, name: &str, on: &mut OnTransfer<'_>) -> Result<Option<String>> {
    let Some(bytes) = files.read(name, SIDE_LIMIT, on)? else { return Ok(None) };
    let wrong = |error| err!(Malformed, "{} is not UTF-8", label(files, name)).with_source(error);
    String::from_utf8(bytes).map(Some).map_err(wrong)
}

/// The JSON object of a file, and the file's name for errors. If the file does not exist, the object is empty.
#[derive(Debug)]
pub(super) struct Json {
    label: String,
    root: Map<String, Value>,
}

impl Json {
    pub(super) fn read(files: &dyn ModelFiles, name: &str, on: &mut OnTransfer<'_>) -> Result<Self> {
        let label = label(files, name);
        let root = match files.read(name, SIDE_LIMIT, on)? {
            None => Map::new(),
            Some(bytes) => match json::parse(&bytes, &label)? {
                Value::Object(root) => root,
                _ => bail!(Malformed, "{label} is not a JSON object"),
            },
        };
        Ok(Self { label, root })
    }

    /// `generation_config.json`. A file that is no JSON is ignored with a warning: models are published with such
    /// files, and `transformers` ignores them, too.
    pub(super) fn read_generation(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<Self> {
        match Self::read(files, names::GENERATION, on) {
            Err(error) if error.kind() == ErrorKind::Malformed => {
                log::warn!("{}: the file is left out", error.chain());
                Ok(Self::absent(files, names::GENERATION))
            }
            read => read,
        }
    }

    fn absent(files: &dyn ModelFiles, name: &str) -> Self {
        Self { label: label(files, name), root: Map::new() }
    }

    /// All keys with their values, in the order of the file.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.root.iter()
    }

    /// The value at `key`, which may be null.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.root.get(key)
    }

    /// The value at `key`, unless it is missing or null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.value(key).filter(|value| !value.is_null())
    }

    pub(super) fn wrong<T>(&self, key: &str, wanted: &str) -> Result<T> {
        bail!(Malformed, "{}: {key} is not {wanted}", self.label)
    }

    /// The truth value at `key`; an error if there is another value.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.wrong(key, "true or false"),
        }
    }

    /// The text at `key`, if it is a text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(Value::as_str)
    }

    /// The token id, or the list of them, at `key`; if there is none, that of the language part of a multi-modal
    /// config. Negative ids, which mean "none" in old configs, are left out.
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

    /// The chat templates at `key`: a string, or a list of `{name, template}`.
    fn templates(&self, key: &str) -> Result<Templates> {
        let list = match self.get(key) {
            None => return Ok(Templates::default()),
            Some(Value::String(template)) => return Ok(Templates::one(template.clone())),
            Some(Value::Array(list)) => list,
            Some(_) => return self.wrong(key, "a template or a list of them"),
        };
        let mut templates = Templates::default();
        for item in list {
            let text = |key| item.get(key).and_then(Value::as_str);
            match (text("name"), text("template")) {
                (Some(name), Some(template)) => templates.add(name, template),
                _ => return self.wrong(key, "a list of {name, template}"),
            }
        }
        Ok(templates)
    }
}

/// The optional files beside `tokenizer.json`.
#[derive(Debug)]
pub(super) struct SideFiles {
    /// `tokenizer_config.json`.
    pub(super) tokenizer: Json,
    /// `special_tokens_map.json`; empty where `tokenizer_config.json` has `added_tokens_decoder`, which replaces it.
    pub(super) map: Json,
    /// `added_tokens.json`; likewise.
    pub(super) added: Json,
    /// `generation_config.json`.
    pub(super) generation: Json,
    /// `config.json`.
    pub(super) model: Json,
    templates: Templates,
}

impl SideFiles {
    pub(super) fn read(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<Self> {
        let tokenizer = Json::read(files, "tokenizer_config.json", on)?;
        let replaced = tokenizer.get("added_tokens_decoder").is_some();
        let mut legacy = |name| if replaced { Ok(Json::absent(files, name)) } else { Json::read(files, name, on) };
        let (map, added) = (legacy("special_tokens_map.json")?, legacy("added_tokens.json")?);
        let templates = match template(files, TEMPLATE, on)? {
            None => tokenizer.templates("chat_template")?,
            Some(text) => {
                let mut templates = Templates::one(text);
                for name in MORE_TEMPLATES {
                    if let Some(text) = template(files, &format!("{TEMPLATES}/{name}.jinja"), on)? {
                        templates.add(name, &text);
                    }
                }
                templates
            }
        };
        Ok(Self {
            tokenizer,
            map,
            added,
            generation: Json::read_generation(files, on)?,
            model: Json::read(files, names::CONFIG, on)?,
            templates,
        })
    }

    /// `chat_template.jinja`, else what `tokenizer_config.json` holds.
    pub(super) fn into_chat_templates(self) -> Templates {
        self.templates
    }
}
