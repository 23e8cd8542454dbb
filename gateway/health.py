"""What is wrong with the network as one machine sees it, in words for `status`. Pure; times in ms."""

from typing import Final

from p2pcore import params
from p2pcore.records import DomainRecord

REFUSED: Final = (
    "the nodes refuse this machine: its certificate is revoked, or has expired; stop it, or let it join anew"
)
SILENT_AFTER = 3 * params.HEAD_INTERVAL  # a head is up to two intervals old before a quiet machine hears the next


def of_copies(k: int, w: int, known: int) -> list[str]:
    """Return what k and w (0: no record yet) and the number of nodes known call for."""
    if k == 0:
        return ["the domain record is not known yet: mail is answered 451 until a node gives it"]
    if k == 1:
        return [
            "k = 1: every object is on one disk only; let two more nodes join (`p2pmail invite node NAME`), "
            "then `p2pmail domain set k=3 w=2`"
        ]
    if known < w:
        return [
            f"only {known} of k = {k} nodes are known: mail is answered 451 until w = {w} run; "
            "let more join (`p2pmail invite node NAME`)"
        ]
    return [f"fewer nodes are known than k = {k}: {known}"] if known < k else []


def of_clock(skew: int) -> list[str]:
    """Return what to say where the other nodes' clocks, by their median, are `skew` ahead of ours."""
    if abs(skew) <= params.CLOCK_WARNING:
        return []
    return [f"this machine's clock is {-skew / 1_000:+.0f} s from the other nodes': set it right"]


def of_gateways(address: str, waiting: int, why: str) -> list[str]:
    """Return what to say where `waiting` messages of a user reach no gateway; `why` is what her outbox met."""
    if not waiting:
        return []
    return [f"{address}: no gateway can be reached, and messages wait for one ({waiting}): {why}"]


def of_directory(record: DomainRecord | None, last_head: int, started: int, now: int) -> list[str]:
    """Return what the directory's silence means; `last_head` is when it last spoke (0: never since `started`)."""
    warnings = []
    silent = now - max(last_head, started)
    if silent > SILENT_AFTER:
        warnings.append(
            f"the directory has not been heard for {silent // params.MINUTE} minutes: revocations and other changes "
            "do not reach this machine until it runs"
        )
    if record is not None and record.next_update < now:
        warnings.append("the domain record is out of date: is the directory running?")
    return warnings
