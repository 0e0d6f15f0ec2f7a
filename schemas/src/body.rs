//! What every request's body has in common.

/// Declares a request: closed to unknown fields, with the optional `context` of every command.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// Where the request came from.
            #[serde(
                default,
                skip_serializing_if = "Option::is_none",
                deserialize_with = "crate::strict::optional_object"
            )]
            pub context: Option<crate::command::Context>,
        }

        impl crate::open_part::OpenPart for $name {
            /// Every field but the context: where a request came from is not what it asks for, and
            /// no tag is to test an address.
            fn show(&self, out: &mut Vec<u8>) {
                $(crate::open_part::OpenPart::show(&self.$field, out);)*
            }
        }
    };
}
pub(crate) use request;
