"""centrifuge-python against a running stack."""

import asyncio
import time

import cent
import pytest
from centrifuge import CentrifugeError, DeltaType, Filter, ReplyError, StreamPosition

from stack import api, channel_of, connected, cut, fresh, jwt, publish, subscribed, subscription, token_of, watched_client


async def test_a_token_that_is_none_ends_with_3500_for_good():
    for token in ("garbage", jwt({"sub": "x"}, "another-secret-another-secret-another"), token_of("x", channel="chat:x")):
        client = watched_client(token)
        await client.connect()
        assert (await client.heard["disconnected"].one()).code == 3500


async def test_no_token_ends_with_3501_for_good():
    client = watched_client()
    await client.connect()
    assert (await client.heard["disconnected"].one()).code == 3501


async def test_an_expired_token_is_asked_for_again():
    user, asked = f"user-{fresh()}", []

    async def get_token():
        asked.append(1)
        return token_of(user)

    async with connected(user, token=token_of(user, exp=int(time.time()) - 10), get_token=get_token) as client:
        assert asked == [1]
        assert client.identity


async def test_a_connection_is_refreshed_before_it_expires():
    user, asked = f"user-{fresh()}", []

    async def get_token():
        asked.append(1)
        return token_of(user)

    async with connected(user, token=token_of(user, exp=int(time.time()) + 3), get_token=get_token) as client:
        await asyncio.sleep(9)
        sub = await subscribed(client, channel_of("chat"))
        await sub.publish("still here")
        await sub.heard["publication"].one()
        assert asked == [1]
        assert len(client.heard["connected"].all) == 1


async def test_a_subscription_is_refreshed_before_it_expires():
    async with connected() as client:
        asked = []

        async def get_token(channel):
            asked.append(channel)
            return token_of(client.user, channel=channel, exp=int(time.time()) + (3 if len(asked) == 1 else 3600))

        sub = await subscribed(client, channel_of("token"), get_token=get_token)
        await asyncio.sleep(9)
        await sub.publish("still here")
        await sub.heard["publication"].one()
        assert len(asked) == 2
        assert len(sub.heard["subscribed"].all) == 1


async def test_an_own_publication_comes_before_the_reply_with_who_it_is_from():
    async with connected(claims={"info": {"name": "Anna"}}) as client:
        sub = await subscribed(client, channel_of("chat"))
        await sub.publish({"text": "hello"})
        pub = (await sub.heard["publication"].one()).pub
        assert (pub.data, pub.offset) == ({"text": "hello"}, 1)
        assert (pub.info.client, pub.info.user, pub.info.conn_info) == (client.identity, client.user, {"name": "Anna"})


async def test_refusals_have_the_codes_of_centrifugo():
    async with connected() as client:
        codes = {"nowhere:x": 102, channel_of("token"): 103, "chat:ä": 107, f"$chat:{fresh()}": 103, f"chat:x#somebody-{fresh()}": 103}
        for channel, code in codes.items():
            sub = subscription(client, channel)
            await sub.subscribe()
            assert (await sub.heard["unsubscribed"].one()).code == code, channel
        wrong = subscription(client, channel_of("token"), token="garbage")
        await wrong.subscribe()
        assert (await wrong.heard["unsubscribed"].one()).code == 103
        for call, code in [
            (client.publish(channel_of("chat"), 1), 103),
            (client.history(channel_of("live"), limit=1), 108),
            (client.presence(channel_of("plain")), 108),
            (client.rpc("no-such-method", {}), 108),
            (client.history(channel_of("large"), limit=1, since=StreamPosition(0, "other")), 112),
        ]:
            with pytest.raises(ReplyError) as refused:
                await call
            assert refused.value.code == code


async def test_rpc_answers():
    async with connected() as client:
        assert isinstance((await client.rpc("status.snapshot", {})).data["problems"], list)


async def test_presence_and_its_stats():
    async with connected(claims={"info": {"name": "Anna"}}) as one, connected() as other:
        channel = channel_of("chat")
        sub = await subscribed(one, channel)
        await subscribed(other, channel)
        clients = (await sub.presence()).clients
        assert {client: info.user for client, info in clients.items()} == {one.identity: one.user, other.identity: other.user}
        assert clients[one.identity].conn_info == {"name": "Anna"}
        stats = await sub.presence_stats()
        assert (stats.num_clients, stats.num_users) == (2, 2)


async def test_join_and_leave_on_request():
    async with connected() as one, connected() as other:
        channel = channel_of("chat")
        sub = await subscribed(one, channel, join_leave=True)
        coming = await subscribed(other, channel)
        joins = await sub.heard["join"].first(2)
        assert [context.info.client for context in joins] == [one.identity, other.identity]
        await coming.unsubscribe()
        assert (await sub.heard["leave"].one()).info.client == other.identity
        assert coming.heard["join"].all == []


async def test_history_in_pages_and_backwards():
    async with connected() as client:
        channel = channel_of("large")
        for n in range(1, 8):
            publish(channel, n)
        position = await client.history(channel)
        assert (position.publications, position.offset) == ([], 7)

        async def page(limit, offset=None, **more):
            since = None if offset is None else StreamPosition(offset, position.epoch)
            return [pub.data for pub in (await client.history(channel, limit=limit, since=since, **more)).publications]

        assert await page(3, 0) == [1, 2, 3]
        assert await page(3, 3) == [4, 5, 6]
        assert await page(3, 6) == [7]
        assert await page(2, reverse=True) == [7, 6]
        assert await page(-1) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("delta", [None, DeltaType.FOSSIL])
async def test_what_was_missed_is_recovered_in_order(delta):
    async with connected() as client:
        channel = channel_of("delta" if delta else "chat")
        sub = await subscribed(client, channel, delta=delta)
        document = {"team": "Südost", "rest": list(range(60))}
        wanted = [{**document, "n": n} for n in range(12)]
        for data in wanted[:4]:
            publish(channel, data)
        await sub.heard["publication"].first(4)
        cut(client)
        for data in wanted[4:9]:
            publish(channel, data)
        again = (await sub.heard["subscribed"].first(2))[1]
        assert (again.was_recovering, again.recovered) == (True, True)
        for data in wanted[9:]:
            publish(channel, data)
        await sub.heard["publication"].first(12)
        assert sub.data() == wanted


async def test_what_is_gone_is_not_recovered():
    async with connected() as client:
        channel = channel_of("small")
        sub = await subscribed(client, channel)
        publish(channel, 1)
        await sub.heard["publication"].one()
        await sub.unsubscribe()
        for n in (2, 3, 4):
            publish(channel, n)
        await sub.subscribe()
        again = (await sub.heard["subscribed"].first(2))[1]
        assert (again.was_recovering, again.recovered) == (True, False)
        publish(channel, 5)
        await sub.heard["publication"].first(2)
        assert sub.data() == [1, 5]


async def test_get_state_is_asked_again_when_the_position_is_lost():
    async with connected() as client:
        channel, asked = channel_of("small"), []

        async def get_state(_channel):
            asked.append(1)
            position = api().history(cent.HistoryRequest(channel=channel))
            return StreamPosition(position.offset, position.epoch)

        sub = await subscribed(client, channel, get_state=get_state)
        assert asked == [1]
        await client.disconnect()
        for n in range(5):
            publish(channel, n)
        await client.connect()
        await sub.heard["subscribed"].first(2)
        assert asked == [1, 1]
        publish(channel, "live")
        await sub.heard["publication"].one()
        assert sub.data() == ["live"]


async def test_the_newest_publication_of_a_cache_is_recovered():
    async with connected() as client:
        channel = channel_of("latest")
        for n in (1, 2, 3):
            publish(channel, n)
        sub = await subscribed(client, channel)
        await sub.heard["publication"].one()
        publish(channel, 4)
        await sub.heard["publication"].first(2)
        assert sub.data() == [3, 4]


async def test_a_tags_filter_lets_through_what_matches():
    async with connected() as client:
        channel = channel_of("tagged")
        tags_filter = Filter.all(Filter.eq("ticker", "BTC"), Filter.gte("price", "100"))
        sub = await subscribed(client, channel, tags_filter=tags_filter)
        for ticker, price in [("BTC", "99"), ("ETH", "500"), ("BTC", "100.5")]:
            publish(channel, price, tags={"ticker": ticker, "price": price})
        pub = (await sub.heard["publication"].one()).pub
        assert (pub.data, pub.offset, pub.tags) == ("100.5", 3, {"ticker": "BTC", "price": "100.5"})


async def test_server_side_subscriptions_are_recovered_on_reconnect():
    channel = channel_of("chat")
    async with connected(claims={"channels": [channel]}) as client:
        personal = f"personal:#{client.user}"
        await client.heard["subscribed"].until(lambda all: {channel, personal} <= {context.channel for context in all})
        publish(channel, 1)
        publish(personal, "mine")
        await client.heard["publication"].first(2)
        cut(client)
        publish(channel, 2)
        publish(channel, 3)
        await client.heard["publication"].first(4)
        seen = [(context.channel, context.pub.data) for context in client.heard["publication"].all]
        assert [data for name, data in seen if name == channel] == [1, 2, 3]
        assert [data for name, data in seen if name == personal] == ["mine"]


async def test_the_api_subscribes_unsubscribes_and_disconnects():
    async with connected() as client:
        channel, own = channel_of("chat"), channel_of("chat")
        api().subscribe(cent.SubscribeRequest(user=client.user, channel=channel, data={"why": 1}))
        context = await client.heard["subscribed"].one(lambda context: context.channel == channel)
        assert context.data == {"why": 1}
        api().unsubscribe(cent.UnsubscribeRequest(user=client.user, channel=channel))
        await client.heard["unsubscribed"].one(lambda context: context.channel == channel)
        sub = await subscribed(client, own)
        api().unsubscribe(cent.UnsubscribeRequest(user=client.user, channel=own))
        assert (await sub.heard["unsubscribed"].one()).code == 2000
        api().disconnect(cent.DisconnectRequest(user=client.user, disconnect=cent.Disconnect(code=4000, reason="again")))
        await client.heard["connecting"].one(lambda context: context.code == 4000)
        await client.heard["connected"].first(2)
        api().disconnect(cent.DisconnectRequest(user=client.user))
        gone = await client.heard["disconnected"].one()
        assert (gone.code, gone.reason) == (3503, "force disconnect")
        with pytest.raises(CentrifugeError):
            await client.publish(own, 1)
