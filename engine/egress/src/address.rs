//! Which addresses may be called: a pure judgement of one address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// A denied address: what it is, and which address the judgement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeniedAddress {
    /// The address to add to `allow`; the embedded IPv4 address where that is the one refused.
    pub(crate) address: IpAddr,
    /// What it is, for people.
    pub(crate) kind: &'static str,
}

/// IPv4 networks that nobody outside may steer the engine to.
/// Source: IANA IPv4 Special-Purpose Address Registry (RFC 6890), without the few anycast services in it.
const DENIED_V4: [(Ipv4Addr, u8, &str); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network, unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private network"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "carrier-grade NAT"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    // The wire server of Azure machines hands out credentials at a public-looking address.
    (Ipv4Addr::new(168, 63, 129, 16), 32, "cloud metadata"),
    (Ipv4Addr::new(169, 254, 169, 254), 32, "cloud metadata"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private network"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private network"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmark network"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved or broadcast"),
];

/// IPv6 networks, most telling first. What is neither here nor in 2000::/3 is denied as reserved.
/// Source: IANA IPv6 Special-Purpose Address Registry.
const DENIED_V6: [(Ipv6Addr, u8, &str); 19] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::UNSPECIFIED, 96, "IPv4-compatible"),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, "IPv4-translated"),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "NAT64"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "NAT64, local use"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "discard"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo"),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, "benchmark network"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignments"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "segment routing"),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, "cloud metadata"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique local network"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

/// The networks an operator lifted the denial of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed(Vec<IpNet>);

impl Allowed {
    /// Takes the operator's networks; a network of IPv4-mapped addresses means the IPv4 network.
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        Self(networks.iter().map(|network| unmapped(*network)).collect())
    }

    fn lifts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Judges one address.
    ///
    /// An IPv4-mapped address is the IPv4 address: the same packet leaves the machine. An address that carries an
    /// IPv4 address through a translator or a tunnel (NAT64, 6to4, Teredo, IPv4-compatible, IPv4-translated) is
    /// denied unless its network is allowed, and then the address inside is judged as well, so that allowing NAT64
    /// does not open the private networks behind it.
    pub(crate) fn judge(&self, address: IpAddr) -> Result<(), DeniedAddress> {
        let v6 = match address.to_canonical() {
            IpAddr::V4(v4) => return self.judge_v4(v4),
            IpAddr::V6(v6) => v6,
        };
        if let Some(kind) = denied_v6(v6) {
            // The address inside is the more telling reason: "NAT64" says less than "the loopback address".
            if let Some(inner) = embedded(v6) {
                self.judge_v4(inner)?;
            }
            if !self.lifts(IpAddr::V6(v6)) {
                return Err(DeniedAddress { address: IpAddr::V6(v6), kind });
            }
        }
        Ok(())
    }

    fn judge_v4(&self, address: Ipv4Addr) -> Result<(), DeniedAddress> {
        match denied_v4(address) {
            Some(kind) if !self.lifts(IpAddr::V4(address)) => Err(DeniedAddress { address: IpAddr::V4(address), kind }),
            _ => Ok(()),
        }
    }
}

fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let prefix = v6.prefix_len().checked_sub(96);
    match (v6.network().to_ipv4_mapped(), prefix) {
        (Some(v4), Some(prefix)) => Ipv4Net::new(v4, prefix).map_or(network, IpNet::V4),
        _ => network,
    }
}

fn denied_v4(address: Ipv4Addr) -> Option<&'static str> {
    DENIED_V4.iter().find(|(network, prefix, _)| same_v4(*network, address, *prefix)).map(|(_, _, kind)| *kind)
}

fn denied_v6(address: Ipv6Addr) -> Option<&'static str> {
    let listed =
        DENIED_V6.iter().find(|(network, prefix, _)| same_v6(*network, address, *prefix)).map(|(_, _, kind)| *kind);
    let global_unicast = same_v6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), address, 3);
    listed.or_else(|| (!global_unicast).then_some("reserved"))
}

/// The IPv4 address a translator or tunnel would send the packet on to. The local-use NAT64 prefix is read in its
/// common form, a /96 with the address in the last 32 bits (RFC 8215 leaves the form to the operator).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let within = |network: Ipv6Addr, prefix| same_v6(network, address, prefix);
    if within(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16) {
        return Some(word(bits >> 80));
    }
    if within(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32) {
        // Teredo hides the client's address behind its complement (RFC 4380, section 4).
        return Some(word(!bits));
    }
    let at_the_end = within(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96)
        || within(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48)
        || within(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96)
        || (within(Ipv6Addr::UNSPECIFIED, 96) && bits > 1);
    at_the_end.then(|| word(bits))
}

#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are what is asked for")]
fn word(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(bits as u32)
}

fn same_v4(network: Ipv4Addr, address: Ipv4Addr, prefix: u8) -> bool {
    (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(prefix)
}

fn same_v6(network: Ipv6Addr, address: Ipv6Addr, prefix: u8) -> bool {
    (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(prefix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(address: &str, allow: &[&str]) -> Result<(), DeniedAddress> {
        let networks: Vec<IpNet> = allow.iter().map(|network| network.parse().unwrap()).collect();
        Allowed::new(&networks).judge(address.parse().unwrap())
    }

    #[test]
    fn isolation_11_every_special_network_is_denied_at_both_ends() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "e000::1",
            "200::1",
        ] {
            assert!(judge(address, &[]).is_err(), "{address}");
        }
    }

    #[test]
    fn isolation_11_the_neighbours_of_special_networks_are_free() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2003::1",
            "2a00::1",
            "2600::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(judge(address, &[]), Ok(()), "{address}");
        }
    }

    #[test]
    fn allow_lifts_a_network_and_no_more() {
        assert_eq!(judge("127.0.0.1", &["127.0.0.0/8"]), Ok(()));
        assert_eq!(judge("::ffff:127.0.0.1", &["127.0.0.0/8"]), Ok(()));
        assert_eq!(judge("127.0.0.1", &["::ffff:127.0.0.0/104"]), Ok(()));
        assert!(judge("::1", &["127.0.0.0/8"]).is_err());
        assert!(judge("10.0.0.1", &["127.0.0.0/8"]).is_err());
        // All of IPv6 is not all of IPv4, in whatever form the IPv4 address is written.
        assert!(judge("::ffff:127.0.0.1", &["::/0"]).is_err());
        assert!(judge("64:ff9b::127.0.0.1", &["::/0"]).is_err());
    }

    #[test]
    fn isolation_11_an_embedded_address_is_the_one_named() {
        let denied = judge("64:ff9b::10.0.0.5", &[]).unwrap_err();
        assert_eq!(denied, DeniedAddress { address: "10.0.0.5".parse().unwrap(), kind: "private network" });
        let tunnel = judge("64:ff9b::8.8.8.8", &[]).unwrap_err();
        assert_eq!(tunnel, DeniedAddress { address: "64:ff9b::808:808".parse().unwrap(), kind: "NAT64" });
        assert_eq!(judge("64:ff9b::8.8.8.8", &["64:ff9b::/96"]), Ok(()));
        assert!(judge("64:ff9b::10.0.0.5", &["64:ff9b::/96"]).is_err());
        assert_eq!(judge("64:ff9b::10.0.0.5", &["64:ff9b::/96", "10.0.0.0/8"]), Ok(()));
    }

    /// Every way to write an IPv4 address inside an IPv6 one, with the network that must be allowed to use it.
    fn forms(v4: Ipv4Addr, noise: u64) -> Vec<(Ipv6Addr, &'static str)> {
        let bits = u128::from(v4.to_bits());
        let noise = u128::from(noise);
        let of = |high: u128| Ipv6Addr::from_bits(high | bits);
        vec![
            (of(0xffff_u128 << 32), "::/0"),
            (of(0), "::/96"),
            (of(0xffff_u128 << 48), "::ffff:0:0:0/96"),
            (of(0x64_ff9b_u128 << 96), "64:ff9b::/96"),
            (of(0x0064_ff9b_0001_u128 << 80), "64:ff9b:1::/48"),
            (Ipv6Addr::from_bits((0x2002_u128 << 112) | (bits << 80) | noise), "2002::/16"),
            (Ipv6Addr::from_bits((0x2001_0000_u128 << 96) | (noise >> 32 << 32) | (bits ^ 0xffff_ffff)), "2001::/32"),
        ]
    }

    proptest! {
        #[test]
        fn isolation_11_a_v4_address_is_judged_alike_in_every_v6_form(bits in any::<u32>(), noise in any::<u64>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let plain = Allowed::default().judge(IpAddr::V4(v4));
            for (v6, network) in forms(v4, noise) {
                // `::` and `::1` are addresses of their own, not the form of an IPv4 address.
                if v6.to_bits() <= 1 { continue; }
                let closed = Allowed::default().judge(IpAddr::V6(v6));
                if v6.to_ipv4_mapped().is_some() {
                    prop_assert_eq!(closed, plain);
                } else {
                    prop_assert!(closed.is_err());
                }
                let opened = Allowed::new(&[network.parse().unwrap()]).judge(IpAddr::V6(v6));
                prop_assert_eq!(opened, plain, "{} as {}", v4, v6);
            }
        }

        #[test]
        fn no_v6_address_outside_global_unicast_is_free(bits in any::<u128>()) {
            let v6 = Ipv6Addr::from_bits(bits);
            if bits >> 125 != 1 && v6.to_ipv4_mapped().is_none() {
                prop_assert!(Allowed::default().judge(IpAddr::V6(v6)).is_err());
            }
        }
    }
}
