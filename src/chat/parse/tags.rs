//! Answers in which markers stand in the text.

use super::body::{Ending, Scan};
use super::grammar::{Grammar, Opening, Shape};
use super::markup::Tools;
use super::out::{Kind, Out};
use super::watch::{Found, Watch};

/// A call that nothing marks.
const BARE: Opening = Opening { literal: "", ending: Ending::Json, shape: Shape::Json };

/// The first keys of a call that nothing marks.
const FIRST_KEYS: [&str; 5] = ["\"name\"", "\"type\"", "\"function\"", "\"parameters\"", "\"arguments\""];

#[derive(Debug, Clone)]
enum State {
    Content,
    /// In reasoning, marked in the way of this number.
    Reasoning(usize),
    /// In a call, which begins at the place up to which all has been given.
    Call(Opening, Scan),
}

/// Whether an answer begins with a call that nothing marks.
enum Bare {
    Yes(usize),
    No,
    Perhaps,
}

#[derive(Debug, Clone)]
pub(super) struct Tags {
    grammar: &'static Grammar,
    tools: Tools,
    content: Watch,
    /// For each way to mark reasoning.
    reasoning: Vec<Watch>,
    state: State,
    /// Whether only bare calls have come so far, and how many.
    fresh: bool,
    bare: usize,
}

impl Tags {
    pub(super) fn new(grammar: &'static Grammar, tools: Tools) -> Self {
        let mut literals: Vec<_> = grammar.reasoning.iter().map(|(open, _)| *open).collect();
        literals.extend(grammar.openings.iter().map(|opening| opening.literal));
        literals.extend(grammar.dropped);
        let content = Watch::new(literals);
        let within = |(_, close): &(_, &'static str)| Watch::new([&[*close], grammar.dropped].concat());
        let reasoning = grammar.reasoning.iter().map(within).collect();
        Self { grammar, tools, content, reasoning, state: State::Content, fresh: grammar.bare, bare: 0 }
    }

    /// Gives what `text` holds for certain. Returns the bytes of it that are done with.
    pub(super) fn take(&mut self, text: &str, complete: bool, out: &mut Out) -> usize {
        let mut at = 0;
        loop {
            let goes_on = match self.state.clone() {
                State::Content => self.content(text, &mut at, complete, out),
                State::Reasoning(way) => self.reasoning(text, &mut at, complete, out, way),
                State::Call(opening, scan) => self.call(text, &mut at, complete, out, opening, scan),
            };
            if !goes_on {
                break;
            }
        }
        if complete {
            out.end(if matches!(self.state, State::Reasoning(_)) { Kind::Reasoning } else { Kind::Content });
        }
        at
    }

    fn content(&mut self, text: &str, at: &mut usize, complete: bool, out: &mut Out) -> bool {
        if self.fresh {
            match self.begins_with_call(&text[*at..], complete) {
                Bare::Yes(place) => {
                    *at += place;
                    self.state = State::Call(BARE, Scan::default());
                    return true;
                }
                Bare::Perhaps => return false,
                Bare::No => self.fresh = false,
            }
        }
        match self.content.look(text, *at, complete) {
            Found::NoneUntil(end) => {
                out.text(Kind::Content, &text[*at..end]);
                *at = end;
                false
            }
            Found::At(place, literal) => {
                out.text(Kind::Content, &text[*at..place]);
                *at = place;
                if let Some(opening) = self.grammar.openings.iter().find(|opening| opening.literal == literal) {
                    self.state = State::Call(*opening, Scan::default());
                    return true;
                }
                *at += literal.len();
                if let Some(way) = self.grammar.reasoning.iter().position(|(open, _)| *open == literal) {
                    out.close();
                    self.state = State::Reasoning(way);
                }
                true
            }
        }
    }

    fn reasoning(&mut self, text: &str, at: &mut usize, complete: bool, out: &mut Out, way: usize) -> bool {
        match self.reasoning[way].look(text, *at, complete) {
            Found::NoneUntil(end) => {
                out.text(Kind::Reasoning, &text[*at..end]);
                *at = end;
                false
            }
            Found::At(place, literal) => {
                out.text(Kind::Reasoning, &text[*at..place]);
                *at = place + literal.len();
                if literal == self.grammar.reasoning[way].1 {
                    out.close();
                    self.state = State::Content;
                }
                true
            }
        }
    }

    fn call(
        &mut self,
        text: &str,
        at: &mut usize,
        complete: bool,
        out: &mut Out,
        opening: Opening,
        mut scan: Scan,
    ) -> bool {
        let body = &text[*at + opening.literal.len()..];
        let end = scan.end(body, opening.ending);
        let (length, closing, ended) = match end {
            Some((length, closing)) => (length, closing, true),
            None if complete => (body.len(), 0, false),
            None => {
                self.state = State::Call(opening, scan);
                return false;
            }
        };
        let raw = &text[*at..*at + opening.literal.len() + length + closing];
        *at += raw.len();
        self.state = State::Content;
        if let Some(calls) = opening.shape.calls(&body[..length], &self.tools, ended) {
            self.bare += calls.len();
            for call in calls {
                out.call(call);
            }
        } else {
            // What is no call after all is what the model has said.
            self.fresh = false;
            out.text(Kind::Content, raw);
        }
        true
    }

    /// Whether `text`, which is all that has come, begins with a call; several stand one after another, perhaps with
    /// `;` between.
    fn begins_with_call(&self, text: &str, complete: bool) -> Bare {
        let between = |c: char| c.is_whitespace() || (c == ';' && self.bare > 0);
        let rest = text.trim_start_matches(between);
        let Some(inner) = rest.strip_prefix('{') else {
            return if rest.is_empty() && !complete { Bare::Perhaps } else { Bare::No };
        };
        let key = inner.trim_start();
        if FIRST_KEYS.iter().any(|first| key.starts_with(first)) {
            return Bare::Yes(text.len() - rest.len());
        }
        let perhaps = !complete && FIRST_KEYS.iter().any(|first| first.starts_with(key));
        if perhaps { Bare::Perhaps } else { Bare::No }
    }
}
