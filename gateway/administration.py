"""What an administrator may ask for, the same whether a process is running here (over its socket) or not."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

from gateway import accounts, control, joining, machines, recovery, rotation
from gateway.control import NotRunning
from gateway.errors import OperatorError
from gateway.founding import open_directory
from gateway.site import Site, read_identity
from p2pcore.clock import system_clock
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.directory.directory import Directory
from p2pcore.directory.joining import Admissions
from p2pcore.directory.rotation import accept_keys
from p2pcore.directory.text_forms import from_text, is_form_of, to_text
from p2pcore.endpoint import Endpoint
from p2pcore.errors import NoSuchAddress
from p2pcore.names import canonical_address, split_address
from p2pcore.records import ContactInfo, Identity, JoinAnswer, JoinRequest, KeyRequest, PublishedVersion

INVITED = ("node", "gateway", "user")
_QUEUES = ("queue-list", "queue-show", "queue-retry", "queue-hold", "queue-remove")
_ASKING = ("status", "user-list", "machine-list", *_QUEUES)


async def _nothing(_: object) -> None:
    """Stand for the hooks where no process is running: the next start finds the change on disk."""


class Administration:
    """The commands; each is durable when it returns. `directory` is None where this machine is not the directory.

    The caller holds the site's lock.
    """

    def __init__(
        self,
        site: Site,
        directory: Directory | None,
        *,
        account_added: Callable[[str], Awaitable[None]] = _nothing,
        account_removed: Callable[[str], Awaitable[None]] = _nothing,
        password_changed: Callable[[str], Awaitable[None]] = _nothing,
        keys_changed: Callable[[str], Awaitable[None]] = _nothing,
        record_changed: Callable[[PublishedVersion], Awaitable[object]] = _nothing,
        contacts: Callable[[], Sequence[ContactInfo]] = tuple,
    ) -> None:
        self._site = site
        self._directory = directory
        self._account_added = account_added
        self._account_removed = account_removed
        self._password_changed = password_changed
        self._keys_changed = keys_changed
        self._record_changed = record_changed
        self._contacts = contacts
        self._one_at_a_time = asyncio.Lock()
        self.commands: dict[str, control.Handler] = {
            "user-add": self._user_add,
            "user-list": self._user_list,
            "user-remove": self._user_remove,
            "user-password": self._user_password,
            "user-kit": self._user_kit,
            "user-rotate": self._user_rotate,
            "user-rotated": self._user_rotated,
            "recover": self._recover,
            "alias-set": self._alias_set,
            "alias-remove": self._alias_remove,
            "catch-all": self._catch_all,
            "postmaster": self._postmaster,
            "domain-set": self._domain_set,
            "revoke": self._revoke,
            "machine-list": self._machine_list,
            "machine-set": self._machine_set,
            "invite": self._invite,
            "sign": self._sign,
            "join-request": self._join_request,
            "join-answer": self._join_answer,
        }

    async def run(self, command: str, arguments: dict[str, Any]) -> Any:
        """Carry out one command, one at a time. Raises OperatorError and p2pcore failures."""
        async with self._one_at_a_time:
            try:
                result = await self.commands[command](arguments)
                if self._directory is not None and command not in _ASKING:
                    # A user who was just added must be known here before anybody hears of it
                    await self._record_changed(await asyncio.to_thread(self._directory.current_record))
                return result
            except OSError as error:
                raise OperatorError(f"{error.filename or self._site.directory}: {error.strerror or error}") from error

    @property
    def _book(self) -> Directory:
        if self._directory is None:
            raise OperatorError(
                f"{self._site.config_file}: not the domain's directory; do this where `p2pmail init` ran"
            )
        return self._directory

    @property
    def _authority(self) -> bytes:
        return self._site.identity("directory").authority

    @property
    def _admissions(self) -> Admissions:
        return Admissions(self._book, self._authority)

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
        await self._account_added(address)
        return {"address": address, "kit": str(kit.path), "passphrase": kit.passphrase}

    def _admit(self, address: str, password: str) -> accounts.Kit:
        accounts.check_password(password)  # before the domain lists her
        directory = self._site.account_directory(address)
        keys = accounts.prepare_keys(directory, address, self._site.config.domain.name)
        certificate = self._book.add_user(
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
            authority=self._authority,
        )
        return accounts.complete(directory, identity, password)

    async def _user_list(self, _: dict[str, Any]) -> Any:
        here = self._site.account_addresses()
        if self._directory is None:
            return [{"address": address, "aliases": [], "here": True} for address in here]
        users, aliases = await asyncio.to_thread(lambda: (self._book.users(), self._book.aliases()))
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
            await asyncio.to_thread(self._book.remove_user, address)
        except NoSuchAddress:
            if address not in self._site.account_addresses():
                raise  # else a removal that a crash interrupted: it is brought to its end
        await self._account_removed(address)
        await asyncio.to_thread(accounts.retire, self._site.account_directory(address))
        return {"address": address}

    async def _user_password(self, arguments: dict[str, Any]) -> Any:
        address = self._here(arguments["address"])
        directory = self._site.account_directory(address)
        await asyncio.to_thread(accounts.set_password, directory, arguments["password"])
        await self._password_changed(address)
        return {"address": address}

    async def _user_kit(self, arguments: dict[str, Any]) -> Any:
        address = self._here(arguments["address"])
        directory = self._site.account_directory(address)
        identity = read_identity(directory / "identity", f"user {address}")
        kit = await asyncio.to_thread(accounts.write_kit, directory, identity)
        return {"address": address, "kit": str(kit.path), "passphrase": kit.passphrase}

    async def _user_rotate(self, arguments: dict[str, Any]) -> Any:
        """Give a user here new keys; where the directory is elsewhere, return the request for them instead."""
        address, compromised = self._here(arguments["address"]), bool(arguments["compromised"])
        directory = self._site.account_directory(address)
        if self._directory is None:
            if compromised:
                raise OperatorError("--compromised goes where the directory is; ask there for `p2pmail revoke`")
            return {"request": to_text(await asyncio.to_thread(rotation.request, directory, address))}
        answer = await asyncio.to_thread(rotation.admitted, directory, address, self._book, compromised=compromised)
        return await self._install_keys(address, answer)

    async def _user_rotated(self, arguments: dict[str, Any]) -> Any:
        answer = from_text(JoinAnswer, arguments["answer"])
        return await self._install_keys(self._here(arguments["address"]), answer.certificate)

    async def _install_keys(self, address: str, certificate: bytes) -> Any:
        directory = self._site.account_directory(address)
        identity = await asyncio.to_thread(rotation.install, directory, address, certificate, system_clock())
        kit = await asyncio.to_thread(accounts.write_kit, directory, identity)
        await self._keys_changed(address)
        return {"address": address, "kit": str(kit.path), "passphrase": kit.passphrase}

    def _here(self, address: str) -> str:
        address = canonical_address(address)
        if address not in self._site.account_addresses():
            raise OperatorError(f"{address}: has no account on this machine; `p2pmail user list` shows who has")
        return address

    async def _recover(self, arguments: dict[str, Any]) -> Any:
        identity = await asyncio.to_thread(recovery.opened, bytes.fromhex(arguments["kit"]), arguments["passphrase"])
        new = await asyncio.to_thread(recovery.recover_account, self._site, identity, arguments["password"])
        await (self._account_added if new else self._keys_changed)(identity.name)
        return {"address": identity.name, "new": new}

    async def _join_request(self, arguments: dict[str, Any]) -> Any:
        return {"text": await asyncio.to_thread(joining.request_account, self._site, arguments["invitation"])}

    async def _join_answer(self, arguments: dict[str, Any]) -> Any:
        joined = await asyncio.to_thread(joining.finish_account, self._site, arguments["answer"], arguments["password"])
        await self._account_added(joined.name)
        return asdict(joined)

    async def _alias_set(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._book.set_alias, arguments["alias"], tuple(arguments["targets"]))

    async def _alias_remove(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._book.remove_alias, arguments["alias"])

    async def _catch_all(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._book.set_catch_all, tuple(arguments["targets"]))

    async def _postmaster(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._book.set_postmaster, arguments["address"])

    async def _domain_set(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._book.set_replication, arguments["k"], arguments["w"])

    async def _revoke(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._book.revoke, arguments["name"], arguments["reason"])

    async def _machine_list(self, _: dict[str, Any]) -> Any:
        return await asyncio.to_thread(machines.listed, self._book)

    async def _machine_set(self, arguments: dict[str, Any]) -> Any:
        endpoint = Endpoint.parse(arguments["endpoint"])
        moved = await asyncio.to_thread(self._book.move_machine, arguments["name"], endpoint, arguments["role"])
        return {"role": moved.role, "name": moved.name, "endpoint": str(endpoint)}

    async def _invite(self, arguments: dict[str, Any]) -> Any:
        role, name = arguments["role"], arguments["name"]
        if role not in INVITED:
            raise OperatorError(f"{role!r}: not a role to invite for; it is one of {', '.join(INVITED)}")
        invitation = await asyncio.to_thread(self._admissions.invite, role, name, tuple(self._contacts()))
        return {"text": to_text(invitation)}

    async def _sign(self, arguments: dict[str, Any]) -> Any:
        if is_form_of(KeyRequest, arguments["request"]):
            keys = from_text(KeyRequest, arguments["request"])
            answer = await asyncio.to_thread(accept_keys, self._book, keys)
            return {"text": to_text(answer), "name": keys.name, "role": "user"}
        request = from_text(JoinRequest, arguments["request"])
        answer = await asyncio.to_thread(self._admissions.accept, request)
        return {"text": to_text(answer), "name": request.name, "role": request.role}


def administer(site: Site, command: str, **arguments: Any) -> Any:
    """Have `command` carried out by the process running on `site`, or right here if there is none.

    Raises OperatorError and p2pcore failures.
    """
    try:
        return control.ask(site.control_socket, command, arguments)
    except NotRunning:
        with site.locked():
            directory = open_directory(site) if site.identity_file("directory").exists() else None
            try:
                return asyncio.run(Administration(site, directory).run(command, arguments))
            finally:
                if directory is not None:
                    directory.close()
