"""Which reports an attempt gives rise to, and what they say; pure (RFC 3464, RFC 3461 §6)."""

from collections.abc import Mapping, Sequence

from gateway.mail import dsn
from gateway.mail.trace import return_path
from gateway.outbox.model import Message, Outcome, Recipient


def due(
    message: Message, outcomes: Mapping[int, Outcome], now: int, delayed_after: int
) -> dict[dsn.Action, tuple[Recipient, ...]]:
    """Return whom a report is due for now, by action; nobody for a null reverse-path (RFC 5321 §4.5.5).

    Delayed is said once. Of what a gateway took, the gateway reports success (NOTIFY= was passed on).
    """
    actions: dict[dsn.Action, list[Recipient]] = {}
    for recipient in message.recipients if message.reverse_path else ():
        outcome = outcomes.get(recipient.number)
        if outcome is None:
            continue
        action = _action(recipient, outcome, late=now - message.accepted >= delayed_after)
        if action is not None and dsn.wanted(action, recipient.notify):
            actions.setdefault(action, []).append(recipient)
    return {action: tuple(recipients) for action, recipients in actions.items()}


def _action(recipient: Recipient, outcome: Outcome, *, late: bool) -> dsn.Action | None:
    match outcome.state:
        case "failed":
            return "failed"
        case "delivered":
            return outcome.success
        case "pending":
            return "delayed" if late and not recipient.delayed else None


def text(
    message: Message,
    action: dsn.Action,
    recipients: Sequence[Recipient],
    outcomes: Mapping[int, Outcome],
    *,
    domain: str,
    content: bytes,
    now: int,
    retry_until: int,
) -> bytes:
    """Return the report as a message to her own INBOX; `content` is the beginning of what it reports on.

    It is delivered here and now, with the null reverse-path (RFC 3464 §2, RFC 5321 §4.4).
    """
    numbers = "-".join(str(recipient.number) for recipient in recipients[:8])
    report = dsn.build(
        dsn.Report(
            reporting_mta=domain,
            sender=f"mailer-daemon@{domain}",
            to=message.reverse_path,
            message_id=f"<{message.id}.{action}.{numbers}.{now}@{domain}>",
            time=now,
            arrival=message.accepted,
            recipients=tuple(
                dsn.RecipientStatus(
                    recipient=recipient.forward_path,
                    action=action,
                    status=outcomes[recipient.number].status,
                    diagnostic=outcomes[recipient.number].reply,
                    remote=outcomes[recipient.number].remote,
                    original=recipient.orcpt,
                    last_attempt=now,
                    retry_until=retry_until if action == "delayed" else 0,
                )
                for recipient in recipients
            ),
            content=content,
            full=message.ret == "FULL",
            envelope_id=message.envelope_id,
        )
    )
    return return_path("").encode() + report
