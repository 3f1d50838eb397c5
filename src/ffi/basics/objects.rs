//! Objects
//!
//! Everything is reached through these handles. Free each one that a function gave you, in any order: what is still
//! needed by another object stays alive until that is freed too. An object that is freed while a call on it is running,
//! also from a callback of that call, goes when the call ends.
//!
//! A handle of another kind, and one that was freed, is ORTSHARD_ERROR_INVALID_ARGUMENT in every function; freeing it
//! does nothing but leave the error and a message in the log. A freed handle is known as such for thousands of handles
//! after it, not for ever: set it to NULL.

/// Holds at most one shard of a model and replaces it safely.
///
/// Functions: _create, _free, _ensure_shard, _current_shard, _clear, _clear_pack_cache, _get_stats, _get_model_info,
/// _get_sampler_options, _get_boundary, _model_eos, _open_tokenizer, _audit_files, _get_estimate, _plan,
/// _load_checkpoint, _save_checkpoint.
pub struct ortshard_engine {
    _private: [u8; 0],
}

/// A loaded range of layers. Immutable; any number of requests and threads share it.
///
/// References are counted: each one that a function gives you, and each that you retain, is freed once.
///
/// Functions: _retain, _free, _get_info, _export_onnx; ortshard_request_create().
pub struct ortshard_shard {
    _private: [u8; 0],
}

/// A sequence of tokens on a shard: a KV cache and a position in it.
///
/// Functions: _create, _free, _logits, _sample, _infer, _infer_into, _position, _capacity, _truncate, _cancel,
/// _clear_cancel, _frame_pieces, _fork, _export_state, _export_state_since, _import_state; ortshard_chain_infer() and
/// ortshard_chain_sample() for many shards in a row, ortshard_batch_infer() and ortshard_batch_sample() for many
/// requests at once; ortshard_generation_create().
pub struct ortshard_request {
    _private: [u8; 0],
}

/// A rule and a random stream that choose the next token from logits. Needs no model.
///
/// Functions: _create, _free, _accept, _sample, _reset; ortshard_request_sample(), ortshard_chain_sample(),
/// ortshard_batch_sample().
pub struct ortshard_sampler {
    _private: [u8; 0],
}

/// Text to token ids and back. Immutable; needs no weights and no shard.
///
/// Functions: _open, _free, _encode, _encode_texts, _encode_with_ranges, _decode, _vocab_size, _bos, _pad, _eos,
/// _is_eos, _token_to_id, _id_to_token, _token_bytes, _is_special, _apply_chat_template, _chat_text, _chat_ids;
/// ortshard_text_stream_create(), ortshard_constraint_create(), ortshard_chat_parser_create(),
/// ortshard_generation_create(), ortshard_generation_create_remote().
pub struct ortshard_tokenizer {
    _private: [u8; 0],
}

/// Decodes token by token and gives text in whole characters.
///
/// Functions: _create, _free, _push, _finish.
pub struct ortshard_text_stream {
    _private: [u8; 0],
}

/// Parses a model's answer while it is written: content, reasoning and tool calls.
///
/// Functions: _create, _free, _push, _finish, _next, _message.
pub struct ortshard_chat_parser {
    _private: [u8; 0],
}

/// A text in progress on a whole model, pulled token by token.
///
/// Functions: _create, _open, _free, _append_text, _append_ids, _prefill, _step, _step_batch, _run, _logits, _cancel,
/// _create_remote, _pending, _candidates, _step_with, _fork, _export_state, _import_state.
pub struct ortshard_generation {
    _private: [u8; 0],
}

/// A grammar, and how far a text has come in it: which tokens may come next.
///
/// Functions: _create, _free, _clone, _mask, _advance, _known_ids.
pub struct ortshard_constraint {
    _private: [u8; 0],
}
