"""Runs named XMPP connections of slixmpp for the integration tests.

Commands and events are those of the driver of @xmpp/client: JSON lines on standard input and output, payloads in
base64, and the words of MQTT for what means the same there. Ends when standard input does.
"""

import asyncio
import base64
import collections
import collections.abc
import json
import ssl
import sys
import threading
import xml.etree.ElementTree as ET

# The deployed release looks for it where Python had it before 3.10.
collections.MutableSet = collections.abc.MutableSet

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

CLIENT = "jabber:client"
NEXUS = "urn:nexus:1"
JSON_CONTAINER = "urn:xmpp:json:0"
ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
# A little longer than the daemon's own time-out, so that its outcome is seen and not the library's.
PATIENCE_S = 35
GRANTED = 0
REFUSED = 0x80
DENIED = 0x87


def emit(client, event, **fields):
    sys.stdout.write(json.dumps({"client": client, "event": event, **fields}) + "\n")
    sys.stdout.flush()


def to_base64(text):
    return base64.b64encode(text.encode()).decode()


def from_base64(given):
    return base64.b64decode(given).decode()


def element(namespace, name, text=None, children=(), **attributes):
    """An element; attributes that were not given are left out."""
    made = ET.Element(f"{{{namespace}}}{name}", {name: value for name, value in attributes.items() if value is not None})
    made.text = text
    made.extend(children)
    return made


def written(xml):
    return ET.tostring(xml, encoding="unicode")


def sender_of(parent):
    """`<sender/>` as MQTT 5.0 has it."""
    senders = parent.findall(f"{{{NEXUS}}}sender")
    return {
        "user_properties": [
            [f"nexus-{name}", sender.get(name)]
            for sender in senders
            for name in ("app", "uid", "role", "resource")
        ],
        "sender_jids": [sender.get("jid") for sender in senders],
    }


def content_of(parent, namespace, name):
    found = parent.find(f"{{{namespace}}}{name}")
    return "" if found is None or found.text is None else found.text


class Connection(slixmpp.ClientXMPP):
    def __init__(self, name, command):
        resource = f"/{command['client_id']}" if command["client_id"] else ""
        super().__init__(f"{command['user']}@{command['domain']}{resource}", command["password"] or "")
        self.driver_name = name
        self.asked_resource = command["client_id"]
        self.is_online = False
        self.reason = ""
        self.unanswered = set()
        mechanisms = self.plugin["feature_mechanisms"]
        mechanisms.use_mech = command.get("mechanism")
        # The tests in clear are on loopback.
        mechanisms.unencrypted_plain = mechanisms.unencrypted_scram = True
        for event, handler in (
            ("session_start", self.started),
            ("failed_all_auth", self.denied),
            ("stream_error", self.stream_failed),
            ("disconnected", self.ended),
        ):
            self.add_event_handler(event, handler)
        for kind, handler in (("message", self.take_message), ("presence", self.take_presence)):
            self.register_handler(Callback(f"tests: {kind}", MatchXPath(f"{{{CLIENT}}}{kind}"), handler))
        self.register_plugin("xep_0045")
        self.comes_back = command if (command.get("properties") or {}).get("reconnect") else None
        if self.comes_back:
            self.register_plugin("xep_0198")
            self.add_event_handler("session_resumed", self.resumed)
        asked = MatchXPath(f"{{{CLIENT}}}iq/{{{NEXUS}}}api")
        self.register_handler(Callback("tests: api", asked, self.take_request))
        self.dial(command)

    def dial(self, command):
        transport = command["transport"]
        context = ssl.create_default_context(cafile=command["ca_file"])
        # The certificate is checked; that of the tests has no name of an XMPP domain in it.
        context.check_hostname = False
        if command["cert_file"]:
            context.load_cert_chain(command["cert_file"], command["key_file"])
        self.get_ssl_context = lambda: context
        self.ssl_context = context
        address = (command["host"], command["port"])
        if slixmpp.__version_info__ < (1, 8):
            self.connect(
                address,
                use_ssl=transport == "tls",
                force_starttls=transport == "starttls",
                disable_starttls=transport == "tcp",
            )
            return
        self.enable_direct_tls = transport == "tls"
        self.enable_starttls = transport == "starttls"
        self.enable_plaintext = transport == "tcp"
        self.connect(*address)

    async def started(self, _):
        self.is_online = True
        # What its users' workers wait for before they count as connected.
        await self.get_roster()
        emit(
            self.driver_name,
            "connack",
            code=GRANTED,
            session_present=False,
            properties={
                "assigned_client_identifier": self.boundjid.resource,
                "jid": self.boundjid.full,
                "offered": sorted(self.plugin["feature_mechanisms"].mech_list),
                "cipher": self.transport.get_extra_info("cipher"),
            },
        )

    def denied(self, _):
        emit(
            self.driver_name,
            "connack",
            code=DENIED,
            session_present=False,
            properties={"condition": "not-authorized", "reason_string": ""},
        )

    def stream_failed(self, error):
        self.reason = error["condition"]
        emit(self.driver_name, "streamerror", condition=error["condition"], text=error["text"])

    def ended(self, _):
        emit(self.driver_name, "closed", reason=self.reason, ws_code=None)
        if self.comes_back:
            asyncio.get_event_loop().call_later(0.1, self.dial, self.comes_back)

    def resumed(self, _):
        emit(self.driver_name, "connack", code=GRANTED, session_present=True, properties={})

    def told(self, topic, payload, stanza, properties, retain=False):
        emit(
            self.driver_name,
            "message",
            topic=topic,
            payload=to_base64(payload),
            qos=0,
            retain=retain,
            dup=False,
            properties=properties,
            stanza=written(stanza),
        )

    def take_message(self, message):
        xml = message.xml
        published = xml.find(f"{{{NEXUS}}}publish")
        properties = {**sender_of(xml), **{name: xml.get(name) for name in ("type", "id", "from")}}
        if published is None:
            self.told("$nexus/direct", content_of(xml, CLIENT, "body"), xml, properties)
        else:
            is_retained = published.get("retain") == "true"
            self.told(published.get("channel"), published.text or "", xml, properties, is_retained)

    def take_presence(self, presence):
        emit(self.driver_name, "presence", stanza=written(presence.xml))

    def take_request(self, iq):
        if iq["type"] != "set":
            return
        token = iq["id"]
        api = iq.xml.find(f"{{{NEXUS}}}api")
        self.unanswered.add(token)
        properties = {
            **sender_of(api),
            "response_topic": f"$nexus/answer/{token}",
            "from": iq.xml.get("from"),
        }
        self.told(f"$nexus/listen/{api.get('cmd')}", content_of(api, JSON_CONTAINER, "json"), iq.xml, properties)

    def say(self, name, children, **attributes):
        self.send_xml(element(CLIENT, name, children=children, **attributes))

    async def answer(self, command):
        token = command["token"]
        self.unanswered.discard(token)
        body = element(JSON_CONTAINER, "json", from_base64(command["payload"]))
        api = element(NEXUS, "api", children=[body])
        self.say("iq", [api], type="result", id=token, to=self.boundjid.domain)

    async def decline(self, command):
        kind, condition = command["error"]
        error = element(CLIENT, "error", children=[element(ERRORS, condition)], type=kind)
        self.say("iq", [error], type="error", id=command["token"], to=self.boundjid.domain)

    async def ask(self, kind, payload, to=None, id=None):
        """The answer to an iq and the condition of its error, None for a result."""
        iq = self.make_iq_set() if kind == "set" else self.make_iq_get()
        iq["to"] = to or ""
        if id is not None:
            iq["id"] = id
        iq.xml.append(payload)
        try:
            return await iq.send(timeout=PATIENCE_S), None
        except IqError as error:
            return error.iq, error.iq["error"]["condition"]

    async def call(self, command):
        api = element(
            NEXUS,
            "api",
            children=[element(JSON_CONTAINER, "json", from_base64(command["payload"]))],
            app=command["app"],
            cmd=command["cmd"],
            resource=command.get("resource"),
            ownership=command.get("ownership"),
            prioritize_mine="true" if command.get("prioritize_mine") else None,
        )
        reply, condition = await self.ask("set", api, command.get("to"), command["id"])
        if condition is None:
            api = reply.xml.find(f"{{{NEXUS}}}api")
            payload = content_of(api, JSON_CONTAINER, "json")
            properties = sender_of(api)
            properties["user_properties"].append(["nexus-code", api.get("code")])
        else:
            error = reply.xml.find(f"{{{CLIENT}}}error")
            code = error.find(f"{{{NEXUS}}}failure").get("code")
            payload = json.dumps({"code": int(code), "error": content_of(error, ERRORS, "text")})
            properties = {
                "user_properties": [["nexus-code", code]],
                "condition": condition,
                "type": error.get("type"),
            }
        properties["correlation_data"] = to_base64(command["id"])
        self.told(f"answers/{self.asked_resource}", payload, reply.xml, properties)

    async def iq(self, command):
        payload = ET.fromstring(command["xml"])
        reply, condition = await self.ask(command["type"], payload, command.get("to"), command.get("id"))
        emit(self.driver_name, "result", ref=command["ref"], condition=condition, stanza=written(reply.xml))

    async def register(self, command, name, **attributes):
        _, condition = await self.ask("set", element(NEXUS, name, **attributes))
        emit(self.driver_name, "suback", ref=command["ref"], codes=[GRANTED if condition is None else REFUSED])

    async def listen(self, command):
        await self.register(command, "listen", cmd=command["cmd"])

    async def unlisten(self, command):
        await self.register(command, "unlisten", cmd=command["cmd"])

    async def subscribe(self, command):
        await self.register(command, "subscribe", channel=command["channel"])

    async def unsubscribe(self, command):
        await self.register(command, "unsubscribe", channel=command["channel"])

    async def publish(self, command):
        retain = command.get("retain")
        text = from_base64(command["payload"])
        retain = None if retain is None else str(retain).lower()
        self.say("message", [element(NEXUS, "publish", text, channel=command["channel"], retain=retain)])

    async def direct(self, command):
        """By app and resource, or as a plain message where `to` is given."""
        text = from_base64(command["payload"])
        if command.get("to") is not None:
            body = element(CLIENT, "body", text)
            self.say("message", [body], to=command["to"], type=command.get("type"), id=command.get("id"))
            return
        direct = element(NEXUS, "direct", text, app=command["app"], resource=command["resource"])
        self.say("message", [direct])

    async def join_room(self, command):
        """Joins as the library's users do; told is the self-presence, once the join is over."""
        room, nick = command["room"], command["nick"]
        rooms = self.plugin["xep_0045"]
        if hasattr(rooms, "join_muc_wait"):
            presence, *_ = await rooms.join_muc_wait(slixmpp.JID(room), nick, timeout=PATIENCE_S)
        else:
            came = asyncio.get_event_loop().create_future()
            self.add_event_handler(f"muc::{room}::presence", came.set_result, disposable=True)
            rooms.join_muc(room, nick)
            presence = await asyncio.wait_for(came, PATIENCE_S)
        emit(self.driver_name, "result", ref=command["ref"], condition=None, stanza=written(presence.xml))

    async def leave_room(self, command):
        room = command["room"]
        rooms = self.plugin["xep_0045"]
        rooms.leave_muc(slixmpp.JID(room) if hasattr(rooms, "join_muc_wait") else room, command["nick"])

    async def send_stanza(self, command):
        self.send_raw(command["xml"])

    async def leave(self, _):
        self.comes_back = None
        self.disconnect()

    async def kill(self, _=None):
        self.comes_back = None
        if self.transport is not None:
            self.transport.abort()


# What the library calls otherwise itself.
METHODS = {"send": "send_stanza", "disconnect": "leave"}
connections = {}


async def run(command):
    name, what = command["client"], command["do"]
    try:
        if what == "connect":
            connections[name] = Connection(name, command)
        elif what == "forget":
            connection = connections.pop(name, None)
            if connection is not None:
                await connection.kill()
        else:
            await getattr(connections[name], METHODS.get(what, what))(command)
    except (IqTimeout, asyncio.CancelledError):
        # A connection that ends takes its open requests along; the test has been told of the end.
        pass
    except Exception as error:
        emit(name, "failure", reason=f"{what}: {error!r}")


def read(loop, commands):
    for line in sys.stdin:
        loop.call_soon_threadsafe(commands.put_nowait, json.loads(line))
    loop.call_soon_threadsafe(commands.put_nowait, None)


async def main(loop):
    commands = asyncio.Queue()
    threading.Thread(target=read, args=(loop, commands), daemon=True).start()
    running = set()
    while (command := await commands.get()) is not None:
        task = loop.create_task(run(command))
        running.add(task)
        task.add_done_callback(running.discard)


# Older releases of the library look for the loop before it runs.
event_loop = asyncio.new_event_loop()
asyncio.set_event_loop(event_loop)
# The library leaves tasks of connections that were cut behind, and asyncio would tell of each.
event_loop.set_exception_handler(lambda *_: None)
event_loop.run_until_complete(main(event_loop))
