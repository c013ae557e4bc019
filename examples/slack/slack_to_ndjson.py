#!/usr/bin/env python3
"""Converts a channel of a Slack export to the lines that the gateway imports.

    python3 slack_to_ndjson.py EXPORT CHANNEL > messages.ndjson

EXPORT is the export's ZIP file, or the folder that it was unpacked to. CHANNEL is the name of a
channel in it. Needs Python 3.9 and no packages.
"""

import html
import json
import re
import sys
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

# The gateway's limits.
MAX_CONTENT = 4000
MAX_NAME = 255

# Notices that Slack itself has written. Add to them what you do not want to keep.
NOTICES = {
    "channel_archive", "channel_join", "channel_leave", "channel_name", "channel_purpose",
    "channel_topic", "channel_unarchive", "bot_add", "bot_remove", "pinned_item",
}


class Export:
    """The files of an export."""

    def __init__(self, path):
        self.zip = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else None
        self.folder = Path(path)

    def read(self, name):
        if self.zip:
            return json.loads(self.zip.read(name))
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def days(self, channel):
        """Returns the names of the channel's files, one for each day, in order."""
        if self.zip:
            names = [n for n in self.zip.namelist() if n.startswith(channel + "/")]
        else:
            names = [f"{channel}/{file.name}" for file in (self.folder / channel).iterdir()]
        return sorted(name for name in names if name.endswith(".json"))


def name_of(user):
    profile = user.get("profile", {})
    names = (profile.get("display_name"), profile.get("real_name"), user.get("real_name"))
    name = next((name for name in names if name), user.get("name") or user["id"])
    return name[:MAX_NAME]


def text_of(message, names):
    """Returns the text as its readers saw it, with what was attached to it."""

    def reference(match):
        target, _, label = match.group(1).partition("|")
        if target.startswith("@"):
            return "@" + names.get(target[1:], label or target[1:])
        if target.startswith("!"):
            return label or "@" + target[1:].split("^")[0]
        if target.startswith("#"):
            return "#" + (label or target[1:])
        return f"{label} ({target})" if label and label != target else target

    text = re.sub(r"<([^<>]+)>", reference, message.get("text") or "")
    parts = [html.unescape(text)]
    for file in message.get("files") or []:
        parts.append(" ".join(filter(None, (file.get("name"), file.get("permalink")))))
    text = "\n".join(part for part in parts if part.strip())
    return text.replace("\0", "")


def author_of(message, names):
    """Returns the id and the name of the author, or None for what no user and no bot has written."""
    if message.get("user"):
        user = message["user"]
        profile = message.get("user_profile") or {}
        return user, names.get(user) or profile.get("real_name") or user
    if message.get("bot_id"):
        return message["bot_id"], (message.get("username") or message["bot_id"])[:MAX_NAME]
    return None


def created_at(ts):
    """Returns the time of a message, such as 1510000000.000100, to the millisecond."""
    seconds, _, micros = ts.partition(".")
    at = datetime.fromtimestamp(int(seconds), timezone.utc)
    at += timedelta(microseconds=int((micros + "000000")[:6]))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lines(export, channel):
    names = {user["id"]: name_of(user) for user in export.read("users.json")}
    # The numbers of the messages, which are those of the lines if the room is empty.
    numbers, last = {}, 0
    for day in export.days(channel):
        messages = [m for m in export.read(day) if m.get("type") == "message"]
        # The digits of all of them are as many.
        for message in sorted(messages, key=lambda message: message["ts"]):
            author = author_of(message, names)
            content = text_of(message, names)
            if message.get("subtype") in NOTICES or author is None or not content.strip():
                continue
            for part, start in enumerate(range(0, len(content), MAX_CONTENT)):
                piece = content[start:start + MAX_CONTENT]
                if not piece.strip():
                    continue
                suffix = f"-{part}" if part else ""
                last += 1
                thread = message.get("thread_ts")
                first = numbers.get(thread) if thread != message["ts"] else None
                numbers.setdefault(message["ts"], last)
                yield {
                    "userId": author[0],
                    "name": author[1],
                    "content": piece,
                    "createdAt": created_at(message["ts"]),
                    # What makes the import repeatable: it is the same every time.
                    "clientMessageId": f"slack-{message['ts']}{suffix}",
                    **({"replyTo": first} if first else {}),
                }


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    export = Export(sys.argv[1])
    channel = sys.argv[2]
    if not any(known["name"] == channel for known in export.read("channels.json")):
        sys.exit(f"the export has no channel {channel}")
    for line in lines(export, channel):
        # Texts may contain halves of surrogate pairs, which are not Unicode.
        text = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace")
        sys.stdout.buffer.write(text + b"\n")


if __name__ == "__main__":
    main()
