//! Support resets in the golden log: every way that a case goes, and a stolen phone.

use countersign::account::{Reply, ResetReply};
use countersign_schemas::refusal::ErrorCode;
use serde_json::{Value, json};

use crate::life::Life;

const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3_600;

impl Life<'_> {
    /// Executed, refused, rejected, called off by an agent, by the owner, by a login and by turning
    /// 2FA off; lapsed; open to the end.
    pub fn resets(&self) {
        let (_, codes) = self.enrol("fay");
        self.support("alice", "suspend-factor", on_account("fay"));
        let case = self.request("alice", "fay");
        let refused = self
            .house
            .send_by(self.engine, "bob", "request-reset", &on_account("fay"));
        assert_eq!(refused.err(), Some(ErrorCode::ResetOpen));
        self.support("bob", "reject-reset", on_case(&case));
        let case = self.request("alice", "fay");
        self.support("alice", "cancel-reset", on_case(&case));
        self.request("alice", "fay");
        let owner = self.house.send(
            self.engine,
            "user-cancel-reset",
            &json!({"account_id": "fay"}),
        );
        owner.unwrap();
        self.request("alice", "fay");
        self.verify("fay", &codes[0]).unwrap();
        self.house.pass(DAY_S);
        self.request("alice", "fay");
        self.house.pass(7 * DAY_S);
        let case = self.request("alice", "fay");
        self.support("bob", "approve-reset", on_case(&case));
        self.house.pass(72 * HOUR_S);
        self.support("alice", "execute-reset", on_case(&case));

        self.enrol("gus");
        self.request("bob", "gus");
        let proof = json!({"account_id": "gus", "proof": {"password": crate::life::PASSWORD}});
        self.house.send(self.engine, "disable-2fa", &proof).unwrap();

        self.enrol("hal");
        let case = self.request("bob", "hal");
        self.support("alice", "approve-reset", on_case(&case));
    }

    fn request(&self, agent: &str, account: &str) -> String {
        match self.support(agent, "request-reset", on_account(account)) {
            Reply::Reset(ResetReply::Requested { case_id, .. }) => case_id.as_str().into(),
            other => panic!("{other:?}"),
        }
    }

    fn support(&self, agent: &str, name: &str, body: Value) -> Reply {
        self.house.send_by(self.engine, agent, name, &body).unwrap()
    }
}

fn on_account(account: &str) -> Value {
    json!({"account_id": account, "reason": "the owner called", "ticket": "T-1"})
}

fn on_case(case: &str) -> Value {
    json!({"case_id": case, "reason": "as agreed"})
}
