// What a request gives as a frame.

use crate::ffi::basics::objects::ortshard_request;
use crate::ffi::frame::buffers::Buffer;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::run::frame::ortshard_piece;
use crate::ffi::run::running::enter;

/// The frame of what the request gave last, in pieces that are sent one after another, without a copy: for writev() and
/// the like. It is the same frame as ORTSHARD_OUTPUT_FRAME gives, whatever the request's option `output`.
///
/// Writes them to `pieces`, which has room for `capacity`, and their number to `*needed`: 2 for a boundary of one part.
/// NULL and 0 ask for the number.
///
/// Errors: INVALID_ARGUMENT if the shard gives logits; INVALID_STATE if there is nothing to give, since the request has
/// not run, its last run failed, or what it gave went on in a chain; OUT_OF_RANGE with the option refuse_beyond;
/// BUFFER_TOO_SMALL, and only `*needed` is written; OUT_OF_MEMORY (site RUN).
/// Threads: one call at a time. Ownership: the pieces belong to the request and live until its next run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_frame_pieces(
    request: *mut ortshard_request,
    pieces: *mut ortshard_piece,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| {
        // SAFETY: as above.
        let buffer = unsafe { Buffer::new(pieces, capacity, needed, "pieces") }?;
        // SAFETY: as above.
        let mut running = unsafe { enter(request, "request") }?;
        let pieces = running.pieces()?;
        buffer.fill(&pieces)
    })
}

#[cfg(test)]
mod tests {
    use std::ptr::{null, null_mut};
    use std::sync::Arc;

    use super::*;
    use crate::engine::tests::two_parts;
    use crate::ffi::basics::constants::ORTSHARD_DTYPE_I64;
    use crate::ffi::frame::handle::give_shared;
    use crate::ffi::frame::status::{ORTSHARD_ERROR_INVALID_ARGUMENT, ORTSHARD_OK};
    use crate::ffi::run::batch::ortshard_batch_infer;
    use crate::ffi::run::frame::{ORTSHARD_ROLE_HIDDEN_STATES, ORTSHARD_ROLE_PER_LAYER_INPUTS, role_code};
    use crate::ffi::run::request::{
        ortshard_request_create, ortshard_request_free, ortshard_request_infer, ortshard_request_truncate,
    };
    use crate::ffi::run::request_options::{
        ORTSHARD_LOGITS_ALL, ORTSHARD_OUTPUT_FRAME, ORTSHARD_OUTPUT_PIECES, ORTSHARD_OUTPUT_TENSOR,
        ortshard_request_options, ortshard_request_options_init,
    };
    use crate::ffi::run::shard::ortshard_shard_free;
    use crate::ffi::run::tensor::NOTHING;
    use crate::ffi::run::tensor::ortshard_tensor;
    use crate::{Engine, EngineOptions, Frame, Shard};

    fn request(shard: Arc<Shard>, output: i32) -> *mut ortshard_request {
        let mut request = null_mut();
        let mut options = std::mem::MaybeUninit::<ortshard_request_options>::uninit();
        // SAFETY: all pointers are valid.
        unsafe {
            let size = size_of::<ortshard_request_options>();
            assert_eq!(ortshard_request_options_init(options.as_mut_ptr(), size), ORTSHARD_OK);
            let mut options = options.assume_init();
            (options.output, options.capacity) = (output, 16);
            let shard = give_shared(shard);
            assert_eq!(ortshard_request_create(shard, &raw const options, &raw mut request), ORTSHARD_OK);
            ortshard_shard_free(shard);
        }
        request
    }

    fn infer(request: *mut ortshard_request, input: &ortshard_tensor) -> Result<ortshard_tensor, ortshard_status> {
        let mut output = NOTHING;
        // SAFETY: all pointers are valid.
        match unsafe { ortshard_request_infer(request, input, ORTSHARD_LOGITS_ALL, &raw mut output) } {
            ORTSHARD_OK => Ok(output),
            status => Err(status),
        }
    }

    fn bytes(tensor: &ortshard_tensor) -> Vec<u8> {
        // SAFETY: what the library has lent.
        unsafe { std::slice::from_raw_parts(tensor.data.cast(), tensor.byte_length) }.to_vec()
    }

    /// No model that can be loaded from a folder here has more than one part, so that a family of the tests stands for one.
    #[test]
    fn frames_carry_every_part_and_tensors_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = two_parts::whole(folder.path());
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let shard = |start, end| two_parts::shard(&engine, &path, start, end).unwrap();
        let mut ids = [3_i64, 17, 0, 25, 9];
        let (data, byte_length) = (ids.as_mut_ptr().cast(), size_of_val(&ids));
        let ids = ortshard_tensor { dtype: ORTSHARD_DTYPE_I64, rank: 1, shape: [5, 0, 0, 0], data, byte_length };
        let whole = request(shard(0, 4), ORTSHARD_OUTPUT_TENSOR);
        let expected = bytes(&infer(whole, &ids).unwrap());

        let tensors = request(shard(0, 1), ORTSHARD_OUTPUT_TENSOR);
        assert_eq!(infer(tensors, &ids).err(), Some(ORTSHARD_ERROR_INVALID_ARGUMENT));
        let mut outcome = (NOTHING, ORTSHARD_OK);
        // SAFETY: all pointers are valid.
        let refused = unsafe {
            let (output, status) = (&raw mut outcome.0, &raw mut outcome.1);
            ortshard_batch_infer(&raw const tensors, &raw const ids, null(), 1, output, status)
        };
        assert_eq!((refused, outcome.1), (ORTSHARD_ERROR_INVALID_ARGUMENT, ORTSHARD_ERROR_INVALID_ARGUMENT));

        let back = request(shard(2, 4), ORTSHARD_OUTPUT_FRAME);
        for output in [ORTSHARD_OUTPUT_FRAME, ORTSHARD_OUTPUT_PIECES] {
            let front = request(shard(0, 1), output);
            let given = infer(front, &ids).unwrap();
            let mut frame = if output == ORTSHARD_OUTPUT_FRAME { bytes(&given) } else { Vec::new() };
            let (mut pieces, mut count) = ([ortshard_piece { data: null(), size: 0 }; 4], 0);
            // SAFETY: all pointers are valid.
            unsafe {
                assert_eq!(ortshard_request_frame_pieces(front, pieces.as_mut_ptr(), 4, &raw mut count), ORTSHARD_OK);
            }
            // SAFETY: what the library has lent.
            let piece = |piece: &ortshard_piece| unsafe { std::slice::from_raw_parts(piece.data.cast(), piece.size) };
            let gathered: Vec<u8> = pieces[..count].iter().flat_map(piece).copied().collect();
            if output == ORTSHARD_OUTPUT_PIECES {
                assert!(given.data.is_null() && given.byte_length == gathered.len());
                frame = gathered.clone();
            }
            assert_eq!(gathered, frame);
            let roles: Vec<i32> =
                Frame::read(&frame).unwrap().parts().iter().map(|part| role_code(part.role)).collect();
            assert_eq!(roles, [ORTSHARD_ROLE_HIDDEN_STATES, ORTSHARD_ROLE_PER_LAYER_INPUTS]);
            let input = ortshard_tensor::frame(frame.len(), Some(frame.as_ptr().cast()));
            assert_eq!(bytes(&infer(back, &input).unwrap()), expected);
            // SAFETY: handles of this test.
            unsafe {
                assert_eq!(ortshard_request_truncate(back, 0), ORTSHARD_OK);
                ortshard_request_free(front);
            }
        }
        // SAFETY: handles of this test.
        [whole, tensors, back].into_iter().for_each(|request| unsafe { ortshard_request_free(request) });
    }
}
