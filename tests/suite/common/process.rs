//! Processes: this one from outside, its memory and its threads; others, to their end; and copies of this one that run one test alone.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long another process may take. Under valgrind on a busy machine the longest takes minutes.
const LIMIT: Duration = Duration::from_mins(15);
/// How long what such a process has started may outlive it.
const AFTER: Duration = Duration::from_secs(20);

/// Runs a command to its end, without input. A test fails, and does not wait for ever, if the process does not end, or if another one
/// that it has started does not, and so keeps the outputs open: all of them are killed.
pub(crate) fn output(command: &mut Command) -> Output {
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn();
    let child = started.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    end(child, LIMIT).unwrap_or_else(|what| panic!("{what}: {command:?}"))
}

/// The end of a process of a group of its own, whose outputs are piped, within a time.
pub(crate) fn end(mut child: Child, limit: Duration) -> Result<Output, String> {
    let (stdout, stderr) = (child.stdout.take().map(reader), child.stderr.take().map(reader));
    let ended = wait(&mut child, limit);
    if ended.is_none() {
        kill(&child);
    }
    let status = child.wait().unwrap();
    let mut complete = true;
    let mut bytes = |from: Option<Receiver<Vec<u8>>>| {
        let Some(from) = from else { return Vec::new() };
        from.recv_timeout(AFTER).unwrap_or_else(|_| {
            complete = false;
            kill(&child);
            from.recv().unwrap()
        })
    };
    let output = Output { status, stdout: bytes(stdout), stderr: bytes(stderr) };
    let said = || String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    match (ended, complete) {
        (None, _) => Err(format!("was not over after {} s; it said {:?}", limit.as_secs(), said())),
        (Some(_), false) => Err(format!("{status}, but left a process behind; it said {:?}", said())),
        (Some(_), true) => Ok(output),
    }
}

/// Waits so long at most.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let begin = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if begin.elapsed() > limit {
            return None;
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(10));
    }
}

/// Ends the process and all of its group.
fn kill(child: &Child) {
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
}

/// All that comes, read by a thread of its own.
fn reader(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (to, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        to.send(bytes)
    });
    receiver
}

/// Runs the ignored test `part` of `module` (the caller's `module_path!()`) in a process of its own, which must pass.
pub(crate) fn child(module: &str, part: &str, environment: &[(&str, &str)]) {
    // The test runner's names leave out the crate's.
    let name = format!("{}::{part}", module.split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.envs(environment.iter().copied());
    let output = output(&mut command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{name}: {text}");
}

/// A line of /proc/self/status, such as `VmSize`, `VmHWM` or `RssAnon`, in bytes.
pub(crate) fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Lets `VmHWM` begin again at what is resident now, and returns that.
pub(crate) fn reset_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    memory("VmHWM")
}

/// What this process maps of some files, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    pub(crate) size: u64,
    /// Bytes of it that are in memory.
    pub(crate) resident: u64,
    /// Bytes in memory that no other process has mapped.
    pub(crate) private: u64,
}

/// What this process maps of the files in `folder`.
pub(crate) fn mapped(folder: &std::path::Path) -> Mapped {
    let folder = folder.to_str().unwrap();
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut inside, mut mapped) = (false, Mapped::default());
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let bytes = |kb: &str| kb.parse::<u64>().unwrap() * 1024;
        match (words.next(), words.next()) {
            (Some("Size:"), Some(kb)) if inside => mapped.size += bytes(kb),
            (Some("Rss:"), Some(kb)) if inside => mapped.resident += bytes(kb),
            (Some("Private_Clean:" | "Private_Dirty:"), Some(kb)) if inside => mapped.private += bytes(kb),
            (Some(first), _) if !first.ends_with(':') => inside = line.contains(folder),
            _ => {}
        }
    }
    mapped
}
