//! Stop strings, and a text in pieces.

use ortshard::StopStrings;

use super::sound;

/// The input's lines: whether stop strings are given, how the text is cut, stop strings up to an empty line, the text.
pub fn run(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let Some((head, rest)) = input.split_once('\n') else { return };
    let (stops, text) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let stops: Vec<String> = stops.lines().map(str::to_owned).collect();
    let include = head.starts_with('+');
    let Some(mut filter) = sound(StopStrings::new(&stops, include)) else { return };

    // The rule without shortcuts: the first end of a stop string, of those that end there the longest.
    let complete = |end: usize| {
        let here = (0..).zip(&stops).filter(|(_, stop)| text[..end].ends_with(stop.as_str()));
        here.max_by_key(|(_, stop)| stop.len())
    };
    let mut ends = (1..=text.len()).filter(|end| text.is_char_boundary(*end));
    let found = ends.find_map(|end| Some((end, complete(end)?)));
    let wanted = match found {
        Some((end, (_, stop))) => &text[..if include { end } else { end - stop.len() }],
        None => text,
    };

    let mut cuts = head.bytes().map(|byte| 1 + usize::from(byte % 7)).cycle();
    let (mut given, mut left) = (String::new(), text);
    while !left.is_empty() {
        let (piece, rest) = left.split_at(left.ceil_char_boundary(cuts.next().unwrap_or(1).min(left.len())));
        sound(filter.push(piece)).expect("memory for a short text");
        given.push_str(filter.given());
        left = rest;
        if filter.found().is_none() {
            // Nothing is held back that is not the beginning of a stop string.
            let held = &text[given.len()..text.len() - left.len()];
            assert!(held.is_empty() || stops.iter().any(|stop| stop.len() > held.len() && stop.starts_with(held)));
        }
    }
    if filter.found().is_none() {
        filter.finish();
        given.push_str(filter.given());
    }
    assert_eq!((given.as_str(), filter.found()), (wanted, found.map(|(_, (index, _))| index)));

    // It is at its start again.
    filter.reset();
    sound(filter.push("")).expect("no memory is needed");
    assert_eq!((filter.given(), filter.found()), ("", None));
}
