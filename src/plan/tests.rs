//! A plan is the best of all cuts, orders and choices of devices, by trying all of them.
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use super::{Device, Stage, Table, cost, longest, solve};

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// A row of units as a model's: what is read is in memory, and a stage takes what its ends make of it besides.
fn table(numbers: &mut Numbers, units: usize) -> Table {
    let even = numbers.chance(3);
    let reads: Vec<u64> = (0..units).map(|_| if even { 10 } else { numbers.below(20) }).collect();
    let more: Vec<u64> = (0..units).map(|_| numbers.below(12)).collect();
    let (run, first, last) = (numbers.below(10), numbers.below(25), numbers.below(25));
    Table::new(&reads, |from, to| {
        let held: u64 = (from..to).map(|unit| reads[unit] + more[unit]).sum();
        // An end's output, or its input, may be the smaller one.
        held + run + if from == 0 { first } else { 9 } + if to == units { last } else { 9 }
    })
}

fn devices(numbers: &mut Numbers, count: usize) -> Vec<Device> {
    let (alike, demands) = (numbers.chance(3), numbers.chance(2));
    let hops = [1, 4, 40][numbers.below(3) as usize];
    let mut device = || Device {
        room: 20 + numbers.below(150),
        bandwidth: 1.0 + numbers.below(8) as f64,
        hop: numbers.below(hops) as f64 / 4.0,
        required: demands && numbers.chance(3),
    };
    let same = device();
    (0..count).map(|index| if alike && index < 2 { same } else { device() }).collect()
}

/// The least cost of what follows `stages`, by trying everything.
fn least(table: &Table, devices: &[Device], keep_order: bool, stages: &mut Vec<Stage>) -> f64 {
    let from = stages.last().map_or(0, |stage| stage.to);
    let is_used = |stages: &[Stage], index: usize| stages.iter().any(|stage| stage.device == index);
    if from == table.units() {
        let all = devices.iter().enumerate().all(|(index, device)| !device.required || is_used(stages, index));
        return if all { cost(table, devices, stages) } else { f64::INFINITY };
    }
    let mut best = f64::INFINITY;
    for (device, own) in devices.iter().enumerate() {
        let is_behind = stages.last().is_none_or(|stage| stage.device < device);
        if is_used(stages, device) || (keep_order && !is_behind) {
            continue;
        }
        for to in from + 1..=table.units() {
            if table.need(from, to) <= own.room {
                stages.push(Stage { device, from, to });
                best = best.min(least(table, devices, keep_order, stages));
                stages.pop();
            }
        }
    }
    best
}

#[test]
fn a_thousand_small_plans_are_the_best_there_are() {
    let mut numbers = Numbers(7);
    let (mut fits, mut fails, mut several, mut demanded) = (0, 0, 0, 0);
    for case in 0..1500 {
        let (units, count) = (1 + numbers.below(6) as usize, 1 + numbers.below(4) as usize);
        let (table, devices, keep_order) =
            (table(&mut numbers, units), devices(&mut numbers, count), numbers.chance(4));
        let expected = least(&table, &devices, keep_order, &mut Vec::new());
        let Some(stages) = solve(&table, &devices, keep_order) else {
            assert!(expected.is_infinite(), "case {case} has a plan of {expected}: {table:?} {devices:?}");
            fails += 1;
            continue;
        };
        let mut at = 0;
        for stage in &stages {
            assert!(stage.from == at && stage.to > at, "case {case}: {stages:?}");
            assert!(table.need(stage.from, stage.to) <= devices[stage.device].room, "case {case}: {stages:?}");
            at = stage.to;
        }
        assert_eq!(at, units, "case {case}");
        let given = cost(&table, &devices, &stages);
        assert!(
            (given - expected).abs() <= 1e-9 * expected,
            "case {case}: {given}, not {expected}: {table:?} {devices:?}"
        );
        fits += 1;
        several += usize::from(stages.len() > 1);
        demanded += usize::from(devices.iter().any(|device| device.required));
    }
    assert!(fits > 700 && fails > 200 && several > 300 && demanded > 200, "{fits} {fails} {several} {demanded}");
}

#[test]
fn too_many_devices_of_too_many_kinds_still_get_a_plan() {
    let mut numbers = Numbers(11);
    let table = table(&mut numbers, 30);
    let device = |index: usize| Device { room: 90, bandwidth: 1.0 + index as f64, hop: 0.0, required: index == 5 };
    let devices: Vec<Device> = (0..64).map(device).collect();
    let stages = solve(&table, &devices, false).unwrap();
    assert!(stages.iter().any(|stage| stage.device == 5));
    assert!(stages.iter().all(|stage| table.need(stage.from, stage.to) <= 90));
    assert_eq!(stages.last().unwrap().to, 30);
}

#[test]
fn the_longest_part_that_fits_is_found() {
    let mut numbers = Numbers(13);
    let mut seen = 0;
    for _ in 0..400 {
        let (table, mut devices) = (table(&mut numbers, 6), devices(&mut numbers, 2));
        for device in &mut devices {
            device.required = false;
        }
        let fits = |units: usize| {
            let reads: Vec<u64> = (0..units).map(|unit| table.read(unit, unit + 1)).collect();
            let part = Table::new(&reads, |from, to| table.need(from, to));
            units == 0 || least(&part, &devices, false, &mut Vec::new()).is_finite()
        };
        let expected = (0..=6).rev().find(|units| fits(*units)).unwrap();
        assert_eq!(longest(&table, &devices, false), expected);
        seen += usize::from(expected > 0 && expected < 6);
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_range_that_needs_more_than_was_told_is_left_alone() {
    let mut table = Table::new(&[10; 4], |from, to| 10 * (to - from) as u64);
    let device = Device { room: 20, bandwidth: 1.0, hop: 0.0, required: false };
    let cuts = |table: &Table| -> Vec<usize> {
        solve(table, &[device; 3], false).unwrap().iter().map(|stage| stage.to).collect()
    };
    assert_eq!(cuts(&table), [2, 4]);
    table.raise(0, 2, 21);
    assert!(table.need(0, 3) >= 21 && table.need(1, 2) == 10);
    assert_eq!(cuts(&table)[0], 1);
}
