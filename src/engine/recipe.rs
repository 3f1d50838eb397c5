//! What a shard is made of, and how it is made.

use std::path::Path;
use std::sync::Arc;

use super::inspect::{Blueprint, range};
use super::load::{Checkpoint, ModelPlace, Packer, Report, Stage, Stamps};
use super::memory::{Budget, Reservation};
use super::options::{EngineOptions, ShardSpec, Target};
use super::session::Session;
use crate::error::{Result, Site};
use crate::weights::WeightTable;

/// What a shard is made of: read and checked, but nothing taken for it yet.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub place: ModelPlace,
    pub spec: ShardSpec,
    /// Whether the weights are the model's own, not a checkpoint's.
    is_own: bool,
    /// The model's files as they were when they were read.
    stamps: Stamps,
    pub blueprint: Blueprint,
    pub source: Checkpoint,
    pub packer: Packer,
    pub target: Target,
}

/// The parts of a shard that take memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub session: Session,
    pub weights: Arc<WeightTable>,
    memory: Reservation,
}

impl Recipe {
    /// The recipe of the layers that `spec` names of the model at `place`, with the model's own weights or those of `checkpoint`.
    pub(crate) fn new(
        place: &ModelPlace,
        spec: &ShardSpec,
        checkpoint: Option<&Path>,
        options: &EngineOptions,
        target: Target,
        report: &mut Report,
    ) -> Result<Self> {
        report.stage(Stage::Inspect)?;
        let files = place.open(&options.source)?;
        let blueprint = Blueprint::read(&*files, spec, &mut |_| report.waiting())?;
        report.stage(Stage::Fetch)?;
        let mut source = match checkpoint {
            None => Checkpoint::of(files, report)?,
            Some(path) => Checkpoint::at(path, report)?,
        };
        let blueprint = blueprint.corrected_by(source.catalogue());
        let wanted = blueprint.graph.weights();
        source.catalogue().tell_unused(&wanted);
        let is_own = checkpoint.is_none();
        let stamps = match place {
            ModelPlace::Folder(folder) if is_own => source.stamps(folder, &wanted)?,
            _ => Stamps::default(),
        };
        let packer = Packer::new(options, &place.name(), blueprint.range);
        let (place, spec) = (place.clone(), spec.clone());
        Ok(Self { place, spec, is_own, stamps, blueprint, source, packer, target })
    }

    /// Whether it is for what `spec` names, whose model is at `place`: for those layers, with the model's own weights as they lie
    /// there now.
    pub(crate) fn is_for(&self, place: &ModelPlace, spec: &ShardSpec) -> bool {
        let Blueprint { config, range: own, .. } = &self.blueprint;
        let same_range = || range(spec, config).is_ok_and(|range| range == *own);
        self.is_own && self.place == *place && same_range() && self.stamps.are_current()
    }

    /// Maps or packs the weights, and makes the session.
    pub(crate) fn load(&self, budget: &Arc<Budget>, report: &mut Report) -> Result<Loaded> {
        let Blueprint { config, graph, .. } = &self.blueprint;
        let wanted = graph.weights();
        report.tensors(wanted.len())?;
        let exact = self.source.load(&wanted, report)?;
        let memory = budget.reserve(self.packer.bytes(&wanted, &exact), Site::Load, "the shard's weights")?;
        let weights = Arc::new(self.packer.pack(exact, &wanted, report)?);
        report.stage(Stage::Session)?;
        let session = Session::new(&self.target, &self.packer, graph, config, &weights, budget)?;
        Ok(Loaded { session, weights, memory })
    }
}

impl Loaded {
    /// Bytes taken from the budget.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes() + self.session.bytes()
    }
}
