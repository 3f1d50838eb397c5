//! Bounds on what a chat template takes: memory, time and depth.
//!
//! The template engine counts instructions, but one instruction may double a string, and a thousand may nest lists so
//! deep that freeing them overflows the stack. So after every instruction that makes a value of some size, a call is
//! inserted that looks at the value: its bytes are taken from the rendering's allowance, what is computed lazily is
//! computed now, and too deep a nesting ends the rendering.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, escape_formatter, filters};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Bytes of all texts that one rendering may make, its output included.
const MAX_TEXT: u64 = 256 << 20;

/// Bytes of one text: some filters take twenty times the memory for a moment.
const MAX_STRING: usize = 16 << 20;

/// What an item of a list or map counts, in bytes.
const ITEM: u64 = 32;

/// How deep lists and maps may nest.
const MAX_DEPTH: usize = 64;

/// How long one rendering may take.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Names of the inserted calls: no template can spell them.
const MADE: &str = "value made";
const SLICED: &str = "value sliced";
const STORED: &str = "value stored";
const FACTORS: &str = "factors";

/// What a rendering may still take.
#[derive(Debug)]
pub(super) struct Meter {
    left: AtomicU64,
    end: Instant,
}

impl Meter {
    /// A full allowance, from now on.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(MAX_TEXT), end: Instant::now() + MAX_TIME })
    }

    /// Takes `bytes` from the allowance.
    fn take(&self, bytes: u64) -> Result<(), Error> {
        let enough = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        if enough.is_err() {
            return Err(refusal(format!("it makes more than {} MiB of text", MAX_TEXT >> 20)));
        }
        Ok(())
    }

    fn check_time(&self) -> Result<(), Error> {
        if Instant::now() > self.end {
            return Err(refusal(format!("it takes longer than {} seconds", MAX_TIME.as_secs())));
        }
        Ok(())
    }

    /// Takes what `value` holds from the allowance, and what it would hold if nothing in it were shared: the most that
    /// an instruction can make of it.
    fn weigh(&self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::String | ValueKind::Bytes => {
                let length = value.as_bytes().map_or(0, <[u8]>::len);
                if length > MAX_STRING {
                    return Err(refusal(format!("it makes a text of more than {} MiB", MAX_STRING >> 20)));
                }
                self.take(length as u64)
            }
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
                if depth == MAX_DEPTH {
                    return Err(refusal(format!("its lists and maps nest deeper than {MAX_DEPTH}")));
                }
                for item in value.try_iter()? {
                    self.take(ITEM)?;
                    if value.kind() == ValueKind::Map {
                        self.weigh(&value.get_item(&item)?, depth + 1)?;
                    }
                    self.weigh(&item, depth + 1)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A value that an instruction has made.
    fn made(&self, value: Value) -> Result<Value, Error> {
        self.check_time()?;
        if value.kind() != ValueKind::Iterable {
            self.weigh(&value, 0)?;
            return Ok(value);
        }
        // Computed now, else layer upon layer of work to be done could pile up.
        let mut items = Vec::new();
        for item in value.try_iter()? {
            self.take(ITEM)?;
            self.weigh(&item, 1)?;
            items.push(item);
        }
        Ok(Value::from(items))
    }

    /// A part of a value that was weighed already. Conversations are sliced in loops, so their texts count only once.
    fn sliced(&self, value: Value) -> Result<Value, Error> {
        match value.kind() {
            ValueKind::Seq => self.take(ITEM * value.len().unwrap_or(0) as u64).map(|()| value),
            _ => self.made(value),
        }
    }

    /// The two factors of a product, if it will not be too long.
    fn factors(&self, pair: Value) -> Result<Value, Error> {
        let factors: Vec<Value> = pair.try_iter()?.collect();
        if factors.iter().any(|factor| factor.kind() != ValueKind::Number) {
            self.multiplies(&factors)?;
        }
        Ok(pair)
    }

    /// A call whose result may be as long as the product of its arguments.
    fn multiplies(&self, arguments: &[Value]) -> Result<(), Error> {
        fn size(value: &Value) -> Result<u64, Error> {
            Ok(match value.kind() {
                ValueKind::String => value.as_str().map_or(0, str::len) as u64,
                ValueKind::Number => value.as_usize().unwrap_or(0) as u64,
                ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
                    let mut total = 0_u64;
                    for item in value.try_iter()? {
                        let inner = if value.kind() == ValueKind::Map { size(&value.get_item(&item)?)? } else { 0 };
                        total = total.saturating_add(ITEM).saturating_add(size(&item)?).saturating_add(inner);
                    }
                    total
                }
                _ => 0,
            })
        }
        let mut product = 1_u64;
        for argument in arguments {
            product = product.saturating_mul(size(argument)?.max(1));
        }
        self.take(product)
    }

    /// Puts the bounds into the environment that runs the template.
    pub(super) fn install(self: &Arc<Self>, environment: &mut Environment<'static>) {
        let meter = Arc::clone(self);
        environment.set_formatter(move |output, state, value| {
            meter.check_time()?;
            meter.weigh(value, 0)?;
            escape_formatter(output, state, value)
        });
        for (name, check) in
            [(MADE, Self::made as fn(&Self, Value) -> _), (SLICED, Self::sliced), (FACTORS, Self::factors)]
        {
            let meter = Arc::clone(self);
            environment.add_function(name, move |value: Rest<Value>| check(&meter, only(value)));
        }
        let meter = Arc::clone(self);
        environment.add_function(STORED, move |value: Rest<Value>| {
            let value = only(value);
            plain(&value, 0)?;
            meter.made(value)
        });

        for (name, filter) in [
            ("replace", Value::from_function(filters::replace)),
            ("join", Value::from_function(filters::join)),
            ("indent", Value::from_function(filters::indent)),
            ("batch", Value::from_function(filters::batch)),
            ("slice", Value::from_function(filters::slice)),
        ] {
            let meter = Arc::clone(self);
            environment.add_filter(name, move |state: &mut State, arguments: Rest<Value>| {
                meter.multiplies(&arguments)?;
                filter.call(state, &arguments)
            });
        }
        let format = Value::from_function(filters::format);
        environment.add_filter("format", move |state: &mut State, arguments: Rest<Value>| {
            narrow(arguments.first())?;
            format.call(state, &arguments)
        });
        // Shows every variable, however long.
        environment.remove_global("debug");
        environment.remove_filter("pprint");

        let meter = Arc::clone(self);
        environment.set_unknown_method_callback(move |state, value, method, arguments| {
            match method {
                "replace" | "join" => {
                    meter.multiplies(&[std::slice::from_ref(value), arguments].concat())?;
                }
                "format" => narrow(Some(value))?,
                _ => {}
            }
            unknown_method_callback(state, value, method, arguments)
        });
    }

    /// A place to write to that takes from the allowance.
    pub(super) fn writer(&self) -> Writer<'_> {
        Writer { meter: self, bytes: Vec::new() }
    }
}

/// Bytes, each taken from a rendering's allowance.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    meter: &'a Meter,
    pub(super) bytes: Vec<u8>,
}

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.meter.take(bytes.len() as u64).map_err(io::Error::other)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn refusal(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

fn only(mut values: Rest<Value>) -> Value {
    values.pop().unwrap_or_default()
}

/// Refuses a format string with a width that it would fill up with spaces or zeros.
fn narrow(format: Option<&Value>) -> Result<(), Error> {
    let format = format.and_then(Value::as_str).unwrap_or_default();
    let digits = format.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    let flags = |c: char| c.is_ascii_digit() || "-+ #.".contains(c);
    let asks = format.split('%').skip(1).any(|spec| spec.trim_start_matches(flags).starts_with('*'));
    if digits > 3 || asks || format.contains(":{") {
        return Err(refusal("its format asks for more than 999 characters".to_owned()));
    }
    Ok(())
}

/// Refuses to keep a namespace or macro in a namespace: they could come to hold themselves and would never be freed.
fn plain(value: &Value, depth: usize) -> Result<(), Error> {
    let named = |object: &minijinja::value::DynObject| {
        let name = object.type_name();
        name.contains("Namespace") || name.contains("Macro") || name.contains("Closure")
    };
    if value.kind() == ValueKind::Plain || value.as_object().is_some_and(named) || depth > MAX_DEPTH {
        return Err(refusal("it keeps a namespace or a macro in a namespace".to_owned()));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.try_for_each(|item| plain(&item, depth + 1)),
        ValueKind::Map => value.try_iter()?.try_for_each(|key| plain(&value.get_item(&key)?, depth + 1)),
        _ => Ok(()),
    }
}

/// `blocks` with the calls inserted.
pub(super) fn insert_all<'a>(blocks: &BTreeMap<&'a str, Instructions<'a>>) -> BTreeMap<&'a str, Instructions<'a>> {
    blocks.iter().map(|(name, instructions)| (*name, insert(instructions))).collect()
}

/// `instructions` with a call behind each that makes a value.
pub(super) fn insert<'a>(instructions: &Instructions<'a>) -> Instructions<'a> {
    use Instruction as I;
    const MADE_CALL: Instruction<'static> = I::CallFunction(MADE, Some(1));
    let mut groups: Vec<Vec<Instruction<'a>>> = Vec::new();
    let mut starts = vec![0];
    while let Some(instruction) = instructions.get(groups.len() as u32) {
        let instruction = instruction.clone();
        let group = match instruction {
            // A literal goes the way of all other output.
            I::EmitRaw(text) => vec![I::LoadConst(Value::from(text)), I::Emit],
            // The value lies below the namespace.
            I::SetAttr(_) => vec![I::Swap, I::CallFunction(STORED, Some(1)), I::Swap, instruction],
            I::Slice => vec![instruction, I::CallFunction(SLICED, Some(1))],
            // Multiplied at once, so looked at before.
            I::Mul => {
                vec![I::BuildList(Some(2)), I::CallFunction(FACTORS, Some(1)), I::UnpackList(2), instruction, MADE_CALL]
            }
            I::CallFunction("range", _) => vec![instruction],
            I::Add
            | I::StringConcat
            | I::Eq
            | I::Ne
            | I::Gt
            | I::Gte
            | I::Lt
            | I::Lte
            | I::In
            | I::ApplyFilter(..)
            | I::PerformTest(..)
            | I::CallFunction(..)
            | I::CallMethod(..)
            | I::CallObject(..)
            | I::BuildList(_)
            | I::BuildTuple(_)
            | I::BuildMap(_)
            | I::EndCapture => vec![instruction, MADE_CALL],
            _ => vec![instruction],
        };
        starts.push(starts[groups.len()] + group.len() as u32);
        groups.push(group);
    }
    let moved = |target: u32| starts.get(target as usize).copied().unwrap_or(target);
    let mut inserted = Instructions::new(instructions.name(), instructions.source());
    for (index, group) in groups.into_iter().enumerate() {
        let line = instructions.get_line(index as u32).unwrap_or(0) as u16;
        for instruction in group {
            inserted.add_with_line(
                match instruction {
                    I::Iterate(target) => I::Iterate(moved(target)),
                    I::Jump(target) => I::Jump(moved(target)),
                    I::JumpIfFalse(target) => I::JumpIfFalse(moved(target)),
                    I::JumpIfFalseOrPop(target) => I::JumpIfFalseOrPop(moved(target)),
                    I::JumpIfTrueOrPop(target) => I::JumpIfTrueOrPop(moved(target)),
                    I::BuildMacro(name, start, flags) => I::BuildMacro(name, moved(start), flags),
                    other => other,
                },
                line,
            );
        }
    }
    inserted
}
