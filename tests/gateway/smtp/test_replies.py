"""Every reply is of the form that RFC 5321 §4.2 and RFC 2034 §4 give it, whatever failure it answers."""

import re

import pytest

from gateway.smtp import replies
from gateway.smtp.replies import Reply
from p2pcore import errors
from p2pcore.errors import Failure, PermanentFailure

CONSTANTS = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}
WITHOUT_STATUS = {"START_CONTENT"}  # RFC 2034 §4: none in 3yz
_LINE = re.compile(rb"[2-5][0-9]{2}[ -][ -~]+\r\n")
_STATUS = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}\Z")  # RFC 3463 §2


def failures(kind: type[Failure] = Failure) -> list[type[Failure]]:
    """`kind` and everything below it in the tree of failures."""
    return [kind, *(below for each in kind.__subclasses__() for below in failures(each))]


def check(reply: Reply, *, has_status: bool = True) -> None:
    """Lines of printable US-ASCII, 512 octets at most, with a status whose class is the code's."""
    lines = reply.octets.splitlines(keepends=True)
    assert all(_LINE.fullmatch(line) and len(line) <= 512 for line in lines)  # RFC 5321 §4.5.3.1.5
    assert [line[3:4] for line in lines] == [b"-"] * (len(lines) - 1) + [b" "]
    if not has_status:
        assert reply.status == ""
        return
    status = _STATUS.match(reply.status)
    assert status is not None
    assert int(status[1]) == reply.code // 100
    assert reply.octets.startswith(f"{reply.code} {reply.status} ".encode())


@pytest.mark.parametrize("name", CONSTANTS)
def test_every_reply_has_its_status(name: str) -> None:
    """An enhanced status code of the same class on 2yz, 4yz and 5yz (RFC 2034 §4)."""
    check(CONSTANTS[name], has_status=name not in WITHOUT_STATUS)


@pytest.mark.parametrize(
    "reply",
    [
        replies.goodbye("mx.example.org"),
        replies.too_large(67_108_864),
        replies.stored(2, 3, "0" * 20),
        replies.chunk_taken(10**17),
        replies.kept("queue", "0" * 20),
    ],
)
def test_replies_that_are_made_have_theirs(reply: Reply) -> None:
    """Whatever they name."""
    check(reply)


@pytest.mark.parametrize("hostname", ["mx.example.org", "d" * 63 + ".example.org"])
def test_greetings_have_none(hostname: str) -> None:
    """220, and what answers EHLO and HELO, begin with our name (RFC 5321 §4.2, RFC 2034 §4)."""
    for reply in (replies.greeting(hostname), replies.helo(hostname), replies.ehlo(hostname, ("SIZE 1", "DSN"))):
        check(reply, has_status=False)
        assert reply.octets[4:].startswith(hostname.encode())


@pytest.mark.parametrize("kind", failures())
def test_every_failure_has_a_reply(kind: type[Failure]) -> None:
    """At RCPT and after a content: temporary for what is, and after a content always, with nothing of its text."""
    failure = kind("the secret reason")
    at_recipient, at_content = replies.at_recipient(failure), replies.at_content(failure)
    for reply in (at_recipient, at_content):
        check(reply)
        assert "secret" not in reply.text
    assert at_content.code // 100 == 4  # the sender's queue still has the message
    permanent = (errors.NoSuchAddress, errors.NotOurDomain, errors.Malformed)
    assert at_recipient.code // 100 == (5 if issubclass(kind, permanent) else 4)


@pytest.mark.parametrize("kind", failures(PermanentFailure))
def test_a_gateways_refusal_stays_permanent(kind: type[PermanentFailure]) -> None:
    """With the status that it gave."""
    check(replies.refused_by_gateway(kind("x")))
