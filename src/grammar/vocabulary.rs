//! A tokenizer's tokens as a tree of bytes, and texts in its own spelling.

use std::sync::{Arc, Weak};

use llguidance::ParserFactory;
use llguidance::toktrie::{
    INVALID_TOKEN, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};

use super::bounds::{LONGEST_TOKEN, guarded, limits};
use crate::error::{self, Result, Site, err};
use crate::tokenizer::Tokenizer;

/// Bytes that a token takes while a vocabulary is sorted.
const TOKEN: usize = 512;

/// What all grammars on a tokenizer share.
pub(super) struct Vocabulary {
    pub(super) factory: ParserFactory,
    /// The tokens that do not begin a text as they go on in one: they may not begin a text of a grammar, which would not be
    /// what the grammar has seen.
    pub(super) begins_otherwise: SimpleVob,
}

impl Vocabulary {
    /// That of `tokenizer`, made once.
    pub(super) fn of(tokenizer: &Arc<Tokenizer>) -> Result<Arc<Self>> {
        tokenizer.kept(|| {
            let most = tokenizer.vocab_size().saturating_mul(TOKEN);
            error::probe(Site::Run, most, "sorting a vocabulary")?;
            let words = tokenizer.words()?;
            let count = words.last().map_or(0, |word| word.id + 1);
            let mut tokens = vec![Vec::new(); count as usize];
            let mut begins_otherwise = SimpleVob::alloc_with_capacity(count as usize, count as usize + 1);
            for word in words {
                let id = word.id as usize;
                if word.begins_otherwise {
                    begins_otherwise.allow_token(word.id);
                }
                // The mark is no byte of a text, so that no grammar can produce what begins with it as text.
                let mut bytes = if word.is_added { vec![TokTrie::SPECIAL_TOKEN_MARKER] } else { Vec::new() };
                let is_text = word.bytes.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER);
                if is_text && !word.bytes.is_empty() && word.bytes.len() < LONGEST_TOKEN {
                    bytes.extend(word.bytes);
                    tokens[id] = bytes;
                }
            }
            let info = TokRxInfo {
                vocab_size: count,
                tok_eos: INVALID_TOKEN,
                tok_bos: None,
                tok_pad: None,
                tok_unk: None,
                tok_end_of_turn: None,
            };
            let factory = guarded(|| {
                let env: TokEnv =
                    Arc::new(Tokens { trie: TokTrie::from(&info, &tokens), tokenizer: Arc::downgrade(tokenizer) });
                let slices = llguidance::earley::SlicedBiasComputer::general_slices();
                ParserFactory::new(&env, InferenceCapabilities::default(), &slices)
            });
            let mut factory = factory.map_err(|why| err!(Unsupported, "the tokenizer's vocabulary: {why}"))?;
            factory.quiet();
            *factory.limits_mut() = limits();
            Ok(Self { factory, begins_otherwise })
        })
    }
}

impl Vocabulary {
    pub(super) fn begins_otherwise(&self, id: u32) -> bool {
        (id as usize) < self.begins_otherwise.len() && self.begins_otherwise.is_allowed(id)
    }
}

/// The tokens for llguidance.
struct Tokens {
    trie: TokTrie,
    /// Which keeps this.
    tokenizer: Weak<Tokenizer>,
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        // What cannot be encoded as text in the middle of a text is spelled by the longest tokens that fit.
        let (text, rest) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (text, rest) = bytes.split_at(error.valid_up_to());
                (std::str::from_utf8(text).unwrap_or_default(), rest)
            }
        };
        let spelled = self.tokenizer.upgrade().and_then(|tokenizer| self.spell(&tokenizer, text));
        let mut ids = spelled.unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()));
        ids.extend(self.trie.greedy_tokenize(rest));
        ids
    }

    /// Masks leave every spelling; which one is given without a choice is decided here.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

impl Tokens {
    /// The tokens of `text` as the tokenizer spells it in the middle of a text.
    fn spell(&self, tokenizer: &Tokenizer, text: &str) -> Option<Vec<TokenId>> {
        // Some tokenizers put a space in front of a text: then what stands behind something else is taken.
        ["", "\n", "a"].into_iter().find_map(|before| {
            let ids = tokenizer.encode(&format!("{before}{text}"), false).ok()?;
            let mut wanted = text.len();
            let mut begin = ids.len();
            while wanted > 0 && begin > 0 {
                begin -= 1;
                wanted = wanted.checked_sub(self.trie.token_len(ids[begin]))?;
            }
            let ids = &ids[begin..];
            let is_whole = (begin == 0 || !before.is_empty()) && self.trie.decode_raw(ids) == text.as_bytes();
            is_whole.then(|| ids.to_vec())
        })
    }
}
