//! Expressions and templates give what Jinja2 itself gives for them. `tools/goldens/make_template_goldens.py` has
//! written down Jinja2's answers. Whole published templates are tried by `tests/suite/text/published_chats.rs`.
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::run::clock;
use super::{Kind, render};
use crate::chat::json::{Json, read};

fn object(text: &RawValue) -> Json {
    read(text.get(), "variables").unwrap()
}

fn entries(variables: &Json) -> Vec<(&str, &Json)> {
    match variables {
        Json::Object(entries) => entries.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        _ => Vec::new(),
    }
}

#[derive(Deserialize)]
struct Golden {
    variables: Box<RawValue>,
    expressions: Vec<(String, String)>,
    failing: Vec<String>,
    templates: Vec<(String, String)>,
    #[serde(rename = "failing templates")]
    failing_templates: Vec<String>,
    times: Vec<(String, String, String)>,
}

fn golden(path: &str) -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn times_are_printed_as_python_prints_them() {
    for (day, format, text) in golden("tests/templates/expressions.json").times {
        let time = day.replace(' ', "T").parse::<jiff::civil::DateTime>().unwrap();
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        assert_eq!(clock::strftime(&format, &time).ok().as_deref(), Some(&*text), "{format} at {day}");
    }
}

/// Words of errors for what is refused although Jinja2 has an answer.
const REFUSED: [&str; 5] = [
    "the filter 'urlize'",
    "integers of more than 127 bits",
    "two equal values of type str are one object",
    "which Python prints with its address",
    "the attribute '",
];

#[test]
fn expressions_give_what_jinja2_gives() {
    compare(golden("tests/templates/expressions.json"));
}

/// All expressions, which `tools/goldens/make_template_goldens.py --all` writes.
#[test]
#[ignore = "needs a file that is not committed"]
fn all_expressions_give_what_jinja2_gives() {
    compare(golden("target/expressions.json"));
}

fn compare(golden: Golden) {
    let variables = object(&golden.variables);
    let variables = entries(&variables);
    let whole = |expression: &str| format!("{{{{ {expression} }}}}");
    let expressions = golden.expressions.iter().map(|(expression, text)| (whole(expression), text));
    let templates = golden.templates.iter().map(|(template, text)| (template.clone(), text));
    let mut wrong = Vec::new();
    for (template, text) in expressions.chain(templates) {
        match render(&template, &variables) {
            Some(Ok(given)) if given == *text => {}
            Some(Err(error)) if error.kind == Kind::Unsupported => {
                assert!(REFUSED.iter().any(|why| error.message.contains(why)), "{template}: {error}");
            }
            given => wrong.push(format!("{template}\n  Jinja2: {text:?}\n  here: {given:?}")),
        }
    }
    for template in golden.failing.iter().map(|e| whole(e)).chain(golden.failing_templates) {
        match render(&template, &variables) {
            Some(Err(_)) => {}
            given => wrong.push(format!("{template}\n  Jinja2 fails\n  here: {given:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
