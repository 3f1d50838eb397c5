//! Which device holds which layers: cuts a row of units, the shortest ranges that a model may be cut into, among devices.
//!
//! A plan costs the seconds of its slowest stage plus the hops between its stages: the first is what a pipeline with enough requests
//! in flight takes for a step, the second what one request waits for besides. [`solve`] finds the least of all cuts, orders and
//! choices of devices, and is proved as follows.
//!
//! 1. The seconds of the slowest stage are one of the finitely many numbers "the bytes of this range on this device". For a given
//!    limit among these, [`subsets`] and [`ordered`] find the least hops. A higher limit never needs more hops, so that [`search`] may
//!    leave out every part of the limits in which the least one plus the hops of the highest is no better than what it has.
//! 2. Under a limit, and with no device that must be used, more is never worse: what begins later takes less memory and time
//!    ([`Table::new`] sees to it), so that whoever can finish from a unit can finish from every later one. So of a set of devices only
//!    the farthest unit matters that it reaches in any order: the farthest from what it reaches without one of them. That is dynamic
//!    programming over subsets as Held and Karp have it (1962); devices that are alike count as one kind, which leaves as many subsets
//!    as there are counts of each kind.
//! 3. The hops of a plan are those of its devices but the last, whatever their order. So a hop belongs to the device that sends, not
//!    to a pair of devices: with pairs the order of devices would be a travelling salesman's.
//! 4. A device that must be used has to hold something, and then less may be better. If the plan without that demand leaves one out,
//!    the set of all units that can be reached takes the farthest one's place, which is slower and no less exact.
//!
//! There may be too many subsets ([`MOST_SUBSETS`]). Then only some orders of the devices are tried, the best plan of each.

mod ordered;
mod search;
mod solver;
mod subsets;
mod table;
#[cfg(test)]
mod tests;

use ordered::Ordered;
use solver::Solver;
use subsets::Subsets;
use table::Reach;
pub(crate) use table::{Device, Stage, Table};

/// Subsets of devices that are looked at: those of 16 devices of which no two are alike.
const MOST_SUBSETS: usize = 1 << 16;

/// The best plan for the units of `table` on `devices`, which there are some of; `None` if none fits. With `keep_order` the stages are
/// in the order of the devices.
pub(crate) fn solve(table: &Table, devices: &[Device], keep_order: bool) -> Option<Vec<Stage>> {
    let solvers = solvers(table, devices, keep_order, false);
    let plans = solvers.into_iter().filter_map(|solver| plan(table, devices, solver));
    let best = plans.min_by(|a, b| cost(table, devices, a).total_cmp(&cost(table, devices, b)))?;
    let is_used = |index: usize| best.iter().any(|stage| stage.device == index);
    if devices.iter().enumerate().all(|(index, device)| !device.required || is_used(index)) {
        return Some(best);
    }
    let solvers = self::solvers(table, devices, keep_order, true);
    let plans = solvers.into_iter().filter_map(|solver| plan(table, devices, solver));
    plans.min_by(|a, b| cost(table, devices, a).total_cmp(&cost(table, devices, b)))
}

/// How many units fit at most, from the first on, with any of the devices left out.
pub(crate) fn longest(table: &Table, devices: &[Device], keep_order: bool) -> usize {
    let fits = |units: usize| {
        let reads: Vec<u64> = (0..units).map(|unit| table.read(unit, unit + 1)).collect();
        let part = Table::new(&reads, |from, to| table.need(from, to));
        solvers(&part, devices, keep_order, false).iter_mut().any(|solver| solver.hops(f64::INFINITY).is_some())
    };
    let (mut least, mut most) = (0, table.units());
    while least < most {
        let middle = usize::midpoint(least + 1, most);
        if fits(middle) { least = middle } else { most = middle - 1 }
    }
    least
}

/// What finds plans: one that is exact or, where there are too many subsets, some orders of the devices. With `demands` those that must
/// be used are.
fn solvers<'t>(table: &'t Table, devices: &'t [Device], keep_order: bool, demands: bool) -> Vec<Box<dyn Solver + 't>> {
    let given: Vec<usize> = (0..devices.len()).collect();
    let subsets = Subsets::new(table, devices, demands);
    if !keep_order && subsets.count() <= MOST_SUBSETS {
        return vec![Box::new(subsets)];
    }
    let by = |key: &dyn Fn(&Device) -> f64| {
        let mut order = given.clone();
        order.sort_by(|a, b| key(&devices[*b]).total_cmp(&key(&devices[*a])));
        order
    };
    let mut orders = vec![given.clone()];
    if !keep_order {
        orders.extend([by(&|device| device.bandwidth), by(&|device| device.room as f64), by(&|device| -device.hop)]);
        orders.extend(orders.clone().into_iter().map(|order| order.into_iter().rev().collect()));
    }
    orders.into_iter().map(|order| Box::new(Ordered::new(table, devices, order, demands)) as Box<dyn Solver>).collect()
}

/// Seconds of the slowest stage, and of all hops.
fn cost(table: &Table, devices: &[Device], stages: &[Stage]) -> f64 {
    let slowest =
        |slowest: f64, stage: &Stage| slowest.max(table.seconds(stage.from, stage.to, &devices[stage.device]));
    let sending = &stages[..stages.len().saturating_sub(1)];
    stages.iter().fold(0.0, slowest) + sending.iter().map(|stage| devices[stage.device].hop).sum::<f64>()
}

fn plan(table: &Table, devices: &[Device], mut solver: Box<dyn Solver + '_>) -> Option<Vec<Stage>> {
    let limit = search::least(table, devices, &mut *solver)?;
    let order = solver.devices(limit);
    levelled(table, devices, &order, limit)
}

/// The cut among devices in this order, of all with no stage slower than `limit`, whose fullest device is filled least.
fn levelled(table: &Table, devices: &[Device], order: &[usize], limit: f64) -> Option<Vec<Stage>> {
    // For each number of devices, and each place: how full the fullest is, and where the last one begins.
    let mut best = vec![vec![(f64::INFINITY, 0); table.units() + 1]; order.len() + 1];
    best[0][0].0 = 0.0;
    for (index, device) in order.iter().enumerate() {
        let device = &devices[*device];
        let reach = Reach::new(table, device, limit);
        for from in 0..table.units() {
            let before = best[index][from].0;
            if before.is_infinite() {
                continue;
            }
            for to in reach.ends(from) {
                let fill = before.max(table.need(from, to) as f64 / device.room.max(1) as f64);
                if fill < best[index + 1][to].0 {
                    best[index + 1][to] = (fill, from);
                }
            }
        }
    }
    let (mut stages, mut to) = (Vec::new(), table.units());
    for (index, device) in order.iter().enumerate().rev() {
        let (fill, from) = best[index + 1][to];
        if fill.is_infinite() {
            return None;
        }
        stages.push(Stage { device: *device, from, to });
        to = from;
    }
    stages.reverse();
    Some(stages)
}
