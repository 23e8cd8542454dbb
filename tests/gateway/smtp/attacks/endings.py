"""What some MTA somewhere has taken for the end of a content, and what none may (SMTP smuggling, 2023).

`REFUSED`: such octets make the whole content refused. `CONTENT`: ordinary content, which ends nothing.
"""

REFUSED = {
    # a dot between line ends that are not both CRLF
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CR": b"\r.\r",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.CR": b"\r\n.\r",
    "CR.LF": b"\r.\n",
    "LF.CR": b"\n.\r",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "CRLF.LFCR": b"\r\n.\n\r",
    "LFCR.LFCR": b"\n\r.\n\r",
    "LFLF.CRLF": b"\n\n.\r\n",
    "CRLFLF.CRLF": b"\r\n\n.\r\n",
    "LFCRLF.CRLF": b"\n\r\n.\n",
    # the same with the dot stuffed: a relay that unstuffs sees what the line above it shows
    "LF..LF": b"\n..\n",
    "LF..CRLF": b"\n..\r\n",
    "CRLF..LF": b"\r\n..\n",
    "CR..CR": b"\r..\r",
    # NUL, which some readers drop and others end their strings at
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "CR NUL LF.CRLF": b"\r\0\n.\r\n",
    "CRLF.CR NUL LF": b"\r\n.\r\0\n",
    "NUL CRLF..CRLF": b"\0\r\n..\r\n",
    "CRLF.CR LF with NUL before": b"\0\r\n.\n",
    "UTF-16": "\r\n.\r\n".encode("utf-16-be"),
    # spaces and tabs with a bare line end
    "LF.SP LF": b"\n. \n",
    "LF TAB.LF": b"\n\t.\n",
    "CRLF.SP LF": b"\r\n. \n",
    "CRLF.TAB CR": b"\r\n.\t\r",
}

CONTENT = {
    "CRLF..CRLF": b"\r\n..\r\n",
    "CRLF...CRLF": b"\r\n...\r\n",
    "CRLF.SP CRLF": b"\r\n. \r\n",
    "CRLF.TAB CRLF": b"\r\n.\t\r\n",
    "CRLF SP.CRLF": b"\r\n .\r\n",
    "CRLF TAB.CRLF": b"\r\n\t.\r\n",
    "CRLF SP.SP CRLF": b"\r\n . \r\n",
    "CRLF.VT CRLF": b"\r\n.\x0b\r\n",
    "CRLF FF.CRLF": b"\r\n\x0c.\r\n",
    "CRLF.BS CRLF": b"\r\n.\x08\r\n",
    "CRLF.EOT CRLF": b"\r\n.\x04\r\n",
    "CRLF.SUB CRLF": b"\r\n.\x1a\r\n",
    "NEL.NEL": b"\x85.\x85",
    "CRLF.NEL": b"\r\n.\x85x\r\n",
    "LS.LS": "\u2028.\u2028".encode(),
    "FF.FF": b"\x0c.\x0c",
    "VT.VT": b"\x0b.\x0b",
    "RS.RS": b"\x1e.\x1e",
    "fullwidth dot": "\r\n\uff0e\r\n".encode(),
    "overlong dot": b"\r\n\xc0\xae\r\n",
    "dot with a combining mark": "\r\n.\u0301\r\n".encode(),
    "byte order mark": b"\r\n\xef\xbb\xbf.\r\n",
    "soft line break": b"=\r\n..=\r\n",
    "escaped": b"\\r\\n.\\r\\n",
    "encoded": b"=0D=0A.=0D=0A",
    "no line end": b".",
}

TRUE = b"\r\n.\r\n"  # RFC 5321 §4.1.1.4: this and nothing else
