//! Asks the hub about a file before it is fetched.

use ureq::Body;
use ureq::http::{Method, Response};

use super::client::{Client, header};
use super::retry::{Attempts, Failure};
use crate::error::{Result, err};
use crate::source::files::{OnTransfer, Transfer};
use crate::source::hub::{Commit, Etag};

/// What identifies a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// The content's entity tag, which names its blob; most often the content's hash.
    pub(super) etag: Etag,
    /// The content's bytes, if the hub says.
    pub(super) size: Option<u64>,
}

/// The hub's answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The commit that the revision is at. It may be missing only if the file is.
    pub(super) commit: Option<Commit>,
    /// `None`: the model has no such file.
    pub(super) meta: Option<Meta>,
}

/// What the answers along one chain of redirects say together. The hub gives a large file's hash and size where it
/// sends the client on to its storage, and a small file's where the content is.
#[derive(Default)]
struct Headers {
    commit: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
}

impl Headers {
    /// Adds what `response` says. Returns whether nothing is missing now.
    fn take(&mut self, response: &Response<Body>) -> bool {
        let get = |name| header(response.headers(), name);
        let or = |old: &mut Option<String>, name| *old = old.take().or_else(|| get(name).map(str::to_owned));
        or(&mut self.commit, "x-repo-commit");
        or(&mut self.etag, "x-linked-etag");
        self.size = self.size.or_else(|| get("x-linked-size").and_then(|size| size.parse().ok()));
        let complete = self.commit.is_some() && self.etag.is_some();
        if response.status().is_success() {
            or(&mut self.etag, "etag");
            self.size = self.size.or_else(|| get("content-length").and_then(|size| size.parse().ok()));
        }
        complete
    }
}

/// Asks the hub about the file at `url`, once or as often as the options allow.
///
/// # Errors
/// `NotFound` if the hub knows no such model or revision; `Io`; what `on` returned.
pub(super) fn ask(client: &Client, url: &str, once: bool, on: &mut OnTransfer<'_>) -> Result<Answer> {
    let mut attempts = Attempts::new(client.options(), once);
    on(Transfer::default())?;
    loop {
        match try_once(client, url) {
            Ok(answer) => return Ok(answer),
            Err(failure) => attempts.again(failure, 0, &mut || on(Transfer::default()))?,
        }
    }
}

fn try_once(client: &Client, url: &str) -> Result<Answer, Failure> {
    let mut headers = Headers::default();
    let response = client.request(&Method::HEAD, url, 0, &mut |response| headers.take(response))?;
    let complete = headers.take(&response);
    let commit = headers.commit.as_deref().and_then(Commit::parse);
    let status = response.status();
    if status.as_u16() == 404 {
        return match header(response.headers(), "x-error-code") {
            Some("RepoNotFound") => Err(err!(NotFound, "{} has no such model", client.endpoint()).into()),
            Some("RevisionNotFound") => Err(err!(NotFound, "the model has no such revision").into()),
            _ => Ok(Answer { commit, meta: None }),
        };
    }
    let answered = status.is_success() || (status.is_redirection() && complete);
    if !answered {
        return Err(client.refused(&response));
    }
    let etag = headers.etag.as_deref().and_then(Etag::parse);
    let (Some(commit), Some(etag)) = (commit, etag) else {
        let hint = "it is no hub; check HF_ENDPOINT, or a proxy that answers in its place";
        return Err(err!(Io, "{} names neither commit nor content ({hint})", client.endpoint()).into());
    };
    Ok(Answer { commit: Some(commit), meta: Some(Meta { etag, size: headers.size }) })
}
