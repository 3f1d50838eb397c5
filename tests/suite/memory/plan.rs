//! A plan is the best of all cuts and orders by what the estimate says of each range, and its stages fit. If none fits, the error says
//! what would.

use std::collections::HashMap;

use crate::common::Model;
use ortshard::{
    Device, Engine, EngineOptions, ErrorKind, Estimate, KvType, PlanDevice, PlanOptions, PlanStage, Precision,
    ShardSpec,
};

const CONTEXT: u32 = 300;
const REQUESTS: u32 = 3;

fn engine(precision: Precision, kv_type: KvType) -> Engine {
    Engine::new(EngineOptions { device: Device::Cpu, precision, kv_type, ..EngineOptions::default() }).unwrap()
}

fn spec(model: &Model) -> ShardSpec {
    ShardSpec::whole(model.path.to_str().unwrap())
}

/// Numbers that look random, the same in every run.
fn below(state: &mut u64, end: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % end
}

/// All ranges that a model can be cut into, as an engine estimates each.
struct Ranges {
    layers: u32,
    estimates: HashMap<(u32, u32), Estimate>,
    /// What a step of one request reads of each: its seconds alone on a device that reads a byte in a second.
    reads: HashMap<(u32, u32), f64>,
}

impl Ranges {
    fn of(engine: &Engine, model: &Model) -> Self {
        let (mut estimates, mut reads) = (HashMap::new(), HashMap::new());
        let alone = PlanDevice { bandwidth: 1.0, ..device(u64::MAX) };
        let may_end =
            |layer| layer + 1 == model.layers || engine.boundary(&spec(model), layer, None).unwrap().refused.is_none();
        for first in (0..model.layers).filter(|first| *first == 0 || may_end(first - 1)) {
            for last in (first..model.layers).filter(|last| may_end(*last)) {
                let spec = ShardSpec { first_layer: first, last_layer: last, ..spec(model) };
                estimates.insert((first, last), engine.estimate(&spec, CONTEXT, REQUESTS).unwrap());
                let stages = engine.plan(&spec, &PlanOptions { requests: 1, ..options(&[alone]) }).unwrap();
                reads.insert((first, last), stages[0].seconds);
            }
        }
        Self { layers: model.layers, estimates, reads }
    }

    fn needed(&self, range: (u32, u32)) -> Option<u64> {
        self.estimates.get(&range).map(|estimate| estimate.total_bytes.max(estimate.load_peak_bytes))
    }

    /// The same ranges, where a run of each takes as much as the largest of all.
    fn with_largest_run(&self) -> Self {
        let run = self.estimates.values().map(|estimate| estimate.run_bytes).max().unwrap();
        let mut estimates = self.estimates.clone();
        for estimate in estimates.values_mut() {
            estimate.total_bytes += run - estimate.run_bytes;
        }
        Self { layers: self.layers, estimates, reads: self.reads.clone() }
    }

    /// The least seconds of plans that go on with layer `first` on devices that are not `used`.
    fn least(&self, devices: &[PlanDevice], first: u32, used: &mut Vec<usize>, slowest: f64, hops: f64) -> f64 {
        if first == self.layers {
            let all = (0..devices.len()).all(|index| !devices[index].required || used.contains(&index));
            let last = used.last().map_or(0.0, |last| devices[*last].hop_seconds);
            return if all { slowest + hops - last } else { f64::INFINITY };
        }
        let mut best = f64::INFINITY;
        for (index, device) in devices.iter().enumerate() {
            for last in first..self.layers {
                let fits = self.needed((first, last)).is_some_and(|needed| needed <= device.free_memory);
                if fits && !used.contains(&index) {
                    let seconds = self.reads[&(first, last)] / device.bandwidth;
                    used.push(index);
                    best =
                        best.min(self.least(devices, last + 1, used, slowest.max(seconds), hops + device.hop_seconds));
                    used.pop();
                }
            }
        }
        best
    }
}

fn seconds(stages: &[PlanStage]) -> f64 {
    let slowest = stages.iter().map(|stage| stage.seconds).fold(0.0, f64::max);
    slowest + stages.iter().map(|stage| stage.hop_seconds).sum::<f64>()
}

fn options(devices: &[PlanDevice]) -> PlanOptions {
    PlanOptions {
        context: CONTEXT,
        requests: REQUESTS,
        margin: 0.0,
        devices: devices.to_vec(),
        ..PlanOptions::default()
    }
}

fn device(free_memory: u64) -> PlanDevice {
    PlanDevice { free_memory, bandwidth: 0.0, hop_seconds: 0.0, required: false }
}

#[test]
fn plans_are_the_best_there_are_by_the_estimates_of_all_ranges() {
    let (mut state, mut fits, mut fails, mut cut, mut missed) = (5, 0, 0, 0, 0);
    let engines = [engine(Precision::Exact, KvType::F32), engine(Precision::Int8, KvType::Int8)];
    for model in Model::all() {
        for engine in &engines {
            let ranges = Ranges::of(engine, &model);
            // The arena of a run may take less for more layers, by how its pieces fall. A plan does not count on that.
            let careful = ranges.with_largest_run();
            let mut rooms: Vec<u64> = ranges.estimates.keys().map(|range| ranges.needed(*range).unwrap()).collect();
            rooms.sort_unstable();
            for _ in 0..12 {
                // Memory that one of the ranges needs to the byte, or a byte less. With as many devices as requests a step has one.
                let mut device = || PlanDevice {
                    free_memory: rooms[below(&mut state, rooms.len() as u64) as usize] - below(&mut state, 2),
                    bandwidth: 1e6 * (1 + below(&mut state, 4)) as f64,
                    hop_seconds: 1e-2 * below(&mut state, 3) as f64,
                    required: below(&mut state, 5) == 0,
                };
                let devices = [device(), device(), device()];
                let expected = ranges.least(&devices, 0, &mut Vec::new(), 0.0, 0.0);
                let most = careful.least(&devices, 0, &mut Vec::new(), 0.0, 0.0);
                let what = format!("{} on {devices:?}", model.name);
                let stages = match engine.plan(&spec(&model), &options(&devices)) {
                    Ok(stages) => stages,
                    Err(error) => {
                        assert!(most.is_infinite(), "{what}: there is a plan of {most}: {error}");
                        missed += usize::from(expected.is_finite());
                        fails += 1;
                        continue;
                    }
                };
                let given = seconds(&stages);
                let close = 1e-9 * given;
                assert!(
                    expected <= given + close && given <= most + close,
                    "{what}: {stages:?}, not {expected} to {most}"
                );
                missed += usize::from(given > expected + close);
                for stage in &stages {
                    let range = (stage.first_layer, stage.last_layer);
                    let estimate = Estimate { largest_last_layer: None, ..ranges.estimates[&range] };
                    assert_eq!(stage.estimate, estimate, "{what}: {range:?}");
                    assert_eq!(Some(stage.needed_bytes), ranges.needed(range), "{what}: {range:?}");
                    assert_eq!(stage.room_bytes, devices[stage.device as usize].free_memory);
                    assert!(stage.needed_bytes <= stage.room_bytes);
                }
                (fits, cut) = (fits + 1, cut + usize::from(stages.len() > 1));
            }
        }
    }
    println!("{fits} {fails} {cut} {missed}");
    assert!(fits > 300 && fails > 300 && cut > 100 && missed <= (fits + fails) / 50, "{fits} {fails} {cut} {missed}");
}

#[test]
fn a_token_reads_a_row_of_the_embedding_and_the_experts_that_it_passes() {
    let engine = engine(Precision::Exact, KvType::F32);
    // Of the one no experts, of the other in each layer all but those that a token passes.
    for (name, idle) in [("llama_gqa", 0), ("mixtral_16", 3)] {
        let model = Model::open(name);
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(model.path.join("config.json")).unwrap()).unwrap();
        let number = |key: &str| config[key].as_u64().unwrap();
        let estimate = engine.estimate(&spec(&model), CONTEXT, 1).unwrap();
        let expert = 3 * number("intermediate_size") * number("hidden_size");
        let values = (number("vocab_size") - 1) * number("hidden_size") + number("num_hidden_layers") * idle * expert;
        let unread = estimate.weight_bytes - estimate.token_bytes;
        assert!([2 * values, 4 * values].contains(&unread), "{name}: {unread} bytes of {values} values");
    }
}

#[test]
fn a_step_reads_what_its_requests_keep_in_the_mean_over_a_context() {
    let (engine, context) = (engine(Precision::Exact, KvType::F16), 18);
    // A token sees half of what comes in front of it, of its window of 6 as many as 6 - 6 * 6 / (2 * 18), of its part of 7 tokens
    // half. Keys and values have two bytes a value, states four.
    for (name, kept) in [
        ("llama_gqa", 3 * (9 * 3 * 10 * 2) * 2),
        ("mistral_window", 3 * (5 * 2 * 16 * 2) * 2),
        ("llama4_16", (3 * 3 + 9) * (2 * 16 * 2) * 2),
        ("lfm2_16", (9 * 4 * 16 * 2) * 2 + 2 * (2 * 32) * 4),
    ] {
        let model = Model::open(name);
        let reads = |requests, devices| {
            let devices = vec![PlanDevice { bandwidth: 1.0, ..device(u64::MAX) }; devices];
            let options = PlanOptions { context, requests, ..options(&devices) };
            engine.plan(&spec(&model), &options).unwrap().iter().map(|stage| stage.seconds).sum::<f64>()
        };
        let weights = engine.estimate(&spec(&model), context, 1).unwrap().token_bytes;
        // Of more than four requests arithmetic is slower than reading.
        for (requests, devices, group, times) in
            [(1, 1, 1, 1), (4, 1, 4, 1), (4, 2, 2, 1), (5, 2, 3, 1), (1, 2, 1, 1), (16, 1, 16, 4)]
        {
            let read = reads(requests, devices) as u64;
            assert_eq!(read, times * weights + group * kept, "{name}: {requests} on {devices} devices");
        }
    }
}

#[test]
fn the_margin_stays_free_and_an_order_is_kept() {
    let (engine, model) = (engine(Precision::Exact, KvType::F32), Model::open("qwen3_16"));
    let ranges = Ranges::of(&engine, &model);
    let whole = ranges.needed((0, model.layers - 1)).unwrap();
    let plan = |options: &PlanOptions| engine.plan(&spec(&model), options);
    let eighth = PlanOptions { margin: 0.125, ..options(&[device(whole), device(whole)]) };
    let stages = plan(&eighth).unwrap();
    assert_eq!((stages.len(), stages[0].room_bytes), (2, whole - whole / 8));
    assert_eq!(plan(&PlanOptions { margin: 0.0, ..eighth }).unwrap().len(), 2, "two are faster than one");

    // Only the second has room for the end of the model.
    let [first, last] = [(0, 0), (1, model.layers - 1)].map(|range| ranges.needed(range).unwrap());
    assert!(first < last);
    let swapped = options(&[device(last), device(first)]);
    let order: Vec<u32> = plan(&swapped).unwrap().iter().map(|stage| stage.device).collect();
    assert_eq!(order, [1, 0]);
    let kept = plan(&PlanOptions { keep_order: true, ..swapped });
    assert!(kept.is_err() || kept.unwrap().is_sorted_by_key(|stage| stage.device));
}

#[test]
fn what_does_not_fit_is_told_with_what_would() {
    let (engine, model) = (engine(Precision::Exact, KvType::F32), Model::open("qwen3_16"));
    let ranges = Ranges::of(&engine, &model);
    let last = model.layers - 1;
    let plan = |devices: &[PlanDevice]| engine.plan(&spec(&model), &options(devices));
    let refused = |devices: &[PlanDevice]| {
        let error = plan(devices).unwrap_err();
        (error.kind(), error.out_of_memory().map_or(0, |oom| oom.requested), error.to_string())
    };

    // The first layer fits on a device, and the rest says how large another one must be.
    let first = ranges.needed((0, 0)).unwrap().max(ranges.needed((last, last)).unwrap());
    let (kind, missing, message) = refused(&[device(first)]);
    assert_eq!(kind, ErrorKind::OutOfMemory, "{message}");
    assert!(message.contains("one more device with room for"), "{message}");
    assert!(plan(&[device(first), device(missing)]).is_ok(), "{message}");

    let most = (0..=last).map(|layer| ranges.needed((layer, layer)).unwrap()).max().unwrap();
    let (kind, missing, message) = refused(&[device(1000), device(999)]);
    assert_eq!((kind, missing), (ErrorKind::OutOfMemory, most - 1000), "{message}");
    assert!(
        message.contains(&format!("alone: {most} bytes")) && message.contains("1000, that of devices[0]"),
        "{message}"
    );

    let must = PlanDevice { required: true, ..device(1000) };
    let (kind, _, message) = refused(&[device(u64::MAX), must]);
    assert_eq!(kind, ErrorKind::OutOfMemory, "{message}");
    assert!(message.contains("required (devices[1])"), "{message}");
    let (kind, _, message) = refused(&[PlanDevice { required: true, ..device(u64::MAX) }; 9]);
    assert_eq!(kind, ErrorKind::InvalidArgument, "{message}");
}

#[test]
fn numbers_that_are_none_are_refused_by_field_and_index() {
    let (engine, model) = (engine(Precision::Exact, KvType::F32), Model::open("qwen3_16"));
    let fine = device(1 << 40);
    let wrong = |change: &dyn Fn(&mut PlanOptions)| {
        let mut options = options(&[fine, fine]);
        change(&mut options);
        let error = engine.plan(&spec(&model), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        error.to_string()
    };
    for number in [f64::NAN, -1.0, f64::INFINITY] {
        assert!(wrong(&|o| o.devices[1].bandwidth = number).starts_with("devices[1].bandwidth is"));
        assert!(wrong(&|o| o.devices[1].hop_seconds = number).starts_with("devices[1].hop_seconds is"));
        assert!(wrong(&|o| o.margin = number).starts_with("margin is"));
    }
    assert!(wrong(&|o| o.margin = 1.0).starts_with("margin is 1"));
    assert!(wrong(&|o| o.devices[1].free_memory = 0).starts_with("devices[1].free_memory is 0"));
    assert!(wrong(&|o| o.devices.clear()).starts_with("device_count is 0"));
    assert!(wrong(&|o| o.devices = vec![fine; 65]).starts_with("device_count is 65"));

    // Numbers at the ends of what there is are numbers.
    let edges = [
        PlanDevice { bandwidth: f64::MIN_POSITIVE, hop_seconds: f64::MAX, ..device(u64::MAX) },
        PlanDevice { bandwidth: f64::MAX, hop_seconds: f64::MAX, ..device(u64::MAX) },
    ];
    let all = PlanOptions { context: u32::MAX, requests: u32::MAX, ..options(&edges) };
    assert!(engine.plan(&spec(&model), &all).is_ok_and(|stages| stages.len() == 1));
}
