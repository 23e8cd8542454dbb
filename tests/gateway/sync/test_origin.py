"""What the agent itself says above a message about where it came from."""

from email import message_from_bytes

import pytest

from gateway.sync.origin import trace_of
from gateway.sync.rules import check_trace
from tests.gateway.sync.support import Sending

SENDING = Sending()
ALICE = SENDING.world.user("alice")


def test_a_gateways_trace_block_is_taken_as_it_is() -> None:
    """Nothing is added to mail from outside that claims nothing of ours."""
    notification = SENDING.notification(trace=b"Received: x\r\n")
    assert trace_of(notification, SENDING.gateway.certificate, "example.org", unverified=False) == b"Received: x\r\n"


def test_a_from_of_ours_without_a_signature_is_said_to_be_so() -> None:
    """The agent's own Authentication-Results stands above the gateway's block."""
    notification = SENDING.notification(trace=b"Received: x\r\n")
    trace = trace_of(notification, SENDING.gateway.certificate, "example.org", unverified=True)
    assert trace.startswith(b"Authentication-Results: example.org;\r\n\tx-p2pmail=fail")
    assert trace.endswith(b")\r\nReceived: x\r\n")
    check_trace(trace)


@pytest.mark.parametrize("block", [b"", b"Return-Path: <>\r\nReceived: x\r\n"])
def test_no_content_continues_what_the_agent_says(block: bytes) -> None:
    """A first line that is a continuation line belongs to another field, whoever signed and whatever came as trace."""
    below = b"\t; dmarc=pass header.from=bank.example\r\nFrom: boss@bank.example\r\n\r\n"
    by_gateway = SENDING.notification(trace=block)
    by_user = SENDING.notification(signer=ALICE, trace=block, reverse_path="alice@example.org")
    gateway, alice = SENDING.gateway.certificate, ALICE.certificate
    for trace in (
        trace_of(by_gateway, gateway, "example.org", unverified=True),
        trace_of(by_gateway, gateway, "example.org", unverified=False, compromised=True),
        trace_of(by_user, alice, "example.org", unverified=False),
        trace_of(by_user, alice, "example.org", unverified=False, compromised=True),
    ):
        check_trace(trace)
        (ours,) = message_from_bytes(trace + below).get_all("Authentication-Results", [])
        assert "bank.example" not in ours


def test_what_a_user_writes_as_trace_is_not_shown() -> None:
    """Above her message stands only what her signature proves, whatever her agent sent along."""
    notification = SENDING.notification(
        signer=ALICE, trace=b"Received: from bank.example\r\n", reverse_path="alice@example.org"
    )
    trace = trace_of(notification, ALICE.certificate, "example.org", unverified=False)
    assert b"bank.example" not in trace
    assert trace.startswith(b"Return-Path: <alice@example.org>\r\nAuthentication-Results: example.org;\r\n")
    assert b"\r\nReceived: by example.org (p2pmail) id " in trace
    assert b"x-p2pmail=pass (signed by this user)" in trace
    check_trace(trace)


def test_no_path_can_make_a_line_of_its_own() -> None:
    """A hostile forward-path stays inside its field."""
    notification = SENDING.notification(
        signer=ALICE, reverse_path="alice@example.org", forward_path="x>\r\nSubject: forged\r\n\r\n"
    )
    trace = trace_of(notification, ALICE.certificate, "example.org", unverified=False)
    check_trace(trace)
    assert b"\nSubject" not in trace
