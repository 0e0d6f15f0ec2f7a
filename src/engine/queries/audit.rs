//! The auditors' queries beside the events: an account as it was, checkpoints, proofs, raw records.

use countersign_projections::{Entry, Row, fold};
use countersign_schemas::audit::{
    AccountAtQuery, AuditRecords, AuditRecordsQuery, ConsistencyProof, ConsistencyQuery,
    InclusionProof, Moment, ProofQuery, SignedCheckpoint,
};
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::record::Record;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::LoginStatus;
use countersign_schemas::strict::DecodeError;
use countersign_schemas::time::Micros;
use data_encoding::BASE64;

use super::unavailable;
use crate::engine::Queries;
use crate::log::proof::{ProveError, prove_consistency, prove_inclusion};
use crate::log::tree::{Hash, leaf_hash};

/// Records in one answer.
const RECORDS_MAX: usize = 1_024;
/// Bytes of the records in one answer: base64 adds a third, and a broker's default limit is 1 MiB.
const RECORD_BYTES_MAX: usize = 512 * 1024;

impl Queries {
    /// Returns what a login check could have known of an account at a moment; a future moment
    /// counts as now.
    ///
    /// # Errors
    /// `request.invalid` unless one moment is given that the log has reached, `account.not_found`
    /// if the account did not exist then, `store.unavailable` if log or index cannot be read.
    pub fn account_at(
        &self,
        account: &AccountId,
        query: &AccountAtQuery,
    ) -> Result<LoginStatus, Refusal> {
        let head = self.shared.progress.committed();
        let moment = query.moment();
        let moment = moment.ok_or(Refusal::new(ErrorCode::RequestInvalid))?;
        let (position, now) = match moment {
            Moment::Position(position) if position > head => {
                let why = "the log has not reached this position";
                return Err(DecodeError::at("/position", why).into());
            }
            Moment::Position(0) => return Err(Refusal::new(ErrorCode::AccountNotFound)),
            Moment::Position(position) => (position, self.entry(position)?.record.recorded_at),
            Moment::Time(at) => {
                let at = at.min(self.shared.log_time());
                let after = self.first_at_or_after(Micros(at.0.saturating_add(1)))?;
                (after - 1, at)
            }
        };
        let row = self.row_at(&StreamKey::of(account), position)?;
        row.map(|row| row.status(now, position, self.shared.policy.low_codes))
            .ok_or(Refusal::new(ErrorCode::AccountNotFound))
    }

    /// Folds an account's events up to a position.
    pub(super) fn row_at(&self, stream: &StreamKey, position: u64) -> Result<Option<Row>, Refusal> {
        let positions = self.shared.index.positions(stream, 0, u32::MAX);
        let mut positions = positions.map_err(|error| unavailable(&error))?;
        positions.truncate(positions.partition_point(|at| *at <= position));
        let mut losses = self.shared.accounts.losses();
        losses.retain(|at| *at <= position);
        let mut row = None;
        let mut wrong = None;
        let read = self.log.read_each(&positions, |at, bytes| {
            let entry = Record::decode(bytes)
                .map_err(|error| error.to_string())
                .and_then(|r| Entry::decode(at, r).map_err(|error| error.to_string()));
            match entry {
                Ok(entry) => row = fold(row.take(), &entry, &losses),
                Err(error) => wrong = Some(error),
            }
        });
        read.map_err(|error| unavailable(&error))?;
        match wrong {
            Some(error) => Err(unavailable(&error)),
            None => Ok(row.map(|row| row.after_losses(&losses, u64::MAX))),
        }
    }

    /// Signs a checkpoint of the present log; the note is durable beside the keyring when this
    /// returns.
    ///
    /// # Errors
    /// `store.unavailable` if it cannot be signed or archived.
    pub fn checkpoint(&self) -> Result<SignedCheckpoint, Refusal> {
        let signed = self.shared.signed_checkpoint();
        signed.map_err(|error| unavailable(&error))
    }

    /// Proves that the record at a position is in the log.
    ///
    /// # Errors
    /// `request.invalid` for a position or a size that the log does not have, `store.unavailable`
    /// if the log cannot be read.
    pub fn proof(&self, query: &ProofQuery) -> Result<InclusionProof, Refusal> {
        let size = self.size(query.size, "/size")?;
        let inclusion = self.inclusion(query.position, size)?;
        let record = self.log.get(query.position);
        let record = record.map_err(|error| unavailable(&error))?;
        let record = record.ok_or_else(|| unavailable(&"a record that has a leaf is missing"))?;
        let root = self.shared.index.root_at(size);
        let root = root.map_err(|error| unavailable(&error))?;
        Ok(InclusionProof {
            leaf_hash: BASE64.encode(&leaf_hash(&record)),
            record: BASE64.encode(&record),
            inclusion,
            size,
            root: BASE64.encode(&root),
        })
    }

    /// Returns the hashes that lead from the leaf at a position to the root of the tree of that
    /// size.
    ///
    /// # Errors
    /// Those of [`Queries::proof`].
    pub(super) fn inclusion(&self, position: u64, size: u64) -> Result<Vec<String>, Refusal> {
        let index = &self.shared.index;
        let proof = prove_inclusion(|level, tile| index.tile(level, tile), position, size);
        proof.map(texts).map_err(refused("/position"))
    }

    /// Proves that one state of the log is the beginning of another.
    ///
    /// # Errors
    /// Those of [`Queries::proof`].
    pub fn consistency(&self, query: &ConsistencyQuery) -> Result<ConsistencyProof, Refusal> {
        let (from, to) = (query.from, self.size(query.to, "/to")?);
        let index = &self.shared.index;
        let proof = prove_consistency(|level, tile| index.tile(level, tile), from, to);
        let proof = proof.map(texts).map_err(refused("/from"))?;
        Ok(ConsistencyProof { proof, from, to })
    }

    /// Returns the requested size, or the newest if none was requested.
    pub(super) fn size(&self, asked: Option<u64>, pointer: &'static str) -> Result<u64, Refusal> {
        let newest = self.shared.index.tree_head();
        let (newest, _) = newest.map_err(|error| unavailable(&error))?;
        match asked.unwrap_or(newest) {
            size if (1..=newest).contains(&size) => Ok(size),
            _ => Err(DecodeError::at(pointer, "the log has no state of this size").into()),
        }
    }

    /// Returns records as they are hashed, up to 1,024 of them and 512 KiB.
    ///
    /// # Errors
    /// `store.unavailable` if the log cannot be read.
    pub fn audit_records(&self, query: &AuditRecordsQuery) -> Result<AuditRecords, Refusal> {
        let from = query.after.unwrap_or(0).saturating_add(1);
        let page = self.log.read(from, RECORDS_MAX, RECORD_BYTES_MAX);
        let page = page.map_err(|error| unavailable(&error))?;
        let is_end = page.is_empty() || page.next() > self.log.head();
        Ok(AuditRecords {
            records: page
                .iter()
                .map(|(_, record)| BASE64.encode(record))
                .collect(),
            next: (!is_end).then(|| page.next() - 1),
        })
    }
}

fn texts(hashes: Vec<Hash>) -> Vec<String> {
    hashes.iter().map(|hash| BASE64.encode(hash)).collect()
}

fn refused(pointer: &'static str) -> impl Fn(ProveError) -> Refusal {
    move |error| match error {
        ProveError::OutOfRange { .. } => {
            DecodeError::at(pointer, "the log of that size has no such place").into()
        }
        ProveError::Tile(error) => unavailable(&error),
    }
}
