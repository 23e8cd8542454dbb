"""Many folders, many idle connections, and many clients that do what comes into their heads."""

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from functools import partial

from bench.imap_client import Client
from bench.imap_rows import Sheet
from bench.imap_servers import Server, log_in
from bench.imap_work import BODY, HEADERS

_FOLDERS = 200
_LISTINGS = 20
_STATUS = "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"
_COMMANDS = (
    ("NOOP", 3),
    ("UID FETCH {uid} " + BODY, 6),
    ("FETCH {seq}:* (FLAGS)", 3),
    ("FETCH {seq}:{seq} (ENVELOPE BODYSTRUCTURE)", 4),
    ("FETCH {seq}:{seq} " + HEADERS, 4),
    ("STORE {seq} +FLAGS ({flag})", 3),
    ("STORE {seq} -FLAGS ({flag})", 3),
    ("UID SEARCH UNSEEN", 1),
    ("UID SEARCH SUBJECT lighthouse", 1),
    ("STATUS Other (MESSAGES UNSEEN)", 2),
    ("COPY {seq} Other", 1),
    ("SELECT INBOX", 1),
    ("APPEND", 3),
)
_FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "work")


def measure_folders(server: Server, messages: Sequence[bytes], sheet: Sheet) -> None:
    """LIST-STATUS of many mailboxes, each with a message."""
    with log_in(server) as client:
        for number in range(_FOLDERS):
            client.command(f"CREATE folder{number:03d}")
            client.append(f"folder{number:03d}", messages[number % len(messages)])
        listing = f'LIST "" "*" RETURN (STATUS {_STATUS})'
        sheet.time(f"{_FOLDERS} folders, the first LIST-STATUS", partial(client.command, listing))

        def listings() -> None:
            for _ in range(_LISTINGS):
                client.command(listing)

        sheet.time(f"{_LISTINGS} times LIST-STATUS of {_FOLDERS} folders", listings)


def measure_idle(server: Server, connections: int, sheet: Sheet) -> None:
    """Memory of connections in IDLE."""
    with contextlib.ExitStack() as open_clients:
        for _ in range(5):  # what the first connections alone need is not a connection's
            open_clients.enter_context(log_in(server))
        before = server.memory()
        for _ in range(connections):
            client = open_clients.enter_context(log_in(server))
            client.command("SELECT INBOX")
            client.idle()
        sheet.figure(f"KiB of each of {connections} idle connections", (server.memory() - before) * 1_024 / connections)


def measure_clients(server: Server, messages: Sequence[bytes], clients: int, seconds: float, sheet: Sheet) -> None:
    """Random commands from many clients on one mailbox; what one command takes, all clients together."""
    with log_in(server) as client:
        for message in messages:
            client.append("INBOX", message)
        client.command("CREATE Other")
    counts = [0] * clients
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_play, args=(server, number, messages, until, counts)) for number in range(clients)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    sheet.note(f"a command of {clients} random clients", took / sum(counts))
    sheet.figure("commands/s of them", sum(counts) / took)


def _play(server: Server, number: int, messages: Sequence[bytes], until: float, counts: list[int]) -> None:
    draw = random.Random(number)
    commands, weights = zip(*_COMMANDS, strict=True)
    with log_in(server) as client:
        client.command("SELECT INBOX")
        while time.monotonic() < until:
            command = draw.choices(commands, weights)[0]
            seq = draw.randrange(len(messages)) + 1  # nothing is expunged: as many are always there
            if command == "APPEND":
                client.append("INBOX", draw.choice(messages))
            else:
                _say(client, command.format(seq=seq, uid=seq, flag=draw.choice(_FLAGS)))
            counts[number] += 1


def _say(client: Client, command: str) -> None:
    client.command(command, keep=False)
