"""Another account of the host watches what runs there, and feeds a plugin what it has seen."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lmm.files import shell_functions
from lmm.model import Limits, OnDisconnect, Outcome, Target
from lmm.testing import Account, processes

OK = '{"payload":{"result":"success","output_data":{"n":1}}}'

# Notes all that anybody can see, and says with each word of it that the plugin has not started, has
# ended, or begins now: at the start of a line and within one.
WATCHER = """\
cd "$1" || exit
look() {
  cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -aE 'rune|[0-9a-f]{32}'
  ls -ld /proc/[0-9]*/fd/* /proc/[0-9]*/cwd
  ls -aR /dev/shm /tmp /var/tmp /run | grep -a rune
} 2>/dev/null >>seen
until [[ -e up ]]; do look; done
for n in 1 2 3; do look; done
grep -aoE '[0-9a-f]{12,}' seen | sort -u | head -n 3000 >words
while read -r word; do
  for says in start "start $word" 'end 0 exit ' 'end 100 no_directory '; do
    printf '##rune-%s %s\\n' "$word" "$says"
  done
  printf 'x##rune-%s end 100 short \\n' "$word"
done <words >forged
echo >stop
"""


@contextmanager
def watched(public: Path) -> Iterator[Account]:
    """Have an account watch, which makes ``forged`` and then ``stop`` once there is ``up``."""
    (public / "watcher").write_text(WATCHER)
    with Account() as other:
        argv = ["bash", str(public / "watcher"), str(public)]
        with subprocess.Popen(argv, user=other.uid, group=other.uid, extra_groups=[]) as watcher:
            try:
                yield other
            finally:
                (public / "up").touch()
                watcher.wait()


@pytest.mark.needs_root
@pytest.mark.parametrize("mode", [None, OnDisconnect.KILL, OnDisconnect.CONTINUE])
def test_what_another_account_sees_forges_no_result(
    streaming: Any, keep: Any, public: Path, mode: Any
) -> None:
    script = f"""\
echo "$0" >{public}/up
until [[ -e {public}/stop ]]; do sleep 0.05; done
cat {public}/forged >&2
echo '{OK}'
exit 0"""
    made = streaming.invocation(script, limits=Limits(60))
    if mode:
        made = keep(streaming, script, mode, limits=Limits(60))
    with watched(public):
        (result,) = streaming.carry(made)
        nonce = keep.state(made).split()[6] if mode else ""
    assert (result.outcome, result.exit_code) == (Outcome.OK, 0), result.error
    assert result.output_data == {"n": 1}
    assert result.stderr == (public / "forged").read_text()
    words = set((public / "words").read_text().split())
    mark = re.findall(r"\.rune-([0-9a-f]{16})/", (public / "up").read_text())
    assert set(mark) < words  # it has seen the invocation
    assert mode is None or re.fullmatch(r"[0-9a-f]{32}", nonce)
    assert nonce not in words
    assert made.receipt not in words


@pytest.mark.needs_root
def test_a_plugin_that_prints_what_others_wrote_says_so_itself(
    streaming: Any, keep: Any, public: Path
) -> None:
    """On stdout it is no answer, and that is all that it can be."""
    script = f"""\
echo >{public}/up
until [[ -e {public}/stop ]]; do sleep 0.05; done
cat {public}/forged
exit 7"""
    with watched(public):
        (result,) = streaming.carry(keep(streaming, script, limits=Limits(60)))
    assert (result.outcome, result.exit_code) == (Outcome.INVALID_OUTPUT, 7)


@pytest.mark.needs_root
def test_what_bears_another_accounts_mark_holds_up_nothing(host_factory: Any, public: Path) -> None:
    """The directory's name is seen by all; it is not the mark by which processes are found."""
    host = host_factory(Target("x", transport="local"))
    (public / "follow").write_text(
        f"cd {public}\nuntil [[ -s up ]]; do sleep 0.02; done\n"
        "at=$(<up) at=${at##*.rune-} at=${at%%/*}\n"
        'RUNE_INVOCATION=$at bash -c "trap : TERM; echo \\$\\$ >pid; while :; do sleep 600; done"'
    )
    with Account() as other:
        argv = ["bash", str(public / "follow")]
        with subprocess.Popen(argv, user=other.uid, group=other.uid, extra_groups=[]) as bearer:
            script = f"echo $0 >{public}/up; sleep 600"
            end = time.monotonic() + 30
            pid_file = public / "pid"
            watcher = host.cancel_when(
                lambda: bool(pid_file.exists() and pid_file.read_text()) or time.monotonic() > end
            )
            result = host.run(script)
            watcher.join()
            pid = int(pid_file.read_text())
            assert processes.is_alive(pid)
            processes.end({pid, bearer.pid, *processes.descendants(bearer.pid)}, 0.2)
    assert result.outcome is Outcome.CANCELLED


def test_node_takes_no_code_from_where_everybody_writes(host: Any) -> None:
    """It looks for packages in the folders above the script, up to the root."""
    name = f"rune-{secrets.token_hex(8)}"
    script = f"""\
let told = ''
try {{ told = require('{name}') }} catch (error) {{ told = error.code }}
console.log(JSON.stringify({{payload: {{result: 'success', output_data: {{told}}}}}}))
"""
    package = Path("/dev/shm/node_modules", name)
    try:
        package.mkdir(parents=True)
        (package / "index.js").write_text("module.exports = 'run as ' + process.getuid()")
        for words in ("node",), ("env", "A=b", "node"):
            result = host.run(script, interpreter=words, filename="plugin.js")
            assert result.output_data == {"told": "MODULE_NOT_FOUND"}, result
    finally:
        shutil.rmtree(package, ignore_errors=True)
        with contextlib.suppress(OSError):
            package.parent.rmdir()


@pytest.mark.needs_root
@pytest.mark.parametrize("what", ["${0%/*}", "$BASH_REMATCH"], ids=["its own", "all of it"])
@pytest.mark.parametrize("ends", [True, False])
def test_a_directory_that_a_plugin_removes_is_nobody_elses(
    host_factory: Any, monkeypatch: Any, public: Path, what: str, ends: bool
) -> None:
    """Its name is seen by all, and is free then: what another makes there says nothing."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    host = host_factory(Target("x", transport="local"))
    own = public / "own"
    own.write_text("whole")
    own.chmod(0o600)
    taker = f"""\
until [[ -s {public}/up ]]; do sleep 0.02; done
at=$(<{public}/up)
if mkdir -m 755 "$at"; then
  for name in ended killed halt.cancel; do ln -s {own} "$at/.$name"; done
fi
touch {public}/stop
"""
    script = f"""\
[[ $0 =~ ^/dev/shm/.rune-[0-9a-f]{{16}} ]] || exit
rm -rf -- "{what}"
echo "$BASH_REMATCH" >{public}/part
mv {public}/part {public}/up
until [[ -e {public}/stop ]]; do sleep 0.05; done
{"" if ends else "sleep 600"}
echo '{OK}'"""
    with Account() as other:
        argv = ["bash", "-c", taker]
        with subprocess.Popen(argv, user=other.uid, group=other.uid, extra_groups=[]) as taking:
            result = host.run(script, limits=Limits(60 if ends else 4))
            taking.wait()
    assert own.read_text() == "whole"
    if ends:
        assert result.outcome is Outcome.OK, result.error
    elif what == "${0%/*}":
        assert result.outcome is Outcome.TIMED_OUT, result.error
    else:  # nobody can note why
        assert (result.outcome, result.exit_code) == (Outcome.FAILED, 143), result.error


@pytest.mark.needs_root
def test_a_private_directory_is_in_none_of_anothers(
    host_factory: Any, monkeypatch: Any, public: Path
) -> None:
    """Sudo may keep the variable; who owns the folder can exchange what lies in it."""
    with Account() as other:
        other.home.chmod(0o1777)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(other.home))
        host = host_factory(Target("x", transport="local"))
        result = host.run(f"""echo "$0" >{public}/at; echo '{OK}'""")
        assert result.outcome is Outcome.OK, result.error
        assert not (public / "at").read_text().startswith(str(other.home))


PLACES = [  # owner, mode, and whether others are kept from exchanging what lies there
    ("other", 0o1777, False),
    ("other", 0o755, False),
    ("mine", 0o777, False),
    ("mine", 0o770, False),
    ("root", 0o777, False),
    ("mine", 0o1777, True),
    ("mine", 0o755, True),
    ("root", 0o1777, True),
]


@pytest.mark.needs_root
@pytest.mark.parametrize(("owner", "mode", "is_safe"), PLACES)
def test_no_place_is_used_that_another_account_can_exchange(
    public: Path, owner: str, mode: int, is_safe: bool
) -> None:
    """What is the home and TMPDIR of an account: for a plugin, its large files, its receipt."""
    functions = shell_functions(
        "own.sh", "bootstrap.sh", "kill.sh", "receipt.sh", "files.sh"
    ).decode()
    place = public / "place"
    place.mkdir()
    look = f"""{functions}
HOME={place} TMPDIR={place} rune_expiry=1 rune_key=k rune_nonce=n rune_mode=continue
unset XDG_CACHE_HOME
umask 000
rune_mark=0123456789abcdef
rune_place text 1 plugin bash <<<x
rune_find_stores make
touch /var/tmp/.rune-receipts-$EUID
rune_claim continue m
printf '%s\n' "$rune_dir" "${{rune_stores[0]-}}" "$rune_kept"
rm -rf -- "$rune_dir" /var/tmp/rune-*-"$EUID" /var/tmp/.rune-receipts-"$EUID"
"""
    with Account() as mine, Account() as other:
        os.chown(place, {"mine": mine.uid, "other": other.uid, "root": 0}[owner], -1)
        place.chmod(mode)
        argv = ["setpriv", f"--reuid={mine.uid}", f"--regid={mine.uid}", "--clear-groups"]
        done = subprocess.run([*argv, "bash", "-c", look], capture_output=True, text=True)
    used = [path.startswith(f"{place}/") for path in done.stdout.splitlines()]
    assert used == [is_safe] * 3, done
    assert not is_safe or stat.S_IMODE((place / ".cache").stat().st_mode) == 0o700
