//! The meta block of a record: who caused an event, and by which command.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::command::CommandKind;
use crate::sealed::Sealed;

/// The role that the subject of a request implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// A platform service.
    Platform,
    /// A support agent.
    Support,
    /// An operator.
    Operator,
    /// An auditor.
    Audit,
    /// The service itself.
    Service,
}

impl Role {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Support => "support",
            Self::Operator => "operator",
            Self::Audit => "audit",
            Self::Service => "service",
        }
    }
}

/// Who caused an event, and by which command; the same in every record of a group.
///
/// Postcard writes the fields in their order. A decoded block borrows its texts from the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta<'a> {
    /// The account's id as text; empty for log-wide events.
    pub account_id: Cow<'a, str>,
    /// The command's id as text.
    pub command_id: Cow<'a, str>,
    /// The caller's name.
    pub caller: Cow<'a, str>,
    /// Whether the broker vouched for the caller's name.
    pub verified: bool,
    /// The role that the request's subject implies.
    pub role: Role,
    /// The W3C trace id.
    pub trace_id: Option<[u8; 16]>,
    /// A keyed hash over caller, subject and the command without its secrets, to recognise a
    /// repeat: 4 bytes of id of a key that lives for two days, then a truncated HMAC.
    pub body_tag: [u8; 16],
    /// A keyed hash of where the request came from (the address, else the caller), to count wrong
    /// passwords by source. Its key is the account's data key, so that an erasure makes it
    /// meaningless. Zeros in the log's own stream.
    pub source_key: [u8; 8],
    /// The sealed [`SourceFacts`].
    pub source: Option<Sealed<'a>>,
    /// The commitment that binds the sealed facts for a reader without the key: see
    /// [`SourceFacts::commitment`]. It comes after the other fields and is absent without a source;
    /// older records do not have it.
    #[serde(skip)]
    pub source_commitment: Option<[u8; COMMITMENT_BYTES]>,
}

/// The length of [`Meta::source_commitment`], in bytes.
pub const COMMITMENT_BYTES: usize = 16;
/// The length of the salt of a commitment, in bytes.
pub const SALT_BYTES: usize = 16;
/// The first bytes of what a commitment hashes, so that no other hash of the service equals one.
const COMMITMENT_LABEL: &[u8] = b"countersign source v1";

impl From<CommandKind> for Role {
    /// Returns the role whose callers can reach a command of this kind.
    fn from(kind: CommandKind) -> Self {
        match kind {
            CommandKind::Platform => Self::Platform,
            CommandKind::Support => Self::Support,
            CommandKind::Operator => Self::Operator,
        }
    }
}

/// Where a request came from; a record holds it only sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// The user's address.
    pub ip: Option<String>,
    /// The user's agent.
    pub agent: Option<String>,
    /// The person or service that the caller said it acted for.
    pub on_behalf_of: Option<String>,
}

impl SourceFacts {
    /// Returns the commitment that the record holds beside the sealed facts: the first 16 bytes of
    /// SHA-256 over a label, the salt and the facts. A reader who is given facts and salt can check
    /// that they are the recorded ones; without the salt an address cannot be tested against it.
    pub fn commitment(&self, salt: &[u8; SALT_BYTES]) -> [u8; COMMITMENT_BYTES] {
        let facts = postcard::to_allocvec(self).expect("three optional texts encode");
        let digest = Sha256::new()
            .chain_update(COMMITMENT_LABEL)
            .chain_update(salt)
            .chain_update(facts)
            .finalize();
        let mut commitment = [0; COMMITMENT_BYTES];
        commitment.copy_from_slice(&digest[..COMMITMENT_BYTES]);
        commitment
    }
}

impl<'a> Meta<'a> {
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = postcard::to_allocvec(self).ok()?;
        if let Some(commitment) = &self.source_commitment {
            self.source.as_ref()?;
            bytes.extend(commitment);
        }
        Some(bytes)
    }

    /// Reads what [`Meta::encode`] writes, and no other spelling of it.
    ///
    /// Written by hand, since a replay decodes one for every record: serde reads one byte at a time
    /// and cannot distinguish a padded number from a plain one.
    #[inline]
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let mut meta = Self {
            account_id: rest.text()?.into(),
            command_id: rest.text()?.into(),
            caller: rest.text()?.into(),
            verified: rest.flag()?,
            role: rest.role()?,
            trace_id: if rest.flag()? {
                Some(rest.array()?)
            } else {
                None
            },
            body_tag: rest.array()?,
            source_key: rest.array()?,
            source: if rest.flag()? {
                Some(Sealed {
                    key: rest.number()?,
                    nonce: rest.array()?,
                    ciphertext: rest.bytes()?.into(),
                })
            } else {
                None
            },
            source_commitment: None,
        };
        if meta.source.is_some() && !rest.0.is_empty() {
            meta.source_commitment = Some(rest.array()?);
        }
        rest.0.is_empty().then_some(meta)
    }

    pub(crate) fn into_owned(self) -> Meta<'static> {
        Meta {
            account_id: self.account_id.into_owned().into(),
            command_id: self.command_id.into_owned().into(),
            caller: self.caller.into_owned().into(),
            source: self.source.map(|source| Sealed {
                ciphertext: source.ciphertext.into_owned().into(),
                ..source
            }),
            ..self
        }
    }
}

/// The bytes that are not yet read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    #[inline]
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    #[inline]
    fn flag(&mut self) -> Option<bool> {
        match self.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn role(&mut self) -> Option<Role> {
        match self.array()? {
            [0] => Some(Role::Platform),
            [1] => Some(Role::Support),
            [2] => Some(Role::Operator),
            [3] => Some(Role::Audit),
            [4] => Some(Role::Service),
            _ => None,
        }
    }

    /// Reads a number of 32 bits, seven bits to the byte, the lowest first; `None` if it uses more
    /// bytes than it needs.
    #[inline]
    fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let is_shortest = byte > 0 || shift == 0;
                return is_shortest.then_some(number)?.try_into().ok();
            }
        }
        None
    }

    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(len as usize)
    }

    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta() -> impl Strategy<Value = Meta<'static>> {
        let sealed = (any::<u32>(), any::<[u8; 12]>(), any::<Vec<u8>>());
        let role = prop_oneof![
            Just(Role::Platform),
            Just(Role::Support),
            Just(Role::Operator),
            Just(Role::Audit),
            Just(Role::Service),
        ];
        let texts = (".{0,200}", ".*", ".*");
        let facts = (any::<bool>(), role, any::<Option<[u8; 16]>>());
        let tags = (any::<[u8; 16]>(), any::<[u8; 8]>());
        let source = prop::option::of((sealed, any::<Option<[u8; COMMITMENT_BYTES]>>()));
        (texts, facts, tags, source).prop_map(|(texts, facts, tags, source)| {
            let (source, source_commitment) = source.unzip();
            Meta {
                account_id: texts.0.into(),
                command_id: texts.1.into(),
                caller: texts.2.into(),
                verified: facts.0,
                role: facts.1,
                trace_id: facts.2,
                body_tag: tags.0,
                source_key: tags.1,
                source: source.map(|(key, nonce, ciphertext)| Sealed {
                    key,
                    nonce,
                    ciphertext: ciphertext.into(),
                }),
                source_commitment: source_commitment.flatten(),
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(meta in meta()) {
            let bytes = meta.encode().unwrap();
            prop_assert_eq!(Meta::decode(&bytes), Some(meta));
        }

        #[test]
        fn bytes_are_read_as_serde_reads_them_if_it_would_write_them_so(
            meta in meta(),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
            splice in 0..3_usize,
        ) {
            let mut bytes = meta.encode().unwrap();
            let at = at.index(bytes.len());
            bytes.splice(at..(at + splice).min(bytes.len()), [with]);
            let as_written = postcard::take_from_bytes::<Meta>(&bytes).ok().and_then(|(mut meta, rest)| {
                if meta.source.is_some() {
                    meta.source_commitment = rest.try_into().ok();
                }
                (meta.encode().unwrap() == bytes).then_some((meta, rest))
            });
            prop_assert_eq!(Meta::decode(&bytes), as_written.map(|(meta, _)| meta));
        }
    }

    #[test]
    fn a_commitment_without_a_source_is_neither_written_nor_read() {
        let bare = Meta {
            account_id: "ada".into(),
            command_id: "c-1".into(),
            caller: "shop".into(),
            verified: true,
            role: Role::Platform,
            trace_id: None,
            body_tag: [1; 16],
            source_key: [2; 8],
            source: None,
            source_commitment: None,
        };
        let bytes = bare.encode().unwrap();
        assert_eq!(Meta::decode(&[&bytes[..], &[7; 16]].concat()), None);
        let committed = Meta {
            source_commitment: Some([7; 16]),
            ..bare
        };
        assert_eq!(committed.encode(), None);
    }

    /// Each fact is hashed with its length and its place, and the salt is hashed too.
    #[test]
    fn another_salt_and_the_same_texts_elsewhere_have_another_commitment() {
        let facts = |ip: Option<&str>, agent: Option<&str>| SourceFacts {
            ip: ip.map(Into::into),
            agent: agent.map(Into::into),
            on_behalf_of: None,
        };
        let all = [
            facts(Some("ab"), Some("c")).commitment(&[1; 16]),
            facts(Some("ab"), Some("c")).commitment(&[2; 16]),
            facts(Some("a"), Some("bc")).commitment(&[1; 16]),
            facts(Some("c"), Some("ab")).commitment(&[1; 16]),
            facts(Some("ab"), None).commitment(&[1; 16]),
            facts(None, Some("ab")).commitment(&[1; 16]),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_number_has_one_spelling_and_32_bits() {
        let number = |bytes: &[u8]| Rest(bytes).number();
        assert_eq!(number(&[0]), Some(0));
        assert_eq!(number(&[0x80, 0x01]), Some(128));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some(u32::MAX));
        assert_eq!(number(&[0x80, 0x00]), None, "padded");
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None, "33 bits");
        assert_eq!(number(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), None);
        assert_eq!(number(&[0x80]), None, "it goes on");
    }
}
