//! This process from outside: its memory, its threads, and copies of it that run one test alone.

use std::process::Command;

/// Runs the ignored test `part` of `module` (the caller's `module_path!()`) in a process of its own, which must pass.
pub(crate) fn child(module: &str, part: &str, environment: &[(&str, &str)]) {
    // The test runner's names leave out the crate's.
    let name = format!("{}::{part}", module.split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
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
