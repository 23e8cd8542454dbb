"""A large account: thousands of messages as somebody has them after some years."""

import mailbox as files
import random
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

from tests.interop.server import Server, User

COUNT = 5_000
_WORDS = ("Rechnung", "report", "Termin", "invoice", "Reise", "meeting", "Garten", "draft", "Übersicht", "vote")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def identifier(number: int) -> str:
    """The Message-ID, without brackets, of the message of this number."""
    return f"{number:05}@many.example"


def message(number: int) -> EmailMessage:
    """One of them: mostly a few lines, some with HTML as well, a few with an attachment; always the same."""
    chance = random.Random(number)
    mail = EmailMessage()
    mail["From"] = f"{chance.choice(_WORDS)} <sender{number % 50}@many.example>"
    mail["To"] = "someone@interop.test"
    mail["Subject"] = f"{chance.choice(_WORDS)} {chance.choice(_WORDS)} {number}"
    mail["Date"] = f"{_DAYS[number % 7]}, {number % 28 + 1} Jun 2026 12:00:00 +0200"
    mail["Message-ID"] = f"<{identifier(number)}>"
    text = "\n".join(" ".join(chance.choices(_WORDS, k=9)) for _ in range(chance.randint(1, 40)))
    mail.set_content(text + f"\nnumber {number}\n")
    if number % 3 == 0:
        mail.add_alternative(f"<html><body><p>{text}</p></body></html>\n", subtype="html")
    if number % 40 == 0:
        mail.add_attachment(chance.randbytes(30_000), maintype="image", subtype="png", filename=f"{number}.png")
    return mail


def fill(server: Server, user: User, directory: Path, count: int = COUNT) -> None:
    """Bring `count` messages into the user's INBOX, by `p2pmail mailbox import`; the first half of them is read."""
    source = directory / "INBOX.mbox"
    box = files.mbox(source, create=True)
    box.lock()
    for number in range(count):
        mail = files.mboxMessage(message(number))
        mail.set_from("sender@many.example", True)
        mail.set_flags("RO" if number < count // 2 else "")
        box.add(mail)
    box.flush()
    box.unlock()
    box.close()
    command = Path(sys.executable).with_name("p2pmail")
    ended = subprocess.run(
        [command, "mailbox", "import", user.address, source, "-c", server.site.config_file],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
