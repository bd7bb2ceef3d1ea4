"""Runs named MQTT connections of aiomqtt for the integration tests.

Commands and events are those of paho_driver.py. What aiomqtt keeps to itself cannot be told: the codes of UNSUBACK
and of acknowledgements of PUBLISH, the properties of CONNACK.
"""

import asyncio
import base64
import json
import socket
import sys

import aiomqtt
from driver_common import code_of, emit, from_properties, to_properties
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions


class Connection:
    """One connection: a task that reads, and one for each command."""

    def __init__(self, name, command):
        self.name = name
        self.five = command["version"] == 5
        will = command.get("will")
        options = {}
        if will:
            options["will"] = aiomqtt.Will(
                will["topic"],
                base64.b64decode(will["payload"]),
                will["qos"],
                will["retain"],
                to_properties(PacketTypes.WILLMESSAGE, will.get("properties")) if self.five else None,
            )
        if self.five:
            options["clean_start"] = command["clean"]
            options["properties"] = to_properties(PacketTypes.CONNECT, command.get("properties"))
        else:
            options["clean_session"] = command["clean"]
        if command["transport"] in ("tls", "wss"):
            options["tls_params"] = aiomqtt.TLSParameters(ca_certs=command["ca_file"])
        if command["transport"] in ("ws", "wss"):
            options["transport"] = "websockets"
            options["websocket_path"] = command["path"]
        self.client = aiomqtt.Client(
            command["host"],
            command["port"],
            identifier=command["client_id"],
            username=command.get("user"),
            password=command.get("password"),
            protocol=aiomqtt.ProtocolVersion.V5 if self.five else aiomqtt.ProtocolVersion.V311,
            keepalive=command["keepalive"],
            **options,
        )
        self.is_over = asyncio.Event()
        # The library does not say whether a session was present; the one below it does.
        self.session_present = False
        inner = self.client._client
        tell = inner.on_connect

        def on_connect(client, data, flags, reason, properties=None):
            self.session_present = bool(flags.session_present)
            tell(client, data, flags, reason, properties)

        inner.on_connect = on_connect
        self.task = asyncio.create_task(self.run())

    async def run(self):
        reason = "done"
        try:
            async with self.client:
                emit(self.name, "connack", code=0, session_present=self.session_present, properties={})
                reading = asyncio.create_task(self.read())
                over = asyncio.create_task(self.is_over.wait())
                await asyncio.wait([reading, over], return_when=asyncio.FIRST_COMPLETED)
                over.cancel()
                reading.cancel()
                await asyncio.gather(reading, over, return_exceptions=True)
        except aiomqtt.exceptions.MqttConnectError as error:
            emit(self.name, "connack", code=code_of(error.rc), session_present=False, properties={})
            reason = str(error)
        except (aiomqtt.MqttError, OSError) as error:
            reason = str(error)
        emit(self.name, "closed", reason=reason)

    async def read(self):
        async for message in self.client.messages:
            emit(
                self.name,
                "message",
                topic=str(message.topic),
                payload=base64.b64encode(message.payload).decode(),
                qos=message.qos,
                retain=bool(message.retain),
                dup=False,
                properties=from_properties(message.properties),
            )

    async def subscribe(self, command):
        if self.five:
            filters = [
                (
                    wanted["filter"],
                    SubscribeOptions(
                        qos=wanted["qos"],
                        noLocal=wanted.get("no_local", False),
                        retainAsPublished=wanted.get("retain_as_published", False),
                        retainHandling=wanted.get("retain_handling", 0),
                    ),
                )
                for wanted in command["filters"]
            ]
            properties = to_properties(PacketTypes.SUBSCRIBE, command.get("properties"))
            codes = await self.client.subscribe(filters, properties=properties)
        else:
            codes = await self.client.subscribe([(wanted["filter"], wanted["qos"]) for wanted in command["filters"]])
        emit(self.name, "suback", ref=command["ref"], codes=[code_of(code) for code in codes], properties={})

    async def unsubscribe(self, command):
        await self.client.unsubscribe(command["filters"])
        emit(self.name, "unsuback", ref=command["ref"], codes=[], properties={})

    async def publish(self, command):
        await self.client.publish(
            command["topic"],
            base64.b64decode(command["payload"]),
            command["qos"],
            command["retain"],
            to_properties(PacketTypes.PUBLISH, command.get("properties")) if self.five else None,
        )
        if command["qos"] > 0:
            emit(self.name, "puback", ref=command["ref"], code=0, properties={})

    async def disconnect(self, _command):
        self.is_over.set()

    async def kill(self, _command):
        """Ends the connection without a DISCONNECT."""
        raw = self.client._client.socket()
        if raw is not None:
            getattr(raw, "_socket", raw).shutdown(socket.SHUT_RDWR)

    async def do(self, command):
        what = command["do"]
        try:
            await getattr(self, what)(command)
        except Exception as error:  # the test decides what a failed command means
            emit(self.name, "failure", reason=f"{what}: {type(error).__name__}: {error}")


async def main():
    loop = asyncio.get_running_loop()
    connections = {}
    tasks = set()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        command = json.loads(line)
        name, what = command["client"], command["do"]
        if what == "connect":
            connections[name] = Connection(name, command)
            continue
        connection = connections.get(name)
        if what == "forget":
            connections.pop(name, None)
            command["do"] = "kill"
        if connection is not None:
            task = asyncio.create_task(connection.do(command))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


asyncio.run(main())
