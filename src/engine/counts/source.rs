//! Where a request came from, in one form however it was written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use countersign_schemas::context::Context;

/// Leading bytes of an IPv6 address that count: one customer has a whole /64.
const V6_BYTES: usize = 8;
/// The prefix under which a network that speaks IPv6 only shows IPv4 addresses (RFC 6052 §2.1).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Where a request came from. Two are equal where failures of both count together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// An IPv4 address, also one that was written as IPv6.
    V4([u8; 4]),
    /// The /64 of an IPv6 address.
    V6([u8; V6_BYTES]),
    // BUG: texts-of-no-address: who reaches this text has as many sources as they like.
    /// Text that is no address: one caller's texts are not another's.
    Text { caller: Arc<str>, text: Arc<str> },
    /// No address at all.
    Caller(Arc<str>),
}

impl Source {
    /// The address that the caller saw, else the caller.
    pub fn of(context: Option<&Context>, caller: &str) -> Self {
        let Some(ip) = context.and_then(|context| context.ip.as_ref()) else {
            return Self(Place::Caller(caller.into()));
        };
        let text = ip.as_str().trim();
        Self(match address(text) {
            Some(address) => place(address),
            None => Place::Text {
                caller: caller.into(),
                text: text.to_ascii_lowercase().into(),
            },
        })
    }

    /// Whether it is an address, and not a caller that reports none or no readable one.
    pub fn is_address(&self) -> bool {
        matches!(self.0, Place::V4(_) | Place::V6(_))
    }

    /// The address; else the caller, whatever text it reports.
    pub fn address_or_caller(&self) -> Self {
        match &self.0 {
            Place::V4(_) | Place::V6(_) | Place::Caller(_) => self.clone(),
            Place::Text { caller, .. } => Self(Place::Caller(Arc::clone(caller))),
        }
    }

    /// The bytes that stand for it in a keyed hash; other sources have others.
    pub fn parts(&self) -> [&[u8]; 3] {
        match &self.0 {
            Place::V4(address) => [b"v4", address, b""],
            Place::V6(network) => [b"v6", network, b""],
            Place::Text { caller, text } => [b"text", caller.as_bytes(), text.as_bytes()],
            Place::Caller(caller) => [b"caller", caller.as_bytes(), b""],
        }
    }
}

fn place(address: IpAddr) -> Place {
    let v6 = match address {
        IpAddr::V4(address) => return Place::V4(address.octets()),
        IpAddr::V6(address) => address,
    };
    if let Some(v4) = v6.to_ipv4_mapped().or_else(|| translated(v6)) {
        return Place::V4(v4.octets());
    }
    let octets = v6.octets();
    Place::V6(std::array::from_fn(|at| octets[at]))
}

/// The IPv4 address that a translator shows as this one: their /64 would be all of IPv4.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d] = address.octets();
    (address.segments()[..6] == NAT64).then(|| Ipv4Addr::new(a, b, c, d))
}

/// Reads an address with or without a port, brackets or a zone.
fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let is_port = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return is_port.then(|| v6(address)).flatten();
    }
    if let Some((address, port)) = text.split_once(':')
        && let Ok(address) = address.parse()
    {
        return is_port(port).then_some(IpAddr::V4(address));
    }
    match text.parse() {
        Ok(address) => Some(IpAddr::V4(address)),
        Err(_) => v6(text),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// The zone names an interface of the machine that saw the address, and counts for nothing.
fn v6(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((address, _)) => address,
        None => text,
    };
    address.parse().ok().map(IpAddr::V6)
}

/// Keyed hash of a source, as it stands in records.
pub type SourceKey = [u8; 8];

#[cfg(test)]
mod tests {
    use countersign_schemas::context::SourceIp;

    use super::*;

    fn by(caller: &str, ip: &str) -> Source {
        let context = Context {
            ip: SourceIp::of(ip),
            agent: None,
        };
        Source::of(Some(&context), caller)
    }

    fn source(ip: &str) -> Source {
        by("gateway", ip)
    }

    ///
    #[test]
    fn every_way_to_write_an_address_is_one_source() {
        for (ways, other) in [
            (
                &[
                    "192.0.2.7",
                    "192.0.2.7:443",
                    "::ffff:192.0.2.7",
                    "::FFFF:c000:207",
                    "[::ffff:192.0.2.7]",
                    "[::ffff:192.0.2.7]:80",
                    "0:0:0:0:0:ffff:192.0.2.7",
                    "64:ff9b::192.0.2.7",
                    " 192.0.2.7 ",
                ][..],
                "192.0.2.8",
            ),
            (
                &[
                    "2001:db8::7",
                    "2001:DB8::7",
                    "2001:db8:0:0::ffff:7",
                    "2001:db8::7%eth0",
                    "[2001:db8::7]",
                    "[2001:db8::7]:443",
                    "[2001:db8::7%2]:443",
                    "2001:0db8:0000:0000:0000:0000:0000:0007",
                ],
                "2001:db8:0:1::7",
            ),
        ] {
            for way in ways {
                assert_eq!(source(way), source(ways[0]), "{way}");
                assert_eq!(by("another", way), source(way), "{way}");
            }
            assert_ne!(source(other), source(ways[0]));
        }
    }

    #[test]
    fn text_that_is_no_address_is_its_callers_own() {
        for text in [
            "unix:",
            "a host",
            "192.0.2.7:http",
            "192.0.2.7:65536",
            "192.0.2.7:+1",
            "192.0.2.7:",
            "192.0.2.256",
            "192.0.02.7",
            "[192.0.2.7]",
            "[::1",
            "[::1]x",
            "192.0.2.7,192.0.2.8",
            "::1::",
        ] {
            assert_ne!(by("another", text), source(text), "{text}");
            assert_eq!(source(&text.to_uppercase()), source(text), "{text}");
            assert_ne!(source(text), source("192.0.2.7"), "{text}");
        }
    }

    #[test]
    fn without_an_address_it_is_the_caller() {
        let nothing = Context::default();
        assert_eq!(Source::of(None, "a"), Source::of(Some(&nothing), "a"));
        assert_ne!(Source::of(None, "a"), Source::of(None, "b"));
        assert_ne!(Source::of(None, "a"), by("a", "a"));
    }

    #[test]
    fn sources_that_differ_have_parts_that_differ() {
        let all = [
            source("1.2.3.4"),
            source("102:304::"),
            by("a", "bc"),
            by("ab", "c"),
            Source::of(None, "abc"),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(one.parts(), other.parts());
            }
        }
    }
}
