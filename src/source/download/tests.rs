//! A download asks the hub for each file once, sends the token to the hub alone, and leaves the cache as Python's
//! client would. Faults of the network are in `fault_tests.rs`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::source::hub::Variables;
use crate::source::hub::{HubCache, NoNetwork};
use crate::source::testing::{Asked, COMMIT, Model, Reply, Server, git_hash, sha256};
use crate::source::{NetworkOptions, SourceOptions, open_with};

/// 3 MiB and a bit, for more than one report of progress.
pub(super) fn weights() -> Vec<u8> {
    (0..(3_u32 << 20) + 17).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub(super) fn toy() -> Model {
    Model::new(&[("config.json", b"{}"), ("sub/a b.json", b"[1]"), ("model.safetensors", &weights())])
}

pub(super) fn patience() -> NetworkOptions {
    NetworkOptions {
        connect_timeout: Duration::from_secs(5),
        read_timeout: Some(Duration::from_millis(300)),
        attempts: 5,
        backoff: Duration::from_millis(2),
        longest_wait: Duration::from_millis(120),
        use_proxy: false,
    }
}

pub(super) fn source_at(endpoint: &str, cache: &Path, revision: Option<&str>, token: Option<&str>) -> HubDownload {
    let client = Client::new(endpoint, token, patience()).unwrap();
    let id = HubId::parse("org/toy").unwrap();
    HubDownload::new(id, Revision::parse(revision).unwrap(), cache, client)
}

pub(super) fn source_through(server: &Server, cache: &Path, proxies: Proxies) -> HubDownload {
    let client = Client::new(&server.endpoint(), None, patience()).unwrap().through(proxies);
    HubDownload::new(HubId::parse("org/toy").unwrap(), Revision::parse(None).unwrap(), cache, client)
}

pub(super) fn source(server: &Server, cache: &Path) -> HubDownload {
    source_at(&server.endpoint(), cache, None, None)
}

#[allow(clippy::unnecessary_wraps, reason = "a callback's form")]
pub(super) fn quiet(_: Transfer) -> Result<()> {
    Ok(())
}

pub(super) fn repository(cache: &Path) -> PathBuf {
    cache.join("models--org--toy")
}

/// The files in the cache that a download must not leave behind.
pub(super) fn leftovers(cache: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "tmp" || e == "incomplete") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(cache, &mut found);
    found
}

#[test]
fn a_small_file_that_is_too_large_is_not_fetched() {
    let scratch = tempfile::tempdir().unwrap();
    let server = toy().serve();
    let source = source(&server, scratch.path());
    let error = source.read("config.json", 1, &mut quiet).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("`config.json`") && error.to_string().contains("2 bytes"), "{error}");
    assert!(server.gets("config.json").is_empty());
    assert_eq!(source.read("config.json", 2, &mut quiet).unwrap().unwrap(), b"{}");
}

#[test]
fn the_cache_is_laid_out_as_the_hubs_own_tools_do() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    let model = source(&server, cache.path());
    let on = &mut quiet;
    let weights = weights();
    assert_eq!(model.read("config.json", 99, on).unwrap().unwrap(), b"{}");
    assert_eq!(model.read("sub/a b.json", 99, on).unwrap(), None, "the toy does not unescape names");
    let path = model.require("model.safetensors", on).unwrap();
    assert_eq!(fs::read(&path).unwrap(), weights);
    assert_eq!(model.locate("absent.json", on).unwrap(), None);

    let root = repository(cache.path());
    let snapshot = root.join("snapshots").join(COMMIT);
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(path, snapshot.join("model.safetensors"));
    #[cfg(unix)]
    {
        let blobs = Path::new("../../blobs");
        assert_eq!(fs::read_link(&path).unwrap(), blobs.join(sha256(&weights)));
        assert_eq!(fs::read_link(snapshot.join("config.json")).unwrap(), blobs.join(git_hash(b"{}")));
    }
    assert!(root.join(".no_exist").join(COMMIT).join("absent.json").exists());
    assert!(cache.path().join("CACHEDIR.TAG").exists());
    assert!(cache.path().join(".locks/models--org--toy").join(format!("{}.lock", sha256(&weights))).exists());
    assert_eq!(leftovers(cache.path()), Vec::<PathBuf>::new());
}

#[test]
fn each_file_is_asked_for_once_and_a_cached_model_costs_one_question() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    let on = &mut quiet;
    let model = source(&server, cache.path());
    for _ in 0..3 {
        model.require_all(&["config.json", "model.safetensors"], on).unwrap();
        assert_eq!(model.locate("absent.json", on).unwrap(), None);
    }
    // The redirect to the storage is followed for the content only.
    assert_eq!(server.count("HEAD"), 3);
    assert_eq!(server.count("GET"), 3);
    assert!(server.asked()[1..].iter().all(|a| !a.path.contains("/main/")), "later files come from the first's commit");

    let again = source(&server, cache.path());
    again.require_all(&["config.json", "model.safetensors"], on).unwrap();
    assert_eq!(again.locate("absent.json", on).unwrap(), None);
    assert_eq!((server.count("HEAD"), server.count("GET")), (4, 3));

    let pinned = source_at(&server.endpoint(), cache.path(), Some(COMMIT), None);
    pinned.require_all(&["model.safetensors"], on).unwrap();
    assert_eq!(server.count("HEAD"), 4, "a commit cannot move");
}

#[test]
fn a_pinned_commit_is_fetched_without_a_reference() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    source_at(&server.endpoint(), cache.path(), Some(COMMIT), None).require("config.json", &mut quiet).unwrap();
    assert!(server.asked().iter().all(|asked| asked.path.contains(COMMIT)));
    assert!(!repository(cache.path()).join("refs").exists());
    source_at(&server.endpoint(), cache.path(), Some("refs/pr/1"), None).require("config.json", &mut quiet).unwrap();
    assert!(server.asked().last().unwrap().path.contains("/refs%2Fpr%2F1/"));
    assert!(repository(cache.path()).join("refs/refs/pr/1").exists());
}

#[test]
fn names_are_escaped_and_deep_files_are_linked() {
    let (cache, content) = (tempfile::tempdir().unwrap(), b"[1]");
    let server = Server::start(|_, _| {
        let tag = git_hash(b"[1]");
        Reply { body: b"[1]".to_vec(), ..Reply::status(200) }.with("ETag", tag).with("X-Repo-Commit", COMMIT)
    });
    let path = source(&server, cache.path()).require("sub/deep/a b?.json", &mut quiet).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
    assert!(server.asked()[0].path.ends_with("/sub/deep/a%20b%3F.json"));
    #[cfg(unix)]
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../../../../blobs").join(git_hash(content)));
}

#[test]
fn the_token_stays_with_the_hub() {
    let storage = toy().serve();
    let cache = tempfile::tempdir().unwrap();
    // The same machine by another name, as a storage host would be.
    let hub = toy().cdn(format!("http://localhost:{}", storage.port())).serve();
    let model = source_at(&hub.endpoint(), cache.path(), None, Some("hf_secret"));
    model.require_all(&["config.json", "model.safetensors"], &mut quiet).unwrap();
    let carries = |asked: &Asked| asked.header("authorization") == Some("Bearer hf_secret");
    assert_eq!(hub.count("GET") + hub.count("HEAD"), 4);
    assert!(hub.asked().iter().all(carries));
    assert_eq!(storage.asked().len(), 1);
    assert!(!storage.asked().iter().any(|asked| asked.headers.values().any(|value| value.contains("secret"))));
    assert!(!format!("{model:?}").contains("secret"));
    assert!(Client::new("http://x", Some("a\nb"), patience()).is_err());
}

#[test]
fn progress_is_heard_for_each_mebibyte() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    let model = source(&server, cache.path());
    let mut heard = Vec::new();
    model
        .require_all(&["config.json", "model.safetensors"], &mut |now| {
            heard.push(now);
            Ok(())
        })
        .unwrap();
    let total = weights().len() as u64 + 2;
    assert_eq!(heard.last().unwrap(), &Transfer { bytes_done: total, bytes_total: total });
    let counted = heard.iter().filter(|now| now.bytes_total > 2);
    let steps: Vec<u64> = counted.map(|now| now.bytes_done).collect();
    assert!(steps.windows(2).all(|w| w[1] >= w[0] && w[1] - w[0] <= (1 << 20) + (256 << 10)), "{steps:?}");
}

/// A hub cannot be listed, so the likeliest names are asked for.
#[test]
fn what_a_model_has_in_place_of_safetensors_is_told() {
    let cache = tempfile::tempdir().unwrap();
    let server = Model::new(&[("config.json", b"{}"), ("pytorch_model.bin", b"PK")]).serve();
    let error = source(&server, cache.path()).require("model.safetensors", &mut quiet).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("there is `pytorch_model.bin`, weights in PyTorch's own form"), "{error}");
    assert_eq!(server.count("GET"), 0);
}

#[test]
fn copies_take_the_place_of_links_if_that_is_wished() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    let path = source(&server, cache.path()).copying(true).require("config.json", &mut quiet).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read(path).unwrap(), b"{}");
}

#[test]
fn all_that_is_missing_is_named_before_anything_is_fetched() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    let error = source(&server, cache.path())
        .require_all(&["model.safetensors", "x.safetensors", "y.safetensors"], &mut quiet)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("x.safetensors, y.safetensors"), "{error}");
    assert_eq!(server.count("GET"), 0);
}

#[test]
fn threads_and_sources_fetch_each_content_once() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    let shared = Arc::new(source(&server, cache.path()));
    let other = source(&server, cache.path());
    std::thread::scope(|scope| {
        for i in 0..6 {
            let (shared, other) = (&shared, &other);
            scope.spawn(move || {
                let model: &HubDownload = if i % 2 == 0 { shared } else { other };
                let path = model.require("model.safetensors", &mut quiet).unwrap();
                assert_eq!(fs::read(path).unwrap(), weights());
            });
        }
    });
    assert_eq!(server.gets("/cdn/model.safetensors").len(), 1);
    assert_eq!(leftovers(cache.path()), Vec::<PathBuf>::new());
}

/// Shards that share a file, fetched by two processes at once.
#[test]
fn processes_fetch_what_they_share_once() {
    let (left, right) = (weights(), weights()[..1 << 20].to_vec());
    let files: [(&str, &[u8]); 4] = [
        ("config.json", b"{}"),
        ("left.safetensors", &left[1..]),
        ("shared.safetensors", &left),
        ("right.safetensors", &right),
    ];
    let (model, both) = (Model::new(&files), Arc::new(std::sync::Barrier::new(2)));
    let (server, cache) = {
        let both = Arc::clone(&both);
        let handler = move |asked: &Asked, _| {
            // Each process waits here until both have begun.
            if asked.method == "HEAD" && asked.path.ends_with("/main/config.json") {
                both.wait();
            }
            let reply = model.answer(asked);
            // The first answer is slow, so that the other process waits for it.
            if asked.is_get("/cdn/shared.safetensors") { reply.stall(300) } else { reply }
        };
        (Server::start(handler), tempfile::tempdir().unwrap())
    };
    let children = ["left.safetensors", "right.safetensors"].map(|own| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "source::download::tests::child_fetches", "--ignored", "--nocapture"])
            .env("ENDPOINT", server.endpoint())
            .env("CACHE", cache.path())
            .env("OWN", own)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    });
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
    for file in ["/config.json", "/cdn/left.safetensors", "/cdn/shared.safetensors", "/cdn/right.safetensors"] {
        assert_eq!(server.gets(file).len(), 1, "{file}");
    }
    assert_eq!(leftovers(cache.path()), Vec::<PathBuf>::new());
    let snapshot = repository(cache.path()).join("snapshots").join(COMMIT);
    for (file, content) in files {
        assert_eq!(fs::read(snapshot.join(file)).unwrap(), content, "{file}");
    }
}

#[test]
#[ignore = "a child's part"]
fn child_fetches() {
    let variable = |name| std::env::var(name).unwrap();
    let model = source_at(&variable("ENDPOINT"), Path::new(&variable("CACHE")), None, None);
    let own = variable("OWN");
    model.require_all(&["config.json", "shared.safetensors", &own], &mut quiet).unwrap();
    assert_eq!(fs::read(model.require("shared.safetensors", &mut quiet).unwrap()).unwrap(), weights());
}

#[test]
fn offline_opens_no_socket() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    source(&server, cache.path()).require_all(&["config.json"], &mut quiet).unwrap();
    let before = server.connections();
    let options = SourceOptions {
        cache_dir: Some(cache.path().to_owned()),
        endpoint: Some(server.endpoint()),
        network: patience(),
        ..SourceOptions::default()
    };
    let by_option = SourceOptions { offline: true, ..options.clone() };
    let none = |_: &str| None;
    let open = |model: &str, options, variables: Variables<'_>| {
        open_with(model, None, options, variables, cache.path()).unwrap()
    };
    let spellings = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().flat_map(|name| {
        ["1", "yes", "ON", "True", "YES"].map(|value| move |asked: &str| (asked == name).then(|| value.into()))
    });
    let spellings: Vec<_> = spellings.collect();
    let mut offline = vec![open("org/toy", &by_option, &none)];
    offline.extend(spellings.iter().map(|off| open("org/toy", &options, off)));
    for model in offline {
        let on = &mut quiet;
        assert_eq!(model.read("config.json", 9, on).unwrap().unwrap(), b"{}");
        let error = model.require_all(&["config.json", "model.safetensors", "b.safetensors"], on).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Offline);
        assert!(error.to_string().contains("model.safetensors, b.safetensors"), "{error}");
        assert_eq!(model.inspect("other", on).unwrap(), FileState::Missing { size: None });
        assert!(!model.has("other", on).unwrap());
    }
    let never = open("org/never", &by_option, &none);
    assert_eq!(never.require("config.json", &mut quiet).unwrap_err().kind(), ErrorKind::Offline);
    // An audit opens no socket, even if the engine is not offline; it knows sizes only after somebody has asked.
    let model = open("org/toy", &options, &none);
    assert!(matches!(model.audit("config.json").unwrap(), FileState::Present { size: 2, .. }));
    assert_eq!(model.audit("model.safetensors").unwrap(), FileState::Missing { size: None });
    assert_eq!(server.connections(), before);
    model.inspect("model.safetensors", &mut quiet).unwrap();
    let size = Some(weights().len() as u64);
    assert_eq!(model.audit("model.safetensors").unwrap(), FileState::Missing { size });
}

#[test]
fn without_a_network_the_cache_still_serves() {
    let cache = tempfile::tempdir().unwrap();
    let server = toy().serve();
    source(&server, cache.path()).require_all(&["config.json"], &mut quiet).unwrap();
    let endpoint = server.endpoint();
    drop(server);
    let model = source_at(&endpoint, cache.path(), None, None);
    assert_eq!(model.read("config.json", 9, &mut quiet).unwrap().unwrap(), b"{}");
    let error = model.require_all(&["config.json", "model.safetensors", "b"], &mut quiet).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().ends_with("Missing: model.safetensors, b"), "{error}");
    assert!(error.chain().contains("cannot be reached"), "{}", error.chain());
    let empty = tempfile::tempdir().unwrap();
    let error = source_at(&endpoint, empty.path(), None, None).require("config.json", &mut quiet).unwrap_err();
    assert!(error.to_string().starts_with("no folder `org/toy` is here"), "{error}");
    assert!(error.chain().contains("gave up after 5 attempts"), "{}", error.chain());
}

#[test]
fn what_was_downloaded_is_what_the_cache_reads() {
    let (server, cache) = (toy().serve(), tempfile::tempdir().unwrap());
    source(&server, cache.path()).require_all(&["config.json", "model.safetensors"], &mut quiet).unwrap();
    for revision in [None, Some(COMMIT)] {
        let (id, revision) = (HubId::parse("org/toy").unwrap(), Revision::parse(revision).unwrap());
        let offline = HubCache::new(id, revision, cache.path(), NoNetwork::Offline);
        assert_eq!(offline.read_required("model.safetensors", 1 << 30, &mut quiet).unwrap(), weights());
    }
}
