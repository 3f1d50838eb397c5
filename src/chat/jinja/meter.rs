//! Bounds on the steps, time and memory of a template. They grow with the caller's input, so that a long conversation
//! is allowed to take long, while a template alone can take no more than a fixed amount.
//!
//! Every loop, in a template or inside a filter, counts its rounds here, and every text, list and dict holds a
//! [`Charge`] for what it takes as long as it lives. Memory for it is asked for ahead, as an allocation that fails would
//! end the process.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::error::{Error, Kind, Result, fail};
use crate::error::Site;

/// The most steps of a rendering. Steps are expressions, rounds of loops, and pieces of texts that are copied or
/// searched.
const STEPS: u64 = 10_000_000;

/// Further steps for each byte of input. A template that goes over all messages for each message, or over each
/// character of a message, takes far fewer.
const STEPS_PER_BYTE: u64 = 1000;

/// The most bytes of all texts, lists and dicts that a rendering holds at one time, its output included.
const MEMORY: u64 = 256 << 20;

/// Further bytes for each byte of input.
const MEMORY_PER_BYTE: u64 = 16;

/// Bytes that are asked for ahead, or an eighth of what is held if that is more.
const AHEAD: usize = 256 << 10;

/// Bytes that must be free beside those: for what is small, lives shortly and is not counted.
const SPARE: usize = 1 << 20;

/// Bytes that are made for each byte of what is gone over, before they are counted: a text as it grows, or pairs to be
/// sorted.
const MADE: usize = 8;

/// Bytes that a block on the heap takes beside its content: an `Rc`'s counts, and what the allocator adds.
pub(super) const BLOCK: usize = 32;

/// How long a rendering may take.
const TIME: Duration = Duration::from_secs(10);

/// Further time for each byte of input.
const TIME_PER_BYTE: Duration = Duration::from_micros(30);

/// Steps between two looks at the clock.
const TICK: u64 = 4096;

/// Bytes of a text that count as one step when they are copied or searched.
const BYTES_PER_STEP: usize = 256;

/// How deep lists, dicts and iterators may nest. Freeing them takes stack for each level.
pub(super) const DEPTH: u32 = 100;

/// What a rendering has taken, and the most that it may take.
#[derive(Debug)]
pub(super) struct Meter {
    steps: Cell<u64>,
    most_steps: u64,
    held: Cell<u64>,
    most_held: u64,
    /// Memory was there when it was asked for, for so many bytes to be held.
    asked: Cell<u64>,
    time: Duration,
    end: Instant,
}

impl Meter {
    /// The full allowance for a rendering of `input` bytes, which begins now.
    pub(super) fn new(input: u64) -> Rc<Self> {
        let input = input.min(u64::from(u32::MAX));
        let time = TIME + TIME_PER_BYTE * input as u32;
        Rc::new(Self {
            steps: Cell::new(0),
            most_steps: STEPS + STEPS_PER_BYTE * input,
            held: Cell::new(0),
            most_held: MEMORY + MEMORY_PER_BYTE * input,
            asked: Cell::new(0),
            time,
            end: Instant::now() + time,
        })
    }

    /// Counts `steps` steps; an error if there are too many.
    pub(super) fn step(&self, steps: u64) -> Result<()> {
        let (before, now) = (self.steps.get(), self.steps.get().saturating_add(steps));
        self.steps.set(now);
        if now > self.most_steps {
            fail!(Bound, "it takes more than {} steps", self.most_steps);
        }
        if before / TICK != now / TICK && Instant::now() > self.end {
            fail!(Bound, "it takes longer than {} seconds", self.time.as_secs());
        }
        Ok(())
    }

    /// Counts the steps of going over `bytes` bytes once, and asks for what is made of them.
    pub(super) fn pass_over(&self, bytes: usize) -> Result<()> {
        self.step(steps(bytes))?;
        self.ask(bytes.saturating_mul(MADE))
    }

    /// Fails if `bytes` more bytes would be too many. To be asked before something large is made.
    pub(super) fn room(&self, bytes: usize) -> Result<()> {
        if self.held.get().saturating_add(bytes as u64) > self.most_held {
            fail!(Bound, "it holds more than {} MiB of text, lists and dicts", self.most_held >> 20);
        }
        self.ask(bytes)
    }

    /// Fails if there is too little memory for `bytes` more bytes.
    pub(super) fn ask(&self, bytes: usize) -> Result<()> {
        let held = self.held.get();
        if held.saturating_add(bytes as u64) <= self.asked.get() {
            return Ok(());
        }
        let ahead = bytes.max(AHEAD).max((held / 8) as usize);
        free(ahead.saturating_add(SPARE))?;
        self.asked.set(held.saturating_add(ahead as u64));
        Ok(())
    }

    /// Counts `bytes` bytes as held until the charge is dropped.
    pub(super) fn hold(self: &Rc<Self>, bytes: usize) -> Result<Charge> {
        let mut charge = Charge { meter: Rc::clone(self), bytes: 0 };
        charge.grow(bytes)?;
        Ok(charge)
    }
}

/// Bytes that a value holds as long as it lives.
#[derive(Debug)]
pub(super) struct Charge {
    meter: Rc<Meter>,
    bytes: u64,
}

impl Charge {
    pub(super) fn grow(&mut self, bytes: usize) -> Result<()> {
        self.meter.room(bytes)?;
        self.pass(bytes)?;
        self.bytes += bytes as u64;
        self.meter.held.set(self.meter.held.get() + bytes as u64);
        Ok(())
    }

    /// [`Meter::ask`].
    pub(super) fn ask(&self, bytes: usize) -> Result<()> {
        self.meter.ask(bytes)
    }

    /// Counts the steps of writing `bytes` bytes.
    pub(super) fn pass(&self, bytes: usize) -> Result<()> {
        self.meter.step(steps(bytes))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.held.set(self.meter.held.get() - self.bytes);
    }
}

/// The steps of going over `bytes` bytes.
fn steps(bytes: usize) -> u64 {
    1 + (bytes / BYTES_PER_STEP) as u64
}

/// Fails if `bytes` bytes cannot be had.
fn free(bytes: usize) -> Result<()> {
    let no_memory = |_| Error::new(Kind::Memory(bytes), "there is too little memory");
    crate::error::probe(Site::Run, bytes, "").map_err(no_memory)
}

/// The depth of something around values that nest `depth` deep; an error if that is too deep.
pub(super) fn nest(depth: u32) -> Result<u32> {
    if depth > DEPTH {
        fail!(Bound, "lists, dicts or iterators nest deeper than {DEPTH}");
    }
    Ok(depth)
}
