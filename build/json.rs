//! The header's facts for programs: constants with their values, structs with their fields' places where pointers have 8 bytes,
//! callbacks and functions with their types.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::source::{Field, Item, Result, Section, Type, last_word};

const POINTER: usize = 8;

pub(crate) fn of(sections: &[Section]) -> Result<String> {
    let items: Vec<&Item> = sections.iter().flat_map(|section| &section.items).collect();
    let (mut constants, mut enums, mut handles) = (Vec::new(), Vec::new(), Vec::new());
    let (mut structs, mut callbacks, mut functions) = (Vec::new(), Vec::new(), Vec::new());
    let mut aliases = BTreeMap::new();
    for item in &items {
        match item {
            Item::Macro { name, value, .. } => constants.push(format!("{}: {value}", quoted(name))),
            Item::Enum { tag, constants: named, .. } => {
                constants.extend(named.iter().map(|one| format!("{}: {}", quoted(&one.name), one.value)));
                if let Some(tag) = tag {
                    let names: Vec<String> = named.iter().map(|one| quoted(&one.name)).collect();
                    enums.push(format!("{}: [{}]", quoted(tag), names.join(", ")));
                }
            }
            Item::Alias { name, of, .. } => drop(aliases.insert(name.as_str(), of)),
            Item::Handle { name, .. } => handles.push(quoted(name)),
            Item::Struct { name, fields, .. } => {
                let set = items.iter().find_map(|item| match item {
                    Item::Initial { name: other, set } if other == name => Some(set.as_slice()),
                    _ => None,
                });
                structs.push(of_struct(name, fields, set, &aliases)?);
            }
            Item::Callback { name, result, parameters, .. } => {
                callbacks.push(of_function(name, result.as_ref(), parameters));
            }
            Item::Function { name, result, parameters, .. } => {
                functions.push(of_function(name, result.as_ref(), parameters));
            }
            Item::Initial { name, .. } => {
                let what = Type::Pointer { to: Box::new(Type::Named(name.clone())), constant: false };
                let parameters = [(last_word(name), what), ("struct_size".to_owned(), Type::Scalar("size_t", POINTER))]
                    .map(|(name, kind)| Field { doc: Vec::new(), name, kind });
                let status = Type::Named("ortshard_status".into());
                functions.push(of_function(&format!("{name}_init"), Some(&status), &parameters));
            }
        }
    }
    let aliases: Vec<String> =
        aliases.iter().map(|(name, of)| format!("{}: {}", quoted(name), quoted(&of.declare("")))).collect();
    let object = |parts: &[String]| format!("{{\n    {}\n  }}", parts.join(",\n    "));
    let mut json =
        String::from("{\n  \"about\": \"Generated together with ortshard.h. Offsets and sizes: 8 bytes a pointer.\"");
    for (name, parts) in [
        ("constants", &constants),
        ("enums", &enums),
        ("aliases", &aliases),
        ("structs", &structs),
        ("callbacks", &callbacks),
        ("functions", &functions),
    ] {
        write!(json, ",\n  {}: {}", quoted(name), object(parts))?;
    }
    write!(json, ",\n  \"handles\": [{}]\n}}\n", handles.join(", "))?;
    Ok(json)
}

fn of_struct(
    name: &str,
    fields: &[Field],
    set: Option<&[(String, String)]>,
    aliases: &BTreeMap<&str, &Type>,
) -> Result<String> {
    let (mut end, mut align, mut parts) = (0_usize, 1, Vec::new());
    for field in fields {
        let (size, alignment) = layout(&field.kind, aliases)?;
        let offset = end.next_multiple_of(alignment);
        let default = set.and_then(|set| set.iter().find(|(name, _)| *name == field.name));
        let default = default.map(|(_, value)| format!(", \"default\": {}", quoted(value.trim_end_matches('f'))));
        parts.push(format!(
            "{{\"name\": {}, \"type\": {}, \"offset\": {offset}, \"size\": {size}{}}}",
            quoted(&field.name),
            quoted(field.kind.declare("").trim()),
            default.unwrap_or_default()
        ));
        (end, align) = (offset + size, align.max(alignment));
    }
    let (size, may_grow) = (end.next_multiple_of(align), set.is_some());
    Ok(format!(
        "{}: {{\"size\": {size}, \"has_init\": {may_grow}, \"fields\": [\n      {}\n    ]}}",
        quoted(name),
        parts.join(",\n      ")
    ))
}

/// Bytes and alignment.
fn layout(kind: &Type, aliases: &BTreeMap<&str, &Type>) -> Result<(usize, usize)> {
    Ok(match kind {
        Type::Scalar(_, size) => (*size, *size),
        Type::Pointer { .. } => (POINTER, POINTER),
        Type::Array(of, count) => layout(of, aliases).map(|(size, align)| (size * count, align))?,
        Type::Named(name) => match aliases.get(name.as_str()) {
            Some(of) => layout(of, aliases)?,
            None if name.ends_with("_callback") => (POINTER, POINTER),
            None => return Err(format!("{name} as a field has no known size").into()),
        },
        Type::Void => return Err("a field of type void".into()),
    })
}

fn of_function(name: &str, result: Option<&Type>, parameters: &[Field]) -> String {
    let parameters: Vec<String> = parameters
        .iter()
        .map(|one| format!("[{}, {}]", quoted(&one.name), quoted(one.kind.declare("").trim())))
        .collect();
    let result = result.map_or_else(|| "void".to_owned(), |result| result.declare("").trim().to_owned());
    format!("{}: {{\"result\": {}, \"parameters\": [{}]}}", quoted(name), quoted(&result), parameters.join(", "))
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
