"""How many examples a test over sockets may take: a part of what a pure property takes, in every profile."""

from typing import Final

from hypothesis import settings

OVER_SOCKETS: Final = settings(max_examples=settings().max_examples // 4)
