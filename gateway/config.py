"""The configuration file: read, checked and written by the one schema in config_schema."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from gateway import config_rules
from gateway.config_schema import Config, RoleName, Section
from gateway.errors import ConfigurationError
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Malformed

__all__ = ["Config", "RoleName", "check", "load", "render", "with_overrides"]

_SIZE = re.compile(r"([0-9]{1,19})\s*(B|KiB|MiB|GiB|TiB)?\Z")
_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Return the checked configuration in `path`, after "section.key=value" overrides. Raises ConfigurationError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: does not exist; name it with -c, or make one with `p2pmail init`") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, numbers without end
        raise ConfigurationError(f"{path}: not a TOML file: {error}") from error
    return check(with_overrides(raw, overrides), str(path))


def with_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `raw` with each "section.key=value" put in; a value is TOML, else a string. Raises ConfigurationError."""
    merged = {section: dict(values) if isinstance(values, dict) else values for section, values in raw.items()}
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise ConfigurationError(f"--set {override}: not of the form section.key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text
        keys = merged.setdefault(section, {})
        if not isinstance(keys, dict):
            raise ConfigurationError(f"--set {override}: the file has a value at {section}, which is a section")
        keys[key] = value
    return merged


def check(raw: dict[str, Any], where: str) -> Config:
    """Return `raw` as a Config. Raises ConfigurationError that names `where`, the key and a likely spelling."""
    _known_keys(raw, where)
    try:
        config = msgspec.convert(_parsed(raw, where), Config)
    except msgspec.ValidationError as error:
        message = str(error)
        key = message.partition("`$.")[2].rstrip("`")
        raise ConfigurationError(f"{where}: {key or 'value'}: {message.partition(' - at ')[0]}") from error
    try:
        return config_rules.applied(config)
    except config_rules.Broken as broken:
        raise ConfigurationError(f"{where}: {broken}") from broken


def render(config: Config) -> str:
    """Return `config` as a TOML file with every key and its comment."""
    lines = ["# p2pmail: every key with its comment. `p2pmail run --set section.key=value` overrides one for a run."]
    for section, kind in _sections().items():
        values = getattr(config, section)
        lines += ["", f"# {(kind.__doc__ or '').splitlines()[0]}", f"[{section}]"]
        for name, _, meta in _fields(kind):
            lines.append(f"{name} = {_toml(getattr(values, name), meta)}  # {meta.description}")
    return "\n".join(lines) + "\n"


def _toml(value: object, meta: Meta) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item, meta) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        for unit in ("TiB", "GiB", "MiB", "KiB") if meta.extra else ():
            if value and value % _UNITS[unit] == 0:
                return f'"{value // _UNITS[unit]} {unit}"'
        return str(value)
    return json.dumps(str(value), ensure_ascii=False)  # without control characters a TOML string is a JSON string


def _sections() -> dict[str, type[Section]]:
    return {field.name: type(field.default) for field in msgspec.structs.fields(Config)}


def _fields(section: type[Section]) -> Iterator[tuple[str, Any, Meta]]:
    """Yield name, type and Meta of every key of `section`, in the order written."""
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        kind, *metas = get_args(hints[field.name])
        yield field.name, kind, next(meta for meta in metas if isinstance(meta, Meta))


def _parsed(raw: dict[str, Any], where: str) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for section, values in raw.items():
        kinds = {name: (kind, meta) for name, kind, meta in _fields(_sections()[section])}
        parsed[section] = {}
        for key, value in values.items():
            try:
                parsed[section][key] = _parse(*kinds[key], value)
            except (Malformed, ValueError) as error:
                raise ConfigurationError(f"{where}: {section}.{key}: {error}") from error
    return parsed


def _parse(kind: Any, meta: Meta, value: Any) -> Any:
    """Return `value` with sizes as octets and endpoints taken apart; what has another type is left to msgspec.

    Raises Malformed, ValueError.
    """
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise Malformed('a list is wanted, as in ["…"]')
        return [_parse(get_args(kind)[0], meta, item) for item in value]
    if isinstance(value, str) and _UNPRINTABLE.search(value):
        raise Malformed(f"{value[:80]!a} has control characters or is no Unicode text")
    if kind is Endpoint:
        endpoint = Endpoint.parse(value if isinstance(value, str) else repr(value))
        return {"host": endpoint.host, "port": endpoint.port}
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise Malformed(f"{value!r} is none of {', '.join(get_args(kind))}")
    if meta.extra and isinstance(value, str):
        match = _SIZE.match(value)
        if match is None:
            raise Malformed(f'{value!r} is not a size like 1048576 or "50 MiB"')
        return int(match.group(1)) * _UNITS[match.group(2)]
    return value


def _known_keys(raw: dict[str, Any], where: str) -> None:
    sections = _sections()
    for section, values in raw.items():
        if section not in sections:
            raise ConfigurationError(f"{where}: unknown section [{section}]{_suggest(section, list(sections))}")
        if not isinstance(values, dict):
            raise ConfigurationError(f"{where}: {section}: is a section, not a value")
        keys = [name for name, _, _ in _fields(sections[section])]
        for key in values:
            if key not in keys:
                raise ConfigurationError(f"{where}: unknown key {section}.{key}{_suggest(key, keys, section + '.')}")


def _suggest(word: str, known: list[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; known: {', '.join(known)}"
