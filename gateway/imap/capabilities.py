"""What the server can do, as it says in CAPABILITY (RFC 9051 §6.1.1), each with its RFC. Listed only when complete.

Those that depend on the state (STARTTLS, LITERAL-, AUTH=…) are added by `Session.capabilities`.
"""

from types import MappingProxyType

CAPABILITIES = MappingProxyType(
    {
        "IMAP4rev1": 3501,
        "IMAP4rev2": 9051,
        "SASL-IR": 4959,
        "ID": 2971,
        "ENABLE": 5161,
        "IDLE": 2177,
        "NAMESPACE": 2342,
        "BINARY": 3516,
        "MULTIAPPEND": 3502,
        "UIDPLUS": 4315,
        "MOVE": 6851,
        "UNSELECT": 3691,
        "ESEARCH": 4731,
        "SEARCHRES": 5182,
        "WITHIN": 5032,
        "CHILDREN": 3348,
        "SPECIAL-USE": 6154,
        "CREATE-SPECIAL-USE": 6154,
        "LIST-EXTENDED": 5258,
        "LIST-STATUS": 5819,
        "STATUS=SIZE": 8438,
        "CONDSTORE": 7162,
        "QRESYNC": 7162,
        "UTF8=ACCEPT": 6855,
    }
)

BEFORE_LOGIN = MappingProxyType({"LITERAL-": 7888})  # a literal is refused above the 4,096 octets that this promises
AFTER_LOGIN = MappingProxyType({"LITERAL+": 7888})  # RFC 7888 §4: one of them, never both

# RFC 5161 §3.1: extensions that change what the client may be sent, by their names in upper case
ENABLEABLE = MappingProxyType({name.upper(): name for name in ("CONDSTORE", "QRESYNC", "UTF8=ACCEPT", "IMAP4rev2")})
