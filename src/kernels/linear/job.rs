//! Linear layers at work: what a task runs an area of.

use super::super::activation::{ActivateRows, Activation};
use super::super::packed::activations::Activations;
use super::super::packed::dispatch::run_lines;
use super::super::shared::Output;
use super::super::{Isa, Layout, Matrix, Mxfp4, Packing, Parallel, mxfp4};
use super::area::{Apart, PlainArea};
use super::coded::CodedArea;
use super::finish::{Finish, PartOf};
use super::fours::FoursArea;
use std::ops::Range;

/// One linear layer of a job.
pub(in super::super) struct Layer<'a> {
    pub(super) weights: Matrix<'a>,
    pub(super) bias: Option<Matrix<'a>>,
    pub(super) finish: Finish<'a>,
}

impl Layer<'_> {
    /// Writes these rows of the result for these tokens.
    #[allow(clippy::too_many_arguments, reason = "the state of the loops around it")]
    fn run(
        &self,
        isa: Isa,
        x: &[f32],
        coded: &Coded,
        y: &Output,
        apart: Apart,
        rows: Range<usize>,
        tokens: Range<usize>,
    ) {
        let Self { weights, bias, finish } = self;
        let bias = bias.as_ref();
        match weights.layout {
            Layout::Rows(_) | Layout::Fp8(_) | Layout::Mxfp4(Mxfp4 { coded: false, .. }) => {
                isa.run(PlainArea { x, weights, bias, finish, y, apart, rows, tokens });
            }
            Layout::Tiles(_) | Layout::Mxfp4(_) | Layout::Scales => {
                let block = coded_block(weights.layout);
                let Some(x) = coded.iter().flatten().copied().find(|coded| block == Some(coded.block)) else {
                    return y.incomplete();
                };
                match weights.layout {
                    Layout::Mxfp4(mxfp4) => {
                        let apart = apart.y;
                        run_lines(isa, FoursArea { x, weights, mxfp4, bias, finish, y, apart, rows, tokens });
                    }
                    Layout::Tiles(packing) => {
                        let part_of = PartOf { apart: apart.y, first: 0 };
                        run_lines(isa, CodedArea { x, weights, packing, bias, finish, y, part_of, rows, tokens });
                    }
                    Layout::Rows(_) | Layout::Fp8(_) | Layout::Scales => y.incomplete(),
                }
            }
        }
    }
}

/// How wide the blocks of activations are that such weights meet; `None`: they meet values.
fn coded_block(layout: Layout) -> Option<usize> {
    match layout {
        Layout::Tiles(packing) => Some(packing.block()),
        Layout::Mxfp4(Mxfp4 { coded, .. }) => coded.then_some(mxfp4::BLOCK),
        Layout::Rows(_) | Layout::Fp8(_) | Layout::Scales => None,
    }
}

/// Widths of blocks.
const BLOCKS: [usize; 2] = [Packing::Int4.block(), Packing::Int4Fine.block()];

/// The activations as quantised weights of either width of block need them.
pub(in super::super) type Coded<'a> = [Option<Activations<'a>>; 2];

/// Bytes that [`coded`] needs for `tokens` tokens, for each width of block: none for what no layer has.
pub(in super::super) fn coded_bytes(layouts: impl Iterator<Item = Layout>, tokens: usize, cols: usize) -> [usize; 2] {
    let mut bytes = [0; 2];
    for layout in layouts {
        for (block, bytes) in BLOCKS.into_iter().zip(&mut bytes) {
            if coded_block(layout) == Some(block) {
                *bytes = Activations::bytes(block, tokens, cols);
            }
        }
    }
    bytes
}

/// Codes the activations for quantised layers, the first `cols` of each `apart` values, into memory of [`coded_bytes`]: once for all
/// that read them.
pub(in super::super) fn coded<'a>(
    isa: Isa,
    par: &dyn Parallel,
    x: &[f32],
    (cols, apart): (usize, usize),
    bytes: [usize; 2],
    memory: &'a mut [u8],
) -> Coded<'a> {
    let (wide, rest) = memory.split_at_mut(bytes[0]);
    let [wide, fine] = [(BLOCKS[0], wide), (BLOCKS[1], &mut rest[..bytes[1]])]
        .map(|(block, to)| (!to.is_empty()).then(|| Activations::new(isa, par, block, x, (cols, apart), to)));
    [wide, fine]
}

/// One output and the layers that write it, one after the other, block by block.
pub(in super::super) struct Job<'a> {
    pub(super) layers: [Option<Layer<'a>>; 2],
    /// Of the first layer's results, before the second layer.
    pub(super) activation: Option<Activation>,
    pub(super) y: Output<'a>,
    /// `None`: tokens lie one after another.
    pub(super) apart: Option<Apart>,
}

impl<'a> Job<'a> {
    /// A layer as it is, or with an activation after it.
    pub(in super::super) fn one(
        weights: Matrix<'a>,
        bias: Option<Matrix<'a>>,
        activation: Option<Activation>,
        y: Output<'a>,
    ) -> Self {
        Self { layers: [Some(Layer { weights, bias, finish: Finish::Store }), None], activation, y, apart: None }
    }

    /// The same, with tokens so far apart.
    pub(in super::super) fn apart(self, apart: Apart) -> Self {
        Self { apart: Some(apart), ..self }
    }

    /// The activation of one layer, multiplied by another.
    pub(in super::super) fn gated(
        [gate, up]: [(Matrix<'a>, Option<Matrix<'a>>); 2],
        activation: Activation,
        y: Output<'a>,
    ) -> Self {
        let multiply = match activation {
            Activation::ClampedSwiglu { limit, .. } => Finish::MultiplyClamped(limit),
            _ => Finish::Multiply,
        };
        let layers = [(gate, Finish::Store), (up, multiply)]
            .map(|((weights, bias), finish)| Some(Layer { weights, bias, finish }));
        Self { layers, activation: Some(activation), y, apart: None }
    }

    pub(super) fn layers(&self) -> impl Iterator<Item = &Layer<'a>> {
        self.layers.iter().flatten()
    }

    pub(super) fn rows(&self) -> usize {
        self.layers[0].as_ref().map_or(0, |layer| layer.weights.rows)
    }

    pub(super) fn bytes(&self) -> usize {
        self.layers().map(|layer| layer.weights.bytes()).sum()
    }

    /// Writes these rows of the result for these tokens.
    pub(super) fn run(&self, isa: Isa, x: &[f32], coded: &Coded, rows: &Range<usize>, tokens: &Range<usize>) {
        for (i, layer) in self.layers().enumerate() {
            let apart = self.apart.unwrap_or(Apart { x: layer.weights.cols, y: layer.weights.rows });
            layer.run(isa, x, coded, &self.y, apart, rows.clone(), tokens.clone());
            if let (0, Some(activation)) = (i, self.activation) {
                let stride = apart.y;
                isa.run(ActivateRows { activation, y: &self.y, stride, rows: rows.clone(), tokens: tokens.clone() });
            }
        }
    }
}
