//! Writes the C header, and the same facts as JSON for programs, into `OUT_DIR`, where tests/suite/house/header.rs compares
//! them with include/; and names the shared library.
//!
//! cbindgen makes the C of every declaration. It is given one at a time, because it sorts what it is given by kind, and
//! a manual has its own order. What `constants!` and `initial!` declare is given to it as they expand, because it can
//! expand macros with nightly Rust only. The `_INIT` macros, which it does not know, the sections and the list of
//! contents are written here.

#[path = "tools/header/json.rs"]
mod json;

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, Expr, Item, ItemMacro, Lit, Meta, ReturnType, Visibility, parse_quote};

/// Of the header's lines.
const WIDTH: usize = 120;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The files of src/ffi that C can see, in a reader's order. A file without `//!` goes on with the section before it.
const FILES: &[&str] = &[
    // What every program needs.
    "basics/version",
    "frame/status",
    "basics/last_error",
    "basics/objects",
    "basics/constants",
    "engine/options",
    "engine/spec",
    "engine/progress",
    "engine/lifecycle",
    "run/shard",
    "run/tensor",
    "run/request_options",
    "run/request",
    "text/sampler",
    "text/tokenizer",
    "text/tokens",
    "text/text_stream",
    "text/chat",
    "text/chat_parser",
    "text/constraint",
    "generation/options",
    "generation/lifecycle",
    "generation/generated",
    "generation/step",
    "generation/remote",
    "generation/state",
    // Several requests in a call.
    "run/chain",
    "run/batch",
    "run/frame",
    "run/frame_pieces",
    // What some programs need.
    "engine/model",
    "engine/lookup",
    "engine/boundary",
    "run/state",
    "engine/checkpoint",
    "engine/estimate",
    "engine/plan",
    "engine/files",
    "engine/stats",
    "host/runtime",
    "host/device",
    "host/log",
];

/// A section of the header: its introduction, and what it declares.
struct Section {
    title: Vec<String>,
    declared: Vec<Declared>,
}

enum Declared {
    /// A declaration in C, with its comment.
    C(String),
    /// How a struct is initialised: its name, and its fields that are not zero.
    Initial { name: String, set: Vec<(String, String)> },
}

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=tools/header");
    println!("cargo:rerun-if-changed=src/ffi");

    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let cbindgen = Cbindgen {
        config: cbindgen::Config::from_file(root.join("cbindgen.toml"))?,
        source: out.join("declaration.rs"),
    };
    let sections = sections(&root.join("src/ffi"), &cbindgen)?;
    let facts = json::Facts::of(sections.iter().flat_map(|section| &section.declared))?;
    let preamble = std::fs::read_to_string(root.join("src/ffi/preamble.h"))?;
    let made = [
        ("ORTSHARD_GENERATED_HEADER", "ortshard.h", header(&preamble, &sections, &facts)?),
        ("ORTSHARD_GENERATED_JSON", "ortshard.json", facts.json()?),
    ];
    for (variable, name, text) in made {
        let path = out.join(name);
        std::fs::write(&path, text)?;
        println!("cargo:rustc-env={variable}={}", path.display());
    }

    if std::env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        let abi = facts.constant("ORTSHARD_ABI_VERSION").ok_or("no ABI version")?;
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libortshard.so.{abi}");
    }
    Ok(())
}

fn sections(folder: &Path, cbindgen: &Cbindgen) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    for name in FILES {
        let path = folder.join(name).with_extension("rs");
        let read = section(&std::fs::read_to_string(&path)?, cbindgen);
        let read = read.map_err(|error| format!("{}: {error}", path.display()))?;
        match sections.last_mut() {
            Some(last) if read.title.is_empty() => last.declared.extend(read.declared),
            _ => sections.push(read),
        }
    }
    Ok(sections)
}

fn section(source: &str, cbindgen: &Cbindgen) -> Result<Section> {
    let file = syn::parse_file(source)?;
    let title = file.attrs.iter().filter_map(documentation).collect();
    let mut declared = Vec::new();
    for item in file.items {
        match item {
            Item::Macro(call) if call.mac.path.is_ident("constants") => {
                let mut constants: syn::ItemEnum = call.mac.parse_body()?;
                constants.attrs.push(parse_quote!(#[repr(C)]));
                declared.push(Declared::C(cbindgen.c_of(&Item::Enum(constants))?));
            }
            Item::Macro(call) if call.mac.path.is_ident("initial") => {
                let (name, set) = initial(&call)?;
                let function = cbindgen.c_of(&initialises(&name)?)?;
                declared.extend([Declared::Initial { name, set }, Declared::C(function)]);
            }
            Item::Const(syn::ItemConst { vis: Visibility::Public(_), .. })
            | Item::Struct(syn::ItemStruct { vis: Visibility::Public(_), .. })
            | Item::Type(syn::ItemType { vis: Visibility::Public(_), .. })
            | Item::Fn(syn::ItemFn { vis: Visibility::Public(_), .. }) => {
                declared.push(Declared::C(cbindgen.c_of(&item)?));
            }
            _ => {}
        }
    }
    Ok(Section { title, declared })
}

fn documentation(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let Expr::Lit(literal) = &pair.value else { return None };
    let Lit::Str(text) = &literal.lit else { return None };
    pair.path.is_ident("doc").then(|| text.value())
}

/// What `initial!(struct, function; field = value; ...)` says: the struct, and its fields that are not zero.
fn initial(call: &ItemMacro) -> Result<(String, Vec<(String, String)>)> {
    let text = call.mac.tokens.to_string();
    let mut parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let (name, _) = parts.next().and_then(|names| names.split_once(',')).ok_or("initial! without a struct")?;
    let set = parts.map(|part| {
        let (field, value) = part.split_once('=').ok_or("initial! with a field that has no value")?;
        Ok((field.trim().to_owned(), value.trim().to_owned()))
    });
    Ok((name.trim().to_owned(), set.collect::<Result<_>>()?))
}

/// The function that `initial!` makes.
fn initialises(name: &str) -> Result<Item> {
    let parameter = name.rsplit('_').next().unwrap_or(name);
    Ok(syn::parse_str(&format!(
        "/// What {} does, for languages without macros: `struct_size` is sizeof *{parameter}.
        #[unsafe(no_mangle)]
        pub extern \"C\" fn {name}_init({parameter}: *mut {name}, struct_size: usize) -> ortshard_status {{}}",
        json::initial(name)
    ))?)
}

struct Cbindgen {
    config: cbindgen::Config,
    /// Where cbindgen reads a declaration.
    source: PathBuf,
}

impl Cbindgen {
    /// The declaration in C, with its comment.
    fn c_of(&self, item: &Item) -> Result<String> {
        let mut config = self.config.clone();
        match item {
            Item::Enum(item) => {
                // Without a typedef: nothing takes one, since a compiler chooses its size.
                config.style = cbindgen::Style::Tag;
                config.export.include.push(item.ident.to_string());
            }
            Item::Struct(item) => config.export.include.push(item.ident.to_string()),
            Item::Type(item) => config.export.include.push(item.ident.to_string()),
            Item::Fn(item) => {
                // Not by #[must_use]: cbindgen writes that behind the prefix, where C++ does not take [[nodiscard]].
                let prefix =
                    if is_status(&item.sig.output) { "ORTSHARD_NODISCARD ORTSHARD_API" } else { "ORTSHARD_API" };
                // On a line of its own, by `tidy`.
                config.line_length += prefix.len() + 1;
                config.function.prefix = Some(prefix.to_owned());
            }
            _ => {}
        }
        let source = item.to_token_stream().to_string();
        std::fs::write(&self.source, &source)?;
        let mut c = Vec::new();
        cbindgen::Builder::new().with_config(config).with_src(&self.source).generate()?.write(&mut c);
        let c = tidy(String::from_utf8(c)?.trim());
        if c.is_empty() { Err(format!("cbindgen makes nothing of {source}").into()) } else { Ok(c) }
    }
}

fn is_status(output: &ReturnType) -> bool {
    matches!(output, ReturnType::Type(_, of) if matches!(&**of, syn::Type::Path(of) if of.path.is_ident("ortshard_status")))
}

/// The declaration with a comment of one line on one line, and with what cbindgen has no options for: a function's
/// prefix on a line of its own, and enums as C89 has them, without a comma at the end, and without a name.
fn tidy(declaration: &str) -> String {
    let mut tidy: Vec<String> = Vec::new();
    for line in declaration.lines() {
        match tidy.as_mut_slice() {
            [.., open, text] if line.trim() == "*/" && open.trim() == "/**" && text.len() + 4 <= WIDTH => {
                open.push_str(text.trim_start().trim_start_matches('*'));
                open.push_str(" */");
                tidy.pop();
            }
            _ => tidy.push(line.to_owned()),
        }
    }
    let tidy = tidy.join("\n").replace("ORTSHARD_API ", "ORTSHARD_API\n");
    tidy.replace(",\n};", "\n};").replace("enum nameless {", "enum {")
}

fn header(preamble: &str, sections: &[Section], facts: &json::Facts) -> Result<String> {
    let contents: Vec<String> = sections.iter().map(contents).collect();
    let mut header = preamble.trim_end().replace("@CONTENTS@", &contents.join("\n"));
    for section in sections {
        let rule = "=".repeat(114);
        write!(header, "\n\n/* {rule}")?;
        for line in &section.title {
            write!(header, "\n *{line}")?;
        }
        write!(header, "\n * {rule} */")?;
        for declared in &section.declared {
            match declared {
                Declared::C(declaration) => write!(header, "\n\n{declaration}")?,
                Declared::Initial { name, set } => write!(header, "\n\n{}", initial_macro(name, set, facts)?)?,
            }
        }
    }
    header.push_str("\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* ORTSHARD_H */\n");
    Ok(header)
}

/// The section's lines in the list of contents.
fn contents(section: &Section) -> String {
    let title = section.title.first().map_or("", String::as_str).trim();
    let mut lines = vec![format!(" *   {title:<22}")];
    for declared in &section.declared {
        let Declared::C(declaration) = declared else { continue };
        let Some(function) = json::function(declaration).filter(|name| !name.ends_with("_init")) else { continue };
        let function = function.trim_start_matches("ortshard_");
        match lines.last_mut().filter(|last| last.len() + function.len() + 2 <= WIDTH) {
            Some(last) => last.extend([" ", function]),
            None => lines.push(format!(" *   {:<22} {function}", "")),
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// The macro that initialises a struct.
fn initial_macro(name: &str, set: &[(String, String)], facts: &json::Facts) -> Result<String> {
    let values = facts.fields(name)?.iter().map(|field| match set.iter().find(|(set, _)| *set == field.name) {
        Some((_, value)) if value.contains('.') => format!("{value}f"),
        Some((_, value)) => value.clone(),
        None if field.name == "struct_size" => format!("sizeof({name})"),
        None => field.zero().to_owned(),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let define = format!("#define {}", json::initial(name));
    if define.len() + values.len() + 5 <= WIDTH {
        return Ok(format!("/** Initialises an {name}. */\n{define} {{ {values} }}"));
    }
    let mut lines = vec![String::from("    {")];
    for word in values.split(' ').chain(["}"]) {
        match lines.last_mut().filter(|last| last.len() + word.len() + 3 <= WIDTH) {
            Some(last) => last.extend([" ", word]),
            None => lines.push(format!("      {word}")),
        }
    }
    Ok(format!("/** Initialises an {name}. */\n{define} \\\n{}", lines.join(" \\\n")))
}
