//! The pack cache: a folder of packs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::checkpoint::OnEvent;
use super::super::mapping::Mapping;
use super::super::new_file::NewFile;
use super::pack::Pack;
use super::quantise::{self, Target};
use super::seal;
use crate::error::{ErrorKind, Result, err};

/// Bytes that a pack cache may take unless the caller chose a limit.
pub(crate) const DEFAULT_LIMIT: u64 = 64 << 30;
const EXTENSION: &str = "safetensors";
const SEAL: &str = "seal";
/// How the names of files that are being written begin. One that a crashed process left is removed after a day.
const UNFINISHED: &str = ".unfinished-";
const ABANDONED: Duration = Duration::from_hours(24);

/// A pack cache: files `{name}-{key}.safetensors`, each with its `.seal`. Any of them may be deleted at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    folder: PathBuf,
    limit: u64,
}

impl Store {
    /// A pack cache in `folder`, which need not exist yet, of at most `limit` bytes.
    pub(crate) fn new(folder: PathBuf, limit: u64) -> Self {
        Self { folder, limit }
    }

    /// The file of `pack`: mapped if it is there and whole, else quantised, written and mapped.
    pub(super) fn take(&self, pack: &Pack, name: &str, threads: usize, on: &mut OnEvent<'_>) -> Result<Mapping> {
        let path = self.folder.join(format!("{}-{}.{EXTENSION}", tidy(name), &pack.key()[..16]));
        match open(&path, pack, on) {
            Ok(Some(mapping)) => return Ok(mapping),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => log::warn!("`{}` cannot be used: {}", path.display(), error.chain()),
        }
        let mapping = self.create(&path, pack, threads, on)?;
        self.make_room(&path);
        Ok(mapping)
    }

    fn create(&self, path: &Path, pack: &Pack, threads: usize, on: &mut OnEvent<'_>) -> Result<Mapping> {
        let failed = |e: std::io::Error| err!(Io, "`{}` cannot be written", path.display()).with_source(e);
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        let file = NewFile::with_prefix(path, UNFINISHED)?;
        file.as_file().set_len(pack.len() as u64).map_err(failed)?;
        let target = Target::File(file.as_file());
        target.write(pack.header(), 0)?;
        quantise::write(pack, threads, &target, on)?;
        let hash = seal::hash(&Mapping::new(file.as_file(), &path.to_string_lossy())?, on)?;
        // A pack without a seal is not used. So the old seal goes first, and no moment has it beside a new pack.
        let seal = path.with_extension(SEAL);
        let _ = std::fs::remove_file(&seal);
        let file = file.publish()?;
        let mapping = Mapping::new(&file, &path.to_string_lossy())?;
        seal::put(&seal, &hash, &mapping)?;
        Ok(mapping)
    }

    /// Removes the packs that have not been used for longest until the others are within the limit. `keep` stays.
    fn make_room(&self, keep: &Path) {
        let mut files = self.files();
        files.sort_by_key(|file| file.used);
        let mut sum: u64 = files.iter().map(|file| file.len).sum();
        for file in files {
            if sum <= self.limit {
                return;
            }
            if file.path != keep {
                log::info!("removing the packed shard `{}` for room", file.path.display());
                file.remove();
                sum -= file.len;
            }
        }
    }

    /// Removes every pack and returns their bytes. A pack that is in use stays readable to whoever has mapped it.
    pub(crate) fn clear(&self) -> u64 {
        self.files().iter().map(Entry::remove).sum()
    }

    fn files(&self) -> Vec<Entry> {
        let Ok(folder) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        folder.flatten().filter_map(|file| Entry::of(&file.path())).collect()
    }
}

/// A file that this module may remove from the folder.
struct Entry {
    path: PathBuf,
    len: u64,
    used: SystemTime,
}

impl Entry {
    fn of(path: &Path) -> Option<Self> {
        let len = path.metadata().ok()?.len();
        let name = path.file_name()?.to_string_lossy();
        if name.starts_with(UNFINISHED) {
            let used = path.metadata().ok()?.modified().ok()?;
            let old = used.elapsed().is_ok_and(|age| age > ABANDONED);
            return old.then(|| Self { path: path.to_owned(), len, used });
        }
        let seal = path.with_extension(SEAL);
        (path.extension()? == EXTENSION && seal.exists()).then(|| Self {
            path: path.to_owned(),
            len,
            // Opening a shard touches its seal.
            used: seal.metadata().and_then(|seal| seal.modified()).unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    fn remove(&self) -> u64 {
        let _ = std::fs::remove_file(self.path.with_extension(SEAL));
        std::fs::remove_file(&self.path).map_or(0, |()| self.len)
    }
}

/// The mapping of the file at `path`, if it is the one of `pack`, whole and sealed.
fn open(path: &Path, pack: &Pack, on: &mut OnEvent<'_>) -> Result<Option<Mapping>> {
    // Opening a pipe would wait for ever.
    if !path.is_file() {
        return Ok(None);
    }
    let Ok(file) = File::open(path) else { return Ok(None) };
    let mapping = Mapping::new(&file, &path.to_string_lossy())?;
    let bytes = mapping.bytes();
    let seal = path.with_extension(SEAL);
    if bytes.len() != pack.len() || !bytes.starts_with(pack.header()) || !seal::holds(&seal, &mapping, on)? {
        log::warn!("`{}` is damaged or of another version; it is made anew", path.display());
        return Ok(None);
    }
    // Notes when the pack was last used. If that fails, the pack may be removed earlier; nothing else happens.
    if let Ok(seal) = File::options().append(true).open(&seal) {
        let _ = seal.set_modified(SystemTime::now());
    }
    Ok(Some(mapping))
}

/// `name` with only characters that every file system takes.
fn tidy(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.chars().map(plain).take(100).collect()
}
