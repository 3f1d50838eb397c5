//! When memory runs out in a run on a device, the session gives back what it can and tries again, and is made again
//! if it has lost memory that it had. The processor's provider stands in for the device; memory runs out because the
//! test says so.
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::half::tells_where_nodes_run;
use crate::engine::{Engine, EngineOptions, Input, Logits, Request, RequestOptions, Shard, ShardSpec};
use crate::error::{Error, ErrorKind, Result, Site};

/// Attempts of one run.
const ATTEMPTS: usize = 3;
const PROMPT: [i64; 6] = [3, 1, 4, 1, 5, 9];

/// A copy of a model whose files can be taken away, and an engine as on a device; none where ONNX Runtime is too old for that.
fn setup() -> Option<(tempfile::TempDir, Engine, Arc<Shard>)> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/llama_256");
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(model.join(file), folder.path().join(file)).unwrap();
    }
    let mut engine = Engine::new(EngineOptions { stock_operators: true, ..EngineOptions::default() }).unwrap();
    engine.target.rebuilds = true;
    tells_where_nodes_run().then(|| {
        let shard = engine.ensure_shard(&ShardSpec::whole(folder.path().to_str().unwrap()), None).unwrap();
        (folder, engine, shard)
    })
}

fn request(shard: &Arc<Shard>) -> Request {
    Request::new(shard, RequestOptions { capacity: 32, ..RequestOptions::default() }).unwrap()
}

/// Lets memory run out in so many of the next attempts.
fn fail(shard: &Shard, attempts: usize) {
    let set =
        |session: &crate::engine::session::StockSession| session.session.failures.store(attempts, Ordering::Relaxed);
    shard.loaded().unwrap().session.as_stock().map(set).unwrap();
}

fn run(request: &mut Request, ids: &[i64]) -> Result<Vec<u32>> {
    let output = request.infer(Input::Ids(ids), Logits::Last)?;
    Ok(output.values().iter().map(|value| value.to_bits()).collect())
}

fn expect_oom(error: &Error) {
    let oom = error.out_of_memory().unwrap();
    assert_eq!((oom.site, oom.device.as_str()), (Site::Run, "cpu"), "{}", error.chain());
}

#[test]
fn a_run_is_tried_again_with_what_can_be_given_back() {
    let Some((_folder, engine, shard)) = setup() else { return };
    let (mut reference, mut tested) = (request(&shard), request(&shard));
    for ids in [&PROMPT[..], &[2], &[7]] {
        let expected = run(&mut reference, ids).unwrap();
        fail(&shard, ATTEMPTS - 1);
        assert_eq!(run(&mut tested, ids).unwrap(), expected);
    }
    assert_eq!(engine.stats().out_of_memory_run, 0);
}

#[test]
fn what_has_never_fitted_is_out_of_memory_and_changes_nothing() {
    let Some((_folder, engine, shard)) = setup() else { return };
    let mut tested = request(&shard);
    fail(&shard, ATTEMPTS);
    expect_oom(&run(&mut tested, &PROMPT).unwrap_err());
    assert_eq!((tested.position(), engine.stats().out_of_memory_run), (0, 1));
    let weights = engine.memory_used();
    // A smaller one fits; one of more rows, or further on, still has not.
    run(&mut tested, &PROMPT[..2]).unwrap();
    for ids in [&PROMPT[2..5], &PROMPT[2..3]] {
        fail(&shard, ATTEMPTS);
        expect_oom(&run(&mut tested, ids).unwrap_err());
        assert_eq!(tested.position(), 2);
    }
    assert!(!shard.is_broken());
    let rest = run(&mut tested, &PROMPT[2..]).unwrap();
    assert_eq!(rest, run(&mut request(&shard), &PROMPT).unwrap());
    assert!(engine.memory_used() >= weights);
}

#[test]
fn a_session_that_has_lost_memory_is_made_anew_under_its_requests() {
    let Some((folder, engine, shard)) = setup() else { return };
    let (mut reference, mut tested) = (request(&shard), request(&shard));
    for request in [&mut reference, &mut tested] {
        run(request, &PROMPT).unwrap();
        run(request, &[2]).unwrap();
        request.truncate(PROMPT.len()).unwrap();
    }
    let expected = run(&mut reference, &[2]).unwrap();
    // It had room for this, so it has lost it. The new session has not.
    fail(&shard, ATTEMPTS);
    assert_eq!(run(&mut tested, &[2]).unwrap(), expected);
    assert!(!shard.is_broken());

    // Where it cannot be made anew at once, the next call tries that first.
    let weights = folder.path().join("model.safetensors");
    let hidden = folder.path().join("hidden");
    tested.truncate(PROMPT.len()).unwrap();
    let _ = run(&mut request(&shard), &PROMPT).unwrap();
    run(&mut tested, &[2]).unwrap();
    tested.truncate(PROMPT.len()).unwrap();
    fail(&shard, ATTEMPTS);
    std::fs::rename(&weights, &hidden).unwrap();
    for _ in 0..2 {
        let error = run(&mut tested, &[2]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
        assert_eq!(tested.position(), PROMPT.len());
    }
    std::fs::rename(&hidden, &weights).unwrap();
    assert_eq!(run(&mut tested, &[2]).unwrap(), expected);
    engine.clear().unwrap();
    assert_eq!(run(&mut tested, &[2]).unwrap_err().kind(), ErrorKind::StaleShard);
}
