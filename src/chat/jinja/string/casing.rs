//! Python's cases of letters, and what `str` says about its characters.

use super::unicode;

/// The first character in title case, the others in lower case.
fn title_first(text: &str) -> String {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return String::new() };
    let mut titled = String::with_capacity(text.len());
    unicode::push_title(&mut titled, first);
    // In lower case as a whole, since a sigma at the end of a word depends on what is in front of it.
    let lower = text.to_lowercase();
    titled.push_str(&lower[first.to_lowercase().map(char::len_utf8).sum::<usize>()..]);
    titled
}

pub(crate) fn capitalize(text: &str) -> String {
    title_first(text)
}

fn is_cased(character: char) -> bool {
    character.is_lowercase() || character.is_uppercase() || unicode::is_title(character)
}

pub(crate) fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_cased) {
        titled.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c| !is_cased(c)).unwrap_or(rest.len());
        titled.push_str(&title_first(&rest[..end]));
        rest = &rest[end..];
    }
    titled + rest
}

pub(crate) fn swapcase(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len());
    // In lower case as a whole, since a sigma at the end of a word depends on what is in front of it.
    let lower = text.to_lowercase();
    let mut lower = lower.chars();
    for character in text.chars() {
        let lowered = lower.by_ref().take(character.to_lowercase().count()).collect::<String>();
        if character.is_uppercase() {
            swapped.push_str(&lowered);
        } else if character.is_lowercase() {
            swapped.extend(character.to_uppercase());
        } else {
            swapped.push(character);
        }
    }
    swapped
}

pub(crate) fn casefold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    text.chars().for_each(|character| unicode::push_folded(&mut folded, character));
    folded
}

pub(crate) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(|c| c.is_uppercase() || unicode::is_title(c))
}

pub(crate) fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(|c| c.is_lowercase() || unicode::is_title(c))
}

pub(crate) fn is_title(text: &str) -> bool {
    let (mut found, mut in_word) = (false, false);
    for character in text.chars() {
        if character.is_uppercase() || unicode::is_title(character) {
            if in_word {
                return false;
            }
            (found, in_word) = (true, true);
        } else if character.is_lowercase() {
            if !in_word {
                return false;
            }
            found = true;
        } else {
            in_word = false;
        }
    }
    found
}

/// The methods `str.is...`, by name.
pub(crate) fn predicate(name: &str, text: &str) -> Option<bool> {
    let all = |is: fn(char) -> bool| !text.is_empty() && text.chars().all(is);
    Some(match name {
        "isalnum" => all(unicode::is_alphanumeric),
        "isalpha" => all(unicode::is_letter),
        "isascii" => text.is_ascii(),
        "isdecimal" => all(|c| unicode::decimal(c).is_some()),
        "isdigit" => all(unicode::is_digit),
        "isidentifier" => unicode::is_identifier(text),
        "islower" => is_lower(text),
        "isnumeric" => all(unicode::is_numeric),
        "isprintable" => text.chars().all(unicode::is_printable),
        "isspace" => all(unicode::is_space),
        "istitle" => is_title(text),
        "isupper" => is_upper(text),
        _ => return None,
    })
}
