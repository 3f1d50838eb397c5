//! HTTP. The token goes to the hub's own address only.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, Method, Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::proxy::Proxies;
use super::retry::Failure;
use super::secret::Token;
use super::url;
use crate::error::{Result, err};
use crate::source::hub::HubId;
use crate::source::{NetworkOptions, name};

/// Redirects of one request; the hub needs two.
const REDIRECTS: usize = 8;

/// How long to wait for the next byte, unless options or environment say.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Talks to one hub.
pub(in crate::source) struct Client {
    /// The address as it was given, without `/` at the end.
    base: String,
    origin: Uri,
    token: Option<Token>,
    options: NetworkOptions,
    /// How long to wait for the answer about a file, if not as long as for its content.
    answer_timeout: Option<Duration>,
    proxies: Proxies,
    /// Made on first use: a model that is in the cache needs none.
    agent: OnceLock<Agent>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the hub at `endpoint`. Opens no connection.
    ///
    /// # Errors
    /// `InvalidArgument` for a bad address or token.
    pub(in crate::source) fn new(endpoint: &str, token: Option<&str>, options: NetworkOptions) -> Result<Self> {
        let origin = url::endpoint(endpoint)?;
        let token = token.map(Token::parse).transpose()?;
        let near = matches!(origin.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if token.is_some() && origin.scheme_str() == Some("http") && !near {
            log::warn!("the hub token goes to {endpoint} unencrypted");
        }
        let base = endpoint.trim().trim_end_matches('/').to_owned();
        let proxies = Proxies::default();
        Ok(Self { base, origin, token, options, answer_timeout: None, proxies, agent: OnceLock::new() })
    }

    /// The client with another timeout for the answer about a file.
    pub(in crate::source) fn answering_within(self, answer_timeout: Option<Duration>) -> Self {
        Self { answer_timeout, ..self }
    }

    /// The client with proxies.
    pub(in crate::source) fn through(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// The hub's address, for messages.
    pub(super) fn endpoint(&self) -> &str {
        &self.base
    }

    /// Timeouts and attempts.
    pub(super) fn options(&self) -> &NetworkOptions {
        &self.options
    }

    /// The address of `file` of `id` at `revision`.
    pub(super) fn url(&self, id: &HubId, revision: &str, file: &str) -> String {
        format!("{}/{id}/resolve/{}/{}", self.base, url::escape(revision, false), url::escape(file, true))
    }

    /// One request to `url`, from byte `from` on. Redirects are followed until `enough` accepts an answer. The token
    /// goes to the hub's own origin only.
    pub(super) fn request(
        &self,
        method: &Method,
        url: &str,
        from: u64,
        enough: &mut dyn FnMut(&Response<Body>) -> bool,
    ) -> Result<Response<Body>, Failure> {
        let mut at: Uri = url.parse().map_err(|e| err!(Internal, "`{url}` is not a URL").with_source(e))?;
        for _ in 0..REDIRECTS {
            let mut request = Request::builder().method(method).uri(&at).header(ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| url::same_origin(&at, &self.origin)) {
                request = request.header(AUTHORIZATION, token.header());
            }
            let request = request.body(()).map_err(|e| err!(Internal, "a request cannot be written").with_source(e))?;
            let mut request = self.agent().configure_request(request).proxy(self.proxies.of(&at)?);
            if let Some(patience) = self.answer_timeout.filter(|_| *method == Method::HEAD) {
                request = request.timeout_recv_response(Some(patience));
            }
            let response = self.agent().run(request.build()).map_err(|e| failed(&at, e))?;
            let location = header(response.headers(), LOCATION.as_str()).map(str::to_owned);
            match location.filter(|_| response.status().is_redirection()) {
                Some(location) if !enough(&response) => at = url::join(&at, &location)?,
                _ => return Ok(response),
            }
        }
        Err(Failure::Final(err!(Io, "`{}` redirects without end", host(&at))))
    }

    /// The failure that `response` means if it is neither success nor absence.
    pub(super) fn refused(&self, response: &Response<Body>) -> Failure {
        let status = response.status().as_u16();
        let said = header(response.headers(), "x-error-message").map(|text| format!(" ({})", name::shown(text)));
        let said = said.unwrap_or_default();
        let error = match status {
            401 if self.token.is_none() => err!(
                Io,
                "{} wants to know who asks{said}: the model's name is misspelt, or the model is private or gated; set \
                 HF_TOKEN to a token that may read it",
                self.base
            ),
            401 => err!(Io, "{} does not accept the token in HF_TOKEN{said}; make a new one", self.base),
            403 => err!(
                Io,
                "{} denies access{said}: a gated model's terms must be accepted on its page, by the account that \
                 HF_TOKEN belongs to",
                self.base
            ),
            407 => err!(Io, "the proxy wants credentials; put them into its address, in HTTPS_PROXY or HTTP_PROXY"),
            _ => err!(Io, "{} answered with HTTP status {status}{said}", self.base),
        };
        match status {
            408 | 425 | 429 | 500..=599 => Failure::Later(error, retry_after(response.headers())),
            _ => Failure::Final(error),
        }
    }

    fn agent(&self) -> &Agent {
        self.agent.get_or_init(|| {
            let connect = Some(self.options.connect_timeout);
            let read = Some(self.options.read_timeout.unwrap_or(READ_TIMEOUT));
            let config = Agent::config_builder()
                .user_agent(concat!("ortshard/", env!("CARGO_PKG_VERSION")))
                .http_status_as_error(false)
                .max_redirects(0)
                .proxy(None)
                .timeout_resolve(connect)
                .timeout_connect(connect)
                .timeout_recv_response(read)
                .timeout_per_read(read)
                .timeout_per_write(read)
                .tls_config(tls())
                .build();
            Agent::new_with_config(config)
        })
    }
}

/// The failure that it means if no answer came.
fn failed(at: &Uri, error: ureq::Error) -> Failure {
    use ureq::Error as E;
    let host = host(at);
    let certificate = match &error {
        E::Rustls(e) => is_certificate(e),
        E::Io(e) => e.get_ref().and_then(|e| e.downcast_ref()).is_some_and(is_certificate),
        _ => false,
    };
    if certificate {
        let hint = "if a proxy signs for it, or this system has no certificates, point SSL_CERT_FILE at them";
        return Failure::Final(err!(Io, "the certificate of `{host}` is not trusted; {hint}").with_source(error));
    }
    let lasting =
        matches!(error, E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl | E::Tls(_) | E::LargeResponseHeader(..));
    let error = err!(Io, "`{host}` cannot be reached").with_source(error);
    if lasting { Failure::Final(error) } else { Failure::Later(error, None) }
}

/// TLS with the system's own certificates, or those of `SSL_CERT_FILE`.
fn tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::debug!("some of the system's certificates cannot be read: {error}");
    }
    let roots = found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned());
    TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

fn is_certificate(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(_))
}

/// The text of a header.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Seconds in `Retry-After`, or until the quota is refilled (`RateLimit: "api";r=0;t=55`).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |text: &str| text.trim().parse().ok().map(Duration::from_secs);
    let quota = |text: &str| seconds(text.split(';').find_map(|part| part.trim().strip_prefix("t="))?);
    header(headers, RETRY_AFTER.as_str()).and_then(seconds).or_else(|| header(headers, "ratelimit").and_then(quota))
}

/// The host of `uri`, for messages: what follows it may be a signature that gives access.
fn host(uri: &Uri) -> String {
    name::shown(uri.host().unwrap_or_default())
}

/// The failure of a connection that ended in the middle of a content.
pub(super) fn broken(error: std::io::Error) -> Failure {
    Failure::Later(err!(Io, "the transfer broke off").with_source(error), None)
}
