"""p2pcore.client.gathered: pieces gathered until a thread is worth it."""

from hypothesis import given
from hypothesis import strategies as st

from p2pcore.client.gathered import Gathered


@given(st.lists(st.binary(max_size=10)), st.integers(1, 30))
def test_nothing_is_lost_and_little_is_kept(pieces: list[bytes], enough: int) -> None:
    """Invariant: what is taken is what was added, in order; what waits stays below `enough` and one piece."""
    gathered = Gathered(enough)
    taken: list[bytes] = []
    waiting = 0
    for piece in pieces:
        waiting += len(piece)
        if gathered.add(piece):
            assert waiting >= enough
            taken += gathered.take()
            waiting = 0
        assert waiting < enough
    assert taken + gathered.take() == pieces
    assert gathered.take() == []
