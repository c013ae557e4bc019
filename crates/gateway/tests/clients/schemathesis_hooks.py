"""What schemathesis has to know about the server API beyond its description."""

import json

import schemathesis
from schemathesis.openapi.checks import (
    IgnoredAuth,
    MissingHeaderNotRejected,
    RejectedPositiveData,
    UseAfterFree,
)

# What a request must satisfy that a description cannot state. Each is refused with 400, which is
# accepted for these reasons alone.
CANNOT_BE_DESCRIBED = (
    "beforeSeq and afterSeq are mutually exclusive",
    "members contains a user twice",
    "issuedBefore must be between 1970 and now",
    "createdAt must be between 1970 and now",
    "replyTo must be the seq of an earlier message in the room",
    # To a description, 1.0 is an integer. A user id is a text, and that of 1.0 is not the one of 1.
    "must be a string or an integer",
    # A description counts characters, and has already excluded NUL.
    "must have 1 to 255 bytes and must not contain NUL",
)

FOREVER = "9999-12-31T23:59:59.999Z"
# The test has stored a message in this room, which is the first.
STORED_IN = 70


@schemathesis.serializer("application/x-ndjson")
def one_line(context, value):
    """Encodes the body of an import: the description is that of a line."""
    return json.dumps(value).encode()


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops what is not a failure."""
    if isinstance(failure, RejectedPositiveData) and response.status_code == 400:
        message = response.json()["error"]["message"]
        return not message.endswith(CANNOT_BE_DESCRIBED)
    # A user who is not known has an empty inbox.
    if isinstance(failure, UseAfterFree):
        return not case.operation.path.startswith("/users/")
    # After twenty requests without a valid key, others are refused, too, but with 429.
    if isinstance(failure, MissingHeaderNotRejected):
        return response.status_code != 429
    # Here the response is that of the request with a key.
    if isinstance(failure, IgnoredAuth):
        return "got `429 Too Many Requests`" not in failure.message
    return True


# Most requests must get further than to those refusals, or they would test nothing else.


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes valid requests valid. What is to be wrong stays wrong."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if "beforeSeq" in case.query and "afterSeq" in case.query:
        del case.query["beforeSeq"]
    if "{seq}" in case.operation.path:
        case.path_parameters.update(roomId=STORED_IN, seq=1)
    elif case.method == "DELETE" and case.path_parameters.get("roomId") == STORED_IN:
        case.path_parameters.update(roomId=STORED_IN + 1)
    if isinstance(case.body, dict):
        case.body = with_past_time(with_members_once(with_whole_user_id(case.body)))
        # Most numbers that are made up are not of a message in the room.
        case.body.pop("replyTo", None)
        # A sanction without an end is in force until this, which is not a time of the past.
        if case.body.get("issuedBefore") == FOREVER:
            del case.body["issuedBefore"]


def with_members_once(body):
    if not isinstance(body.get("members"), list):
        return body
    members = map(with_whole_user_id, body["members"])
    # The user "1" is the user 1.
    by_user = {str(member["userId"]): member for member in members}
    return {**body, "members": list(by_user.values())}


def with_past_time(body):
    # Most times that are made up are not between 1970 and now.
    if "createdAt" in body:
        return {**body, "createdAt": "2017-11-07T00:00:00.000Z"}
    return body


def with_whole_user_id(fields):
    if "userId" in fields:
        fields = {**fields, "userId": whole(fields["userId"])}
    if isinstance(fields.get("mentions"), list):
        fields = {**fields, "mentions": [whole(user) for user in fields["mentions"]]}
    return fields


def whole(user):
    return int(user) if isinstance(user, float) and user.is_integer() else user
