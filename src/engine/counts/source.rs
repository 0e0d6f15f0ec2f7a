//! The source of a request, in one form however its address was written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use countersign_schemas::context::Context;

/// Leading bytes of an IPv6 address that count: one customer has a whole /64.
const V6_BYTES: usize = 8;
/// The prefix under which an IPv6-only network shows IPv4 addresses (RFC 6052 §2.1).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
/// The prefix of an IPv6 network that was made from an IPv4 address (RFC 3056 §2).
const SIX_TO_FOUR: u16 = 0x2002;

/// The source of a request. Two sources are equal if their failures count together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// An IPv4 address, also if it was written as IPv6.
    V4([u8; 4]),
    /// The /64 of an IPv6 address.
    V6([u8; V6_BYTES]),
    /// The caller, where there is no address or a text that is not one: a sender who can choose
    /// that text must not get a new source for each.
    Caller(Arc<str>),
}

impl Source {
    /// Returns the address that the caller saw, or the caller if it reports none.
    pub fn of(context: Option<&Context>, caller: &str) -> Self {
        let text = context.and_then(|context| context.ip.as_ref());
        let address = text.and_then(|text| address(text.as_str()));
        Self(address.map_or_else(|| Place::Caller(caller.into()), place))
    }

    /// Whether it is an address, and not a caller that reports none or an unreadable one.
    pub fn is_address(&self) -> bool {
        matches!(self.0, Place::V4(_) | Place::V6(_))
    }

    /// Returns the bytes that identify the source in a keyed hash; different sources have different
    /// ones.
    pub fn parts(&self) -> [&[u8]; 3] {
        match &self.0 {
            Place::V4(address) => [b"v4", address, b""],
            Place::V6(network) => [b"v6", network, b""],
            Place::Caller(caller) => [b"caller", caller.as_bytes(), b""],
        }
    }
}

fn place(address: IpAddr) -> Place {
    let v6 = match address {
        IpAddr::V4(address) => return Place::V4(address.octets()),
        IpAddr::V6(address) => address,
    };
    if let Some(v4) = v6.to_ipv4_mapped().or_else(|| carried(v6)) {
        return Place::V4(v4.octets());
    }
    let octets = v6.octets();
    Place::V6(std::array::from_fn(|at| octets[at]))
}

/// Returns the IPv4 address inside an IPv6 one: of a translator, whose /64 would contain all of
/// IPv4, or of a host that has 65,536 networks for its one IPv4 address.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let segments = address.segments();
    let at = match segments {
        _ if segments[..6] == NAT64 => 12,
        [SIX_TO_FOUR, ..] => 2,
        _ => return None,
    };
    octets[at..].first_chunk().map(|v4| Ipv4Addr::from(*v4))
}

/// Reads an address in any form in which proxies write it: in quotes, between blanks, with the dot
/// that ends a name, with a port, brackets or a zone. In a list the last address counts: each proxy
/// on the way appends what it saw, and the sender can write anything before that.
fn address(text: &str) -> Option<IpAddr> {
    let last = text.rsplit(',').next().unwrap_or_default();
    let bare = last.trim();
    let bare = bare.strip_prefix('"').unwrap_or(bare);
    let bare = bare.strip_suffix('"').unwrap_or(bare).trim();
    host(bare)
}

fn host(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let is_port = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return is_port.then(|| ip(host)).flatten();
    }
    // An IPv6 address has two colons at least.
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => is_port(port).then(|| ip(host)).flatten(),
        _ => ip(text),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Reads an address without its zone, which names only an interface of the machine that saw it.
fn ip(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    let address = address.trim();
    address.strip_suffix('.').unwrap_or(address).parse().ok()
}

/// The keyed hash of a source, as records contain it.
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
                    "64:FF9B::C000:207",
                    "2002:c000:207::1",
                    "2002:c000:0207:ffff::1",
                    " 192.0.2.7 ",
                    "192.0.2.7.",
                    "192.0.2.7%eth0",
                    "192.0.2.7%eth0:80",
                    "[192.0.2.7]",
                    "[192.0.2.7]:443",
                    "\"192.0.2.7\"",
                    "\" 192.0.2.7:443 \"",
                    "198.51.100.1, 192.0.2.7",
                    "unknown,::1,192.0.2.7:80",
                    "\"[2001:db8::7]:4711\", \"192.0.2.7\"",
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
                    "[2001:DB8::7%2]:443 ",
                    "2001:db8::7%",
                    "2001:db8::7.",
                    "\"[2001:db8::7]:4711\"",
                    "192.0.2.8, 2001:db8::7",
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

    /// a sender who chooses the text gets no new attempts by it.
    #[test]
    fn text_that_is_no_address_is_its_caller() {
        for text in [
            "unix:",
            "a host",
            "192.0.2.7:http",
            "192.0.2.7:65536",
            "192.0.2.7:+1",
            "192.0.2.7:",
            "192.0.2.256",
            "192.0.02.7",
            "192.0.2.7..",
            "192.0.2",
            "3221225991",
            "0xc0000207",
            "192.0.2.7/32",
            "192.0.2.7 192.0.2.8",
            "192.0.2.7, ",
            "192.0.2.7, unknown",
            "192.0.2.7;192.0.2.8",
            "for=192.0.2.7",
            "http://192.0.2.7",
            "'192.0.2.7'",
            "１９２.0.2.7",
            "[::1",
            "[::1]x",
            "[::1]]",
            "::1::",
            "::1]:80",
            "%eth0",
            ",",
            "\"",
            ":",
            "\u{0}192.0.2.7",
        ] {
            assert_eq!(source(text), Source::of(None, "gateway"), "{text}");
            assert_ne!(by("another", text), source(text), "{text}");
        }
    }

    #[test]
    fn without_an_address_it_is_the_caller() {
        let nothing = Context::default();
        assert_eq!(Source::of(None, "a"), Source::of(Some(&nothing), "a"));
        assert_ne!(Source::of(None, "a"), Source::of(None, "b"));
    }

    #[test]
    fn sources_that_differ_have_parts_that_differ() {
        let all = [
            source("1.2.3.4"),
            source("102:304::"),
            source("c000:207::"),
            Source::of(None, "ab"),
            Source::of(None, "abc"),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(one.parts(), other.parts());
            }
        }
    }
}
