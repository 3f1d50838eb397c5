//! Which tensors a checkpoint holds, in which file, and under which name: found once, then used wherever one is asked for.
//!
//! The rule is that of transformers 5.24 (`_get_resolved_checkpoint_files` in `modeling_utils.py`), for a folder and
//! for a model of the hub. The first of these that is there counts:
//!
//! 1. the safetensors file or index that config.json names as `transformers_weights`;
//! 2. model.safetensors, even beside an index, which is then a left-over;
//! 3. the files that model.safetensors.index.json names, `./` in front of a name or not.
//!
//! Of an index only `weight_map` is read. It names one file for each tensor, and a shard touches no other files.
//! transformers reads all files. Where it would take a tensor from another file than the index says, and a shard has
//! mapped both, [`load`](super::load) refuses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::checkpoint::{Event, Header, OnEvent, header};
use super::mapping::{Identity, Mapping};
use super::naming::{self, Kind};
use crate::error::{Error, Result, bail, err};
use crate::graph::Weight;
use crate::json;
use crate::source::{FileState, ModelFiles, names, plain_name, shown};

/// An index of a checkpoint with 10,000 tensors is under 1 MB.
const INDEX_LIMIT: u64 = 64 << 20;
/// A config.json is a few kilobytes.
const CONFIG_LIMIT: u64 = 4 << 20;

/// The file that describes an adapter, which transformers applies if peft is installed.
const ADAPTER: &str = "adapter_config.json";

/// How tensors end that older programs stored, and that config.json implies: frequencies of the rotation, and masks of GPT-NeoX.
const COMPUTED: [&str; 3] = ["rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias"];

/// The file that holds a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorPlace {
    /// Many tensors share it.
    pub file: Arc<str>,
    /// The tensor's name in the file.
    pub name: String,
}

/// The tensors of a checkpoint, by the names that graphs use.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    places: HashMap<String, TensorPlace>,
    /// The file that says which tensors there are: the index, or the one file that holds them all.
    origin: String,
    /// A tensor with a name that no graph uses, for messages.
    stranger: Option<String>,
    /// The header of the one file that holds all tensors, if it is to be read again at once.
    header: Option<(Identity, Header)>,
}

/// The file that says which tensors there are.
enum Origin {
    /// The one file that holds them, by its header.
    File(String),
    /// An index, and its map.
    Index(String, Map<String, Value>),
}

impl Catalogue {
    /// The tensors of `model`, or of its one file `file`. Fetches the file that says which tensors there are: the
    /// index, or the file that holds them all.
    pub(crate) fn read(model: &dyn ModelFiles, file: Option<&str>, on: &mut OnEvent<'_>) -> Result<Self> {
        let origin = match file {
            Some(file) => Origin::File(file.to_owned()),
            None => origin(model, &mut |name, on| model.has(name, &mut |_| on(Event::Waiting)), on)?,
        };
        Self::of(model, origin, on)
    }

    /// As [`read`](Self::read), from the files that are on this machine; fetches no weights.
    pub(crate) fn here(model: &dyn ModelFiles) -> Result<Option<Self>> {
        let here = |name: &str| Ok(matches!(model.audit(name)?, FileState::Present { .. }));
        match origin(model, &mut |name, _| here(name), &mut |_| Ok(()))? {
            Origin::File(file) if !here(&file)? => Ok(None),
            Origin::File(file) => {
                let mapping = Mapping::new(&model.open(&file, &mut |_| Ok(()))?, &file)?;
                let header = header(&file, &mapping)?;
                let mut catalogue = Self::of_file(&file, &header);
                catalogue.header = Some((mapping.identity(), header));
                Ok(Some(catalogue))
            }
            origin @ Origin::Index(..) => Self::of(model, origin, &mut |_| Ok(())).map(Some),
        }
    }

    /// The header of `file`, which is mapped: as it was read for the catalogue, if the file has not changed since.
    pub(super) fn header(&self, file: &str, mapping: &Mapping) -> Result<Header> {
        match &self.header {
            Some((identity, header)) if *identity == mapping.identity() && self.origin == file => Ok(header.clone()),
            _ => header(file, mapping),
        }
    }

    fn of_file(file: &str, header: &Header) -> Self {
        let shared: Arc<str> = file.into();
        let names = header.metadata.offset_keys().into_iter();
        Self::new(file.to_owned(), names.map(|name| TensorPlace { file: Arc::clone(&shared), name }).collect())
    }

    fn of(model: &dyn ModelFiles, origin: Origin, on: &mut OnEvent<'_>) -> Result<Self> {
        match origin {
            Origin::File(file) => {
                model.require_all(&[&file], &mut |now| on(Event::Fetched(now)))?;
                let mapping = Mapping::new(&model.open(&file, &mut |_| Ok(()))?, &file)?;
                Ok(Self::of_file(&file, &header(&file, &mapping)?))
            }
            Origin::Index(index, map) => {
                let entry = |(name, file): (String, Value)| match file {
                    Value::String(file) => Ok(TensorPlace { file: plain_name(&file).into(), name }),
                    _ => bail!(Malformed, "{index}: weight_map.{} is not a file name", shown(&name)),
                };
                let entries = map.into_iter().map(entry).collect::<Result<_>>()?;
                Ok(Self::new(index, entries))
            }
        }
    }

    fn new(origin: String, mut entries: Vec<TensorPlace>) -> Self {
        // If two names mean one tensor, the one that sorts first counts.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let mut catalogue = Self { origin, ..Self::default() };
        let mut nested = Vec::new();
        for place in entries {
            match naming::standard(&place.name) {
                Some((Kind::Own, name)) => catalogue.add(name, place),
                Some((Kind::Nested, name)) => nested.push((name, place)),
                None => catalogue.stranger = catalogue.stranger.take().or(Some(place.name)),
            }
        }
        // A model with a text part may have its output head outside of that part.
        if catalogue.places.keys().all(|name| name.starts_with("lm_head.")) {
            for (name, place) in nested {
                catalogue.add(name, place);
            }
        }
        catalogue
    }

    fn add(&mut self, name: String, place: TensorPlace) {
        match self.places.get(&name) {
            Some(first) => log::warn!(
                "{}: `{name}` is there twice, as `{}` and `{}`; the first counts, as in transformers",
                self.origin,
                shown(&first.name),
                shown(&place.name)
            ),
            None => drop(self.places.insert(name, place)),
        }
    }

    /// Whether the tensor `name` is there.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Whether a tensor is there whose name ends so.
    pub(crate) fn holds_any(&self, end: &str) -> bool {
        self.places.keys().any(|name| name.ends_with(end))
    }

    /// Makes `name` another name of the tensor `other`.
    pub(crate) fn alias(&mut self, name: &str, other: &str) {
        if let Some(place) = self.places.get(other) {
            self.places.insert(name.to_owned(), place.clone());
        }
    }

    /// Whether both names are those of one tensor.
    pub(crate) fn are_one(&self, name: &str, other: &str) -> bool {
        self.places.get(name) == self.places.get(other)
    }

    /// The index that was read, if there is one.
    pub(crate) fn index(&self) -> Option<&str> {
        is_index(&self.origin).then_some(&self.origin)
    }

    /// The files that hold `wanted`.
    pub(crate) fn files(&self, wanted: &[&Weight]) -> Result<BTreeSet<&str>> {
        Ok(self.by_file(wanted)?.into_keys().collect())
    }

    /// For each file that holds tensors of `wanted`: which tensors, and under which names.
    pub(super) fn by_file<'a, 'b>(
        &'a self,
        wanted: &[&'b Weight],
    ) -> Result<BTreeMap<&'a str, Vec<(&'b Weight, &'a str)>>> {
        let mut files: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for weight in wanted {
            let place = self.places.get(weight.tensor()).ok_or_else(|| self.missing(weight.tensor()))?;
            files.entry(&place.file).or_default().push((*weight, place.name.as_str()));
        }
        Ok(files)
    }

    /// Logs which tensors of the layers of `wanted` are not used, as transformers does.
    pub(crate) fn tell_unused(&self, wanted: &[&Weight]) {
        let module = |name: &str| name.splitn(4, '.').take(3).collect::<Vec<_>>().join(".");
        let modules: BTreeSet<String> = wanted.iter().map(|weight| module(weight.tensor())).collect();
        let used: BTreeSet<&str> = wanted.iter().map(|weight| weight.tensor()).collect();
        let strange = |name: &&String| {
            let computed = COMPUTED.iter().any(|end| name.ends_with(end));
            !used.contains(name.as_str()) && modules.contains(&module(name)) && !computed
        };
        let unused: BTreeSet<&String> = self.places.keys().filter(strange).collect();
        if let Some(first) = unused.first() {
            let (count, origin) = (unused.len(), &self.origin);
            log::warn!(
                "{count} tensors of {origin} are not used, since config.json has no place for them: {}, ...",
                shown(first)
            );
        }
    }

    fn missing(&self, name: &str) -> Error {
        let module = name.strip_suffix("weight").unwrap_or(name);
        let beside = self
            .places
            .keys()
            .filter(|other| other.strip_prefix(module).is_some_and(|rest| !rest.ends_with("bias")))
            .min();
        let hint = match (beside, &self.stranger) {
            (Some(fours), _) if fours.ends_with("_blocks") => {
                format!("; there is `{}`, which is read where quantization_config says mxfp4", shown(fours))
            }
            (Some(beside), _) => {
                format!(
                    "; there is `{}`: quantised weights and adapters are not read, use the model they were made from",
                    shown(beside)
                )
            }
            (None, _) if name == "lm_head.weight" => {
                "; config.json does not tie it to the embedding (tie_word_embeddings)".to_owned()
            }
            (None, Some(stranger)) if self.places.is_empty() => {
                format!(
                    "; its names are of another kind, such as `{}`: save the model with transformers",
                    shown(stranger)
                )
            }
            _ => String::new(),
        };
        err!(NotFound, "tensor `{name}` is missing from {}{hint}", self.origin)
    }
}

fn is_index(name: &str) -> bool {
    name.ends_with(".safetensors.index.json")
}

/// The file that says which tensors `model` has. `has` tells whether the model has a file.
fn origin(
    model: &dyn ModelFiles,
    has: &mut dyn FnMut(&str, &mut OnEvent<'_>) -> Result<bool>,
    on: &mut OnEvent<'_>,
) -> Result<Origin> {
    if matches!(model.audit(ADAPTER)?, FileState::Present { .. }) {
        log::warn!("{ADAPTER} is beside the weights; that adapter is not applied: merge it with peft if it should be");
    }
    if let Some(named) = named_weights(model, on)? {
        if !has(&named, on)? {
            let place = format_args!("{}: {WEIGHTS_KEY} is {}", names::CONFIG, shown(&named));
            return Err(model.missing(&[&named]).within(place));
        }
        if !is_index(&named) {
            return Ok(Origin::File(named));
        }
        let content = model.read_required(&named, INDEX_LIMIT, &mut |_| on(Event::Waiting))?;
        return weight_map(&content, &named).map(|map| Origin::Index(named, map));
    }
    let index = model.read(names::INDEX, INDEX_LIMIT, &mut |_| on(Event::Waiting))?;
    match index {
        None => Ok(Origin::File(names::WEIGHTS.into())),
        Some(_) if has(names::WEIGHTS, on)? => {
            log::warn!("{} and {} are both there; the first counts, as in transformers", names::WEIGHTS, names::INDEX);
            Ok(Origin::File(names::WEIGHTS.into()))
        }
        Some(content) => Ok(Origin::Index(names::INDEX.into(), weight_map(&content, names::INDEX)?)),
    }
}

/// The key of config.json that names the weights.
const WEIGHTS_KEY: &str = "transformers_weights";

/// The weights that config.json names. If the file is broken in another way, that is not reported here.
fn named_weights(model: &dyn ModelFiles, on: &mut OnEvent<'_>) -> Result<Option<String>> {
    let content = model.read(names::CONFIG, CONFIG_LIMIT, &mut |_| on(Event::Waiting))?;
    let config = content.and_then(|content| json::parse(&content, names::CONFIG).ok());
    match config.as_ref().and_then(|config| config.get(WEIGHTS_KEY)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.ends_with(".safetensors") || is_index(name) => Ok(Some(plain_name(name))),
        Some(other) => bail!(
            Unsupported,
            "{}: {WEIGHTS_KEY} is {}, which is neither a safetensors file nor an index of such files",
            names::CONFIG,
            shown(&other.to_string())
        ),
    }
}

/// The `weight_map` of an index: tensors to files.
fn weight_map(content: &[u8], index: &str) -> Result<Map<String, Value>> {
    match json::parse(content, index)?.as_object_mut().and_then(|json| json.remove("weight_map")) {
        Some(Value::Object(map)) => Ok(map),
        _ => bail!(Malformed, "{index}: weight_map is missing or not an object"),
    }
}
