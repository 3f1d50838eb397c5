//! Strings that end a text wherever they come: within a token, or across many.

use crate::error::{Error, Result, Site, bail};

/// Gives text on as it comes, up to the first of some stop strings.
///
/// What could still become a stop string is held back, and nothing else. Of two stop strings the one counts that is complete
/// first, and of those complete at once the longest, so that it does not matter how the text is cut into pieces.
#[derive(Debug, Clone)]
pub struct StopStrings {
    stops: Vec<Stop>,
    /// Whether the stop string itself is given.
    include: bool,
    /// What was given last, and behind it what is held back.
    text: String,
    /// Bytes of `text` that were given last.
    given: usize,
    found: Option<usize>,
}

/// A stop string, and how much of it the text so far ends with.
#[derive(Debug, Clone)]
struct Stop {
    string: Vec<u8>,
    /// For each number of matched bytes, how many are matched if the next byte is another.
    shorter: Vec<usize>,
    matched: usize,
}

impl StopStrings {
    /// The filter at the start of a text. With `include` the stop string is part of what is given.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty stop string; `OutOfMemory`.
    pub fn new(stops: &[String], include: bool) -> Result<Self> {
        if let Some(index) = stops.iter().position(String::is_empty) {
            bail!(InvalidArgument, "stop[{index}] is empty, and would end every text");
        }
        let stops = stops.iter().map(|stop| Stop::new(stop)).collect::<Result<_>>()?;
        Ok(Self { stops, include, text: String::new(), given: 0, found: None })
    }

    /// Takes the next piece of the text. What it makes certain is then [`given`](Self::given).
    ///
    /// After a stop string nothing more is taken.
    ///
    /// # Errors
    /// `OutOfMemory`; the piece is not taken then.
    pub fn push(&mut self, piece: &str) -> Result<()> {
        self.taken();
        self.append(piece)
    }

    /// Gives what is still held back: the text ends here.
    pub fn finish(&mut self) {
        self.taken();
        self.release();
    }

    /// Nothing that was given so far is given any more.
    pub(super) fn taken(&mut self) {
        self.text.drain(..std::mem::take(&mut self.given));
    }

    /// As [`push`](Self::push), on top of what is given already.
    pub(super) fn append(&mut self, piece: &str) -> Result<()> {
        if self.found.is_some() {
            return Ok(());
        }
        let bytes = (self.text.len() + piece.len()) as u64;
        self.text
            .try_reserve(piece.len())
            .map_err(|_| Error::oom(Site::Run, "cpu", bytes, "text that is held back"))?;
        let before = self.text.len();
        self.text.push_str(piece);
        for (index, byte) in piece.bytes().enumerate() {
            self.stops.iter_mut().for_each(|stop| stop.push(byte));
            let complete = (0..).zip(&self.stops).filter(|(_, stop)| stop.matched == stop.string.len());
            if let Some((found, stop)) = complete.max_by_key(|(_, stop)| stop.matched) {
                let end = before + index + 1;
                self.given = if self.include { end } else { end - stop.matched };
                self.text.truncate(self.given);
                self.found = Some(found);
                return Ok(());
            }
        }
        let held = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        self.given = self.text.len() - held;
        Ok(())
    }

    /// As [`finish`](Self::finish), on top of what is given already.
    pub(super) fn release(&mut self) {
        self.given = self.text.len();
        self.stops.iter_mut().for_each(|stop| stop.matched = 0);
    }

    /// What is held back.
    pub(super) fn held(&self) -> &str {
        &self.text[self.given..]
    }

    /// Goes where `held` is held back, and no stop string has come.
    ///
    /// How much of each stop string has come is in that text, since the longest part of one is all of it.
    pub(super) fn hold(&mut self, held: &str) -> Result<()> {
        self.reset();
        self.append(held)?;
        if self.given > 0 || self.found.is_some() {
            bail!(Malformed, "state: it holds text back that could not become a stop string");
        }
        Ok(())
    }

    /// What the last call made certain.
    #[must_use]
    pub fn given(&self) -> &str {
        &self.text[..self.given]
    }

    /// Which stop string has come.
    #[must_use]
    pub fn found(&self) -> Option<usize> {
        self.found
    }

    /// Back to the start of a text.
    pub fn reset(&mut self) {
        self.text.clear();
        (self.given, self.found) = (0, None);
        self.stops.iter_mut().for_each(|stop| stop.matched = 0);
    }
}

impl Stop {
    fn new(string: &str) -> Result<Self> {
        let mut stop = Self { string: Vec::new(), shorter: Vec::new(), matched: 0 };
        let refused = |_| Error::oom(Site::Run, "cpu", string.len() as u64 * 9, "a stop string");
        stop.string.try_reserve_exact(string.len()).map_err(refused)?;
        stop.string.extend_from_slice(string.as_bytes());
        stop.shorter.try_reserve_exact(string.len() + 1).map_err(refused)?;
        stop.shorter.resize(string.len() + 1, 0);
        // Where a match fails, the longest beginning of the string that the matched part ends with may go on.
        let mut length = 0;
        for end in 1..stop.string.len() {
            while length > 0 && stop.string[end] != stop.string[length] {
                length = stop.shorter[length];
            }
            length += usize::from(stop.string[end] == stop.string[length]);
            stop.shorter[end + 1] = length;
        }
        Ok(stop)
    }

    fn push(&mut self, byte: u8) {
        let goes_on = |matched: usize| self.string.get(matched) == Some(&byte);
        while self.matched > 0 && !goes_on(self.matched) {
            self.matched = self.shorter[self.matched];
        }
        self.matched += usize::from(goes_on(self.matched));
    }
}
