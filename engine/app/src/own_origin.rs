//! What of an endpoint goes along with a request: its authentication and headers are for the address that they were given
//! for. A plugin that asks for another one, which was granted to it, is let there without them.

use engate_model::endpoint::{Auth, Endpoint};
use url::Url;

/// No authentication.
pub(crate) static NOBODY: Auth = Auth::None;

/// The endpoint's own authentication where `url` is at its origin (scheme, host, port), else none.
pub(crate) fn own_auth<'a>(endpoint: &'a Endpoint, url: &str) -> &'a Auth {
    if is_elsewhere(&endpoint.url, url) { &NOBODY } else { &endpoint.auth }
}

/// The endpoint's own headers where `url` is at its origin, else none.
pub(crate) fn own_headers<'a>(endpoint: &'a Endpoint, url: &str) -> &'a [(String, String)] {
    if is_elsewhere(&endpoint.url, url) { &[] } else { &endpoint.headers }
}

/// Whether two URLs lead to different servers, as far as their texts tell.
pub(crate) fn is_elsewhere(one: &str, other: &str) -> bool {
    let origin = |url: &str| Url::parse(url).map(|url| url.origin()).ok();
    one != other && origin(one).is_none_or(|one| Some(one) != origin(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_scheme_host_or_port_is_another_address_and_another_path_is_not() {
        let here = "https://partner.example/hook";
        for same in [here, "https://partner.example/", "HTTPS://PARTNER.example:443/x?y=1"] {
            assert!(!is_elsewhere(here, same), "{same}");
        }
        for other in [
            "http://partner.example/hook",
            "https://partner.example:8443/hook",
            "https://partner.example.evil.example/hook",
            "https://partner.example@evil.example/hook",
            "not a url",
        ] {
            assert!(is_elsewhere(here, other), "{other}");
            assert!(is_elsewhere(other, here), "{other}");
        }
    }
}
