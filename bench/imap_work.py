"""The work of a mail reader on one mailbox of some thousand messages, from the first APPEND to the last EXPUNGE."""

import random
from collections.abc import Sequence
from functools import partial

from bench.imap_client import Client
from bench.imap_messages import COMMON, RARE_BODY, RARE_SUBJECT
from bench.imap_rows import Sheet
from bench.imap_servers import Server, log_in, settle

_BODIES = 500
_NOOPS = 500
_SELECTS = 200

# Thunderbird 153: its fetches of new headers and of one body
HEADERS = (
    "(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority "
    "References Newsgroups In-Reply-To Content-Type Reply-To Received)])"
)
BODY = "(UID RFC822.SIZE BODY.PEEK[])"


def measure_work(server: Server, messages: Sequence[bytes], sheet: Sheet) -> None:
    """Fill INBOX, read it in every way, and empty it."""
    with log_in(server) as client:
        sheet.time(f"append {len(messages):,} one by one", partial(_append, client, messages))
    with log_in(server) as client:
        sheet.time("select", partial(client.command, "SELECT INBOX"))
        sheet.time("search body, just appended", partial(client.command, f"UID SEARCH BODY {RARE_BODY}"))
        settle(server)
        _fetch(client, sheet)
        _search(client, sheet)
        _change(server, client, sheet)


def _append(client: Client, messages: Sequence[bytes]) -> None:
    for message in messages:
        client.append("INBOX", message)


def _fetch(client: Client, sheet: Sheet) -> None:
    sheet.time("flags of all", partial(client.command, "UID FETCH 1:* (FLAGS)"))
    sheet.time("Thunderbird's headers of all", partial(client.command, f"UID FETCH 1:* {HEADERS}", keep=False))
    sheet.time("the same again", partial(client.command, f"UID FETCH 1:* {HEADERS}", keep=False))
    both = "UID FETCH 1:* (ENVELOPE BODYSTRUCTURE)"
    sheet.time("ENVELOPE and BODYSTRUCTURE of all", partial(client.command, both, keep=False))
    sheet.time("these again", partial(client.command, both, keep=False))
    sheet.time("all bodies", partial(client.command, f"UID FETCH 1:* {BODY}", keep=False))
    uids = [int(line.split()[4].rstrip(b")")) for line in client.command("FETCH 1:* (UID)").splitlines()[:-1]]
    chosen = random.Random(1).sample(uids, min(_BODIES, len(uids)))

    def one_by_one() -> None:
        for uid in chosen:
            client.command(f"UID FETCH {uid} {BODY}", keep=False)

    sheet.time(f"{len(chosen)} bodies one by one", one_by_one)


def _search(client: Client, sheet: Sheet) -> None:
    for row, key in {
        "search subject": f"SUBJECT {RARE_SUBJECT}",
        "search body": f"BODY {RARE_BODY}",
        "search body, in half of them": f"BODY {COMMON}",
        "search text": f"TEXT {RARE_BODY}",
    }.items():
        sheet.time(row, partial(client.command, f"UID SEARCH {key}"))


def _change(server: Server, client: Client, sheet: Sheet) -> None:
    sheet.time("store a flag on all", partial(client.command, "UID STORE 1:* +FLAGS (\\Flagged)"))

    def noops() -> None:
        for _ in range(_NOOPS):
            client.command("NOOP")

    sheet.time(f"{_NOOPS} NOOPs", noops)

    def selects() -> None:
        for _ in range(_SELECTS):
            client.command("SELECT INBOX")

    sheet.time(f"{_SELECTS} re-selects", selects)
    client.command("UID STORE 1:* +FLAGS.SILENT (\\Deleted)")
    settle(server)
    sheet.time("expunge all", partial(client.command, "EXPUNGE"))
