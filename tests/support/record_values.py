"""Values of any record, from its own field types: random ones for property tests, fixed ones for vectors."""

import hashlib
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from p2pcore import records
from p2pcore.records import Record


def kinds() -> list[type[Record]]:
    """Every record class of p2pcore.records, by name."""
    found = [
        value
        for value in vars(records).values()
        if isinstance(value, type) and issubclass(value, Record) and value is not Record
    ]
    return sorted(found, key=lambda kind: kind.__name__)


def values(kind: type[Record]) -> st.SearchStrategy[Any]:
    """Records of `kind` within the bounds of their fields."""
    return _strategy(inspect.type_info(kind))


def _strategy(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType():
            fields = {field.name: _strategy(field.type) for field in info.fields}
            return st.builds(info.cls, **fields)
        case inspect.UnionType():
            return st.one_of([_strategy(choice) for choice in info.types])
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.BytesType():
            least = info.min_length or 0
            return st.binary(min_size=least, max_size=_most(least, info.max_length, 40))
        case inspect.StrType():
            least = info.min_length or 0
            return st.text(min_size=least, max_size=_most(least, info.max_length, 20))
        case inspect.IntType():
            most = info.le if info.le is not None else (info.lt - 1 if info.lt is not None else 2**63 - 1)
            return st.integers(min_value=int(info.ge or 0), max_value=int(most))
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.VarTupleType():
            least = info.min_length or 0
            items = st.lists(_strategy(info.item_type), min_size=least, max_size=_most(least, info.max_length, 3))
            return items.map(tuple)
        case inspect.DictType():
            return st.dictionaries(_strategy(info.key_type), _strategy(info.value_type), max_size=2)
    raise AssertionError(f"no strategy for {info}")


def _most(least: int, allowed: int | None, enough: int) -> int:
    return max(least, min(enough, enough if allowed is None else allowed))


def fixed(kind: type[Record]) -> Any:
    """One record of `kind` whose every field is derived from its name; the same on every machine for ever."""
    return _fixed(inspect.type_info(kind), kind.__name__)


def _fixed(info: inspect.Type, name: str) -> Any:
    seed = hashlib.sha256(name.encode()).digest()
    match info:
        case inspect.StructType():
            return info.cls(*[_fixed(field.type, f"{name}.{field.name}") for field in info.fields])
        case inspect.UnionType():
            return _fixed(next(choice for choice in info.types if not isinstance(choice, inspect.NoneType)), name)
        case inspect.LiteralType():
            return info.values[0]
        case inspect.BytesType():
            size = max(info.min_length or 0, min(16, 16 if info.max_length is None else info.max_length))
            return (seed * (size // 32 + 1))[:size]
        case inspect.StrType():
            return name.rpartition(".")[2]
        case inspect.IntType():
            most = info.le if info.le is not None else (info.lt - 1 if info.lt is not None else 2**53)
            least = int(info.ge or 0)
            return least + int.from_bytes(seed[:6], "big") % (int(most) - least + 1)
        case inspect.BoolType():
            return True
        case inspect.VarTupleType():
            return tuple(_fixed(info.item_type, f"{name}.{n}") for n in range(max(info.min_length or 0, 2)))
        case inspect.DictType():
            return {_fixed(info.key_type, f"{name}.key"): _fixed(info.value_type, f"{name}.value")}
    raise AssertionError(f"no fixed value for {info}")


def readable(record: Record) -> Any:
    """The fields of `record` as JSON values, octets in hex."""
    return _readable(record)


def _readable(value: Any) -> Any:
    match value:
        case msgspec.Struct():
            fields = {name: _readable(getattr(value, name)) for name in value.__struct_fields__}
            return {"record": value.__struct_config__.tag, **fields}
        case bytes():
            return value.hex()
        case tuple():
            return [_readable(item) for item in value]
        case dict():
            return {key: _readable(item) for key, item in value.items()}
    return value
