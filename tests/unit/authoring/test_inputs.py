"""Made-up parameters: hard to bear, and allowed."""

from __future__ import annotations

from typing import Any

import pytest

from lmm.model import OnDisconnect
from lom.authoring import inputs
from lom.registry.manifest import Capability


def capability(**properties: Any) -> Capability:
    return Capability(
        action="t.do",
        description="",
        input_schema={"type": "object", "properties": properties, "additionalProperties": False},
        output_schema={},
        timeout_s=1,
        risk="read",
        requires=(),
        platforms=(),
        retry_safe=False,
        on_disconnect=OnDisconnect.KILL,
    )


@pytest.mark.parametrize(
    ("schema", "given", "wanted"),
    [
        ({"type": "string"}, {}, inputs.HOSTILE),
        ({"type": "string", "pattern": "^/"}, {"text": "{cwd}/log"}, f"/tmp/log{inputs.HOSTILE}"),
        ({"type": "string", "pattern": "^/", "default": "/a"}, {}, f"/a{inputs.HOSTILE}"),
        ({"type": "string", "pattern": "^/", "examples": ["/b"]}, {}, f"/b{inputs.HOSTILE}"),
        ({"type": "string", "maxLength": 30}, {}, inputs.MILD),
        ({"type": "string", "maxLength": 3}, {}, inputs.WORD),
        ({"type": ["string", "null"]}, {}, inputs.HOSTILE),
        ({"type": "string", "pattern": "^[a-z]*$"}, {}, None),
        ({"enum": ["a", "b"]}, {}, None),
        ({"type": "integer"}, {}, None),
    ],
)
def test_hostile_texts(schema: Any, given: Any, wanted: str | None) -> None:
    made = inputs.hostile(capability(text=schema), given)
    assert made == ({} if wanted is None else {"text": {"text": wanted}})


@pytest.mark.parametrize(
    ("schema", "length"),
    [
        ({"type": "string"}, inputs.HUGE_BYTES),
        ({"type": "string", "maxLength": 40_000}, 40_000),
        ({"type": "string", "pattern": "^/", "default": "/", "maxLength": 4096}, 4096),
    ],
)
def test_huge_texts_are_as_long_as_they_may_be(schema: Any, length: int) -> None:
    assert len(inputs.huge(capability(text=schema), {})["text"]["text"]) == length


def test_other_parameters_stay() -> None:
    given = {"text": "a", "number": 3}
    made = inputs.huge(capability(text={"type": "string"}, number={"type": "integer"}), given)
    assert made["text"] == {"text": "x" * inputs.HUGE_BYTES, "number": 3}


def test_a_secret_is_made_only_for_what_is_marked() -> None:
    assert inputs.with_secret(capability(text={"type": "string"}), {}) is None
    made = inputs.with_secret(capability(text={"type": "string", "writeOnly": True}), {})
    assert made is not None
    assert made[0] == "text"
    assert len(made[1]["text"]) > 20
