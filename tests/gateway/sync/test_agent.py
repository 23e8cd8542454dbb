"""gateway.sync.agent: what tells one agent of a user from another."""

from pathlib import Path

from gateway.mailbox.store import MailStore
from gateway.sync.agent import instance_of

NOW = 1_790_000_000_000


async def test_an_instance_is_made_once(tmp_path: Path) -> None:
    """It is on disk before it is used, with the time when it was made; another mailbox has another."""
    first = await MailStore.open(tmp_path / "one", bytes(32))
    made = await instance_of(first, NOW)
    await first.close()
    assert (len(made.name), made.began) == (16, NOW)
    again = await MailStore.open(tmp_path / "one", bytes(32))
    assert await instance_of(again, NOW + 1) == made
    await again.close()
    other = await MailStore.open(tmp_path / "two", bytes(32))
    assert (await instance_of(other, NOW)).name != made.name
    await other.close()


async def test_an_instance_without_a_time_began_at_no_time(tmp_path: Path) -> None:
    """A mailbox that has its instance from before times were kept warns of every other one."""
    store = await MailStore.open(tmp_path / "one", bytes(32))
    await store.set_setting("agent.instance", bytes(16))
    assert await instance_of(store, NOW) == type(await instance_of(store, NOW))(bytes(16), 0)
    await store.close()
