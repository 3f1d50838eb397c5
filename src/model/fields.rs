//! Checked reading of one JSON object: every error names the file, the key, the value and what belongs there.
//!
//! Numbers from a config reach array sizes and, through node attributes, code that trusts them; so each is read with
//! the range it may have. A whole number may be written as a float, as some programs do.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{Error, Result, bail, err};
use crate::json;

/// Characters of a value that a message shows.
const SHOWN: usize = 80;
/// Objects within objects that are read.
const DEPTH: usize = 3;

/// A JSON object and where it came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    file: &'a str,
    /// The keys that hold the object, the outermost first; empty at the end.
    holders: [&'a str; DEPTH],
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which must be an object.
    pub(crate) fn new(value: &'a Value, file: &'a str) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(Self { object, file, holders: [""; DEPTH] }),
            _ => Err(err!(Malformed, "{file}: the top level is not an object")),
        }
    }

    /// The value under `key`; a `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is there, be it `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// All keys, with what is under them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.object.iter()
    }

    /// The object under `key`.
    pub(crate) fn object(&self, key: &'a str) -> Result<Option<Self>> {
        match self.get(key) {
            None => Ok(None),
            Some(value @ Value::Object(object)) if json::not_finite(value).is_none() => {
                Ok(Some(self.within(key, object)))
            }
            Some(_) => Err(self.wrong(key, "an object")),
        }
    }

    /// The fields of `object`, which stands for what is under `key`.
    pub(crate) fn within(&self, key: &'a str, object: &'a Map<String, Value>) -> Self {
        let mut holders = self.holders;
        if let Some(free) = holders.iter_mut().find(|holder| holder.is_empty()) {
            *free = key;
        }
        Self { object, file: self.file, holders }
    }

    /// An integer within `range`.
    pub(crate) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<usize>> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        let Some(number) = whole(value) else { return Err(self.wrong(key, "a whole number >= 0")) };
        if !range.contains(&number) {
            bail!(Malformed, "{} is {number}, outside {}..={}", self.name(key), range.start(), range.end());
        }
        Ok(Some(number as usize))
    }

    /// An integer within `range`; a `null` counts as absent.
    pub(crate) fn integer_or_null(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<usize>> {
        if self.get(key).is_none() { Ok(None) } else { self.integer(key, range) }
    }

    /// An integer within `range` that must be there.
    pub(crate) fn required(&self, key: &str, range: RangeInclusive<u64>) -> Result<usize> {
        self.integer(key, range)?.ok_or_else(|| err!(Malformed, "{} is missing", self.name(key)))
    }

    /// A finite number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.wrong(key, "a number"))
    }

    /// A finite number greater than 0 and at most `max`.
    pub(crate) fn positive(&self, key: &str, max: f64) -> Result<Option<f64>> {
        let number = self.number(key)?;
        if number.is_some_and(|number| !(number > 0.0 && number <= max)) {
            return Err(self.wrong(key, &format!("above 0 and at most {max}")));
        }
        Ok(number)
    }

    /// A number as [`positive`](Self::positive) reads it; a `null` counts as absent.
    pub(crate) fn positive_or_null(&self, key: &str, max: f64) -> Result<Option<f64>> {
        if self.get(key).is_none() { Ok(None) } else { self.positive(key, max) }
    }

    /// A list of integers within `range`; a `null` counts as absent.
    pub(crate) fn integers(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = |value| whole(value).filter(|number| range.contains(number)).map(|number| number as usize);
        let numbers = value.as_array().and_then(|list| list.iter().map(number).collect());
        numbers
            .map(Some)
            .ok_or_else(|| self.wrong(key, &format!("a list of whole numbers in {}..={}", range.start(), range.end())))
    }

    /// `true` or `false`; a `null` counts as absent.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A string.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.object.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// A string; a `null` counts as absent.
    pub(crate) fn text_or_null(&self, key: &str) -> Result<Option<&'a str>> {
        if self.get(key).is_none() { Ok(None) } else { self.text(key) }
    }

    /// A list of strings; a `null` counts as absent.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.wrong(key, "a list of strings"))
    }

    /// Refuses another `hidden_act` than the one that checkpoints of the family were trained with.
    pub(crate) fn silu_only(&self) -> Result<()> {
        match self.text("hidden_act")? {
            None | Some("silu" | "swish") => Ok(()),
            Some(_) => Err(self.unsupported("hidden_act", "supported is silu")),
        }
    }

    /// What is under `key` is not `wanted`.
    pub(crate) fn wrong(&self, key: &str, wanted: &str) -> Error {
        err!(Malformed, "{}, not {wanted}", self.shown(key))
    }

    /// What is under `key` is sound, and not supported: `why`.
    pub(crate) fn unsupported(&self, key: &str, why: &str) -> Error {
        err!(Unsupported, "{}, which is not supported: {why}", self.shown(key))
    }

    /// How messages name `key`.
    pub(crate) fn name(&self, key: &str) -> String {
        let holders = self.holders.iter().copied().filter(|holder| !holder.is_empty());
        format!("{}: {}", self.file, holders.chain([key]).collect::<Vec<_>>().join("."))
    }

    /// `key` and what is under it.
    fn shown(&self, key: &str) -> String {
        let value = self.object.get(key).unwrap_or(&Value::Null);
        let mut text = json::not_finite(value).map_or_else(|| value.to_string(), str::to_owned);
        if let Some((end, _)) = text.char_indices().nth(SHOWN) {
            text.truncate(end);
            text.push('…');
        }
        format!("{} is {text}", self.name(key))
    }
}

/// A whole number, however it is written.
fn whole(value: &Value) -> Option<u64> {
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=(1_u64 << f64::MANTISSA_DIGITS) as f64).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}
