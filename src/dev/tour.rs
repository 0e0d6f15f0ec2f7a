//! The tour: the life of one account as a client sees it, with printed requests and replies. Every
//! step is checked; the first that does not hold ends the tour.

use std::io::{BufRead, stdin};
use std::time::Duration;

use countersign_schemas::code::{Code, TotpCode};
use data_encoding::BASE32_NOPAD;
use serde_json::{Value, json};

use super::{audit_tour, reset_tour};
use crate::cli::client::{Client, ClientArgs};
use crate::cli::fault::Fault;
use crate::cli::show;
use crate::crypto::otp::{TotpSecret, hotp, matching_steps, step_at};
use crate::engine::wall_clock;

/// The password of the tour's user.
pub const PASSWORD: &str = "correct horse battery staple";

/// Fields that are long or secret, so the tour prints only their names.
const ELIDED: [&str; 3] = ["qr_svg", "backup_codes_file", "password"];

/// A tour in progress.
pub struct Tour {
    client: Client,
    args: ClientArgs,
    ask_person: bool,
    steps: usize,
}

impl Tour {
    /// Connects; with `ask_person` it offers to take the first code from the person's own phone.
    ///
    /// # Errors
    /// [`Fault`] when the broker cannot be reached.
    pub async fn connect(args: &ClientArgs, ask_person: bool) -> Result<Self, Fault> {
        Ok(Self {
            client: Client::connect(args).await?,
            args: args.clone(),
            ask_person,
            steps: 0,
        })
    }

    /// Plays the whole tour; returns the account's id.
    ///
    /// # Errors
    /// [`Fault`] of the first step that did not hold.
    pub async fn play(&mut self) -> Result<String, Fault> {
        let username = format!("ada-{:06}", wall_clock().0 % 1_000_000);
        self.title("A user signs up");
        let body = json!({"username": username, "password": PASSWORD});
        let account = text(&self.command("register-account", body).await?, "account_id")?;
        let enrolled = self.enrol(&account).await?;
        self.log_in_with_the_app(&username, &enrolled).await?;
        self.use_backup_codes(&username, &account, &enrolled)
            .await?;
        let args = self.args.clone();
        Box::pin(reset_tour::play(self, &args, &account)).await?;
        self.turn_off(&username, &account).await?;
        self.read_back(&account).await?;
        Box::pin(audit_tour::play(self, &args, &account)).await?;
        Ok(account)
    }

    async fn enrol(&mut self, account: &str) -> Result<Enrolled, Fault> {
        self.title("The user turns 2FA on: a QR code, and the same secret to type");
        let body = json!({"account_id": account, "proof": {"password": PASSWORD}});
        let reply = self.command("enable-2fa", body).await?;
        let uri = text(&reply, "otpauth_uri")?;
        println!("\n{}\n{uri}\n", show::qr(&uri)?);
        let authenticator = text(&reply, "authenticator_id")?;
        let secret = secret_of(&text(&reply, "secret")?)?;
        let confirming = |code: &TotpCode| {
            let code = Code::Totp(code.clone());
            json!({"account_id": account, "authenticator_id": authenticator, "code": code})
        };
        self.title("A wrong code is refused");
        let now = step_now();
        self.refused(
            "confirm-code",
            confirming(&wrong_code(&secret, now)),
            "code.invalid",
        )
        .await?;
        let typed = if self.ask_person {
            code_from_person()?
        } else {
            None
        };
        self.title("The app's code turns 2FA on, and ten backup codes come with it");
        let code = typed.unwrap_or_else(|| hotp(&secret, step_now()));
        let now = step_now();
        let used = matching_steps(&secret, &code, now.saturating_sub(1)..=now + 1);
        let reply = self.command("confirm-code", confirming(&code)).await?;
        println!(
            "\nThe file to download:\n\n{}",
            text(&reply, "backup_codes_file")?
        );
        let codes = backup_codes(&reply)?;
        let last_step = used.last().copied().unwrap_or(now);
        Ok(Enrolled {
            secret,
            last_step,
            codes,
        })
    }

    async fn log_in_with_the_app(
        &mut self,
        username: &str,
        enrolled: &Enrolled,
    ) -> Result<(), Fault> {
        self.title("Logging in: the password, then the app's next code");
        let next = enrolled.last_step + 1;
        if next > step_now() {
            println!("(a code may be one step early, so the tour does not wait for the clock)");
        }
        // A phone with a clock that is ahead has already used the following step.
        while next > step_now() + 1 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let code = json!(Code::Totp(hotp(&enrolled.secret, next)));
        let challenge = self.challenge(username).await?;
        let reply = self
            .command(
                "verify-login",
                json!({"challenge_id": challenge, "code": code}),
            )
            .await?;
        holds(
            "the login is complete",
            reply.get("status") == Some(&json!("complete")),
        )?;
        self.title("The same code again is refused: each works once");
        let challenge = self.challenge(username).await?;
        self.refused(
            "verify-login",
            json!({"challenge_id": challenge, "code": code}),
            "code.invalid",
        )
        .await
    }

    async fn use_backup_codes(
        &mut self,
        username: &str,
        account: &str,
        enrolled: &Enrolled,
    ) -> Result<(), Fault> {
        self.title("Logging in with a backup code, in the same field");
        let challenge = self.challenge(username).await?;
        let first = json!({"challenge_id": challenge, "code": enrolled.codes[0]});
        let reply = self.command("verify-login", first).await?;
        holds(
            "nine codes are left",
            reply.get("backup_codes_left") == Some(&json!(9)),
        )?;
        self.title("Its second use is refused");
        let challenge = self.challenge(username).await?;
        let again = json!({"challenge_id": challenge, "code": enrolled.codes[0]});
        self.refused("verify-login", again, "code.invalid").await?;
        self.title("New backup codes: the old ones stop working at once");
        let body = json!({"account_id": account, "proof": {"password": PASSWORD}});
        let reply = self.command("regenerate-backup-codes", body).await?;
        holds("ten new codes", backup_codes(&reply)?.len() == 10)?;
        let old = json!({"challenge_id": challenge, "code": enrolled.codes[1]});
        self.refused("verify-login", old, "code.invalid").await
    }

    async fn turn_off(&mut self, username: &str, account: &str) -> Result<(), Fault> {
        self.title("2FA is turned off with the password");
        let body = json!({"account_id": account, "proof": {"password": PASSWORD}});
        self.command("disable-2fa", body).await?;
        self.title("Logging in with the password alone");
        let body = json!({"username": username, "password": PASSWORD});
        let reply = self.command("start-login", body).await?;
        holds(
            "the login is complete",
            reply.get("status") == Some(&json!("complete")),
        )
    }

    async fn read_back(&mut self, account: &str) -> Result<(), Fault> {
        self.title("The audit trail has every step");
        println!("→ countersign.v1.query.audit-timeline.{account}");
        let page = self
            .client
            .query(&format!("audit-timeline.{account}"), &json!({}))
            .await?
            .body;
        show::line(&show::events(&page))?;
        let events = page
            .get("events")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        holds("every event of the tour is there", events >= 18)
    }

    /// Opens a login challenge with the password.
    async fn challenge(&mut self, username: &str) -> Result<String, Fault> {
        let body = json!({"username": username, "password": PASSWORD});
        text(&self.command("start-login", body).await?, "challenge_id")
    }

    /// Sends a command that must succeed.
    pub(super) async fn command(&mut self, name: &str, body: Value) -> Result<Value, Fault> {
        println!("→ {name} {}", shown(&body));
        let reply = self.client.command(name, &body).await?.body;
        println!("← {}", shown(&reply));
        Ok(reply)
    }

    /// Sends a command that must be refused with this word.
    async fn refused(&mut self, name: &str, body: Value, word: &str) -> Result<(), Fault> {
        println!("→ {name} {}", shown(&body));
        match self.client.command(name, &body).await {
            Err(Fault::Refused(problem)) if problem.code == word => {
                println!("← {} {}: {}", problem.status, problem.code, problem.title);
                Ok(())
            }
            Err(other) => Err(other),
            Ok(_) => Err(Fault::Failed(format!(
                "{name} should be refused with {word}, but it succeeded"
            ))),
        }
    }

    pub(super) fn title(&mut self, title: &str) {
        self.steps += 1;
        println!("\n── {}. {title}", self.steps);
    }
}

/// The secret and the codes that the tour's user has after the enrolment.
struct Enrolled {
    secret: TotpSecret,
    last_step: u64,
    codes: Vec<String>,
}

fn step_now() -> u64 {
    step_at(wall_clock().unix_s())
}

/// A code of no step near the present time.
fn wrong_code(secret: &TotpSecret, now: u64) -> TotpCode {
    (0..)
        .map(TotpCode::from_number)
        .find(|code| matching_steps(secret, code, now.saturating_sub(12)..=now + 12).is_empty())
        .expect("25 steps have at most 25 of a million codes")
}

/// Offers to take the code from the person's phone; `None` when the tour should compute it.
fn code_from_person() -> Result<Option<TotpCode>, Fault> {
    println!(
        "Scan the QR code above with your own app and type its six digits, or press Enter and the tour computes them:"
    );
    let mut line = String::new();
    stdin().lock().read_line(&mut line).map_err(Fault::failed)?;
    match (line.trim(), Code::parse(line.trim())) {
        ("", _) => Ok(None),
        (_, Ok(Code::Totp(code))) => Ok(Some(code)),
        _ => Err(Fault::Usage("six digits were expected".into())),
    }
}

fn secret_of(base32: &str) -> Result<TotpSecret, Fault> {
    let bytes = BASE32_NOPAD
        .decode(base32.as_bytes())
        .map_err(Fault::failed)?;
    TotpSecret::from_slice(&bytes).ok_or_else(|| Fault::failed("the secret is not 160 bits"))
}

fn backup_codes(reply: &Value) -> Result<Vec<String>, Fault> {
    let codes: Vec<String> = reply
        .get("backup_codes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|code| code.as_str().map(Into::into))
        .collect();
    holds("there are ten backup codes", codes.len() == 10)?;
    Ok(codes)
}

pub(super) fn text(reply: &Value, name: &str) -> Result<String, Fault> {
    match show::field(reply, name) {
        "" => Err(Fault::Failed(format!("the reply has no {name}"))),
        value => Ok(value.to_owned()),
    }
}

pub(super) fn holds(what: &str, is_so: bool) -> Result<(), Fault> {
    if is_so {
        Ok(())
    } else {
        Err(Fault::Failed(format!(
            "the tour expected that {what}, but this does not hold"
        )))
    }
}

/// A document on one line, without long or secret fields.
pub(super) fn shown(body: &Value) -> String {
    let mut body = body.clone();
    for name in ELIDED {
        for holder in ["", "/proof"] {
            if let Some(field) = body.pointer_mut(&format!("{holder}/{name}")) {
                *field = json!("…");
            }
        }
    }
    body.to_string()
}
