"""Every case of every bundled plugin: the file says what goes in and what must come out.

``description``, ``input_parameters``, ``expect`` {``exit_code``, ``output_data`` or ``error``: a
part of what must be there}; also ``env``, ``files`` in the working directory, ``commands`` put
ahead on PATH (name to file beside the case) and ``without``, commands the host lacks. ``{cwd}``
and ``{cases}`` stand for the working directory and the folder of the cases.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KEYS = {"description", "input_parameters", "expect", "env", "files", "commands", "without"}


def test_case(case_file: Path, bench: Any, tmp_path: Path) -> None:
    raw = json.loads(case_file.read_text(encoding="utf-8"))
    places = {"{cwd}": str(tmp_path / "work"), "{cases}": str(case_file.parent)}
    case = _filled(raw, places)
    assert case["description"]
    assert set(case) <= KEYS
    (tmp_path / "work").mkdir()
    for name, text in case.get("files", {}).items():
        file = tmp_path / "work" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    answer = bench.run(
        case_file.parent.parent.name,
        case["input_parameters"],
        tmp_path,
        env=case.get("env"),
        commands={n: case_file.parent / f for n, f in case.get("commands", {}).items()},
        without=case.get("without", ()),
    )
    expect = case["expect"]
    assert answer.exit_code == expect["exit_code"], answer
    for part in ("output_data", "error"):
        if part in expect:
            _assert_holds(getattr(answer, part), expect[part], f"$.{part}")


def _assert_holds(value: Any, wanted: Any, path: str) -> None:
    """Fail unless ``value`` has all that ``wanted`` has; objects may have more."""
    if isinstance(wanted, dict):
        assert isinstance(value, dict), f"{path} is {value!r}"
        for name, inner in wanted.items():
            assert name in value, f"{path} has no {name}: {value!r}"
            _assert_holds(value[name], inner, f"{path}.{name}")
    elif isinstance(wanted, list) and isinstance(value, list):
        assert len(value) == len(wanted), f"{path} is {value!r}"
        for number, inner in enumerate(wanted):
            _assert_holds(value[number], inner, f"{path}[{number}]")
    else:
        assert type(value) is type(wanted) or isinstance(wanted, int | float), f"{path}: {value!r}"
        assert value == wanted, f"{path}: {value!r} is not {wanted!r}"


def _filled(value: Any, places: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, path in places.items():
            value = value.replace(name, path)
        return value
    if isinstance(value, list):
        return [_filled(one, places) for one in value]
    if isinstance(value, dict):
        return {name: _filled(one, places) for name, one in value.items()}
    return value
