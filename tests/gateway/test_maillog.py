"""The mail log's events and fields are an interface."""

import structlog
from structlog.testing import capture_logs

from gateway.maillog import MailLog
from p2pcore.endpoint import Endpoint


def test_events() -> None:
    """Each event has its name, and a reply's first digit decides between rejected and deferred."""
    with capture_logs() as events:
        log = MailLog(structlog.get_logger())
        log.received(
            id="a",
            client="192.0.2.1",
            tls="TLSv1.3",
            reverse_path="x@y",
            recipients=3,
            forward_paths=["a@z", "both@z"],
            message_id=b"<a\xff@y>",
            size=10,
            ms=5,
            nodes=2,
            k=3,
        )
        log.refused(reply="550 5.1.1 no such address", client="192.0.2.1", detail="<z@example.org>")
        log.refused(reply="451 4.4.0 later", client="192.0.2.1")
        log.unfinished(client="192.0.2.1", reason="timeout")
        log.failed("smtp DATA", ValueError("why"), client="192.0.2.1")
        log.started("smtp", [Endpoint("::1", 25)])
        log.stopped("smtp", 0)
    assert [event["event"] for event in events] == [
        "received", "rejected", "deferred", "unfinished", "failed", "started", "stopped",
    ]  # fmt: skip
    assert (events[0]["forward_paths"], events[0]["message_id"]) == ("a@z both@z", "<a\ufffd@y>")
    assert events[1]["reply"] == "550 5.1.1 no such address"
    assert events[4]["log_level"] == "error"
    assert events[5]["listen"] == ["[::1]:25"]
