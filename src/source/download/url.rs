//! URLs, as far as the hub needs them.

use std::fmt::Write as _;

use ureq::http::Uri;

use crate::error::{Result, bail};
use crate::source::name;

/// The address of the hub or of a mirror of it: scheme, host and maybe a path, without `/` at the end.
///
/// # Errors
/// `InvalidArgument` for anything else, credentials in the address included.
pub(super) fn endpoint(text: &str) -> Result<Uri> {
    let trimmed = text.trim().trim_end_matches('/');
    match trimmed.parse::<Uri>() {
        Ok(uri) if is_web(&uri) && uri.query().is_none() && !trimmed.contains(['@', '#']) => Ok(uri),
        _ => bail!(InvalidArgument, "the hub's address (HF_ENDPOINT) must be http(s)://host, without credentials"),
    }
}

/// Whether `uri` is an http or https address with a host.
fn is_web(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
}

/// `text` escaped as one part of a path, or as several parts, with `/` kept.
pub(super) fn escape(text: &str, keep_slashes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (keep_slashes && byte == b'/') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The address that `location` means in an answer from `from`.
///
/// # Errors
/// `Malformed` if that is no web address, or leads from https to http.
pub(super) fn join(from: &Uri, location: &str) -> Result<Uri> {
    let (Some(scheme), Some(authority)) = (from.scheme_str(), from.authority()) else {
        bail!(Internal, "a request without a host was redirected");
    };
    let absolute = if location.contains("://") && !location.starts_with('/') {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let absolute = absolute.split('#').next().unwrap_or_default();
    match absolute.parse::<Uri>() {
        Ok(to) if is_web(&to) && !(scheme == "https" && to.scheme_str() == Some("http")) => Ok(to),
        // Behind the host there may be a signature that gives access, so it is not shown.
        _ => bail!(
            Malformed,
            "`{}` redirects to an address that is not {scheme}://host/...",
            name::shown(from.host().unwrap_or_default())
        ),
    }
}

/// Whether both have the same scheme, host and port.
pub(super) fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = |uri: &Uri| uri.host().unwrap_or_default().to_ascii_lowercase();
    a.scheme_str() == b.scheme_str() && host(a) == host(b) && port(a) == port(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined_as_a_browser_does() {
        let from: Uri = "https://hub/a/b/c?x=1".parse().unwrap();
        for (location, expected) in [
            ("https://cdn/x?y=z#frag", "https://cdn/x?y=z"),
            ("//cdn/x", "https://cdn/x"),
            ("/x?to=http://y", "https://hub/x?to=http://y"),
            ("x", "https://hub/a/b/x"),
        ] {
            assert_eq!(join(&from, location).unwrap().to_string(), expected);
        }
        for location in ["http://cdn/x", "ftp://cdn/x", "https://", "file:///etc/passwd", "https://a b/"] {
            assert!(join(&from, location).is_err(), "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://hub/a", "https://HUB:443/b"));
        assert!(!same("https://hub/a", "http://hub/a"));
        assert!(!same("http://localhost:1/a", "http://127.0.0.1:1/a"));
        assert!(!same("http://hub:1/", "http://hub:2/"));
    }

    #[test]
    fn addresses_of_hubs() {
        assert_eq!(escape("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(escape("a b/ü?#.json", true), "a%20b/%C3%BC%3F%23.json");
        assert!(endpoint("http://mirror:8080/hf/").is_ok());
        for bad in ["", "huggingface.co", "ftp://x", "https://user:pw@x", "https://x?y", "https://x/#a"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
