"""Messages as people have them, the same for the same seed: plain, HTML, both, with attachments, of log-normal size."""

import base64
import random
from collections.abc import Iterator

RARE_SUBJECT, RARE_BODY, COMMON = "lighthouse", "marzipan", "meeting"

_START = 1_700_000_000
_STEP = 3_571  # seconds between messages
_RARE = 0.01  # of all messages
_COMMON = 0.5
_SPREAD = 1.1  # sigma of the logarithm of sizes
_LEAST_TEXT, _MOST_TEXT = 200, 12_000
_SYLLABLES = ("ba", "con", "der", "el", "fin", "gor", "hal", "in", "jo", "kel", "lum", "mar", "no", "or", "per", "qui")
_ENDINGS = ("", "s", "ed", "ing", "tion", "ly", "er")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Correspondence:
    """A source of messages whose sizes are `mean` octets on average, header and encoding included."""

    def __init__(self, seed: int, mean: int) -> None:
        self._random = random.Random(seed)
        self._mean = mean
        draw = self._random
        self._words = [
            "".join(draw.choices(_SYLLABLES, k=draw.randint(1, 3))) + draw.choice(_ENDINGS) for _ in range(3_000)
        ]
        self._weights = [1 / (rank + 5) for rank in range(len(self._words))]
        self._text = draw.choices(self._words, self._weights, k=60_000)
        self._people = [(draw.choice(self._words).title(), draw.choice(self._words)) for _ in range(200)]

    def messages(self, count: int) -> Iterator[bytes]:
        """The next `count` messages."""
        draw = self._random
        for number in range(count):
            # the mean of a log-normal is exp(mu + sigma² / 2); the header and the parts' own take some 1,500
            size = int(max(self._mean - 1_500, 100) * draw.lognormvariate(-(_SPREAD**2) / 2, _SPREAD))
            yield self._message(number, size)

    def _message(self, number: int, size: int) -> bytes:
        draw = self._random
        text = self._prose(min(max(size, _LEAST_TEXT), _MOST_TEXT))
        if draw.random() < _RARE:
            text = text[:100] + f" {RARE_BODY} " + text[100:]
        if draw.random() < _COMMON:
            text += f" {COMMON}\r\n"
        boundary = f"=_{draw.getrandbits(96):024x}"
        kind = "attachment" if size > _MOST_TEXT else draw.choice(("plain", "plain", "html", "both", "both"))
        if kind == "plain":
            content, body = 'text/plain; charset="utf-8"', text
        elif kind == "html":
            content, body = 'text/html; charset="utf-8"', _html(text)
        elif kind == "both":
            half = text[: len(text) // 2]
            content = f'multipart/alternative; boundary="{boundary}"'
            body = _multipart(boundary, (_part("text/plain", half), _part("text/html", _html(half))))
        else:
            short, attached = text[:2_000], draw.randbytes((size - 2_000) * 3 // 4)
            content = f'multipart/mixed; boundary="{boundary}"'
            body = _multipart(boundary, (_part("text/plain", short), _attachment(number, attached)))
        return (self._header(number, content) + "\r\n" + body).encode("utf-8")

    def _header(self, number: int, content: str) -> str:
        draw = self._random
        (name, local), (other, to) = draw.choice(self._people), draw.choice(self._people)
        moment = _START + number * _STEP
        day, clock = 1 + number // 24 % 28, f"{number % 24:02d}:{moment // 60 % 60:02d}:{moment % 60:02d} +0100"
        date = f"{_DAYS[number % 7]}, {day:02d} Nov 2025 {clock}"
        subject = " ".join(draw.choices(self._words, self._weights, k=draw.randint(2, 9)))
        if draw.random() < _RARE:
            subject += f" {RARE_SUBJECT}"
        if number % 5 == 0:
            subject = f"=?utf-8?B?{base64.b64encode(('Grüße: ' + subject[:40]).encode()).decode()}?="
        signature = base64.b64encode(draw.randbytes(192)).decode()
        received = "".join(
            f"Received: from mx{hop}.{local}.example (mx{hop}.{local}.example [192.0.2.{hop + 1}])\r\n"
            f"\tby in{hop}.example.org with ESMTPS id {draw.getrandbits(64):x}; {date}\r\n"
            for hop in range(2)
        )
        return (
            f"Return-Path: <{local}@{local}.example>\r\n{received}"
            f"DKIM-Signature: v=1; a=rsa-sha256; d={local}.example; s=key1;\r\n\th=from:to:subject:date;\r\n"
            f"\tb={signature}\r\n"
            f"From: {name} {local.title()} <{local}@{local}.example>\r\nTo: {other} <{to}@example.org>\r\n"
            f"Subject: {subject}\r\nDate: {date}\r\nMessage-ID: <{draw.getrandbits(80):x}@{local}.example>\r\n"
            f"In-Reply-To: <{draw.getrandbits(80):x}@example.org>\r\n"
            f"References: <{draw.getrandbits(80):x}@example.org>\r\n <{draw.getrandbits(80):x}@example.org>\r\n"
            f"MIME-Version: 1.0\r\nContent-Type: {content}\r\n"
            f"Content-Transfer-Encoding: 8bit\r\nX-Mailer: Example Mail 7.2\r\n"
        )

    def _prose(self, size: int) -> str:
        lines: list[str] = []
        start = self._random.randrange(len(self._text))
        while size > 0:
            words = [self._text[(start + step) % len(self._text)] for step in range(11)]
            lines.append(" ".join(words))
            start += 11
            size -= len(lines[-1]) + 2
        return "\r\n".join(lines) + "\r\n"


def _html(text: str) -> str:
    paragraphs = text.replace("\r\n", "</p>\r\n<p style='margin:0'>")
    return f"<html><body><p>{paragraphs}</p></body></html>\r\n"


def _part(kind: str, text: str) -> str:
    return f'Content-Type: {kind}; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}'


def _attachment(number: int, octets: bytes) -> str:
    encoded = base64.encodebytes(octets).decode("ascii").replace("\n", "\r\n")
    return (
        f'Content-Type: application/pdf; name="paper{number}.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
        f'Content-Disposition: attachment; filename="paper{number}.pdf"\r\n\r\n{encoded}'
    )


def _multipart(boundary: str, parts: tuple[str, ...]) -> str:
    return "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"
