//! A token takes no memory of its own: a step allocates no more often than running the model does, whatever is asked of it.
#![allow(unsafe_code, reason = "the allocator, and calls of the C interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use crate::common::{device, root};
use ortshard::c_interface::{
    ORTSHARD_GRAMMAR_REGEX, ortshard_bias, ortshard_generation_append_ids, ortshard_generation_free,
    ortshard_generation_open, ortshard_generation_options, ortshard_generation_options_init, ortshard_generation_step,
    ortshard_sampler_options_init, ortshard_step_init, ortshard_text_stream_create, ortshard_text_stream_free,
    ortshard_text_stream_push, ortshard_tokenizer_free, ortshard_tokenizer_open,
};
use ortshard::{
    Engine, EngineOptions, Grammar, GrammarConstraint, Input, Request, RequestOptions, Sampler, SamplerOptions,
    ShardSpec, Tokenizer, next_token,
};

thread_local! {
    /// How many blocks of memory this thread has asked for.
    static ASKED: Cell<usize> = const { Cell::new(0) };
    /// A size in bytes, and how many blocks of it this thread has asked for.
    static OF_SIZE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize) {
    // A thread that ends counts no more.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
    let _ = OF_SIZE.try_with(|counted| {
        let (wanted, count) = counted.get();
        counted.set((wanted, count + usize::from(size == wanted)));
    });
}

/// How many blocks `call` asks for.
fn asked(call: impl FnOnce()) -> usize {
    let before = ASKED.get();
    call();
    ASKED.get() - before
}

/// Tokens before the counting begins, and tokens that are counted.
const WARM: usize = 64;
const COUNTED: usize = 128;

const PROMPT: [i64; 5] = [0, 569, 570, 260, 436];

fn model() -> CString {
    CString::new(root().join("models/stories").to_str().unwrap()).unwrap()
}

/// A struct as its init function makes it.
fn init<T>(init: unsafe extern "C" fn(*mut T, usize) -> i32) -> T {
    let mut made = MaybeUninit::uninit();
    // SAFETY: there is room for one, and the function fills it.
    unsafe {
        assert_eq!(init(made.as_mut_ptr(), size_of::<T>()), 0);
        made.assume_init()
    }
}

/// What each run of the model, with the choice of the largest logit, asks for.
fn by_request() -> usize {
    let spec = ShardSpec::whole(root().join("models/stories").to_str().unwrap());
    let shard = Engine::new(EngineOptions::default()).unwrap().ensure_shard(&spec, None).unwrap();
    let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
    let mut sampler = Sampler::new(SamplerOptions::greedy()).unwrap();
    let mut next = |ids: &[i64]| i64::from(next_token(&mut [&mut request], Input::Ids(ids), &mut sampler).unwrap());
    let mut id = next(&PROMPT);
    (0..WARM).for_each(|_| id = next(&[id]));
    let counts: Vec<usize> = (0..COUNTED).map(|_| asked(|| id = next(&[id]))).collect();
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    counts[0]
}

/// How many steps of a generation ask for more than `most` blocks. The text that a step gives is longer than those before
/// it now and then.
fn asking_for_more(most: usize, change: impl Fn(&mut ortshard_generation_options)) -> usize {
    let mut options = init(ortshard_generation_options_init);
    options.ignore_eos = 1;
    options.max_new_tokens = 400;
    change(&mut options);
    let (mut generation, mut step) = (null_mut(), init(ortshard_step_init));
    let model = model();
    // SAFETY: all pointers are valid, and what the options point to lives.
    unsafe {
        assert_eq!(ortshard_generation_open(model.as_ptr(), &raw const options, &raw mut generation), 0);
        assert_eq!(ortshard_generation_append_ids(generation, PROMPT.as_ptr(), PROMPT.len()), 0);
    }
    let mut text = 0;
    // SAFETY: as above.
    let mut next = || unsafe {
        assert_eq!(ortshard_generation_step(generation, &raw mut step), 0);
        assert_eq!(step.finish, 0);
        text += step.text_length;
    };
    (0..WARM).for_each(|_| next());
    let more = (0..COUNTED).filter(|_| asked(&mut next) > most).count();
    assert!(text > 100);
    // SAFETY: as above.
    unsafe { ortshard_generation_free(generation) };
    more
}

#[test]
fn a_generation_asks_for_no_more_than_running_the_model_does() {
    if !device::native_operators() {
        return;
    }
    let most = by_request();
    let seldom =
        |more: usize| assert!(more <= COUNTED / 32, "{more} of {COUNTED} steps ask for more than {most} blocks");
    let sampling = |temperature| {
        let mut sampling = init(ortshard_sampler_options_init);
        sampling.temperature = temperature;
        sampling
    };
    let greedy = sampling(0.0);
    seldom(asking_for_more(most, |options| options.sampling = &raw const greedy));

    let ids = [7, 8, 9];
    let mut all = sampling(1.5);
    let biases = [(1, 0.5), (2, -2.0)].map(|(count, bias)| ortshard_bias { ids: ids.as_ptr(), count, bias });
    (all.top_k, all.top_p, all.min_p, all.typical_p, all.top_n_sigma) = (900, 0.99, 0.0001, 0.99, 9.0);
    (all.repetition_penalty, all.presence_penalty, all.frequency_penalty, all.penalty_window) = (1.1, 0.1, 0.1, 40);
    (all.no_repeat_ngram, all.min_new_tokens) = (3, 300);
    (all.biases, all.bias_count) = (biases.as_ptr(), biases.len());
    (all.banned, all.banned_count) = (ids[2..].as_ptr(), 1);
    let stops = [c"never in a story".as_ptr()];
    seldom(asking_for_more(most, |options| {
        options.sampling = &raw const all;
        (options.stop, options.stop_count) = (stops.as_ptr(), 1);
        (options.keep_special, options.keep_logits, options.logprobs) = (1, 1, 5);
    }));
    // Each of the filters alone has ways of its own.
    for filter in 0..5 {
        let mut one = sampling(1.2);
        one.top_k = 0;
        match filter {
            0 => one.top_k = 5,
            1 => one.top_p = 0.9,
            2 => one.min_p = 0.01,
            3 => one.typical_p = 0.9,
            _ => one.top_n_sigma = 2.0,
        }
        seldom(asking_for_more(most, |options| options.sampling = &raw const one));
    }
}

/// A text under a grammar that never ends in it: the ids of a generation, and how many blocks each step asks for.
fn under(grammar: &CStr) -> (Vec<i64>, Vec<usize>) {
    let mut sampling = init(ortshard_sampler_options_init);
    sampling.temperature = 0.0;
    let mut options = init(ortshard_generation_options_init);
    (options.sampling, options.max_new_tokens) = (&raw const sampling, 400);
    (options.grammar, options.grammar_kind) = (grammar.as_ptr(), ORTSHARD_GRAMMAR_REGEX);
    let (mut generation, mut step) = (null_mut(), init(ortshard_step_init));
    let model = model();
    // SAFETY: all pointers are valid, and what the options point to lives.
    unsafe {
        assert_eq!(ortshard_generation_open(model.as_ptr(), &raw const options, &raw mut generation), 0);
        assert_eq!(ortshard_generation_append_ids(generation, PROMPT.as_ptr(), PROMPT.len()), 0);
    }
    let mut told = (Vec::with_capacity(WARM + COUNTED), Vec::with_capacity(WARM + COUNTED));
    for _ in 0..WARM + COUNTED {
        // SAFETY: as above.
        let count = asked(|| unsafe { assert_eq!(ortshard_generation_step(generation, &raw mut step), 0) });
        assert_eq!(step.finish, 0);
        told.0.push(step.id);
        told.1.push(count);
    }
    // SAFETY: as above.
    unsafe { ortshard_generation_free(generation) };
    told
}

/// A step asks for no more than running the model and llguidance do, and of masks only for llguidance's own: the one that
/// it gives, and its copy.
#[test]
fn a_grammar_asks_for_its_masks_only() {
    if !device::native_operators() {
        return;
    }
    let grammar = c"[a-zA-Z ,.'\"!?\n]{3000}x";
    let most = by_request();
    let (ids, steps) = under(grammar);
    let tokenizer = Arc::new(Tokenizer::open(&root().join("models/stories")).unwrap());
    let mask = (tokenizer.vocab_size() + 1).div_ceil(32) * 4;
    let grammar = Grammar::Regex(grammar.to_str().unwrap().to_owned());
    let mut constraint = GrammarConstraint::new(&tokenizer, &grammar, &[]).unwrap();
    let mut logits = vec![0.0; tokenizer.vocab_size()];
    let (mut more, mut masks) = (0, Vec::with_capacity(ids.len()));
    for (id, step) in ids.iter().zip(&steps) {
        OF_SIZE.set((mask, 0));
        let own = asked(|| {
            assert!(constraint.known().unwrap().is_empty());
            constraint.mask(&mut logits).unwrap();
        });
        masks.push(OF_SIZE.get().1);
        let taken = asked(|| constraint.accept(*id as u32).unwrap());
        more += usize::from(masks.len() > WARM && *step > most + own + taken);
    }
    assert!(more <= COUNTED / 32, "{more} of {COUNTED} steps ask for more");
    assert!(masks.contains(&2) && masks.iter().all(|count| *count <= 2), "{masks:?}");
}

/// All tokens of vocabularies of every kind, one after another.
#[test]
fn a_text_stream_asks_for_nothing() {
    for name in ["gpt2", "llama3", "qwen", "llama2", "gemma", "mistral", "unigram"] {
        let folder = root().join("tests/tokenizers").join(name);
        let known = Tokenizer::open(&folder).unwrap();
        let ids: Vec<u32> = (0..known.vocab_size() as u32).filter(|id| known.id_to_token(*id).is_some()).collect();
        let folder = CString::new(folder.to_str().unwrap()).unwrap();
        let (mut tokenizer, mut stream) = (null_mut(), null_mut());
        let (mut text, mut length): (*const c_char, usize) = (null(), 0);
        // SAFETY: all pointers are valid.
        unsafe {
            assert_eq!(ortshard_tokenizer_open(folder.as_ptr(), &raw mut tokenizer), 0);
            assert_eq!(ortshard_text_stream_create(tokenizer, 0, &raw mut stream), 0);
        }
        let mut all = 0;
        let mut push = || {
            for id in &ids {
                // SAFETY: as above.
                let status =
                    unsafe { ortshard_text_stream_push(stream, i64::from(*id), &raw mut text, &raw mut length) };
                all += length;
                assert_eq!(status, 0, "{id}");
            }
        };
        push();
        assert_eq!(asked(&mut push), 0, "{name}");
        assert!(all > 100, "{name}: {all}");
        // SAFETY: as above.
        unsafe {
            ortshard_text_stream_free(stream);
            ortshard_tokenizer_free(tokenizer);
        }
    }
}
