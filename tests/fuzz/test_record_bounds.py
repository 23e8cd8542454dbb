"""The bounds of every field of every record: what they allow is read, and one more or one less is Malformed."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from p2pcore.errors import Malformed
from p2pcore.records import Record, decode, encode
from tests.support.record_values import fixed, kinds

Case = tuple[type[Record], str, Any, bool]  # the record, its field, a value, and whether it is within bounds


def cases() -> Iterator[Case]:
    for kind in kinds():
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            for value, within in _edges(field.type, getattr(fixed(kind), field.name)):
                yield kind, field.name, value, within


def _edges(info: inspect.Type, value: Any) -> Iterator[tuple[Any, bool]]:
    """Values at and beyond the edges of a field."""
    match info:
        case inspect.BytesType() | inspect.StrType() | inspect.VarTupleType():
            yield from _sizes(info, value)
        case inspect.IntType():
            most = info.le if info.le is not None else None if info.lt is None else info.lt - 1
            least = int(info.ge or 0)
            yield from ((least, True), (least - 1, False))
            if most is not None:
                yield from ((int(most), True), (int(most) + 1, False))
        case inspect.LiteralType():
            yield "something else", False


def _sizes(info: inspect.BytesType | inspect.StrType | inspect.VarTupleType, value: Any) -> Iterator[tuple[Any, bool]]:
    piece = {inspect.BytesType: b"x", inspect.StrType: "x"}.get(type(info), value[:1])
    if info.min_length:
        yield piece * info.min_length, True
        yield piece * (info.min_length - 1), False
    if info.max_length is not None:
        yield piece * info.max_length, True
        yield piece * (info.max_length + 1), False


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case[0].__name__}.{case[1]}-{case[3]}")
def test_edges(case: Case) -> None:
    """Invariant: a field at its bound is read as it was written, one beyond it is Malformed."""
    kind, field, value, within = case
    octets = encode(msgspec.structs.replace(fixed(kind), **{field: value}))
    if within:
        assert getattr(decode(kind, octets), field) == value
    else:
        with pytest.raises(Malformed):
            decode(kind, octets)


# What no bound of its own limits is limited by what it travels in: a request (MAX_BATCH), an answer, a file
_BY_THEIR_CARRIER = {
    "AddressList.users",
    "AddressList.catch_all",
    "AddressList.postmaster",
    "BatchReply.results",
    "BatchReply.heads",
    "DuplicateKey.verdicts",
    "FetchedBody.body",
    "Identity.hpke_keys",
    "Identity.name",
    "InboxPage.acknowledged",
    "InboxPage.entries",
    "InboxPage.heads",
    "Invitation.contacts",
    "Invitation.record",
    "JoinAnswer.record",
    "OfferReply.missing",
    "OfferReply.settled",
    "Result.value",
    "Store.body",
}


def test_what_has_no_bound_is_known() -> None:
    """A new field without a bound is noticed here."""
    found = set()
    for kind in kinds():
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            match field.type:
                case inspect.BytesType() | inspect.StrType() | inspect.VarTupleType() if field.type.max_length is None:
                    found.add(f"{kind.__name__}.{field.name}")
    assert found == _BY_THEIR_CARRIER
