//! Chat templates: Jinja as `transformers` runs it, without running code and within bounds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::clock;
use crate::error::{Error, Result, bail, err};

/// Template instructions that one rendering may execute: enough for some 100,000 messages.
const MAX_STEPS: u64 = 10_000_000;

/// Bytes that one rendering may produce.
const MAX_OUTPUT: usize = 64 << 20;

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
    names: &[(&'static str, String)],
    messages: &[ChatMessage],
    add_generation_prompt: bool,
) -> Result<String> {
    let message =
        |message: &ChatMessage| context! { role => message.role.as_str(), content => message.content.as_str() };
    let messages: Value = messages.iter().map(message).collect();
    let names: BTreeMap<_, _> = names.iter().cloned().collect();
    let variables = context! { messages, add_generation_prompt, tools => (), documents => (), ..names };

    let source = without_generation_tags(template);
    let run = || {
        let mut output = Bounded(Vec::new());
        let environment = dialect()?;
        let template = environment.template_from_named_str("chat_template", &source)?;
        template.render_captured_to(variables, &mut output)?;
        Ok(output.0)
    };
    // The engine panics on some slices of empty lists. Nothing of a rendering outlives it.
    let Ok(output) = catch_unwind(AssertUnwindSafe(run)) else {
        bail!(Malformed, "the chat template made the template engine panic");
    };
    String::from_utf8(output.map_err(explain)?)
        .map_err(|error| err!(Internal, "a chat template gave bad UTF-8").with_source(error))
}

/// The environment of `transformers`: its block trimming, filters and functions, and Python's methods on values.
fn dialect() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_recursion_limit(100);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: &str| clock::strftime(format, clock::now()));
    Ok(environment)
}

/// `transformers` marks what the assistant says with a tag of its own, which changes nothing in the text.
fn without_generation_tags(template: &str) -> Cow<'_, str> {
    if !template.contains("endgeneration") {
        return Cow::Borrowed(template);
    }
    let mut source = String::with_capacity(template.len());
    for (index, part) in template.split("{%").enumerate() {
        if index == 0 {
            source.push_str(part);
            continue;
        }
        source.push_str("{%");
        let body = part.trim_start_matches(['-', '+']).trim_start();
        let (before, word) = part.split_at(part.len() - body.len());
        let ends_tag = |rest: &str| rest.trim_start().trim_start_matches(['-', '+']).starts_with("%}");
        source.push_str(before);
        match (word.strip_prefix("generation"), word.strip_prefix("endgeneration")) {
            (Some(rest), _) if ends_tag(rest) => source.extend(["if true", rest]),
            (_, Some(rest)) if ends_tag(rest) => source.extend(["endif", rest]),
            _ => source.push_str(word),
        }
    }
    Cow::Owned(source)
}

/// `json.dumps` of Python, as `transformers` sets it up: text stays as it is, `indent` is the only option.
#[allow(clippy::needless_pass_by_value, reason = "the signature of a filter")]
fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get("indent")?,
    };
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "tojson: ensure_ascii=true is not supported"));
    }
    options.assert_all_used()?;
    let json = match indent {
        None => serialize(value, OneLine),
        Some(indent) => serialize(value, PrettyFormatter::with_indent(" ".repeat(indent.min(16)).as_bytes())),
    };
    json.map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, "tojson").with_source(error))
}

fn serialize(value: &Value, formatter: impl Formatter) -> io::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
    String::from_utf8(bytes).map_err(io::Error::other)
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

/// A buffer that refuses to grow beyond [`MAX_OUTPUT`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other(format!("the output exceeds {} MiB", MAX_OUTPUT >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
