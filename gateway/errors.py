"""Failures of the program itself, for the person at the terminal or who logs in; mail's are in p2pcore.errors."""


class OperatorError(Exception):
    """Something the operator can put right; the text names the key, file or address, and what to do."""

    exit_code = 1


class ConfigurationError(OperatorError):
    """The configuration, a file it names or an endpoint cannot be used; nothing was started (exit code 2)."""

    exit_code = 2


class AccountClosed(Exception):
    """Name and password are right, but the mail behind them cannot be opened now: it is repaired, or should be."""
