//! tokenizer.json.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use ortshard::{Result, TextStream, Tokenizer};

use super::{scratch, sound};

const TEXTS: [&str; 3] =
    ["Hello world, it's 2024!\n\n  <s> a", "今日は e\u{301} \u{1f600}\u{200d} <|im_end|>", "aaaaaaaaaaaaaaaaaaaaaaaa"];

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| scratch("tokenizer"));

pub fn run(data: &[u8]) {
    std::fs::write(FOLDER.join("tokenizer.json"), data).unwrap();
    if let Some(tokenizer) = sound(Tokenizer::open(&FOLDER)) {
        try_out(tokenizer);
    }
}

/// Encodes and decodes. What a stream gives piece by piece is what decoding gives at once.
pub(crate) fn try_out(tokenizer: Tokenizer) {
    let tokenizer = Arc::new(tokenizer);
    for text in TEXTS {
        let Some(ids) = sound(tokenizer.encode(text, true)) else { continue };
        for skip_special in [false, true] {
            let whole = sound(tokenizer.decode(&ids, skip_special));
            assert_eq!(sound(stream(&tokenizer, &ids, skip_special)), whole);
        }
    }
    sound(tokenizer.decode(&[0, 1, 2, u32::MAX], true));
}

fn stream(tokenizer: &Arc<Tokenizer>, ids: &[u32], skip_special: bool) -> Result<String> {
    let mut stream = TextStream::new(Arc::clone(tokenizer), skip_special);
    let mut text = String::new();
    for id in ids {
        text += &stream.push(*id)?;
    }
    text += &stream.finish()?;
    Ok(text)
}
