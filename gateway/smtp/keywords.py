"""SMTP's own words: verbs, keywords and the values that they choose from (RFC 5321 §2.4); pure."""


def keyword(text: str) -> str:
    """Return `text` as such a word is compared: in upper case, but as it is where it is not ASCII.

    str.upper() makes "S" of "ſ" and "I" of "ı": a command that nobody else between the client and us reads as one.
    """
    return text.upper() if text.isascii() else text
