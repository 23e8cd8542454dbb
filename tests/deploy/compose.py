"""The compose file read, and checked against the Compose Specification as far as the file uses it."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.deploy import plain_yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
CONFIGURATION = ROOT / "config" / "compose"

Check = Callable[[Any], bool]
_NAME = re.compile(r"[a-zA-Z0-9._-]+")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/-]*:[\w][\w.-]*")
_DURATION = re.compile(r"(\d+h)?(\d+m)?(\d+s)?(\d+ms)?")
_PORT = re.compile(r"((\d{1,3}\.){3}\d{1,3}:)?\d{1,5}:\d{1,5}(/tcp|/udp)?")
_MOUNT = re.compile(r"[^:]+:/[^:]*(:ro)?")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:\d+)?")
_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")


def project() -> dict[str, Any]:
    """Return the compose file's content."""
    loaded = plain_yaml.load(COMPOSE.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def services() -> dict[str, dict[str, Any]]:
    """Return the services by name."""
    found: dict[str, dict[str, Any]] = project()["services"]
    return found


def machines() -> dict[str, dict[str, Any]]:
    """Return the services that run p2pmail for good, by name."""
    return {name: service for name, service in services().items() if service.get("command", [""])[0] in ("run", "join")}


def faults(content: Any) -> Iterator[str]:
    """Yield what breaks the specification, each with the place in the file."""
    if not isinstance(content, dict):
        yield "the file is no mapping"
        return
    structural = list(_structural(content))
    yield from structural or _dangling(content)


def _structural(content: dict[str, Any]) -> Iterator[str]:
    yield from _entries("", content, _PROJECT_KEYS)
    for section, keys in (("services", _SERVICE_KEYS), ("networks", _NETWORK_KEYS), ("volumes", {})):
        values = content.get(section)
        if not isinstance(values, dict):
            yield f"{section}: missing, or no mapping"
            continue
        for name, value in values.items():
            if not _NAME.fullmatch(name):
                yield f"{section}.{name}: not a name"
            yield from _entries(f"{section}.{name}.", {} if value is None else value, keys)


def _entries(place: str, values: Any, known: dict[str, Check]) -> Iterator[str]:
    if not isinstance(values, dict):
        yield f"{place.rstrip('.')}: no mapping"
        return
    for key, value in values.items():
        if key.startswith("x-"):
            continue
        if key not in known:
            yield f"{place}{key}: not a key of the specification that is used here"
        elif not known[key](value):
            yield f"{place}{key}: {value!r} is not what belongs there"


def _dangling(content: dict[str, Any]) -> Iterator[str]:
    """Yield references to services, networks and volumes that are not there, and addresses used twice."""
    taken: dict[str, str] = {}
    for name, service in content["services"].items():
        if not ("image" in service or "build" in service):
            yield f"services.{name}: neither image nor build"
        if "network_mode" in service and "networks" in service:
            yield f"services.{name}: network_mode and networks exclude each other"
        for other in service.get("depends_on", ()):
            if other not in content["services"] or other == name:
                yield f"services.{name}.depends_on: no other service {other}"
        for network, attached in service.get("networks", {}).items():
            yield from _attachment(name, network, attached["ipv4_address"], content["networks"], taken)
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            if not source.startswith(("./", "/")) and source not in content["volumes"]:
                yield f"services.{name}.volumes: no volume {source}"


def _attachment(
    name: str, network: str, address: str, networks: dict[str, Any], taken: dict[str, str]
) -> Iterator[str]:
    if network not in networks:
        yield f"services.{name}.networks: no network {network}"
        return
    subnets = [ipaddress.ip_network(each["subnet"]) for each in networks[network]["ipam"]["config"]]
    if not any(ipaddress.ip_address(address) in subnet for subnet in subnets):
        yield f"services.{name}.networks.{network}: {address} is outside its subnet"
    if address in taken:
        yield f"services.{name}.networks.{network}: {address} is {taken[address]}'s"
    taken[address] = name


def _matches(pattern: re.Pattern[str]) -> Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None and value != ""


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value)) and len(set(map(str, value))) == len(value)


def _mapping_of(keys: dict[str, Check], *required: str) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, dict) and not list(_entries("", value, keys)) and set(required) <= set(value)

    return check


def _each(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _string(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _network(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ipaddress.ip_network(value))
    except ValueError:
        return False


def _dependencies(value: Any) -> bool:
    condition = _mapping_of({"condition": lambda each: each in _CONDITIONS}, "condition")
    return _list_of(_string)(value) or _each(condition)(value)


def _command(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(map(_string, value))


def _test(value: Any) -> bool:
    return _command(value) and value[0] in ("CMD", "CMD-SHELL", "NONE")


_PROJECT_KEYS: dict[str, Check] = {
    "name": _matches(_PROJECT),
    "services": _each(lambda value: isinstance(value, dict)),
    "networks": lambda value: isinstance(value, dict),
    "volumes": lambda value: isinstance(value, dict),
}
_SERVICE_KEYS: dict[str, Check] = {
    "image": _matches(_IMAGE),
    "build": _string,
    "init": _flag,
    "entrypoint": _command,
    "command": _command,
    "read_only": _flag,
    "tmpfs": _list_of(_string),
    "cap_drop": _list_of(_string),
    "cap_add": _list_of(_string),
    "security_opt": _list_of(_string),
    "sysctls": _each(_number),
    "restart": _matches(_RESTART),
    "stop_grace_period": _matches(_DURATION),
    "network_mode": lambda value: value in ("none", "host", "bridge"),
    "healthcheck": _mapping_of(
        {
            "test": _test,
            "interval": _matches(_DURATION),
            "timeout": _matches(_DURATION),
            "start_period": _matches(_DURATION),
            "retries": _number,
            "disable": _flag,
        }
    ),
    "depends_on": _dependencies,
    "volumes": _list_of(_matches(_MOUNT)),
    "ports": _list_of(_matches(_PORT)),
    "networks": _each(_mapping_of({"ipv4_address": _address}, "ipv4_address")),
}
_NETWORK_KEYS: dict[str, Check] = {
    "ipam": _mapping_of({"config": _list_of(_mapping_of({"subnet": _network}, "subnet"))}, "config"),
}
