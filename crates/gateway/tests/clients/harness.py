"""What the scenarios of python-socketio share: users, addresses and assertions."""

import os
import re
import sys

# How many seconds a program waits for an event that must happen.
DEADLINE = 10

CREATED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

# python-socketio sends these characters as \u escapes, the last one as a surrogate pair.
BEYOND_ASCII = "Grüße, 世界 — \u202e 😀"


def variable(name):
    value = os.environ.get(name)
    if value is None:
        sys.exit(f"{name} is not set: run `cargo xtask test`")
    return value


URL = variable("GATEWAY_URL")
ADA = {"id": "1", "name": "Ada"}
GRACE = {"id": "2", "name": "Grace"}
TOKENS = {"1": variable("TOKEN_ADA"), "2": variable("TOKEN_GRACE")}
EXPIRED = variable("TOKEN_EXPIRED")

def invalid_payloads(room_id):
    """Returns the invalid payloads of `sendMessage` that depend on the client.

    They are in python-socketio's form: `None` is no argument, and a tuple is several.
    """
    message = {"roomId": room_id, "content": "x"}
    return {
        "no payload": None,
        "two arguments": (message, "again"),
        "binary": {"roomId": room_id, "content": b"bytes"},
        "not an object": [room_id],
        "white space": {"roomId": room_id, "content": " \n"},
    }


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def check_equal(actual, expected):
    check(actual == expected, f"expected {expected!r}, got {actual!r}")


def check_message(message, room_id, seq, content, author):
    """Checks that the message has exactly these fields."""
    expected = {"roomId": room_id, "seq": seq, "content": content, "userId": author["id"], "user": author}
    rest = {key: value for key, value in message.items() if key not in ("id", "createdAt")}
    check_equal(rest, expected)
    check(type(message["id"]) is int and message["id"] > 0, message)
    check(CREATED_AT.fullmatch(message["createdAt"]), message)


def check_refused(reply, code):
    """Checks that the acknowledgement is exactly this refusal, and returns its error."""
    error = reply["error"]
    check(isinstance(error["message"], str) and error["message"], reply)
    check_equal(reply, {"ok": False, "error": {"code": code, "message": error["message"], "retryable": False}})
    return error
