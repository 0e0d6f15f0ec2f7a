//! The broker's sentence about a subject that it refuses, read exactly: the subject in it can be
//! one that a caller chose.

const PUBLISH: &str = "Permissions Violation for Publish to \"";
const SUBSCRIPTION: &str = "Permissions Violation for Subscription to \"";

/// What the broker refused to this connection, with the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation<'a> {
    /// A message, which is lost; the subject can be a caller's reply subject.
    Publish(&'a str),
    /// A subscription, whose subject is always one's own.
    Subscription(&'a str),
}

impl<'a> Violation<'a> {
    /// Reads the sentence; `None` if it says anything else.
    pub fn of(sentence: &'a str) -> Option<Self> {
        if let Some(named) = sentence.strip_prefix(PUBLISH) {
            return named.strip_suffix('"').map(Self::Publish);
        }
        // A queue group can follow, or after a reload the number of the subscription.
        let named = sentence.strip_prefix(SUBSCRIPTION)?;
        Some(Self::Subscription(named.split_once('"')?.0))
    }

    /// Whether the service cannot do its work: it is refused a subscription, or to publish on the
    /// one subject that other instances of its log listen to.
    pub fn deafens(self, instance_subject: &str) -> bool {
        match self {
            Self::Publish(subject) => subject == instance_subject,
            Self::Subscription(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "countersign.v1.instance.0a";

    fn deafens(sentence: &str) -> bool {
        Violation::of(sentence).is_some_and(|violation| violation.deafens(OURS))
    }

    #[test]
    fn what_the_service_needs_is_recognised() {
        for sentence in [
            r#"Permissions Violation for Publish to "countersign.v1.instance.0a""#,
            r#"Permissions Violation for Subscription to "countersign.v1.command.x""#,
            r#"Permissions Violation for Subscription to "$SRV.PING" using queue "q""#,
        ] {
            assert!(deafens(sentence), "{sentence}");
        }
    }

    #[test]
    fn a_subject_that_a_caller_chose_looks_like_nothing_else() {
        for subject in [
            "x.instance.y",
            "countersign.v1.instance.0b",
            "x.countersign.v1.instance.0a",
            "countersign.v1.instance.0a.x",
            "COUNTERSIGN.v1.instance.0a",
            "x\"countersign.v1.instance.0a",
            "countersign.v1.instance.0a\"",
            "countersign.v1.instance.0a'",
            "violation-for-subscription",
            "x\"Permissions\u{a0}Violation\u{a0}for\u{a0}Subscription\u{a0}to\u{a0}\"y",
            "x\"\"using\"queue\"y",
        ] {
            let sentence = format!("Permissions Violation for Publish to \"{subject}\"");
            assert_eq!(Violation::of(&sentence), Some(Violation::Publish(subject)));
            assert!(!deafens(&sentence), "{sentence}");
        }
    }

    #[test]
    fn the_subject_of_a_refused_subscription_is_without_what_follows() {
        for after in ["", r#" using queue "q""#, r#" (sid "4")"#] {
            let sentence = format!(r#"Permissions Violation for Subscription to "a.b"{after}"#);
            let refused = Some(Violation::Subscription("a.b"));
            assert_eq!(Violation::of(&sentence), refused, "{sentence}");
        }
        assert_eq!(Violation::of("Maximum Payload Violation"), None);
    }
}
