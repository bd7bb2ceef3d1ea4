"""Runs named MQTT connections of paho-mqtt for the integration tests.

Commands come as JSON lines on standard input, events leave as JSON lines on standard output; both carry the
name of the connection in "client". Payloads and correlation data are base64. Ends when standard input does.
"""

import base64
import json
import socket
import sys
import threading
import warnings

import paho.mqtt.client as mqtt
from driver_common import code_of, emit, from_properties, to_properties
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions

# The first callback interface is the one that shows the return codes of 3.1.1 as they came.
warnings.simplefilter("ignore", DeprecationWarning)


class Connection:
    """One connection. The tables join packet identifiers with the references the test gave."""

    def __init__(self, name, command):
        self.name = name
        self.five = command["version"] == 5
        self.table_lock = threading.Lock()
        self.references = {}
        self.early = {}
        version = mqtt.CallbackAPIVersion.VERSION2 if self.five else mqtt.CallbackAPIVersion.VERSION1
        options = {} if self.five else {"clean_session": command["clean"]}
        self.client = mqtt.Client(
            version,
            client_id=command["client_id"],
            protocol=mqtt.MQTTv5 if self.five else mqtt.MQTTv311,
            transport="websockets" if command["transport"] in ("ws", "wss") else "tcp",
            reconnect_on_failure=False,
            **options,
        )
        if command["transport"] in ("tls", "wss"):
            self.client.tls_set(
                ca_certs=command["ca_file"], certfile=command["cert_file"], keyfile=command["key_file"]
            )
        if command["transport"] in ("ws", "wss"):
            self.client.ws_set_options(path=command["path"])
        if command.get("user") is not None:
            self.client.username_pw_set(command["user"], command.get("password"))
        will = command.get("will")
        if will:
            self.client.will_set(
                will["topic"],
                base64.b64decode(will["payload"]),
                will["qos"],
                will["retain"],
                to_properties(PacketTypes.WILLMESSAGE, will.get("properties")) if self.five else None,
            )
        self.client.on_connect = self.on_connect_5 if self.five else self.on_connect_3
        self.client.on_disconnect = self.on_disconnect_5 if self.five else self.on_disconnect_3
        self.client.on_subscribe = self.on_subscribe_5 if self.five else self.on_subscribe_3
        self.client.on_unsubscribe = self.on_unsubscribe_5 if self.five else self.on_unsubscribe_3
        self.client.on_publish = self.on_publish_5 if self.five else self.on_publish_3
        self.client.on_message = self.on_message
        extra = {}
        if self.five:
            extra["clean_start"] = command["clean"]
            extra["properties"] = to_properties(PacketTypes.CONNECT, command.get("properties"))
        try:
            self.client.connect(command["host"], command["port"], command["keepalive"], **extra)
        except OSError as error:
            emit(name, "closed", reason=str(error))
            return
        self.client.loop_start()

    def acked(self, event, mid, fields):
        """Reports an acknowledgement, or keeps it until the call that sent the packet has returned."""
        with self.table_lock:
            reference = self.references.pop((event, mid), None)
            if reference is None:
                self.early[(event, mid)] = fields
                return
        emit(self.name, event, ref=reference, **fields)

    def sent(self, event, mid, reference):
        with self.table_lock:
            fields = self.early.pop((event, mid), None)
            if fields is None:
                self.references[(event, mid)] = reference
                return
        emit(self.name, event, ref=reference, **fields)

    def on_connect_3(self, _client, _data, flags, code):
        emit(self.name, "connack", code=int(code), session_present=bool(flags["session present"]), properties={})

    def on_connect_5(self, _client, _data, flags, reason, properties):
        emit(
            self.name,
            "connack",
            code=reason.value,
            session_present=bool(flags.session_present),
            properties=from_properties(properties),
        )

    def on_disconnect_3(self, _client, _data, code):
        emit(self.name, "closed", reason=str(code))

    def on_disconnect_5(self, _client, _data, flags, reason, properties):
        if flags.is_disconnect_packet_from_server:
            emit(self.name, "disconnect", code=code_of(reason), properties=from_properties(properties))
        emit(self.name, "closed", reason=str(reason))

    def on_subscribe_3(self, _client, _data, mid, codes):
        self.acked("suback", mid, {"codes": [code_of(code) for code in codes], "properties": {}})

    def on_subscribe_5(self, _client, _data, mid, reasons, properties):
        codes = [code_of(reason) for reason in reasons]
        self.acked("suback", mid, {"codes": codes, "properties": from_properties(properties)})

    def on_unsubscribe_3(self, _client, _data, mid, *_rest):
        self.acked("unsuback", mid, {"codes": [], "properties": {}})

    def on_unsubscribe_5(self, _client, _data, mid, reasons, properties):
        codes = [code_of(reason) for reason in reasons]
        self.acked("unsuback", mid, {"codes": codes, "properties": from_properties(properties)})

    def on_publish_3(self, _client, _data, mid):
        self.acked("puback", mid, {"code": 0, "properties": {}})

    def on_publish_5(self, _client, _data, mid, reason, properties):
        self.acked("puback", mid, {"code": code_of(reason), "properties": from_properties(properties)})

    def on_message(self, _client, _data, message):
        emit(
            self.name,
            "message",
            topic=message.topic,
            payload=base64.b64encode(message.payload).decode(),
            qos=message.qos,
            retain=bool(message.retain),
            dup=bool(message.dup),
            properties=from_properties(getattr(message, "properties", None)),
        )

    def subscribe(self, command):
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
            _, mid = self.client.subscribe(filters, properties=properties)
        else:
            _, mid = self.client.subscribe([(wanted["filter"], wanted["qos"]) for wanted in command["filters"]])
        self.sent("suback", mid, command["ref"])

    def unsubscribe(self, command):
        _, mid = self.client.unsubscribe(command["filters"])
        self.sent("unsuback", mid, command["ref"])

    def publish(self, command):
        properties = to_properties(PacketTypes.PUBLISH, command.get("properties")) if self.five else None
        info = self.client.publish(
            command["topic"],
            base64.b64decode(command["payload"]),
            command["qos"],
            command["retain"],
            properties,
        )
        if command["qos"] > 0:
            self.sent("puback", info.mid, command["ref"])

    def disconnect(self, command):
        if self.five:
            reason = mqtt.ReasonCode(PacketTypes.DISCONNECT, identifier=command.get("reason", 0))
            self.client.disconnect(reason, to_properties(PacketTypes.DISCONNECT, command.get("properties")))
        else:
            self.client.disconnect()

    def kill(self, _command):
        """Ends the connection without a DISCONNECT."""
        raw = self.client.socket()
        if raw is not None:
            raw.shutdown(socket.SHUT_RDWR)

    def forget(self):
        """The test is done with this connection."""
        try:
            self.kill(None)
        except OSError:
            pass


def main():
    connections = {}
    for line in sys.stdin:
        command = json.loads(line)
        name, what = command["client"], command["do"]
        try:
            if what == "connect":
                connections[name] = Connection(name, command)
            elif what == "forget":
                connection = connections.pop(name, None)
                if connection is not None:
                    connection.forget()
            else:
                getattr(connections[name], what)(command)
        except Exception as error:  # the test decides what a failed command means
            emit(name, "failure", reason=f"{what}: {type(error).__name__}: {error}")


main()
