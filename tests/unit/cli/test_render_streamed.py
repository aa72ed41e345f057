"""Documents written piece by piece: the bytes are those of the whole."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lom.render.documents import csv_rows, encode
from lom.render.lazily import Lazily
from lom.render.streamed import encoded

TEXTS = st.text(max_size=20) | st.text(
    "a: #-'\"\n\t\\é😀\x85\u2028\ud800yesno0159.e+", max_size=120
)
VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
ITEMS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=4)


@given(head=st.dictionaries(st.text("abc", min_size=1), VALUES, max_size=3), items=ITEMS)
def test_a_streamed_document_is_the_whole_one(
    head: dict[str, Any], items: list[dict[str, Any]]
) -> None:
    head, items = json.loads(json.dumps([head, items]))
    document = {**head, "results": Lazily(range(len(items)), items.__getitem__)}
    whole = {**head, "results": items}
    for output, pretty in (("json", False), ("json", True), ("ndjson", False), ("yaml", False)):
        assert b"".join(encoded(document, output, pretty=pretty)) == encode(
            whole, output, pretty=pretty
        )


def test_half_a_surrogate_pair_in_a_list_is_an_escape() -> None:
    assert csv_rows([{"a": ["\ud800"]}]) == b'a\n"[""\\ud800""]"\n'
