//! The least sum of a limit and of the hops that plans under it need.

use super::solver::Solver;
use super::table::{Device, Table};

/// The limit in seconds of which it and its hops are least; `None` if no plan fits.
pub(super) fn least(table: &Table, devices: &[Device], solver: &mut dyn Solver) -> Option<f64> {
    let fewest = solver.hops(f64::INFINITY)?;
    let limits = limits(table, devices);
    let last = limits.len().checked_sub(1)?;
    let mut best = Best { seconds: limits[last] + fewest, index: last };
    // Below the first limit that a plan keeps there is none.
    let (mut first, mut least, mut end) = (0, fewest, last);
    while first < end {
        let middle = usize::midpoint(first, end);
        match solver.hops(limits[middle]) {
            Some(hops) => {
                best.take(limits[middle] + hops, middle);
                (least, end) = (hops, middle);
            }
            None => first = middle + 1,
        }
    }
    let mut left = vec![((first, least), (last, fewest))];
    while let Some((low, high)) = left.pop() {
        // Between two limits with the same hops the lower one is best.
        if low.1 <= high.1 || high.0 - low.0 < 2 || limits[low.0 + 1] + high.1 >= best.seconds {
            continue;
        }
        let middle = usize::midpoint(low.0, high.0);
        let Some(hops) = solver.hops(limits[middle]) else { continue };
        best.take(limits[middle] + hops, middle);
        left.extend([((middle, hops), high), (low, (middle, hops))]);
    }
    Some(limits[best.index])
}

struct Best {
    seconds: f64,
    index: usize,
}

impl Best {
    fn take(&mut self, seconds: f64, index: usize) {
        if seconds < self.seconds || (seconds <= self.seconds && index < self.index) {
            *self = Self { seconds, index };
        }
    }
}

/// What stages can take, in rising order.
fn limits(table: &Table, devices: &[Device]) -> Vec<f64> {
    let mut kinds: Vec<&Device> = Vec::new();
    for device in devices {
        if !kinds.iter().any(|kind| kind.bandwidth.to_bits() == device.bandwidth.to_bits() && kind.room >= device.room)
        {
            kinds.push(device);
        }
    }
    // All devices together read no faster, and no unit is faster than on the fastest.
    let fastest = devices.iter().map(|device| device.bandwidth).fold(0.0, f64::max);
    let together = table.read(0, table.units()) as f64 / devices.iter().map(|device| device.bandwidth).sum::<f64>();
    let largest = (0..table.units()).map(|unit| table.read(unit, unit + 1)).max().unwrap_or(0) as f64 / fastest;
    // The sum is rounded.
    let least = (together * (1.0 - 1e-9)).max(largest);
    let mut limits = Vec::new();
    for device in kinds {
        for from in 0..table.units() {
            for to in from + 1..=table.units() {
                let seconds = table.seconds(from, to, device);
                if seconds >= least && table.need(from, to) <= device.room {
                    limits.push(seconds);
                }
            }
        }
    }
    limits.sort_unstable_by(f64::total_cmp);
    limits.dedup();
    limits
}
