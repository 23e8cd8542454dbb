"""When a deferred recipient is tried again; pure."""

from gateway.outbox.params import RETRY, RETRY_GATEWAYS, RETRY_LAST


def next_attempt(now: int, attempts: int, until: int, *, unreached: bool = False) -> int:
    """Return when to try again after the `attempts`th failed attempt at `now`; the last attempt is made at `until`.

    `unreached`: no gateway could be asked.
    """
    delay = RETRY[attempts - 1] if attempts <= len(RETRY) else RETRY_LAST
    if unreached:
        delay = min(delay, RETRY_GATEWAYS)
    return min(now + delay, until) if now < until else now + delay
