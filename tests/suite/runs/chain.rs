//! Shards run as a chain in one call, which changes no request if one shard fails; the next token chosen in that call is the
//! one sampled from the logits.

use std::sync::Arc;

use crate::common::{Model, Pipeline, assert_same, device};
use ortshard::{
    Device, Engine, EngineOptions, ErrorKind, Input, Logits, PackCache, Precision, Request, RequestOptions, SampleStep,
    Sampler, SamplerOptions, Shard, ShardSpec, Step, infer_batch, infer_chain, next_token, next_tokens,
};
use safetensors::SafeTensors;

/// The two dialects on the processor, the second only where ONNX Runtime can run it; or the device that is asked for.
fn engines() -> Vec<EngineOptions> {
    if !device::native_operators() {
        return vec![device::options()];
    }
    let stock = EngineOptions { stock_operators: true, ..EngineOptions::default() };
    [EngineOptions { device: Device::Cpu, ..EngineOptions::default() }]
        .into_iter()
        .chain(device::tells_where_nodes_run().then_some(stock))
        .collect()
}

fn name(options: &EngineOptions) -> String {
    if options.stock_operators { "stock".to_owned() } else { options.device.to_string() }
}

fn all(pipeline: &mut Pipeline) -> Vec<&mut Request> {
    pipeline.requests.iter_mut().collect()
}

fn sampler(temperature: f32, top_k: usize) -> Sampler {
    Sampler::new(SamplerOptions { temperature, top_k, seed: 7, ..SamplerOptions::default() }).unwrap()
}

/// `count` ids after the prompt, each chosen from logits that came to this process.
fn by_hand(pipeline: &mut Pipeline, prompt: &[i64], count: usize, sampler: &mut Sampler) -> Vec<i64> {
    let mut logits = pipeline.run(prompt, Logits::Last);
    let mut ids = Vec::new();
    loop {
        ids.push(i64::from(sampler.sample(logits.row(0).to_slice().unwrap()).unwrap()));
        if ids.len() == count {
            return ids;
        }
        logits = pipeline.run(&ids[ids.len() - 1..], Logits::Last);
    }
}

/// The same in calls that run and choose.
fn by_next_token(pipeline: &mut Pipeline, prompt: &[i64], count: usize, sampler: &mut Sampler) -> Vec<i64> {
    let mut ids = vec![i64::from(next_token(&mut all(pipeline), Input::Ids(prompt), sampler).unwrap())];
    while ids.len() < count {
        let input = Input::Ids(&ids[ids.len() - 1..]);
        ids.push(i64::from(next_token(&mut all(pipeline), input, sampler).unwrap()));
    }
    ids
}

#[test]
fn a_chain_gives_the_bits_of_its_shards_one_by_one() {
    for options in engines() {
        for model in ["llama_256", "qwen3_16", "llama31_tied"].map(Model::open) {
            let what = format!("{} {}", name(&options), model.name);
            let cuts: Vec<u32> = (0..model.layers - 1).collect();
            let (mut one, mut chain) =
                (model.pipeline_on(options.clone(), &cuts), model.pipeline_on(options.clone(), &cuts));
            for (ids, logits) in [(&model.prompt[..], Logits::All), (&model.greedy[..1], Logits::Last)] {
                let expected = one.run(ids, logits);
                let mut requests = all(&mut chain);
                let given = infer_chain(&mut requests, Input::Ids(ids), logits).unwrap().values();
                assert_same(&what, given, expected.view());
                // What lies between is nobody's output.
                let (_, front) = chain.requests.split_last().unwrap();
                assert!(front.iter().all(|request| request.output().is_none()));
            }
            let positions = |pipeline: &Pipeline| pipeline.requests.iter().map(Request::position).collect::<Vec<_>>();
            assert_eq!(positions(&chain), positions(&one));
        }
    }
}

#[test]
fn the_next_token_is_the_one_sampled_from_the_logits() {
    let vocabulary = 1 << 20;
    for options in engines() {
        for model in ["llama_256", "llama_yarn"].map(Model::open) {
            for (temperature, top_k) in [(0.0, 0), (0.7, 1), (0.7, 20), (1.5, 0), (1.0, vocabulary)] {
                for cuts in [&[][..], &[0]] {
                    let what = format!("{} {} at {temperature}, {top_k} of, {cuts:?}", name(&options), model.name);
                    let pipeline = || model.pipeline_on(options.clone(), cuts);
                    let expected = by_hand(&mut pipeline(), &model.prompt, 12, &mut sampler(temperature, top_k));
                    let ids = by_next_token(&mut pipeline(), &model.prompt, 12, &mut sampler(temperature, top_k));
                    assert_eq!(ids, expected, "{what}");
                }
            }
        }
    }
}

/// `model` with every byte of its last layer's weights set to `byte`.
fn with_head(model: &Model, byte: u8) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::read(model.path.join("model.safetensors")).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&file).unwrap();
    let (start, end) = metadata.info("lm_head.weight").unwrap().data_offsets;
    file[8 + header + start..8 + header + end].fill(byte);
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    std::fs::copy(model.path.join("config.json"), folder.path().join("config.json")).unwrap();
    folder
}

/// Candidates cannot tell which of so many equals come first, nor where a logit is that is no number.
#[test]
fn logits_that_are_all_equal_or_no_numbers_are_looked_at_one_by_one() {
    for options in engines() {
        let model = Model::open("mistral_window");
        let request = |folder: &tempfile::TempDir| {
            let spec = ShardSpec::whole(folder.path().to_str().unwrap());
            let shard = Engine::new(options.clone()).unwrap().ensure_shard(&spec, None).unwrap();
            Pipeline { requests: vec![Request::new(&shard, RequestOptions::default()).unwrap()] }
        };
        let equal = with_head(&model, 0);
        for (temperature, top_k) in [(0.0, 0), (0.8, 3)] {
            let expected = by_hand(&mut request(&equal), &model.prompt, 12, &mut sampler(temperature, top_k));
            let ids = by_next_token(&mut request(&equal), &model.prompt, 12, &mut sampler(temperature, top_k));
            assert_eq!(ids, expected, "{}", name(&options));
        }
        // A call that cannot choose has done nothing.
        let numbers = with_head(&model, 0xFF);
        let mut requests = request(&numbers);
        requests.requests[0].infer(Input::Ids(&model.prompt), Logits::None).unwrap();
        let before = requests.requests[0].position();
        let error = next_token(&mut all(&mut requests), Input::Ids(&[1]), &mut sampler(0.8, 3)).unwrap_err();
        assert_eq!((error.kind(), requests.requests[0].position()), (ErrorKind::InvalidArgument, before));
        assert!(error.chain().contains("logits[0] is NaN"), "{}", error.chain());
    }
}

#[test]
fn a_chain_that_fails_leaves_every_request_as_it_was() {
    for options in engines() {
        let model = Model::open("llama_256");
        let (first, rest) = (0, 1);
        let shard = |start, end| model.shard_on(options.clone(), start, end);
        let (front, back) = (shard(first, first), shard(rest, model.layers - 1));
        let request = |shard: &Arc<Shard>, capacity| {
            Request::new(shard, RequestOptions { capacity, ..RequestOptions::default() }).unwrap()
        };
        let (mut a, mut b) = (request(&front, 64), request(&back, 6));
        let ids = &model.prompt[..4];
        let run = |a: &mut Request, b: &mut Request, ids: &[i64]| {
            infer_chain(&mut [a, b], Input::Ids(ids), Logits::Last).map(|output| output.values().to_owned())
        };
        run(&mut a, &mut b, ids).unwrap();
        // The first shard has room, the second has not.
        let error = run(&mut a, &mut b, ids).unwrap_err();
        assert_eq!((error.kind(), a.position(), b.position()), (ErrorKind::ContextFull, 4, 4));
        // Cancelled through the last, before it runs.
        b.cancel_handle().cancel().unwrap();
        let error = run(&mut a, &mut b, &ids[..1]).unwrap_err();
        assert_eq!((error.kind(), a.position(), b.position()), (ErrorKind::Cancelled, 4, 4));
        // And it goes on with the bits that it would have had.
        let (mut c, mut d) = (request(&front, 64), request(&back, 64));
        run(&mut c, &mut d, ids).unwrap();
        let expected = run(&mut c, &mut d, &ids[..1]).unwrap();
        assert_same(&name(&options), run(&mut a, &mut b, &ids[..1]).unwrap().view(), expected.view());

        // Requests that do not follow one another.
        let refused = |error: ortshard::Error, words: &str| {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.chain().contains(words), "{}", error.chain());
        };
        refused(run(&mut b, &mut a, ids).unwrap_err(), "do not follow");
        b.truncate(2).unwrap();
        refused(run(&mut a, &mut b, ids).unwrap_err(), "at position 2, the one before it at 5");
        refused(infer_chain(&mut [], Input::Ids(ids), Logits::Last).unwrap_err(), "no requests");
        refused(next_token(&mut [&mut a], Input::Ids(ids), &mut sampler(0.0, 0)).unwrap_err(), "gives no logits");
        assert_eq!((a.position(), b.position()), (5, 2));
    }
}

/// Requests without KV caches take their input from this process, since they keep it.
#[test]
fn chains_of_requests_without_caches_give_the_same_ids() {
    for options in engines() {
        let model = Model::open("llama_256");
        let expected = by_hand(&mut model.pipeline_on(options.clone(), &[0]), &model.prompt, 4, &mut sampler(0.0, 0));
        let mut chain = Pipeline { requests: Vec::new() };
        for (start, end) in [(0, 0), (1, model.layers - 1)] {
            let shard = model.shard_on(options.clone(), start, end);
            let without = RequestOptions { no_cache: true, ..RequestOptions::default() };
            chain.requests.push(Request::new(&shard, without).unwrap());
        }
        assert_eq!(by_next_token(&mut chain, &model.prompt, 4, &mut sampler(0.0, 0)), expected, "{}", name(&options));
    }
}

/// Captured steps are told the most tokens that there can be, others how many there are.
#[test]
fn captured_and_plain_steps_give_the_same_ids() {
    for options in engines() {
        let model = Model::open("llama_256");
        let ids = |no_graph_capture| {
            let options = EngineOptions { no_graph_capture, ..options.clone() };
            by_next_token(&mut model.pipeline_on(options, &[0]), &model.prompt, 16, &mut sampler(0.0, 0))
        };
        let captured = ids(false);
        assert_eq!(captured, ids(true), "{}", name(&options));
        assert_eq!(captured[..], model.greedy[..16], "{}", name(&options));
    }
}

/// In slots side by side the requests' rows are one product, whose sums ONNX Runtime may order otherwise than one row's; and
/// activations that it rounds to 8 bits for quantised weights may then round otherwise. The ids are the same.
#[test]
fn requests_in_slots_run_together_and_give_what_they_give_alone() {
    for (precision, batch_slots) in [(Precision::Exact, 0), (Precision::Exact, 4), (Precision::Int8, 4)] {
        for options in engines() {
            let options = EngineOptions { precision, pack_cache: PackCache::Off, batch_slots, ..options };
            let model = Model::open("llama_256");
            let what = format!("{} {precision:?} {batch_slots}", name(&options));
            let engine = Engine::new(options).unwrap();
            let spec = ShardSpec::whole(model.path.to_str().unwrap());
            let shard = engine.ensure_shard(&spec, None).unwrap();
            let new = || Request::new(&shard, RequestOptions { capacity: 64, ..RequestOptions::default() }).unwrap();
            let prompts: Vec<&[i64]> = (0..6).map(|i| &model.prompt[..model.prompt.len() - i]).collect();
            let alone: Vec<Vec<i64>> = prompts
                .iter()
                .map(|prompt| by_hand(&mut Pipeline { requests: vec![new()] }, prompt, 8, &mut sampler(0.0, 0)))
                .collect();

            let mut requests: Vec<Request> = prompts.iter().map(|_| new()).collect();
            let mut samplers: Vec<Sampler> = prompts.iter().map(|_| sampler(0.0, 0)).collect();
            let mut inputs: Vec<Vec<i64>> = prompts.iter().map(|prompt| prompt.to_vec()).collect();
            let mut ids = vec![Vec::new(); prompts.len()];
            for step in 0..8 {
                // One leaves in the middle, and its slot stays empty for a while.
                let present: Vec<usize> = (0..6).filter(|i| !(3..6).contains(&step) || *i != 2).collect();
                let mut steps: Vec<SampleStep> = requests
                    .iter_mut()
                    .zip(&mut samplers)
                    .zip(&inputs)
                    .enumerate()
                    .filter(|(i, _)| present.contains(i))
                    .map(|(_, ((request, sampler), input))| SampleStep { request, input: Input::Ids(input), sampler })
                    .collect();
                for (i, id) in present.into_iter().zip(next_tokens(&mut steps)) {
                    let id = i64::from(id.unwrap());
                    ids[i].push(id);
                    inputs[i] = vec![id];
                }
            }
            for (i, ids) in ids.iter().enumerate() {
                assert_eq!(ids[..], alone[i][..ids.len()], "{what}: request {i}");
            }

            // A new request takes the place of one that is gone, and sees nothing of it.
            requests.remove(1);
            let mut next = Pipeline { requests: vec![new()] };
            assert_eq!(by_next_token(&mut next, prompts[1], 8, &mut sampler(0.0, 0)), alone[1], "{what}");
            // Logits too come from where they belong.
            let mut others = [new(), new()];
            let mut expected = [new(), new()];
            let (a, b) = (&model.prompt[..3], &model.prompt[3..5]);
            for (request, ids) in others.iter_mut().chain(&mut expected).zip([a, b, a, b]) {
                request.infer(Input::Ids(ids), Logits::None).unwrap();
            }
            let wanted = [Logits::Last, Logits::None];
            let mut steps: Vec<Step> = others
                .iter_mut()
                .zip(wanted)
                .map(|(request, logits)| Step { request, input: Input::Ids(&model.greedy[..1]), logits })
                .collect();
            assert!(infer_batch(&mut steps).into_iter().all(|outcome| outcome.is_ok()));
            let alone = expected[0].infer(Input::Ids(&model.greedy[..1]), Logits::Last).unwrap().values();
            let together = others[0].output().unwrap().values();
            let scale = alone.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let worst = alone.iter().zip(together).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            let tolerance = if precision == Precision::Exact { device::tolerance() } else { 0.05 };
            assert!(worst <= tolerance * scale, "{what}: {worst} off at a scale of {scale}");
            assert_eq!(others[1].output().unwrap().values().dim().0, 0);
        }
    }
}

#[test]
fn slots_are_paid_for_together_and_given_back() {
    let on_a_device = |options: &EngineOptions| options.stock_operators || options.device != Device::Cpu;
    for options in engines().into_iter().filter(on_a_device) {
        let model = Model::open("llama_256");
        let spec = ShardSpec::whole(model.path.to_str().unwrap());
        let engine = Engine::new(EngineOptions { batch_slots: 4, ..options }).unwrap();
        let estimate = engine.estimate(&spec, 64, 5).unwrap();
        let shard = engine.ensure_shard(&spec, None).unwrap();
        let weights = engine.memory_used();
        let slab = 4 * 64 * shard.info().kv_bytes_per_token;
        assert_eq!(estimate.kv_bytes, 2 * slab);
        let new = || Request::new(&shard, RequestOptions { capacity: 64, ..RequestOptions::default() }).unwrap();
        let mut requests: Vec<Request> = (0..4).map(|_| new()).collect();
        assert_eq!(engine.memory_used(), weights + slab);
        requests.push(new());
        assert_eq!(engine.memory_used(), weights + estimate.kv_bytes);
        drop(requests);
        assert_eq!(engine.memory_used(), weights);
    }
}
