//! Which proxy a request goes through: the variables that Python's `urllib`, `requests` and `httpx` read, in their order.
//!
//! | of a request to                | the first that is set and not empty counts                        |
//! |--------------------------------|-------------------------------------------------------------------|
//! | `http://...`                   | `http_proxy`, `HTTP_PROXY`, `all_proxy`, `ALL_PROXY`              |
//! | `https://...`                  | `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY`            |
//! | hosts without a proxy          | `no_proxy`, `NO_PROXY`                                            |
//!
//! A name in lower case that is empty switches off the one in upper case. `HTTP_PROXY` does not count where
//! `REQUEST_METHOD` is set: the program then serves a web server, and the variable may be a header that a stranger sent.
//!
//! The hosts without a proxy are parted by commas: names, which stand for all names that end in them, too; addresses;
//! ranges of IPv4 addresses such as `10.0.0.0/8`; each may have a port. `*` means all.
//!
//! What differs from Python: proxies are asked for a tunnel (`CONNECT`) also to `http://` addresses.

use std::net::Ipv4Addr;

use ureq::Proxy;
use ureq::http::Uri;

use crate::error::{Result, err};
use crate::source::hub::Variables;

/// The proxies of each kind of request.
#[derive(Debug, Default)]
pub(in crate::source) struct Proxies {
    /// A variable's name, and the proxy's address.
    http: Option<(String, String)>,
    https: Option<(String, String)>,
    /// Hosts without a proxy.
    without: String,
}

impl Proxies {
    /// What `variables` say.
    pub(in crate::source) fn read(variables: Variables<'_>) -> Self {
        let value = |name: &str| variables(name).map(|value| value.to_string_lossy().trim().to_owned());
        let of = |kind: &str| {
            let (lower, upper) = (format!("{kind}_proxy"), format!("{}_PROXY", kind.to_uppercase()));
            let forged = kind == "http" && value("REQUEST_METHOD").is_some();
            let found = match value(&lower) {
                Some(address) => Some((lower, address)),
                None => value(&upper).filter(|_| !forged).map(|address| (upper, address)),
            };
            found.filter(|(_, address)| !address.is_empty())
        };
        let without = of("no").map(|(_, hosts)| hosts).unwrap_or_default();
        Self { http: of("http").or_else(|| of("all")), https: of("https").or_else(|| of("all")), without }
    }

    /// The proxy of a request to `uri`, if it has one.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the variable, for an address that is none. It is not shown: it may hold a password.
    pub(super) fn of(&self, uri: &Uri) -> Result<Option<Proxy>> {
        let proxy = if uri.scheme_str() == Some("https") { &self.https } else { &self.http };
        let Some((name, address)) = proxy.as_ref().filter(|_| !self.is_without(uri)) else { return Ok(None) };
        let wrong = |error| err!(InvalidArgument, "{name} is not the address of a proxy").with_source(error);
        Proxy::new(address).map(Some).map_err(wrong)
    }

    fn is_without(&self, uri: &Uri) -> bool {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        self.without.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            let (name, wanted) = match entry.rsplit_once(':') {
                // Of an IPv6 address only what stands behind its bracket is a port.
                Some((name, number)) if !name.contains(':') || name.ends_with(']') => {
                    (name, number.parse::<u16>().ok())
                }
                _ => (entry, None),
            };
            let name =
                name.trim_matches(['[', ']']).trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
            let below = || host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.'));
            let is_meant = entry == "*" || host == name || (!name.is_empty() && below()) || in_range(&host, &name);
            is_meant && wanted.is_none_or(|wanted| wanted == port)
        })
    }
}

/// Whether `host` is an address in `range`, such as `10.0.0.0/8`.
fn in_range(host: &str, range: &str) -> bool {
    let Some((network, length)) = range.split_once('/') else { return false };
    let (Ok(host), Ok(network), Ok(length)) =
        (host.parse::<Ipv4Addr>(), network.parse::<Ipv4Addr>(), length.parse::<u32>())
    else {
        return false;
    };
    length <= 32 && (host.to_bits() ^ network.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;
    use crate::source::download::tests::{quiet, source_through, toy};
    use crate::source::files::ModelFiles;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::read(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    fn proxy(variables: &[(&str, &str)], uri: &str) -> Option<String> {
        proxies(variables).of(&uri.parse().unwrap()).unwrap().map(|proxy| proxy.host().to_owned())
    }

    /// Each is what `requests` 2.32 does.
    #[test]
    fn variables_choose_the_proxy() {
        const NONE: &str = "";
        let all: &[(&str, &str)] = &[("http_proxy", "http://h:1"), ("HTTPS_PROXY", "http://s:1"), ("all_proxy", "a:1")];
        for (variables, http, https) in [
            (all, "h", "s"),
            (&[("HTTPS_PROXY", "http://s:1")], NONE, "s"),
            (&[("HTTP_PROXY", "http://h:1")], "h", NONE),
            (&[("HTTP_PROXY", "http://h:1"), ("REQUEST_METHOD", "GET")], NONE, NONE),
            (&[("http_proxy", "http://h:1"), ("REQUEST_METHOD", "GET")], "h", NONE),
            (&[("ALL_PROXY", "socks5h://a:1"), ("https_proxy", "s:1")], "a", "s"),
            (&[("HTTPS_PROXY", "big"), ("https_proxy", "small")], NONE, "small"),
            (&[("HTTPS_PROXY", "big"), ("https_proxy", "")], NONE, NONE),
            (&[], NONE, NONE),
        ] {
            for (uri, wanted) in [("http://hub.example/x", http), ("https://hub.example/x", https)] {
                let wanted = Some(wanted.to_owned()).filter(|wanted| !wanted.is_empty());
                assert_eq!(proxy(variables, uri), wanted, "{variables:?} {uri}");
            }
        }
        let error = proxies(&[("https_proxy", "http://me:secret@")]).of(&"https://x".parse().unwrap()).unwrap_err();
        assert!(
            error.chain().starts_with("https_proxy is not") && !error.chain().contains("secret"),
            "{}",
            error.chain()
        );
    }

    #[test]
    fn hosts_without_a_proxy() {
        for (without, uri, is_without) in [
            ("hub.example", "https://hub.example", true),
            ("hub.example", "https://HUB.example:444", true),
            ("x.org, .example ,", "https://hub.example", true),
            ("*.example", "https://hub.example", true),
            ("b.example", "https://hub.example", false),
            ("*", "https://hub.example", true),
            ("hub.example:443", "https://hub.example", true),
            ("hub.example:80", "https://hub.example", false),
            ("127.0.0.1", "http://127.0.0.1:8000", true),
            ("10.0.0.0/8", "http://10.1.2.3", true),
            ("10.0.0.0/8", "http://11.1.2.3", false),
            ("0.0.0.0/0", "http://11.1.2.3", true),
            ("[::1]", "http://[::1]:8000", true),
            ("::1", "http://[::1]:8000", true),
            ("localhost", "http://127.0.0.1", false),
            ("", "https://hub.example", false),
        ] {
            let variables = [("ALL_PROXY", "p:1"), ("no_proxy", without)];
            assert_eq!(proxy(&variables, uri).is_none(), is_without, "{without} {uri}");
        }
    }

    /// What a proxy is asked for by the first connection to it; it makes the tunnel.
    fn tunnel(listener: &TcpListener) -> String {
        let (near, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&near).lines().map_while(Result::ok);
        let asked = lines.next().unwrap();
        assert!(lines.any(|line| line.is_empty()));
        let far = TcpStream::connect(asked.split(' ').nth(1).unwrap()).unwrap();
        (&near).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let pump = |mut from: &TcpStream, mut to: &TcpStream| {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| pump(&near, &far));
            pump(&far, &near);
        });
        asked
    }

    #[test]
    fn requests_go_through_it() {
        let (server, listener) = (toy().serve(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap().to_string();
        let through = |variables: &[(&str, &str)]| {
            let cache = tempfile::tempdir().unwrap();
            let model = source_through(&server, cache.path(), proxies(variables));
            model.locate("absent.json", &mut quiet).unwrap();
        };
        let asked = std::thread::scope(|scope| {
            let proxy = scope.spawn(|| tunnel(&listener));
            through(&[("http_proxy", &address)]);
            proxy.join().unwrap()
        });
        assert_eq!(asked, format!("CONNECT 127.0.0.1:{} HTTP/1.1", server.port()));
        // Nobody answers there any more, nor does anybody ask.
        drop(listener);
        through(&[("https_proxy", &address)]);
        through(&[("http_proxy", &address), ("no_proxy", "127.0.0.1")]);
        assert_eq!(server.count("HEAD"), 3);
    }
}
