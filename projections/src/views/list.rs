//! The list of the views, which everything that concerns all of them follows.

use std::sync::Arc;

use redb::Database;

use super::Views;
use crate::Projection;

/// Declares the one list: each view's description, its name here and its type.
macro_rules! views {
    ($($(#[$doc:meta])* $name:ident: $view:ty,)*) => {
        /// Every view, once each.
        pub(super) struct List { $($name: $view,)* }

        impl List {
            pub(super) fn new(db: &Arc<Database>) -> Self {
                Self { $($name: <$view>::new(Arc::clone(db)),)* }
            }

            /// Returns all views, always in the same order.
            pub(super) fn all(&self) -> Vec<&dyn Projection> {
                vec![$(&self.$name,)*]
            }
        }

        impl Views {
            $($(#[$doc])* pub fn $name(&self) -> &$view { &self.list.$name })*
        }
    };
}

views! {
    /// The login view.
    login_status: crate::login_view::LoginStatusView,
    /// The audit trail.
    audit_trail: crate::audit_trail::AuditTrail,
    /// The account cards.
    account_cards: crate::account_card::AccountCards,
    /// The reset queue.
    reset_queue: crate::reset_queue::ResetQueue,
}
