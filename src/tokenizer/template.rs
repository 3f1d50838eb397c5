//! A chat template's source, made fit for the template engine.
//!
//! The engine recurses once for each operator of an expression and for each `elif`, so a long chain of either would
//! overflow the stack, which ends the process. And it computes constants while it compiles, `'x' * 99999999` among
//! them, where nothing meters it. So chains are bounded here, and products made to wait until the template runs.

use std::borrow::Cow;

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind};

/// Bytes of a template. Those of published models have some ten thousand at most.
const MAX_SOURCE: usize = 1 << 20;

/// Words and signs between two braces.
const MAX_TAG: usize = 1000;

/// `elif`s of a template.
const MAX_ELIFS: usize = 300;

/// `template` with the tags of `transformers` translated, or why it is refused.
///
/// The variable `one__`, 1, becomes a factor of each product: what holds a variable is not computed while compiling.
pub(super) fn prepare(template: &str, syntax: SyntaxConfig) -> Result<String, Error> {
    if template.len() > MAX_SOURCE {
        return Err(refusal(format!("it is longer than {} MiB", MAX_SOURCE >> 20)));
    }
    let template = without_generation_tags(template);
    let mut source = String::with_capacity(template.len());
    let (mut copied, mut length, mut elifs, mut splat) = (0, 0, 0, false);
    for token in tokenize(&template, false, syntax) {
        let (token, span) = token?;
        length += 1;
        match token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => length = 0,
            Token::Ident("elif") => elifs += 1,
            Token::Mul if !splat => {
                let end = span.end_offset as usize;
                source.extend([&template[copied..end], " one__ *"]);
                copied = end;
            }
            _ => {}
        }
        splat = matches!(token, Token::ParenOpen | Token::Comma);
        if length > MAX_TAG {
            let line = span.start_line;
            return Err(refusal(format!("the tag on line {line} has more than {MAX_TAG} words and signs")));
        }
        if elifs > MAX_ELIFS {
            return Err(refusal(format!("it has more than {MAX_ELIFS} elifs")));
        }
    }
    source.push_str(&template[copied..]);
    Ok(source)
}

fn refusal(why: String) -> Error {
    Error::new(ErrorKind::SyntaxError, why)
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
