//! What the ranges of a model's layers take, told of all of them at once.

use crate::engine::inspect::blueprint::Blueprint;
use crate::engine::inspect::estimate::{Estimate, Headers, Situation, native_kv_bytes, output_bytes};
use crate::error::Result;
use crate::kept::KeptShape;
use crate::model::may_end_at;
use crate::plan::Table;
use crate::weights::Catalogue;

/// Requests of a step whose arithmetic takes a processor as long as reading the weights. One core of Zen 4 needs 3 with weights in
/// bfloat16, 6 with eight bits and 4 with four.
const BUSY: u64 = 4;

/// The layers of a model that are to be cut, as a row of units: the shortest ranges that it may be cut into.
pub(super) struct Row<'r> {
    engine: &'r Situation<'r>,
    headers: Headers<'r>,
    catalogue: Option<&'r Catalogue>,
    whole: Blueprint,
    /// The last layer of each unit.
    ends: Vec<usize>,
    /// Tokens of each request.
    pub context: u32,
    pub requests: u32,
}

/// A range by itself.
struct Told {
    blueprint: Blueprint,
    estimate: Estimate,
    output: u64,
}

/// Bytes that a shard needs on its device: when it runs, or while it loads.
pub(super) fn needed(estimate: &Estimate) -> u64 {
    estimate.total_bytes.max(estimate.load_peak_bytes)
}

impl<'r> Row<'r> {
    pub(super) fn new(
        engine: &'r Situation<'r>,
        headers: Headers<'r>,
        catalogue: Option<&'r Catalogue>,
        whole: Blueprint,
        context: u32,
        requests: u32,
    ) -> Self {
        let (config, range) = (&whole.config, whole.range);
        let ends =
            (range.start..=range.end).filter(|layer| *layer == range.end || may_end_at(config, *layer)).collect();
        Self { engine, headers, catalogue, whole, ends, context, requests }
    }

    /// The first and the last layer of units `from..to`.
    pub(super) fn layers(&self, from: usize, to: usize) -> (usize, usize) {
        let first = from.checked_sub(1).map_or(self.whole.range.start, |before| self.ends[before] + 1);
        (first, self.ends[to - 1])
    }

    /// Whether units `from..to` have the model's embedding, and its output head.
    pub(super) fn has_ends(&self, from: usize, to: usize) -> (bool, bool) {
        let (first, last) = self.layers(from, to);
        (first == 0, last + 1 == self.whole.range.layers)
    }

    /// What units `from..to` take.
    pub(super) fn estimate(&mut self, from: usize, to: usize) -> Result<Estimate> {
        Ok(self.told(from, to)?.estimate)
    }

    fn told(&mut self, from: usize, to: usize) -> Result<Told> {
        let (first, last) = self.layers(from, to);
        let blueprint = self.whole.with_range(first, last, self.catalogue);
        let estimate = self.engine.predict(&mut self.headers, &blueprint, self.context, self.requests)?;
        let output = output_bytes(&blueprint.graph, self.context);
        Ok(Told { blueprint, estimate, output })
    }

    /// What every range takes, by what single units, pairs of neighbours and the whole take: there are thousands of ranges, and a
    /// graph of each would take seconds.
    ///
    /// - Weights: those of the first unit, and what each further one adds to the one before it. So what neighbours share counts once;
    ///   a tied embedding, which the two ends share, is in the whole alone.
    /// - KV caches likewise, but where layers have recurrent states: there a shard also keeps its input once.
    /// - A run: that of the pair that takes most, and the output of the last unit.
    ///
    /// A step serves one of as many groups of requests as there are `devices`. It reads the weights that one token does, or counts as if
    /// it did so several times where arithmetic takes longer, and what each of its requests keeps.
    pub(super) fn table(&mut self, devices: usize) -> Result<Table> {
        let units = self.ends.len();
        let singles = (0..units).map(|unit| self.told(unit, unit + 1)).collect::<Result<Vec<_>>>()?;
        let pairs = (1..units).map(|unit| self.told(unit - 1, unit + 1)).collect::<Result<Vec<_>>>()?;
        let whole = self.estimate(0, units)?;
        // What each unit adds to the one before it.
        let added = |bytes: &dyn Fn(&Estimate) -> u64| -> Vec<i128> {
            let own = |told: &Told| i128::from(bytes(&told.estimate));
            let mut sums = vec![0];
            for (pair, single) in pairs.iter().zip(&singles) {
                sums.push(sums[sums.len() - 1] + own(pair) - own(single));
            }
            sums
        };
        let weights = added(&|estimate| estimate.weight_bytes);
        let caches = added(&|estimate| estimate.kv_bytes);
        let peaks = added(&|estimate| estimate.load_peak_bytes);
        let sum = |first: u64, sums: &[i128], from: usize, to: usize| {
            u64::try_from(i128::from(first) + sums[to - 1] - sums[from]).unwrap_or(u64::MAX)
        };
        let rows = self.engine.options.kv_type.rows();
        let kept: Vec<KeptShape> = singles.iter().map(|told| KeptShape::new(&told.blueprint.graph, rows)).collect();
        let with_states = !self.engine.target.stock() && kept.iter().any(KeptShape::has_states);
        let cache = |from: usize, to: usize| {
            if !with_states {
                return sum(singles[from].estimate.kv_bytes, &caches, from, to);
            }
            let layers = kept[from..to].iter().flat_map(|kept| kept.layers.iter().copied()).collect();
            native_kv_bytes(&KeptShape { layers, rows }, &singles[from].blueprint.graph, self.context, self.requests)
        };
        let activations = |told: &Told| told.estimate.run_bytes - told.output;
        let (group, context) = ((self.requests as usize).div_ceil(devices) as u64, self.context as usize);
        // Weights count once for each BUSY of these.
        let computed = if self.engine.target.stock() { BUSY } else { group.max(BUSY) };
        let reads = |(told, kept): (&Told, &KeptShape)| {
            let weights = told.estimate.token_bytes.saturating_mul(computed) / BUSY;
            weights.saturating_add(kept.read_bytes(context).saturating_mul(group))
        };
        let reads: Vec<u64> = singles.iter().zip(&kept).map(reads).collect();
        let mut run = 0;
        Ok(Table::new(&reads, |from, to| {
            // Ranges come with rising ends.
            if to == from + 1 {
                run = activations(&singles[from]);
            } else {
                run = run.max(activations(&pairs[to - 2]));
            }
            match to - from {
                1 => needed(&singles[from].estimate),
                2 => needed(&pairs[from].estimate),
                _ if (from, to) == (0, units) => needed(&whole),
                _ => {
                    let own = &singles[from].estimate;
                    let weights = sum(own.weight_bytes, &weights, from, to);
                    let total = weights.saturating_add(cache(from, to)).saturating_add(run + singles[to - 1].output);
                    total.max(sum(own.load_peak_bytes, &peaks, from, to))
                }
            }
        }))
    }
}
