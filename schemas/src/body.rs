//! What the bodies of all requests have in common: objects without unknown fields, and rules over
//! several of their fields. Both the check and the JSON Schema are made from these rules.

use schemars::{Schema, transform::Transform};
use serde_json::{Value, json};

use crate::code::Code;
use crate::ids::ChallengeId;
use crate::secret::SecretText;
use crate::support::Lost;
use crate::time::Micros;

/// A rule over several fields of one object. Every rule treats `null` as an absent field.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Exactly one of the fields is given; the sentence is quoted by a refusal.
    ExactlyOne([&'static str; 2], &'static str),
    /// At least one of the fields is given.
    AtLeastOne([&'static str; 2], &'static str),
    /// The first field is given only beside the second.
    Follows([&'static str; 2], &'static str),
}

/// A login names its account in one way.
pub const LOGIN_NAMES: Rule = Rule::ExactlyOne(
    ["username", "account_id"],
    "exactly one of username and account_id is required",
);
/// The second step of a login names its account in one way.
pub const CHALLENGE_NAMES: Rule = Rule::ExactlyOne(
    ["challenge_id", "account_id"],
    "exactly one of challenge_id and account_id is required",
);
/// A query for one moment names it in one way.
pub const MOMENT: Rule = Rule::ExactlyOne(
    ["position", "at"],
    "exactly one of position and at is required",
);
/// A proof contains at least one factor.
pub const PROVES: Rule = Rule::AtLeastOne(
    ["password", "code"],
    "a proof has a password, a code or both",
);
/// The second of two consecutive codes comes only with the first.
pub const CODES: Rule = Rule::Follows(["next_code", "code"], "next_code follows a code");

/// Every rule.
pub const RULES: &[Rule] = &[LOGIN_NAMES, CHALLENGE_NAMES, MOMENT, PROVES, CODES];

impl Rule {
    /// Returns the sentence that a refusal quotes.
    pub fn sentence(&self) -> &'static str {
        match self {
            Self::ExactlyOne(_, text) | Self::AtLeastOne(_, text) | Self::Follows(_, text) => text,
        }
    }

    fn fields(&self) -> [&'static str; 2] {
        match self {
            Self::ExactlyOne(fields, _)
            | Self::AtLeastOne(fields, _)
            | Self::Follows(fields, _) => *fields,
        }
    }

    /// Returns whether an object with these fields keeps the rule.
    fn holds(&self, given: &[(&str, bool)]) -> bool {
        let [first, second] = self.fields().map(|name| given.contains(&(name, true)));
        match self {
            Self::ExactlyOne(..) => first != second,
            Self::AtLeastOne(..) => first || second,
            Self::Follows(..) => !first || second,
        }
    }

    /// Returns the rule as a JSON Schema.
    fn schema(&self) -> Value {
        let [first, second] = self.fields().map(
            |name| json!({"required": [name], "properties": {name: {"not": {"type": "null"}}}}),
        );
        match self {
            Self::ExactlyOne(..) => json!({"oneOf": [first, second]}),
            Self::AtLeastOne(..) => json!({"anyOf": [first, second]}),
            Self::Follows(..) => json!({"anyOf": [{"not": first}, second]}),
        }
    }
}

/// Checks the fields of an object against its rules.
///
/// # Errors
/// The sentence of the first rule that the object breaks.
pub fn check(rules: &[Rule], given: &[(&str, bool)]) -> Result<(), &'static str> {
    match rules.iter().find(|rule| !rule.holds(given)) {
        Some(broken) => Err(broken.sentence()),
        None => Ok(()),
    }
}

/// Adds rules to the schema of an object.
pub struct Described(pub &'static [Rule]);

impl Transform for Described {
    fn transform(&mut self, schema: &mut Schema) {
        let rules: Vec<_> = self.0.iter().map(Rule::schema).collect();
        if !rules.is_empty() {
            schema.insert("allOf".into(), rules.into());
        }
    }
}

/// What the rules over several fields need to know about a field.
pub trait Field {
    /// Returns whether the field is present.
    fn is_given(&self) -> bool {
        true
    }

    /// Returns whether the field holds a backup code with a wrong check character.
    fn is_mistyped(&self) -> bool {
        false
    }
}

impl<T: Field> Field for Option<T> {
    fn is_given(&self) -> bool {
        self.is_some()
    }

    fn is_mistyped(&self) -> bool {
        self.as_ref().is_some_and(Field::is_mistyped)
    }
}

impl Field for Code {
    fn is_mistyped(&self) -> bool {
        Code::is_mistyped(self)
    }
}

impl Field for SecretText {}
impl Field for ChallengeId {}
impl Field for Lost {}
impl Field for Micros {}
impl Field for u64 {}

/// Declares an object that refuses unknown fields and keeps rules over several of its fields.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident [$($rule:expr),*] { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[schemars(transform = crate::body::Described(Self::RULES))]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            /// The rules over several of its fields.
            const RULES: &'static [crate::body::Rule] = &[$($rule),*];
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                // The schema is the outer type's; its attributes are on the fields.
                #[derive(Deserialize, JsonSchema)]
                #[serde(deny_unknown_fields)]
                struct Fields {
                    $($(#[$field_doc])* $field: $type,)*
                }

                let Fields { $($field),* } = Fields::deserialize(d)?;
                let given = [$((stringify!($field), crate::body::Field::is_given(&$field)),)*];
                match crate::body::check(Self::RULES, &given) {
                    Ok(()) => Ok(Self { $($field),* }),
                    Err(sentence) => Err(serde::de::Error::custom(sentence)),
                }
            }
        }

        impl crate::body::Field for $name {
            fn is_mistyped(&self) -> bool {
                [$(crate::body::Field::is_mistyped(&self.$field),)*].contains(&true)
            }
        }
    };
}
pub(crate) use object;

/// Declares a request: an object with the optional `context` of every command.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident $([$($rule:expr),*])? { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        crate::body::object!(
            $(#[$doc])*
            $name [$($($rule),*)?] {
                $($(#[$field_doc])* $field: $type,)*
                /// Where the request came from.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                context: Option<crate::context::Context>,
            }
        );

        impl crate::open_part::OpenPart for $name {
            /// Every field but the context. Where a request came from is not what it asks for, and
            /// a tag must not let anybody test an address.
            fn show(&self, out: &mut Vec<u8>) {
                $(crate::open_part::OpenPart::show(&self.$field, out);)*
            }
        }
    };
}
pub(crate) use request;

impl Field for crate::context::Context {}
