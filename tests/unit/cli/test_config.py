"""Which source of a setting wins, and what a wrong one says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lom.settings.load import load_settings
from lom.settings.values import KEYS, Settings


def load(tmp_path: Path, flags: Mapping[str, Any] | None = None, **environ: str) -> Settings:
    return load_settings(flags or {}, environ, tmp_path / "cwd", tmp_path / "home")


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "home" / ".config" / "rune" / "config.yaml"
    path.parent.mkdir(parents=True)
    (tmp_path / "cwd").mkdir()
    return path


@pytest.fixture
def project_file(tmp_path: Path, user_file: Path) -> Path:
    return tmp_path / "cwd" / "rune.yaml"


def test_defaults_need_no_file(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings == Settings(sources=settings.sources)
    assert settings.sources == dict.fromkeys(KEYS, "default")


def test_each_source_yields_to_the_stronger(
    tmp_path: Path, user_file: Path, project_file: Path
) -> None:
    user_file.write_text("concurrency: 1\noutput: yaml\ntimeout_s: 7\ncolor: always\n")
    project_file.write_text("concurrency: 2\noutput: csv\n")
    settings = load(tmp_path, {"concurrency": 3}, RUNE_OUTPUT="json", NO_COLOR="1")
    assert (settings.concurrency, settings.sources["concurrency"]) == (3, "flag")
    assert (settings.output, settings.sources["output"]) == (
        "json",
        "environment variable RUNE_OUTPUT",
    )
    assert (settings.timeout_s, settings.sources["timeout_s"]) == (7, f"{user_file}:3")
    assert (settings.color, settings.sources["color"]) == (
        "never",
        "environment variable NO_COLOR",
    )
    assert load(tmp_path).sources["output"] == f"{project_file}:2"
    assert load(tmp_path).color == "always"


def test_rune_config_replaces_both_files(tmp_path: Path, project_file: Path) -> None:
    project_file.write_text("concurrency: 2\ncolor: never\n")
    other = tmp_path / "other.yaml"
    other.write_text("concurrency: 5\n")
    settings = load(tmp_path, RUNE_CONFIG=str(other))
    assert (settings.concurrency, settings.color) == (5, "auto")


def test_xdg_config_home_moves_the_users_file(tmp_path: Path, user_file: Path) -> None:
    shelf = tmp_path / "xdg" / "rune"
    shelf.mkdir(parents=True)
    (shelf / "config.yaml").write_text("concurrency: 9\n")
    user_file.write_text("concurrency: 1\n")
    assert load(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg")).concurrency == 9


def test_paths_in_a_file_start_at_its_folder(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text("inventory: hosts.yaml\nplugin_path: [a, /b]\n")
    settings = load(tmp_path)
    assert settings.inventory == (str(user_file.parent / "hosts.yaml"),)
    assert settings.plugin_path == (str(user_file.parent / "a"), "/b")


def test_paths_in_the_environment_are_split_at_colons(tmp_path: Path) -> None:
    settings = load(tmp_path, RUNE_INVENTORY="a.yaml:b", RUNE_PLUGIN_PATH="/p::/q")
    assert settings.inventory == ("a.yaml", "b")
    assert settings.plugin_path == ("/p", "/q")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "timeout_s:\noutput: null\n"])
def test_nothing_set_is_the_default(tmp_path: Path, project_file: Path, text: str) -> None:
    project_file.write_text(text)
    assert load(tmp_path).sources == dict.fromkeys(KEYS, "default")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("concurency: 3\n", ["did you mean 'concurrency'?", "rune.yaml:1: ", "@ $.concurency"]),
        ("\nzzz: 3\n", ["known are output, inventory", "rune.yaml:2: ", "@ $.zzz"]),
        ("concurrency: 0\n", ["0 is less than the minimum of 1", "$.concurrency"]),
        ("concurrency: '8'\n", ['"8" is not a whole number', "$.concurrency"]),
        ("concurrency: true\n", ["true is not a whole number", "$.concurrency"]),
        ("timeout_s: -1\n", ["-1 is not greater than 0", "$.timeout_s"]),
        ("timeout_s: .inf\n", ['".inf" is not a number', "$.timeout_s"]),
        ("output: jsom\n", ["\"jsom\" is not 'table', 'json'", "did you mean 'json'?", "$.output"]),
        ("color: red\n", ["\"red\" is not 'auto', 'always' or 'never'", "$.color"]),
        ("plugin_path: {a: b}\n", ["a mapping is not text or a list", "$.plugin_path"]),
        ("inventory: [1]\n", ["1 is not text; put it in quotes", "$.inventory[0]"]),
        (
            "color: auto\ncolor: never\n",
            [":2:1: the key stands here a second time (first in line 1) @ $.color"],
        ),
        ("[a]: 1\n", [":1:1: a key is a plain text"]),
        ("7: 1\n", [":1: unknown key '7'", '$["7"]']),
        ("- a\n", ["must hold a mapping"]),
        ("a: [\n", ["not YAML", ":2:1: "]),
        ("a: b: c\n", ["not YAML", ":1:5: "]),
        ("color: !!python/object/apply:os.getcwd []\n", [":1:8: a tag is not read here"]),
        ("ledger: no\n", ['"no" is not true or false', "$.ledger"]),
        ("a: &a [*a]\n", ["an alias inside of itself"]),
        ("retries: -1\nzzz: 1\n", ["-1 is less than the minimum of 0", "(and 1 more)"]),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_remedy(
    tmp_path: Path, project_file: Path, text: str, parts: list[str]
) -> None:
    project_file.write_text(text)
    with pytest.raises(RequestError) as caught:
        load(tmp_path)
    assert caught.value.reason == "config_invalid"
    assert str(project_file) in caught.value.message
    for part in parts:
        assert part in caught.value.message


def test_the_documented_example_names_every_setting(tmp_path: Path, project_file: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    project_file.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    sources = load(tmp_path).sources
    assert {key for key, source in sources.items() if str(project_file) in source} == set(KEYS)


def test_a_whole_number_may_be_written_with_a_point(tmp_path: Path, project_file: Path) -> None:
    """So says JSON Schema; what counts targets is an int all the same."""
    project_file.write_text("concurrency: 8.0\n")
    assert repr(load(tmp_path).concurrency) == "8"


def test_bytes_that_are_no_text(tmp_path: Path, project_file: Path) -> None:
    project_file.write_bytes(b"output: \xff\n")
    with pytest.raises(RequestError, match="the file is not UTF-8"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"RUNE_OUTPUT": "jsn"}, "RUNE_OUTPUT is 'jsn'; it must be one of table"),
        ({"RUNE_CONFIG": "/nowhere.yaml"}, "RUNE_CONFIG names /nowhere.yaml, which is no file"),
    ],
)
def test_a_wrong_environment_is_refused(
    tmp_path: Path, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        load(tmp_path, None, **environ)
    assert caught.value.reason == "config_invalid"


def test_completion_reads_what_it_can_of_a_wrong_file(tmp_path: Path, project_file: Path) -> None:
    project_file.write_text("inventory: hosts.yaml\nconcurrency: many\nzzz: 1\n")
    settings = load_settings({}, {}, tmp_path / "cwd", tmp_path / "home", unchecked=True)
    assert settings.inventory == (str(tmp_path / "cwd" / "hosts.yaml"),)


def test_nothing_asks_pathlib_for_a_home() -> None:
    """It raises RuntimeError where there is none; ``os.path.expanduser`` leaves the ``~``."""
    root = Path(__file__).resolve().parents[3]
    files = [file for part in ("lom", "lmm") for file in (root / part).rglob("*.py")]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    assert [file for file, text in texts.items() if "Path.home(" in text] == []
    assert [file for file, text in texts.items() if ").expanduser()" in text] == []
