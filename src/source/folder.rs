//! A model folder on the local disk.

use std::ffi::OsStr;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use super::files::{self, FileState, ModelFiles, OnTransfer, Transfer};
use super::formats;
use super::name::{self, place};
use super::names;
use crate::error::{Error, Result, bail, err};

/// A folder with config.json, safetensors and, for text, tokenizer.json.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
    /// The folders that links may lead to: the folder itself, and the blobs of a hub cache if the folder is a
    /// snapshot there.
    homes: Vec<PathBuf>,
}

/// The folder of the file at `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `path` as an absolute one, which stays right if the process changes its working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    // This fails for an empty path, or without a working directory. Whoever uses the path reports that.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Folder {
    /// The folder at `path`. From now on its real path names it.
    ///
    /// # Errors
    /// `NotFound` if nothing is there, `InvalidArgument` if it is not a folder, `Io`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => bail!(
                InvalidArgument,
                "model `{}` is not a folder: name the folder in which config.json and model.safetensors lie{}",
                place(path),
                formats::instead(&[names::CONFIG], &[file_name(path)], |_| false)
            ),
            Err(_) if files::is_nothing(path) => bail!(NotFound, "model folder `{}` does not exist", place(path)),
            Err(e) => return Err(err!(Io, "model folder `{}` cannot be read", place(path)).with_source(e)),
        }
        let real = std::fs::canonicalize(path)
            .map_err(|e| err!(Io, "model folder `{}` cannot be read", place(path)).with_source(e))?;
        let mut homes = blob_stores(&real);
        homes.push(real.clone());
        Ok(Self { root: real, homes })
    }

    /// The folder in which the file `path` lies, and its name there.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); `NotFound` if nothing is there, `InvalidArgument` if `path` does not end in a UTF-8
    /// file name.
    pub(crate) fn around(path: &Path) -> Result<(Self, &str)> {
        if files::is_nothing(path) {
            bail!(NotFound, "`{}` does not exist", place(path));
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| err!(InvalidArgument, "`{}` does not end in a file name", place(path)))?;
        Ok((Self::open(folder_of(path))?, name))
    }

    /// The path of `name` in the folder, whether or not the file exists.
    ///
    /// # Errors
    /// `Malformed` for a name that leads out of the folder.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.root.join(name::check(name)?))
    }

    /// Path and size of `name`, if it is there.
    ///
    /// A link may point to another file of the folder, or to a file in the hub's cache, as links that `hf download
    /// --local-dir` made do. A link that points elsewhere is refused: a stranger's model folder must not be able to
    /// name files of this machine.
    fn find(&self, name: &str) -> Result<Option<(PathBuf, u64)>> {
        let path = self.path(name)?;
        let real = match std::fs::canonicalize(&path) {
            Ok(real) => real,
            Err(e) if matches!(e.kind(), IoKind::NotFound | IoKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(err!(Io, "`{}` cannot be read", place(&path)).with_source(e)),
        };
        if !self.homes.iter().any(|home| real.starts_with(home)) && !is_cached(&real) {
            bail!(
                Malformed,
                "`{}` is a link to `{}`, outside the model folder and the hub's cache: put the file itself into the folder",
                place(&path),
                place(&real)
            );
        }
        Ok(files::size_of(&path)?.map(|size| (path, size)))
    }
}

impl ModelFiles for Folder {
    fn locate(&self, name: &str, on: &mut OnTransfer<'_>) -> Result<Option<PathBuf>> {
        let Some((path, size)) = self.find(name)? else { return Ok(None) };
        on(Transfer { bytes_done: size, bytes_total: size })?;
        Ok(Some(path))
    }

    fn audit(&self, name: &str) -> Result<FileState> {
        Ok(self.find(name)?.map_or(FileState::Absent, |(path, size)| FileState::Present { path, size }))
    }

    fn missing(&self, names: &[&str]) -> Error {
        let instead = formats::instead(names, &listing(&self.root), |_| false);
        err!(NotFound, "model folder `{}` does not hold {}{instead}", place(&self.root), files::list(names))
    }

    fn describe(&self) -> String {
        format!("model folder `{}`", place(&self.root))
    }
}

/// The names in `folder`, sorted; none if it cannot be read.
pub(super) fn listing(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn file_name(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

/// Whether `real` is a file of a hub cache: `models--ORG--NAME/blobs/...`, `models--ORG--NAME/snapshots/...`, or the
/// one that several models share, `blobs/HA/HASH`. Such files came from the hub, and their names tell their content.
fn is_cached(real: &Path) -> bool {
    let names: Vec<&str> = real.iter().rev().map(|name| name.to_str().unwrap_or_default()).take(3).collect();
    if let [hash, begin, "blobs"] = names[..] {
        return hash.len() == 64
            && begin.len() == 2
            && hash.starts_with(begin)
            && hash.bytes().all(|b| b.is_ascii_hexdigit());
    }
    real.ancestors().skip(1).zip(real.ancestors().skip(2)).any(|(inner, outer)| {
        (inner.ends_with("blobs") || inner.ends_with("snapshots")) && file_name(outer).starts_with("models--")
    })
}

/// If `root` is a snapshot of a hub cache (`CACHE/models--ORG--NAME/snapshots/COMMIT`): the folders that its links
/// lead to. These are `models--ORG--NAME/blobs` and `CACHE/blobs`, where newer Python clients keep what several
/// models share.
fn blob_stores(root: &Path) -> Vec<PathBuf> {
    let Some(snapshots) = root.parent().filter(|p| p.ends_with("snapshots")) else { return Vec::new() };
    let Some(repository) = snapshots.parent() else { return Vec::new() };
    let named = repository.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("models--"));
    if !named {
        return Vec::new();
    }
    let stores = [Some(repository), repository.parent()];
    stores.into_iter().flatten().filter_map(|folder| std::fs::canonicalize(folder.join("blobs")).ok()).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn links_may_not_leave_the_folder() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("model");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/real"), b"123").unwrap();
        fs::write(scratch.path().join("secret"), b"s").unwrap();
        symlink("sub/real", root.join("inside")).unwrap();
        symlink("../secret", root.join("escape")).unwrap();
        symlink(scratch.path(), root.join("up")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();

        let folder = Folder::open(&root).unwrap();
        assert_eq!(folder.read_required("inside", 10, &mut |_| Ok(())).unwrap(), b"123");
        assert_eq!(
            folder.audit("inside").unwrap(),
            FileState::Present { path: root.join("inside"), size: 3 },
            "a link counts with the size of its target"
        );
        for name in ["escape", "up/secret"] {
            let error = folder.locate(name, &mut |_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{name}: {error}");
            assert_eq!(folder.open(name, &mut |_| Ok(())).unwrap_err().kind(), ErrorKind::Malformed);
        }
        assert_eq!(folder.audit("dangling").unwrap(), FileState::Absent);
        assert_eq!(folder.audit("sub/real/x").unwrap(), FileState::Absent);
        assert_eq!(folder.audit("loop").unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(folder.audit("sub").unwrap_err().kind(), ErrorKind::Io, "a folder is not a file");
    }

    #[test]
    fn a_snapshot_of_a_hub_cache_may_link_to_its_blobs_only() {
        let scratch = tempfile::tempdir().unwrap();
        let repository = scratch.path().join("models--a--b");
        let snapshot = repository.join("snapshots/c0ffee");
        fs::create_dir_all(repository.join("blobs")).unwrap();
        fs::create_dir_all(scratch.path().join("blobs/ab")).unwrap();
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(repository.join("blobs/e1"), b"own").unwrap();
        fs::write(scratch.path().join("blobs/ab/abcd"), b"shared").unwrap();
        fs::write(scratch.path().join("token"), b"hf_x").unwrap();
        symlink("../../blobs/e1", snapshot.join("own")).unwrap();
        symlink("../../blobs/ab/abcd", repository.join("blobs/e2")).unwrap();
        symlink("../../../blobs/ab/abcd", snapshot.join("shared")).unwrap();
        symlink("../../../token", snapshot.join("escape")).unwrap();

        let folder = Folder::open(&snapshot).unwrap();
        assert_eq!(folder.read_required("own", 10, &mut |_| Ok(())).unwrap(), b"own");
        assert_eq!(folder.read_required("shared", 10, &mut |_| Ok(())).unwrap(), b"shared");
        assert_eq!(folder.read_required("escape", 10, &mut |_| Ok(())).unwrap_err().kind(), ErrorKind::Malformed);
    }

    /// Folders of links into the hub's cache, as `hf download --local-dir` made them.
    #[test]
    fn a_folder_may_link_to_the_hubs_cache() {
        let scratch = tempfile::tempdir().unwrap();
        let (cache, root) = (scratch.path().join("hub"), scratch.path().join("model"));
        let hash = "ab".repeat(32);
        let blobs = ["models--a--b/blobs/e1", "models--a--b/snapshots/c0ffee/sub/file", &format!("blobs/ab/{hash}")];
        let others = ["token", "blobs/e1", "blobs/cd/abcd", "datasets--a--b/blobs/e1", "models--a--b/refs/main"];
        fs::create_dir(&root).unwrap();
        for (i, file) in blobs.iter().chain(&others).enumerate() {
            let path = cache.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"content").unwrap();
            symlink(&path, root.join(format!("{i}"))).unwrap();
        }
        let folder = Folder::open(&root).unwrap();
        for i in 0..blobs.len() + others.len() {
            let found = folder.read_required(&format!("{i}"), 10, &mut |_| Ok(()));
            match found {
                Ok(content) => assert!(i < blobs.len() && content == b"content", "{i}"),
                Err(error) => {
                    assert!(i >= blobs.len() && error.kind() == ErrorKind::Malformed, "{i}: {error}");
                    assert!(error.to_string().contains("put the file itself into the folder"), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_the_file_itself_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1000000\n";
        fs::write(scratch.path().join("model.safetensors"), pointer).unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        let error = folder.open("model.safetensors", &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains("is a Git LFS pointer, not the file itself: run `git lfs pull`"), "{error}");
        assert!(folder.read("model.safetensors", 1000, &mut |_| Ok(())).is_err());

        let nope = scratch.path().join("nope");
        let error = Folder::around(&nope).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::NotFound, format!("`{}` does not exist", nope.display()))
        );
        let error = Folder::around(&nope.join("x/".repeat(3000))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().len() < 400, "{error}");
    }

    #[test]
    fn a_required_file_that_is_not_there_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("a"), b"12").unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        let error = folder.require_all(&["a", "b", "c"], &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("does not hold b, c"), "{error}");
        assert_eq!(folder.read_required("a", 1, &mut |_| Ok(())).unwrap_err().kind(), ErrorKind::Malformed);
        let mut heard = Vec::new();
        folder
            .require_all(&["a", "a"], &mut |now| {
                heard.push((now.bytes_done, now.bytes_total));
                Ok(())
            })
            .unwrap();
        assert_eq!(heard, [(2, 4), (4, 4)]);
    }
}
