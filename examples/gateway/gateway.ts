// A minimal login gateway: `npm ci`, then `node gateway.ts nats://USER:PASSWORD@HOST:4222`
// (Node 22.18 or later). It asks for a name and a password and, where 2FA is on, for a code of either kind.

import { randomUUID } from "node:crypto";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";

type Answer = Record<string, unknown>;

class Refused extends Error {}

/** Sends a command; without a reply or after a fault, sends it again under the same id. */
async function command(nats: NatsConnection, name: string, body: Answer): Promise<Answer> {
  const sent = headers();
  sent.set("Nats-Msg-Id", randomUUID());
  const options = { headers: sent, timeout: 5_000 };
  for (let tries = 0; tries < 3; tries++) {
    const asked = nats.request(`countersign.v1.command.${name}`, JSON.stringify(body), options);
    const reply = await asked.catch(() => undefined);
    const answer = reply?.json<Answer>();
    if (answer && !reply?.headers?.get("Countersign-Error")) return answer;
    if (answer && Number(answer.status) < 500) throw new Refused(String(answer.code));
    await setTimeout(500);
  }
  throw new Refused("no answer");
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function ask(what: string): Promise<string> {
  process.stdout.write(`${what}: `);
  return (await lines.next()).value ?? "";
}

async function logIn(nats: NatsConnection): Promise<Answer> {
  const first = { username: await ask("name"), password: await ask("password") };
  const answer = await command(nats, "start-login", first);
  if (answer.status === "complete") return answer;
  return command(nats, "verify-login", { challenge_id: answer.challenge_id, code: await ask("code") });
}

const url = new URL(process.argv[2]);
const [user, pass] = [url.username, url.password].map((part) => decodeURIComponent(part) || undefined);
// Replies carry secrets, so every user has an inbox that no other user may read.
const inboxPrefix = user ? `_INBOX.${user}` : undefined;
const nats = await connect({ servers: url.host, user, pass, inboxPrefix });
try {
  const login = await logIn(nats);
  console.log(JSON.stringify(login.account_id), "is signed in by", JSON.stringify(login.method));
} catch (refused) {
  console.log(`refused: ${(refused as Error).message}`);
  process.exitCode = 1;
}
await nats.close();
process.stdin.destroy();
