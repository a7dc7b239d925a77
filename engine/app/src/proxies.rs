//! Who calls, where a reverse proxy stands between: the address that the operator's own proxies vouch for.
//!
//! Each proxy adds the address that it was called from at the end of a header, and whatever a caller wrote there himself
//! stands before it. So the header is read from its end, and only as far as addresses are those of trusted proxies.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which proxies say for whom they call. It is one of the two, since a proxy that writes one of them lets
/// the other pass as its caller made it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: client, proxy`
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239)
    Forwarded,
}

/// Proxies that are believed.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Their addresses; none: nobody is believed, and who connects is who calls.
    pub trusted: Vec<IpNet>,
    /// Where they say it.
    pub header: ForwardedHeader,
}

/// In a request: the address of who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller(pub(crate) IpAddr);

impl ProxySettings {
    /// Who calls over a connection from `peer`: the last address that is not a trusted proxy's. Where all are, the first
    /// of them; where a proxy says nothing that can be read, that proxy.
    pub(crate) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Caller {
        let mut caller = peer.to_canonical();
        if !self.trusts(caller) {
            return Caller(caller);
        }
        for hop in self.hops(headers).into_iter().rev() {
            let Some(address) = hop else { break };
            caller = address;
            if !self.trusts(caller) {
                break;
            }
        }
        Caller(caller)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Each address named, in the order of the header's lines; none where it is no address.
    fn hops(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, address),
            ForwardedHeader::Forwarded => (header::FORWARDED, forwarded_for),
        };
        let mut hops = Vec::new();
        for line in headers.get_all(name) {
            match line.to_str() {
                Ok(line) => hops.extend(unquoted(line, ',').map(read)),
                Err(_) => hops.push(None),
            }
        }
        hops
    }
}

/// The parts of a text between separators that stand in no quotes.
fn unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let separates = c == separator && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        separates
    })
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = unquoted(element, ';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let node = node.trim();
    address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

/// An address, with a port or without; IPv6 in brackets or bare.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(trusted: &str, header: ForwardedHeader, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted = trusted.split_whitespace().map(|network| network.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(*name, line.parse().unwrap());
        }
        ProxySettings { trusted, header }.caller(peer.parse().unwrap(), &headers).0.to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_from_the_end() {
        let via = |peer, line| {
            caller("10.0.0.0/8 fd00::/8", ForwardedHeader::XForwardedFor, peer, &[("x-forwarded-for", line)])
        };
        assert_eq!(via("203.0.113.9", "198.51.100.1"), "203.0.113.9", "a stranger says what he likes");
        assert_eq!(via("10.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(via("::ffff:10.0.0.1", "198.51.100.1"), "198.51.100.1", "an IPv4 peer on an IPv6 socket");
        assert_eq!(via("10.0.0.1", "1.1.1.1, 198.51.100.1"), "198.51.100.1", "what the caller wrote comes first");
        assert_eq!(via("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.9.9.9"), "198.51.100.1", "two proxies");
        assert_eq!(via("10.0.0.1", "10.2.2.2, 10.9.9.9"), "10.2.2.2", "a caller inside");
        assert_eq!(via("10.0.0.1", "1.1.1.1, unknown"), "10.0.0.1", "never past what cannot be read");
        assert_eq!(via("10.0.0.1", "1.1.1.1, nonsense, 10.9.9.9"), "10.9.9.9");
        assert_eq!(via("10.0.0.1", ""), "10.0.0.1");
        assert_eq!(via("fd00::7", "[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(via("10.0.0.1", "2001:db8::1"), "2001:db8::1");
        assert_eq!(via("10.0.0.1", "198.51.100.1:5678"), "198.51.100.1");
        assert_eq!(via("10.0.0.1", "::ffff:198.51.100.1"), "198.51.100.1");
    }

    #[test]
    fn lines_are_one_list_and_the_other_header_does_not_count() {
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=2.2.2.2")];
        assert_eq!(caller("10.0.0.1/32", ForwardedHeader::XForwardedFor, "10.0.0.1", &lines), "198.51.100.1");
        assert_eq!(caller("10.0.0.1/32", ForwardedHeader::Forwarded, "10.0.0.1", &lines), "2.2.2.2");
        assert_eq!(caller("", ForwardedHeader::XForwardedFor, "10.0.0.1", &lines), "10.0.0.1", "nobody is trusted");
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_has_it() {
        let via = |line| caller("10.0.0.0/8", ForwardedHeader::Forwarded, "10.0.0.1", &[("forwarded", line)]);
        assert_eq!(via("for=192.0.2.60;proto=http;by=203.0.113.43"), "192.0.2.60");
        assert_eq!(via("For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(via("for=1.1.1.1, for=192.0.2.43;proto=https, for=10.3.3.3"), "192.0.2.43");
        assert_eq!(via("proto=\"a,b;for=1.1.1.1\";for=192.0.2.43"), "192.0.2.43", "quotes hold together");
        assert_eq!(via("by=\"\\\", for=1.1.1.1\";for=192.0.2.43"), "192.0.2.43");
        for hidden in ["for=unknown", "for=_gazonk", "proto=https", "for=\"", "for=1.1.1.1, for=_x"] {
            assert_eq!(via(hidden), "10.0.0.1", "{hidden}");
        }
    }
}
