"""Two users of python-socketio's threaded client converse.

The client handles each event in a new thread, so the order of arrival is unknown. The
messages are therefore compared in the order of their numbers.
"""

import threading

import socketio
from harness import (
    ADA, BEYOND_ASCII, DEADLINE, EXPIRED, GRACE, TOKENS, URL,
    check, check_equal, check_message, check_refused, invalid_payloads,
)


class Client:
    """A connection that records what the gateway sends."""

    def __init__(self):
        self.socket = socketio.Client(reconnection=False)
        self.events = []
        self.refusal = None
        self.happened = threading.Condition()
        self.socket.on("*", self._record)
        self.socket.on("connect_error", self._record_refusal)

    def connect(self, token, transports):
        self.socket.connect(URL, auth={"token": token}, transports=transports, wait_timeout=DEADLINE)
        return self

    def of(self, name):
        return [payload for event, payload in self.events if event == name]

    def messages(self):
        return sorted(self.of("newMessage"), key=lambda message: message["seq"])

    def until(self, what, condition):
        """Waits until the condition holds. It is checked after every event."""
        with self.happened:
            found = self.happened.wait_for(condition, timeout=DEADLINE)
        check(found, f"timed out waiting for {what}; last events: {self.events[-5:]}")

    def call(self, event, payload):
        return self.socket.call(event, payload, timeout=DEADLINE)

    def close(self):
        """Disconnects without waiting for the pending poll.

        If one of its requests is in progress, the client does not send its disconnect, and
        would wait for the poll until the next heartbeat.
        """
        self.socket.eio.disconnect(abort=True)

    def _record(self, event, payload):
        with self.happened:
            self.events.append((event, payload))
            self.happened.notify_all()

    def _record_refusal(self, error):
        self.refusal = error


def two_users_converse(transports, room_id):
    ada = Client().connect(TOKENS["1"], transports)
    grace = Client().connect(TOKENS["2"], transports)
    for client in (ada, grace):
        joined = {"ok": True, "roomId": room_id, "seq": 0, "readSeq": 0, "unread": 0, "rev": 0}
        check_equal(client.call("joinRoom", {"roomId": room_id}), joined)

    for seq, (client, author) in enumerate([(ada, ADA), (grace, GRACE)] * 10, start=1):
        content = f"{BEYOND_ASCII} {seq}"
        reply = client.call("sendMessage", {"roomId": room_id, "content": content})
        check_equal(reply, {"ok": True, "message": reply.get("message")})
        check_message(reply["message"], room_id, seq, content, author)
    for n in range(180):
        ada.socket.emit("sendMessage", {"roomId": room_id, "content": f"message {n}"})
    for client in (ada, grace):
        client.until("all messages", lambda: len(client.of("newMessage")) >= 200)
        check_equal([message["seq"] for message in client.messages()], list(range(1, 201)))
        contents = [message["content"] for message in client.messages()[20:]]
        check_equal(contents, [f"message {n}" for n in range(180)])
    check_equal(ada.messages(), grace.messages())

    payloads = invalid_payloads(room_id)
    for payload in payloads.values():
        check_refused(ada.call("sendMessage", payload), "invalid_payload")
    ada.until("an error event for each payload", lambda: len(ada.of("error")) >= len(payloads))
    check_equal([error["code"] for error in ada.of("error")], ["invalid_payload"] * len(payloads))

    check_equal(ada.call("leaveRoom", {"roomId": room_id}), {"ok": True, "roomId": room_id})
    check_refused(ada.call("sendMessage", {"roomId": room_id, "content": "x"}), "not_in_room")
    for client in (ada, grace):
        client.close()


def an_expired_token_is_refused(transports):
    client = Client()
    try:
        client.connect(EXPIRED, transports)
    except socketio.exceptions.ConnectionError:
        check_equal(client.refusal, {"message": "token_expired"})
    else:
        raise AssertionError("connected")


for number, transports in enumerate([None, ["websocket"], ["polling"]], start=1):
    print(transports, flush=True)
    two_users_converse(transports, number)
    an_expired_token_is_refused(transports)
