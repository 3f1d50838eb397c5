//! Checked reading of one JSON object: every error names the file, the key and the limit.
//!
//! Numbers from a config reach array sizes and, through node attributes, code that trusts them; so each is read with
//! the range it may have.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{Error, Result, bail, err};
use crate::json;

/// A JSON object and where it came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    file: &'a str,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which must be an object.
    pub(crate) fn new(value: &'a Value, file: &'a str) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(Self { object, file }),
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

    /// The object under `key`.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Self { object, file: self.file })),
            Some(_) => Err(self.wrong(key, "an object")),
        }
    }

    /// An integer within `range`.
    pub(crate) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(number) = value.as_u64() else { return Err(self.wrong(key, "a whole number >= 0")) };
        if !range.contains(&number) {
            bail!(Malformed, "{}: {key} is {number}, outside {}..={}", self.file, range.start(), range.end());
        }
        Ok(Some(number as usize))
    }

    /// An integer within `range` that must be there.
    pub(crate) fn required(&self, key: &str, range: RangeInclusive<u64>) -> Result<usize> {
        self.integer(key, range)?.ok_or_else(|| err!(Malformed, "{}: {key} is missing", self.file))
    }

    /// A finite number greater than 0 and at most `max`.
    pub(crate) fn positive(&self, key: &str, max: f64) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(number) = value.as_f64() else { return Err(self.wrong(key, "a number")) };
        if !(number > 0.0 && number <= max) {
            bail!(Malformed, "{}: {key} is {number}, outside 0 < {key} <= {max}", self.file);
        }
        Ok(Some(number))
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A string.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// A list of strings.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.wrong(key, "a list of strings"))
    }

    fn wrong(&self, key: &str, wanted: &str) -> Error {
        match self.object.get(key).and_then(json::not_finite) {
            Some(number) => err!(Malformed, "{}: {key} is {number}, not {wanted}", self.file),
            None => err!(Malformed, "{}: {key} is not {wanted}", self.file),
        }
    }
}
