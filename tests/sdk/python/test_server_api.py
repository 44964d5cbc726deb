"""All of cent's methods against a running stack, synchronous and asynchronous."""

import asyncio
import inspect

import cent
import pytest

from stack import PATIENCE, STACK, api, channel_of, connected, fresh, subscribed


def both(test):
    """Runs a test with each of cent's clients; `call(request)` gives the result."""

    @pytest.mark.parametrize("kind", ["sync", "async"])
    async def run(kind):
        if kind == "sync":
            client = api()

            async def call(request):
                return await asyncio.to_thread(getattr(client, request.__api_method__), request)

            await test(call)
        else:
            client = cent.AsyncClient(STACK["api_url"], STACK["api_key"], timeout=PATIENCE)

            async def call(request):
                return await getattr(client, request.__api_method__)(request)

            try:
                await test(call)
            finally:
                await client._session.close()

    run.__name__ = test.__name__
    assert inspect.iscoroutinefunction(test)
    return run


async def refused(awaitable):
    with pytest.raises(cent.CentApiResponseError) as error:
        await awaitable
    assert error.value.message
    return error.value.code


@both
async def test_publish_and_history(call):
    channel = channel_of("chat")
    first = await call(cent.PublishRequest(channel=channel, data={"n": 1}, tags={"kind": "x"}))
    second = await call(cent.PublishRequest(channel=channel, data=None, b64data="eyJuIjoyfQ=="))
    assert (first.offset, second.offset, first.epoch) == (1, 2, second.epoch)
    history = await call(cent.HistoryRequest(channel=channel, limit=10))
    assert [(pub.offset, pub.data, pub.tags) for pub in history.publications] == [(1, {"n": 1}, {"kind": "x"}), (2, {"n": 2}, None)]
    assert (history.offset, history.epoch) == (2, first.epoch)
    since = cent.StreamPosition(offset=1, epoch=first.epoch)
    page = await call(cent.HistoryRequest(channel=channel, limit=10, since=since))
    assert [pub.offset for pub in page.publications] == [2]
    backwards = await call(cent.HistoryRequest(channel=channel, limit=1, reverse=True))
    assert [pub.offset for pub in backwards.publications] == [2]
    await call(cent.HistoryRemoveRequest(channel=channel))
    empty = await call(cent.HistoryRequest(channel=channel, limit=10))
    assert (empty.publications, empty.offset, empty.epoch) == ([], 2, first.epoch)


@both
async def test_the_same_idempotency_key_publishes_once(call):
    channel, key = channel_of("chat"), fresh()
    results = [await call(cent.PublishRequest(channel=channel, data=n, idempotency_key=key)) for n in range(3)]
    assert [result.offset for result in results] == [1, 1, 1]
    history = await call(cent.HistoryRequest(channel=channel, limit=10))
    assert [pub.data for pub in history.publications] == [0]


@both
async def test_skip_history_and_versions(call):
    channel = channel_of("plain")
    await call(cent.PublishRequest(channel=channel, data="passing", skip_history=True))
    for version in (2, 1, 3):
        await call(cent.PublishRequest(channel=channel, data=version, version=version, version_epoch="a"))
    history = await call(cent.HistoryRequest(channel=channel, limit=10))
    assert [pub.data for pub in history.publications] == [2, 3]


@both
async def test_broadcast(call):
    one, other = channel_of("chat"), channel_of("live")
    result = await call(cent.BroadcastRequest(channels=[one, channel_of("nowhere"), other], data={"n": 1}))
    assert result.responses[0].result.offset == 1
    assert result.responses[1].error.code == 102
    assert result.responses[2].error is None


@both
async def test_presence_its_stats_and_channels(call):
    channel = channel_of("chat")
    nobody = await call(cent.PresenceRequest(channel=channel))
    assert nobody.presence == {}
    async with connected(claims={"info": {"name": "Anna"}}) as client:
        await subscribed(client, channel)
        presence = (await call(cent.PresenceRequest(channel=channel))).presence
        assert list(presence) == [client.identity]
        info = presence[client.identity]
        assert (info.client, info.user, info.conn_info) == (client.identity, client.user, {"name": "Anna"})
        stats = await call(cent.PresenceStatsRequest(channel=channel))
        assert (stats.num_clients, stats.num_users) == (1, 1)
        channels = (await call(cent.ChannelsRequest(pattern=f"{channel[:-2]}*"))).channels
        assert {name: info.num_clients for name, info in channels.items()} == {channel: 1}
        nodes = (await call(cent.InfoRequest())).nodes
        assert nodes[0].uid
        assert nodes[0].num_clients >= 1


@both
async def test_subscribe_unsubscribe_refresh_and_disconnect(call):
    async with connected() as client:
        channel = channel_of("chat")
        override = cent.ChannelOptionsOverride(presence=cent.BoolValue(value=False))
        await call(cent.SubscribeRequest(user=client.user, channel=channel, client=client.identity, info={"a": 1}, override=override))
        await client.heard["subscribed"].one(lambda context: context.channel == channel)
        assert (await call(cent.PresenceRequest(channel=channel))).presence == {}
        await call(cent.UnsubscribeRequest(user=client.user, channel=channel, client=client.identity))
        await client.heard["unsubscribed"].one(lambda context: context.channel == channel)
        await call(cent.RefreshRequest(user=client.user, client=client.identity, expired=True))
        await client.heard["connecting"].one(lambda context: context.code == 3005)
        again = (await client.heard["connected"].first(2))[1]
        await call(cent.DisconnectRequest(user=client.user, whitelist=[again.client]))
        await call(cent.DisconnectRequest(user=client.user, disconnect=cent.Disconnect(code=4500, reason="enough")))
        gone = await client.heard["disconnected"].one()
        assert (gone.code, gone.reason) == (4500, "enough")
    for request in (cent.SubscribeRequest, cent.UnsubscribeRequest):
        await call(request(user=f"nobody-{fresh()}", channel=channel_of("chat")))
    for request in (cent.DisconnectRequest, cent.RefreshRequest):
        await call(request(user=f"nobody-{fresh()}"))


@both
async def test_batch(call):
    channel = channel_of("chat")
    requests = [
        cent.PublishRequest(channel=channel, data=1),
        cent.BroadcastRequest(channels=[channel, channel], data=2),
        cent.HistoryRequest(channel=channel, limit=10),
        cent.PresenceRequest(channel=channel),
        cent.InfoRequest(),
    ]
    replies = (await call(cent.BatchRequest(requests=requests))).replies
    assert replies[0].offset == 1
    assert sorted(response.result.offset for response in replies[1].responses) == [2, 3]
    assert [pub.data for pub in replies[2].publications] == [1, 2, 2]
    assert replies[3].presence == {}
    assert replies[4].nodes
    parallel = (await call(cent.BatchRequest(requests=[cent.PublishRequest(channel=channel, data=n) for n in range(10)], parallel=True))).replies
    assert sorted(reply.offset for reply in parallel) == list(range(4, 14))


@both
async def test_errors_are_centrifugos(call):
    assert await refused(call(cent.PublishRequest(channel=channel_of("nowhere"), data=1))) == 102
    assert await refused(call(cent.PublishRequest(channel="", data=1))) == 107
    assert await refused(call(cent.HistoryRequest(channel=channel_of("live"), limit=1))) == 108
    assert await refused(call(cent.PresenceRequest(channel=channel_of("plain")))) == 108
    channel = channel_of("chat")
    await call(cent.PublishRequest(channel=channel, data=1))
    since = cent.StreamPosition(offset=0, epoch="other")
    assert await refused(call(cent.HistoryRequest(channel=channel, limit=1, since=since))) == 112


async def test_a_wrong_key_is_refused():
    with pytest.raises(cent.CentUnauthorizedError):
        cent.Client(STACK["api_url"], "wrong").info(cent.InfoRequest())
