//! A download that goes wrong is repeated, or fails with a message that says why, and never leaves a wrong file in
//! the cache.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::tests::{leftovers, quiet, repository, source, source_at, toy, weights};
use super::*;
use crate::error::err;
use crate::source::testing::{Asked, COMMIT, Model, Reply, Server, sha256};

const FILE: &str = "model.safetensors";
const CONTENT: &str = "/cdn/model.safetensors";

/// The toy hub with answers changed by `fault`.
fn faulty(fault: impl Fn(&Asked, usize, Reply) -> Reply + Send + Sync + 'static) -> Server {
    let model: Model = toy();
    Server::start(move |asked, before| fault(asked, before, model.answer(asked)))
}

/// The toy hub with the answers that carry weights changed by `fault`.
fn faulty_content(fault: impl Fn(&Asked, usize, Reply) -> Reply + Send + Sync + 'static) -> Server {
    faulty(move |asked, before, reply| if asked.is_get(CONTENT) { fault(asked, before, reply) } else { reply })
}

/// Fetches the weights from `server` into a fresh cache, in which they must be right and alone, and by exactly `gets`
/// requests. Returns the first byte that each request asked for.
#[track_caller]
fn arrives(server: &Server, gets: usize) -> Vec<Option<usize>> {
    let cache = tempfile::tempdir().unwrap();
    let path = source(server, cache.path()).require(FILE, &mut quiet).unwrap();
    assert!(fs::read(path).unwrap() == weights());
    assert_eq!(leftovers(cache.path()), Vec::<PathBuf>::new());
    let froms: Vec<_> = server.gets(CONTENT).iter().map(Asked::from).collect();
    assert_eq!(froms.len(), gets, "{froms:?}");
    froms
}

/// Fails to fetch the weights from `server`, with nothing but a partial file in the cache afterwards.
#[track_caller]
fn fails(server: &Server) -> Error {
    let cache = tempfile::tempdir().unwrap();
    let error = source(server, cache.path()).require(FILE, &mut quiet).unwrap_err();
    let root = repository(cache.path());
    assert!(!root.join("snapshots").join(COMMIT).join(FILE).exists());
    assert!(!root.join("blobs").join(sha256(&weights())).exists());
    error
}

#[test]
fn a_drop_in_the_middle_is_resumed() {
    let server = faulty_content(|_, before, reply| if before < 2 { reply.cut(1_000_000) } else { reply });
    assert_eq!(arrives(&server, 3), [None, Some(1_000_000), Some(2_000_000)]);
}

#[test]
fn a_server_that_ignores_ranges_starts_over_cleanly() {
    let server = faulty_content(|asked, before, reply| match before {
        0 => reply.cut(1_000_000),
        _ => toy().answer(&Asked { headers: std::collections::BTreeMap::new(), ..asked.clone() }),
    });
    assert_eq!(arrives(&server, 2), [None, Some(1_000_000)]);
}

#[test]
fn a_wrong_range_is_not_taken_for_the_right_one() {
    let server = faulty_content(|_, before, reply| match before {
        0 => reply.cut(1_000_000),
        1 => reply.with("Content-Range", "bytes 7-9/10"),
        _ => reply,
    });
    assert_eq!(arrives(&server, 3), [None, Some(1_000_000), None]);
}

#[test]
fn a_range_that_cannot_be_satisfied_starts_over_once() {
    let server = faulty_content(|asked, before, reply| match before {
        0 => reply.cut(1_000_000),
        _ if asked.from().is_some() => Reply::status(416),
        _ => reply,
    });
    assert_eq!(arrives(&server, 3), [None, Some(1_000_000), None]);
    let server = faulty_content(|_, _, _| Reply::status(416));
    assert_eq!(fails(&server).kind(), ErrorKind::Io);
    assert_eq!(server.gets(CONTENT).len(), 1, "without a range it is an answer like any other");
}

#[test]
fn what_an_earlier_run_left_is_used_if_it_is_sound() {
    let whole = weights();
    for (left, gets, label) in [
        (whole[..500].to_vec(), vec![Some(500)], "a sound part"),
        (vec![1; 500], vec![Some(500), None], "another content's part"),
        (whole.clone(), vec![], "all of it"),
        (vec![1; whole.len()], vec![None], "as long, but wrong"),
        (vec![1; whole.len() + 1], vec![None], "too long"),
    ] {
        let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
        let blobs = repository(cache.path()).join("blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(format!("{}.incomplete", sha256(&whole))), left).unwrap();
        let path = source(&server, cache.path()).require(FILE, &mut quiet).unwrap();
        assert!(fs::read(path).unwrap() == whole, "{label}");
        assert_eq!(server.gets(CONTENT).iter().map(Asked::from).collect::<Vec<_>>(), gets, "{label}");
        assert_eq!(leftovers(cache.path()), Vec::<PathBuf>::new(), "{label}");
    }
}

#[test]
fn a_wrong_content_is_fetched_once_more_then_refused_and_removed() {
    let spoil = |mut reply: Reply| {
        reply.body[10] ^= 1;
        reply
    };
    let server = faulty_content(move |_, before, reply| if before == 0 { spoil(reply) } else { reply });
    assert_eq!(arrives(&server, 2), [None, None]);
    let server = faulty_content(move |_, _, reply| spoil(reply));
    let cache = tempfile::tempdir().unwrap();
    let error = source(&server, cache.path()).require(FILE, &mut quiet).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HashMismatch);
    assert!(error.chain().contains(FILE) && error.chain().contains("SHA-256"), "{}", error.chain());
    assert_eq!(server.gets(CONTENT).len(), 2);
    assert_eq!(fs::read_dir(repository(cache.path()).join("blobs")).unwrap().count(), 0);
    // A small file, checked by its git hash.
    let server = faulty(|asked, _, reply| if asked.is_get("config.json") { spoil_small(reply) } else { reply });
    let error = source(&server, cache.path()).require("config.json", &mut quiet).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HashMismatch);
}

fn spoil_small(reply: Reply) -> Reply {
    Reply { body: b"[]".to_vec(), ..reply }
}

#[test]
fn a_wrong_length_is_a_wrong_content() {
    for endless in [false, true] {
        let server = faulty_content(move |_, _, mut reply| {
            reply.body.push(0);
            Reply { endless, ..reply }
        });
        assert_eq!(fails(&server).kind(), ErrorKind::HashMismatch);
        assert_eq!(server.gets(CONTENT).len(), 2);
    }
    let server = faulty_content(|_, before, mut reply| {
        // A body that ends early, without a length that would tell.
        reply.body.truncate(if before == 0 { 1000 } else { usize::MAX });
        Reply { endless: true, ..reply }
    });
    assert_eq!(arrives(&server, 2), [None, Some(1000)]);
}

#[test]
fn a_busy_server_is_given_the_time_it_asks_for_within_bounds() {
    for status in [429, 503] {
        let server = faulty(move |asked, before, reply| match before {
            0 if asked.method == "HEAD" || asked.is_get(CONTENT) => Reply::status(status).with("Retry-After", "3600"),
            _ => reply,
        });
        let begin = Instant::now();
        arrives(&server, 2);
        assert!(begin.elapsed() >= Duration::from_millis(240), "two waits of 120 ms each");
        assert_eq!(server.count("HEAD"), 2);
    }
    let server = faulty(|asked, before, reply| match before {
        0 if asked.method == "HEAD" => Reply::status(429).with("RateLimit", "\"api\";r=0;t=3600"),
        _ => reply,
    });
    let begin = Instant::now();
    arrives(&server, 1);
    assert!(begin.elapsed() >= Duration::from_millis(120));
}

#[test]
fn a_failing_server_is_tried_five_times() {
    let server = faulty_content(|_, before, reply| if before < 4 { Reply::status(500) } else { reply });
    arrives(&server, 5);
    let server = faulty_content(|_, _, _| Reply::status(502));
    let error = fails(&server);
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.chain().contains("gave up after 5 attempts") && error.chain().contains("502"), "{}", error.chain());
    assert_eq!(server.gets(CONTENT).len(), 5);
}

#[test]
fn a_stalled_server_is_left_and_resumed() {
    let server = faulty_content(|_, before, reply| if before == 0 { reply.cut(1_000_000).stall(9_000) } else { reply });
    let begin = Instant::now();
    assert_eq!(arrives(&server, 2), [None, Some(1_000_000)]);
    let server = Server::start(|_, _| Reply::status(200).with("Content-Length", "5").stall(9_000));
    assert_eq!(fails(&server).kind(), ErrorKind::Io);
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
}

#[test]
fn what_will_not_get_better_is_not_repeated() {
    let cache = tempfile::tempdir().unwrap();
    for (status, token, code, kind, hint) in [
        (401, None, "", ErrorKind::Io, "set HF_TOKEN"),
        (401, Some("hf_x"), "", ErrorKind::Io, "does not accept the token"),
        (403, Some("hf_x"), "GatedRepo", ErrorKind::Io, "terms must be accepted"),
        (404, None, "RepoNotFound", ErrorKind::NotFound, "no such model"),
        (404, None, "RevisionNotFound", ErrorKind::NotFound, "no such revision"),
        (404, None, "EntryNotFound", ErrorKind::NotFound, "has no model.safetensors"),
        (404, None, "", ErrorKind::NotFound, "has no model.safetensors"),
        (400, None, "", ErrorKind::Io, r#"HTTP status 400 (bad \"thing\")"#),
    ] {
        let server = Server::start(move |_, _| {
            Reply::status(status).with("X-Error-Code", code).with("X-Error-Message", r#"bad "thing""#)
        });
        let model = source_at(&server.endpoint(), cache.path(), None, token);
        let error = model.require(FILE, &mut quiet).unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {code}");
        assert!(error.chain().contains(hint), "{}", error.chain());
        assert!(!error.chain().contains("hf_x"));
        // The hub is asked once for the names that may be there instead.
        let asked = server.asked();
        assert_eq!(asked.iter().filter(|asked| asked.path.ends_with(FILE)).count(), 1);
        assert_eq!(asked.len() > 1, hint.starts_with("has no"), "{asked:?}");
    }
}

#[test]
fn redirects_end() {
    let server = Server::start(|_, _| Reply::status(302).with("Location", "/again"));
    assert!(fails(&server).chain().contains("redirects without end"));
    let server = Server::start(|_, _| Reply::status(302).with("Location", "file:///etc/passwd"));
    assert_eq!(fails(&server).kind(), ErrorKind::Malformed);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn hostile_names_and_headers_reach_no_path() {
    let cache = tempfile::tempdir().unwrap();
    let server = toy().serve();
    for name in ["../config.json", "/etc/passwd", "a/../../b", "..\\b", ""] {
        let model = source(&server, cache.path());
        assert_eq!(model.locate(name, &mut quiet).unwrap_err().kind(), ErrorKind::Malformed);
        assert_eq!(model.audit(name).unwrap_err().kind(), ErrorKind::Malformed);
        assert_eq!(model.inspect(name, &mut quiet).unwrap_err().kind(), ErrorKind::Malformed);
    }
    assert_eq!(server.connections(), 0);
    let outside = "../../../../evil";
    for (tag, commit) in [(outside, COMMIT), ("", COMMIT), ("\"ok\"", outside), ("ok", "main"), ("a/b", COMMIT)] {
        let server = faulty(move |_, _, reply| reply.with("X-Linked-Etag", tag).with("X-Repo-Commit", commit));
        assert!(fails(&server).chain().contains("names neither commit nor content"), "{tag} {commit}");
    }
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn the_callback_stops_the_work_and_what_came_is_kept() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    let model = source(&server, cache.path());
    let error = model
        .require(FILE, &mut |now| if now.bytes_done > 1 << 20 { Err(err!(StaleShard, "enough")) } else { Ok(()) })
        .unwrap_err();
    assert_eq!((error.kind(), error.chain().as_str()), (ErrorKind::StaleShard, "enough"), "passed on as it is");
    let left = leftovers(cache.path());
    assert_eq!(left.len(), 1);
    let kept = fs::metadata(&left[0]).unwrap().len() as usize;
    assert!(kept > 1 << 20);
    model.require(FILE, &mut quiet).unwrap();
    assert_eq!(server.gets(CONTENT).iter().map(Asked::from).collect::<Vec<_>>(), [None, Some(kept)]);
    assert_eq!(leftovers(cache.path()), Vec::<PathBuf>::new());
}

#[test]
fn waits_can_be_stopped() {
    // While a server asks to wait.
    let server = Server::start(|_, _| Reply::status(503).with("Retry-After", "100"));
    let cache = tempfile::tempdir().unwrap();
    let mut calls = 0;
    let stop = &mut |_| {
        calls += 1;
        if calls > 2 { Err(err!(Cancelled, "stop")) } else { Ok(()) }
    };
    assert_eq!(source(&server, cache.path()).require(FILE, stop).unwrap_err().kind(), ErrorKind::Cancelled);
    // While another process holds the lock.
    let server = toy().serve();
    let lock = cache.path().join(".locks/models--org--toy").join(format!("{}.lock", sha256(&weights())));
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let begin = Instant::now();
    let model = source(&server, cache.path());
    let late = &mut |_| {
        if begin.elapsed() > Duration::from_millis(150) { Err(err!(Cancelled, "stop")) } else { Ok(()) }
    };
    assert_eq!(model.require(FILE, late).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(server.count("GET"), 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let path = model.require(FILE, &mut quiet);
            done.store(true, Ordering::SeqCst);
            path
        });
        std::thread::sleep(Duration::from_millis(150));
        assert!(!done.load(Ordering::SeqCst));
        held.unlock().unwrap();
        assert!(waiting.join().unwrap().is_ok());
    });
}

#[test]
fn a_damaged_content_in_the_cache_is_replaced() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    let blob = repository(cache.path()).join("blobs").join(sha256(&weights()));
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, b"cut off by a crash").unwrap();
    source(&server, cache.path()).require(FILE, &mut quiet).unwrap();
    assert!(fs::read(&blob).unwrap() == weights());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let (server, scratch) = (toy().serve(), tempfile::tempdir().unwrap());
    let cache = scratch.path().join("file");
    fs::write(&cache, b"").unwrap();
    let error = source(&server, &cache).require(FILE, &mut quiet).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.chain().contains(cache.to_str().unwrap()), "{}", error.chain());
}
