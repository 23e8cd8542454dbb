"""What an administrator may ask about the users of a machine: accounts, passwords, keys, recovery, joining."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from gateway import accounts, control, joining, recovery, rotation
from gateway.errors import OperatorError
from gateway.office import Office
from gateway.site import Site
from p2pcore.clock import system_clock
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.directory.text_forms import from_text, to_text
from p2pcore.errors import NoSuchAddress
from p2pcore.names import canonical_address, split_address
from p2pcore.records import Identity, JoinAnswer


async def _nothing(_: str) -> None:
    """Stand for the hooks where no process is running: the next start finds the change on disk."""


@dataclass(frozen=True)
class Hooks:
    """What a running process does when an account has changed on disk; each gets the user's address."""

    account_added: Callable[[str], Awaitable[None]] = _nothing
    account_removed: Callable[[str], Awaitable[None]] = _nothing
    password_changed: Callable[[str], Awaitable[None]] = _nothing
    keys_changed: Callable[[str], Awaitable[None]] = _nothing


class AccountCommands:
    """`commands` by name; each is durable when it returns."""

    def __init__(self, site: Site, office: Office, hooks: Hooks) -> None:
        self._site = site
        self._office = office
        self._hooks = hooks
        self.commands: dict[str, control.Handler] = {
            "user-add": self._user_add,
            "user-list": self._user_list,
            "user-remove": self._user_remove,
            "user-password": self._user_password,
            "user-kit": self._user_kit,
            "user-rotate": self._user_rotate,
            "user-rotated": self._user_rotated,
            "recover": self._recover,
            "join-request": self._join_request,
            "join-answer": self._join_answer,
        }

    async def _user_add(self, arguments: dict[str, Any]) -> Any:
        address = canonical_address(arguments["address"])
        domain = self._site.config.domain
        if "agent" not in domain.roles:
            raise OperatorError("domain.roles: no agent runs here; use `p2pmail invite` for a user on another machine")
        if split_address(address)[1] != domain.name:
            raise OperatorError(f"{address}: is not in {domain.name}")
        if address in self._site.account_addresses():
            raise OperatorError(f"{address}: has an account here already")
        kit = await asyncio.to_thread(self._admit, address, arguments["password"])
        await self._hooks.account_added(address)
        return {"address": address, "kit": str(kit.path), "passphrase": kit.passphrase}

    def _admit(self, address: str, password: str) -> accounts.Kit:
        accounts.check_password(password)  # before the domain lists her
        keys = accounts.prepare_keys(self._site, address)
        certificate = self._office.book.add_user(
            address,
            SigningKey.from_bytes(keys.signing_key).public_bytes,
            HpkeKey.from_bytes(keys.hpke_keys[0]).public_bytes,
        )
        identity = Identity(
            role="user",
            domain=keys.domain,
            name=address,
            signing_key=keys.signing_key,
            hpke_keys=keys.hpke_keys,
            certificate=certificate,
            authority=self._office.authority,
        )
        return accounts.complete(self._site, identity, password)

    async def _user_list(self, _: dict[str, Any]) -> Any:
        here = self._site.account_addresses()
        if not self._office.is_here:
            return [{"address": address, "aliases": [], "here": True} for address in here]
        users, aliases = await asyncio.to_thread(lambda: (self._office.book.users(), self._office.book.aliases()))
        return [
            {
                "address": user.address,
                "aliases": sorted(alias for alias, targets in aliases.items() if user.address in targets),
                "here": user.address in here,
            }
            for user in users
            if user.state == "active"
        ]

    async def _user_remove(self, arguments: dict[str, Any]) -> Any:
        address = canonical_address(arguments["address"])
        try:
            await asyncio.to_thread(self._office.book.remove_user, address)
        except NoSuchAddress:
            if address not in self._site.account_addresses():
                raise  # else a removal that a crash interrupted: it is brought to its end
        await self._hooks.account_removed(address)
        await asyncio.to_thread(accounts.retire, self._site.account_directory(address))
        return {"address": address}

    async def _user_password(self, arguments: dict[str, Any]) -> Any:
        address = self._here(arguments["address"])
        directory = self._site.account_directory(address)
        await asyncio.to_thread(accounts.set_password, directory, arguments["password"])
        await self._hooks.password_changed(address)
        return {"address": address}

    async def _user_kit(self, arguments: dict[str, Any]) -> Any:
        address = self._here(arguments["address"])
        identity = await asyncio.to_thread(self._site.user_identity, address)
        kit = await asyncio.to_thread(accounts.write_kit, self._site, identity)
        return {"address": address, "kit": str(kit.path), "passphrase": kit.passphrase}

    async def _user_rotate(self, arguments: dict[str, Any]) -> Any:
        """Give a user here new keys; where the directory is elsewhere, return the request for them instead."""
        address, compromised = self._here(arguments["address"]), bool(arguments["compromised"])
        if not self._office.is_here:
            if compromised:
                raise OperatorError("--compromised goes where the directory is; ask there for `p2pmail revoke`")
            return {"request": to_text(await asyncio.to_thread(rotation.request, self._site, address))}
        answer = await asyncio.to_thread(
            rotation.admitted, self._site, address, self._office.book, compromised=compromised
        )
        return await self._install_keys(address, answer)

    async def _user_rotated(self, arguments: dict[str, Any]) -> Any:
        answer = from_text(JoinAnswer, arguments["answer"])
        return await self._install_keys(self._here(arguments["address"]), answer.certificate)

    async def _install_keys(self, address: str, certificate: bytes) -> Any:
        identity = await asyncio.to_thread(rotation.install, self._site, address, certificate, system_clock())
        kit = await asyncio.to_thread(accounts.write_kit, self._site, identity)
        await self._hooks.keys_changed(address)
        return {"address": address, "kit": str(kit.path), "passphrase": kit.passphrase}

    def _here(self, address: str) -> str:
        address = canonical_address(address)
        if address not in self._site.account_addresses():
            raise OperatorError(f"{address}: has no account on this machine; `p2pmail user list` shows who has")
        return address

    async def _recover(self, arguments: dict[str, Any]) -> Any:
        identity = await asyncio.to_thread(recovery.opened, bytes.fromhex(arguments["kit"]), arguments["passphrase"])
        new = await asyncio.to_thread(recovery.recover_account, self._site, identity, arguments["password"])
        await (self._hooks.account_added if new else self._hooks.keys_changed)(identity.name)
        return {"address": identity.name, "new": new}

    async def _join_request(self, arguments: dict[str, Any]) -> Any:
        return {"text": await asyncio.to_thread(joining.request_account, self._site, arguments["invitation"])}

    async def _join_answer(self, arguments: dict[str, Any]) -> Any:
        joined = await asyncio.to_thread(joining.finish_account, self._site, arguments["answer"], arguments["password"])
        await self._hooks.account_added(joined.name)
        return asdict(joined)
