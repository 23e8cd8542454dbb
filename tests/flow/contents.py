"""Contents of every odd kind that must come through as they are."""

_EIGHT_BIT = bytes(octet for octet in range(1, 256) if octet not in b"\r\n")
_MULTIPART = (
    b'Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_x"\r\n\r\npreamble\r\n'
    b"--=_x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n"
    b"--=_x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\n--=_y\r\n"
    b"--=_x\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAw==\r\n"
    b"--=_x--\r\nepilogue\r\n"
)

CONTENTS = {
    "8-bit": b"Subject: 8-bit\r\n\r\n" + _EIGHT_BIT + b"\r\n",
    "8-bit header": b"Subject: caf\xe9 \xff\xfe\r\nFrom: \xe9@sender.example\r\n\r\nbody\r\n",
    "64 KiB line": b"Subject: long line\r\n\r\n" + b"x" * 65_536 + b"\r\nend\r\n",
    "64 KiB header line": b"Subject: " + b"x" * (65_536 - 9) + b"\r\n\r\nbody\r\n",
    "leading dots": b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.x\r\n.\r\n\r\n.\r\n",
    "dot first": b".\r\n",
    "multipart": _MULTIPART,
    "broken MIME": b'Content-Type: multipart/mixed; boundary="never"\r\n\r\n--other\r\nContent-Type: ;;=\r\n\r\n\r\n',
    "empty body": b"Subject: empty body\r\n\r\n",
    "no header": b"\r\nonly a body\r\n",
    "no header and no empty line": b"neither field nor empty line\r\n",
    "header only": b"Subject: header only\r\n",
    "folded and strange fields": b"X-Folded:\r\n \r\n\tfar\r\nx:\r\n:no name\r\nno colon\r\n\r\nbody\r\n",
    "own trace fields": b"Return-Path: <x@y.example>\r\nReceived: from a by b; now\r\n\r\nbody\r\n",
    "an empty line": b"\r\n",
    "nothing": b"",
    "trailing empty lines": b"Subject: trailing\r\n\r\nbody\r\n\r\n\r\n\r\n",
    "trailing spaces": b"Subject: spaces \t \r\n\r\n \t\r\nbody \r\n\t\r\n",
}
