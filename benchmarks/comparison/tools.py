"""The tools that are compared, and how each is told to run one script on all hosts.

Each runs 64 hosts at a time where it can be told so. Where a tool is a command it is started twice;
where it is a library, one process runs twice.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.comparison.field import ANSWER, PARAMETERS, ROOT, Field

AT_ONCE = 64
LOOPS = ROOT / "benchmarks/loops"
# The other tools have an environment of their own: some want older libraries than RUNE takes.
RIVALS = ROOT / ".venv/rivals/bin/python"
OTHERS = str(RIVALS) if RIVALS.exists() else sys.executable

Checked = tuple[int, str]  # how many right answers; why others are none, where that is told


@dataclass(frozen=True)
class Tool:
    """One way. ``check`` counts the answers in a command's stdout; a library's loop counts itself.

    ``needs`` is the module that OTHERS must have. ``remark`` stands beside the figures.
    """

    name: str
    argv: Callable[[Field], list[str]]
    check: Callable[[str], Checked] | None = None
    needs: str = ""
    remark: str = ""


def lines_with(needle: str) -> Callable[[str], Checked]:
    return lambda out: (out.count(needle), "")


def rune_check(out: str) -> Checked:
    results = json.loads(out)["results"]
    right = sum(one["outcome"] == "ok" and one["output_data"] == PARAMETERS for one in results)
    faults = Counter(one["error"]["error"]["message"] for one in results if one.get("error"))
    return right, faults.most_common(1)[0][0] if faults else ""


def rune(transport: str, *options: str) -> Callable[[Field], list[str]]:
    def argv(field: Field) -> list[str]:
        said = [sys.executable, "-m", "lom.cli", "run", "noop", "-t", "all", "-o", "json", "-q"]
        said += [f"-p{key}={value}" for key, value in PARAMETERS.items()]
        return [*said, "-i", f"{field.folder}/inventory.yaml", "--transport", transport, *options]

    return argv


def loop(name: str, job: str = "script", python: str = OTHERS) -> Callable[[Field], list[str]]:
    return lambda field: [python, str(LOOPS / f"{name}_loop.py"), f"{field.folder}/{job}.job"]


def ssh(masters: bool) -> Callable[[Field], list[str]]:
    def argv(field: Field) -> list[str]:
        said = shlex.join(["ssh", "-T", *field.ssh_options(masters), "-l", field.user])
        once = f"{said} {{}} bash -s <{field.folder}/script"
        if len(field.hosts) == 1:
            return ["sh", "-c", "exec " + once.replace("{}", field.hosts[0])]
        # 255 is ssh's own failure, such as a refused login: again, as the loops do.
        again = f"for s in .1 .2 .4 .8 1.6 0; do {once}; [ $? = 255 ] || exit 0; sleep $s; done"
        each = ["xargs", "-a", f"{field.folder}/hosts", "-P", str(AT_ONCE), "-I", "{}"]
        return [*each, "sh", "-c", again]

    return argv


def clush(field: Field) -> list[str]:
    options = shlex.join(field.ssh_options(masters=True)).replace("%", "%%")  # it interpolates
    fed = [OTHERS, "-m", "ClusterShell.CLI.Clush", "-f", str(AT_ONCE), "-l", field.user]
    fed += ["-o", options, "-w", ",".join(field.hosts), "bash -s"]
    return ["sh", "-c", f'exec "$@" <{field.folder}/script', "sh", *fed]


def ansible(field: Field) -> list[str]:
    hosts = ",".join(field.hosts) + ","
    said = [OTHERS, "-m", "ansible", "adhoc", "all", "-i", hosts, "-f", str(AT_ONCE)]
    said += ["-u", field.user, "-m", "script", "-a", f"{field.folder}/script"]
    options = shlex.join(field.ssh_options(masters=True))
    settings = ["ANSIBLE_HOST_KEY_CHECKING=True", "ANSIBLE_SSH_RETRIES=4"]
    return ["env", *settings, f"ANSIBLE_SSH_ARGS={options}", *said]


MASTERS = "ssh processes count as client"
ANSIBLE_ANSWER = f'"stdout": {json.dumps(ANSWER)[:-1]}'
ANEW = "second logs in anew"

TOOLS = (
    Tool("rune-ssh", rune("ssh"), rune_check, remark=ANEW),
    Tool("rune-ssh-no-ledger", rune("ssh", "--no-ledger"), rune_check, remark=ANEW),
    Tool("rune-ssh-library", loop("rune", python=sys.executable)),
    Tool("rune-openssh", rune("openssh"), rune_check, remark=MASTERS),
    Tool("rune-openssh-no-ledger", rune("openssh", "--no-ledger"), rune_check, remark=MASTERS),
    Tool("libssh2", loop("libssh2", "stream"), needs="ssh2"),
    Tool("libssh2-echo", loop("libssh2", "echo"), needs="ssh2"),
    Tool("asyncssh", loop("asyncssh"), needs="asyncssh"),
    Tool("fabric", loop("fabric"), needs="fabric"),
    Tool("pyinfra", loop("pyinfra"), needs="pyinfra"),
    Tool("clush", clush, lines_with(f": {ANSWER}\n"), "ClusterShell", MASTERS),
    Tool("ansible", ansible, lines_with(ANSIBLE_ANSWER), "ansible", MASTERS),
    Tool("ssh", ssh(masters=False), lines_with(f"{ANSWER}\n"), remark=ANEW),
    Tool("ssh-masters", ssh(masters=True), lines_with(f"{ANSWER}\n"), remark=MASTERS),
)
