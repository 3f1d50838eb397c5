//! Where config.json says how positions are rotated: the one place that knows.
//!
//! The keys stand in an object, in the top level, or in both. The object is `rope_scaling` (transformers 4) unless that is
//! empty, else `rope_parameters` (transformers 5). A key is looked for as [`Key`] has it, and counts for the kinds of
//! rotation that it lists. All this is as transformers 5.24 has it. Version 4.57 differs: it reads no
//! `rope_parameters` and no `rope_theta` in an object, prefers `type` to `rope_type`, prefers the object's
//! `original_max_position_embeddings`, and reads `partial_rotary_factor` for the default kind in every family, and at the top
//! level alone.

use serde_json::Value;

use super::{Kind, RopeDefaults};
use crate::error::{Error, Result, err};
use crate::json;
use crate::model::fields::Fields;

#[derive(Clone, Copy)]
enum Place {
    Object,
    Top,
}

pub(super) struct Key {
    name: &'static str,
    /// The older spelling, looked for where the newer is not.
    older: Option<&'static str>,
    /// Where it is looked for: the first place that has it wins, be it with `null`.
    places: &'static [Place],
    /// For which it counts. For all others transformers ignores it, and so does this library.
    kinds: &'static [Kind],
}

const fn key(name: &'static str, places: &'static [Place], kinds: &'static [Kind]) -> Key {
    Key { name, older: None, places, kinds }
}

use Kind::{Alpha, Default, Dynamic, Linear, Llama3, LongRope, Proportional, Yarn};
use Place::{Object, Top};
const ALL: &[Kind] = &[Default, Linear, Dynamic, Alpha, Llama3, Yarn, LongRope, Proportional];
const SCALED: &[Kind] = &[Linear, Dynamic, Llama3, Yarn, LongRope, Proportional];

pub(super) static TYPE: Key = Key { name: "rope_type", older: Some("type"), places: &[Object], kinds: ALL };
pub(super) static THETA: Key = key("rope_theta", &[Object, Top], ALL);
pub(super) static PARTIAL: Key = key("partial_rotary_factor", &[Object, Top], SCALED);
pub(super) static FACTOR: Key = key("factor", &[Object], SCALED);
pub(super) static ALPHA: Key = key("alpha", &[Object], &[Alpha]);
pub(super) static ORIGINAL: Key = key("original_max_position_embeddings", &[Top, Object], &[Llama3, Yarn, LongRope]);
pub(super) static LOW_FREQ: Key = key("low_freq_factor", &[Object], &[Llama3]);
pub(super) static HIGH_FREQ: Key = key("high_freq_factor", &[Object], &[Llama3]);
pub(super) static BETA_FAST: Key = key("beta_fast", &[Object], &[Yarn]);
pub(super) static BETA_SLOW: Key = key("beta_slow", &[Object], &[Yarn]);
pub(super) static ATTENTION: Key = key("attention_factor", &[Object], &[Yarn, LongRope]);
pub(super) static MSCALE: Key = key("mscale", &[Object], &[Yarn]);
pub(super) static MSCALE_ALL: Key = key("mscale_all_dim", &[Object], &[Yarn]);
pub(super) static TRUNCATE: Key = key("truncate", &[Object], &[Yarn]);
pub(super) static SHORT_FACTOR: Key = key("short_factor", &[Object], &[LongRope]);
pub(super) static LONG_FACTOR: Key = key("long_factor", &[Object], &[LongRope]);

/// Of queries, not of the rotation.
pub(super) static GROWTH: Key = key("llama_4_scaling_beta", &[Object], ALL);

static KEYS: [&Key; 17] = [
    &TYPE,
    &THETA,
    &PARTIAL,
    &FACTOR,
    &ALPHA,
    &ORIGINAL,
    &LOW_FREQ,
    &HIGH_FREQ,
    &BETA_FAST,
    &BETA_SLOW,
    &ATTENTION,
    &MSCALE,
    &MSCALE_ALL,
    &TRUNCATE,
    &SHORT_FACTOR,
    &LONG_FACTOR,
    &GROWTH,
];

/// The kind of layers that `rope_scaling` is for, where kinds differ.
const FULL: &str = "full_attention";

/// The parameters of one rotation.
pub(super) struct Parameters<'a> {
    top: Fields<'a>,
    object: Option<Fields<'a>>,
    /// Whether they are those of one kind of layers.
    of_kind: bool,
    defaults: RopeDefaults,
}

impl<'a> Parameters<'a> {
    /// Those of the rotation that all layers of a config.json share.
    pub(super) fn new(top: Fields<'a>, defaults: RopeDefaults) -> Result<Self> {
        let scaling = top.get("rope_scaling").filter(|value| is_true(value));
        let object = top.object(if scaling.is_some() { "rope_scaling" } else { "rope_parameters" })?;
        let object = object.or_else(|| Some(top.within("rope_parameters", defaults.object?)));
        Ok(Self { top, object, of_kind: false, defaults })
    }

    /// Those of the layers of one `kind`, in a family in which each kind has its own: in an object within `rope_parameters`. In the
    /// older spelling layers with full attention alone have a scaling, as `rope_scaling`.
    pub(super) fn of_layers(top: Fields<'a>, kind: &'static str, defaults: RopeDefaults) -> Result<Self> {
        let own = top.object("rope_parameters")?.map_or(Ok(None), |kinds| kinds.object(kind))?;
        let scaling = top.object("rope_scaling")?.filter(|object| kind == FULL && object.iter().next().is_some());
        if own.is_some() && scaling.is_some() {
            return Err(top.unsupported("rope_scaling", &format!("rope_parameters.{kind} is there, too: keep one")));
        }
        if let Some(scaling) = scaling.filter(|object| object.has("type") && !object.has("rope_type")) {
            return Err(scaling.unsupported("type", "transformers 4 scales by it and 5 does not: write rope_type"));
        }
        let object = own.or(scaling).or_else(|| Some(top.within("rope_parameters", defaults.object?)));
        Ok(Self { top, object, of_kind: true, defaults })
    }

    /// The kind of rotation. Objects within the object are one for each kind of layer: no layer of ours has its own.
    pub(super) fn kind(&self) -> Result<Kind> {
        let Some(object) = self.object else { return Ok(Default) };
        if let Some((key, _)) = object.iter().find(|(_, value)| value.is_object() && json::not_finite(value).is_none())
        {
            return Err(object.unsupported(key, "the layers of these models share one rotation"));
        }
        let Some((fields, spelling)) = self.find(&TYPE) else { return Ok(Default) };
        let name = fields.text(spelling)?.unwrap_or_default();
        let kinds = self.defaults.kinds;
        let Some((_, kind)) = kinds.iter().copied().find(|(known, _)| *known == name) else {
            let known: Vec<_> = kinds.iter().map(|(known, _)| *known).collect();
            return Err(fields.unsupported(spelling, &format!("supported are {}", known.join(", "))));
        };
        Ok(kind)
    }

    /// Logs which keys of the object do not count for a rotation of this `kind`.
    pub(super) fn tell_unread(&self, kind: Kind) {
        let Some(object) = self.object else { return };
        let counts = |key: &&Key| self.counts(key, kind);
        let read = |name: &str| KEYS.into_iter().filter(counts).any(|key| key.name == name || key.older == Some(name));
        let rotation = self.defaults.kinds.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name);
        for (key, _) in object.iter().filter(|(key, _)| !read(key)) {
            log::warn!("{} does not count for the rotation `{rotation}`", object.name(key));
        }
    }

    /// Whether `key` changes a rotation of this `kind`. The part of a head changes every kind in the families that rotate parts.
    fn counts(&self, key: &Key, kind: Kind) -> bool {
        key.kinds.contains(&kind) || key.name == PARTIAL.name && self.defaults.partial.is_some()
    }

    /// Where `key` is, and how it is spelled there.
    fn find(&self, key: &Key) -> Option<(Fields<'a>, &'static str)> {
        key.places.iter().find_map(|place| {
            let (fields, name) = match place {
                Place::Object => (self.object?, key.name),
                // The length of the first training stands beside the kinds' own scaling only.
                Place::Top if self.of_kind && key.name == ORIGINAL.name => return None,
                Place::Top => (self.top, self.name_at_top(key)),
            };
            let mut spellings = std::iter::once(name).chain(key.older);
            spellings.find(|spelling| fields.has(spelling)).map(|spelling| (fields, spelling))
        })
    }

    /// What the top level calls `key`.
    fn name_at_top(&self, key: &Key) -> &'static str {
        match key.name {
            name if name == THETA.name => self.defaults.theta_key,
            name if name == PARTIAL.name => self.defaults.partial_key,
            name => name,
        }
    }

    /// A number above 0 and at most `max`.
    pub(super) fn positive(&self, key: &Key, max: f64) -> Result<Option<f64>> {
        match self.find(key) {
            None => Ok(None),
            Some((fields, name)) => fields.positive(name, max),
        }
    }

    /// A number above 0 and at most `max` that must be there.
    pub(super) fn required(&self, key: &Key, max: f64) -> Result<f64> {
        self.positive(key, max)?.ok_or_else(|| self.missing(key))
    }

    fn missing(&self, key: &Key) -> Error {
        err!(Malformed, "{} is missing", self.object.unwrap_or(self.top).name(key.name))
    }

    /// A number as [`positive`](Self::positive) reads it; a `null` counts as absent.
    pub(super) fn positive_or_null(&self, key: &Key, max: f64) -> Result<Option<f64>> {
        if self.is_null(key) { Ok(None) } else { self.positive(key, max) }
    }

    /// A list of `count` numbers above 0 and at most `max`, which must be there.
    pub(super) fn numbers(&self, key: &Key, count: usize, max: f64) -> Result<Vec<f64>> {
        let Some((fields, name)) = self.find(key) else { return Err(self.missing(key)) };
        let list = fields.get(name).and_then(Value::as_array).filter(|list| list.len() == count);
        let number = |value: &Value| value.as_f64().filter(|number| *number > 0.0 && *number <= max);
        let wanted = format!("a list of {count} numbers above 0, one for each pair of values that is rotated");
        list.and_then(|list| list.iter().map(number).collect()).ok_or_else(|| fields.wrong(name, &wanted))
    }

    /// How long the texts were that the model was first trained on, at most `max`.
    pub(super) fn original(&self, max: f64) -> Result<Option<f64>> {
        match self.defaults.original {
            Some(_) if !self.top.has(ORIGINAL.name) => Ok(self.defaults.original),
            _ => self.positive(&ORIGINAL, max),
        }
    }

    /// `llama_4_scaling_beta`, which must be there in the families that read it.
    pub(super) fn growth(&self) -> Result<f64> {
        let holder = self.object.unwrap_or(self.top);
        let number =
            holder.number(GROWTH.name)?.ok_or_else(|| err!(Malformed, "{} is missing", holder.name(GROWTH.name)))?;
        if number.abs() > 1e9 {
            return Err(holder.wrong(GROWTH.name, "between -1e9 and 1e9"));
        }
        Ok(number)
    }

    /// Whether `key` is there, and true as Python has it.
    pub(super) fn is_true(&self, key: &Key) -> Option<bool> {
        let (fields, name) = self.find(key)?;
        Some(fields.get(name).is_some_and(is_true))
    }

    /// A number; none where `key` is absent, or its value not true.
    pub(super) fn number(&self, key: &Key) -> Result<Option<f64>> {
        match self.find(key) {
            Some((fields, name)) if self.is_true(key) == Some(true) => fields.number(name),
            _ => Ok(None),
        }
    }

    /// Whether `key` is there with `null`.
    pub(super) fn is_null(&self, key: &Key) -> bool {
        self.find(key).is_some_and(|(fields, name)| fields.get(name).is_none())
    }

    /// The base of the wavelengths, at most `max`.
    pub(super) fn theta(&self, max: f64) -> Result<f64> {
        Ok(self.positive(&THETA, max)?.unwrap_or(self.defaults.theta))
    }

    /// The part of a head that a rotation of this `kind` turns; `null` means the whole.
    pub(super) fn partial(&self, kind: Kind) -> Result<f64> {
        let whole = self.defaults.partial.unwrap_or(1.0);
        let Some((fields, name)) = self.find(&PARTIAL).filter(|_| self.counts(&PARTIAL, kind)) else {
            return Ok(whole);
        };
        if fields.get(name).is_none() {
            return Ok(1.0);
        }
        let part = fields.number(name)?;
        if self.defaults.partial.is_none() && part != Some(1.0) {
            return Err(fields.unsupported(name, "these models rotate the whole head"));
        }
        let part = part.unwrap_or(whole);
        if !(0.0..=1.0).contains(&part) {
            return Err(fields.wrong(name, "between 0 and 1"));
        }
        Ok(part)
    }

    /// The part of a head's pairs that turn where the others stand still.
    pub(super) fn part(&self) -> Result<f64> {
        let Some((fields, name)) = self.find(&PARTIAL) else { return Ok(1.0) };
        let part = fields.number(name)?.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&part) {
            return Err(fields.wrong(name, "between 0 and 1"));
        }
        Ok(part)
    }

    /// What is under `key`, which is there, is not `wanted`.
    pub(super) fn wrong(&self, key: &Key, wanted: &str) -> Error {
        let (fields, name) = self.find(key).unwrap_or((self.top, key.name));
        fields.wrong(name, wanted)
    }
}

/// What Python takes for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}
