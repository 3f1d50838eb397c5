//! The checkpoint's tensors as operations name them: whole ones, rows of fused ones, and members of stacked ones.
#![allow(dead_code, reason = "the vocabulary is wider than what the families so far use")]

use std::ops::Range;

/// A tensor of the checkpoint, or a part of one: its name and the shape the config implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    /// The name under which the shard keeps it: the checkpoint's, and for a part which one it is, such as
    /// `experts.gate_up_proj[3][0..768]`.
    pub name: String,
    /// `[rows, columns]` of a matrix, `[values]` of a vector.
    pub shape: Vec<usize>,
    /// The tensor that it is a part of.
    pub part: Option<Part>,
    /// Whether it keeps its values where others are quantised: small matrices that decide much, such as routers.
    pub exact: bool,
}

/// Which part of a tensor a [`Weight`] is. Its values lie one after another there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The tensor's name in the checkpoint.
    pub tensor: String,
    /// The tensor's shape.
    pub shape: Vec<usize>,
    /// The values in front of the part.
    pub offset: usize,
}

impl Weight {
    /// The tensor `name` of `shape`.
    pub(crate) fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), shape: shape.into(), part: None, exact: false }
    }

    /// The weight, never quantised.
    pub(crate) fn exact(self) -> Self {
        Self { exact: true, ..self }
    }

    /// These rows of a matrix, or values of a vector: one of several that a checkpoint stores as one.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let row: usize = self.shape[1..].iter().product();
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        self.part(shape, rows.start * row, &format!("[{}..{}]", rows.start, rows.end))
    }

    /// Member `index` of what is stacked along the first dimension.
    pub(crate) fn at(&self, index: usize) -> Self {
        let shape = self.shape[1..].to_vec();
        let offset = index * shape.iter().product::<usize>();
        self.part(shape, offset, &format!("[{index}]"))
    }

    fn part(&self, shape: Vec<usize>, offset: usize, which: &str) -> Self {
        let part = match &self.part {
            Some(part) => Part { offset: part.offset + offset, ..part.clone() },
            None => Part { tensor: self.name.clone(), shape: self.shape.clone(), offset },
        };
        Self { name: format!("{}{which}", self.name), shape, part: Some(part), exact: self.exact }
    }

    /// The name of its tensor in the checkpoint.
    pub(crate) fn tensor(&self) -> &str {
        self.part.as_ref().map_or(&self.name, |part| &part.tensor)
    }

    /// The shape of that tensor.
    pub(crate) fn tensor_shape(&self) -> &[usize] {
        self.part.as_ref().map_or(&self.shape, |part| &part.shape)
    }

    /// Whether it is quantised where matrices are.
    pub(crate) fn is_quantisable(&self) -> bool {
        self.shape.len() == 2 && !self.exact
    }
}

/// `y = x Wᵀ + b` with `W` stored `[out, in]`, as checkpoints do.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub weight: Weight,
    pub bias: Option<Weight>,
}

impl Linear {
    /// The layer `{module}.weight` `[out, input]` and, where the model has one, `{module}.bias` `[out]`.
    pub(crate) fn new(module: &str, input: usize, out: usize, bias: bool) -> Self {
        Self {
            weight: Weight::new(format!("{module}.weight"), [out, input]),
            bias: bias.then(|| Weight::new(format!("{module}.bias"), [out])),
        }
    }

    /// The part of a fused layer that gives these values of `y`.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        Self { weight: self.weight.rows(rows.clone()), bias: self.bias.as_ref().map(|bias| bias.rows(rows)) }
    }

    /// Width of `y`.
    pub(crate) fn out(&self) -> usize {
        self.weight.shape[0]
    }

    /// The matrix, then the bias.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(&self.bias)
    }
}
