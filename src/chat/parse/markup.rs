//! Tool calls as markup: each argument between tags.

use super::calls;
use super::event::Call;
use crate::chat::json::{self, Json, number_length, quoted};

/// The types of a tool's arguments, by the tool's JSON schema. Markup does not tell `"7"` from `7`.
#[derive(Debug, Clone, Default)]
pub(super) struct Tools(Vec<(String, Json)>);

impl Tools {
    /// The tools of a JSON list.
    pub(super) fn new(list: &Json) -> Self {
        let Json::List(tools) = list else { return Self::default() };
        let properties = |tool: &Json| {
            let function = tool.get("function").unwrap_or(tool);
            Some((function.get("name")?.as_text()?.to_owned(), function.get("parameters")?.get("properties")?.clone()))
        };
        Self(tools.iter().filter_map(properties).collect())
    }

    /// The JSON of an argument that came as `text`.
    fn value(&self, name: &str, key: &str, text: &str) -> String {
        let properties = self.0.iter().find(|(tool, _)| tool == name).map(|(_, properties)| properties);
        let mut types = Vec::new();
        if let Some(schema) = properties.and_then(|properties| properties.get(key)) {
            types_of(schema, &mut types);
        }
        types.iter().find_map(|wanted| cast(text, wanted)).unwrap_or_else(|| quoted(text))
    }
}

/// The types that `schema` allows.
fn types_of<'a>(schema: &'a Json, types: &mut Vec<&'a str>) {
    match schema.get("type") {
        Some(Json::Text(one)) => types.push(one),
        Some(Json::List(several)) => types.extend(several.iter().filter_map(Json::as_text)),
        _ => {}
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(Json::List(choices)) = schema.get(choice) {
            for choice in choices {
                types_of(choice, types);
            }
        }
    }
    if schema.get("nullable") == Some(&Json::Bool(true)) {
        types.push("null");
    }
}

/// `text` as a value of the type `wanted`, if it is one.
fn cast(text: &str, wanted: &str) -> Option<String> {
    let trimmed = text.trim();
    let (length, whole) = number_length(trimmed.as_bytes());
    let number = !trimmed.is_empty() && length == trimmed.len();
    match wanted {
        "integer" if number && whole => Some(trimmed.to_owned()),
        "integer" if number => {
            let value: f64 = trimmed.parse().ok()?;
            (value.fract() == 0.0 && value.abs() < 1e15).then(|| format!("{value:.0}"))
        }
        "number" if number => Some(trimmed.to_owned()),
        "boolean" => match trimmed.to_lowercase().as_str() {
            "true" | "1" => Some("true".to_owned()),
            "false" | "0" => Some("false".to_owned()),
            _ => None,
        },
        "null" if matches!(trimmed, "null" | "None") => Some("null".to_owned()),
        "object" => calls::arguments_object(trimmed),
        "array" => serde_json::from_str::<Vec<serde::de::IgnoredAny>>(trimmed).ok().map(|_| trimmed.to_owned()),
        _ => None,
    }
}

/// `<function=NAME><parameter=KEY>VALUE</parameter>...</function>`.
pub(super) fn xml(body: &str, tools: &Tools) -> Option<Vec<Call>> {
    let (name, mut rest) = body.trim().strip_prefix("<function=")?.split_once('>')?;
    let name = name.trim();
    let mut arguments = Vec::new();
    while let Some((_, parameter)) = rest.split_once("<parameter=") {
        let (key, parameter) = parameter.split_once('>')?;
        let (value, next) = parameter.split_once("</parameter>")?;
        put(&mut arguments, key.trim(), tools.value(name, key.trim(), value.trim()));
        rest = next;
    }
    finished(name, arguments)
}

/// `<｜DSML｜invoke name="NAME"><｜DSML｜parameter name="KEY" string="true|false">VALUE</｜DSML｜parameter>...`, without the
/// first tag's beginning.
pub(super) fn dsml(body: &str, _: &Tools) -> Option<Vec<Call>> {
    let (name, mut rest) = body.split_once("\">")?;
    let mut arguments = Vec::new();
    while let Some((_, parameter)) = rest.split_once("<｜DSML｜parameter name=\"") {
        let (key, parameter) = parameter.split_once("\" string=\"")?;
        let (text, parameter) = parameter.split_once("\">")?;
        let (value, next) = parameter.split_once("</｜DSML｜parameter>")?;
        let value = match text {
            "true" => quoted(value),
            _ => is_json(value).then(|| value.trim().to_owned())?,
        };
        put(&mut arguments, key, value);
        rest = next;
    }
    finished(name, arguments)
}

/// `call:NAME{key:value}`, without `call:`, where texts stand between two `quote` and keys may have no quotes.
pub(super) fn gemma(body: &str, quote: &str) -> Option<Vec<Call>> {
    let (name, arguments) = body.trim().split_at(body.trim().find('{')?);
    let mut lax = Lax { rest: arguments, quote, depth: 0 };
    let arguments = lax.value()?;
    let whole = lax.rest.trim().is_empty() && calls::is_name(name);
    whole.then(|| vec![Call { name: name.to_owned(), arguments, id: None }])
}

fn put(arguments: &mut Vec<(String, String)>, key: &str, value: String) {
    match arguments.iter_mut().find(|(name, _)| name == key) {
        Some((_, old)) => *old = value,
        None => arguments.push((key.to_owned(), value)),
    }
}

fn finished(name: &str, arguments: Vec<(String, String)>) -> Option<Vec<Call>> {
    let entries: Vec<_> = arguments.into_iter().map(|(key, value)| format!("{}: {value}", quoted(&key))).collect();
    let arguments = format!("{{{}}}", entries.join(", "));
    calls::is_name(name).then(|| vec![Call { name: name.to_owned(), arguments, id: None }])
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Reads a value of Gemma's and writes it as JSON.
struct Lax<'a> {
    rest: &'a str,
    quote: &'a str,
    depth: usize,
}

impl Lax<'_> {
    fn takes(&mut self, wanted: &str) -> bool {
        match self.rest.trim_start().strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<String> {
        if self.depth > json::DEEPEST {
            return None;
        }
        self.depth += 1;
        let value = if self.takes("{") {
            self.items("}", |lax| {
                let key = lax.key()?;
                lax.takes(":").then_some(())?;
                Some(format!("{}: {}", quoted(&key), lax.value()?))
            })
            .map(|entries| format!("{{{}}}", entries.join(", ")))
        } else if self.takes("[") {
            self.items("]", Self::value).map(|items| format!("[{}]", items.join(", ")))
        } else {
            self.scalar()
        };
        self.depth -= 1;
        value
    }

    fn items(&mut self, end: &str, item: impl Fn(&mut Self) -> Option<String>) -> Option<Vec<String>> {
        let mut items = Vec::new();
        if self.takes(end) {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.takes(end) {
                return Some(items);
            }
            self.takes(",").then_some(())?;
        }
    }

    fn key(&mut self) -> Option<String> {
        if let Some(text) = self.text() {
            return Some(text);
        }
        let rest = self.rest.trim_start();
        let (key, _) = rest.split_once(':')?;
        self.rest = &rest[key.len()..];
        let key = key.trim();
        (!key.is_empty()).then(|| key.to_owned())
    }

    /// A text between two quotes, or one of JSON.
    fn text(&mut self) -> Option<String> {
        if self.takes(self.quote) {
            let (text, rest) = self.rest.split_once(self.quote)?;
            self.rest = rest;
            return Some(text.to_owned());
        }
        let rest = self.rest.trim_start();
        if !rest.starts_with('"') {
            return None;
        }
        let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let text = texts.next()?.ok()?;
        self.rest = &rest[texts.byte_offset()..];
        Some(text)
    }

    fn scalar(&mut self) -> Option<String> {
        if let Some(text) = self.text() {
            return Some(quoted(&text));
        }
        for (word, value) in [("true", "true"), ("false", "false"), ("null", "null"), ("None", "null")] {
            if self.takes(word) {
                return Some(value.to_owned());
            }
        }
        let rest = self.rest.trim_start();
        let (length, _) = number_length(rest.as_bytes());
        self.rest = &rest[length..];
        (length > 0).then(|| rest[..length].to_owned())
    }
}
