//! Expressions and templates give what Jinja2 itself gives for them. `tools/goldens/make_template_goldens.py` and
//! `tools/goldens/chat_templates.py` have written down Jinja2's answers.
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::run::clock;
use super::{Kind, Variable, render};

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Json;

        impl<'de> Visitor<'de> for Json {
            type Value = Variable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Variable, E> {
                Ok(Variable::None)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Variable, E> {
                Ok(Variable::Bool(truth))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Variable, E> {
                Ok(Variable::Int(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Variable, E> {
                Ok(Variable::Int(i64::try_from(number).unwrap()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Variable, E> {
                Ok(Variable::Float(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Variable, E> {
                Ok(Variable::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Variable, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Variable::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Variable, A::Error> {
                let mut dict = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    dict.push(entry);
                }
                Ok(Variable::Dict(dict))
            }
        }

        deserializer.deserialize_any(Json)
    }
}

fn entries(variable: &Variable) -> Vec<(&str, Variable)> {
    match variable {
        Variable::Dict(entries) => entries.iter().map(|(name, value)| (name.as_str(), value.clone())).collect(),
        _ => Vec::new(),
    }
}

#[derive(Deserialize)]
struct Golden {
    variables: Variable,
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
    let variables = entries(&golden.variables);
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

#[derive(Deserialize)]
struct Published {
    conversations: Vec<Variable>,
    templates: Vec<PublishedTemplate>,
}

#[derive(Deserialize)]
struct PublishedTemplate {
    name: String,
    source: String,
    /// For each conversation: the text, or the error's message.
    results: Vec<Result<String, String>>,
}

/// The templates that `tools/goldens/chat_templates.py` has fetched into `target/`.
#[test]
#[ignore = "needs templates of other projects"]
fn published_templates_give_what_jinja2_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chat_templates/golden.json");
    let published: Published = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let (mut equal, mut both_refuse, mut wrong) = (0, 0, Vec::new());
    for template in &published.templates {
        for (number, (variables, expected)) in published.conversations.iter().zip(&template.results).enumerate() {
            match (render(&template.source, &entries(variables)), expected) {
                (Some(Ok(given)), Ok(text)) if given == *text => equal += 1,
                (Some(Err(error)), Err(words)) if error.kind != Kind::Raised || error.message == *words => {
                    both_refuse += 1;
                }
                (given, expected) => {
                    wrong.push(format!("{} {number}\n  Jinja2: {expected:?}\n  here: {given:?}", template.name));
                }
            }
        }
    }
    println!("{} templates: {equal} equal, {both_refuse} refused by both", published.templates.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
