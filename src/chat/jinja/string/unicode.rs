//! What Python's `str` knows of characters.

use super::tables::{DIGITS, FOLDS, LETTERS, NUMERICS, TITLE_CASES, TITLE_TEXTS, TITLES, UNPRINTABLE, ZEROS};

/// Whether a character lies in a table of bounds.
fn within(table: &[u32], character: char) -> bool {
    table.partition_point(|bound| *bound <= u32::from(character)) % 2 == 1
}

/// `str.isspace`: also the separators of ASCII.
pub(crate) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character)
}

/// `str.isalpha`.
pub(crate) fn is_letter(character: char) -> bool {
    if character.is_ascii() { character.is_ascii_alphabetic() } else { within(&LETTERS, character) }
}

/// `str.isprintable`.
pub(crate) fn is_printable(character: char) -> bool {
    if character.is_ascii() { (' '..='~').contains(&character) } else { !within(&UNPRINTABLE, character) }
}

/// The value of a decimal digit of any script.
pub(crate) fn decimal(character: char) -> Option<u32> {
    let code = u32::from(character);
    let zero = *ZEROS.get(ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?)?;
    (code - zero < 10).then_some(code - zero)
}

/// `str.isdigit`.
pub(crate) fn is_digit(character: char) -> bool {
    decimal(character).is_some() || within(&DIGITS, character)
}

/// `str.isnumeric`.
pub(crate) fn is_numeric(character: char) -> bool {
    is_digit(character) || within(&NUMERICS, character)
}

/// `str.isalnum`.
pub(crate) fn is_alphanumeric(character: char) -> bool {
    is_letter(character) || is_numeric(character)
}

/// `\w` of Python's regular expressions, and what else may stand in a name.
pub(crate) fn is_word(character: char) -> bool {
    character == '_' || is_alphanumeric(character) || unicode_ident::is_xid_continue(character)
}

/// `\w` of Python's regular expressions.
pub(crate) fn is_regex_word(character: char) -> bool {
    character == '_' || is_alphanumeric(character)
}

/// `str.isidentifier`.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    let start = |character| character == '_' || unicode_ident::is_xid_start(character);
    characters.next().is_some_and(start) && characters.all(unicode_ident::is_xid_continue)
}

/// Whether a character is one of the few in title case.
pub(crate) fn is_title(character: char) -> bool {
    within(&TITLES, character)
}

fn moved(table: &[(u32, u32, i32)], character: char) -> Option<char> {
    let code = u32::from(character);
    let (_, _, distance) = table.iter().find(|(first, last, _)| (*first..=*last).contains(&code))?;
    char::from_u32(code.checked_add_signed(*distance)?)
}

/// `str.casefold` of one character.
pub(crate) fn push_folded(text: &mut String, character: char) {
    match moved(&FOLDS, character) {
        _ if character.is_ascii() => text.push(character.to_ascii_lowercase()),
        Some(other) => text.push(other),
        None => text.extend(character.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)),
    }
}

/// `str.title` of one character.
pub(crate) fn push_title(text: &mut String, character: char) {
    if let Some(other) = moved(&TITLE_CASES, character) {
        text.push(other);
        return;
    }
    if let Some((_, title)) = TITLE_TEXTS.iter().find(|(code, _)| *code == u32::from(character)) {
        text.push_str(title);
        return;
    }
    let mut upper = character.to_uppercase();
    text.extend(upper.next());
    text.extend(upper.flat_map(char::to_lowercase));
}
