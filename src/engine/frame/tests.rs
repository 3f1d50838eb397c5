//! A frame is byte for byte what its description says, written by hand here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp, reason = "a failing test panics")]

use super::*;
use crate::engine::memory::Budget;
use crate::engine::session::{Given, Sink};
use crate::error::ErrorKind;

/// XXH3-64 of the bytes from 32 on, by `xxhash` of Python.
const HASH: u64 = 0x73e2_3c85_2cbe_f064;

/// Two tokens of two parts, of widths 3 and 1.
fn results() -> Results {
    let mut sink = Sink::host();
    sink.reserve(2, [3, 1].into_iter().collect(), &Budget::new("cpu".into(), 0)).unwrap();
    let Sink::Host(host) = &mut sink else { unreachable!() };
    let mut parts = host.rows_mut(0..2).unwrap();
    parts[0].copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    parts[1].copy_from_slice(&[-0.5, 70_000.0]);
    sink.commit(2);
    let Given::Rows(results) = sink.give(0, 2) else { unreachable!() };
    results
}

fn header() -> Header {
    let part = |role, dtype, width| PartHeader { role, dtype, width };
    let parts = [part(Role::HiddenStates, PartType::F32, 3), part(Role::PerLayerInputs, PartType::F16, 1)];
    Header {
        sides: Sides { numbers: [7; 16], layer: Some([8; 16]), next: None, precision: 2 },
        layer: 11,
        position: 0x0102,
        tokens: 2,
        is_long: true,
        parts: parts.into_iter().collect(),
    }
}

/// All but the hash.
fn by_hand() -> Vec<u8> {
    let mut frame = b"ORTSFRM\0\x01\0\0\0\0\0\0\0".to_vec();
    let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    // 192 bytes to the first part, 24 of it, 40 up to the next 64, and 4 of the second.
    frame.extend(numbers(&[260, 0]));
    frame.extend([[7; 16], [8; 16], [0; 16]].concat());
    frame.extend(words(&[2, 11]));
    frame.extend(numbers(&[0x0102, 2]));
    frame.extend(words(&[1, 2, 1, 3, 3, 0, 2, 4, 1, 0]));
    frame.resize(192, 0);
    frame.extend([1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|value| value.to_le_bytes()));
    frame.resize(256, 0);
    // -0.5, and 65504 in the place of 70000.
    frame.extend([0x00, 0xb8, 0xff, 0x7b]);
    frame
}

#[test]
fn the_bytes_are_what_their_description_says() {
    let pieces = FramePieces::new(&header(), &results(), Beyond::Saturate).unwrap();
    let (mut frame, sizes) = (pieces.to_vec().unwrap(), pieces.pieces().map(<[u8]>::len).collect::<Vec<_>>());
    assert_eq!((sizes, pieces.size()), (vec![192, 24, 40, 4], 260));
    assert_eq!(frame[24..32], HASH.to_le_bytes());
    frame[24..32].fill(0);
    assert_eq!(frame, by_hand());
    assert!(FramePieces::new(&header(), &results(), Beyond::Refuse).is_err());
}

#[test]
fn what_was_written_is_read_where_it_lies() {
    let written = FramePieces::new(&header(), &results(), Beyond::Saturate).unwrap().to_vec().unwrap();
    // A word more than it has, so that it can lie at any address.
    let mut memory = vec![0_u64; written.len().div_ceil(8) + 1];
    let memory: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
    for offset in 0..8 {
        memory[offset..offset + written.len()].copy_from_slice(&written);
        let frame = Frame::read(&memory[offset..offset + written.len()]).unwrap();
        assert_eq!(frame.header(), &header());
        let [hidden, inputs] = frame.parts() else { panic!("{frame:?}") };
        assert_eq!((hidden.values(), inputs.values()), (&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..], &[-0.5, 65_504.0][..]));
        let is_a_view = std::ptr::eq(hidden.values().as_ptr().cast(), hidden.bytes.as_ptr());
        assert_eq!(is_a_view, offset % 4 == 0);
    }
}

#[test]
fn no_damaged_byte_passes() {
    let written = FramePieces::new(&header(), &results(), Beyond::Saturate).unwrap().to_vec().unwrap();
    for at in 0..written.len() {
        for bit in 0..8 {
            let mut damaged = written.clone();
            damaged[at] ^= 1 << bit;
            let error = Frame::read(&damaged).unwrap_err();
            let unknown_version = (8..12).contains(&at);
            let kind = if unknown_version { ErrorKind::Unsupported } else { ErrorKind::Malformed };
            assert_eq!(error.kind(), kind, "byte {at}: {error}");
        }
        assert_eq!(Frame::read(&written[..at]).unwrap_err().kind(), ErrorKind::Malformed);
        let size = Frame::size(&written[..at]);
        assert_eq!(size.ok(), (at >= Frame::START).then_some(260));
    }
    let longer = [&written[..], &[0]].concat();
    assert!(Frame::read(&longer).unwrap_err().to_string().contains("260 bytes, and 1 more"));
}
