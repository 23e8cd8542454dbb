"""Pieces of a body gathered until there is enough for a thread's two wake-ups to be worth it. Pure."""


class Gathered:
    """Pieces in the order they came; `enough` in octets."""

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self._pieces: list[bytes] = []
        self._octets = 0

    def add(self, piece: bytes) -> bool:
        """Keep `piece`; return whether it is time to `take`."""
        self._pieces.append(piece)
        self._octets += len(piece)
        return self._octets >= self._enough

    def take(self) -> list[bytes]:
        """Return the pieces, and begin anew."""
        pieces, self._pieces, self._octets = self._pieces, [], 0
        return pieces
