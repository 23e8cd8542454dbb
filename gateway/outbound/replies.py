"""What a remote said, and what it means for a recipient (RFC 5321 §4.2, RFC 3463); pure."""

import re
from dataclasses import dataclass

from gateway.outbound import params

_ENHANCED = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})(?![.\d])")  # RFC 2034 §3
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; `text` is the code and all its lines, on one line, `status` an RFC 3463 code."""

    code: int
    status: str
    text: str

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        return 500 <= self.code < 600

    @property
    def too_many_recipients(self) -> bool:
        """Whether a recipient is refused only for coming after many others (RFC 5321 §4.5.3.1.10)."""
        return self.code in (452, 552)


def parse_reply(code: int, message: str) -> Reply:
    """Return the reply of a remote; its lines are separated by LF in `message`."""
    found = _ENHANCED.match(message)
    status = f"{code // 100}.0.0" if code // 100 in (2, 4, 5) else "4.5.0"
    if found is not None and found[1] == str(code)[:1]:  # a status of another class is a slip of the remote
        status = f"{found[1]}.{int(found[2])}.{int(found[3])}"
    readable = message.encode("utf-8", "replace").decode("utf-8", "replace")
    return Reply(code, status, _SPACE.sub(" ", f"{code} {readable}").strip()[: params.MAX_REPLY])
