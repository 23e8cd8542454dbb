"""What an administrator may ask of the domain's directory: addresses, k and w, machines, invitations, revocations."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gateway import control, machines
from gateway.errors import OperatorError
from gateway.office import Office
from p2pcore.directory.rotation import accept_keys
from p2pcore.directory.text_forms import from_text, is_form_of, to_text
from p2pcore.endpoint import Endpoint
from p2pcore.records import ContactInfo, JoinRequest, KeyRequest

INVITED = ("node", "gateway", "user")


class DomainCommands:
    """`commands` by name; each is durable when it returns. `contacts`: the nodes that newcomers are told."""

    def __init__(self, office: Office, contacts: Callable[[], Sequence[ContactInfo]]) -> None:
        self._office = office
        self._contacts = contacts
        self.commands: dict[str, control.Handler] = {
            "alias-set": self._alias_set,
            "alias-remove": self._alias_remove,
            "alias-list": self._alias_list,
            "catch-all": self._catch_all,
            "postmaster": self._postmaster,
            "domain-set": self._domain_set,
            "revoke": self._revoke,
            "machine-list": self._machine_list,
            "machine-set": self._machine_set,
            "invite": self._invite,
            "sign": self._sign,
        }

    async def _alias_set(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._office.book.set_alias, arguments["alias"], tuple(arguments["targets"]))

    async def _alias_remove(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._office.book.remove_alias, arguments["alias"])

    async def _alias_list(self, _: dict[str, Any]) -> Any:
        book = self._office.book
        return await asyncio.to_thread(
            lambda: {"aliases": book.aliases(), "catch_all": book.catch_all(), "postmaster": book.postmaster()}
        )

    async def _catch_all(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._office.book.set_catch_all, tuple(arguments["targets"]))

    async def _postmaster(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._office.book.set_postmaster, arguments["address"])

    async def _domain_set(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._office.book.set_replication, arguments["k"], arguments["w"])

    async def _revoke(self, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(self._office.book.revoke, arguments["name"], arguments["reason"])

    async def _machine_list(self, _: dict[str, Any]) -> Any:
        return await asyncio.to_thread(machines.listed, self._office.book)

    async def _machine_set(self, arguments: dict[str, Any]) -> Any:
        endpoint = Endpoint.parse(arguments["endpoint"])
        moved = await asyncio.to_thread(self._office.book.move_machine, arguments["name"], endpoint, arguments["role"])
        return {"role": moved.role, "name": moved.name, "endpoint": str(endpoint)}

    async def _invite(self, arguments: dict[str, Any]) -> Any:
        role, name = arguments["role"], arguments["name"]
        if role not in INVITED:
            raise OperatorError(f"{role!r}: not a role to invite for; it is one of {', '.join(INVITED)}")
        invitation = await asyncio.to_thread(self._office.admissions.invite, role, name, tuple(self._contacts()))
        return {"text": to_text(invitation)}

    async def _sign(self, arguments: dict[str, Any]) -> Any:
        if is_form_of(KeyRequest, arguments["request"]):
            keys = from_text(KeyRequest, arguments["request"])
            answer = await asyncio.to_thread(accept_keys, self._office.book, keys)
            return {"text": to_text(answer), "name": keys.name, "role": "user"}
        request = from_text(JoinRequest, arguments["request"])
        answer = await asyncio.to_thread(self._office.admissions.accept, request)
        return {"text": to_text(answer), "name": request.name, "role": request.role}
