//! Lark grammars: what is looked at before they are compiled, and where they are faulty.

use serde_json::Value;

use super::bounds::{self, reason};
use super::schema;
use crate::error::{Error, Result, bail, err};

/// Brackets in brackets, and `~` behind `~`.
const DEEPEST: usize = 200;

/// Refuses what would take too deep a stack, and schemas in the grammar that would not be heeded.
pub(super) fn check(text: &str) -> Result<()> {
    // Each line may be a rule that needs the next one.
    let (mut levels, mut deepest) = (0, 0);
    let (mut depth, mut tildes, mut line, mut column) = (0_usize, 0, 1, 0);
    // Within a string or a regular expression, its last character; within a comment, the line's end.
    let mut within = None;
    // Where a schema ends, and what all of them will take.
    let (mut behind, mut comparisons) = (0, 0);
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        column += 1;
        if character == '\n' {
            (levels, deepest) = (levels + 1 + deepest, depth);
            if levels > bounds::DEEPEST {
                let most = bounds::DEEPEST;
                bail!(
                    InvalidArgument,
                    "the Lark grammar up to line {line} has {levels} levels in its rules, more than {most}"
                );
            }
            (line, column, within) = (line + 1, 0, None);
            continue;
        }
        if at < behind {
            continue;
        }
        if let Some(end) = within {
            if character == '\\' && end != '\n' {
                column += usize::from(characters.next_if(|(_, next)| *next != '\n').is_some());
            } else if character == end {
                within = None;
            }
            continue;
        }
        match character {
            '%' => {
                let Some(rest) = text[at..].strip_prefix("%json") else { continue };
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                if let Some(Ok(schema)) = values.next() {
                    let place = format!("the Lark grammar at line {line}, column {column}");
                    comparisons = schema::check(&schema, comparisons).map_err(|why| why.within(place))?;
                    behind = text.len() - rest.len() + values.byte_offset();
                }
            }
            '/' if characters.peek().is_some_and(|(_, next)| *next == '/') => within = Some('\n'),
            '#' => within = Some('\n'),
            '"' | '/' => within = Some(character),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        tildes = match character {
            '~' => tildes + 1,
            _ if character.is_whitespace() => tildes,
            _ => 0,
        };
        deepest = deepest.max(depth + tildes);
        if depth + tildes > DEEPEST {
            bail!(InvalidArgument, "the Lark grammar at line {line}, column {column}: more than {DEEPEST} levels");
        }
    }
    Ok(())
}

/// The error of a grammar that llguidance refuses with `why`, which begins with `LINE(COLUMN):` where it knows that.
pub(super) fn refusal(why: &str) -> Error {
    let why = reason(why);
    let place = why.strip_prefix("at ").unwrap_or(why);
    let located = place.split_once("): ").and_then(|(place, what)| {
        let (line, column) = place.split_once('(')?;
        Some((line.parse::<usize>().ok()?, column.parse::<usize>().ok()?, what))
    });
    match located {
        Some((line, column, what)) if line > 0 => {
            err!(InvalidArgument, "the Lark grammar at line {line}, column {column}: {what}")
        }
        Some((_, _, what)) => err!(InvalidArgument, "the Lark grammar at its end: {what}"),
        None => match why.strip_prefix("at EOF: ") {
            Some(what) => err!(InvalidArgument, "the Lark grammar at its end: {what}"),
            None => err!(InvalidArgument, "the Lark grammar: {why}"),
        },
    }
}
