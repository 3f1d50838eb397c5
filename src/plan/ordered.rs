//! The least hops under a limit where the devices have a fixed order: dynamic programming over devices and units.

use super::solver::Solver;
use super::table::{Device, Reach, Table};

/// Devices in an order, of which those that need not be used may be left out.
pub(super) struct Ordered<'t> {
    table: &'t Table,
    devices: &'t [Device],
    order: Vec<usize>,
    /// Whether the devices that must be used are seen to.
    demands: bool,
}

/// The least hops to a place, and the device whose stage ends there; `None`: one of those before.
type Place = (f64, Option<usize>);

const NOWHERE: Place = (f64::INFINITY, None);

impl<'t> Ordered<'t> {
    /// `devices` in this order; with `demands` those that must be used are.
    pub(super) fn new(table: &'t Table, devices: &'t [Device], order: Vec<usize>, demands: bool) -> Self {
        Self { table, devices, order, demands }
    }

    /// The least hops to each place after so many devices; the least hops of a plan, and the number of its last device.
    fn places(&self, limit: f64) -> (Vec<Vec<Place>>, f64, usize) {
        let units = self.table.units();
        let mut places = vec![vec![NOWHERE; units + 1]];
        places[0][0].0 = 0.0;
        let (mut best, mut last) = (f64::INFINITY, 0);
        let required = |index: usize| self.demands && self.devices[self.order[index]].required;
        let free_from = (0..self.order.len()).rev().find(|index| required(*index)).unwrap_or(0);
        for (index, device) in self.order.iter().enumerate() {
            let device = &self.devices[*device];
            let reach = Reach::new(self.table, device, limit);
            let before = &places[index];
            let mut after: Vec<Place> = if required(index) {
                vec![NOWHERE; units + 1]
            } else {
                before.iter().map(|(hops, _)| (*hops, None)).collect()
            };
            for (from, (hops, _)) in before.iter().enumerate().take(units).filter(|(_, (hops, _))| hops.is_finite()) {
                for to in reach.ends(from) {
                    if hops + device.hop < after[to].0 {
                        after[to] = (hops + device.hop, Some(from));
                    }
                    if to == units && index >= free_from && *hops < best {
                        (best, last) = (*hops, index);
                    }
                }
            }
            places.push(after);
        }
        (places, best, last)
    }
}

impl Solver for Ordered<'_> {
    fn hops(&mut self, limit: f64) -> Option<f64> {
        let (_, best, _) = self.places(limit);
        best.is_finite().then_some(best)
    }

    fn devices(&mut self, limit: f64) -> Vec<usize> {
        let (places, best, last) = self.places(limit);
        let reach = Reach::new(self.table, &self.devices[self.order[last]], limit);
        let units = self.table.units();
        let ends = |from: &usize| places[last][*from].0 <= best && reach.ends(*from).any(|to| to == units);
        let Some(mut at) = (0..units).find(ends) else { return Vec::new() };
        let mut devices = vec![self.order[last]];
        for index in (0..last).rev() {
            if let (_, Some(from)) = places[index + 1][at] {
                devices.push(self.order[index]);
                at = from;
            }
        }
        devices.reverse();
        devices
    }
}
