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
    /// Whether it is read where the checkpoint has it even if others are packed: a table of which a text reads a few rows.
    pub in_place: bool,
    pub format: Format,
    /// The scales of a weight that has some.
    pub scales: Option<Box<Weight>>,
}

/// What a checkpoint stores values as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Numbers: float32, float16 or bfloat16.
    Numbers,
    /// Four-bit floats, two to a byte: blocks of 32 of a row, which have a scale each.
    Mxfp4,
    /// Those scales: a byte each.
    Scales,
    /// Eight-bit floats, whose scales are float32: one for each block of so many rows and columns of the tensor.
    Fp8([usize; 2]),
}

/// Columns of [`Format::Mxfp4`] that share a scale.
pub(crate) const MXFP4_BLOCK: usize = 32;

/// Which part of a tensor a [`Weight`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The tensor's name in the checkpoint.
    pub tensor: String,
    /// The tensor's shape.
    pub shape: Vec<usize>,
    /// The values in front of the part's first one.
    pub offset: usize,
    /// Where its values lie; `None`: one after another.
    pub strides: Option<Strides>,
}

/// Where values lie that are not one after another: that of row `r` and column `c` at `r * row + c * column`, counted in values from
/// the first. The values of a vector are its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strides {
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

impl Weight {
    /// The tensor `name` of `shape`.
    pub(crate) fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        let (name, shape, format) = (name.into(), shape.into(), Format::Numbers);
        Self { name, shape, part: None, exact: false, in_place: false, format, scales: None }
    }

    /// Four-bit floats of `shape`, whose last dimension is a multiple of [`MXFP4_BLOCK`]: the tensors `{name}_blocks` and
    /// `{name}_scales`. They stay as they are where others are quantised.
    pub(crate) fn mxfp4(name: &str, shape: impl Into<Vec<usize>>) -> Self {
        let blocks = Self::new(format!("{name}_blocks"), shape);
        let mut scales = Self::new(format!("{name}_scales"), blocks.shape.clone());
        if let Some(columns) = scales.shape.last_mut() {
            *columns /= MXFP4_BLOCK;
        }
        let scales = Box::new(Self { exact: true, format: Format::Scales, ..scales });
        Self { exact: true, format: Format::Mxfp4, scales: Some(scales), ..blocks }
    }

    /// Eight-bit floats of the same shape, a matrix, with a scale for each `block` of rows and columns: the tensor `{name}`, and
    /// `{name}_scale_inv`.
    pub(crate) fn fp8(self, block: [usize; 2]) -> Self {
        let of = |axis: usize| self.shape.get(axis).copied().unwrap_or(1).div_ceil(block[axis].max(1));
        let scales = Self::new(format!("{}_scale_inv", self.name), [of(0), of(1)]).exact();
        Self { format: Format::Fp8(block), scales: Some(Box::new(scales)), ..self }
    }

    /// The weight, never quantised.
    pub(crate) fn exact(self) -> Self {
        Self { exact: true, ..self }
    }

    /// The weight, never quantised and never copied.
    pub(crate) fn in_place(self) -> Self {
        Self { in_place: true, ..self.exact() }
    }

    /// These rows of a matrix, or values of a vector: one of several that a checkpoint stores as one.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        let scales = self.scales_of(|scales| scales.rows(rows.clone()));
        let which = format!("[{}..{}]", rows.start, rows.end);
        self.part(shape, rows.start * self.own_strides().row, self.strides(), &which, scales)
    }

    /// Every `step`th row of a matrix, or value of a vector, from `first` on: one of several whose rows lie in turns.
    pub(crate) fn every(&self, step: usize, first: usize) -> Self {
        let own = self.own_strides();
        let mut shape = self.shape.clone();
        shape[0] /= step.max(1);
        let scales = self.scales_of(|scales| scales.every(step, first));
        let strides = Strides { row: step * own.row, ..own };
        self.part(shape, first * own.row, Some(strides), &format!("[{first}::{step}]"), scales)
    }

    /// Member `index` of what is stacked along the first dimension.
    pub(crate) fn at(&self, index: usize) -> Self {
        let scales = self.scales_of(|scales| scales.at(index));
        self.part(self.shape[1..].to_vec(), index * self.row_len(), None, &format!("[{index}]"), scales)
    }

    /// A tensor of more dimensions as a matrix: what lies under each index of the first one is a row.
    pub(crate) fn as_matrix(&self) -> Self {
        self.part(vec![self.shape[0], self.row_len()], 0, None, "", None)
    }

    /// A vector as a matrix of so many rows.
    pub(crate) fn in_rows(&self, rows: usize) -> Self {
        let columns = self.shape.iter().product::<usize>() / rows.max(1);
        self.part(vec![rows, columns], 0, None, "", None)
    }

    /// The scales of a part: with blocks of several rows those of the whole.
    fn scales_of(&self, part: impl Fn(&Self) -> Self) -> Option<Self> {
        let scales = self.scales.as_deref()?;
        Some(if let Format::Fp8(_) = self.format { scales.clone() } else { part(scales) })
    }

    /// A matrix that is stored column after column.
    pub(crate) fn transposed(&self) -> Self {
        let Strides { row, column } = self.own_strides();
        let shape: Vec<usize> = self.shape.iter().rev().copied().collect();
        self.part(shape, 0, Some(Strides { row: column, column: row }), ".T", self.scales_of(Self::transposed))
    }

    fn part(
        &self,
        shape: Vec<usize>,
        offset: usize,
        strides: Option<Strides>,
        which: &str,
        scales: Option<Self>,
    ) -> Self {
        let part = match &self.part {
            Some(part) => Part { offset: part.offset + offset, strides, ..part.clone() },
            None => Part { tensor: self.name.clone(), shape: self.shape.clone(), offset, strides },
        };
        let (name, scales) = (format!("{}{which}", self.name), scales.map(Box::new));
        Self { name, shape, part: Some(part), exact: self.exact, in_place: self.in_place, format: self.format, scales }
    }

    /// Values of a row, or of a member of what is stacked.
    fn row_len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    fn own_strides(&self) -> Strides {
        self.strides().unwrap_or_else(|| Strides { row: self.row_len(), column: 1 })
    }

    /// Where its values lie in the tensor; `None`: one after another.
    pub(crate) fn strides(&self) -> Option<Strides> {
        self.part.as_ref().and_then(|part| part.strides)
    }

    /// The name of its tensor in the checkpoint.
    pub(crate) fn tensor(&self) -> &str {
        self.part.as_ref().map_or(&self.name, |part| &part.tensor)
    }

    /// The shape of that tensor, counted in values.
    pub(crate) fn tensor_shape(&self) -> &[usize] {
        self.part.as_ref().map_or(&self.shape, |part| &part.shape)
    }

    /// The shape of that tensor as the checkpoint has it: of four-bit floats in bytes, with blocks apart.
    pub(crate) fn stored_shape(&self) -> Vec<usize> {
        let mut shape = self.tensor_shape().to_vec();
        if let (Format::Mxfp4, Some(columns)) = (self.format, shape.last_mut()) {
            *columns /= MXFP4_BLOCK;
            shape.push(MXFP4_BLOCK / 2);
        }
        shape
    }

    /// Bytes that its values take in the checkpoint, where a number takes so many.
    pub(crate) fn stored_bytes(&self, number: usize) -> u64 {
        let values = self.shape.iter().product::<usize>() as u64;
        match self.format {
            Format::Numbers => values * number as u64,
            Format::Mxfp4 => values / 2,
            Format::Scales | Format::Fp8(_) => values,
        }
    }

    /// Whether it is made of values that kernels can gather and quantise: all but four-bit floats and their scales.
    pub(crate) fn is_made_of_numbers(&self) -> bool {
        matches!(self.format, Format::Numbers | Format::Fp8(_))
    }

    /// Whether it is copied before kernels read it: numbers that do not lie one after another.
    pub(crate) fn is_gathered(&self) -> bool {
        self.is_made_of_numbers() && self.strides().is_some()
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

    /// The part of a fused layer that gives every `step`th value of `y`, from `first` on.
    pub(crate) fn every(&self, step: usize, first: usize) -> Self {
        Self { weight: self.weight.every(step, first), bias: self.bias.as_ref().map(|bias| bias.every(step, first)) }
    }

    /// The layer, never quantised.
    pub(crate) fn exact(self) -> Self {
        Self { weight: self.weight.exact(), ..self }
    }

    /// Width of `y`.
    pub(crate) fn out(&self) -> usize {
        self.weight.shape[0]
    }

    /// The matrix and its scales, then the bias.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.weight).chain(self.weight.scales.as_deref()).chain(&self.bias)
    }
}
