"""A client of Countersign written from docs/reference/contract.md alone, with Python's standard library alone.

    python3 tests/python/life.py nats://127.0.0.1:4222

It speaks the NATS client protocol over a socket (CONNECT, SUB, HPUB, HMSG), lives the whole life of
a user on a service that runs with `--identity dev`, and ends with 0 if every step held.
"""

import base64
import hashlib
import hmac
import json
import socket
import struct
import sys
import time
import urllib.parse
import uuid

PASSWORD = "correct horse battery staple"
STEP_S = 30


class Nats:
    """One connection; one request at a time."""

    def __init__(self, url):
        at = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((at.hostname, at.port), timeout=30)
        self.read = self.socket.makefile("rb")
        assert self.read.readline().startswith(b"INFO ")
        self.inbox = "_INBOX." + uuid.uuid4().hex
        options = {"verbose": False, "headers": True, "no_responders": True, "name": "life.py"}
        self.write(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox}.* 1\r\n".encode())
        self.count = 0

    def write(self, data):
        self.socket.sendall(data)

    def request(self, subject, headers, payload):
        """Returns headers (a dict) and body (bytes) of the reply."""
        self.count += 1
        reply_to = f"{self.inbox}.{self.count}"
        head = "NATS/1.0\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n"
        head = head.encode()
        line = f"HPUB {subject} {reply_to} {len(head)} {len(head) + len(payload)}\r\n".encode()
        self.write(line + head + payload + b"\r\n")
        while True:
            words = self.read.readline().split()
            if words[0] == b"PING":
                self.write(b"PONG\r\n")
            elif words[0] == b"HMSG" and words[1].decode() == reply_to:
                head_length, length = int(words[-2]), int(words[-1])
                data = self.read.read(length + 2)[:length]
                return self.parse(data[:head_length]), data[head_length:]
            elif words[0] == b"MSG" and words[1].decode() == reply_to:
                length = int(words[-1])
                return {}, self.read.read(length + 2)[:length]
            elif words[0] in (b"MSG", b"HMSG"):
                self.read.read(int(words[-1]) + 2)
            else:
                raise SystemExit(f"the broker said {words}")

    @staticmethod
    def parse(head):
        first, *lines = head.decode().split("\r\n")
        if first != "NATS/1.0":
            raise SystemExit(f"no service there: {first}")
        return {n: v.strip() for n, _, v in (line.partition(":") for line in lines if line)}


class Refused(Exception):
    """The service said no."""

    def __init__(self, headers, body):
        super().__init__(body["code"])
        assert headers["Countersign-Error"] == body["code"], (headers, body)
        assert headers["Nats-Service-Error-Code"] == str(body["status"]), (headers, body)
        assert body["type"] == "urn:countersign:error:" + body["code"], body
        self.word = body["code"]


class Countersign:
    def __init__(self, url):
        self.nats = Nats(url)

    def ask(self, subject, body=None, command_id=None):
        headers = {"Countersign-Caller": "life.py"}
        if command_id:
            headers["Nats-Msg-Id"] = command_id
        payload = json.dumps(body).encode() if body is not None else b""
        headers, reply = self.nats.request("countersign.v1." + subject, headers, payload)
        reply = json.loads(reply)
        if "Nats-Service-Error" in headers or "Nats-Service-Error-Code" in headers:
            raise Refused(headers, reply)
        if command_id:
            assert headers["Nats-Msg-Id"] == command_id, headers
        return headers, reply

    def command(self, name, **body):
        _, reply = self.ask("command." + name, body, str(uuid.uuid4()))
        assert set(reply["details"]) == {"position", "version", "at"}, reply
        return reply

    def query(self, name, body=None):
        return self.ask("query." + name, body)[1]

    def refused(self, word, name, **body):
        try:
            self.command(name, **body)
        except Refused as refusal:
            assert refusal.word == word, f"{name}: {refusal.word}, not {word}"
        else:
            raise SystemExit(f"{name} succeeded, where {word} was due")


class App:
    """An authenticator app (RFC 6238) that has scanned the otpauth URI."""

    def __init__(self, uri):
        at = urllib.parse.urlsplit(uri)
        asked = dict(urllib.parse.parse_qsl(at.query))
        assert (at.scheme, at.netloc, asked["issuer"]) == ("otpauth", "totp", "Countersign"), uri
        assert (asked["algorithm"], asked["digits"], asked["period"]) == ("SHA1", "6", "30"), uri
        self.secret = asked["secret"]
        self.key = base64.b32decode(self.secret)
        self.last = 0

    def code(self, step):
        mac = hmac.new(self.key, struct.pack(">Q", step), hashlib.sha1).digest()
        at = mac[-1] & 15
        number = struct.unpack(">I", mac[at : at + 4])[0] & 0x7FFFFFFF
        return f"{number % 10**6:06}"

    def next(self):
        """The code of this step or the next, each once; it waits where both are used."""
        while True:
            now = int(time.time()) // STEP_S
            step = max(now, self.last + 1)
            if step <= now + 1:
                self.last = step
                return self.code(step)
            time.sleep(0.1)


def live(service):
    name = "ada-" + uuid.uuid4().hex[:8]
    say = lambda what: print("ok:", what)
    account = service.command("register-account", username=name, password=PASSWORD)["account_id"]
    proof = {"password": PASSWORD}
    say("registered")

    enabled = service.command("enable-2fa", account_id=account, proof=proof)
    app = App(enabled["otpauth_uri"])
    assert app.secret == enabled["secret"] and enabled["qr_svg"].startswith("<?xml"), enabled
    assert service.query("login-status." + account)["second_factor"] == "pending"
    confirming = {"account_id": account, "authenticator_id": enabled["authenticator_id"]}
    wrong = f"{(int(app.code(int(time.time()) // STEP_S)) + 500000) % 10**6:06}"
    service.refused("code.invalid", "confirm-code", code=wrong, **confirming)
    confirmed = service.command("confirm-code", code=app.next(), **confirming)
    codes = confirmed["backup_codes"]
    assert confirmed["state"] == "on" and len(codes) == 10, confirmed
    assert all(code in confirmed["backup_codes_file"] for code in codes)
    say("2FA is on, with ten backup codes")

    def challenge():
        started = service.command("start-login", username=name, password=PASSWORD)
        assert started["status"] == "second-factor-required", started
        return started["challenge_id"]

    service.refused("credentials.invalid", "start-login", username=name, password="wrong password")
    code = app.next()
    done = service.command("verify-login", challenge_id=challenge(), code=code)
    assert (done["status"], done["method"]) == ("complete", "totp"), done
    service.refused("code.invalid", "verify-login", challenge_id=challenge(), code=code)
    say("an app code logs in once")

    spelled = codes[0].lower().replace("-", " ")
    done = service.command("verify-login", challenge_id=challenge(), code=spelled)
    assert (done["method"], done["backup_codes_left"]) == ("backup-code", 9), done
    service.refused("code.invalid", "verify-login", account_id=account, code=codes[0])
    say("a backup code logs in once")

    renewed = service.command("regenerate-backup-codes", account_id=account, proof=proof)
    assert (renewed["set_no"], renewed["superseded_unused"]) == (2, 9), renewed
    service.refused("code.invalid", "verify-login", account_id=account, code=codes[1])
    body = {"account_id": account, "code": renewed["backup_codes"][0]}
    headers, first = service.ask("command.verify-login", body, "life.py-" + name)
    assert "Countersign-Replayed" not in headers
    headers, again = service.ask("command.verify-login", body, "life.py-" + name)
    assert headers["Countersign-Replayed"] == "true" and first == again, (first, again)
    say("new codes void the old; a repeated command is one command")

    assert service.command("disable-2fa", account_id=account, proof=proof)["state"] == "off"
    done = service.command("start-login", username=name, password=PASSWORD)
    assert (done["status"], done["method"]) == ("complete", "password"), done
    say("off: the password alone logs in")

    events, after = [], 0
    while after is not None:
        page = service.query("audit-timeline." + account, {"after": after, "limit": 5})
        events += page["events"]
        after = page.get("next")
    assert [event["version"] for event in events] == list(range(1, len(events) + 1)), events
    types = [event["type"] for event in events]
    assert types[0] == "account-registered" and types[-1] == "login-completed", types
    assert types.count("totp-accepted") == 1 and types.count("backup-code-accepted") == 2, types
    assert not any(secret in json.dumps(events) for secret in [app.secret, PASSWORD, *codes])
    say(f"{len(events)} events hold the whole life")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    live(Countersign(sys.argv[1]))
