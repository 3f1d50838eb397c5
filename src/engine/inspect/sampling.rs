//! How a model's publisher wants its tokens chosen: `generation_config.json`.

use serde_json::{Map, Value};

use crate::error::{ErrorKind, Result, bail};
use crate::json;
use crate::sampler::{Bias, SamplerOptions};
use crate::source::{ModelFiles, OnTransfer, names};

/// Bytes that the file may have.
const LIMIT: u64 = 16 << 20;

/// What transformers' `generate` takes where neither the file nor its caller says anything.
const TOP_K: usize = 50;

/// Keys that change which tokens `generate` chooses in ways that this library does not know, unless they have one of the
/// values that change nothing.
const OTHER_WAYS: &[(&str, &[f64])] = &[
    ("begin_suppress_tokens", &[]),
    ("constraints", &[]),
    ("diversity_penalty", &[0.0]),
    ("dola_layers", &[]),
    ("epsilon_cutoff", &[0.0]),
    ("eta_cutoff", &[0.0]),
    ("exponential_decay_length_penalty", &[]),
    ("force_words_ids", &[]),
    ("forced_bos_token_id", &[]),
    ("forced_eos_token_id", &[]),
    ("guidance_scale", &[1.0]),
    ("min_length", &[0.0]),
    ("num_beam_groups", &[1.0]),
    ("num_beams", &[1.0]),
    ("penalty_alpha", &[0.0]),
    ("top_h", &[]),
    ("watermarking_config", &[]),
];

/// The options that the model's `generation_config.json` asks for, as transformers' `generate` reads it: without `do_sample`
/// the largest logit is taken.
///
/// A file that is no JSON is left out, with a warning, as transformers does it.
pub(crate) fn published_sampling(files: &dyn ModelFiles, on: &mut OnTransfer<'_>) -> Result<SamplerOptions> {
    let label = format!("{} of {}", names::GENERATION, files.describe());
    let root = match files.read(names::GENERATION, LIMIT, on)?.map(|bytes| json::parse(&bytes, &label)).transpose() {
        Ok(Some(Value::Object(root))) => root,
        Ok(None) => Map::new(),
        Ok(Some(_)) => bail!(Malformed, "{label} is not a JSON object"),
        Err(error) if error.kind() == ErrorKind::Malformed => {
            log::warn!("{}: the file is left out", error.chain());
            Map::new()
        }
        Err(error) => return Err(error),
    };
    let options = Keys { label, root }.options()?;
    options.check().map_err(|error| error.within(format!("{} of {}", names::GENERATION, files.describe())))?;
    Ok(options)
}

/// The keys of the file.
struct Keys {
    label: String,
    root: Map<String, Value>,
}

impl Keys {
    fn options(&self) -> Result<SamplerOptions> {
        for (key, neutral) in OTHER_WAYS {
            let changes = self.get(key).is_some_and(|value| {
                let empty = value.as_array().is_some_and(Vec::is_empty);
                !empty && value.as_f64().is_none_or(|number| !neutral.contains(&number))
            });
            if changes {
                bail!(Unsupported, "{}: {key} is a way to choose tokens that this library does not know", self.label);
            }
        }
        let samples = match self.get("do_sample") {
            None => false,
            Some(Value::Bool(samples)) => *samples,
            Some(_) => return self.wrong("do_sample", "true or false"),
        };
        let temperature = if samples { self.number("temperature")?.unwrap_or(1.0) } else { 0.0 };
        if samples && temperature == 0.0 {
            return self.wrong("temperature", "above 0, though do_sample is true");
        }
        let mut options = SamplerOptions {
            temperature,
            top_k: self.count("top_k")?.unwrap_or(TOP_K),
            top_p: self.number("top_p")?.unwrap_or(0.0),
            min_p: self.number("min_p")?.unwrap_or(0.0),
            typical_p: self.number("typical_p")?.unwrap_or(0.0),
            repetition_penalty: self.number("repetition_penalty")?.unwrap_or(0.0),
            no_repeat_ngram: self.count("no_repeat_ngram_size")?.unwrap_or(0),
            min_new_tokens: self.count("min_new_tokens")?.unwrap_or(0),
            banned: self.ids("suppress_tokens")?,
            eos: self.ids("eos_token_id")?,
            ..SamplerOptions::default()
        };
        for value in self.list("bad_words_ids")? {
            let Some(ids) = ids(value) else { return self.wrong("bad_words_ids", "a list of lists of token ids") };
            // As transformers: a text must be able to end.
            if !matches!(ids[..], [id] if options.eos.contains(&id)) {
                options.biases.push(Bias { ids, bias: f32::NEG_INFINITY });
            }
        }
        for value in self.list("sequence_bias")? {
            let pair = value.as_array().and_then(|pair| Some((ids(pair.first()?)?, pair.get(1)?.as_f64()?)));
            let Some((ids, bias)) = pair else { return self.wrong("sequence_bias", "a list of token ids and biases") };
            options.biases.push(Bias { ids, bias: bias as f32 });
        }
        Ok(options)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.root.get(key).filter(|value| !value.is_null())
    }

    fn number(&self, key: &str) -> Result<Option<f32>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number as f32)),
                None => self.wrong(key, "a number"),
            },
        }
    }

    fn count(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
                Some(count) => Ok(Some(count)),
                None => self.wrong(key, "a whole number"),
            },
        }
    }

    fn list(&self, key: &str) -> Result<&[Value]> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => self.wrong(key, "a list"),
        }
    }

    /// A token id, or a list of them.
    fn ids(&self, key: &str) -> Result<Vec<u32>> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(value) => {
                let list = if value.is_array() { ids(value) } else { ids(&Value::Array(vec![value.clone()])) };
                list.map_or_else(|| self.wrong(key, "a token id or a list of them"), Ok)
            }
        }
    }

    fn wrong<T>(&self, key: &str, wanted: &str) -> Result<T> {
        bail!(Malformed, "{}: {key} is not {wanted}", self.label)
    }
}

/// The token ids of a list.
fn ids(list: &Value) -> Option<Vec<u32>> {
    list.as_array()?.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}
