//! The data file beside a graph in the stock dialect: what lies in it, and where.

use std::collections::HashMap;

use super::super::onnx::{ElementType, StringEntry, Tensor};

/// Tensors in the data file start at multiples of this, so that a reader can map them.
const ALIGNMENT: u64 = 4096;

/// What a tensor of the data file holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    /// The weight of this name.
    Weight(String),
    /// The codes of the quantised weight of this name, as `MatMulNBits` has them.
    Codes(String),
    /// Its scales `[rows, blocks]`.
    Scales(String),
    /// The weight of this name, with the number of these bits added to each value.
    Plus(String, u32),
    /// As many ones.
    Ones(usize),
    /// The cosines of every position in this rotation, `[positions, head_dim / 2]`.
    Cosines(usize),
    /// The sines, likewise.
    Sines(usize),
}

/// Where a tensor lies: a file and the first byte in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileOffset {
    pub location: String,
    pub offset: u64,
}

/// One tensor of the data file.
pub(crate) struct External {
    pub content: Content,
    pub offset: u64,
}

/// The data file as it grows.
pub(super) struct Data<'a> {
    location: &'a str,
    pub external: Vec<External>,
    /// Where each content is.
    offsets: HashMap<Content, u64>,
    pub end: u64,
    pub largest: u64,
    /// Bytes of all initialisers, those in other files and those that share their content too.
    pub held: u64,
}

impl<'a> Data<'a> {
    /// Nothing yet, in the file `location`.
    pub(super) fn new(location: &'a str) -> Self {
        Self { location, external: Vec::new(), offsets: HashMap::new(), end: 0, largest: 0, held: 0 }
    }

    /// The initialiser `name` with `content`. Several may have the same content, in other shapes: it is stored once.
    pub(super) fn initialiser(
        &mut self,
        name: &str,
        element: ElementType,
        shape: &[usize],
        content: Content,
    ) -> Tensor {
        let length = length(element, shape);
        let offset = match self.offsets.get(&content) {
            Some(offset) => *offset,
            None => self.add(content, length),
        };
        let place = FileOffset { location: self.location.into(), offset };
        self.elsewhere(name, element, shape, place)
    }

    /// The initialiser `name` whose content lies in some other file.
    pub(super) fn elsewhere(&mut self, name: &str, element: ElementType, shape: &[usize], place: FileOffset) -> Tensor {
        let length = length(element, shape);
        self.held += length;
        let entry = |key: &str, value: String| StringEntry { key: key.into(), value };
        Tensor {
            dims: shape.iter().map(|d| *d as i64).collect(),
            data_type: element as i32,
            name: name.into(),
            external_data: vec![
                entry("location", place.location),
                entry("offset", place.offset.to_string()),
                entry("length", length.to_string()),
            ],
            data_location: 1,
            ..Tensor::default()
        }
    }

    fn add(&mut self, content: Content, length: u64) -> u64 {
        let offset = self.end.next_multiple_of(ALIGNMENT);
        self.end = offset + length;
        self.largest = self.largest.max(length);
        self.offsets.insert(content.clone(), offset);
        self.external.push(External { content, offset });
        offset
    }
}

fn length(element: ElementType, shape: &[usize]) -> u64 {
    (shape.iter().product::<usize>() * element.size()) as u64
}
