//! The spellings of all tokens in one block, for those who ask for many, one after another.
//!
//! The `tokenizers` crate gives each in memory of its own.

use std::borrow::Cow;

use super::Tokenizer;

/// Where an id has no token.
const NONE: u32 = u32::MAX;

/// The spellings of ids from 0 on. An id may have none; a large one may have one that is not here.
#[derive(Debug)]
pub(super) struct Spellings {
    text: String,
    /// Of each id: where its spelling begins, and where it ends.
    places: Vec<(u32, u32)>,
}

impl Spellings {
    /// Those of `count` ids; `None` if memory is short.
    fn new(count: usize, spelling: impl Fn(u32) -> Option<String>) -> Option<Self> {
        let mut all = Self { text: String::new(), places: Vec::new() };
        all.places.try_reserve_exact(count).ok()?;
        for id in 0..u32::try_from(count).ok()? {
            let begin = u32::try_from(all.text.len()).ok()?;
            let place = match spelling(id) {
                None => (NONE, NONE),
                Some(spelling) => {
                    all.text.try_reserve(spelling.len()).ok()?;
                    all.text.push_str(&spelling);
                    (begin, u32::try_from(all.text.len()).ok()?)
                }
            };
            all.places.push(place);
        }
        Some(all)
    }
}

impl Tokenizer {
    /// Makes [`spelling`](Self::spelling) need no memory for an id, if there is enough for all of them.
    pub(super) fn know_spellings(&self) {
        self.spellings.get_or_init(|| Spellings::new(self.size, |id| self.inner.id_to_token(id)));
    }

    /// The spelling of token `id`.
    pub(super) fn spelling(&self, id: u32) -> Option<Cow<'_, str>> {
        let known = self.spellings.get().and_then(Option::as_ref);
        match known.and_then(|all| Some((all, *all.places.get(id as usize)?))) {
            Some((_, (NONE, _))) => None,
            Some((all, (begin, end))) => Some(Cow::Borrowed(&all.text[begin as usize..end as usize])),
            None => self.inner.id_to_token(id).map(Cow::Owned),
        }
    }
}
