//! Reading a tokenizer's files: bounded in size, each error naming its file.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Result, bail, err};

/// Bytes that `tokenizer.json` may have.
pub(super) const TOKENIZER_LIMIT: u64 = 256 << 20;

/// Bytes that any other file may have.
const SIDE_LIMIT: u64 = 16 << 20;

/// The bytes of a regular file, or `None` if there is no such file.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let name = path.display();
    let io = |error| err!(Io, "cannot read {name}").with_source(error);
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => bail!(Io, "{name} is not a regular file"),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(io(error)),
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(io)?;
    if bytes.len() as u64 > limit {
        bail!(Malformed, "{name} has more than {} MiB", limit >> 20);
    }
    Ok(Some(bytes))
}

/// A JSON object, with the path to name in errors. A file that does not exist is an empty one.
#[derive(Debug)]
pub(super) struct Json {
    path: PathBuf,
    root: Value,
}

impl Json {
    pub(super) fn read(path: PathBuf) -> Result<Self> {
        let root = match read(&path, SIDE_LIMIT)? {
            None => Value::Null,
            Some(bytes) => match serde_json::from_slice(&bytes) {
                Ok(root @ Value::Object(_)) => root,
                Ok(_) => bail!(Malformed, "{} is not a JSON object", path.display()),
                Err(error) => return Err(err!(Malformed, "{} is not JSON", path.display()).with_source(error)),
            },
        };
        Ok(Self { path, root })
    }

    /// The value at `key`, unless it is missing or null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.root.get(key).filter(|value| !value.is_null())
    }

    fn wrong<T>(&self, key: &str, wanted: &str) -> Result<T> {
        bail!(Malformed, "{}: {key} is not {wanted}", self.path.display())
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
    jinja: PathBuf,
}

impl SideFiles {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let json = |name: &str| Json::read(folder.join(name));
        Ok(Self {
            tokenizer: json("tokenizer_config.json")?,
            map: json("special_tokens_map.json")?,
            generation: json("generation_config.json")?,
            model: json("config.json")?,
            jinja: folder.join("chat_template.jinja"),
        })
    }

    /// `chat_template.jinja`, else what `tokenizer_config.json` holds.
    pub(super) fn chat_template(&self) -> Result<Option<String>> {
        let Some(bytes) = read(&self.jinja, SIDE_LIMIT)? else {
            return self.tokenizer.template("chat_template");
        };
        match String::from_utf8(bytes) {
            Ok(template) => Ok(Some(template)),
            Err(error) => Err(err!(Malformed, "{} is not UTF-8", self.jinja.display()).with_source(error)),
        }
    }
}
