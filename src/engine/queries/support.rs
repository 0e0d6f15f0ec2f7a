//! The support agents' queries: who holds a name, what is known of an account, and which resets
//! wait. No answer holds a secret, a code or a full username.

use countersign_projections::CaseRow;
use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::SuspendedCause;
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::query::{FindAccountQuery, ResetQueueQuery};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::sealed::Protected;
use countersign_schemas::support::CaseState;
use countersign_schemas::support_reply::{
    AccountCard, AccountFound, MaskedName, ResetCase, ResetQueue, SuspendedBy,
};

use super::page_room::PageRoom;
use super::unavailable;
use crate::account::{Held, USERNAME_FIELD};
use crate::engine::Queries;
use crate::engine::keys::vault::VaultError;

/// Cases in one answer.
pub const CASES_MAX: usize = 200;
const OPEN: [CaseState; 2] = [CaseState::WaitingApproval, CaseState::CoolingOff];
/// The text shown in place of one that an erasure made unreadable.
const UNREADABLE: &str = "(erased)";

impl Queries {
    /// Finds the account that holds a username.
    ///
    /// # Errors
    /// `account.not_found`, `store.unavailable`.
    pub fn find_account(&self, query: &FindAccountQuery) -> Result<AccountFound, Refusal> {
        let name = self
            .shared
            .vault
            .keyring()
            .name_hash(query.username.as_str());
        let stream = self
            .shared
            .index
            .name(&name)
            .map_err(|error| unavailable(&error))?;
        let account = match stream {
            Some(stream) => self.shared.accounts.load(stream),
            None => return Err(Refusal::new(ErrorCode::AccountNotFound)),
        };
        let account = account.map_err(|error| unavailable(&error))?;
        let account_id = account.id.clone();
        account_id
            .map(|account_id| AccountFound { account_id })
            .ok_or_else(|| Refusal::new(ErrorCode::AccountNotFound))
    }

    /// Lists the reset cases in a state, or the open ones if none is named.
    ///
    /// # Errors
    /// `projection.behind`, `store.unavailable`.
    pub fn reset_queue(
        &self,
        query: &ResetQueueQuery,
        min_position: Option<u64>,
    ) -> Result<ResetQueue, Refusal> {
        self.wait_for(self.shared.views.reset_queue(), min_position)?;
        let states = match &query.state {
            Some(state) => std::slice::from_ref(state),
            None => &OPEN,
        };
        let now = self.shared.log_time();
        let queue = self.shared.views.reset_queue();
        let (rows, more) = queue
            .cases(states, now, (query.after.unwrap_or(0), CASES_MAX))
            .map_err(|error| unavailable(&error))?;
        let mut room = PageRoom::default();
        let mut page = ResetQueue {
            cases: Vec::with_capacity(rows.len()),
            more,
            next: None,
        };
        let mut last = None;
        for (position, row) in rows {
            let case = self.case(row)?;
            if !room.takes(&[&case]) {
                page.more = true;
                break;
            }
            page.cases.push(case);
            last = Some(position);
        }
        page.next = last.filter(|_| page.more);
        Ok(page)
    }

    /// Returns what an agent may know of an account.
    ///
    /// # Errors
    /// `account.not_found`, `projection.behind`, `store.unavailable`.
    pub fn account_card(
        &self,
        account: &AccountId,
        min_position: Option<u64>,
    ) -> Result<AccountCard, Refusal> {
        self.wait_for(self.shared.views.account_cards(), min_position)?;
        let stream = StreamKey::of(account);
        let views = &self.shared.views;
        let card = views
            .account_cards()
            .get(&stream)
            .map_err(|error| unavailable(&error))?;
        let position = views.login_status().position();
        let login = views
            .login_status()
            .get(&stream)
            .map_err(|error| unavailable(&error))?;
        let (Some(card), Some(login)) = (card, login) else {
            return Err(Refusal::new(ErrorCode::AccountNotFound));
        };
        let now = self.shared.log_time();
        let newest = views
            .reset_queue()
            .newest(&stream)
            .map_err(|error| unavailable(&error))?;
        let open = newest.filter(|case| OPEN.contains(&case.state_at(now)));
        let status = login.status(now, position, self.shared.policy.low_codes);
        Ok(AccountCard {
            account_id: account.clone(),
            username: match card.username {
                Some((version, name)) => self.masked(stream, version, name)?,
                None => None,
            },
            registered_at: Some(card.registered_at),
            password_set_at: card.password_set_at,
            second_factor: status.second_factor,
            methods: status.methods,
            enabled_at: status.enabled_at,
            backup_codes_left: status.backup_codes_left,
            set_no: status.set_no,
            wrong_codes: card.wrong_codes,
            wrong_code_at: card.wrong_code_at,
            throttled_until: status.throttled_until,
            double_code: status.double_code,
            suspended: status.authenticator_suspended,
            suspended_by: login.suspended.map(|cause| match cause {
                SuspendedCause::Failures => SuspendedBy::Failures,
                SuspendedCause::Support => SuspendedBy::Support,
            }),
            last_login_at: card.last_login_at,
            cleared_at: card.cleared_at,
            reset: open.map(|row| self.case(row)).transpose()?,
            after_reset_days: status.after_reset_days,
            position,
        })
    }

    fn case(&self, row: CaseRow) -> Result<ResetCase, Refusal> {
        let state = row.state_at(self.shared.log_time());
        let (stream, version) = (StreamKey::of(&row.account_id), row.version);
        let text = |value, field| {
            let event_type = type_code("reset-requested");
            let opened = self.opened(stream, version, value, (event_type, field));
            opened.map(|text| text.unwrap_or_else(|| UNREADABLE.into()))
        };
        let (closed_at, closed_by) = row.closed.unzip();
        Ok(ResetCase {
            reason: text(row.reason, 1)?,
            ticket: text(row.ticket, 2)?,
            case_id: row.case_id,
            account_id: row.account_id,
            state,
            requested_by: row.requested_by,
            requested_at: row.requested_at,
            expires_at: row.expires_at,
            approved_by: row.approved_by,
            execute_after: row.execute_after,
            closed_at,
            closed_by,
            lost: row.lost,
        })
    }

    /// Returns the first character of a username and its length: enough to ask its owner for the
    /// rest.
    fn masked(
        &self,
        stream: StreamKey,
        version: u32,
        name: Protected,
    ) -> Result<Option<MaskedName>, Refusal> {
        let place = (type_code("account-registered"), USERNAME_FIELD);
        let name = self.opened(stream, version, name, place)?;
        Ok(name.map(|name| MaskedName {
            first: name.chars().take(1).collect(),
            length: name.chars().count() as u8,
        }))
    }

    /// Opens a sealed text in its place, given event type and field; `None` once the account is
    /// erased.
    fn opened(
        &self,
        stream: StreamKey,
        version: u32,
        value: Protected,
        (event_type, field): (u16, u16),
    ) -> Result<Option<String>, Refusal> {
        let held = Held {
            value,
            version,
            event_type,
            field,
        };
        match self.shared.vault.open(stream, &held) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(VaultError::Erased) => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

fn type_code(name: &str) -> u16 {
    let known = Event::ALL.iter().find(|(_, _, known)| *known == name);
    known.expect("the list has the event").0
}
