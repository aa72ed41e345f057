"""Documents that are too large for memory: their last value is a list that is read item by item.

The bytes are those that ``documents.encode`` gives for the whole.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lom.render.documents import AT_ONCE, SURROGATE, encode, escaped

if TYPE_CHECKING:
    import yaml


def encoded(document: Mapping[str, Any], output: str, *, pretty: bool = False) -> Iterator[bytes]:
    """Yield a document as ``json``, ``ndjson`` or ``yaml`` in pieces.

    Its last value is a list; nothing of that is kept.
    """
    if output == "yaml":
        return gathered(_yaml(document))
    return gathered(_json(document, pretty and output == "json"))


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what many small pieces hold in fewer of them."""
    held = bytearray()
    for piece in pieces:
        held += piece
        del piece
        if len(held) >= AT_ONCE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


# -- JSON --------------------------------------------------------------------------------------


def _json(document: Mapping[str, Any], pretty: bool) -> Iterator[bytes]:
    *_, last = document
    head = encode({**document, last: []}, "json", pretty=pretty).removesuffix(
        b"]\n}\n" if pretty else b"]}\n"
    )
    yield head
    between = b"\n    " if pretty else b""
    some = False
    for item in document[last]:
        yield (b"," if some else b"") + between
        yield from _indented(item) if pretty else (encode(item, "json").removesuffix(b"\n"),)
        some = True
        del item
    yield (b"\n  ]\n}\n" if some else b"]\n}\n") if pretty else b"]}\n"


def _indented(item: Any) -> Iterator[bytes]:
    """Yield an item of a list in an object, as it stands in an indented document."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=2)
    for text in encoder.iterencode(item):
        yield escaped(text).replace("\n", "\n    ").encode()


# -- YAML --------------------------------------------------------------------------------------


def _yaml(document: Mapping[str, Any]) -> Iterator[bytes]:
    import yaml

    text = io.StringIO()
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)(
        text, default_flow_style=False, sort_keys=False, allow_unicode=True, width=100
    )
    try:
        for event in _document_events(document, dumper):
            dumper.emit(event)
            if text.tell() >= AT_ONCE:
                yield text.getvalue().encode()
                text.seek(0)
                text.truncate()
        yield text.getvalue().encode()
    finally:
        dumper.dispose()


def _document_events(document: Mapping[str, Any], dumper: Any) -> Iterator[yaml.Event]:
    import yaml

    *_, last = document
    yield yaml.StreamStartEvent()
    yield yaml.DocumentStartEvent(explicit=False)
    yield yaml.MappingStartEvent(None, "tag:yaml.org,2002:map", True, flow_style=False)
    for key, value in document.items():
        yield _scalar(key, dumper)
        if key == last:
            yield yaml.SequenceStartEvent(None, "tag:yaml.org,2002:seq", True, flow_style=False)
            for item in value:
                yield from _events(item, dumper)
                del item
            yield yaml.SequenceEndEvent()
        else:
            yield from _events(json.loads(json.dumps(value)), dumper)
    yield yaml.MappingEndEvent()
    yield yaml.DocumentEndEvent(explicit=False)
    yield yaml.StreamEndEvent()


def _events(value: Any, dumper: Any) -> Iterator[yaml.Event]:
    """Yield the events of a JSON value as yaml's own serializer makes them, one after another."""
    import yaml

    if isinstance(value, dict):
        yield yaml.MappingStartEvent(None, "tag:yaml.org,2002:map", True, flow_style=False)
        for key, item in value.items():
            yield _scalar(key, dumper)
            yield from _events(item, dumper)
        yield yaml.MappingEndEvent()
    elif isinstance(value, list):
        yield yaml.SequenceStartEvent(None, "tag:yaml.org,2002:seq", True, flow_style=False)
        for item in value:
            yield from _events(item, dumper)
        yield yaml.SequenceEndEvent()
    else:
        yield _scalar(value, dumper)


def _scalar(value: Any, dumper: Any) -> yaml.Event:
    import yaml

    if isinstance(value, str):
        value = SURROGATE.sub("\ufffd", value)
    node = dumper.yaml_representers[type(value)](dumper, value)
    implicit = tuple(
        dumper.resolve(yaml.ScalarNode, node.value, how) == node.tag
        for how in ((True, False), (False, True))
    )
    return yaml.ScalarEvent(None, node.tag, implicit, node.value, style=node.style)
