"""What the server can do, as it says in CAPABILITY (RFC 3501 §6.1.1). Listed here only because it is complete."""

CAPABILITIES = (
    "IMAP4rev1",
    "LITERAL+",  # RFC 7888
    "SASL-IR",  # RFC 4959
    "ID",  # RFC 2971
    "ENABLE",  # RFC 5161
    "IDLE",  # RFC 2177
    "NAMESPACE",  # RFC 2342
    "UIDPLUS",  # RFC 4315
    "MOVE",  # RFC 6851
    "UNSELECT",  # RFC 3691
    "CHILDREN",  # RFC 3348
    "SPECIAL-USE",  # RFC 6154
    "CREATE-SPECIAL-USE",  # RFC 6154
    "LIST-EXTENDED",  # RFC 5258
    "LIST-STATUS",  # RFC 5819
    "STATUS=SIZE",  # RFC 8438
    "CONDSTORE",  # RFC 7162
)

# RFC 5161 §3.1: extensions that change what the client may be sent
ENABLEABLE = frozenset({"CONDSTORE"})
