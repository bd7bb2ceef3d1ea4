"""Speaks TLS by Python's ssl module for the integration tests: twice, the second time resuming the first session.

One JSON object as the only argument: host, port, ca_file, name (SNI), version ("1.2" or "1.3"), alpn (a list),
starttls (pairs of what to say in clear before and what to wait for, or null), say (base64), until (text to wait for),
leave (base64, said last). Prints a line for each connection: version, alpn, reused, names, answer, and how the daemon
ended it: "good-bye" (close_notify), "ragged" (none) or the name of an error.
"""

import base64
import json
import socket
import ssl
import sys

command = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=command["ca_file"])
version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[command["version"]]
context.minimum_version = context.maximum_version = version
if command["alpn"]:
    context.set_alpn_protocols(command["alpn"])


def read_until(stream, wanted, answer=b""):
    """What comes up to and with `wanted`."""
    while wanted.encode("latin-1") not in answer:
        more = stream.recv(4096)
        if not more:
            raise SystemExit(f"closed before {wanted!r}, after {answer!r}")
        answer += more
    return answer


def ending(stream):
    """How the peer ends what is only read from now on."""
    try:
        while stream.recv(4096):
            pass
        return "good-bye"
    except ssl.SSLEOFError:
        return "ragged"
    except OSError as error:
        return type(error).__name__


session = None
for _ in range(2):
    with socket.create_connection((command["host"], command["port"]), timeout=20) as plain:
        if command["starttls"]:
            for said, wanted in command["starttls"]:
                plain.sendall(said.encode())
                read_until(plain, wanted)
        stream = context.wrap_socket(
            plain, server_hostname=command["name"], session=session, suppress_ragged_eofs=False
        )
        stream.sendall(base64.b64decode(command["say"]))
        answer = read_until(stream, command["until"])
        session = stream.session
        names = [name for _, name in stream.getpeercert()["subjectAltName"]]
        told = {
            "version": stream.version(),
            "alpn": stream.selected_alpn_protocol(),
            "reused": stream.session_reused,
            "names": names,
            "answer": answer.decode("latin-1"),
        }
        stream.sendall(base64.b64decode(command["leave"]))
        told["end"] = ending(stream)
        print(json.dumps(told), flush=True)
