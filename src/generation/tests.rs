//! A generation on a model that is elsewhere, whose runs fail: no token is lost, and none comes twice.

use std::sync::Arc;

use super::backend::{Backend, Stop};
use super::{Finish, Generation, GenerationOptions, Ran, RemoteModel, step_batch};
use crate::engine::Request;
use crate::error::{Error, ErrorKind, Result, Site};
use crate::sampler::{Choose, SamplerOptions};

/// A model whose logits are a hash of the text so far, and of whether it is a long one.
struct Elsewhere {
    text: Vec<i64>,
    /// The most tokens of a short text; 0: there are no others.
    border: usize,
    is_long: bool,
    /// Whether every second run fails.
    fails: bool,
    runs: usize,
}

impl Elsewhere {
    fn run(&mut self, ids: &[i64]) -> Result<()> {
        self.runs += 1;
        if self.fails && self.runs % 2 == 1 {
            return Err(Error::oom(Site::Run, "elsewhere", 1, "a run"));
        }
        let is_long = self.border > 0 && self.text.len() + ids.len() > self.border;
        assert!(self.text.is_empty() || is_long == self.is_long, "a text became long");
        self.is_long = is_long;
        self.text.extend(ids);
        Ok(())
    }

    fn logits(&self) -> Vec<f32> {
        let mix = |hash: u32, value: u32| (hash ^ value).wrapping_mul(0x9e37_79b1).rotate_left(13);
        let text = self.text.iter().fold(u32::from(self.is_long), |hash, id| mix(hash, *id as u32));
        (0..self.vocabulary() as u32).map(|id| (mix(mix(text, id), 7) >> 24) as f32 / 32.0).collect()
    }
}

impl Backend for Elsewhere {
    fn vocabulary(&self) -> usize {
        50
    }

    fn capacity(&self) -> usize {
        30
    }

    fn position(&self) -> usize {
        self.text.len()
    }

    fn short_context(&self) -> usize {
        self.border
    }

    fn outgrows(&self, tokens: usize) -> bool {
        self.border > 0 && !self.text.is_empty() && !self.is_long && self.text.len() + tokens > self.border
    }

    fn restart(&mut self) -> Result<()> {
        self.text.clear();
        Ok(())
    }

    fn prefill(&mut self, ids: &[i64]) -> Result<()> {
        self.run(ids)
    }

    fn next(&mut self, ids: &[i64], choose: &mut dyn Choose) -> Result<u32> {
        let before = self.text.len();
        self.run(ids)?;
        choose.choose(&self.logits()).inspect_err(|_| self.text.truncate(before))
    }

    fn stopper(&self) -> Arc<dyn Stop> {
        Arc::new(Vec::new())
    }

    fn fork(&self) -> Result<Box<dyn Backend>> {
        let (text, border, is_long, fails) = (self.text.clone(), self.border, self.is_long, self.fails);
        Ok(Box::new(Self { text, border, is_long, fails, runs: 0 }))
    }

    fn state_size(&self) -> Result<usize> {
        Ok(1 + self.text.len())
    }

    fn export(&self, to: &mut Vec<u8>) -> Result<()> {
        to.push(self.is_long.into());
        to.extend(self.text.iter().map(|id| *id as u8));
        Ok(())
    }

    fn import(&mut self, state: &[u8]) -> Result<()> {
        self.is_long = state[0] == 1;
        self.text = state[1..].iter().map(|byte| i64::from(*byte)).collect();
        Ok(())
    }

    fn alone(&mut self) -> Option<&mut Request> {
        None
    }
}

fn elsewhere(border: usize, fails: bool) -> Elsewhere {
    Elsewhere { text: Vec::new(), border, is_long: false, fails, runs: 0 }
}

fn generation(border: usize, fails: bool) -> Generation {
    prompted(Generation::on(Box::new(elsewhere(border, fails)), None, options()).unwrap())
}

fn options() -> GenerationOptions {
    let sampling = SamplerOptions { temperature: 1.0, seed: 3, repetition_penalty: 1.3, ..SamplerOptions::default() };
    GenerationOptions { sampling, logprobs: 2, ..GenerationOptions::default() }
}

fn prompted(mut generation: Generation) -> Generation {
    generation.append_ids(&[1, 2]).unwrap();
    generation.append_ids(&[3, 4, 5]).unwrap();
    generation
}

/// What `call` gives in the end.
fn until_it_succeeds<T>(mut call: impl FnMut() -> Result<T>) -> T {
    loop {
        match call() {
            Ok(given) => return given,
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfMemory),
        }
    }
}

/// All that it gives, with `pieces` of the prompt run before.
fn pull(mut generation: Generation, piece: usize) -> Vec<(u32, Option<f32>)> {
    let mut left = 5;
    while piece > 0 && left > 1 {
        left = until_it_succeeds(|| generation.prefill(piece));
    }
    let mut given = Vec::new();
    loop {
        let (token, finish) =
            until_it_succeeds(|| generation.step().map(|step| (step.id.map(|id| (id, step.logprob)), step.finish)));
        given.extend(token);
        if let Some(finish) = finish {
            assert_eq!(finish, Finish::ContextFull);
            return given;
        }
    }
}

#[test]
fn a_run_that_fails_is_repeated_wherever_the_model_is() {
    for border in [0, 4, 12] {
        let wanted = pull(generation(border, false), 0);
        assert_eq!(wanted.len(), 26, "room for 30, and the last of them gives one more");
        for piece in [0, 1, 3, 100] {
            assert_eq!(pull(generation(border, true), piece), wanted, "border {border}, pieces of {piece}");
        }
        // Many at once: one that fails leaves the others to go on.
        let mut batch = [generation(border, false), generation(border, true)];
        let mut given = [Vec::new(), Vec::new()];
        for _ in 0..2 * wanted.len() {
            let outcomes = step_batch(&mut batch.iter_mut().collect::<Vec<_>>());
            assert!(outcomes[0].is_ok());
            for ((outcome, generation), given) in outcomes.iter().zip(&batch).zip(&mut given) {
                let step = generation.generated();
                given.extend(step.id.filter(|_| outcome.is_ok()).map(|id| (id, step.logprob)));
            }
        }
        assert_eq!(given, [wanted.clone(), wanted]);
    }
}

/// After any step, and between a run that fails and its repetition.
#[test]
fn a_fork_and_an_import_go_on_as_the_original_does() {
    for border in [0, 4, 12] {
        let wanted = pull(generation(border, false), 0);
        for steps in 0..=wanted.len() {
            let mut original = generation(border, false);
            for _ in 0..steps {
                original.step().unwrap();
            }
            let state = original.export_state().unwrap();
            assert_eq!(state.len(), original.state_size().unwrap());
            assert_eq!(pull(original.fork().unwrap(), 0), wanted[steps..], "a fork, border {border}, {steps} steps");
            for fails in [false, true] {
                let mut other = generation(border, fails);
                for _ in 0..2 {
                    let _ = other.step();
                }
                other.import_state(&state).unwrap();
                assert_eq!(pull(other, 0), wanted[steps..], "an import, border {border}, {steps} steps");
            }
            assert_eq!(pull(original, 0), wanted[steps..], "the original, border {border}, {steps} steps");
        }
    }
}

/// Told only logits, also where a text becomes a long one.
#[test]
fn one_whose_tokens_the_caller_runs_gives_the_same() {
    for border in [0, 4, 12] {
        let wanted = pull(generation(border, false), 0);
        let mut model = elsewhere(border, false);
        let shape = RemoteModel { vocab_size: model.vocabulary(), capacity: model.capacity(), short_context: border };
        let mut generation = prompted(Generation::remote(shape, None, options()).unwrap());
        let (mut given, mut finish) = (Vec::new(), None);
        while finish.is_none() {
            let ids = generation.pending().unwrap().to_vec();
            if generation.position() == 0 {
                model.restart().unwrap();
            }
            model.run(&ids).unwrap();
            let step = generation.step_with(Ran::Logits(&model.logits())).unwrap();
            given.extend(step.id.map(|id| (id, step.logprob)));
            finish = step.finish;
        }
        assert_eq!((given, finish), (wanted, Some(Finish::ContextFull)));
    }
}
