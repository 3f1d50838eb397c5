//! Python's `str` and markupsafe's `Markup`: text that is indexed by characters and knows whether it is escaped.

use std::cell::OnceCell;
use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

use crate::chat::jinja::error::Result;
use crate::chat::jinja::meter::{BLOCK, Charge, Meter};

/// The place of every so-many-th character is remembered for a text that is not ASCII.
const STRIDE: usize = 64;

/// An immutable text.
#[derive(Clone)]
pub(crate) struct Text {
    held: Rc<Held>,
    /// Whether it is a `Markup`.
    pub(crate) markup: bool,
}

/// Bytes that a text takes beside its characters, in two blocks.
const OWN: usize = size_of::<Held>() + 2 * BLOCK;

struct Held {
    text: String,
    places: OnceCell<Places>,
    _charge: Charge,
}

/// Where a text's characters begin.
enum Places {
    Ascii,
    /// Where each character whose number is a multiple of [`STRIDE`] begins, and how many characters there are.
    Every(Vec<usize>, usize),
}

impl Text {
    pub(crate) fn new(meter: &Rc<Meter>, text: String) -> Result<Self> {
        // The places of characters take a quarter of a text at most.
        let charge = meter.hold(text.capacity() + text.len() / 4 + OWN)?;
        Ok(Self { held: Rc::new(Held { text, places: OnceCell::new(), _charge: charge }), markup: false })
    }

    /// The text that `buffer` holds.
    pub(crate) fn of(buffer: Buffer) -> Self {
        let Buffer { text, charge } = buffer;
        Self { held: Rc::new(Held { text, places: OnceCell::new(), _charge: charge }), markup: false }
    }

    /// The text as a `Markup`, or as a plain `str`.
    pub(crate) fn marked(&self, markup: bool) -> Self {
        Self { held: Rc::clone(&self.held), markup }
    }

    /// Whether the two are one object.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.held, &other.held)
    }

    fn places(&self) -> &Places {
        self.held.places.get_or_init(|| {
            let text = &self.held.text;
            if text.is_ascii() {
                return Places::Ascii;
            }
            let (mut every, mut count) = (Vec::new(), 0);
            for (place, _) in text.char_indices() {
                if count % STRIDE == 0 {
                    every.push(place);
                }
                count += 1;
            }
            Places::Every(every, count)
        })
    }

    /// How many characters it has.
    pub(crate) fn count(&self) -> usize {
        match self.places() {
            Places::Ascii => self.held.text.len(),
            Places::Every(_, count) => *count,
        }
    }

    /// The byte at which character `index` begins; the end of the text for a larger index.
    fn place(&self, index: usize) -> usize {
        match self.places() {
            Places::Ascii => index.min(self.held.text.len()),
            Places::Every(every, count) => {
                if index >= *count {
                    return self.held.text.len();
                }
                let from = every[index / STRIDE];
                let rest = self.held.text[from..].char_indices().nth(index % STRIDE);
                from + rest.map_or(0, |(place, _)| place)
            }
        }
    }

    /// The characters of a range.
    pub(crate) fn part(&self, range: Range<usize>) -> &str {
        if range.start >= range.end {
            return "";
        }
        &self.held.text[self.place(range.start)..self.place(range.end)]
    }

    pub(crate) fn char(&self, index: usize) -> Option<char> {
        self.held.text[self.place(index)..].chars().next()
    }

    /// The number of the character that begins at byte `place`.
    pub(crate) fn index_of(&self, place: usize) -> usize {
        match self.places() {
            Places::Ascii => place,
            Places::Every(every, _) => {
                let before = every.partition_point(|&start| start <= place).saturating_sub(1);
                before * STRIDE + self.held.text[every[before]..place].chars().count()
            }
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.held.text
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A text that is being written. It is charged for as it grows.
pub(crate) struct Buffer {
    pub(crate) text: String,
    charge: Charge,
}

impl Buffer {
    pub(crate) fn new(meter: &Rc<Meter>) -> Result<Self> {
        Ok(Self { text: String::new(), charge: meter.hold(OWN)? })
    }

    pub(crate) fn push(&mut self, text: &str) -> Result<()> {
        self.reserve(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    /// Writes `text` `times` times.
    pub(crate) fn repeat(&mut self, text: &str, times: usize) -> Result<()> {
        let more = text.len().saturating_mul(times);
        self.reserve(more)?;
        self.text.extend(std::iter::repeat_n(text, times));
        Ok(())
    }

    /// Makes room for `more` bytes, twice what there was if it has to grow.
    fn reserve(&mut self, more: usize) -> Result<()> {
        let (room, wanted) = (self.text.capacity(), self.text.len().saturating_add(more));
        if wanted > room {
            let grown = wanted.max(2 * room);
            self.charge.grow(grown - room + (grown - room) / 4)?;
            // While it is copied, the old text is there, too.
            self.charge.ask(grown)?;
            self.text.reserve_exact(grown - self.text.len());
        }
        self.charge.pass(more)
    }
}
