"""Documents for programs: JSON, NDJSON, YAML and CSV as UTF-8 bytes, safe on a terminal, too.

JSON and YAML hold a document as it is; a lone surrogate is written as an escape in JSON and as
U+FFFD in YAML. CSV puts each row's nested objects into columns with dotted names, lists as JSON
in one cell. In its texts control characters are spelt out (``\\x1b``), and one that a spreadsheet
would take for a formula gets an apostrophe in front.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lom.render.text import clean, flatten

# Valid inside JSON strings, yet able to steer a terminal or impossible to encode.
_RISKY = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t")


def encode(document: Any, output: str, *, pretty: bool = False) -> bytes:
    """Return one document as ``json``, ``ndjson`` (on one line) or ``yaml``."""
    if output == "yaml":
        return _yaml(document)
    indent = 2 if pretty and output == "json" else None
    separators = None if indent else (",", ":")
    text = json.dumps(
        document, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
    )
    escaped = _RISKY.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return escaped.encode() + b"\n"


def _yaml(document: Any) -> bytes:
    import yaml

    # Through JSON: plain types for the dumper, and no anchors for objects that occur twice.
    plain = json.loads(_SURROGATE.sub("\ufffd", json.dumps(document, ensure_ascii=False)))
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(plain, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
    return str(text).encode()


def csv_rows(rows: Iterable[Mapping[str, Any]], first: Iterable[str] = ()) -> bytes:
    """Return rows as CSV: the columns ``first``, then all others in the order they turn up."""
    import csv
    import io

    flat = [dict(flatten(row)) for row in rows]
    columns = list(dict.fromkeys([*first, *(column for row in flat for column in row)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    writer.writerows([_cell(row.get(column)) for column in columns] for row in flat)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        shown = _UNPRINTABLE.sub(lambda found: clean(found[0]), value)
        return f"'{shown}" if shown.startswith(_FORMULA) else shown
    return json.dumps(value, ensure_ascii=False)
