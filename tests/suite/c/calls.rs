//! `calls.h` for `c_tests/abi/handles.c`: a call of each function of the header with each handle that it takes.

use std::fmt::Write as _;

use serde_json::Value;

/// Handles: their type, and the name of their kind in handles.c.
const KINDS: &[(&str, &str)] = &[
    ("ortshard_engine", "ENGINE"),
    ("ortshard_shard", "SHARD"),
    ("ortshard_request", "REQUEST"),
    ("ortshard_sampler", "SAMPLER"),
    ("ortshard_tokenizer", "TOKENIZER"),
    ("ortshard_text_stream", "STREAM"),
    ("ortshard_chat_parser", "PARSER"),
    ("ortshard_generation", "GENERATION"),
    ("ortshard_constraint", "CONSTRAINT"),
];

/// What functions take besides handles. Pointers to anything else are to memory that is large enough.
const VALUES: &[(&str, &str)] = &[
    ("const char *", "\"x\""),
    ("const ortshard_shard_spec *", "&spec"),
    ("const ortshard_tensor *", "&input"),
    ("const ortshard_chat_message *", "&message"),
    ("const int32_t *", "NULL"),
    ("ortshard_file_callback", "audit"),
    ("ortshard_progress_callback", "NULL"),
    ("ortshard_step *", "&step"),
    ("ortshard_step_callback", "hear"),
    ("int32_t", "0"),
    ("int64_t", "1"),
    ("size_t", "1"),
    ("uint32_t", "1"),
    ("uint64_t", "0"),
];

/// The `*` of a handle, and of an array of handles.
const ONE: &[&str] = &["*"];
const MANY: &[&str] = &["*const *"];

struct Parameter<'a> {
    name: &'a str,
    kind: &'a str,
}

impl<'a> Parameter<'a> {
    fn of(declared: &'a Value) -> Self {
        Self { name: declared[0].as_str().unwrap(), kind: declared[1].as_str().unwrap() }
    }

    /// The kind of handle that it is, or is an array of, with one of `stars` behind it.
    fn handle(&self, stars: &[&str]) -> Option<&'static str> {
        let plain = self.kind.trim_start_matches("const ");
        let is = |name: &str| stars.iter().any(|stars| plain == format!("{name} {stars}"));
        KINDS.iter().find(|(name, _)| is(name)).map(|(_, kind)| *kind)
    }

    fn value(&self) -> String {
        if let Some(kind) = self.handle(ONE) {
            return format!("live[{kind}]");
        }
        if let Some(kind) = self.handle(MANY) {
            return format!("(void *)&live[{kind}]");
        }
        let value = VALUES.iter().find(|(kind, _)| *kind == self.kind).map(|(_, value)| *value);
        value.unwrap_or("(void *)scratch").to_owned()
    }
}

pub(super) fn of_json(json: &Value) -> String {
    let (mut functions, mut table) = (String::new(), String::new());
    let mut count = 0;
    for (name, declared) in json["functions"].as_object().unwrap() {
        let parameters: Vec<_> = declared["parameters"].as_array().unwrap().iter().map(Parameter::of).collect();
        for (index, parameter) in parameters.iter().enumerate() {
            let (one, many) = (parameter.handle(ONE), parameter.handle(MANY));
            let Some(kind) = one.or(many) else { continue };
            let bad = if one.is_some() { "bad" } else { "(void *)&bad" };
            let values: Vec<_> = parameters
                .iter()
                .enumerate()
                .map(|(other, parameter)| if other == index { bad.to_owned() } else { parameter.value() })
                .collect();
            let call = format!("{name}({})", values.join(", "));
            // A function without a status says in the last error what was wrong.
            let body = match declared["result"].as_str().unwrap() {
                "void" => format!("forget_error(); {call}; return ORTSHARD_ERROR_INVALID_ARGUMENT;"),
                _ => format!("return {call};"),
            };
            writeln!(functions, "static ortshard_status call_{count}(void) {{ {body} }}").unwrap();
            let shown = parameter.name.to_owned() + if one.is_some() { "" } else { "[0]" };
            writeln!(table, "    {{\"{name}\", {kind}, \"{shown}\", call_{count}}},").unwrap();
            count += 1;
        }
    }
    assert!(count > 50, "{functions}");
    format!("{functions}\nstatic const struct call CALLS[] = {{\n{table}}};\n")
}
