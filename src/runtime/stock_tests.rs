//! The kernels for linear layers give what ONNX Runtime's operators give for them: `MatMul` in float32 and
//! `MatMulNBits`.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a failing test panics, test values are small")]

use prost::Message;

use super::{Cancel, Contents, Provider, Runtime, Session, Tensor, TensorMut, Values};
use crate::graph::onnx::{
    Attribute, ElementType, GraphProto, MICROSOFT, Model, Node, Tensor as Initializer, ValueInfo, dynamic, fixed,
};
use crate::kernels::{self, Dtype, Isa, Layout, Matrix, Packing, Serial};

/// Rows, columns: of every parity to the tiles and blocks, and a few of a model's.
const SHAPES: [(usize, usize); 7] = [(1, 1), (16, 128), (17, 129), (5, 31), (33, 320), (64, 256), (130, 96)];
const TOKENS: [usize; 4] = [1, 2, 7, 40];

/// Repeatable values in -1..1.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// `y` `[tokens, rows]` of one node with the input `x` `[tokens, cols]` and `initializers`.
fn stock(node: Node, initializers: Vec<Initializer>, x: &[f32], cols: usize, rows: usize) -> Vec<f32> {
    let graph = GraphProto {
        name: "layer".into(),
        node: vec![node],
        initializer: initializers,
        input: vec![ValueInfo::tensor("x", ElementType::F32, &[dynamic("tokens"), fixed(cols)])],
        output: vec![ValueInfo::tensor("y", ElementType::F32, &[dynamic("tokens"), fixed(rows)])],
    };
    let model = Model::new(graph, MICROSOFT).encode_to_vec();
    let contents = Contents { quantised: true, ..Contents::default() };
    let (session, _) = Session::stock(&model, &contents, &Provider::Cpu, None).unwrap();
    let tokens = x.len() / cols;
    let mut y = vec![0.0; tokens * rows];
    let mut output = TensorMut::new(&mut y, &[tokens, rows]).unwrap();
    let input = Tensor::new(x, &[tokens, cols]).unwrap();
    let mut values = Values::new(1, 1);
    values.input(c"x", &input);
    values.output(c"y", &mut output);
    session.run(&mut values, &Cancel::new().unwrap(), false).unwrap();
    drop(values);
    drop(output);
    y
}

fn initializer(name: &str, data_type: i32, dims: &[usize], raw_data: Vec<u8>) -> Initializer {
    let dims = dims.iter().map(|dim| *dim as i64).collect();
    Initializer { name: name.into(), data_type, dims, raw_data, ..Initializer::default() }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn ours(x: &[f32], weights: &Matrix, isa: Isa) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / weights.cols * weights.rows];
    kernels::linear(isa, &Serial, x, weights, None, None, &mut y);
    y
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

/// Both sum in float32, in another order: a rounding for each of `cols` terms at most.
#[test]
fn exact_layers_are_those_of_matmul() {
    for (rows, cols) in SHAPES {
        let w = values(rows * cols, 1);
        let transposed: Vec<f32> = (0..cols * rows).map(|i| w[i % rows * cols + i / rows]).collect();
        let stored = bytes(&w);
        let weights = Matrix { layout: Layout::Rows(Dtype::F32), rows, cols, data: &stored, scales: &[] };
        for tokens in TOKENS {
            let x = values(tokens * cols, 2);
            let node = Node::new("", "MatMul", vec!["x".into(), "w".into()], vec!["y".into()]);
            let w = initializer("w", ElementType::F32 as i32, &[cols, rows], bytes(&transposed));
            let theirs = stock(node, vec![w], &x, cols, rows);
            for isa in Isa::available() {
                let off = worst(&ours(&x, &weights, isa), &theirs);
                assert!(off <= f32::EPSILON * cols as f32, "{rows} x {cols}, {tokens} tokens, {isa:?}: {off}");
            }
        }
    }
}

/// `MatMulNBits` with the same codes and scales, computing in float32 (`accuracy_level` 1): what ours differs by is the rounding
/// of activations to 8 bits, at most half a step of each block's largest one for each weight of the block.
#[test]
fn quantised_layers_are_those_of_matmulnbits() {
    const U8: i32 = 2;
    // Its 8 bits came with 1.24.
    let all = [Packing::Int4, Packing::Int4Fine, Packing::Int8];
    let known = if Runtime::get().unwrap().version().starts_with("1.22.") { &all[..2] } else { &all[..] };
    for packing in known.iter().copied() {
        for (rows, cols) in SHAPES {
            let source = bytes(&values(rows * cols, 3));
            let source = Matrix { layout: Layout::Rows(Dtype::F32), rows, cols, data: &source, scales: &[] };
            let mut packed = vec![0; packing.bytes(rows, cols).unwrap()];
            kernels::pack(Isa::Portable, packing, &source, 0..rows, &mut packed);
            let weights = Matrix { layout: Layout::Tiles(packing), rows, cols, data: &packed, scales: &[] };
            let (bits, block) = (packing.bits(), packing.block());
            let (mut codes, mut scales) = (Vec::new(), Vec::new());
            for row in 0..rows {
                kernels::codes(packing, &weights, row, &mut codes);
                scales.extend(kernels::scales(packing, &weights, row));
            }
            let blocks = cols.div_ceil(block);
            let mut magnitudes = vec![0.0; rows * cols];
            weights.widen(0, &mut magnitudes);
            for tokens in TOKENS {
                let x = values(tokens * cols, 4);
                let input = ["x", "codes", "scales"].map(String::from).to_vec();
                let node = Node::new(MICROSOFT, "MatMulNBits", input, vec!["y".into()])
                    .with(Attribute::int("K", cols as i64))
                    .with(Attribute::int("N", rows as i64))
                    .with(Attribute::int("bits", bits as i64))
                    .with(Attribute::int("block_size", block as i64))
                    .with(Attribute::int("accuracy_level", 1));
                let initializers = vec![
                    initializer("codes", U8, &[rows, blocks, block * bits / 8], codes.clone()),
                    initializer("scales", ElementType::F32 as i32, &[rows, blocks], bytes(&scales)),
                ];
                let theirs = stock(node, initializers, &x, cols, rows);
                // The same rounding of activations, summed in 64 bits: what is left is the order of sums.
                let rounded = rounded(&x, cols, block);
                for isa in Isa::available() {
                    let what = format!("{packing:?} {rows} x {cols}, {tokens} tokens, {isa:?}");
                    let ours = ours(&x, &weights, isa);
                    for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                        let (token, row) = (i / rows, i % rows);
                        let (x, w) = (&x[token * cols..][..cols], &magnitudes[row * cols..][..cols]);
                        let room: f32 = x.chunks(block).zip(w.chunks(block)).map(|(x, w)| half_step(x) * sum(w)).sum();
                        assert!((ours - theirs).abs() <= room + 1e-5, "{what}: {ours} and {theirs}");
                        let exact: f64 = rounded[token * cols..][..cols]
                            .iter()
                            .zip(w)
                            .map(|(x, w)| f64::from(*x) * f64::from(*w))
                            .sum();
                        assert!((f64::from(*ours) - exact).abs() < 1e-4, "{what}: {ours}, exactly {exact}");
                    }
                }
            }
        }
    }
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0_f32, |most, x| most.max(x.abs()))
}

fn half_step(x: &[f32]) -> f32 {
    largest(x) / 254.0
}

fn sum(w: &[f32]) -> f32 {
    w.iter().map(|w| w.abs()).sum()
}

/// `x` rounded to 8 bits, block by block.
fn rounded(x: &[f32], cols: usize, block: usize) -> Vec<f32> {
    let step = |block: &[f32]| largest(block) / 127.0;
    x.chunks(cols)
        .flat_map(|row| row.chunks(block))
        .flat_map(|block| block.iter().map(move |x| (x / step(block)).round_ties_even() * step(block)))
        .collect()
}
