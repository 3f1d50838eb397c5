//! What the kernels of a session find their weights in.

use std::sync::Arc;

use crate::error::{Result, err};
use crate::graph::{self, Op};
use crate::kernels::{Isa, Matrix, Projection};
use crate::weights::{MappedTensor, WeightTable};

/// What every operator of a session shares.
#[derive(Clone)]
pub(super) struct Shared {
    pub ops: Arc<[Op]>,
    pub weights: Arc<WeightTable>,
    pub threads: usize,
    pub isa: Isa,
}

/// A weight matrix with its scales, where it has some, and its bias.
pub(super) struct Weights {
    weight: MappedTensor,
    scales: Option<MappedTensor>,
    bias: Option<MappedTensor>,
}

impl Weights {
    pub(super) fn projection(&self) -> Projection<'_> {
        let (weights, bias) = self.matrices();
        Projection { weights, bias }
    }

    pub(super) fn matrices(&self) -> (Matrix<'_>, Option<Matrix<'_>>) {
        let scales = self.scales.as_ref().map_or(&[][..], |scales| scales.matrix().data);
        (Matrix { scales, ..self.weight.matrix() }, self.bias.as_ref().map(MappedTensor::matrix))
    }
}

impl Shared {
    pub(super) fn tensor(&self, weight: &graph::Weight) -> Result<MappedTensor> {
        let name = &weight.name;
        self.weights.get(name).cloned().ok_or_else(|| err!(Internal, "the shard has no tensor `{name}`"))
    }

    pub(super) fn optional(&self, weight: Option<&graph::Weight>) -> Result<Option<MappedTensor>> {
        weight.map(|weight| self.tensor(weight)).transpose()
    }

    /// All values of a tensor, row after row.
    pub(super) fn vector(&self, weight: &graph::Weight) -> Result<Vec<f32>> {
        let tensor = self.tensor(weight)?;
        let matrix = tensor.matrix();
        let mut wide = vec![0.0; matrix.rows * matrix.cols];
        matrix.widen(0, &mut wide);
        Ok(wide)
    }

    pub(super) fn linear(&self, linear: &graph::Linear) -> Result<Weights> {
        let (weight, scales) = (self.tensor(&linear.weight)?, self.optional(linear.weight.scales.as_deref())?);
        Ok(Weights { weight, scales, bias: self.optional(linear.bias.as_ref())? })
    }
}
