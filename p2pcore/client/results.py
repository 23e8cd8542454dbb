"""What a node's Result means: a value, or the failure it names. Pure."""

from p2pcore.errors import Failure, by_http_status
from p2pcore.records import Result


def failure_of(result: Result) -> Failure | None:
    """Return the failure that `result` names, None for a success."""
    return None if result.status == 200 else by_http_status(result.status, result.reason)


def value_of(result: Result) -> bytes:
    """Return the value of a success. Raises the failure that `result` names."""
    failure = failure_of(result)
    if failure is not None:
        raise failure
    return result.value
