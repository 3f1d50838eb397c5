//! Constraint
//!
//! What a text must look like: a JSON schema, a regular expression or a Lark grammar, as a rule for the next token. A
//! generation takes one in its options. A program with a loop of its own asks for it by itself:
//!
//!     ortshard_constraint_create(tokenizer, ORTSHARD_GRAMMAR_JSON_SCHEMA, schema, NULL, 0, &constraint);
//!     each token: ortshard_constraint_mask(constraint, logits, count);
//!                 ortshard_sampler_sample(sampler, logits, count, &id);
//!                 ortshard_constraint_advance(constraint, id);
//!
//! The tokens that end a text may come exactly where the grammar may end, and a text that ends with one matches it.
//! Added tokens of the tokenizer, special ones among them, never come as text, only where a Lark grammar names them.
//!
//! JSON schemas: drafts 4 to 2020-12. Heeded are $ref within the document, allOf, anyOf, oneOf of alternatives that
//! exclude each other, const, enum, type; items, prefixItems, additionalItems, minItems, maxItems; properties,
//! patternProperties, additionalProperties, required, minProperties, maxProperties; minLength, maxLength, pattern,
//! format; minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf. Remarks such as title or default change
//! nothing. Any other keyword is refused, as is what cannot be kept to exactly. Keys come in the schema's order. A
//! format is its shape: 2026-02-30 is a date. Between the parts of JSON there may be up to 32 characters of white space:
//! without a bound a model can go on with it for ever.
//!
//! Regular expressions have the syntax of Rust's regex crate, without look-around, back-references, lazy repetition and
//! anchors: all of the text must match. Only ^ in front and $ behind are taken, and say nothing.
//!
//! Lark grammars are in llguidance's dialect; the rule start is the text. %json { ... } is a JSON schema within one,
//! where white space has no bound, and <|name|> an added token.
//!
//! Bounds, whoever has written the grammar: 1 MiB of it; 6,000 levels in all rules and referenced schemas together; 128
//! patternProperties, and fewer where allOf, anyOf, oneOf and $ref combine many schemas; a second or two and some
//! hundred MiB to compile it; some 20 ms and 50,000 items for a token; 100,000 states, of 1 to 2 KiB each, for all texts
//! together that come from one constraint. What exceeds one is INVALID_ARGUMENT.

use std::ffi::c_char;

use crate::ffi::basics::objects::{ortshard_constraint, ortshard_tokenizer};
use crate::ffi::frame::buffers::{Buffer, array, converted, token_id};
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{Exclusive, Handle, Kind, borrow, free, give};
use crate::ffi::frame::out::{Out, OutArray};
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::strings::{owned, text};
use crate::{Grammar, GrammarConstraint};

constants! {
    /// What a grammar is written in.
    enum ortshard_grammar {
        /// There is no grammar.
        ORTSHARD_GRAMMAR_NONE = 0,
        /// A JSON schema.
        ORTSHARD_GRAMMAR_JSON_SCHEMA = 1,
        /// A regular expression.
        ORTSHARD_GRAMMAR_REGEX = 2,
        /// A Lark grammar.
        ORTSHARD_GRAMMAR_LARK = 3,
    }
}

impl Handle for ortshard_constraint {
    type Object = Exclusive<GrammarConstraint>;
    const KIND: Kind = Kind::Constraint;
}

/// The grammar of kind `kind` that stands at `grammar`.
///
/// # Safety
/// `grammar` is NULL or NUL-terminated.
pub(in crate::ffi) unsafe fn grammar(kind: i32, grammar: *const c_char) -> Result<Option<Grammar>, Failure> {
    if kind == ORTSHARD_GRAMMAR_NONE {
        if grammar.is_null() {
            return Ok(None);
        }
        return Err(Failure::invalid("grammar is given, but grammar_kind is ORTSHARD_GRAMMAR_NONE"));
    }
    let make: fn(String) -> Grammar = match kind {
        ORTSHARD_GRAMMAR_JSON_SCHEMA => Grammar::JsonSchema,
        ORTSHARD_GRAMMAR_REGEX => Grammar::Regex,
        ORTSHARD_GRAMMAR_LARK => Grammar::Lark,
        _ => return Err(Failure::invalid(format!("grammar_kind is {kind}, which is no ORTSHARD_GRAMMAR_* constant"))),
    };
    // SAFETY: the caller's promise.
    Ok(Some(make(owned(unsafe { text(grammar, "grammar") }?, "a grammar")?)))
}

/// Creates a constraint at the start of a text of `tokenizer`'s tokens. `grammar_kind` is an ORTSHARD_GRAMMAR_*
/// constant, `grammar` the schema, expression or grammar itself. One of the `eos_count` tokens at `eos` ends the text;
/// NULL and 0: those of ortshard_tokenizer_eos().
///
/// The first constraint on a tokenizer sorts its vocabulary, once for all of them: half a second and some 30 MiB for
/// 150,000 tokens.
///
/// Errors: INVALID_ARGUMENT for a grammar that is faulty, asks for what is not supported, or exceeds a bound: the
/// message names the place, as a pointer into the schema, an offset in bytes, or a line and a column; INVALID_ARGUMENT,
/// too, if nothing would end a text; OUT_OF_RANGE for an id that is none; UNSUPPORTED for a tokenizer that makes text
/// of all tokens at once, and in a library that was built without grammars; OUT_OF_MEMORY.
/// Threads: any. Ownership: free `*constraint` with ortshard_constraint_free(). It keeps the tokenizer alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_constraint_create(
    tokenizer: *const ortshard_tokenizer,
    grammar_kind: i32,
    grammar: *const c_char,
    eos: *const i64,
    eos_count: usize,
    constraint: *mut *mut ortshard_constraint,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(tokenizer) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::handle(constraint, "constraint") }?;
        // SAFETY: as above.
        let tokenizer = unsafe { borrow(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let grammar = unsafe { self::grammar(grammar_kind, grammar) }?;
        let grammar = grammar.ok_or_else(|| Failure::invalid("grammar_kind is ORTSHARD_GRAMMAR_NONE"))?;
        // SAFETY: as above.
        let eos = converted(&unsafe { array(eos, eos_count, "eos") }?, token_id)?;
        out.set(give(Exclusive::new(GrammarConstraint::new(&tokenizer, &grammar, &eos)?)));
        Ok(())
    })
}

/// Frees a constraint. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_constraint_free(constraint: *mut ortshard_constraint) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(constraint, "constraint") });
}

/// Creates a constraint that goes on independently from where `constraint` is: for a request that was forked. It takes
/// no compiling, and is how many texts of one grammar are made.
///
/// Threads: one call at a time on `constraint`. Ownership: free `*clone` with ortshard_constraint_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_constraint_clone(
    constraint: *const ortshard_constraint,
    clone: *mut *mut ortshard_constraint,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(constraint) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::handle(clone, "clone") }?;
        // SAFETY: as above.
        let cloned = unsafe { copy(constraint, "constraint") }?;
        out.set(give(Exclusive::new(cloned)));
        Ok(())
    })
}

/// Sets the `logits` of the tokens that may not come next to -INFINITY: one row of a last shard's output, so that count
/// is vocab_size.
///
/// Errors: INVALID_ARGUMENT if no token may come, or if finding that out exceeds a bound; the logits are as they were.
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_constraint_mask(
    constraint: *mut ortshard_constraint,
    logits: *mut f32,
    count: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(constraint) }.guard(|| {
        // SAFETY: as above.
        let constraint = unsafe { borrow(constraint, "constraint") }?;
        // SAFETY: as above.
        let out = unsafe { OutArray::new(logits, count, "logits") }?;
        constraint
            .enter(|constraint| constraint, "constraint")?
            .rule_out(count, |id| out.set(id, f32::NEG_INFINITY))?;
        Ok(())
    })
}

/// Takes the next token.
///
/// Errors: INVALID_ARGUMENT if the grammar does not allow it here; OUT_OF_RANGE for an id that is none. The constraint
/// is as it was.
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_constraint_advance(constraint: *mut ortshard_constraint, id: i64) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(constraint) }.guard(|| {
        // SAFETY: as above.
        let constraint = unsafe { borrow(constraint, "constraint") }?;
        constraint.enter(|constraint| constraint, "constraint")?.accept(token_id(id, 0)?)?;
        Ok(())
    })
}

/// The tokens that must come next, whatever the logits: the grammar has only one way on, spelled as the tokenizer
/// spells it. Often there are none. A program can run them in one call without choosing any; each is to be advanced
/// over all the same.
///
/// Writes ids to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
///
/// Errors: BUFFER_TOO_SMALL, and only `*needed` is written; INVALID_ARGUMENT if finding them exceeds a bound.
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_constraint_known_ids(
    constraint: *mut ortshard_constraint,
    ids: *mut i64,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(constraint) }.guard(|| {
        // SAFETY: as above.
        let buffer = unsafe { Buffer::new(ids, capacity, needed, "ids") }?;
        // SAFETY: as above.
        let constraint = unsafe { borrow(constraint, "constraint") }?;
        let mut constraint = constraint.enter(|constraint| constraint, "constraint")?;
        buffer.fill(&converted(constraint.known()?, |id, _| Ok(i64::from(id)))?)
    })
}

/// A copy of a constraint as it is now.
///
/// # Safety
/// `constraint` is NULL or a handle that this library gave, freed or not.
pub(in crate::ffi) unsafe fn copy(
    constraint: *const ortshard_constraint,
    parameter: &str,
) -> Result<GrammarConstraint, Failure> {
    // SAFETY: the caller's promise.
    Ok((*unsafe { borrow(constraint, parameter) }?.enter(|constraint| constraint, parameter)?).clone())
}
