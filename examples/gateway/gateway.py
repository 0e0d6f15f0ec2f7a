"""A minimal login gateway: `python3 gateway.py nats://USER:PASSWORD@HOST:4222` (nats-py, see requirements.txt).
It asks for a name and a password and, where 2FA is on, for a code of either kind."""

import asyncio
import json
import sys
import urllib.parse
import uuid

import nats
import nats.errors


class Refused(Exception):
    pass


async def command(client, name, body):
    """Sends a command; without a reply or after a fault, sends it again under the same id."""
    headers = {"Nats-Msg-Id": str(uuid.uuid4())}
    payload = json.dumps(body).encode()
    for _ in range(3):
        try:
            reply = await client.request("countersign.v1.command." + name, payload, 5, headers=headers)
            answer = json.loads(reply.data)
            if "Countersign-Error" not in (reply.headers or {}):
                return answer
            if answer["status"] < 500:
                raise Refused(answer["code"])
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            pass
        await asyncio.sleep(0.5)
    raise Refused("no answer")


async def log_in(client):
    first = {"username": input("name: "), "password": input("password: ")}
    answer = await command(client, "start-login", first)
    if answer["status"] == "complete":
        return answer
    second = {"challenge_id": answer["challenge_id"], "code": input("code: ")}
    return await command(client, "verify-login", second)


async def main(url):
    # Replies carry secrets, so every user has an inbox that no other user may read.
    user = urllib.parse.urlsplit(url).username
    client = await nats.connect(url, inbox_prefix=("_INBOX." + user if user else "_INBOX").encode())
    try:
        login = await log_in(client)
        print(json.dumps(login["account_id"]), "is signed in by", json.dumps(login["method"]))
    except Refused as word:
        print("refused:", word)
        sys.exit(1)
    finally:
        await client.close()


asyncio.run(main(sys.argv[1]))
