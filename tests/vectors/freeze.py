"""Adds vectors for records that have none yet: `python -m tests.vectors.freeze`. Existing ones are never touched."""

import json
from pathlib import Path

from p2pcore.records import encode
from tests.support.record_values import fixed, kinds, readable

FILE = Path(__file__).with_name("records.json")


def main() -> None:
    """Write what is missing in records.json; a layout that has changed shows as a failing test, not here."""
    vectors = json.loads(FILE.read_text()) if FILE.exists() else {"records": {}}
    for kind in kinds():
        record = fixed(kind)
        vectors["records"].setdefault(
            record.__struct_config__.tag, {"fields": readable(record), "encoding": encode(record).hex()}
        )
    FILE.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
