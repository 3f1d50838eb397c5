//! Tool calls whose arguments are JSON.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::event::Call;
use crate::chat::json::quoted;

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// The keys of a call's arguments.
const ARGUMENTS: [&str; 2] = ["arguments", "parameters"];

/// `{"name": ..., "arguments": {...}}`, or a list of such calls.
pub(super) fn json(body: &str) -> Option<Vec<Call>> {
    let body = body.trim();
    if body.starts_with('[') {
        let list: Vec<&RawValue> = serde_json::from_str(body).ok()?;
        return list.into_iter().map(|call| object(call.get())).collect();
    }
    Some(vec![object(body)?])
}

fn object(text: &str) -> Option<Call> {
    let call: Object<'_> = serde_json::from_str(text).ok()?;
    let text = |key: &str| call.get(key).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    // Some models put the call into "function", as in a request.
    if let Some(inner) = call.get("function").filter(|_| !call.contains_key("name"))
        && inner.get().starts_with('{')
    {
        return object(inner.get());
    }
    let name = text("name").or_else(|| text("function")).filter(|name| !name.is_empty())?;
    let given = ARGUMENTS.iter().find_map(|key| call.get(*key));
    let arguments = given.map_or(Some("{}".to_owned()), |raw| arguments(raw.get()))?;
    Some(Call { name, arguments, id: text("id") })
}

/// The object in `text`, or in the JSON text that `text` is.
fn arguments(text: &str) -> Option<String> {
    let text = text.trim();
    if text.starts_with('"') {
        let inner: String = serde_json::from_str(text).ok()?;
        return arguments_object(&inner);
    }
    arguments_object(text)
}

pub(super) fn arguments_object(text: &str) -> Option<String> {
    let text = text.trim();
    serde_json::from_str::<Object<'_>>(text).is_ok().then(|| text.to_owned())
}

/// `NAME[ARGS]{...}` and `NAME[CALL_ID]ID[ARGS]{...}`, and the older list of calls.
pub(super) fn mistral(body: &str) -> Option<Vec<Call>> {
    let body = body.trim();
    if body.starts_with('[') || body.starts_with('{') {
        return json(body);
    }
    let start = body.find('{')?;
    let (head, arguments) = body.split_at(start);
    let head = head.trim_end().strip_suffix("[ARGS]").unwrap_or(head).trim();
    let (name, id) = match head.split_once("[CALL_ID]") {
        Some((name, id)) => (name.trim(), Some(id.trim().to_owned())),
        None => (head, None),
    };
    let arguments = arguments_object(arguments)?;
    is_name(name).then(|| vec![Call { name: name.to_owned(), arguments, id }])
}

/// `NAME<｜tool▁sep｜>{...}`, and the older `function<｜tool▁sep｜>NAME`, with the arguments in a fence.
pub(super) fn deepseek(body: &str) -> Option<Vec<Call>> {
    let (first, second) = body.split_once("<｜tool▁sep｜>")?;
    let (name, arguments) = match second.split_once("```json") {
        Some((name, fenced)) => (name, fenced.trim_end().strip_suffix("```")?),
        None => (first, second),
    };
    let (name, arguments) = (name.trim(), arguments_object(arguments)?);
    is_name(name).then(|| vec![Call { name: name.to_owned(), arguments, id: None }])
}

/// What follows `<|python_tag|>`: a call as JSON, `NAME.call(key="value")` of a tool that is built in, or a program
/// for the built-in interpreter.
pub(super) fn python_tag(body: &str) -> Option<Vec<Call>> {
    let body = body.trim();
    if body.starts_with('{')
        && let Some(calls) = json(body)
    {
        return Some(calls);
    }
    let built_in = body.strip_suffix(')').and_then(|call| call.split_once(".call("));
    if let Some((name, mut rest)) = built_in.filter(|(name, _)| is_name(name)) {
        let mut arguments = Vec::new();
        while let Some((key, value)) = rest.split_once("=\"") {
            let (value, next) = value.split_once('"')?;
            arguments.push(format!("{}: {}", quoted(key.trim()), quoted(value)));
            rest = next.trim_start().strip_prefix(',').unwrap_or(next).trim_start();
        }
        let arguments = format!("{{{}}}", arguments.join(", "));
        return rest.is_empty().then(|| vec![Call { name: name.to_owned(), arguments, id: None }]);
    }
    let arguments = format!("{{\"code\": {}}}", quoted(body));
    (!body.is_empty()).then(|| vec![Call { name: "code_interpreter".to_owned(), arguments, id: None }])
}

/// Whether `name` can be a function's name: no markup and no text.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/'))
}
