//! JSON schemas: what is refused before they are compiled, and where they are faulty.
//!
//! llguidance leaves out what it does not know, and in places what it does, so that nothing gets there that it would not
//! heed.

use std::collections::BTreeMap;

use llguidance::{GrammarBuilder, JsonCompileOptions};
use serde_json::{Map, Value, json};

use super::bounds::{DEEPEST, guarded, limits, reason};
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result, err};

/// Heeded.
const HEEDED: &[&str] = &[
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "required",
    "type",
];

/// They say nothing about what is valid.
const REMARKS: &[&str] = &[
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "id",
    "readOnly",
    "title",
    "writeOnly",
];

/// Those that hold schemas by name, in a list, or one.
const BY_NAME: &[&str] = &["$defs", "definitions", "patternProperties", "properties"];
const LISTS: &[&str] = &["allOf", "anyOf", "items", "oneOf", "prefixItems"];
const ONE: &[&str] = &["additionalItems", "additionalProperties", "items"];

/// Patterns for the names of members. Each must be compared with each other, wherever schemas are combined.
const MOST_PATTERNS: usize = 128;
const MOST_COMPARISONS: usize = 300_000;

/// White space between the parts of JSON. Without a bound a model can go on with it for ever.
const SPACES: &str = r"[\x20\x0A\x0D\x09]{1,32}";

/// The drafts, and whether `prefixItems` is in them.
const DRAFTS: &[(&str, bool)] = &[
    ("https://json-schema.org/draft/2020-12/schema", true),
    ("https://json-schema.org/draft/2019-09/schema", false),
    ("http://json-schema.org/draft-07/schema", false),
    ("http://json-schema.org/draft-06/schema", false),
    ("http://json-schema.org/draft-04/schema", false),
];

/// The schema that `text` is, with nothing in it that would not be heeded.
pub(super) fn read(text: &str) -> Result<Value> {
    let schema =
        serde_json::from_str(text).map_err(|error| err!(InvalidArgument, "the JSON schema is not JSON: {error}"))?;
    check(&schema, 0)?;
    Ok(schema)
}

/// `schema` as it is given to llguidance.
pub(super) fn with_bounded_spaces(schema: &Value) -> Value {
    let given = json!({"whitespace_pattern": SPACES});
    match schema {
        Value::Object(members) => {
            let mut members = members.clone();
            members.insert("x-guidance".to_owned(), given);
            members.into()
        }
        Value::Bool(true) => json!({"x-guidance": given}),
        other => other.clone(),
    }
}

/// Refuses what would not be heeded, or would take too long beside `before`, and gives how much both will take.
pub(super) fn check(schema: &Value, before: usize) -> Result<usize> {
    let draft = schema.get("$schema").map(|name| name.as_str().unwrap_or_default().trim_end_matches('#'));
    let found = DRAFTS.iter().find(|(name, _)| draft.is_none_or(|draft| draft == *name));
    let Some((_, has_prefix_items)) = found else {
        return Err(refused("/$schema", "is none of the drafts 4, 6, 7, 2019-09 and 2020-12"));
    };
    let mut reader = Reader {
        root: schema,
        has_prefix_items: *has_prefix_items,
        targets: BTreeMap::new(),
        patterns: 0,
        combined: 1,
    };
    reader.check(schema, "")?;
    let (patterns, combined) = (reader.patterns, reader.combined);
    let comparisons = before + patterns.pow(2) * combined;
    if patterns > MOST_PATTERNS || comparisons > MOST_COMPARISONS {
        let what = format!("has {patterns} patternProperties in schemas that are combined {combined} times: too many");
        return Err(refused("", &what));
    }
    let levels = depth(schema) + reader.targets.values().map(|target| 2 + depth(target)).sum::<usize>();
    if levels > DEEPEST {
        return Err(refused(
            "",
            &format!("has {levels} levels in {} references, more than {DEEPEST}", reader.targets.len()),
        ));
    }
    Ok(comparisons)
}

/// How many levels lie within each other.
fn depth(value: &Value) -> usize {
    let inside = match value {
        Value::Object(members) => members.values().map(depth).max(),
        Value::Array(list) => list.iter().map(depth).max(),
        _ => return 0,
    };
    1 + inside.unwrap_or(0)
}

fn refused(pointer: &str, what: &str) -> Error {
    err!(InvalidArgument, "the JSON schema at {pointer:?}: {what}")
}

/// The schemas in `schema`, and their pointers from there.
fn parts(schema: &Map<String, Value>) -> impl Iterator<Item = (String, &Value)> {
    schema.iter().flat_map(|(keyword, value)| {
        let escaped = |name: &str| format!("/{keyword}/{}", name.replace('~', "~0").replace('/', "~1"));
        let has = |list: &[&str]| list.contains(&keyword.as_str());
        match value {
            Value::Object(named) if has(BY_NAME) => named.iter().map(|(name, part)| (escaped(name), part)).collect(),
            Value::Array(list) if has(LISTS) => {
                list.iter().enumerate().map(|(index, part)| (format!("/{keyword}/{index}"), part)).collect()
            }
            _ if has(ONE) => vec![(format!("/{keyword}"), value)],
            _ => Vec::new(),
        }
    })
}

/// Reads the schema as llguidance does, but for what it leaves out.
struct Reader<'s> {
    root: &'s Value,
    has_prefix_items: bool,
    /// What references lead to.
    targets: BTreeMap<&'s str, &'s Value>,
    /// Names in `patternProperties`, and schemas that are combined with others.
    patterns: usize,
    combined: usize,
}

impl<'s> Reader<'s> {
    fn check(&mut self, schema: &'s Value, pointer: &str) -> Result<()> {
        let Value::Object(schema) = schema else {
            return if schema.is_boolean() {
                Ok(())
            } else {
                Err(refused(pointer, "is no schema, which is an object or a boolean"))
            };
        };
        for keyword in schema.keys() {
            let is_remark = REMARKS.contains(&keyword.as_str()) || keyword.starts_with("x-") && keyword != "x-guidance";
            if !is_remark && !HEEDED.contains(&keyword.as_str()) {
                return Err(refused(&format!("{pointer}/{keyword}"), "this keyword is not supported"));
            }
            if ["$id", "$schema", "id"].contains(&keyword.as_str()) && !pointer.is_empty() {
                return Err(refused(&format!("{pointer}/{keyword}"), "is supported at the root only"));
            }
        }
        self.patterns += schema.get("patternProperties").and_then(Value::as_object).map_or(0, Map::len);
        let lists = ["allOf", "anyOf", "oneOf"].iter().filter_map(|list| schema.get(*list)?.as_array());
        self.combined += lists.map(Vec::len).sum::<usize>() + usize::from(schema.contains_key("$ref"));
        if let Some(prefix) = schema.get("prefixItems") {
            let why = if !self.has_prefix_items {
                Some("is no keyword of the draft that $schema names")
            } else if schema.contains_key("additionalItems") || schema.get("items").is_some_and(Value::is_array) {
                Some("does not go with additionalItems, nor with a list as items")
            } else {
                (!prefix.is_array()).then_some("is no list")
            };
            if let Some(why) = why {
                return Err(refused(&format!("{pointer}/prefixItems"), why));
            }
        }
        if let Some(target) = schema.get("$ref") {
            let Some((name, found)) = target.as_str().and_then(|name| Some((name, resolve(self.root, name)?))) else {
                let why = "does not lead to a place in this document: \"#/...\" does, where no name has a / or ~";
                return Err(refused(&format!("{pointer}/$ref"), why));
            };
            self.targets.insert(name, found);
        }
        parts(schema).try_for_each(|(place, part)| self.check(part, &format!("{pointer}{place}")))
    }
}

/// What a reference leads to, by llguidance's rule.
fn resolve<'s>(root: &'s Value, target: &str) -> Option<&'s Value> {
    if target == "#" || target == "#/" {
        return Some(root);
    }
    target.strip_prefix("#/")?.split('/').try_fold(root, |value, name| match value {
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        _ => value.get(name),
    })
}

/// The error of a schema that llguidance refuses with `why`: as deep in it as the same happens alone.
pub(super) fn refusal(vocabulary: &Vocabulary, schema: &Value, why: &str) -> Error {
    let why = reason(why);
    let size = schema.to_string().len();
    let tries = (4 << 20) / size.max(1);
    let finder = Finder { vocabulary, root: rebased(schema), schema, why, tries: tries.clamp(4, 256) };
    refused(&finder.deepest(), why)
}

/// Looks for the part of a schema that is to blame.
struct Finder<'s> {
    vocabulary: &'s Vocabulary,
    schema: &'s Value,
    root: Value,
    why: &'s str,
    tries: usize,
}

impl Finder<'_> {
    fn deepest(mut self) -> String {
        let (mut pointer, mut part) = (String::new(), self.schema);
        let mut followed: Vec<String> = Vec::new();
        loop {
            let Value::Object(schema) = part else { return pointer };
            let is_applied = |place: &str| !place.starts_with("/$defs/") && !place.starts_with("/definitions/");
            let mut inside = parts(schema).filter(|(place, _)| is_applied(place));
            if let Some((place, guilty)) = inside.find(|(_, part)| self.is_guilty(part)) {
                pointer.push_str(&place);
                part = guilty;
                continue;
            }
            let target = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
            match resolve(self.schema, target) {
                Some(guilty) if !followed.iter().any(|before| before == target) && self.is_guilty(guilty) => {
                    followed.push(target.to_owned());
                    target.trim_start_matches('#').trim_end_matches('/').clone_into(&mut pointer);
                    part = guilty;
                }
                _ => return pointer,
            }
        }
    }

    /// Whether `part` is refused alone for the same reason.
    fn is_guilty(&mut self, part: &Value) -> bool {
        let Some(left) = self.tries.checked_sub(1) else { return false };
        self.tries = left;
        let alone = json!({"allOf": [rebased(part)], "r": self.root});
        let env = self.vocabulary.factory.tok_env().clone();
        let made = guarded(|| {
            JsonCompileOptions::default().json_to_llg(GrammarBuilder::new(Some(env), limits()), alone).map(drop)
        });
        made.is_err_and(|why| self.why.ends_with(reason(&why)))
    }
}

/// `schema` as a part of a document whose member `r` is the root.
fn rebased(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let moved = |(name, value): (&String, &Value)| {
                let target = value.as_str().filter(|_| name == "$ref").and_then(|target| target.strip_prefix('#'));
                let moved = target.map(|target| Value::from(format!("#/r{}", target.trim_end_matches('/'))));
                (name.clone(), moved.unwrap_or_else(|| rebased(value)))
            };
            members.iter().map(moved).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.iter().map(rebased).collect(),
        other => other.clone(),
    }
}
