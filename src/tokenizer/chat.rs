//! Chat templates: Jinja as `transformers` runs it, without running code and within bounds.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use minijinja::machinery::{CompiledTemplate, TemplateConfig, eval, make_string_output};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::clock;
use super::meter::{self, Meter};
use super::template;
use crate::error::{Error, Result, bail, err};

/// Template instructions that one rendering may execute: enough for some 100,000 messages.
const MAX_STEPS: u64 = 10_000_000;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`; the template decides what is allowed.
    pub role: String,
    /// The text.
    pub content: String,
}

impl ChatMessage {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// The text of `messages` by `template`, which also sees `names` as variables.
pub(super) fn render(
    template: &str,
    names: &[(String, String)],
    messages: &[ChatMessage],
    add_generation_prompt: bool,
) -> Result<String> {
    let message =
        |message: &ChatMessage| context! { role => message.role.as_str(), content => message.content.as_str() };
    let messages: Value = messages.iter().map(message).collect();
    let names: BTreeMap<_, _> = names.iter().cloned().collect();
    let variables = context! { messages, add_generation_prompt, tools => (), documents => (), one__ => 1, ..names };

    let run = || {
        let meter = Meter::new();
        let source = template::prepare(template, syntax()?)?;
        let environment = dialect(&meter)?;
        let config = TemplateConfig { syntax_config: syntax()?, default_auto_escape: Arc::new(|_| AutoEscape::None) };
        let compiled = CompiledTemplate::new("chat_template", &source, &config)?;
        let (instructions, blocks) = (meter::insert(&compiled.instructions), meter::insert_all(&compiled.blocks));
        let mut text = String::new();
        let output = &mut make_string_output(&mut text);
        eval(&environment, &instructions, variables, &blocks, output, AutoEscape::None)?;
        Ok(text)
    };
    // The engine panics on some slices of empty lists. Nothing of a rendering outlives it.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(text) => text.map_err(explain),
        Err(_) => bail!(Malformed, "the chat template made the template engine panic"),
    }
}

/// The environment of `transformers`: its block trimming, filters and functions, and Python's methods on values.
fn dialect(meter: &Arc<Meter>) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax()?);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_recursion_limit(100);
    meter.install(&mut environment);
    let meter = Arc::clone(meter);
    environment.add_filter("tojson", move |value: &Value, indent: Option<usize>, options: Kwargs| {
        to_json(&meter, value, indent, &options)
    });
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: &str| clock::strftime(format, clock::now()));
    Ok(environment)
}

fn syntax() -> Result<SyntaxConfig, minijinja::Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

/// `json.dumps` of Python, as `transformers` sets it up: text stays as it is, `indent` is the only option.
fn to_json(meter: &Meter, value: &Value, indent: Option<usize>, options: &Kwargs) -> Result<String, minijinja::Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get("indent")?,
    };
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "tojson: ensure_ascii=true is not supported"));
    }
    options.assert_all_used()?;
    let json = match indent {
        None => serialize(meter, value, OneLine),
        Some(indent) => serialize(meter, value, PrettyFormatter::with_indent(" ".repeat(indent.min(16)).as_bytes())),
    };
    json.map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, "tojson").with_source(error))
}

fn serialize(meter: &Meter, value: &Value, formatter: impl Formatter) -> io::Result<String> {
    let mut writer = meter.writer();
    value.serialize(&mut Serializer::with_formatter(&mut writer, formatter))?;
    String::from_utf8(writer.bytes).map_err(io::Error::other)
}

/// One line with Python's separators, `, ` and `: `.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// What a template said when it refused the messages.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Refusal(message)))
}

/// This crate's error for a failed rendering.
fn explain(error: minijinja::Error) -> Error {
    let place = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(inner) = cause {
        if let Some(Refusal(message)) = inner.downcast_ref() {
            return err!(InvalidArgument, "the chat template refuses these messages: {message}");
        }
        cause = inner.source();
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return err!(Malformed, "the chat template takes more than {MAX_STEPS} steps, the last{place}");
    }
    err!(Malformed, "the chat template is faulty{place}").with_source(error)
}
