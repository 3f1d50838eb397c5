//! The header: the preamble with a list of contents, then the sections.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::source::{Field, Item, Result, Section, Type};

const WIDTH: usize = 120;

pub(crate) fn of(preamble: &str, sections: &[Section]) -> Result<String> {
    let mut header = preamble.trim_end().replace("@CONTENTS@", &contents(sections));
    for section in sections {
        write!(header, "\n\n{}", title(section))?;
        let structs = structs(section);
        for item in &section.items {
            write!(header, "\n\n{}", shown(item, &structs)?)?;
        }
    }
    header.push_str("\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* ORTSHARD_H */\n");
    Ok(header)
}

fn contents(sections: &[Section]) -> String {
    let line = |section: &Section| {
        let functions = section.items.iter().filter_map(|item| match item {
            Item::Function { name, .. } => Some(name.trim_start_matches("ortshard_").to_owned()),
            _ => None,
        });
        let mut lines = vec![format!(" *   {:<22}", section.title.first().map_or("", String::as_str))];
        for function in functions {
            let last = lines.last_mut().filter(|last| last.len() + function.len() + 2 <= WIDTH);
            match last {
                Some(last) => last.extend([" ", function.as_str()]),
                None => lines.push(format!(" *   {:<22} {function}", "")),
            }
        }
        lines.iter().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    };
    sections.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn title(section: &Section) -> String {
    let rule = "=".repeat(114);
    let lines: String = wrapped(&section.title, WIDTH - 3)
        .iter()
        .map(|line| format!(" * {line}").trim_end().to_owned() + "\n")
        .collect();
    format!("/* {rule}\n{lines} * {rule} */")
}

/// Paragraphs filled to `width`. Empty and indented lines stay, and so do the beginnings of lists of errors and the like.
fn wrapped(doc: &[String], width: usize) -> Vec<String> {
    const BEGINNINGS: [&str; 4] = ["Errors: ", "Functions: ", "Ownership: ", "Threads: "];
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in doc {
        let text = !line.is_empty() && !line.starts_with(' ');
        if !(open && text) || BEGINNINGS.iter().any(|beginning| line.starts_with(beginning)) {
            lines.push(String::new());
        }
        open = text;
        if !text {
            lines.last_mut().into_iter().for_each(|last| last.push_str(line));
            continue;
        }
        for word in line.split(' ') {
            match lines.last_mut() {
                Some(last) if last.is_empty() => last.push_str(word),
                Some(last) if last.len() + 1 + word.len() <= width => last.extend([" ", word]),
                _ => lines.push(word.to_owned()),
            }
        }
    }
    lines
}

fn structs(section: &Section) -> HashMap<&str, &[Field]> {
    let mut structs = HashMap::new();
    for item in &section.items {
        if let Item::Struct { name, fields, .. } = item {
            structs.insert(name.as_str(), fields.as_slice());
        }
    }
    structs
}

fn comment(doc: &[String], indent: &str) -> String {
    match wrapped(doc, WIDTH - 3 - indent.len()).as_slice() {
        [] => String::new(),
        [line] if line.len() + indent.len() + 7 <= WIDTH => format!("{indent}/** {line} */\n"),
        lines => {
            let lines: String =
                lines.iter().map(|line| format!("{indent} * {line}").trim_end().to_owned() + "\n").collect();
            format!("{indent}/**\n{lines}{indent} */\n")
        }
    }
}

fn shown(item: &Item, structs: &HashMap<&str, &[Field]>) -> Result<String> {
    Ok(match item {
        Item::Macro { doc, name, value } => format!("{}#define {name} {value}", comment(doc, "")),
        Item::Enum { doc, tag, constants } => {
            let tag = tag.as_ref().map(|tag| format!("{tag} ")).unwrap_or_default();
            let constants: Vec<String> = constants
                .iter()
                .map(|one| format!("{}    {} = {}", comment(&one.doc, "    "), one.name, one.value))
                .collect();
            format!("{}enum {tag}{{\n{}\n}};", comment(doc, ""), constants.join(",\n"))
        }
        Item::Alias { doc, name, of } => format!("{}typedef {};", comment(doc, ""), of.declare(name)),
        Item::Handle { doc, name } => format!("{}typedef struct {name} {name};", comment(doc, "")),
        Item::Struct { doc, name, fields } => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{}    {};", comment(&field.doc, "    "), field.kind.declare(&field.name)))
                .collect();
            format!("{}typedef struct {name} {{\n{}\n}} {name};", comment(doc, ""), fields.join("\n"))
        }
        Item::Callback { doc, name, result, parameters } => {
            let head = format!("typedef {}(*{name})", before_name(result.as_ref()));
            comment(doc, "") + &function(&head, parameters)
        }
        Item::Function { doc, name, result, parameters } => {
            let is_status = matches!(result, Some(Type::Named(result)) if result == "ortshard_status");
            let attributes = if is_status { "ORTSHARD_NODISCARD ORTSHARD_API\n" } else { "ORTSHARD_API\n" };
            let head = before_name(result.as_ref()) + name;
            comment(doc, "") + attributes + &function(&head, parameters)
        }
        Item::Initial { name, set } => initial(name, set, structs.get(name.as_str()).ok_or("an unknown struct")?)?,
    })
}

fn before_name(result: Option<&Type>) -> String {
    result.map_or_else(|| "void ".to_owned(), |result| result.declare(""))
        + if result.is_some_and(|result| !matches!(result, Type::Pointer { .. })) { " " } else { "" }
}

/// On one line, or with a line for each parameter.
fn function(head: &str, parameters: &[Field]) -> String {
    let parameters: Vec<String> = parameters.iter().map(|one| one.kind.declare(&one.name)).collect();
    if parameters.is_empty() {
        return format!("{head}(void);");
    }
    let line = format!("{head}({});", parameters.join(", "));
    if line.len() <= WIDTH {
        return line;
    }
    format!("{head}({});", parameters.join(&format!(",\n{}", " ".repeat(head.len() + 1))))
}

/// The macro that initialises a struct, and the function that does the same.
fn initial(name: &str, set: &[(String, String)], fields: &[Field]) -> Result<String> {
    let values: Vec<String> = fields
        .iter()
        .map(|field| match set.iter().find(|(set, _)| *set == field.name) {
            Some((_, value)) => value.clone(),
            None if field.name == "struct_size" => format!("sizeof({name})"),
            None => zero(&field.kind).to_owned(),
        })
        .collect();
    if let Some((unknown, _)) = set.iter().find(|(set, _)| fields.iter().all(|field| field.name != *set)) {
        return Err(format!("{name} has no {unknown}").into());
    }
    let constant = format!("{}_INIT", name.to_uppercase());
    let mut definition = format!("#define {constant} {{ {} }}", values.join(", "));
    if definition.len() > WIDTH {
        definition = format!("#define {constant} \\\n    {{ {} }}", values.join(", "));
    }
    let parameter = crate::source::last_word(name);
    let parameters = [
        Field {
            doc: Vec::new(),
            name: parameter.clone(),
            kind: Type::Pointer { to: Box::new(Type::Named(name.into())), constant: false },
        },
        Field { doc: Vec::new(), name: "struct_size".into(), kind: Type::Scalar("size_t", 8) },
    ];
    Ok(format!(
        "/** Initialises an {name}. */\n{definition}\n\n/** What {constant} does, for languages without macros: \
         `struct_size` is sizeof *{parameter}. */\nORTSHARD_NODISCARD ORTSHARD_API\n{}",
        function(&format!("ortshard_status {name}_init"), &parameters)
    ))
}

fn zero(kind: &Type) -> &'static str {
    match kind {
        Type::Pointer { .. } | Type::Named(_) => "NULL",
        Type::Array(..) => "\"\"",
        Type::Scalar("float", _) => "0.0f",
        _ => "0",
    }
}
