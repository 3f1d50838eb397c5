//! Opaque handles: how Rust objects cross the boundary and come back.
//!
//! A handle points at a [`Block`], which is never given back to the system, only used again for another object. So every
//! handle that this library ever gave out can be looked at: what kind it is, whether it was freed, whether the block has
//! gone on to another object since. Of those that are neither, a call keeps the object until it ends, so that what is
//! freed meanwhile goes then.
//!
//! Nothing here points at a block that is in use, but for its handles: what a program forgets to free stays visible to
//! leak detectors.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::ffi::frame::failure::{Failure, Recorded};
use crate::ffi::frame::status::ORTSHARD_ERROR_INVALID_STATE;

/// An opaque C type and the Rust object that a handle of it stands for.
pub(in crate::ffi) trait Handle {
    type Object: Send + Sync;
    const KIND: Kind;
}

/// What a handle is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::ffi) enum Kind {
    Engine = 1,
    Shard,
    Request,
    Sampler,
    Tokenizer,
    TextStream,
    ChatParser,
    Generation,
    Constraint,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Shard => "shard",
            Self::Request => "request",
            Self::Sampler => "sampler",
            Self::Tokenizer => "tokenizer",
            Self::TextStream => "text stream",
            Self::ChatParser => "chat parser",
            Self::Generation => "generation",
            Self::Constraint => "constraint",
        }
    }

    const ALL: [Self; 9] = [
        Self::Engine,
        Self::Shard,
        Self::Request,
        Self::Sampler,
        Self::Tokenizer,
        Self::TextStream,
        Self::ChatParser,
        Self::Generation,
        Self::Constraint,
    ];
}

/// Freed blocks that wait. So many handles are freed before one's block is used again, and eight times as many before a
/// new handle equals it.
const WAITING: usize = 1024;
static FREE: Mutex<VecDeque<&'static Block>> = Mutex::new(VecDeque::new());

/// What handles point at; how far into it is the number of the object that it now holds, counted to [`OBJECTS`].
#[repr(C, align(64))]
struct Block {
    /// Its own address, disguised: other memory does not hold that.
    mark: u64,
    state: AtomicU64,
    /// A `Box` of the kind's object, and what drops it. Only whoever makes or frees the object looks here.
    object: UnsafeCell<(*mut (), Dropper)>,
    /// What went wrong last in a call on the object.
    failure: Mutex<Option<Arc<Recorded>>>,
}

type Dropper = unsafe fn(*mut ());

const MARK: u64 = 0x6f72_7473_6861_7264;
const STEP: usize = align_of::<usize>();
const OBJECTS: usize = align_of::<Block>() / STEP;

// SAFETY: objects of handles are Send and Sync; `object` is written before `state` says that there is one, and after the
// last call on it has ended.
unsafe impl Sync for Block {}
// SAFETY: as above.
unsafe impl Send for Block {}

/// A block's state as one number: who holds the object, and which object it is.
#[derive(Debug, Clone, Copy)]
struct State(u64);

impl State {
    /// Calls in progress: 24 bits, then references as many, then object and kind.
    const CALL: u64 = 1;
    const REFERENCE: u64 = 1 << 24;
    const FREED: u64 = Self::REFERENCE.wrapping_neg();
    const MOST: u64 = (1 << 24) - 1;

    /// What stands above the counts while `object` of `kind` is there.
    fn what(object: usize, kind: Kind) -> u64 {
        u64::from(kind as u8) << 8 | object as u64
    }

    fn calls(self) -> u64 {
        self.0 & Self::MOST
    }

    fn references(self) -> u64 {
        self.0 >> 24 & Self::MOST
    }

    fn object(self) -> usize {
        (self.0 >> 48 & 0xff) as usize
    }

    fn kind(self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| u64::from(*kind as u8) == self.0 >> 56)
    }
}

impl Block {
    /// The block of a handle and the number of its object, if it is a handle of this library.
    ///
    /// # Safety
    /// `handle` is not NULL, and its memory can be read.
    unsafe fn of<H>(handle: *const H) -> Option<(&'static Self, usize)> {
        let into = handle.addr() % align_of::<Self>();
        let block = handle.wrapping_byte_sub(into).cast::<Self>();
        // SAFETY: aligned. Where the handle is one of this library, so is the block, which is never freed; else this
        // reads memory on the same page as what the caller gave.
        let marked =
            into.is_multiple_of(STEP) && unsafe { (&raw const (*block).mark).read() } == block.addr() as u64 ^ MARK;
        // SAFETY: as above.
        marked.then(|| (unsafe { &*block }, into / STEP))
    }

    /// Changes the counts by `change`, if object `number` is of `kind` and has not been freed.
    fn count(&'static self, number: usize, kind: Kind, change: u64, parameter: &str) -> Result<(), Failure> {
        let mut now = State(self.state.load(Ordering::Relaxed));
        loop {
            if now.0 >> 48 != State::what(number, kind) || now.references() == 0 {
                return Err(refused(now, number, kind, parameter));
            }
            let counted = if change == State::CALL { now.calls() } else { now.references() };
            if counted == State::MOST && change != State::FREED {
                let message = format!("{parameter} has more calls or references than can be counted");
                return Err(Failure::new(ORTSHARD_ERROR_INVALID_STATE, message));
            }
            let next = now.0.wrapping_add(change);
            match self.state.compare_exchange_weak(now.0, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    self.drop_unheld(State(next));
                    return Ok(());
                }
                Err(other) => now = State(other),
            }
        }
    }

    /// A call has ended.
    fn leave(&'static self) {
        self.drop_unheld(State(self.state.fetch_sub(State::CALL, Ordering::AcqRel) - State::CALL));
    }

    /// Drops the object if a change has left nothing that holds it; nothing is counted up any more then.
    fn drop_unheld(&'static self, left: State) {
        if left.calls() == 0 && left.references() == 0 {
            *self.failure.lock() = None;
            // SAFETY: written by `give`; whoever has left this state is the only one.
            let (object, drop) = unsafe { *self.object.get() };
            // SAFETY: made by `give` together with what drops it, and dropped once.
            unsafe { drop(object) };
            FREE.lock().push_back(self);
        }
    }
}

#[cold]
fn refused(now: State, number: usize, kind: Kind, parameter: &str) -> Failure {
    let (is, freed) = (now.kind().unwrap_or(kind), now.object() != number || now.references() == 0);
    Failure::invalid(match (freed, is == kind) {
        (true, _) => format!("{parameter} is a handle that was freed"),
        (false, false) => format!("{parameter} is a handle of kind {}, not {}", is.name(), kind.name()),
        (false, true) => format!("{parameter} is no handle of kind {}", kind.name()),
    })
}

/// A handle on `object`, to be freed once.
pub(in crate::ffi) fn give<H: Handle>(object: H::Object) -> *mut H {
    /// # Safety
    /// `object` came from a box of `T`, and is not used again.
    unsafe fn dropper<T>(object: *mut ()) {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(object.cast::<T>()) });
    }
    let waiting = {
        let mut free = FREE.lock();
        if free.len() > WAITING { free.pop_front() } else { None }
    };
    let block = waiting.unwrap_or_else(new_block);
    let number = (State(block.state.load(Ordering::Relaxed)).object() + 1) % OBJECTS;
    // SAFETY: the block is nobody's: new, or taken from those that are free.
    unsafe { *block.object.get() = (Box::into_raw(Box::new(object)).cast(), dropper::<H::Object>) };
    block.state.store(State::what(number, H::KIND) << 48 | State::REFERENCE, Ordering::Release);
    std::ptr::from_ref(block).cast_mut().cast::<H>().wrapping_byte_add(number * STEP)
}

fn new_block() -> &'static Block {
    unsafe fn nothing(_: *mut ()) {}
    let object = UnsafeCell::new((std::ptr::null_mut(), nothing as Dropper));
    let block = Box::leak(Box::new(Block { mark: 0, state: AtomicU64::new(0), object, failure: Mutex::new(None) }));
    block.mark = std::ptr::from_ref(block).addr() as u64 ^ MARK;
    block
}

/// The handles of objects that are given out again and again, disguised, so that leak detectors see through to those of
/// the program. One object has one handle, with a reference for each time that it was given.
static SHARED: Mutex<Vec<Disguised>> = Mutex::new(Vec::new());

struct Disguised(*mut ());

// SAFETY: a handle, which any thread may use.
unsafe impl Send for Disguised {}

/// Another reference to the handle on `object`, or its first.
pub(in crate::ffi) fn give_shared<T: Send + Sync, H: Handle<Object = Arc<T>>>(object: Arc<T>) -> *mut H {
    // Lent objects are given back after the lock: if another thread frees one meanwhile, it goes here, and what goes may log.
    let mut looked_at = Vec::new();
    let mut shared = SHARED.lock();
    let mut found = None;
    shared.retain(|Disguised(handle)| {
        let handle = handle.map_addr(|address| !address).cast::<H>();
        // SAFETY: a handle of this library, whose block is never freed.
        let Ok(lent) = (unsafe { borrow(handle, "") }) else { return false };
        // SAFETY: as above.
        if Arc::ptr_eq(&lent, &object) && unsafe { retain(handle, "") }.is_ok() {
            found = Some(handle);
        }
        looked_at.push(lent);
        true
    });
    found.unwrap_or_else(|| {
        let handle = give::<H>(object);
        shared.push(Disguised(handle.cast::<()>().map_addr(|address| !address)));
        handle
    })
}

/// The object behind a handle, for the length of a call.
pub(in crate::ffi) struct Lent<H: Handle> {
    block: &'static Block,
    object: NonNull<H::Object>,
    kind: PhantomData<H>,
}

// SAFETY: the object is Send and Sync, as that of every handle.
unsafe impl<H: Handle> Send for Lent<H> {}

impl<H: Handle> Deref for Lent<H> {
    type Target = H::Object;

    fn deref(&self) -> &H::Object {
        // SAFETY: the object stays until this is dropped.
        unsafe { self.object.as_ref() }
    }
}

impl<H: Handle> Drop for Lent<H> {
    fn drop(&mut self) {
        self.block.leave();
    }
}

/// The object that `handle` stands for.
///
/// # Safety
/// `handle` is NULL or a handle that this library gave, freed or not.
pub(in crate::ffi) unsafe fn borrow<H: Handle>(handle: *const H, parameter: &str) -> Result<Lent<H>, Failure> {
    // SAFETY: the caller's promise.
    let block = unsafe { count(handle, State::CALL, parameter) }?;
    // SAFETY: written before the state that `count` has seen, and not again while there is a call.
    let (object, _) = unsafe { *block.object.get() };
    let object = NonNull::new(object.cast()).ok_or_else(|| Failure::null(parameter))?;
    Ok(Lent { block, object, kind: PhantomData })
}

/// Counts another reference to a handle, to be freed as well.
///
/// # Safety
/// As for [`borrow`].
pub(in crate::ffi) unsafe fn retain<H: Handle>(handle: *const H, parameter: &str) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { count(handle, State::REFERENCE, parameter) }.map(drop)
}

/// Gives a reference back. The object goes with the last one, or with the last call on it.
///
/// # Safety
/// As for [`borrow`].
pub(in crate::ffi) unsafe fn free<H: Handle>(handle: *mut H, parameter: &str) -> Result<(), Failure> {
    if handle.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let freed = unsafe { count(handle, State::FREED, parameter) }.map(drop);
    freed.inspect_err(|failure| log::error!("freeing: {}", failure.message))
}

/// The block of a handle of any kind, which has not been freed.
///
/// # Safety
/// As for [`borrow`].
unsafe fn any(object: *const ()) -> Option<&'static Block> {
    if object.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let (block, number) = unsafe { Block::of(object) }?;
    let state = State(block.state.load(Ordering::Acquire));
    (state.object() == number && state.references() > 0).then_some(block)
}

/// Keeps what went wrong in a call on the object of a handle, if it is one.
///
/// # Safety
/// As for [`borrow`].
pub(in crate::ffi) unsafe fn note(object: *const (), told: Arc<Recorded>) {
    // SAFETY: the caller's promise.
    if let Some(block) = unsafe { any(object) } {
        *block.failure.lock() = Some(told);
    }
}

/// What went wrong last in a call on the object of a handle of any kind.
///
/// # Safety
/// As for [`borrow`].
pub(in crate::ffi) unsafe fn failure_on(object: *const ()) -> Result<Option<Arc<Recorded>>, Failure> {
    // SAFETY: the caller's promise.
    let block = unsafe { any(object) };
    let block = block.ok_or_else(|| Failure::invalid("object is no handle of this library, or was freed"))?;
    let failure = block.failure.lock();
    Ok(failure.clone())
}

/// The block of a handle, its counts changed.
///
/// # Safety
/// As for [`borrow`].
unsafe fn count<H: Handle>(handle: *const H, change: u64, parameter: &str) -> Result<&'static Block, Failure> {
    if handle.is_null() {
        return Err(Failure::null(parameter));
    }
    // SAFETY: the caller's promise.
    let Some((block, number)) = (unsafe { Block::of(handle) }) else {
        return Err(Failure::invalid(format!("{parameter} is no handle of this library")));
    };
    block.count(number, H::KIND, change, parameter)?;
    Ok(block)
}

/// An object that a call has to itself, until it ends; a generation has its requests so for as long as it lives.
pub(in crate::ffi) struct Entry<H: Handle, T: 'static> {
    // Before what it lies in.
    inside: MutexGuard<'static, T>,
    lent: Lent<H>,
}

impl<H: Handle> Lent<H> {
    /// Enters the part of the object that one call at a time may use.
    pub(in crate::ffi) fn enter<T: 'static>(
        self,
        part: impl FnOnce(&H::Object) -> &Exclusive<T>,
        parameter: &str,
    ) -> Result<Entry<H, T>, Failure> {
        let part: *const Exclusive<T> = part(&self);
        // SAFETY: a part of the object, which stays where it is until `lent` is dropped, after the guard.
        let inside = unsafe { &*part }.enter(parameter)?;
        Ok(Entry { inside, lent: self })
    }
}

impl<H: Handle, T> Entry<H, T> {
    /// The whole object.
    pub(in crate::ffi) fn object(&self) -> &H::Object {
        &self.lent
    }
}

impl<H: Handle, T> Deref for Entry<H, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inside
    }
}

impl<H: Handle, T> DerefMut for Entry<H, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inside
    }
}

/// The object behind a handle that allows one call at a time. A second one is refused instead of waiting: it shows a
/// mistake in the caller's threading, which waiting would hide.
#[derive(Debug)]
pub(in crate::ffi) struct Exclusive<T>(Mutex<T>);

impl<T> Exclusive<T> {
    pub(in crate::ffi) fn new(object: T) -> Self {
        Self(Mutex::new(object))
    }

    fn enter(&self, parameter: &str) -> Result<MutexGuard<'_, T>, Failure> {
        self.0.try_lock().ok_or_else(|| {
            Failure::new(
                ORTSHARD_ERROR_INVALID_STATE,
                format!("{parameter} is in use by another call right now, or by a generation"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::frame::status::{ORTSHARD_ERROR_INVALID_ARGUMENT, ORTSHARD_ERROR_NULL_ARGUMENT};

    struct Opaque;
    impl Handle for Opaque {
        type Object = Arc<Exclusive<u32>>;
        const KIND: Kind = Kind::Sampler;
    }

    struct Other;
    impl Handle for Other {
        type Object = u32;
        const KIND: Kind = Kind::Request;
    }

    fn refusal<H: Handle>(handle: *const H) -> String {
        // SAFETY: handles of this library, freed or not.
        let failure = unsafe { borrow(handle, "thing") }.map(drop).unwrap_err();
        assert_eq!(failure.status, ORTSHARD_ERROR_INVALID_ARGUMENT);
        failure.message
    }

    #[test]
    fn an_object_goes_with_its_last_reference_or_the_last_call() {
        let object = Arc::new(Exclusive::new(7));
        let handle: *mut Opaque = give_shared(Arc::clone(&object));
        assert_eq!(give_shared::<_, Opaque>(Arc::clone(&object)), handle);
        // SAFETY: in this and each other case a handle of this library.
        unsafe { retain(handle, "thing") }.unwrap();
        assert_eq!(Arc::strong_count(&object), 2, "one object, three references");
        // SAFETY: as above.
        let call = unsafe { borrow(handle, "thing") }.unwrap();
        for _ in 0..3 {
            // SAFETY: as above.
            unsafe { free(handle, "thing") }.unwrap();
        }
        assert_eq!((Arc::strong_count(&object), refusal(handle).as_str()), (2, "thing is a handle that was freed"));
        drop(call);
        assert_eq!(Arc::strong_count(&object), 1);
        // SAFETY: as above.
        assert!(unsafe { free(handle, "thing") }.is_err());
    }

    #[test]
    fn a_freed_handle_is_known_while_many_others_come_and_go() {
        let freed: *mut Other = give(1);
        // SAFETY: as above.
        unsafe { free(freed, "thing") }.unwrap();
        for number in 0..4 * WAITING as u32 {
            let handle: *mut Other = give(number);
            assert_eq!(refusal(freed), "thing is a handle that was freed");
            // SAFETY: as above.
            assert_eq!(*unsafe { borrow(handle, "thing") }.unwrap(), number);
            // SAFETY: as above.
            unsafe { free(handle, "thing") }.unwrap();
        }
    }

    #[test]
    fn other_kinds_and_other_memory_are_refused() {
        let handle: *mut Other = give(1);
        assert_eq!(refusal(handle.cast::<Opaque>()), "thing is a handle of kind request, not sampler");
        let place = [0_u64; 16];
        assert_eq!(refusal(place.as_ptr().cast::<Other>()), "thing is no handle of this library");
        assert_eq!(refusal(handle.wrapping_byte_add(1)), "thing is no handle of this library");
        // SAFETY: as above.
        unsafe { free(handle, "thing") }.unwrap();
    }

    #[test]
    fn of_many_frees_at_once_one_is_right() {
        for _ in 0..100 {
            let object = Arc::new(Exclusive::new(7));
            let handle = give::<Opaque>(Arc::clone(&object)).expose_provenance();
            let right: usize = std::thread::scope(|scope| {
                let free = || {
                    let handle = std::ptr::with_exposed_provenance_mut::<Opaque>(handle);
                    // SAFETY: as above.
                    usize::from(unsafe { free(handle, "thing") }.is_ok())
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(free)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!((right, Arc::strong_count(&object)), (1, 1));
        }
    }

    #[test]
    fn a_second_call_is_refused() {
        let object = Exclusive::new(());
        let first = object.enter("sampler").unwrap();
        let second = object.enter("sampler").map(drop).unwrap_err();
        assert_eq!(second.status, ORTSHARD_ERROR_INVALID_STATE);
        drop(first);
        assert!(object.enter("sampler").is_ok());
    }

    #[test]
    fn null_is_named() {
        // SAFETY: NULL is allowed.
        let failure = unsafe { borrow::<Opaque>(std::ptr::null(), "thing") }.map(drop).unwrap_err();
        assert_eq!((failure.status, failure.message.as_str()), (ORTSHARD_ERROR_NULL_ARGUMENT, "thing is NULL"));
        // SAFETY: as above.
        unsafe { free::<Opaque>(std::ptr::null_mut(), "thing") }.unwrap();
    }
}
