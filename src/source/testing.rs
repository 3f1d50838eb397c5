//! A toy hub on the loopback interface, which fails as a test asks it to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that the request asks for.
    pub(super) fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }

    pub(super) fn is_get(&self, file: &str) -> bool {
        self.method == "GET" && self.path.ends_with(file)
    }
}

/// An answer, with its faults.
#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Bytes of the body after which the connection is closed, or stalls.
    pub(super) cut: Option<usize>,
    /// How long the connection stalls before it is closed.
    pub(super) stall: Duration,
    /// Whether there is no `Content-Length`: then the body ends with the connection.
    pub(super) endless: bool,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub(super) fn stall(mut self, millis: u64) -> Self {
        self.stall = Duration::from_millis(millis);
        self
    }
}

type Handler = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

/// A server. Stops when dropped.
pub(super) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers with `handler(request, how many of the same method and path came before)`.
    pub(super) fn start(handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, connections, stop) = <(Arc<Mutex<Vec<Asked>>>, Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let handler: Arc<Handler> = Arc::new(handler);
        let thread = std::thread::spawn({
            let (asked, connections, stop) = (Arc::clone(&asked), Arc::clone(&connections), Arc::clone(&stop));
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (asked, handler, stop) = (Arc::clone(&asked), Arc::clone(&handler), Arc::clone(&stop));
                    std::thread::spawn(move || serve(&stream, &asked, &*handler, &stop));
                }
            }
        });
        Self { address, asked, connections, stop, thread: Some(thread) }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// The requests that fetched `file`.
    pub(super) fn gets(&self, file: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.is_get(file)).collect()
    }

    pub(super) fn count(&self, method: &str) -> usize {
        self.asked.lock().iter().filter(|asked| asked.method == method).count()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: &TcpStream, all: &Mutex<Vec<Asked>>, handler: &Handler, stop: &AtomicBool) {
    let Some(asked) = read(stream) else { return };
    let before = {
        let mut all = all.lock();
        let before = all.iter().filter(|other| other.method == asked.method && other.path == asked.path).count();
        all.push(asked.clone());
        before
    };
    let reply = handler(&asked, before);
    let mut head = vec![format!("HTTP/1.1 {} Toy", reply.status), "Connection: close".to_owned()];
    head.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let own_length = reply.headers.iter().any(|(name, _)| *name == "Content-Length");
    if !own_length && !reply.endless {
        head.push(format!("Content-Length: {}", reply.body.len()));
    }
    let body = if asked.method == "HEAD" { &[][..] } else { &reply.body[..reply.cut.unwrap_or(reply.body.len())] };
    let mut out = stream;
    let _ = out.write_all((head.join("\r\n") + "\r\n\r\n").as_bytes()).and_then(|()| out.write_all(body));
    let mut left = reply.stall;
    while !left.is_zero() && !stop.load(Ordering::SeqCst) {
        let slice = left.min(Duration::from_millis(20));
        std::thread::sleep(slice);
        left -= slice;
    }
    let _ = stream.shutdown(Shutdown::Write);
}

fn read(stream: &TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Asked { method, path, headers })
}

/// The commit of the toy's main branch.
pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A model `org/toy`, served as the hub does: small files directly, `*.safetensors` by way of `/cdn/...`.
#[derive(Debug, Clone)]
pub(super) struct Model {
    files: BTreeMap<&'static str, Vec<u8>>,
    /// Where large files are redirected to.
    cdn: String,
}

impl Model {
    pub(super) fn new(files: &[(&'static str, &[u8])]) -> Self {
        Self { files: files.iter().map(|(name, content)| (*name, content.to_vec())).collect(), cdn: String::new() }
    }

    pub(super) fn cdn(mut self, address: impl Into<String>) -> Self {
        self.cdn = address.into();
        self
    }

    pub(super) fn serve(self) -> Server {
        Server::start(move |asked, _| self.answer(asked))
    }

    /// The answer of a hub without faults.
    pub(super) fn answer(&self, asked: &Asked) -> Reply {
        let cdn = asked.path.strip_prefix("/cdn/");
        let name = cdn.or_else(|| asked.path.strip_prefix("/org/toy/resolve/")?.split_once('/').map(|(_, name)| name));
        let Some(content) = name.and_then(|name| self.files.get(name)) else {
            return Reply::status(404).with("X-Repo-Commit", COMMIT).with("X-Error-Code", "EntryNotFound");
        };
        let large = name.is_some_and(|name| name.ends_with(".safetensors"));
        let mut reply = Reply::status(200);
        if cdn.is_none() {
            reply = reply.with("X-Repo-Commit", COMMIT);
        }
        if large && cdn.is_none() {
            return Reply { status: 302, ..reply }
                .with("X-Linked-Etag", format!("\"{}\"", sha256(content)))
                .with("X-Linked-Size", content.len().to_string())
                .with("Location", format!("{}/cdn/{}", self.cdn, name.unwrap_or_default()));
        }
        reply = reply.with("ETag", format!("\"{}\"", if large { "cdn-tag".to_owned() } else { git_hash(content) }));
        match asked.from() {
            Some(from) if from >= content.len() => {
                Reply::status(416).with("Content-Range", format!("bytes */{}", content.len()))
            }
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
                let body = content[from..].to_vec();
                Reply { status: 206, body, ..reply }.with("Content-Range", range)
            }
            None => Reply { body: content.clone(), ..reply },
        }
    }
}

pub(super) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

pub(super) fn git_hash(content: &[u8]) -> String {
    hex(&Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
