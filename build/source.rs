//! What src/ffi says to C: its documented constants, structs, callbacks and functions, read from the Rust source.

use std::error::Error;

use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, Expr, Fields, FnArg, GenericArgument, Ident, Item as Rust, Lit, Pat, PathArguments, ReturnType, Token,
    Type as RustType,
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A section of the header: its introduction, and what it declares.
pub(crate) struct Section {
    pub title: Vec<String>,
    pub items: Vec<Item>,
}

pub(crate) type Doc = Vec<String>;

pub(crate) enum Item {
    /// A macro whose value is the library's version or a part of it.
    Macro {
        doc: Doc,
        name: String,
        value: i64,
    },
    Enum {
        doc: Doc,
        tag: Option<String>,
        constants: Vec<Constant>,
    },
    Alias {
        doc: Doc,
        name: String,
        of: Type,
    },
    Handle {
        doc: Doc,
        name: String,
    },
    Struct {
        doc: Doc,
        name: String,
        fields: Vec<Field>,
    },
    Callback {
        doc: Doc,
        name: String,
        result: Option<Type>,
        parameters: Vec<Field>,
    },
    /// How a struct with a `struct_size` is initialised: its fields that are not zero.
    Initial {
        name: String,
        set: Vec<(String, String)>,
    },
    Function {
        doc: Doc,
        name: String,
        result: Option<Type>,
        parameters: Vec<Field>,
    },
}

pub(crate) struct Constant {
    pub doc: Doc,
    pub name: String,
    pub value: i64,
}

pub(crate) struct Field {
    pub doc: Doc,
    pub name: String,
    pub kind: Type,
}

#[derive(Clone)]
pub(crate) enum Type {
    /// A scalar by its C name, and its bytes.
    Scalar(&'static str, usize),
    Void,
    /// A struct, handle, callback or alias of the header.
    Named(String),
    Pointer {
        to: Box<Type>,
        constant: bool,
    },
    Array(Box<Type>, usize),
}

impl Type {
    /// The declaration of `name` with this type.
    pub(crate) fn declare(&self, name: &str) -> String {
        match self {
            Self::Array(of, length) => format!("{}[{length}]", of.declare(name)),
            Self::Pointer { .. } => format!("{}{name}", self.shown()),
            _ if name.is_empty() => self.shown(),
            _ => format!("{} {name}", self.shown()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Scalar(name, _) => (*name).to_owned(),
            Self::Void => "void".to_owned(),
            Self::Named(name) => name.clone(),
            Self::Array(of, _) => of.shown(),
            Self::Pointer { to, constant } => {
                let (to, pointer) = (to.shown(), matches!(**to, Self::Pointer { .. }));
                match (constant, pointer) {
                    (true, true) => format!("{to}const *"),
                    (true, false) => format!("const {to} *"),
                    (false, true) => format!("{to}*"),
                    (false, false) => format!("{to} *"),
                }
            }
        }
    }
}

/// What a struct's `_init` function calls its parameter.
pub(crate) fn last_word(name: &str) -> String {
    name.rsplit('_').next().unwrap_or(name).to_owned()
}

pub(crate) fn read(text: &str) -> Result<Section> {
    let file = syn::parse_file(text)?;
    let title = documentation(&file.attrs);
    let mut items = Vec::new();
    for item in file.items {
        match item {
            Rust::Macro(call) if call.mac.path.is_ident("constants") => items.push(call.mac.parse_body::<Enum>()?.0),
            Rust::Macro(call) if call.mac.path.is_ident("initial") => items.push(call.mac.parse_body::<Initial>()?.0),
            Rust::Macro(call) if call.mac.path.is_ident("versions") => {
                items.extend(call.mac.parse_body::<Versions>()?.0);
            }
            Rust::Struct(item) if is_public(&item.vis) && is_c(&item.attrs) => {
                let Fields::Named(named) = item.fields else { return Err("a struct without names".into()) };
                let fields = named.named.iter().map(|field| {
                    let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                    Ok(Field { doc: documentation(&field.attrs), name, kind: kind(&field.ty)? })
                });
                let (doc, name) = (documentation(&item.attrs), item.ident.to_string());
                items.push(Item::Struct { doc, name, fields: fields.collect::<Result<_>>()? });
            }
            Rust::Struct(item) if is_public(&item.vis) && item.ident.to_string().starts_with("ortshard_") => {
                items.push(Item::Handle { doc: documentation(&item.attrs), name: item.ident.to_string() });
            }
            Rust::Type(item) if is_public(&item.vis) => {
                let (doc, name) = (documentation(&item.attrs), item.ident.to_string());
                items.push(match callback(&item.ty)? {
                    Some((result, parameters)) => Item::Callback { doc, name, result, parameters },
                    None => Item::Alias { doc, name, of: kind(&item.ty)? },
                });
            }
            Rust::Fn(item) if is_public(&item.vis) && item.sig.abi.is_some() => {
                let parameters = item.sig.inputs.iter().map(|input| {
                    let FnArg::Typed(input) = input else { return Err("self".into()) };
                    let Pat::Ident(name) = &*input.pat else { return Err("a pattern".into()) };
                    Ok(Field { doc: Vec::new(), name: name.ident.to_string(), kind: kind(&input.ty)? })
                });
                items.push(Item::Function {
                    doc: documentation(&item.attrs),
                    name: item.sig.ident.to_string(),
                    result: result(&item.sig.output)?,
                    parameters: parameters.collect::<Result<_>>()?,
                });
            }
            _ => {}
        }
    }
    Ok(Section { title, items })
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

fn is_c(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("repr"))
}

fn documentation(attributes: &[Attribute]) -> Doc {
    let text = |attribute: &Attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(literal) = &pair.value else { return None };
        let Lit::Str(text) = &literal.lit else { return None };
        let text = text.value();
        pair.path.is_ident("doc").then(|| text.strip_prefix(' ').unwrap_or(&text).to_owned())
    };
    attributes.iter().filter_map(text).collect()
}

fn result(output: &ReturnType) -> Result<Option<Type>> {
    match output {
        ReturnType::Default => Ok(None),
        ReturnType::Type(_, of) => kind(of).map(Some),
    }
}

/// The function inside `Option<unsafe extern "C" fn(...)>`.
fn callback(of: &RustType) -> Result<Option<(Option<Type>, Vec<Field>)>> {
    let RustType::Path(path) = of else { return Ok(None) };
    let Some(PathArguments::AngleBracketed(inside)) = path.path.segments.last().map(|last| &last.arguments) else {
        return Ok(None);
    };
    let Some(GenericArgument::Type(RustType::FnPtr(function))) = inside.args.first() else { return Ok(None) };
    let parameters = function.inputs.iter().map(|input| {
        let name = input.name.as_ref().map(|(name, _)| name.to_string()).unwrap_or_default();
        Ok(Field { doc: Vec::new(), name, kind: kind(&input.ty)? })
    });
    Ok(Some((result(&function.output)?, parameters.collect::<Result<_>>()?)))
}

fn kind(of: &RustType) -> Result<Type> {
    match of {
        RustType::Ptr(pointer) => Ok(Type::Pointer {
            to: Box::new(kind(&pointer.elem)?),
            constant: matches!(pointer.mutability, syn::PointerMutability::Const(_)),
        }),
        RustType::Array(array) => match &array.len {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Int(length) => Ok(Type::Array(Box::new(kind(&array.elem)?), length.base10_parse()?)),
                _ => Err("an array's length".into()),
            },
            _ => Err("an array's length".into()),
        },
        RustType::Path(path) => {
            let name = path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
            Ok(match name.as_str() {
                "i32" => Type::Scalar("int32_t", 4),
                "u32" => Type::Scalar("uint32_t", 4),
                "i64" => Type::Scalar("int64_t", 8),
                "u64" => Type::Scalar("uint64_t", 8),
                "f32" => Type::Scalar("float", 4),
                "usize" => Type::Scalar("size_t", 8),
                "c_char" => Type::Scalar("char", 1),
                "c_void" => Type::Void,
                named if named.starts_with("ortshard_") => Type::Named(name),
                other => return Err(format!("type {other} has no name in C").into()),
            })
        }
        _ => Err("a type that C does not have".into()),
    }
}

/// `/// about` `enum tag { /// doc` `NAME = value, ... }`.
struct Enum(Item);

impl Parse for Enum {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let doc = documentation(&input.call(Attribute::parse_outer)?);
        input.parse::<Token![enum]>()?;
        let tag = if input.peek(Ident) { Some(input.parse::<Ident>()?.to_string()) } else { None };
        // `as ALL` is for the Rust side.
        if input.parse::<Option<Token![as]>>()?.is_some() {
            input.parse::<Ident>()?;
        }
        let inside;
        syn::braced!(inside in input);
        let mut constants = Vec::new();
        while !inside.is_empty() {
            let doc = documentation(&inside.call(Attribute::parse_outer)?);
            let name = inside.parse::<Ident>()?.to_string();
            inside.parse::<Token![=]>()?;
            let negative = inside.parse::<Option<Token![-]>>()?.is_some();
            let value: i64 = inside.parse::<syn::LitInt>()?.base10_parse()?;
            inside.parse::<Token![,]>()?;
            constants.push(Constant { doc, name, value: if negative { -value } else { value } });
        }
        Ok(Self(Item::Enum { doc, tag, constants }))
    }
}

/// `struct, function: field = value, ...`.
struct Initial(Item);

impl Parse for Initial {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let name = input.parse::<Ident>()?.to_string();
        input.parse::<Token![,]>()?;
        let function: Ident = input.parse()?;
        if function != format!("{name}_init") {
            return Err(syn::Error::new(function.span(), "the function is the struct's name and _init"));
        }
        let mut set = Vec::new();
        while !input.is_empty() {
            input.parse::<Token![;]>()?;
            if input.is_empty() {
                break;
            }
            let field = input.parse::<Ident>()?.to_string();
            input.parse::<Token![=]>()?;
            let value = if input.peek(Ident) {
                input.parse::<Ident>()?.to_string()
            } else {
                match input.parse::<Lit>()? {
                    Lit::Float(value) => format!("{}f", value.base10_digits()),
                    Lit::Int(value) => value.base10_digits().to_owned(),
                    other => return Err(syn::Error::new(other.span(), "a number or a constant")),
                }
            };
            set.push((field, value));
        }
        Ok(Self(Item::Initial { name, set }))
    }
}

/// `/// doc` `NAME = "variable", ...`: a number that cargo knows, or the build script.
struct Versions(Vec<Item>);

impl Parse for Versions {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut items = Vec::new();
        while !input.is_empty() {
            let doc = documentation(&input.call(Attribute::parse_outer)?);
            let name = input.parse::<Ident>()?.to_string();
            input.parse::<Token![=]>()?;
            let variable: syn::LitStr = input.parse()?;
            input.parse::<Token![,]>()?;
            let value = if name == variable.value() && name == "ORTSHARD_ABI_VERSION" {
                Some(crate::ABI.to_owned())
            } else {
                std::env::var(variable.value()).ok()
            };
            let value = value.and_then(|value| value.parse().ok());
            let value = value.ok_or_else(|| syn::Error::new(variable.span(), "no number"))?;
            items.push(Item::Macro { doc, name, value });
        }
        Ok(Self(items))
    }
}
