"""Documents for programs: JSON, NDJSON, YAML and CSV as UTF-8 bytes, safe on a terminal, too.

JSON and YAML hold a document as it is; a lone surrogate is written as an escape in JSON and as
U+FFFD in YAML. CSV puts each row's nested objects into columns with dotted names, lists as JSON
in one cell. In its texts control characters are spelt out (``\\x1b``), and one that a spreadsheet
would take for a formula gets an apostrophe in front.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lom.render.text import clean, flatten

AT_ONCE = 256 * 1024  # bytes or characters, about, in one piece of a long document

# Valid inside JSON strings, yet able to steer a terminal or impossible to encode.
_RISKY = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
SURROGATE = re.compile("[\ud800-\udfff]")
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
    return escaped(text + "\n").encode()


def escaped(text: str) -> str:
    """Return JSON with escapes for what could steer a terminal or cannot be encoded."""
    return _RISKY.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _yaml(document: Any) -> bytes:
    import yaml

    # Through JSON: plain types for the dumper, and no anchors for objects that occur twice.
    plain = json.loads(SURROGATE.sub("\ufffd", json.dumps(document, ensure_ascii=False)))
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(plain, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
    return str(text).encode()


def csv_rows(rows: Iterable[Mapping[str, Any]], first: Iterable[str] = ()) -> bytes:
    """Return rows as CSV: the columns ``first``, then all others in the order they turn up."""
    return b"".join(csv_pieces(list(rows), first))


def csv_pieces(rows: Iterable[Mapping[str, Any]], first: Iterable[str] = ()) -> Iterator[bytes]:
    """Yield the CSV of rows in pieces; the rows are gone through twice, and none is kept."""
    import csv
    import io

    columns = dict.fromkeys(first)
    for row in rows:
        columns.update(dict.fromkeys(column for column, _ in flatten(row)))
        del row
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    for row in rows:
        flat = dict(flatten(row))
        writer.writerow([_cell(flat.get(column)) for column in columns])
        del row, flat
        if text.tell() >= AT_ONCE:
            yield text.getvalue().encode("utf-8", "backslashreplace")
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        shown = _UNPRINTABLE.sub(lambda found: clean(found[0]), value)
        return f"'{shown}" if shown.startswith(_FORMULA) else shown
    return json.dumps(value, ensure_ascii=False)
