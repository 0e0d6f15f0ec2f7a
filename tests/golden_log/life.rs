//! What happens in the golden log: every kind of event at least once.

use countersign::account::{LoginReply, Reply, SecretReply};
use countersign::crypto::otp::TotpSecret;
use countersign::engine::Engine;
use countersign_schemas::refusal::ErrorCode;
use serde_json::{Value, json};

use crate::house::House;

pub const PASSWORD: &str = "correct horse battery staple";

/// Codes that a later build must still judge alike.
pub struct Codes {
    /// Of the account `ada`; each was accepted once or belongs to an old set.
    pub spent: Vec<String>,
    /// Of the account `ada`, never used.
    pub live: String,
}

pub struct Life<'a> {
    pub house: &'a House,
    pub engine: &'a Engine,
}

impl Life<'_> {
    pub fn play(&self) -> Codes {
        let codes = self.ada();
        self.bob();
        self.cleo();
        self.dan();
        self.eve();
        self.resets();
        codes
    }

    fn send(&self, name: &str, account: &str, mut body: Value) -> Result<Reply, ErrorCode> {
        body["account_id"] = json!(account);
        body["context"] = json!({"ip": "203.0.113.7", "agent": "Firefox"});
        self.house.send(self.engine, name, &body)
    }

    pub fn verify(&self, account: &str, code: &str) -> Result<Reply, ErrorCode> {
        self.send("verify-login", account, json!({"code": code}))
    }

    fn refused(&self, account: &str, code: &str) -> ErrorCode {
        self.verify(account, code).unwrap_err()
    }

    fn register(&self, account: &str) {
        let body = json!({"username": format!("{account}@example"), "password": PASSWORD});
        self.send("register-account", account, body).unwrap();
    }

    fn enable(&self, account: &str) -> (String, TotpSecret) {
        let body =
            json!({"proof": {"password": PASSWORD}, "account_name": account, "label": "phone"});
        match self.send("enable-2fa", account, body) {
            Ok(Reply::Secret(SecretReply::EnrolmentStarted {
                authenticator_id,
                secret,
                ..
            })) => (authenticator_id.as_str().into(), secret),
            other => panic!("{other:?}"),
        }
    }

    fn confirm(&self, account: &str, authenticator: &str, code: &str) -> Result<Reply, ErrorCode> {
        let body = json!({"authenticator_id": authenticator, "code": code});
        self.send("confirm-code", account, body)
    }

    /// Registers and turns 2FA on; gives secret and backup codes.
    pub fn enrol(&self, account: &str) -> (TotpSecret, Vec<String>) {
        self.register(account);
        let (authenticator, secret) = self.enable(account);
        let code = self.house.code(&secret, 0);
        match self.confirm(account, &authenticator, &code) {
            Ok(Reply::Secret(SecretReply::CodeConfirmed { issued, .. })) => {
                (secret, issued.codes.iter().map(|c| c.reveal()).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    /// The usual life: logins of every kind, wrong codes and a wait, a second set of codes.
    fn ada(&self) -> Codes {
        let (secret, first_set) = self.enrol("ada");
        self.house.pass(60);
        let right = self.house.code(&secret, 0);
        self.verify("ada", &right).unwrap();
        assert_eq!(self.refused("ada", &right), ErrorCode::CodeInvalid);
        for _ in 0..3 {
            let wrong = self.house.code(&secret, 5_000);
            assert_eq!(self.refused("ada", &wrong), ErrorCode::CodeInvalid);
        }
        assert_eq!(self.refused("ada", &right), ErrorCode::AccountThrottled);
        self.verify("ada", &first_set[2]).unwrap();
        assert_eq!(self.refused("ada", &first_set[2]), ErrorCode::CodeInvalid);
        let proof = json!({"proof": {"password": PASSWORD}});
        let second_set = match self.send("regenerate-backup-codes", "ada", proof) {
            Ok(Reply::Secret(SecretReply::BackupCodesRegenerated { issued, .. })) => issued.codes,
            other => panic!("{other:?}"),
        };
        assert_eq!(self.refused("ada", &first_set[3]), ErrorCode::CodeInvalid);
        self.house.pass(60);
        let login = self.send("start-login", "ada", json!({"password": PASSWORD}));
        let Ok(Reply::Login(LoginReply::CodeRequired { challenge_id, .. })) = login else {
            panic!("{login:?}");
        };
        let last = self.house.code(&secret, 0);
        let body = json!({"challenge_id": challenge_id.reveal(), "code": last});
        self.house.send(self.engine, "verify-login", &body).unwrap();
        Codes {
            spent: vec![last, first_set[2].clone(), first_set[5].clone()],
            live: second_set[7].reveal(),
        }
    }

    /// Passwords: a wrong one, a login without 2FA, a new one; an enrolment called off.
    fn bob(&self) {
        self.register("bob");
        let wrong = json!({"password": "wrong password"});
        let refused = self.send("start-login", "bob", wrong).unwrap_err();
        assert_eq!(refused, ErrorCode::CredentialsInvalid);
        let nobody = json!({"username": "nobody", "password": "wrong password"});
        let refused = self.house.send(self.engine, "start-login", &nobody);
        assert_eq!(refused.err(), Some(ErrorCode::CredentialsInvalid));
        self.send("start-login", "bob", json!({"password": PASSWORD}))
            .unwrap();
        let (authenticator, _) = self.enable("bob");
        let body = json!({"authenticator_id": authenticator});
        self.send("cancel-enrolment", "bob", body).unwrap();
        let body = json!({"password": PASSWORD, "new_password": "another long password"});
        self.send("change-password", "bob", body).unwrap();
    }

    /// On and off again.
    fn cleo(&self) {
        self.enrol("cleo");
        let proof = json!({"proof": {"password": PASSWORD}});
        self.send("disable-2fa", "cleo", proof).unwrap();
    }

    /// An enrolment dropped for wrong codes, one that lapses, one that waits.
    fn dan(&self) {
        self.register("dan");
        let (authenticator, secret) = self.enable("dan");
        for steps in [3, 5_000, 5_000, 5_000, 5_000] {
            let wrong = self.house.code(&secret, steps);
            let refused = self.confirm("dan", &authenticator, &wrong);
            assert_eq!(refused.err(), Some(ErrorCode::CodeInvalid));
        }
        let (authenticator, secret) = self.enable("dan");
        self.house.pass(601);
        let late = self.house.code(&secret, 0);
        let refused = self.confirm("dan", &authenticator, &late);
        assert_eq!(refused.err(), Some(ErrorCode::EnrolmentExpired));
        self.enable("dan");
    }

    /// A hundred wrong codes: waits, double-code mode, suspension.
    fn eve(&self) {
        let (secret, _) = self.enrol("eve");
        for _ in 0..100 {
            self.house.pass(3_600);
            let pair = [5_000, 5_001].map(|steps| self.house.code(&secret, steps));
            let body = json!({"code": pair[0], "next_code": pair[1]});
            let refused = self.send("verify-login", "eve", body).unwrap_err();
            assert_ne!(refused, ErrorCode::AccountThrottled, "an hour has passed");
        }
    }
}
