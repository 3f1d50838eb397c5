//! A generation's exported state.

use std::sync::{Arc, LazyLock};

use ortshard::{
    Engine, EngineOptions, Generation, GenerationOptions, Grammar, GrammarConstraint, Request, RequestOptions,
    SamplerOptions, Shard, ShardSpec, Tokenizer,
};
use sha2::{Digest, Sha256};

use super::{repository, sound};

const HASH: usize = 32;

/// What generations are made of, and the sound state of one.
struct Parts {
    shard: Arc<Shard>,
    tokenizer: Arc<Tokenizer>,
    constraint: GrammarConstraint,
    state: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        let model = repository("models/stories");
        let engine = Engine::new(EngineOptions::default()).expect("an engine");
        let spec = ShardSpec::whole(model.to_str().expect("a path"));
        let shard = engine.ensure_shard(&spec, None).expect("a shard");
        let tokenizer = Arc::new(Tokenizer::open(&model).expect("a tokenizer"));
        let grammar = Grammar::Regex("[a-z]{2,5}, [a-z ]{10,40}".to_owned());
        let constraint = GrammarConstraint::new(&tokenizer, &grammar, &[]).expect("a grammar");
        let mut parts = Self { shard, tokenizer, constraint, state: Vec::new() };
        let mut generation = parts.generation();
        generation.append_text("Once", true).expect("a prompt");
        for _ in 0..4 {
            generation.step().expect("a step");
        }
        parts.state = generation.export_state().expect("a state");
        parts
    }

    fn generation(&self) -> Generation {
        let request = RequestOptions { capacity: 40, ..RequestOptions::default() };
        let request = Request::new(&self.shard, request).expect("a request");
        let sampling = SamplerOptions {
            temperature: 1.0,
            repetition_penalty: 1.2,
            penalty_window: 3,
            ..SamplerOptions::default()
        };
        let stop = ["xy", "end of it"].map(str::to_owned).to_vec();
        let options = GenerationOptions { sampling, stop, ..GenerationOptions::default() };
        let mut generation =
            Generation::new(vec![request], Some(Arc::clone(&self.tokenizer)), options).expect("a generation");
        generation.set_grammar(self.constraint.clone()).expect("a grammar");
        generation
    }
}

/// The first byte says whether the rest is a whole state, or changes of a sound one: places of two bytes, and what stands there. Then
/// come the hash that fits, and some steps.
pub fn run(data: &[u8]) {
    static PARTS: LazyLock<Parts> = LazyLock::new(Parts::new);
    let Some((kind, rest)) = data.split_first() else { return };
    let state = if kind % 2 == 0 {
        rest.to_vec()
    } else {
        let mut state = PARTS.state[..PARTS.state.len() - HASH].to_vec();
        for [low, high, value] in rest.as_chunks::<3>().0 {
            let place = usize::from(u16::from_le_bytes([*low, *high]));
            if let Some(byte) = state.get_mut(place) {
                *byte = *value;
            }
        }
        let hash = Sha256::digest(&state);
        state.extend_from_slice(&hash);
        state
    };
    let mut generation = PARTS.generation();
    let before = generation.export_state().expect("a state");
    if sound(generation.import_state(&state)).is_none() {
        assert_eq!(generation.export_state().expect("a state"), before);
        return;
    }
    for _ in 0..8 {
        sound(generation.step().map(drop));
    }
    sound(generation.append_ids(&[1]));
    sound(generation.step().map(drop));
    sound(generation.fork().map(drop));
}
