//! Where in a JSON value something is.

use std::fmt;

/// A place, as RFC 6901 writes it: `/messages/3/content/0/text`.
#[derive(Debug, Clone)]
pub(crate) struct Pointer(String);

impl Pointer {
    /// The whole value that goes by `name`.
    pub(crate) fn to(name: &str) -> Self {
        Self(format!("/{name}"))
    }

    /// The value at `key` of the object here.
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut inner = self.clone();
        inner.enter_key(key);
        inner
    }

    /// The item `index` of the list here.
    pub(crate) fn index(&self, index: usize) -> Self {
        let mut inner = self.clone();
        inner.enter_index(index);
        inner
    }

    /// Goes to the value at `key`, and returns what leads back.
    pub(crate) fn enter_key(&mut self, key: &str) -> usize {
        let back = self.0.len();
        self.0.push('/');
        self.0.push_str(&key.replace('~', "~0").replace('/', "~1"));
        back
    }

    /// Goes to the item `index`, and returns what leads back.
    pub(crate) fn enter_index(&mut self, index: usize) -> usize {
        let back = self.0.len();
        self.0.push('/');
        self.0.push_str(&index.to_string());
        back
    }

    pub(crate) fn leave(&mut self, back: usize) {
        self.0.truncate(back);
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
