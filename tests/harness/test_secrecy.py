"""Encrypted on arrival: what a mail says is in no file of any node or gateway."""

import secrets
from email.message import EmailMessage
from pathlib import Path

from tests.harness.conftest import Harness
from tests.harness.mail import Reader, send
from tests.harness.network import held, wait_until_holding


def _files_with(needles: list[bytes], directory: Path) -> list[Path]:
    """Return the files under `directory` (WAL, temporary and log files too) that contain any of `needles`."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if any(needle in path.read_bytes() for needle in needles)]


def test_no_file_of_a_node_or_gateway_contains_what_a_mail_says(harness: Harness) -> None:
    """Subject, body, attachment name and display name leave no trace in clear, small mail or large."""
    words = {part: secrets.token_hex(12) for part in ("subject", "body", "attachment", "display")}
    before = held(harness.nodes)
    for size in (0, 3 << 20):
        mail = EmailMessage()
        mail["From"] = f'"{words["display"]}" <outside@sender.example>'
        mail["To"] = harness.address
        mail["Subject"] = words["subject"]
        mail["Message-ID"] = f"<{secrets.token_hex(8)}@sender.example>"
        mail.set_content(words["body"] + "\n")
        mail.add_attachment(
            words["body"].encode() + bytes(size), maintype="application", subtype="x", filename=words["attachment"]
        )
        send(harness.gateways[0], mail.as_bytes().replace(b"\n", b"\r\n"), harness.address)
    needles = [word.encode() for word in words.values()]
    for machine in (*harness.nodes, *harness.gateways):
        assert _files_with(needles, machine.directory) == []
    harness.agent.start()
    with Reader(harness.agent, harness.address) as reader:
        reader.wait_for(2)
        assert all(words["subject"].encode() in content for content in reader.messages("INBOX"))
    wait_until_holding(before)
    for machine in (*harness.nodes, *harness.gateways, harness.agent):
        assert _files_with(needles, machine.directory) == []
