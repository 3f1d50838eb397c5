use super::super::testing::{Packed, Random, Stored, bits};
use super::super::{Dtype, Isa, Layout, Matrix};
use super::*;
use sha2::{Digest, Sha256};

const PACKINGS: [Packing; 3] = [Packing::Int4, Packing::Int4Fine, Packing::Int8];

fn matrix(values: &[f32], cols: usize) -> (Vec<u8>, usize, usize) {
    (values.iter().flat_map(|value| value.to_le_bytes()).collect(), values.len() / cols, cols)
}

fn packed(values: &[f32], cols: usize, packing: Packing) -> Packed {
    let (data, rows, cols) = matrix(values, cols);
    Packed::of(&Matrix { layout: Layout::Rows(Dtype::F32), rows, cols, data: &data, scales: &[] }, packing)
}

/// Weights that need no rounding, so that every byte is known: the file format as the documentation has it.
#[test]
fn every_byte_lies_where_the_documentation_says() {
    for (packing, block, steps) in [(Packing::Int4, 128, 8), (Packing::Int4Fine, 32, 8), (Packing::Int8, 128, 127)] {
        for (rows, cols) in [(18, 3 * block - 5), (16, 2 * block), (1, 1)] {
            // Every block's largest code is the lowest there is, and every row's scale its own power of two.
            let code = |row: usize, col: usize| {
                if col.is_multiple_of(block) { -steps } else { (7 * row + 3 * col) as i32 % (2 * steps) - steps }
            };
            let values: Vec<f32> = (0..rows * cols)
                .map(|i| code(i / cols, i % cols) as f32 * 0.5_f32.powi((i / cols % 3) as i32))
                .collect();
            let (four, blocks) = (packing != Packing::Int8, cols.div_ceil(block));
            let zero = if four { 8 } else { 128 };
            let mut expected = Vec::new();
            for tile in 0..rows.div_ceil(16) {
                let stored = |lane: usize, col: usize| {
                    let row = 16 * tile + lane;
                    (if row < rows && col < cols { code(row, col) + zero } else { zero }) as u8
                };
                for pair in 0..blocks.div_ceil(2) {
                    for number in 2 * pair..2 * pair + 2 {
                        for row in 16 * tile..16 * tile + 16 {
                            let scale =
                                if row < rows && number < blocks { 0.5_f32.powi((row % 3) as i32) } else { 0.0 };
                            expected.extend(half::bf16::from_f32(scale).to_le_bytes());
                        }
                    }
                    for col in (2 * pair * block..blocks.min(2 * pair + 2) * block).step_by(if four { 8 } else { 4 }) {
                        for lane in 0..16 {
                            for j in 0..4 {
                                let low = stored(lane, col + j);
                                expected.push(if four { low | stored(lane, col + 4 + j) << 4 } else { low });
                            }
                        }
                    }
                }
            }
            let packed = packed(&values, cols, packing);
            let what = format!("{packing:?} {rows} x {cols}");
            assert!(packed.matrix().data == expected, "{what}");
            assert_eq!(packing.bytes(rows, cols), Some(expected.len()), "{what}");
            assert_eq!(packed.values, values, "{what}");
        }
    }
}

/// Weights that need rounding: the choice of scales and codes is part of what files promise. If this fails because the format or
/// its meaning was changed, so must the version be.
#[test]
fn quantised_bytes_are_the_same_everywhere_and_whole_or_in_parts() {
    let (rows, cols) = (37, 300);
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let source = Stored::new(rows, cols, dtype, 1);
        let whole = PACKINGS.map(|packing| Packed::of(&source.matrix(), packing));
        for isa in Isa::available() {
            for whole in &whole {
                let packing = whole.packing;
                let mut parts = vec![0xaa; packing.bytes(rows, cols).unwrap()];
                let (first, second) = parts.split_at_mut(2 * packing.tile_bytes(cols));
                pack(isa, packing, &source.matrix(), 32..37, second);
                pack(isa, packing, &source.matrix(), 0..32, first);
                assert!(whole.matrix().data == parts, "{isa:?} {packing:?} {dtype:?}");
            }
        }
        if dtype == Dtype::BF16 {
            let hashes = whole.map(|packed| {
                let hash = Sha256::digest(packed.matrix().data);
                hash.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
            });
            let expected = [0x54ad_1aec_f6e6_fb09, 0x59c7_f634_74aa_3642, 0x0937_31d2_3e7f_8c1a];
            assert_eq!((LAYOUT_VERSION, hashes), (2, expected.map(Some)));
        }
    }
}

/// The error of the plain recipe: the largest weight at the end of the codes.
fn plain_error(values: &[f32], cols: usize, block: usize, most: f64) -> f64 {
    let mut sum = 0.0;
    for row in values.chunks(cols) {
        for block in row.chunks(block) {
            let step = block.iter().fold(0.0, |most, w| f64::from(w.abs()).max(most)) / most;
            sum += block.iter().map(|w| f64::from(*w)).map(|w| (w - (w / step).round() * step).powi(2)).sum::<f64>();
        }
    }
    sum
}

#[test]
fn errors_are_below_those_of_the_plain_recipe() {
    let (rows, cols) = (20, 400);
    // Sums of uniform values: bell-shaped, as weights are.
    let mut random = Random::new(3);
    let values: Vec<f32> = (0..rows * cols).map(|_| (0..6).map(|_| random.value()).sum()).collect();
    let power: f64 = values.iter().map(|w| f64::from(*w).powi(2)).sum();
    // (packing, how much of the plain recipe's squared error may be left, the largest relative error)
    let bounds =
        [(Packing::Int4, 7.0, 0.75, 0.1), (Packing::Int4Fine, 7.0, 0.75, 0.085), (Packing::Int8, 127.0, 1.05, 0.0065)];
    for (packing, most, share, relative) in bounds {
        let packed = packed(&values, cols, packing);
        let error: f64 = values.iter().zip(&packed.values).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let plain = plain_error(&values, cols, packing.block(), most);
        assert!(error <= share * plain, "{packing:?}: {error} against {plain}");
        assert!((error / power).sqrt() <= relative, "{packing:?}: {}", (error / power).sqrt());
    }
}

#[test]
fn blocks_without_a_sensible_scale_become_zeros_and_bad_weights_too() {
    for packing in PACKINGS {
        let cols = 2 * packing.block();
        let mut values = vec![0.0_f32; 5 * cols];
        let (zeros, rest) = values.split_at_mut(cols);
        zeros[1] = -0.0;
        let (tiny, rest) = rest.split_at_mut(cols);
        tiny.fill(f32::from_bits(1));
        let (bad, rest) = rest.split_at_mut(cols);
        bad.fill(1.0);
        (bad[0], bad[1], bad[2]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        let (huge, small) = rest.split_at_mut(cols);
        huge.fill(3e38);
        small.fill(-1e-29);
        let packed = packed(&values, cols, packing);
        let mut rows = packed.values.chunks(cols);
        let mut row = || rows.next().unwrap();
        assert!(row().iter().chain(row()).all(|w| *w == 0.0), "{packing:?}");
        let bad = row();
        assert!(bad[..3].iter().all(|w| *w == 0.0), "{packing:?}: {:?}", &bad[..3]);
        assert!(bad[3..].iter().all(|w| (w - 1.0).abs() < 0.005), "{packing:?}: {:?}", &bad[3..]);
        assert!(row().iter().all(|w| (w / 3e38 - 1.0).abs() < 0.005), "{packing:?}");
        assert!(row().iter().all(|w| (w / -1e-29 - 1.0).abs() < 0.005), "{packing:?}");
    }
}

#[test]
fn sizes_are_lines_and_never_overflow() {
    for packing in PACKINGS {
        for (rows, cols) in [(0, 5), (5, 0), (1, 1), (17, 129), (33, 4097)] {
            let bytes = packing.bytes(rows, cols).unwrap();
            assert_eq!(bytes % 64, 0);
            assert_eq!(bytes, rows.div_ceil(16) * packing.tile_bytes(cols));
            assert_eq!(bytes == 0, rows * cols == 0);
        }
        assert_eq!(packing.bytes(usize::MAX, 1), None);
        assert_eq!(packing.bytes(1, usize::MAX), None);
        assert_eq!(packing.bytes(usize::MAX / 128, usize::MAX / 128), None);
        assert_eq!(packing.scratch_bytes(usize::MAX, 4), usize::MAX);
    }
}

#[test]
fn any_run_of_values_is_unpacked() {
    for packing in PACKINGS {
        let packed = Packed::new(20, 37, packing, 5);
        for (from, count) in [(0, 740), (36, 2), (37, 37), (600, 140), (740, 0), (5, 100)] {
            let mut values = vec![f32::NAN; count];
            packed.matrix().widen(from, &mut values);
            assert_eq!(bits(&values), bits(&packed.values[from..from + count]));
        }
    }
}
