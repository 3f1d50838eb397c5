//! The environment variables of the hub's own tools.

use std::path::{Path, PathBuf};
#[cfg(feature = "download")]
use std::time::Duration;

use crate::error::{Result, err};
use crate::source::{Environment, SourceOptions};

/// The cache folder.
///
/// # Errors
/// `InvalidArgument` if neither the options nor the environment lead to one.
pub(in crate::source) fn cache_dir(options: &SourceOptions, environment: Environment<'_>) -> Result<PathBuf> {
    if let Some(path) = &options.cache_dir {
        return Ok(path.clone());
    }
    if let Some(path) = path("HF_HUB_CACHE", environment) {
        return Ok(path);
    }
    home(environment)
        .map(|home| home.join("hub"))
        .ok_or_else(|| err!(InvalidArgument, "no cache folder for models: set HF_HUB_CACHE or HF_HOME"))
}

/// Whether the environment forbids the network.
pub(in crate::source) fn offline(environment: Environment<'_>) -> bool {
    text("HF_HUB_OFFLINE", environment)
        .is_some_and(|value| ["1", "true", "on", "yes"].contains(&value.to_ascii_lowercase().as_str()))
}

/// The hub's address.
#[cfg(feature = "download")]
pub(in crate::source) fn endpoint(options: &SourceOptions, environment: Environment<'_>) -> String {
    const HUB: &str = "https://huggingface.co";
    options.endpoint.clone().or_else(|| text("HF_ENDPOINT", environment)).unwrap_or_else(|| HUB.to_owned())
}

/// How long the next byte of an answer is waited for, if somebody chose.
#[cfg(feature = "download")]
pub(in crate::source) fn read_timeout(options: &SourceOptions, environment: Environment<'_>) -> Option<Duration> {
    let seconds = || text("HF_HUB_DOWNLOAD_TIMEOUT", environment)?.trim().parse().ok().filter(|s| *s > 0);
    options.network.read_timeout.or_else(|| seconds().map(Duration::from_secs))
}

/// The token, if there is one. A token file that cannot be read counts as none: most models need none.
#[cfg(feature = "download")]
pub(in crate::source) fn token(options: &SourceOptions, environment: Environment<'_>) -> Option<String> {
    const LIMIT: u64 = 64 << 10;
    let file = || {
        let path = home(environment)?.join("token");
        let content = crate::source::files::read_regular(&path, LIMIT).ok()?;
        String::from_utf8(content).ok()
    };
    let token = options.token.clone().or_else(|| text("HF_TOKEN", environment)).or_else(file)?;
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// Where the hub's tools keep their things.
fn home(environment: Environment<'_>) -> Option<PathBuf> {
    path("HF_HOME", environment).or_else(|| {
        let caches = path("XDG_CACHE_HOME", environment).or_else(|| Some(user(environment)?.join(".cache")));
        Some(caches?.join("huggingface"))
    })
}

fn user(environment: Environment<'_>) -> Option<PathBuf> {
    environment("HOME").or_else(|| environment("USERPROFILE")).map(PathBuf::from)
}

/// The variable as a path; a leading `~` is the user's folder.
fn path(variable: &str, environment: Environment<'_>) -> Option<PathBuf> {
    let value = PathBuf::from(environment(variable)?);
    match (value.strip_prefix(Path::new("~")), user(environment)) {
        (Ok(below), Some(user)) => Some(user.join(below)),
        _ => Some(value),
    }
}

fn text(variable: &str, environment: Environment<'_>) -> Option<String> {
    environment(variable).and_then(|value| value.into_string().ok())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn with<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn the_cache_is_where_the_hubs_tools_have_it() {
        let all = [("HF_HUB_CACHE", "~/c"), ("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/u")];
        let expected = ["/u/c", "/h/hub", "/x/huggingface/hub", "/u/.cache/huggingface/hub"];
        let options = SourceOptions::default();
        for (skipped, expected) in expected.iter().enumerate() {
            assert_eq!(cache_dir(&options, &with(&all[skipped..])).unwrap(), PathBuf::from(expected));
        }
        assert!(cache_dir(&options, &|_| None).is_err());
        let chosen = SourceOptions { cache_dir: Some("/mine".into()), ..options };
        assert_eq!(cache_dir(&chosen, &with(&all)).unwrap(), PathBuf::from("/mine"));
    }

    #[test]
    fn offline_is_what_the_hubs_tools_take_for_true() {
        for (value, expected) in [("1", true), ("TRUE", true), ("On", true), ("yes", true), ("0", false), ("no", false)]
        {
            assert_eq!(offline(&with(&[("HF_HUB_OFFLINE", value)])), expected, "{value}");
        }
        assert!(!offline(&|_| None));
    }

    #[cfg(feature = "download")]
    #[test]
    fn tokens_come_from_options_then_variable_then_file() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("token"), "hf_file\n").unwrap();
        let home = scratch.path().to_str().unwrap();
        let file = [("HF_HOME", home)];
        let both = [("HF_HOME", home), ("HF_TOKEN", " hf_variable ")];
        let none = SourceOptions::default();
        let given = SourceOptions { token: Some("hf_option".into()), ..SourceOptions::default() };
        assert_eq!(token(&given, &with(&both)).as_deref(), Some("hf_option"));
        assert_eq!(token(&none, &with(&both)).as_deref(), Some("hf_variable"));
        assert_eq!(token(&none, &with(&file)).as_deref(), Some("hf_file"));
        assert_eq!(token(&none, &with(&[("HF_HOME", "/no/such")])), None);
        assert_eq!(endpoint(&none, &|_| None), "https://huggingface.co");
    }
}
