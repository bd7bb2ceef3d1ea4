"""What the drivers in Python share: the lines they write, and properties of MQTT 5.0 by their names there."""

import base64
import json
import sys
import threading

from paho.mqtt.properties import Properties

NAMES = {
    "payload_format_indicator": "PayloadFormatIndicator",
    "message_expiry_interval": "MessageExpiryInterval",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "subscription_identifier": "SubscriptionIdentifier",
    "session_expiry_interval": "SessionExpiryInterval",
    "assigned_client_identifier": "AssignedClientIdentifier",
    "server_keep_alive": "ServerKeepAlive",
    "authentication_method": "AuthenticationMethod",
    "authentication_data": "AuthenticationData",
    "request_problem_information": "RequestProblemInformation",
    "will_delay_interval": "WillDelayInterval",
    "request_response_information": "RequestResponseInformation",
    "response_information": "ResponseInformation",
    "server_reference": "ServerReference",
    "reason_string": "ReasonString",
    "receive_maximum": "ReceiveMaximum",
    "topic_alias_maximum": "TopicAliasMaximum",
    "topic_alias": "TopicAlias",
    "maximum_qos": "MaximumQoS",
    "retain_available": "RetainAvailable",
    "user_properties": "UserProperty",
    "maximum_packet_size": "MaximumPacketSize",
    "wildcard_subscription_available": "WildcardSubscriptionAvailable",
    "subscription_identifiers_available": "SubscriptionIdentifierAvailable",
    "shared_subscription_available": "SharedSubscriptionAvailable",
}
BINARY = {"correlation_data", "authentication_data"}

output_lock = threading.Lock()


def emit(name, event, **fields):
    line = json.dumps({"client": name, "event": event, **fields})
    with output_lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def to_properties(kind, given):
    if not given:
        return None
    properties = Properties(kind)
    for name, value in given.items():
        if name in BINARY:
            value = base64.b64decode(value)
        elif name == "user_properties":
            value = [tuple(pair) for pair in value]
        setattr(properties, NAMES[name], value)
    return properties


def from_properties(properties):
    found = {}
    if properties is None:
        return found
    for name, attribute in NAMES.items():
        if not hasattr(properties, attribute):
            continue
        value = getattr(properties, attribute)
        if name in BINARY:
            value = base64.b64encode(value).decode()
        elif name == "user_properties":
            value = [list(pair) for pair in value]
        elif name == "subscription_identifier" and not isinstance(value, list):
            value = [value]
        found[name] = value
    return found


def code_of(reason):
    return reason if isinstance(reason, int) else reason.value
