"""A worker as QE's Python has them: as tests/clients/qe_client.js, on slixmpp over TCP with STARTTLS.

The argument is JSON: bridge, xmpp, domain, secret, resource, public, explore. Commands and events are those of
qe_client.js. Ends when standard input does.
"""

import asyncio
import base64
import collections
import collections.abc
import json
import random
import re
import ssl
import string
import sys
import threading
import urllib.request
import zlib

# The deployed release looks for it where Python had it before 3.10.
collections.MutableSet = collections.abc.MutableSet

import slixmpp

MUC_ITEM = "{http://jabber.org/protocol/muc#user}x/{http://jabber.org/protocol/muc#user}item"
TIMEOUT_S = 30
RECONNECT_S = 5


def tell(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def packed(members):
    return base64.b64encode(zlib.compress(json.dumps(members).encode())).decode()


def unpacked(text):
    """What is no zlib stream of JSON is taken as it is."""
    try:
        return json.loads(zlib.decompress(base64.b64decode(text)))
    except (ValueError, zlib.error):
        return text


def new_mid():
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=10))


class Worker(slixmpp.ClientXMPP):
    def __init__(self, given, credentials):
        super().__init__(f"{credentials['user']}@{given['domain']}/{given['resource']}", credentials["password"])
        self.given = given
        self.pending = {}
        # The real address of an occupant, by the exact `from` of its presence.
        self.occupants = {}
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("disconnected", self.ended)
        self.add_event_handler("stream_error", lambda error: tell("error", condition=error["condition"]))
        self.add_event_handler("message", self.take_message)
        self.add_event_handler("presence", self.take_presence)

    def dial(self):
        """STARTTLS is insisted on, the certificate is not looked at."""
        host, port = self.given["xmpp"].split(":")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.get_ssl_context = lambda: context
        self.ssl_context = context
        if slixmpp.__version_info__ < (1, 8):
            self.connect((host, int(port)), force_starttls=True, disable_starttls=False)
            return
        self.enable_direct_tls = self.enable_plaintext = False
        self.enable_starttls = True
        self.connect(host, int(port))

    async def started(self, _):
        self.send_presence()
        # An error, or no answer, would keep it from ever counting as connected.
        roster = await self.get_roster()
        tell("online", jid=self.boundjid.full, roster=roster["type"], tls=self.transport.get_extra_info("cipher") is not None)

    async def ended(self, _):
        tell("offline")
        await asyncio.sleep(RECONNECT_S)
        self.dial()

    def post(self, endpoint, members):
        return asyncio.get_event_loop().run_in_executor(None, post, self.given["bridge"], endpoint, members)

    def say(self, to, members):
        # Without a type.
        self.send_message(mto=to, mbody=packed(members))

    def sender_of(self, address):
        account, _, resource = address.partition(f"@{self.given['domain']}/")
        app, uid, role = (account.split("-") + ["", ""])[:3]
        if not re.fullmatch("[0-9a-f]{24}", uid) or not role or not resource:
            return None
        return {"app": app, "uid": uid, "role": role, "resource": resource}

    async def served(self, body, sender):
        if body["api"] == "ping":
            return {"pong": True, "environment": "python"}
        if body["api"] != "reverse":
            return {"code": -1000, "error": "no api handler"}
        members = {"exploresecret": self.given["explore"], "uid": sender["uid"]}
        live = await self.post("/api/service/hasaliveservice", members)
        if live["code"] != 0:
            return {"code": live["code"], "error": "no service"}
        members = {"servicesecret": live["secret"], "uid": sender["uid"]}
        named = await self.post("/api/service/getbysecret", members)
        same = named["servid"] == live["servid"]
        return {"code": 0, "result": body["text"][::-1], "servid": live["servid"], "same": same, "sender": sender}

    async def take_message(self, message):
        if not message["body"]:
            return
        if message["type"] == "groupchat":
            self.take_channel(message)
            return
        address, kind = message["from"].full, message.xml.get("type")
        came = unpacked(message["body"])
        mid = came.get("mid") if isinstance(came, dict) else None
        if mid in self.pending:
            self.pending.pop(mid).set_result((address, came))
            return
        if mid is None or "api" not in came:
            tell("direct", **{"from": address, "type": kind, "body": came})
            return
        sender = self.sender_of(address)
        if sender is not None:
            tell("asked", **{"from": address, "type": kind, "api": came["api"], "length": len(message["body"])})
            self.say(address, {**await self.served(came, sender), "mid": mid})

    def take_presence(self, presence):
        item = presence.xml.find(MUC_ITEM)
        address = presence.xml.get("from")
        jid = None if item is None else item.get("jid")
        if jid is not None:
            self.occupants[address] = jid
        tell("presence", **{"from": address, "type": presence.xml.get("type"), "jid": jid})

    def take_channel(self, message):
        # A message with a stamp is taken for history.
        if message.xml.find("{urn:xmpp:delay}delay") is not None:
            return
        room, _, nick = message.xml.get("from").partition("/")
        jid = self.occupants.get(f"{room}/{nick}")
        tell("channel", room=room.split("@")[0], nick=nick, jid=jid, text=message["body"])

    def room(self, channel):
        return f"{channel}@conference.{self.given['domain']}"

    async def do_find(self, command):
        members = {"secret": self.given["secret"], **command["members"]}
        tell("found", ref=command["ref"], **await self.post("/api/bridge/worker/findfreeresource", members))

    async def do_api(self, command):
        target = command.get("to")
        if target is None:
            members = {"app": command["app"], "secret": self.given["secret"], "onlymine": False, "onlyowner": False}
            if command.get("resource"):
                members["resource"] = command["resource"]
            found = await self.post("/api/bridge/worker/findfreeresource", members)
            if not found["jids"]:
                tell("reply", ref=command["ref"], jids=found["jids"], body={"code": found["code"]})
                return
            target = found["jids"][0 if command.get("prioritizeMine") else -1]
        mid = new_mid()
        self.pending[mid] = asyncio.get_event_loop().create_future()
        self.say(target, {"mid": mid, **command["members"]})
        try:
            address, body = await asyncio.wait_for(self.pending[mid], TIMEOUT_S)
        except asyncio.TimeoutError:
            address, body = None, {"error": "timeout"}
        same = body.pop("mid", None) == mid
        tell("reply", **{"ref": command["ref"], "target": target, "from": address, "same": same, "body": body})

    async def do_direct(self, command):
        if "members" in command:
            self.say(command["to"], command["members"])
        else:
            self.send_message(mto=command["to"], mbody=command["text"])

    async def do_join(self, command):
        """What it says first goes out in the same write as the join."""
        # It asks for the roster again each time.
        self.get_roster()
        self.send_presence(pto=f"{self.room(command['channel'])}/{command['nick']}")
        if "text" in command:
            await self.do_say(command)

    async def do_leave(self, command):
        self.send_presence(pto=self.room(command["channel"]), ptype="unavailable")

    async def do_say(self, command):
        self.send_message(mto=self.room(command["channel"]), mbody=command["text"], mtype="groupchat")

    async def do_cut(self, _):
        self.transport.abort()


def post(bridge, endpoint, members):
    body = json.dumps(members).encode()
    request = urllib.request.Request(f"http://{bridge}{endpoint}", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        return json.load(response)


async def run(worker, command):
    try:
        await getattr(worker, f"do_{command['do']}")(command)
    except Exception as error:
        tell("failure", reason=f"{command['do']}: {error!r}")


def read(loop, commands):
    for line in sys.stdin:
        loop.call_soon_threadsafe(commands.put_nowait, json.loads(line))
    loop.call_soon_threadsafe(commands.put_nowait, None)


async def main(loop, given):
    members = {"secret": given["secret"], "image": "none", "resource": given["resource"], "public": given["public"]}
    credentials = post(given["bridge"], "/api/bridge/worker/service", members)
    tell("credentials", **credentials)
    if credentials["code"] != 0:
        return
    worker = Worker(given, credentials)
    worker.dial()
    commands = asyncio.Queue()
    threading.Thread(target=read, args=(loop, commands), daemon=True).start()
    running = set()
    while (command := await commands.get()) is not None:
        task = loop.create_task(run(worker, command))
        running.add(task)
        task.add_done_callback(running.discard)


# Older releases of the library look for the loop before it runs.
event_loop = asyncio.new_event_loop()
asyncio.set_event_loop(event_loop)
# The library leaves tasks of connections that were cut behind, and asyncio would tell of each.
event_loop.set_exception_handler(lambda *_: None)
event_loop.run_until_complete(main(event_loop, json.loads(sys.argv[1])))
