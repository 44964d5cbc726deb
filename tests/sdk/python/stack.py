"""What the tests of the Python SDKs share: where the stack is, tokens, and clients that are watched.

    cargo local --channels tests/sdk/channels.json
    SIGNALBOX_ENDPOINTS=.signalbox/endpoints.json python -m pytest tests/sdk/python
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import cent
from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

# How long anything may take to arrive: generous, because the machine may be busy.
PATIENCE = 30

_file = os.environ.get("SIGNALBOX_ENDPOINTS") or Path(__file__).parents[3] / ".signalbox/endpoints.json"
STACK = json.loads(Path(_file).read_text())


def fresh():
    """Twelve hex digits that no other test and no earlier run has used."""
    return uuid.uuid4().hex[:12]


def channel_of(namespace):
    """A channel of a namespace that nobody else uses."""
    return f"{namespace}:{fresh()}"


def jwt(claims, secret=None):
    """An HS256 token, by default of the stack's secret."""

    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    secret = (secret or STACK["token_secret"]).encode()
    return (signed + b"." + part(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


def token_of(user, **claims):
    """A connection token, or with `channel` a subscription token, good for an hour."""
    return jwt({"sub": user, "exp": int(time.time()) + 3600, **claims})


def api():
    """The server API, as cent speaks it."""
    return cent.Client(STACK["api_url"], STACK["api_key"], timeout=PATIENCE)


def publish(channel, data, **more):
    return api().publish(cent.PublishRequest(channel=channel, data=data, **more))


class Heard:
    """All that was said by events of one name, in order."""

    def __init__(self):
        self.all = []
        self._more = asyncio.Condition()

    async def add(self, context):
        async with self._more:
            self.all.append(context)
            self._more.notify_all()

    async def until(self, wanted, patience=PATIENCE):
        """Waits until `wanted` gives something true for all that was heard."""

        async def wait():
            async with self._more:
                while not (found := wanted(self.all)):
                    await self._more.wait()
                return found

        try:
            return await asyncio.wait_for(wait(), patience)
        except asyncio.TimeoutError:
            raise AssertionError(f"not in {patience} s; heard: {self.all}") from None

    async def first(self, count, patience=PATIENCE):
        return await self.until(lambda heard: len(heard) >= count and heard[:count], patience)

    async def one(self, test=lambda _: True, patience=PATIENCE):
        return await self.until(lambda heard: next((one for one in heard if test(one)), None), patience)


def _watched(handler, names):
    heard = {name: Heard() for name in names}
    for name in names:
        setattr(handler, f"on_{name}", heard[name].add)
    return heard


def watched_client(token="", **options):
    """A client of the SDK as it is, not yet connected; `heard[event]` is what it said."""
    events = ClientEventHandler()
    names = ["connecting", "connected", "disconnected", "error", "subscribed", "unsubscribed", "publication", "join", "leave"]
    heard = _watched(events, names)
    client = Client(STACK["ws_url"], events, token=token, **options)
    client.heard = heard
    return client


@asynccontextmanager
async def connected(user=None, *, claims=None, **options):
    """A connected client of a user; `identity` is its client id."""
    user = f"user-{fresh()}" if user is None else user
    options.setdefault("token", token_of(user, **(claims or {})))
    client = watched_client(**options)
    client.user = user
    try:
        await client.connect()
        client.identity = (await client.heard["connected"].one()).client
        yield client
    finally:
        await client.disconnect()


def subscription(client, channel, **options):
    """A subscription whose events are kept, not yet subscribed."""
    events = SubscriptionEventHandler()
    names = ["subscribing", "subscribed", "unsubscribed", "publication", "join", "leave", "error"]
    heard = _watched(events, names)
    made = client.new_subscription(channel, events, **options)
    made.heard = heard
    made.data = lambda: [context.pub.data for context in heard["publication"].all]
    return made


async def subscribed(client, channel, **options):
    """A subscription that is there; `reply` is what it was told."""
    made = subscription(client, channel, **options)
    await made.subscribe()
    made.reply = await made.heard["subscribed"].one()
    return made


def cut(client):
    """Cuts the client's socket without a closing frame, as a network does."""
    client._conn.transport.abort()
