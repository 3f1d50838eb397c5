// One token after another.

use std::ffi::c_void;

use crate::ffi::basics::objects::ortshard_generation;
use crate::ffi::frame::buffers::array;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::versioned::{self, write};
use crate::ffi::generation::generated::{ORTSHARD_FINISH_NONE, ortshard_step};
use crate::ffi::generation::pulled::{self, enter};
use crate::ffi::run::many::report;
use crate::generation::step_batch;

/// Is given each step; it lives for the length of the call. Returns 0 to go on, anything else to end the text.
///
/// Calls on the generation return INVALID_STATE from there, but for ortshard_generation_cancel(). It must return
/// normally (no longjmp, no C++ exception).
pub type ortshard_step_callback =
    Option<unsafe extern "C" fn(step: *const ortshard_step, user_data: *mut c_void) -> i32>;

/// Runs the next `most` tokens of the prompt, but for its last one, which the first step runs. `*left` becomes the
/// number of those left to run, that one included.
///
/// Not needed: a step runs whatever is left. It cuts a long prompt into calls, between which a program can do other
/// things. If it is cancelled, the next step says so.
///
/// Errors: those of ortshard_request_infer(). Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_prefill(
    generation: *mut ortshard_generation,
    most: usize,
    left: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(left, "left") }?;
        // SAFETY: as above.
        let mut pulled = unsafe { enter(generation, "generation") }?;
        let left = pulled.generation.prefill(most);
        pulled.moved();
        out.set(left?);
        Ok(())
    })
}

/// Gives the next token and the text that it makes certain. Where the text has ended, it gives no token, and says again
/// why.
///
/// If it fails, `*step` is as it was, and the step may be repeated.
///
/// Errors: INVALID_STATE before there is a prompt; those of ortshard_chain_sample(), but for CANCELLED, which is a
/// finish.
/// Threads: one call at a time. Ownership: what `*step` points to belongs to the generation and lives until its next
/// call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_step(
    generation: *mut ortshard_generation,
    step: *mut ortshard_step,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(step, "step") }?;
        // SAFETY: as above.
        let mut pulled = unsafe { enter(generation, "generation") }?;
        // A step is not made twice, so its place is checked before. SAFETY: as above.
        unsafe { versioned::size(&out) }?;
        let shown = pulled.step()?;
        // SAFETY: as above.
        unsafe { write(&out, shown) }
    })
}

/// Does for `count` generations at once what ortshard_generation_step() does for one: `steps[i]` is what generation i
/// gives. All of `steps` have the struct_size of the first.
///
/// Generations of one request each, all on one shard, run together: the tokens of sixteen of them take little longer
/// than one. Others run one after another. Each gets the tokens that it gets alone.
///
/// One that fails is as it was, as is its `steps[i]`, and leaves the others to go on: `statuses[i]`, where `statuses` is
/// not NULL, says how each ended, and ortshard_error_message(generations[i], ...) why. Memory running out in a run fails
/// all that run together.
///
/// Returns OK if all succeeded, else the status of the first that failed; the message says which.
///
/// Errors: those of ortshard_generation_step(); INVALID_STATE for a generation that appears twice.
/// Threads: one call at a time on each generation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_step_batch(
    generations: *const *mut ortshard_generation,
    count: usize,
    steps: *mut ortshard_step,
    statuses: *mut ortshard_status,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let handles = unsafe { array(generations, count, "generations") }?;
        // SAFETY: as above.
        let enter = |(i, handle): (usize, &*mut _)| unsafe { enter(*handle, &format!("generations[{i}]")) };
        let mut entered: Vec<_> = handles.iter().enumerate().map(enter).collect();
        // SAFETY: as above.
        let places = match unsafe { places(steps, count) } {
            Ok(places) => places,
            Err(failure) => return Err(entered.into_iter().find_map(Result::err).unwrap_or(failure)),
        };
        let mut ran = {
            let alive = entered.iter_mut().flatten().filter(|pulled| !pulled.has_unshown());
            let mut alive: Vec<_> = alive.map(|pulled| &mut pulled.generation).collect();
            step_batch(&mut alive).into_iter()
        };
        let show = |(pulled, place): (Result<pulled::Entered, Failure>, &Out<ortshard_step>)| {
            let mut pulled = pulled?;
            pulled.moved();
            if !pulled.has_unshown() {
                ran.next().unwrap_or(Ok(()))?;
            }
            let shown = pulled.show()?;
            // SAFETY: as above.
            unsafe { write(place, shown) }
        };
        let outcomes = entered.into_iter().zip(&places).map(show).collect();
        // SAFETY: as above.
        unsafe { report(generations, "generations", statuses, outcomes) }
    })
}

/// The places of `count` structs, each of which is checked: all must be of one size.
///
/// # Safety
/// `steps` is NULL or has so many, of the size that the first one says.
unsafe fn places(steps: *mut ortshard_step, count: usize) -> Result<Vec<Out<ortshard_step>>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the caller's promise.
    let size = unsafe { versioned::size(&Out::new(steps, "steps")?) }?;
    let place = |index: usize| {
        // SAFETY: as above.
        let place = unsafe { Out::new(steps.wrapping_byte_add(index * size), "steps") }?;
        // SAFETY: as above.
        if unsafe { versioned::size(&place) }.ok() == Some(size) {
            Ok(place)
        } else {
            Err(Failure::invalid(format!("steps[{index}].struct_size is not that of steps[0], which is {size}")))
        }
    };
    (0..count).map(place).collect()
}

/// Steps until the text ends, and gives each step to `callback`: a convenience for programs that do nothing meanwhile.
/// `*finish`, where `finish` is not NULL, becomes why it ended: ORTSHARD_FINISH_CANCELLED if the callback did not return
/// 0; it is not called again then.
///
/// If it fails, the callback has had all steps before, and the call may be repeated to go on.
///
/// Errors: those of ortshard_generation_step(). Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_run(
    generation: *mut ortshard_generation,
    callback: ortshard_step_callback,
    user_data: *mut c_void,
    finish: *mut i32,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let mut pulled = unsafe { enter(generation, "generation") }?;
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        let ended = loop {
            let step = pulled.step()?;
            // SAFETY: the callback is called as the header says, in the caller's thread and call.
            let wants_end = unsafe { callback(&raw const step, user_data) } != 0;
            if step.finish != ORTSHARD_FINISH_NONE {
                break step.finish;
            }
            if wants_end {
                pulled.object().cancel.cancel()?;
                break pulled.step()?.finish;
            }
        };
        // SAFETY: as above.
        if let Ok(out) = unsafe { Out::new(finish, "finish") } {
            out.set(ended);
        }
        Ok(())
    })
}
