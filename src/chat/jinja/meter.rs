//! Bounds on the steps, time and memory of a template. They grow with the caller's input, so that a long conversation
//! is allowed to take long, while a template alone can take no more than a fixed amount.
//!
//! Every loop, in a template or inside a filter, counts its rounds here, and every text, list and dict holds a
//! [`Charge`] for its size as long as it lives.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::error::{Result, fail};

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

    /// Counts the steps of going over `bytes` bytes once.
    pub(super) fn pass_over(&self, bytes: usize) -> Result<()> {
        self.step(1 + (bytes / BYTES_PER_STEP) as u64)
    }

    /// Fails if `bytes` more bytes would be too many. To be asked before something large is made.
    pub(super) fn room(&self, bytes: usize) -> Result<()> {
        if self.held.get().saturating_add(bytes as u64) > self.most_held {
            fail!(Bound, "it holds more than {} MiB of text, lists and dicts", self.most_held >> 20);
        }
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
        self.meter.pass_over(bytes)?;
        self.bytes += bytes as u64;
        self.meter.held.set(self.meter.held.get() + bytes as u64);
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.held.set(self.meter.held.get() - self.bytes);
    }
}

/// The depth of something around values that nest `depth` deep; an error if that is too deep.
pub(super) fn nest(depth: u32) -> Result<u32> {
    if depth > DEPTH {
        fail!(Bound, "lists, dicts or iterators nest deeper than {DEPTH}");
    }
    Ok(depth)
}
