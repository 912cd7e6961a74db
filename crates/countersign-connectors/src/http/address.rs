//! Which addresses a system may have: public ones, or those of networks that are named.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address that is looked at.
pub type Address = IpAddr;

/// Where a system's addresses may lie: in one of these, or, if there is none, anywhere public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// Where machines tell whoever asks who they are and what their credentials are: never a system.
const NEVER: [IpAddr; 7] = [
    v4(169, 254, 169, 254), // most clouds
    v4(169, 254, 170, 2),   // containers on AWS
    v4(169, 254, 170, 23),  // pods on AWS
    v4(100, 100, 100, 200), // Alibaba
    v4(168, 63, 129, 16),   // Azure's own host
    v4(192, 0, 0, 192),     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

impl Networks {
    /// Nothing but these; without any, what is public and nothing else.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether a connection may be made to `address`. An IPv4 address that travels in an IPv6 one
    /// (mapped, or behind NAT64) is judged as what it is.
    #[must_use]
    pub fn permit(&self, address: Address) -> bool {
        let address = match address {
            IpAddr::V6(v6) => travelling(v6).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        if address.is_unspecified() || address.is_multicast() || NEVER.contains(&address) {
            return false;
        }
        match self.0.as_slice() {
            [] => is_public(address),
            networks => networks.iter().any(|network| network.contains(&address)),
        }
    }
}

/// The IPv4 address that traffic to `address` ends at: `::ffff:0:0/96` (RFC 4291 §2.5.5.2) and
/// `64:ff9b::/96` (RFC 6052 §2.1).
fn travelling(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some(mapped);
    }
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// Globally reachable, by IANA's registries of special addresses (RFC 6890, as of 2025).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !matches!(
                (a, b, c),
                (0 | 10 | 127 | 224..=255, _, _) // this network, private, loopback, multicast, reserved
                    | (100, 64..=127, _)         // shared by carriers
                    | (169, 254, _)              // link-local
                    | (172, 16..=31, _)          // private
                    | (192, 0, 0 | 2)            // protocol assignments, documentation
                    | (192, 88, 99)              // 6to4 relays
                    | (192, 168, _)              // private
                    | (198, 18..=19, _)          // benchmarks
                    | (198, 51, 100)             // documentation
                    | (203, 0, 113) // documentation
            )
        }
        // Only 2000::/3 is handed out. Not in it: loopback, unspecified, IPv4-compatible, local NAT64,
        // unique local, link-local, site-local, multicast, segment routing, and the discard prefix.
        IpAddr::V6(address) => match address.segments() {
            [0x2001, 0..=0x1ff, ..] => false, // protocol assignments, Teredo among them
            [0x2001, 0xdb8, ..] => false,     // documentation
            [0x2002, ..] => false,            // 6to4: an IPv4 address in disguise (RFC 7526)
            [0x3fff, 0..=0xfff, ..] => false, // documentation
            [first, ..] => (0x2000..=0x3fff).contains(&first),
        },
    }
}
