"""A mailbox of a hundred thousand messages: what daily work on it takes, and what memory."""

import time
from functools import partial

from bench.imap_messages import COMMON, RARE_BODY, RARE_SUBJECT, Correspondence
from bench.imap_rows import Sheet
from bench.imap_servers import Server, log_in, settle
from bench.imap_work import HEADERS

_NEWEST = 1_000
_SEED = 2


def measure_large(server: Server, count: int, mean: int, sheet: Sheet) -> None:
    """Fill INBOX by the shortest way (not measured) and work on it."""
    server.fill(Correspondence(_SEED, mean).messages(count))
    settle(server)
    at_rest = server.memory()
    with log_in(server) as client:
        sheet.time(f"{count:,}: first select", partial(client.command, "SELECT INBOX"))
        begin = time.perf_counter()
        client.command(f"UID FETCH 1:* {HEADERS}", keep=False)
        sheet.note(f"{count:,}: first sync, until all headers", time.perf_counter() - begin)
        sheet.note(f"{count:,}: first sync, until the first octet", client.first_octet - begin)
        sheet.time(f"{count:,}: select", partial(client.command, "SELECT INBOX"))
        sheet.time(f"{count:,}: flags of all", partial(client.command, "UID FETCH 1:* (FLAGS)", keep=False))
        newest = f"FETCH {max(count - _NEWEST + 1, 1)}:* {HEADERS}"
        sheet.time(f"{count:,}: headers of the newest {_NEWEST:,}", partial(client.command, newest))
        for row, key in {
            "search subject": f"SUBJECT {RARE_SUBJECT}",
            "search body": f"BODY {RARE_BODY}",
            "search body, in half of them": f"BODY {COMMON}",
        }.items():
            sheet.time(f"{count:,}: {row}", partial(client.command, f"UID SEARCH {key}"))
        sheet.time(f"{count:,}: store one flag", partial(client.command, f"STORE {count // 2} +FLAGS (\\Flagged)"))
        sheet.figure(f"{count:,}: MiB at rest, before", at_rest)
        sheet.figure(f"{count:,}: MiB at work", server.memory())
        sheet.figure(f"{count:,}: MiB, peak of one process", max(one.peak for one in server.usage().values()) / 1_024)
