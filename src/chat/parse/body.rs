//! Finds the end of a tool call that is still being written.

/// What may hold the closing literal without ending the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strings {
    /// Nothing.
    None,
    /// Texts of JSON.
    Json,
    /// Texts between two of this literal.
    Between(&'static str),
}

/// Where a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// At this literal, outside of texts.
    Literal(&'static str, Strings),
    /// Behind its first JSON value, which may be an object or a list.
    Json,
}

/// Goes through a call, a part at a time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scan {
    /// Bytes that have been looked at.
    at: usize,
    in_string: bool,
    depth: usize,
    /// Whether the JSON value has begun.
    begun: bool,
}

impl Scan {
    /// Looks at `body`, which is longer each time. Returns the bytes of the call and those of what ends it, once both
    /// are there.
    pub(super) fn end(&mut self, body: &str, ending: Ending) -> Option<(usize, usize)> {
        match ending {
            Ending::Literal(literal, strings) => self.literal(body, literal, strings),
            Ending::Json => self.json(body),
        }
    }

    fn literal(&mut self, body: &str, literal: &str, strings: Strings) -> Option<(usize, usize)> {
        let bytes = body.as_bytes();
        while let Some(rest) = bytes.get(self.at..).filter(|rest| !rest.is_empty()) {
            if !self.in_string && rest.starts_with(literal.as_bytes()) {
                return Some((self.at, literal.len()));
            }
            let quote = match strings {
                Strings::None => "",
                Strings::Json => "\"",
                Strings::Between(quote) => quote,
            };
            let begins =
                |wanted: &str| !wanted.is_empty() && rest.len() < wanted.len() && wanted.as_bytes().starts_with(rest);
            if begins(quote) || (!self.in_string && begins(literal)) {
                return None;
            }
            if !quote.is_empty() && rest.starts_with(quote.as_bytes()) {
                self.in_string = !self.in_string;
                self.at += quote.len();
            } else if self.in_string && strings == Strings::Json && rest[0] == b'\\' {
                if rest.len() == 1 {
                    return None;
                }
                self.at += 2;
            } else {
                self.at += 1;
            }
        }
        None
    }

    fn json(&mut self, body: &str) -> Option<(usize, usize)> {
        let bytes = body.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'\\' if self.in_string => {
                    if self.at + 1 == bytes.len() {
                        return None;
                    }
                    self.at += 1;
                }
                b'"' if self.depth > 0 => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' => self.depth += 1,
                // A bracket behind other text belongs to a marker, such as [ARGS].
                b'[' if self.depth > 0 || body[..self.at].trim().is_empty() => self.depth += 1,
                b'}' | b']' if self.depth > 0 => self.depth -= 1,
                _ => {}
            }
            self.at += 1;
            self.begun |= self.depth > 0;
            if self.begun && self.depth == 0 {
                return Some((self.at, 0));
            }
        }
        None
    }
}
