"""The DNS of the outside world, as far as these tests need one: a name server in a thread."""

import socketserver
import threading
from typing import Self

from dnslib import QTYPE, RCODE, RR, TXT, DNSRecord

from p2pcore.endpoint import Endpoint

_TEXTS = {
    "flow.test.": "v=spf1 ip4:127.0.0.0/8 -all",
    "sender.example.": "v=spf1 ip4:127.0.0.0/8 -all",
    "quarantine.example.": "v=spf1 -all",
    "_dmarc.quarantine.example.": "v=DMARC1; p=quarantine",
    "reject.example.": "v=spf1 -all",
    "_dmarc.reject.example.": "v=DMARC1; p=reject",
}


class _Questions(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        packet, listener = self.request
        question = DNSRecord.parse(packet)
        name = str(question.q.qname).lower()
        reply = question.reply()
        if name not in _TEXTS:
            reply.header.rcode = RCODE.NXDOMAIN
        elif QTYPE[question.q.qtype] == "TXT":
            reply.add_answer(RR(name, QTYPE.TXT, rdata=TXT(_TEXTS[name]), ttl=60))
        listener.sendto(reply.pack(), self.client_address)


class Zone:
    """Answers from `start` to `close`."""

    def __init__(self) -> None:
        self._server = socketserver.UDPServer(("127.0.0.1", 0), _Questions)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="name server")

    @property
    def endpoint(self) -> Endpoint:
        host, port = self._server.server_address[:2]
        return Endpoint(str(host), int(port))

    def start(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
