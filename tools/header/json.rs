//! The header's facts for programs: constants with their values, structs with their fields' places where pointers have
//! 8 bytes, callbacks and functions with their types. Read from the C that cbindgen wrote, so that both say the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::{Declared, Result};

const POINTER: usize = 8;

/// A struct's field, or a function's parameter.
pub(crate) struct Field {
    pub(crate) name: String,
    kind: String,
}

#[derive(Default)]
pub(crate) struct Facts {
    constants: Vec<(String, String)>,
    enums: Vec<(String, Vec<String>)>,
    aliases: BTreeMap<String, String>,
    structs: Vec<(String, Vec<Field>)>,
    /// How structs are initialised: their fields that are not zero.
    initial: BTreeMap<String, Vec<(String, String)>>,
    callbacks: Vec<Function>,
    functions: Vec<Function>,
    handles: Vec<String>,
}

struct Function {
    name: String,
    result: String,
    parameters: Vec<Field>,
}

/// The macro that initialises a struct.
pub(crate) fn initial(name: &str) -> String {
    format!("{}_INIT", name.to_uppercase())
}

/// The name of the function that is declared, if one is.
pub(crate) fn function(declaration: &str) -> Option<&str> {
    let (_, function) = declaration.split_once("ORTSHARD_API")?;
    let (head, _) = function.split_once('(')?;
    head.rsplit([' ', '*', '\n']).next()
}

impl Facts {
    pub(crate) fn of<'a>(declared: impl Iterator<Item = &'a Declared>) -> Result<Self> {
        let mut facts = Self::default();
        for declared in declared {
            match declared {
                Declared::C(declaration) => {
                    facts.read(declaration).ok_or_else(|| format!("cannot be read: {declaration}"))?;
                }
                Declared::Initial { name, set } => drop(facts.initial.insert(name.clone(), set.clone())),
            }
        }
        Ok(facts)
    }

    fn read(&mut self, declaration: &str) -> Option<()> {
        let lines = declaration.lines().map(str::trim).filter(|line| !line.starts_with(['*', '/']));
        let code = lines.collect::<Vec<_>>().join(" ");
        if let Some(constant) = code.strip_prefix("#define ") {
            let (name, value) = constant.split_once(' ')?;
            self.constants.push((name.to_owned(), value.to_owned()));
        } else if let Some(constants) = code.strip_prefix("enum ") {
            let (tag, constants) = constants.strip_suffix(" };")?.split_once('{')?;
            let constants = constants.split(',').map(|constant| constant.trim().split_once(" = "));
            let constants: Vec<(&str, &str)> = constants.collect::<Option<_>>()?;
            if !tag.is_empty() {
                let names = constants.iter().map(|(name, _)| (*name).to_owned());
                self.enums.push((tag.trim().to_owned(), names.collect()));
            }
            self.constants.extend(constants.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        } else if let Some(function) = code.split("ORTSHARD_API ").nth(1) {
            self.functions.push(Function::read(function)?);
        } else if let Some(structure) = code.strip_prefix("typedef struct ") {
            let Some((fields, name)) = structure.strip_suffix(';')?.rsplit_once('}') else {
                self.handles.push(structure.strip_suffix(';')?.split(' ').next()?.to_owned());
                return Some(());
            };
            let (_, fields) = fields.split_once('{')?;
            let fields = fields.trim().trim_end_matches(';').split(';').map(Field::read);
            self.structs.push((name.trim().to_owned(), fields.collect::<Option<_>>()?));
        } else if code.contains("(*") {
            let callback = code.strip_prefix("typedef ")?.replacen("(*", "", 1).replacen(')', "", 1);
            self.callbacks.push(Function::read(&callback)?);
        } else {
            let alias = Field::read(code.strip_prefix("typedef ")?.strip_suffix(';')?)?;
            self.aliases.insert(alias.name, alias.kind);
        }
        Some(())
    }

    pub(crate) fn constant(&self, name: &str) -> Option<&str> {
        self.constants.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn fields(&self, name: &str) -> Result<&[Field]> {
        let of = self.structs.iter().find(|(known, _)| known == name);
        Ok(of.map(|(_, fields)| fields.as_slice()).ok_or_else(|| format!("initial! of {name}, which is no struct"))?)
    }

    pub(crate) fn json(&self) -> Result<String> {
        let object = |parts: Vec<String>| format!("{{\n    {}\n  }}", parts.join(",\n    "));
        let quoted_all = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let named = |(name, value): &(String, String)| format!("{}: {value}", quoted(name));
        let structs = self.structs.iter().map(|(name, fields)| self.of_struct(name, fields));
        let mut json = String::from(
            "{\n  \"about\": \"Generated together with ortshard.h. Offsets and sizes: 8 bytes a pointer.\"",
        );
        for (name, parts) in [
            ("constants", self.constants.iter().map(named).collect()),
            ("enums", self.enums.iter().map(|(tag, of)| format!("{}: [{}]", quoted(tag), quoted_all(of))).collect()),
            ("aliases", self.aliases.iter().map(|(name, of)| format!("{}: {}", quoted(name), quoted(of))).collect()),
            ("structs", structs.collect::<Result<Vec<_>>>()?),
            ("callbacks", self.callbacks.iter().map(Function::json).collect()),
            ("functions", self.functions.iter().map(Function::json).collect()),
        ] {
            write!(json, ",\n  {}: {}", quoted(name), object(parts))?;
        }
        write!(json, ",\n  \"handles\": [{}]\n}}\n", quoted_all(&self.handles))?;
        Ok(json)
    }

    fn of_struct(&self, name: &str, fields: &[Field]) -> Result<String> {
        let set = self.initial.get(name);
        if let Some((unknown, _)) = set.into_iter().flatten().find(|(set, _)| fields.iter().all(|one| one.name != *set))
        {
            return Err(format!("{name} has no {unknown}").into());
        }
        let (mut end, mut align, mut parts) = (0_usize, 1, Vec::new());
        for field in fields {
            let (size, alignment) = self.layout(&field.kind)?;
            let offset = end.next_multiple_of(alignment);
            let default = set.and_then(|set| set.iter().find(|(name, _)| *name == field.name));
            let default = default.map(|(_, value)| format!(", \"default\": {}", quoted(value))).unwrap_or_default();
            let (name, kind) = (quoted(&field.name), quoted(&field.kind));
            parts.push(format!(
                "{{\"name\": {name}, \"type\": {kind}, \"offset\": {offset}, \"size\": {size}{default}}}"
            ));
            (end, align) = (offset + size, align.max(alignment));
        }
        let (size, may_grow, fields) = (end.next_multiple_of(align), set.is_some(), parts.join(",\n      "));
        let name = quoted(name);
        Ok(format!("{name}: {{\"size\": {size}, \"has_init\": {may_grow}, \"fields\": [\n      {fields}\n    ]}}"))
    }

    /// Bytes and alignment.
    fn layout(&self, kind: &str) -> Result<(usize, usize)> {
        if let Some((of, count)) = kind.trim_end_matches(']').split_once('[') {
            let ((size, align), count) = (self.layout(of)?, count.parse::<usize>()?);
            return Ok((size * count, align));
        }
        Ok(match kind {
            "char" => (1, 1),
            "int32_t" | "uint32_t" | "float" => (4, 4),
            "int64_t" | "uint64_t" | "double" => (8, 8),
            "size_t" => (POINTER, POINTER),
            _ if is_pointer(kind) => (POINTER, POINTER),
            _ => self.layout(self.aliases.get(kind).ok_or_else(|| format!("{kind} as a field has no known size"))?)?,
        })
    }
}

impl Function {
    fn read(declaration: &str) -> Option<Self> {
        let (head, parameters) = declaration.strip_suffix(");")?.split_once('(')?;
        let Field { name, kind: result } = Field::read(head)?;
        let parameters = parameters.split(',').filter(|parameter| *parameter != "void").map(Field::read);
        Some(Self { name, result, parameters: parameters.collect::<Option<_>>()? })
    }

    fn json(&self) -> String {
        let parameters = self.parameters.iter().map(|one| format!("[{}, {}]", quoted(&one.name), quoted(&one.kind)));
        let (name, result, parameters) = (quoted(&self.name), quoted(&self.result), parameters.collect::<Vec<_>>());
        format!("{name}: {{\"result\": {result}, \"parameters\": [{}]}}", parameters.join(", "))
    }
}

impl Field {
    /// The declaration of a name with its type.
    fn read(declaration: &str) -> Option<Self> {
        let (declaration, array) = declaration.find('[').map_or((declaration, ""), |at| declaration.split_at(at));
        let at = declaration.rfind([' ', '*'])? + 1;
        let (kind, name) = declaration.split_at(at);
        Some(Self { name: name.to_owned(), kind: kind.trim().to_owned() + array })
    }

    /// Its value where nothing is set.
    pub(crate) fn zero(&self) -> &'static str {
        match self.kind.as_str() {
            kind if is_pointer(kind) => "NULL",
            kind if kind.ends_with(']') => "\"\"",
            "float" => "0.0f",
            "double" => "0.0",
            _ => "0",
        }
    }
}

fn is_pointer(kind: &str) -> bool {
    kind.ends_with('*') || kind.ends_with("_callback")
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
