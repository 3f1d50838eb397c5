//! What a caller can choose about where files come from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::host::Fetch;

/// Where a model's files may come from. Options that are not set follow the environment, as Hugging Face's own tools
/// do.
#[derive(Clone, Default)]
pub struct SourceOptions {
    /// Never open a socket. Also on if `HF_HUB_OFFLINE` (or, where that is not set, `TRANSFORMERS_OFFLINE`) is 1, true, on
    /// or yes.
    pub offline: bool,
    /// The host program's own way to files: asked for every file of a model that is no local folder. The hub and its
    /// cache are then not used at all.
    pub host: Option<Arc<dyn Fetch>>,
    /// The hub's cache. `None`: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `HF_HOME/hub`, else
    /// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`.
    pub cache_dir: Option<PathBuf>,
    /// The hub's address. `None`: `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: Option<String>,
    /// The token that identifies the caller to the hub; sent to the endpoint only. `None`: `HF_TOKEN`, else
    /// `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH`, else the file `HF_HOME/token`; none of these if
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN` is on.
    pub token: Option<String>,
    /// How to deal with a slow or failing network.
    pub network: NetworkOptions,
}

/// How to deal with a slow or failing network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptions {
    /// How long to wait for a connection, the look-up of the host's name included.
    pub connect_timeout: Duration,
    /// How long to wait for the next byte. `None`: the seconds in `HF_HUB_DOWNLOAD_TIMEOUT`, else 30.
    pub read_timeout: Option<Duration>,
    /// Attempts for each file. An attempt that brings 16 MiB or more does not count. 0 means 1.
    pub attempts: u32,
    /// The wait after the first failed attempt. It doubles with each further one, less a random part.
    pub backoff: Duration,
    /// The longest single wait, whatever the server asks for.
    pub longest_wait: Duration,
    /// Whether the proxies of `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` are used, in lower or upper case.
    pub use_proxy: bool,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: None,
            attempts: 5,
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_mins(1),
            use_proxy: true,
        }
    }
}

impl fmt::Debug for SourceOptions {
    /// The token is a secret: only whether there is one is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceOptions")
            .field("offline", &self.offline)
            .field("host", &self.host.is_some())
            .field("cache_dir", &self.cache_dir)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("network", &self.network)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_not_shown() {
        let options = SourceOptions { token: Some("hf_secret".into()), ..SourceOptions::default() };
        assert!(!format!("{options:?}").contains("secret"));
    }
}
