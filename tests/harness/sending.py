"""Users who send: their mail readers' submissions, and what still waits on the machines."""

import smtplib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import format_datetime, localtime, make_msgid
from typing import Any, cast

from tests.harness.machines import DOMAIN, PASSWORD, START_TIMEOUT, Machine


@dataclass(frozen=True)
class User:
    """A user with her agent."""

    address: str
    agent: Machine

    def message(self, token: str, *, author: str = "", fields: str = "") -> bytes:
        """A small mail that carries `token` in its body, complete as mail readers send it."""
        return (
            f"From: A user <{author or self.address}>\r\nTo: somebody@{DOMAIN}\r\nSubject: {token}\r\n{fields}"
            f"Date: {format_datetime(localtime())}\r\nMessage-ID: {make_msgid(domain=DOMAIN)}\r\n\r\n.{token}\r\n.\r\n"
        ).encode()

    def session(self) -> smtplib.SMTP:
        """A session that has logged in."""
        smtp = smtplib.SMTP(*self.agent.submission, local_hostname="reader.invalid", timeout=90)
        smtp.login(self.address, PASSWORD)
        return smtp

    def submit(self, content: bytes, *recipients: str, options: Sequence[str] = (), reverse_path: str = "") -> None:
        """Hand `content` to her agent; raises where it did not say 250 to everything."""
        with self.session() as smtp:
            refused = smtp.sendmail(reverse_path or self.address, recipients, content, options)
            assert not refused, refused


def wait_until(
    condition: Callable[[], bool], what: str = "", *, pause: float = 0.05, timeout: float = START_TIMEOUT
) -> None:
    """Wait until `condition` holds of other processes or threads; look at them every `pause` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(pause)


def waiting(machine: Machine) -> list[dict[str, Any]]:
    """What a machine's queue holds, owed reports included, and its outboxes with a recipient without an outcome."""
    items = cast(list[dict[str, Any]], machine.ask("queue-list"))
    return [
        item
        for item in items
        if item["where"] == "queue" or any(each["state"] == "pending" for each in item["recipients"])
    ]


def holder(machines: Sequence[Machine], recipient: str) -> Machine:
    """The one of the gateways whose queue has tried `recipient` and was put off."""
    found: list[Machine] = []

    def is_put_off() -> bool:
        found[:] = [
            machine
            for machine in machines
            for item in waiting(machine)
            if any(each["to"] == recipient and each["attempts"] for each in item["recipients"])
        ]
        return bool(found)

    wait_until(is_put_off, f"nobody has tried {recipient}")
    (machine,) = found
    return machine


def wait_until_settled(*machines: Machine, hurry: bool = False) -> None:
    """Wait until nothing waits on these machines, reports included: then nothing more is on its way from them.

    `hurry`: do as an administrator does who has no patience for the schedule.
    """

    def is_settled() -> bool:
        if hurry:
            for machine in machines:
                machine.ask("queue-retry")
        return not any(waiting(machine) for machine in machines)

    wait_until(is_settled, "mail still waits", pause=1.0 if hurry else 0.05)
