"""Reading remotes' replies."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.outbound.params import MAX_REPLY
from gateway.outbound.replies import parse_reply


@settings(deadline=None)
@given(st.integers(-1, 9_999), st.text(max_size=3_000))
@example(354, "go on")
def test_any_reply_becomes_one_line_with_a_status(code: int, message: str) -> None:
    """Invariant: whatever a remote says, the text is one bounded line and the status is an RFC 3463 code."""
    reply = parse_reply(code, message)
    assert len(reply.text) <= MAX_REPLY
    assert "\n" not in reply.text
    assert "\r" not in reply.text
    assert reply.status[0] in "245"  # RFC 3463 §2
    assert reply.status.count(".") == 2


def test_the_enhanced_status_is_taken_from_the_text() -> None:
    """An enhanced status of the reply's own class is the status; lines are joined."""
    reply = parse_reply(550, "5.1.1 no such\n5.1.1 user")
    assert (reply.status, reply.text, reply.permanent) == ("5.1.1", "550 5.1.1 no such 5.1.1 user", True)


def test_a_status_of_another_class_is_not_believed() -> None:
    """The code decides whether a failure is final, whatever the text says."""
    reply = parse_reply(450, "5.1.1 later")
    assert (reply.status, reply.permanent) == ("4.0.0", False)
