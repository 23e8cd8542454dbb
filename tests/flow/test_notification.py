"""Step 4: a sealed and signed notification for each recipient."""

import smtplib
import ssl
import time

import pytest

from p2pcore.crypto.notifications import open_notification
from p2pcore.errors import Tampered
from tests.flow.conftest import Network
from tests.flow.insider import Received
from tests.flow.mta import HELO, SENDER, Mta, message
from tests.flow.reader import Reader, split


def _only(network: Network) -> Received:
    (received,) = network.waiting.received()
    return received


def test_sealed_to_her_alone(network: Network) -> None:
    """An entry is sealed to its recipient: her key opens it, and another recipient's of the same mail does not."""
    network.send(message(), "absent")
    mine, hers = _only(network), network.other.received()[0]
    assert mine.notification.inbox_key == network.waiting.certificate.inbox_key
    statement = hers.statement
    with pytest.raises(Tampered):
        open_notification(statement.notification, network.waiting.hpke_keys, statement.inbox_key, statement.signer)


def test_signed_by_the_gateway(network: Network) -> None:
    """An entry is signed by the gateway, and the notification in it names the same signer."""
    network.send(message(), "waiting")
    received = _only(network)
    assert received.certificate.role == "gateway"
    assert received.certificate.host == network.hostname
    assert received.notification.signer == received.certificate.fingerprint


def test_envelope(network: Network) -> None:
    """The notification carries the reverse-path, this recipient's forward-path and nobody else's."""
    network.send(message(), "waiting", "other")
    notification = _only(network).notification
    assert notification.reverse_path == SENDER
    assert notification.forward_path == network.waiting.address
    assert network.other.address.encode() not in notification.trace


def test_verdicts(network: Network) -> None:
    """The notification carries what the gateway saw: the client's address and name, SPF, DKIM and DMARC."""
    network.send(message(), "waiting")
    verdicts = _only(network).notification.verdicts
    assert (verdicts.client_address, verdicts.helo, verdicts.gateway) == ("127.0.0.1", HELO, network.hostname)
    assert (verdicts.spf, verdicts.dkim, verdicts.dmarc) == ("pass sender.example", "none", "none sender.example")
    assert verdicts.disposition == "deliver"


def test_trace_block(network: Network, alice: Reader) -> None:
    """What precedes the content in BODY[] is Return-Path, Received and Authentication-Results, once each, and nothing
    else.
    """
    content = message()
    network.send(content, "alice")
    lines = split(alice.message(alice.wait_for(content)), content).decode().splitlines()
    fields = [line.partition(":")[0] for line in lines if not line.startswith("\t")]
    assert fields == ["Return-Path", "Authentication-Results", "Received"]
    text = " ".join(line.strip() for line in lines)
    assert f"Return-Path: <{SENDER}> " in text
    assert f"Received: from {HELO} (unknown [127.0.0.1]) by {network.hostname} with ESMTP id " in text
    assert f" for <{network.address('alice')}>; " in text
    assert f"Authentication-Results: {network.hostname}; spf=pass smtp.mailfrom={SENDER}; dkim=none" in text


def test_original_recipient(network: Network) -> None:
    """An ORCPT that is not the forward-path goes to its recipient alone, as Original-Recipient behind the trace
    fields.
    """
    with Mta(network.smtp) as mta:
        mta.say(f"EHLO {HELO}")
        mta.say(f"MAIL FROM:<{SENDER}>")
        mta.say(f"RCPT TO:<{network.waiting.address}> ORCPT=rfc822;list@sender.example")
        mta.say(f"RCPT TO:<{network.other.address}> ORCPT=rfc822;{network.other.address}")
        mta.say("DATA")
        assert mta.content(message()).startswith("250")
    assert _only(network).notification.trace.endswith(b"Original-Recipient: rfc822; list@sender.example\r\n")
    assert b"Original-Recipient" not in network.other.received()[0].notification.trace


def test_blind_copies(network: Network) -> None:
    """Received names the recipient only where the mail has a single one: blind copies stay blind."""
    network.send(message(), "waiting")
    network.send(message(), "waiting", "other")
    single, several = network.waiting.received()
    assert f"for <{network.waiting.address}>".encode() in single.notification.trace
    assert b"for <" not in several.notification.trace


def test_null_reverse_path(network: Network) -> None:
    """A bounce keeps its null reverse-path: Return-Path is <>."""
    assert network.send(message(), "waiting", reverse_path="").startswith("250")
    notification = _only(network).notification
    assert notification.reverse_path == ""
    assert notification.trace.startswith(b"Return-Path: <>\r\n")


def test_tls(network: Network) -> None:
    """Mail that came over STARTTLS says ESMTPS in Received."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE  # as MTAs do: opportunistic
    with smtplib.SMTP(network.smtp.host, network.smtp.port, local_hostname=HELO, timeout=30) as smtp:
        smtp.starttls(context=trusting)
        smtp.sendmail(SENDER, [network.waiting.address], message())
    notification = _only(network).notification
    assert b" with ESMTPS id " in notification.trace
    assert notification.verdicts.tls.startswith("TLSv1.3 ")


def test_received_time(network: Network) -> None:
    """The notification's time is when the gateway took the mail."""
    before = time.time() * 1_000 - 1
    network.send(message(), "waiting")
    assert before <= _only(network).notification.received <= time.time() * 1_000 + 1
