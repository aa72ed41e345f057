"""``rune plugin``: new, check, test, run-local, install and remove, as an author types them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from lmm.contract import spec_validator
from tests.support.errors import error_of, reason


@pytest.fixture
def author(rune: Any) -> Any:
    """``rune`` in a folder with one new plugin, disk-free."""
    assert rune("plugin", "new", "disk-free", "-q").code == 0
    return rune


def statuses(document: Any) -> dict[str, str]:
    return {one["check"]: one["status"] for one in document["findings"]}


def test_a_new_plugin_passes_and_runs(author: Any) -> None:
    assert author("plugin", "check", "plugins/disk-free").text == (
        "ok: disk-free 0.1.0 offers disk.free\n"
    )
    done = author("plugin", "test", "plugins/disk-free")
    assert (done.code, done.text) == (0, "ok: disk-free 0.1.0 passes\n")
    assert "skipped: secrets: it has no text parameter" in done.stderr
    (author.folder / "some").mkdir()
    author.write("some/file", "")
    done = author("run", "disk.free", "-p", f"path={author.folder}/some", "-o", "json")
    assert done.document["results"][0]["output_data"] == {"entries": 1}


def test_new_tells_its_files(rune: Any) -> None:
    done = rune("plugin", "new", "x", "--lang", "python", "--into", "here", "-o", "json")
    document = done.document
    assert (document["folder"], document["built"]) == ("here/x", True)
    assert all((rune.folder / file).is_file() for file in document["files"])
    assert "try it: rune plugin test here/x" in done.stderr
    assert rune("plugin", "new", "x", "--into", "here").code == 2
    assert rune("plugin", "new", "x", "--lang", "cobol").code == 2


def test_a_plugin_that_fails_is_told_with_a_remedy(author: Any) -> None:
    script = (author.folder / "plugins/disk-free/main.sh").read_text()
    author.write("plugins/disk-free/main.sh", script.replace("exit 3", "exit 4"))
    done = author("plugin", "test", "plugins/disk-free", "--only", "case missing")
    assert done.code == 1
    assert done.text.startswith("failed   disk.free case missing: invalid_output: the plugin wrote")
    assert done.text.splitlines()[1].startswith("         Exit 0 with a payload")
    done = author("plugin", "test", "disk-free", "-o", "json")
    assert done.code == 1
    failed = {name for name, status in statuses(done.document).items() if status == "failed"}
    assert failed == {"case missing", "exit-code", "huge", "unicode"}
    assert done.document["summary"]["failed"] == 4
    done = author("plugin", "test", "disk-free", "-o", "csv", "--only", "exit-code")
    assert done.text.splitlines()[0] == "plugin,check,action,status,what,remedy"


def test_check_fails_without_running_anything(author: Any) -> None:
    author.write("plugins/disk-free/main.sh", 'touch ran\nfor f in $(ls); do echo "$f"; done; if\n')
    done = author("plugin", "check", "disk-free", "-o", "json")
    assert done.code == 1
    assert statuses(done.document)["script"] == "failed"
    assert not (author.folder / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check", "disk-fre"], "did you mean 'disk-free'?"),
        (["test", "disk-free", "--only", "unicod"], "did you mean 'unicode'?"),
        (["test", "disk-free", "--transport", "ssh"], "--transport needs -t"),
        (["test", "disk-free", "-t", "127.0.0.1:1"], "127.0.0.1:1: "),
        (["run-local", "disk-free", "--case", "thre"], "did you mean 'three'?"),
        (["run-local", "disk-free", "--action", "x"], "disk-free has no action 'x'"),
        (["run-local", "disk-free", "-p", "path=relative"], "does not match"),
        (["install", "nowhere"], "is neither a folder nor a tarball"),
        (["remove", "disk-free"], "'disk-free' is not installed"),
    ],
)
def test_wrong_requests(author: Any, arguments: list[str], told: str) -> None:
    done = author("plugin", *arguments, "-o", "json")
    assert done.code == 2
    assert told in done.stderr
    assert not spec_validator("eps_v2").violations(done.document)


def test_ctrl_c_ends_the_kit_and_what_it_runs(author: Any) -> None:
    author.write("plugins/disk-free/main.sh", 'touch "$HOME/began"\nexec sleep 600\n')
    began = Path.home() / "began"
    with author.start("plugin", "test", "disk-free") as process:
        while not began.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"cancelled" in said


# -- run-local ---------------------------------------------------------------------------------


def test_run_local_shows_what_goes_in_and_what_comes_out(author: Any) -> None:
    done = author("plugin", "run-local", "disk-free", "--case", "three", "-o", "json")
    document = done.document
    path = document["stdin"]["payload"]["input_parameters"]["path"]
    assert not spec_validator("bpcs_input_v2").violations(document["stdin"])
    context = document["stdin"]["payload"]["context"]
    assert document["environment"] == {
        "RUNE_TARGET": "local",
        "RUNE_ACTION": document["action"],
        "RUNE_RUN_ID": context["run_id"],
        "RUNE_DEADLINE": context["deadline"],
        "RUNE_PARAM_PATH": path,
    }
    assert (document["outcome"], document["output_data"]) == ("ok", {"entries": 3})
    text = author("plugin", "run-local", "disk-free", "-p", "path=/nowhere").text
    assert '"path": "/nowhere"' in text
    assert "RUNE_PARAM_PATH=/nowhere" in text
    assert "there is no such directory" in text
    assert "failed, exit code 3" in text


def test_run_local_ends_with_the_exit_code_of_a_run(author: Any) -> None:
    for script, code in (("exit 3", 1), ("echo noise", 5), ("sleep 60", 6)):
        author.write("plugins/disk-free/main.sh", f"{script}\n")
        done = author("plugin", "run-local", "disk-free", "--timeout", "0.2" if code == 6 else "60")
        assert done.code == code


def test_run_local_shows_no_secret(rune: Any) -> None:
    schema = {"type": "object", "properties": {"token": {"type": "string", "writeOnly": True}}}
    rune.plugin("t.secret", "cat >&2; exit 3\n", input_schema=schema)
    secret = "s3cret-value"
    for output in ("table", "json"):
        arguments = ("plugin", "run-local", "t-secret", "--secret", "token=env:TOKEN", "-o", output)
        done = rune(*arguments, env={"TOKEN": secret})
        assert done.code == 1
        assert secret not in done.text + done.stderr
        assert "********" in done.text


def test_run_local_asks_before_it_destroys(rune: Any) -> None:
    rune.plugin("t.wipe", "touch wiped\n", risk="destructive")
    assert rune("plugin", "run-local", "t-wipe").code == 3
    assert rune("plugin", "run-local", "t-wipe", "--yes").code == 5


# -- install -----------------------------------------------------------------------------------


def test_install_run_and_remove(author: Any, tmp_path: Path) -> None:
    source = author.folder / "plugins" / "disk-free"
    moved = source.rename(tmp_path / "disk-free")
    assert author("run", "disk.free").code == 2
    done = author("plugin", "install", str(moved), "-o", "json")
    assert (done.code, done.document["kind"]) == (0, "folder")
    assert author("run", "disk.free").code == 0
    (row,) = (
        one
        for one in author("plugin", "list", "-o", "json").document["plugins"]
        if one["plugin"] == "disk-free"
    )
    assert (row["origin"], row["status"]) == ("installed", "ok")
    assert row["installed"]["source"] == str(moved)
    with open(Path(row["directory"]) / "main.sh", "a", encoding="utf-8") as script:
        script.write("# changed\n")
    assert "changed  installed" in author("plugin", "list").text
    assert author("plugin", "install", str(moved)).code == 2
    pinned = author("plugin", "install", str(moved), "--replace", "--sha256", "00", "-o", "json")
    assert pinned.code == 3
    assert reason(pinned) == "plugin_pin_broken"
    assert author("plugin", "install", str(moved), "--replace").code == 0
    assert "changed" not in author("plugin", "list").text
    assert author("plugin", "remove", "disk-free").text == "removed disk-free 0.1.0\n"
    assert author("run", "disk.free").code == 2


# -- on a host, and versions -------------------------------------------------------------------


def test_the_kit_on_a_host(author: Any, sshd: Any) -> None:
    author.write("inventory.yaml", sshd.inventory(1))
    names = ("case missing", "case three", "output", "orphans", "sigterm")
    only = [word for name in names for word in ("--only", name)]
    arguments = ("plugin", "test", "disk-free", "-t", "all", *only, "-o", "json")
    done = author(*arguments)
    assert done.code == 0, done.text
    assert statuses(done.document) == {**dict.fromkeys(names, "ok"), "case three": "skipped"}
    events = [one["event"] for one in author("audit", "show", "-o", "json").document["lines"]]
    assert events == ["run.admitted", "run.finished"]
    rule = "{name: never, actions: [disk.free], effect: deny}"
    author.write("rune.yaml", f"policy: {{rules: [{rule}]}}\n")
    assert author(*arguments).code == 3


def test_a_minimum_version_is_asked_for(author: Any) -> None:
    assert author("run", "disk.free", "--min-version", "0.1").code == 0
    done = author("run", "disk.free", "--min-version", "0.2", "-o", "json")
    assert done.code == 2
    error = error_of(done)
    assert error["data"]["reason"] == "no_plugin_fits"
    assert "disk-free of project is version 0.1.0, asked for is 0.2.0 or newer" in error["message"]
    done = author("run", "disk.free", "--min-version", "new")
    assert "'new' is not a version such as 1.2" in done.stderr
    plan = author("run", "disk.free", "--min-version", "0.1", "--dry-run", "-o", "json").document
    assert plan["request"]["routing"]["min_version"] == "0.1.0"


def test_the_newer_of_two_places_is_taken_if_it_must_be(author: Any) -> None:
    """The stronger place wins, but only among those that are new enough."""
    manifest = json.loads((author.folder / "plugins/disk-free/plugin.json").read_text())
    manifest |= {"module_name": "disk-free-next", "module_version": "1.3.0-rc.1"}
    author.write("more/disk-free-next/plugin.json", json.dumps(manifest))
    author.write(
        "more/disk-free-next/main.sh", (author.folder / "plugins/disk-free/main.sh").read_text()
    )
    env = {"XDG_CONFIG_HOME": str(author.folder / "config")}
    (author.folder / "config" / "rune").mkdir(parents=True)
    (author.folder / "more").rename(author.folder / "config" / "rune" / "plugins")

    def chosen(*arguments: str) -> str:
        done = author("run", "disk.free", "--dry-run", "-o", "json", *arguments, env=env)
        return str(done.document["targets"][0]["plugin"])

    assert chosen() == "disk-free 0.1.0"
    assert chosen("--min-version", "1.2") == "disk-free-next 1.3.0-rc.1"
    assert author("run", "disk.free", "--min-version", "1.3", env=env).code == 2
