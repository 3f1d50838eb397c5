//! The environment variables of the hub's own tools, read as `huggingface_hub` 2.4 reads them (its `constants.py` and
//! `get_token`; transformers 5 leaves all of this to it). `tools/goldens/make_environment_golden.py` asks Python for
//! its reading of many environments, and the test below compares.
//!
//! | what         | the first that is set counts                                 | else                                  |
//! |--------------|--------------------------------------------------------------|---------------------------------------|
//! | home         | `HF_HOME`, `XDG_CACHE_HOME`/huggingface                      | ~/.cache/huggingface                  |
//! | cache        | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`                      | home/hub                              |
//! | offline      | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, if not empty       | no                                    |
//! | token        | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, if not empty           | the file `HF_TOKEN_PATH`, home/token  |
//! | ...          | none of these if `HF_HUB_DISABLE_IMPLICIT_TOKEN`             |                                       |
//! | endpoint     | `HUGGINGFACE_CO_STAGING` (a truth value), `HF_ENDPOINT`      | <https://huggingface.co>              |
//! | patience     | `HF_HUB_DOWNLOAD_TIMEOUT`, for an answer `HF_HUB_ETAG_TIMEOUT` | 30 seconds                          |
//! | copies       | `HF_HUB_DISABLE_SYMLINKS` (a truth value)                    | links, where the system has them      |
//!
//! In paths, a leading `~` or `~user` is replaced, then `$NAME` and `${NAME}`, once each. A variable that is not set
//! stays as it is written. An empty path counts as set: it means the working directory. True values are 1, on, yes
//! and true, in upper or lower case.
//!
//! Three things differ from Python: an empty `HF_ENDPOINT` counts as not set, a timeout that is no number of seconds
//! is ignored with a warning, and a cache below the `~` of an unknown user is an error. `TRANSFORMERS_CACHE` and
//! `PYTORCH_TRANSFORMERS_CACHE` are read neither by Python nor here. Tokens that have to be requested
//! (`HF_OIDC_RESOURCE`) are not requested.

#![cfg_attr(not(feature = "download"), allow(dead_code, reason = "most of it is about downloads"))]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Result, bail};
use crate::source::SourceOptions;

const HUB: &str = "https://huggingface.co";
const STAGING: &str = "https://hub-ci.huggingface.co";

/// A look-up of environment variables; tests pass their own.
pub(in crate::source) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The settings that the environment gives.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) struct Environment {
    cache: PathBuf,
    /// Whether the network is forbidden.
    pub(in crate::source) offline: bool,
    token: Option<String>,
    token_file: PathBuf,
    /// Whether the token is used where the caller gave none.
    implicit_token: bool,
    endpoint: String,
    /// How long to wait for the next byte of a file's content.
    pub(in crate::source) read_timeout: Option<Duration>,
    /// How long to wait for the hub's answer about a file.
    pub(in crate::source) answer_timeout: Option<Duration>,
    /// Whether snapshots hold copies instead of links.
    pub(in crate::source) copies: bool,
}

impl Environment {
    /// Reads `variables`.
    pub(in crate::source) fn read(variables: Variables<'_>) -> Self {
        let reader = Reader { variables };
        let staging = reader.flag("HUGGINGFACE_CO_STAGING");
        let home = reader.path(&["HF_HOME"], || {
            let caches = variables("XDG_CACHE_HOME").map_or_else(|| Path::new("~/.cache").into(), PathBuf::from);
            caches.join("huggingface")
        });
        let token_file = if staging {
            reader.path(&[], || "~/.cache/huggingface_staging/token".into())
        } else {
            reader.path(&["HF_TOKEN_PATH"], || home.join("token"))
        };
        let endpoint = if staging { STAGING.to_owned() } else { reader.text(&["HF_ENDPOINT"]).unwrap_or(HUB.into()) };
        let offline = reader.text(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]);
        Self {
            cache: reader.path(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"], || home.join("hub")),
            offline: offline.is_some_and(|text| is_true(&text)),
            token: reader.text(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]).and_then(|text| clean(&text)),
            token_file,
            implicit_token: !reader.flag("HF_HUB_DISABLE_IMPLICIT_TOKEN"),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            read_timeout: reader.seconds("HF_HUB_DOWNLOAD_TIMEOUT"),
            answer_timeout: reader.seconds("HF_HUB_ETAG_TIMEOUT"),
            copies: reader.flag("HF_HUB_DISABLE_SYMLINKS"),
        }
    }

    /// The cache folder.
    ///
    /// # Errors
    /// `InvalidArgument` if neither the options nor the environment lead to one.
    pub(in crate::source) fn cache_dir(&self, options: &SourceOptions) -> Result<PathBuf> {
        match &options.cache_dir {
            Some(path) => Ok(path.clone()),
            None if self.cache.starts_with("~") => {
                bail!(InvalidArgument, "no cache folder for models: set HF_HUB_CACHE or HF_HOME")
            }
            None => Ok(self.cache.clone()),
        }
    }

    /// The hub's address.
    pub(in crate::source) fn endpoint<'a>(&'a self, options: &'a SourceOptions) -> &'a str {
        options.endpoint.as_deref().unwrap_or(&self.endpoint)
    }

    /// The token, if there is one. A token file that cannot be read counts as none: most models need none.
    pub(in crate::source) fn token(&self, options: &SourceOptions) -> Option<String> {
        const LIMIT: u64 = 64 << 10;
        if let Some(token) = &options.token {
            return clean(token);
        }
        let file = || {
            let content = crate::source::files::read_regular(&self.token_file, LIMIT).ok()?;
            clean(str::from_utf8(&content).ok()?)
        };
        self.token.clone().or_else(file).filter(|_| self.implicit_token)
    }
}

/// Reads variables by kind.
struct Reader<'a> {
    variables: Variables<'a>,
}

impl Reader<'_> {
    /// The first of `names` that is not empty.
    fn text(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| (self.variables)(name)?.into_string().ok().filter(|text| !text.is_empty()))
    }

    fn flag(&self, name: &str) -> bool {
        self.text(&[name]).is_some_and(|text| is_true(&text))
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        let text = self.text(&[name])?;
        match text.trim().parse() {
            Ok(0) => None,
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => {
                log::warn!("{name} is not a number of seconds, and left out");
                None
            }
        }
    }

    /// The first of `names` that is set, else `default`, with `~` and variables in it replaced.
    fn path(&self, names: &[&str], default: impl FnOnce() -> PathBuf) -> PathBuf {
        let value = names.iter().find_map(|name| (self.variables)(name)).map_or_else(default, PathBuf::from);
        // A value that is not Unicode stays unchanged.
        let expanded = value.to_str().map(|text| self.expand_variables(&self.expand_user(text)));
        expanded.map_or(value, PathBuf::from)
    }

    /// As Python's `os.path.expanduser`.
    fn expand_user(&self, path: &str) -> String {
        let Some(rest) = path.strip_prefix('~') else { return path.to_owned() };
        let (user, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let home = if user.is_empty() { self.home() } else { home_of(user) };
        match home {
            None => path.to_owned(),
            Some(home) => {
                let whole = home.trim_end_matches('/').to_owned() + below;
                if whole.is_empty() { "/".to_owned() } else { whole }
            }
        }
    }

    /// As Python's `os.path.expandvars`.
    fn expand_variables(&self, path: &str) -> String {
        let mut expanded = String::with_capacity(path.len());
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            let bare = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, behind) = braced.unwrap_or(after.split_at(bare));
            match (self.variables)(name).and_then(|value| value.into_string().ok()) {
                Some(value) if braced.is_some() || bare > 0 => {
                    expanded.push_str(&value);
                    rest = behind;
                }
                _ => {
                    expanded.push('$');
                    rest = after;
                }
            }
        }
        expanded + rest
    }

    /// The home folder of the user.
    fn home(&self) -> Option<String> {
        let named = (self.variables)(if cfg!(windows) { "USERPROFILE" } else { "HOME" });
        named.or_else(|| std::env::home_dir().map(OsString::from))?.into_string().ok()
    }
}

/// The home folder of another user of this machine.
fn home_of(user: &str) -> Option<String> {
    home_among(&std::fs::read_to_string("/etc/passwd").ok()?, user)
}

/// The home folder of `user` in `users`, the lines of passwd(5).
fn home_among(users: &str, user: &str) -> Option<String> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.len() > 5 && fields[0] == user).then(|| fields[5].to_owned())
    })
}

fn is_true(text: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&text.to_uppercase().as_str())
}

/// A token without white space around it; `None` if nothing is left.
fn clean(token: &str) -> Option<String> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn with<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
    }

    /// Each environment of the golden file gives what `huggingface_hub` made of it.
    #[cfg(unix)]
    #[test]
    fn the_environment_is_read_as_python_reads_it() {
        const TOKENS: &str = "{folder}";
        let golden: Value =
            serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub_environment.json")))
                .unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().to_str().unwrap();
        for (file, content) in golden["files"].as_object().unwrap() {
            let path = scratch.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content.as_str().unwrap()).unwrap();
        }
        let rows = golden["rows"].as_array().unwrap();
        assert!(rows.len() > 80);
        for row in rows {
            let mut set: BTreeMap<String, String> = serde_json::from_value(golden["always"].clone()).unwrap();
            set.extend(serde_json::from_value::<BTreeMap<_, _>>(row["set"].clone()).unwrap());
            let mut wanted = golden["usual"].clone();
            wanted.as_object_mut().unwrap().extend(row["gives"].as_object().unwrap().clone());
            let variables = |name: &str| set.get(name).map(|value| OsString::from(value.replace(TOKENS, folder)));
            let read = Environment::read(&variables);
            let options = SourceOptions::default();
            let text = |path: &Path| path.to_str().unwrap().replace(folder, TOKENS);
            let seconds = |timeout: Option<Duration>| timeout.map(|timeout| timeout.as_secs());
            let found = json!({
                "cache": text(&read.cache),
                "token_file": text(&read.token_file),
                "offline": read.offline,
                "token": read.token(&options),
                "endpoint": read.endpoint(&options),
                "download_timeout": seconds(read.read_timeout),
                "etag_timeout": seconds(read.answer_timeout),
                "copies": read.copies,
            });
            assert_eq!(found, wanted, "{}", row["set"]);
        }
    }

    #[test]
    fn what_python_does_not_take_is_left_out() {
        let options = SourceOptions::default();
        let read = |set: &[(&str, &str)]| Environment::read(&with(set));
        assert_eq!(read(&[("HF_ENDPOINT", "")]).endpoint(&options), HUB);
        for seconds in ["soon", "-1", "1.5"] {
            assert_eq!(read(&[("HF_HUB_DOWNLOAD_TIMEOUT", seconds)]).read_timeout, None);
        }
        let nobody = [("HF_HUB_CACHE", "~/x"), ("HOME", "~")];
        assert!(read(&nobody).cache_dir(&options).is_err());
        let users = "root:x:0:0:root:/root:/bin/sh\nme:x:1:1::/home/me:/bin/sh\nbad:x\n";
        assert_eq!(home_among(users, "me").as_deref(), Some("/home/me"));
        assert!(home_among(users, "bad").is_none() && home_among(users, "m").is_none());
    }

    #[test]
    fn options_come_first() {
        let set = [("HF_HUB_CACHE", "/c"), ("HF_TOKEN", "hf_variable"), ("HF_ENDPOINT", "http://e")];
        let off = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        let options = SourceOptions {
            cache_dir: Some("/mine".into()),
            token: Some("hf_option".into()),
            endpoint: Some("http://mine".into()),
            ..SourceOptions::default()
        };
        for set in [&set[..], &[off]] {
            let read = Environment::read(&with(set));
            assert_eq!(read.cache_dir(&options).unwrap(), Path::new("/mine"));
            assert_eq!(read.token(&options).as_deref(), Some("hf_option"), "this one is not implicit");
            assert_eq!(read.endpoint(&options), "http://mine");
        }
    }
}
