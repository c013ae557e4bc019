"""A bot that answers "!echo text" with "text": each command once, in order, whatever dies meanwhile.

Its position in each room is in a file. After a restart or a broken connection it continues there,
and what it repeats is stored once, because the id of an answer follows from the command's number.
"""
import asyncio, base64, json, os, pathlib
import socketio

URL = os.environ.get("CHAT_URL", "http://127.0.0.1:3001")
ROOMS = [int(room) for room in os.environ.get("ROOMS", "1").split(",")]
FILE = pathlib.Path(os.environ.get("POSITION_FILE", "position.json"))


def answer_to(content):
    """Returns the answer to a command, or None. The same command must always have the same one."""
    return content.startswith("!echo ") and content.removeprefix("!echo ").strip() or None


async def fresh_token():
    """Returns what a command prints. Ask your backend here, if that is where your tokens are made."""
    command = await asyncio.create_subprocess_shell(os.environ["TOKEN_COMMAND"], stdout=asyncio.subprocess.PIPE)
    return (await command.communicate())[0].decode().strip()


class Refused(Exception):
    """A request that repeating does not help. The first argument is the code."""


class Bot:
    def __init__(self):
        self.rooms = json.loads(FILE.read_text()) if FILE.exists() else {}

    async def run(self):
        while True:  # a connection of its own each time, and with it a fresh token
            self.sio, events = socketio.AsyncClient(reconnection=False), asyncio.Queue()
            for name in ("newMessage", "messageChanged", "joinedRoom", "leftRoom"):
                self.sio.on(name, lambda data, name=name: events.put_nowait((name, data)))
            work = asyncio.create_task(self.work(events))
            self.sio.on("disconnect", lambda *_: work.cancel())
            await asyncio.wait([work])
            print("disconnected" if work.cancelled() else repr(work.exception()), flush=True)
            await self.sio.shutdown()
            await asyncio.sleep(0.5)

    async def work(self, events):
        token = await fresh_token()
        claims = token.split(".")[1]
        self.user = str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])
        await self.sio.connect(URL, auth={"token": token})
        for room in ROOMS:
            at = self.rooms.get(str(room))  # without a position, it begins with what is new
            await self.ask("joinRoom", roomId=room, **({"afterSeq": at["seq"], "afterRev": at["rev"]} if at else {}))
        while True:  # one at a time: answers are in the order of their commands
            await self.handle(*await events.get())
            if events.empty():
                self.save()

    async def handle(self, event, data):
        if event == "leftRoom":
            raise Refused(data.get("reason"), data)
        at = self.rooms.setdefault(str(data["roomId"]), {"seq": data.get("seq"), "rev": data.get("rev")})
        if event == "newMessage":
            await self.take(at, data)
        elif event == "messageChanged":
            await self.answer(data["message"])
            at["rev"] = data["rev"]
        else:  # joinedRoom: what was missed came before it, or is paged now. What is live waits in the queue.
            if "missed" in data:
                async for message in self.pages("listMessages", data["roomId"], afterSeq=at["seq"]):
                    await self.take(at, message)
            if "changesMissed" in data:
                async for message in self.pages("listChanges", data["roomId"], afterRev=at["rev"]):
                    if message["rev"] > data["rev"]:
                        break  # this change, and those after it, also come as events
                    await self.answer(message)
            at["rev"] = max(at["rev"], data["rev"])
            self.save()
            print("joined room", data["roomId"], flush=True)

    async def take(self, at, message):
        if message["seq"] > at["seq"]:
            await self.answer(message)
            at["seq"] = message["seq"]

    async def answer(self, command):
        """Makes the answer what the command asks for now, whatever was done before."""
        text, answer_id = answer_to(command["content"]), f"echo-{command['seq']}"
        if not text or command["userId"] == self.user:
            return
        place = {"roomId": command["roomId"]}
        try:
            try:
                sent = await self.ask("sendMessage", **place, content=text, clientMessageId=answer_id, replyTo=command["seq"])
                answer = sent["message"]
            except Refused as refused:
                if refused.args[0] != "conflict":
                    raise
                # The command was edited after it was answered: the answer is one of the messages after it.
                answer = await self.find(command, answer_id)
            if answer and answer["content"] != text and "deletedAt" not in answer:
                await self.ask("editMessage", **place, seq=answer["seq"], content=text)
        except Refused as refused:
            if refused.args[0] not in ("forbidden", "conflict"):
                raise  # to be answered on the next connection
            print("not answered:", *refused.args, flush=True)  # the bot is muted, for example
        self.save()

    async def find(self, command, answer_id):
        async for message in self.pages("listMessages", command["roomId"], afterSeq=command["seq"]):
            if message["userId"] == self.user and message.get("clientMessageId") == answer_id:
                return message

    async def pages(self, event, room, **after):
        more = True
        while more:
            page = await self.ask(event, roomId=room, limit=200, **after)
            for message in page["messages"]:
                yield message
                after = {key: message[key.removeprefix("after").lower()] for key in after}
            more = page["hasMore"]

    async def ask(self, event, **payload):
        """Repeats a request until it is answered. If the connection breaks, the next one continues."""
        while True:
            answer = await self.sio.call(event, payload, timeout=30)
            if answer["ok"]:
                return answer
            if not answer["error"]["retryable"]:
                raise Refused(answer["error"]["code"], event, payload)
            await asyncio.sleep(answer["error"].get("retryAfterMs", 200) / 1000)

    def save(self):
        new = FILE.with_suffix(".new")
        with new.open("w") as file:
            json.dump(self.rooms, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(FILE)


if __name__ == "__main__":
    asyncio.run(Bot().run())
