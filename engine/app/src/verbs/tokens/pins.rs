//! Where a token's calls may come from (seed G6): web origins, as browsers name them, and addresses.

use std::net::IpAddr;

use engate_model::{Invalid, invalid::Complaints};
use ipnet::IpNet;
use url::{Origin, Url};

/// The places a token is pinned to. Of each kind any one will do; where both kinds are named, both must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pins {
    /// `https://app.example.com`, as the `Origin` header has it.
    web: Vec<String>,
    networks: Vec<IpNet>,
}

impl Pins {
    /// Reads `https://app.example.com`, `10.1.2.3`, `10.1.0.0/16`.
    ///
    /// # Errors
    /// Names every one that is none of these, as `origins[n]`.
    pub(crate) fn parse(origins: &[String]) -> Result<Self, Invalid> {
        let (mut pins, mut complaints) = (Self::default(), Complaints::default());
        for (n, text) in origins.iter().enumerate() {
            if let Some(network) = network(text) {
                pins.networks.push(network);
            } else if let Some(origin) = web_origin(text) {
                pins.web.push(origin);
            } else {
                let message = "must be a web origin (https://app.example.com, no path), an address (10.1.2.3) or a network \
                               (10.1.0.0/16)";
                complaints.add(format!("origins[{n}]"), message);
            }
        }
        complaints.finish(pins)
    }

    /// Whether a call with this `Origin` header from this address may pass.
    pub(crate) fn allow(&self, origin: Option<&str>, source: Option<IpAddr>) -> bool {
        let fits = |pin: &String| origin.and_then(web_origin).is_some_and(|origin| origin == *pin);
        let within = |network: &IpNet| source.is_some_and(|address| network.contains(&address.to_canonical()));
        (self.web.is_empty() || self.web.iter().any(fits))
            && (self.networks.is_empty() || self.networks.iter().any(within))
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The origin in the spelling of browsers: default ports left out, the host in lower case.
fn web_origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let bare = url.path() == "/" && !text.ends_with('/') && url.query().is_none() && url.fragment().is_none();
    match url.origin() {
        origin @ Origin::Tuple(..) if bare && url.username().is_empty() && url.password().is_none() => {
            Some(origin.ascii_serialization())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(origins: &[&str]) -> Pins {
        Pins::parse(&origins.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn without_pins_everything_passes() {
        assert!(pins(&[]).allow(None, None) && pins(&[]).allow(Some("https://x"), ip("1.2.3.4")));
    }

    #[test]
    fn of_one_kind_any_will_do() {
        let pins = pins(&["10.1.0.0/16", "192.168.7.9", "::1"]);
        for inside in ["10.1.255.1", "192.168.7.9", "::1", "::ffff:10.1.0.1"] {
            assert!(pins.allow(Some("https://anything"), ip(inside)), "{inside}");
        }
        assert!(!pins.allow(None, ip("10.2.0.1")) && !pins.allow(None, ip("192.168.7.10")) && !pins.allow(None, None));
    }

    #[test]
    fn web_origins_are_compared_as_browsers_spell_them() {
        let pins = pins(&["https://App.Example.com:443", "http://localhost:3000"]);
        assert!(pins.allow(Some("https://app.example.com"), None) && pins.allow(Some("http://localhost:3000"), None));
        for other in
            ["http://app.example.com", "https://app.example.com.evil.net", "https://app.example.com:8443", "null", ""]
        {
            assert!(!pins.allow(Some(other), ip("127.0.0.1")), "{other}");
        }
        assert!(!pins.allow(None, None), "no header at all");
    }

    #[test]
    fn of_two_kinds_both_must_fit() {
        let pins = pins(&["https://a.example", "10.0.0.0/8"]);
        assert!(pins.allow(Some("https://a.example"), ip("10.9.9.9")));
        assert!(!pins.allow(Some("https://a.example"), ip("11.0.0.1")) && !pins.allow(None, ip("10.9.9.9")));
    }

    #[test]
    fn what_is_no_place_is_named() {
        let given = ["10.0.0.0/33", "https://a.example/path", "https://u@a.example", "ftp://a", "*", "10.0.0.1"];
        let fields: Vec<_> =
            Pins::parse(&given.map(str::to_owned)).unwrap_err().0.into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["origins[0]", "origins[1]", "origins[2]", "origins[3]", "origins[4]"]);
    }
}
