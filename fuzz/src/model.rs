//! A copy of a tiny model of which one file is the fuzzer's, and an engine that holds the unharmed model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ortshard::{Engine, EngineOptions, Input, Logits, Request, RequestOptions, Shard, ShardSpec};

use super::{repository, scratch, sound};

/// Tokens that every shard is tried with.
const PROMPT: [i64; 3] = [1, 7, 42];

pub(crate) struct Suspect {
    folder: PathBuf,
    engine: Engine,
    good: ShardSpec,
    answer: Vec<u32>,
}

impl Suspect {
    /// A copy of tests/models/`model` for the target `name`.
    pub(crate) fn new(name: &str, model: &str) -> Self {
        let (folder, original) = (scratch(name), repository("tests/models").join(model));
        for entry in std::fs::read_dir(&original).unwrap() {
            let entry = entry.unwrap();
            if !entry.file_name().to_str().unwrap().starts_with("golden") {
                std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let good = ShardSpec::layers(original.to_str().unwrap(), 0, ShardSpec::LAST);
        let answer = answer(&engine.ensure_shard(&good, None).unwrap());
        Self { folder, engine, good, answer }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Looks at the model in every way there is and, if that says it can be loaded, loads and runs it.
    ///
    /// `content` becomes the file `name` of the model.
    pub(crate) fn examine(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.join(name), content).unwrap();
        let whole = ShardSpec::layers(self.folder.to_str().unwrap(), 0, ShardSpec::LAST);
        let end = ShardSpec { first_layer: 1, ..whole.clone() };
        let before = self.engine.current_shard().unwrap();

        let described = sound(ortshard::ModelInfo::read(&self.folder));
        for spec in [&whole, &end] {
            sound(self.engine.audit_files(spec));
            sound(self.engine.estimate(spec, 16, 2));
        }
        match sound(self.engine.ensure_shard(&whole, None)) {
            Some(shard) => {
                assert_eq!(described.unwrap().hidden_size, shard.info().hidden_size);
                answer(&shard);
                drop(shard);
                self.engine.ensure_shard(&self.good, None).unwrap();
            }
            None => assert!(Arc::ptr_eq(&before, &self.engine.current_shard().unwrap())),
        }
        assert_eq!(answer(&self.engine.current_shard().unwrap()), self.answer);
    }
}

/// The bits of the last logits after [`PROMPT`]; nothing if the shard refuses it.
fn answer(shard: &Arc<Shard>) -> Vec<u32> {
    let options = RequestOptions { capacity: PROMPT.len() as u32, ..RequestOptions::default() };
    let Some(mut request) = sound(Request::new(shard, options)) else { return Vec::new() };
    match sound(request.infer(Input::Ids(&PROMPT), Logits::Last)) {
        Some(output) => output.values().iter().map(|value| value.to_bits()).collect(),
        None => Vec::new(),
    }
}
