//! Which device holds which layers of a model, by what each range takes.

mod options;
mod refusal;
mod row;

use super::blueprint::Blueprint;
use super::estimate::{Estimate, Headers, Situation};
use crate::engine::options::ShardSpec;
use crate::error::Result;
use crate::plan::{self, Device, Stage, Table};
use crate::source::{self, SourceOptions};
use crate::weights::Catalogue;
use options::devices;
pub use options::{PlanDevice, PlanOptions, PlanStage};
use refusal::refusal;
use row::{Row, needed};

/// The most tokens that a context has if none is given.
const USUAL_CONTEXT: usize = 4096;

/// Cuts the layers of `spec` among the devices of `options`; `sources` are offline.
pub(crate) fn plan(
    engine: &Situation,
    sources: &SourceOptions,
    spec: &ShardSpec,
    options: &PlanOptions,
) -> Result<Vec<PlanStage>> {
    let devices = devices(options)?;
    let files = source::open(&spec.model, spec.revision.as_deref(), sources)?;
    let mut catalogue = Catalogue::here(&*files)?;
    let whole = Blueprint::read_here(&*files, spec, catalogue.as_mut())?;
    let context = match options.context {
        0 => whole.config.max_positions.min(USUAL_CONTEXT) as u32,
        context => context,
    };
    let headers = Headers::new(&*files, catalogue.as_ref());
    let mut row = Row::new(engine, headers, catalogue.as_ref(), whole, context, options.requests);
    let mut table = row.table(devices.len())?;
    loop {
        let Some(stages) = plan::solve(&table, &devices, options.keep_order) else {
            return Err(refusal(&mut row, &table, &devices, &spec.model, options)?);
        };
        let mut estimates = Vec::with_capacity(stages.len());
        for stage in &stages {
            let estimate = row.estimate(stage.from, stage.to)?;
            let (needed, room) = (needed(&estimate), devices[stage.device].room);
            if needed > room {
                table.raise(stage.from, stage.to, needed);
            }
            estimates.push((needed <= room).then_some(estimate));
        }
        // What the table says of long ranges is put together from short ones. Where that is too little, it is corrected.
        if let Some(estimates) = estimates.into_iter().collect::<Option<Vec<_>>>() {
            return Ok(described(&row, &table, &devices, &stages, &estimates));
        }
    }
}

fn described(row: &Row, table: &Table, devices: &[Device], stages: &[Stage], estimates: &[Estimate]) -> Vec<PlanStage> {
    let describe = |(index, (stage, estimate)): (usize, (&Stage, &Estimate))| {
        let ((first, last), device) = (row.layers(stage.from, stage.to), &devices[stage.device]);
        PlanStage {
            device: stage.device as u32,
            first_layer: first as u32,
            last_layer: last as u32,
            estimate: *estimate,
            needed_bytes: needed(estimate),
            room_bytes: device.room,
            seconds: table.seconds(stage.from, stage.to, device),
            hop_seconds: if index + 1 < stages.len() { device.hop } else { 0.0 },
        }
    };
    stages.iter().zip(estimates).enumerate().map(describe).collect()
}
