//! The added tokens of `tokenizer.json`, and how the files beside it change and extend them.

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::AddedToken;

use super::patterns;
use crate::error::{Result, err};

/// A token as a file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the flags of the files")]
pub(super) struct Declared {
    pub(super) content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    /// If no file says, special tokens are looked for in the original text, others in the normalised one.
    normalized: Option<bool>,
    pub(super) special: bool,
}

impl Declared {
    pub(super) fn new(content: &str, special: bool) -> Self {
        let content = content.to_owned();
        Self { content, single_word: false, lstrip: false, rstrip: false, normalized: None, special }
    }

    /// Reads a token: its spelling alone, or an object of its spelling (`content`) and flags. `None` if `value` is
    /// neither. `special` decides about a spelling alone.
    pub(super) fn read(value: &Value, special: bool) -> Option<Self> {
        if let Some(content) = value.as_str() {
            return Some(Self::new(content, special));
        }
        let flag = |key: &str| value.get(key).and_then(Value::as_bool);
        Some(Self {
            content: value.get("content")?.as_str()?.to_owned(),
            single_word: flag("single_word").unwrap_or(false),
            lstrip: flag("lstrip").unwrap_or(false),
            rstrip: flag("rstrip").unwrap_or(false),
            normalized: flag("normalized"),
            special: flag("special").unwrap_or(false),
        })
    }

    pub(super) fn into_special(self) -> Self {
        Self { special: true, ..self }
    }

    fn token(&self) -> AddedToken {
        AddedToken::from(self.content.as_str(), self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

/// An entry of the list `added_tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// The added tokens of a `tokenizer.json` whose patterns have been checked.
#[derive(Debug)]
pub(super) struct Listed {
    entries: Vec<Entry>,
    /// The bytes of the file that hold the list.
    place: Option<Range<usize>>,
    /// The token that `padding` names.
    pub(super) pad: Option<String>,
}

impl Listed {
    pub(super) fn read(json: &[u8], label: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct File<'a> {
            #[serde(borrow)]
            added_tokens: Option<&'a RawValue>,
            padding: Option<Padding>,
            normalizer: Option<Value>,
            pre_tokenizer: Option<Value>,
            decoder: Option<Value>,
        }
        #[derive(Deserialize)]
        struct Padding {
            pad_token: Option<String>,
        }
        let wrong = |error| err!(Malformed, "{label} is not a usable tokenizer").with_source(error);
        let file: File<'_> = serde_json::from_slice(json).map_err(wrong)?;
        for stage in [&file.normalizer, &file.pre_tokenizer, &file.decoder].into_iter().flatten() {
            patterns::check(stage).map_err(|why| err!(Malformed, "{label}: {why}"))?;
        }
        let pad = file.padding.and_then(|padding| padding.pad_token);
        let Some(list) = file.added_tokens.map(RawValue::get) else {
            return Ok(Self { entries: Vec::new(), place: None, pad });
        };
        let start = list.as_ptr() as usize - json.as_ptr() as usize;
        let place = Some(start..start + list.len());
        Ok(Self { entries: serde_json::from_str(list).map_err(wrong)?, place, pad })
    }

    /// Each token with its id.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (u32, Declared)> {
        self.entries.iter().map(|Entry { id, token }| {
            let declared = Declared {
                content: token.content.clone(),
                single_word: token.single_word,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                normalized: Some(token.normalized),
                special: token.special,
            };
            (*id, declared)
        })
    }

    /// Changes `json`: the tokens of its list get the flags of `changes`, and the tokens of `changes` that it lacks
    /// are added, in order. If a token is changed several times, the last change counts, but a token that was special
    /// stays so, unless `all_anew`.
    pub(super) fn merge(
        mut self,
        json: Vec<u8>,
        changes: &[Declared],
        all_anew: bool,
    ) -> Result<(Vec<u8>, Vec<AddedToken>)> {
        let place_of = |(place, entry): (usize, &Entry)| (entry.token.content.clone(), place);
        let mut places: HashMap<String, usize> = self.entries.iter().enumerate().map(place_of).collect();
        let (listed, mut changed) = (self.entries.len(), false);
        for change in changes.iter().filter(|change| !change.content.is_empty()) {
            let mut token = change.token();
            if let Some(place) = places.get(&change.content) {
                let entry = &mut self.entries[*place];
                token.special |= entry.token.special && !all_anew;
                changed |= entry.token != token && *place < listed;
                entry.token = token;
            } else {
                places.insert(change.content.clone(), self.entries.len());
                self.entries.push(Entry { id: 0, token });
            }
        }
        let new = self.entries.split_off(listed).into_iter().map(|entry| entry.token).collect();
        let Some(place) = self.place.filter(|_| changed) else {
            return Ok((json, new));
        };
        let list = serde_json::to_vec(&self.entries).map_err(|e| err!(Internal, "added tokens").with_source(e))?;
        Ok(([&json[..place.start], &list, &json[place.end..]].concat(), new))
    }
}
