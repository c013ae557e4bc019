"""Two users of python-socketio's asyncio client converse, over each transport."""

import asyncio

import socketio
from harness import (
    ADA, BEYOND_ASCII, DEADLINE, EXPIRED, GRACE, TOKENS, URL,
    check, check_equal, check_message, check_refused, invalid_payloads,
)

TRANSPORTS = {
    "the default transports": None,
    "websocket only": ["websocket"],
    "polling only": ["polling"],
}


class Client:
    """A connection that records what the gateway sends."""

    def __init__(self):
        self.socket = socketio.AsyncClient(reconnection=False)
        self.events = []
        self.refusal = None
        self.happened = asyncio.Event()
        self.socket.on("*", self._record)
        self.socket.on("connect_error", self._record_refusal)

    async def connect(self, transports, token=None, **options):
        if token is not None:
            options["auth"] = {"token": token}
        url = options.pop("url", URL)
        await self.socket.connect(url, transports=transports, wait_timeout=DEADLINE, **options)
        return self

    def of(self, name):
        return [payload for event, payload in self.events if event == name]

    async def until(self, what, condition):
        """Waits until the condition holds. It is checked after every event."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not condition():
                    self.happened.clear()
                    await self.happened.wait()
        except TimeoutError:
            raise AssertionError(f"timed out waiting for {what}; last events: {self.events[-5:]}") from None

    async def call(self, event, payload):
        return await self.socket.call(event, payload, timeout=DEADLINE)

    async def join(self, room_id):
        reply = await self.call("joinRoom", {"roomId": room_id})
        seq, read_seq = reply.get("seq"), reply.get("readSeq")
        pointer = {"readSeq": read_seq, "unread": seq - read_seq, "rev": 0}
        check_equal(reply, {"ok": True, "roomId": room_id, "seq": seq, **pointer})
        return reply["seq"]

    async def send(self, room_id, content):
        reply = await self.call("sendMessage", {"roomId": room_id, "content": content})
        check_equal(reply, {"ok": True, "message": reply.get("message")})
        return reply["message"]

    async def close(self):
        """Disconnects without waiting for the pending poll. (The client forgets to say that it
        leaves if it does so while a request of its own is under way, and then waits for the
        poll until the next heartbeat.)"""
        await self.socket.eio.disconnect(abort=True)

    # Without an await in them, these run in the order of arrival.
    def _record(self, event, payload):
        self.events.append((event, payload))
        self.happened.set()

    def _record_refusal(self, error):
        self.refusal = error


async def two_users_converse(transports, room_id):
    ada = await Client().connect(transports, TOKENS["1"])
    grace = await Client().connect(transports, TOKENS["2"])
    for client in (ada, grace):
        check_equal(await client.join(room_id), 0)
        joined = {"roomId": room_id, "seq": 0, "readSeq": 0, "unread": 0, "rev": 0}
        check_equal(client.events, [("joinedRoom", joined)])

    messages = [await ada.send(room_id, "hello"), await grace.send(room_id, BEYOND_ASCII)]
    check_message(messages[0], room_id, 1, "hello", ADA)
    check_message(messages[1], room_id, 2, BEYOND_ASCII, GRACE)
    contents = [f"message {n}" for n in range(200)]
    messages += await asyncio.gather(*(ada.send(room_id, content) for content in contents))
    check_equal([message["seq"] for message in messages], list(range(1, 203)))
    check_equal([message["content"] for message in messages[2:]], contents)
    for client in (ada, grace):
        await client.until("all messages", lambda: len(client.of("newMessage")) >= 202)
        check_equal(client.of("newMessage"), messages)

    await refusals(ada, room_id)
    await leaving(ada, grace, room_id)
    for client in (ada, grace):
        await client.close()


async def refusals(client, room_id):
    for what, payload in invalid_payloads(room_id).items():
        reply = await client.call("sendMessage", payload)
        error = check_refused(reply, "invalid_payload")
        event = client.of("error")[-1]
        check_equal({key: event[key] for key in error}, error)
        print(f"  {what}: {error['message']}")
    check_equal(len(client.of("error")), len(invalid_payloads(room_id)))
    check_refused(await client.call("dance", {"roomId": room_id}), "unknown_event")
    check_equal(client.of("error")[-1]["event"], "dance")
    # The client is still in the room and can send.
    check((await client.send(room_id, "valid"))["seq"] == 203, "a refused message was stored")


async def leaving(ada, grace, room_id):
    other = room_id + 1
    await ada.join(other)
    await grace.join(other)
    check_equal(await grace.call("leaveRoom", {"roomId": room_id}), {"ok": True, "roomId": room_id})
    check_equal(grace.of("leftRoom"), [{"roomId": room_id}])
    seen = len(grace.of("newMessage"))
    # Ada sends the second message after she has received the first, and Grace receives the second.
    message = await ada.send(room_id, "not for Grace")
    await ada.until("the message", lambda: message in ada.of("newMessage"))
    message = await ada.send(other, "for both")
    await grace.until("the other room's message", lambda: message in grace.of("newMessage"))
    check_equal(grace.of("newMessage")[seen:], [message])
    check_refused(await grace.call("sendMessage", {"roomId": room_id, "content": "x"}), "not_in_room")


async def handshakes(transports):
    token = f"Bearer {TOKENS['1']}"
    places = {
        "auth": {"token": token},
        "header": {"headers": {"Authorization": token}},
        "query": {"url": f"{URL}?token={TOKENS['1']}"},
    }
    for options in places.values():
        client = await Client().connect(transports, **options)
        await client.close()

    for options, message in [({}, "token_missing"), ({"token": "x"}, "token_invalid"), ({"token": EXPIRED}, "token_expired")]:
        client = Client()
        try:
            await client.connect(transports, **options)
        except socketio.exceptions.ConnectionError:
            check_equal(client.refusal, {"message": message})
            check_equal(client.events, [])
        else:
            raise AssertionError(f"connected: {options}")


async def main():
    for number, (name, transports) in enumerate(TRANSPORTS.items()):
        print(name, flush=True)
        await two_users_converse(transports, 10 * number + 1)
        await handshakes(transports)


asyncio.run(main())
