"""Writes new plugins from the templates in ``plugins/templates``: small ones that work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmm.contract import BASE_URI, validator_for
from lmm.errors import RequestError
from lom.documents.leftovers import walk
from lom.documents.trust import refuse_foreign
from lom.registry.files import bundled_plugins
from lom.registry.manifest import MANIFEST

_BUILD_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Language:
    """What a manifest says of a language; ``compiler`` is the program that a build needs."""

    runtime: str
    entrypoint: str
    compiler: str | None = None


LANGUAGES: Mapping[str, Language] = {
    "bash": Language("bash", "main.sh"),
    "python": Language("python3", "main.py"),
    "go": Language("binary", "main", "go"),
    "rust": Language("binary", "main", "rustc"),
    "c": Language("binary", "main", "cc"),
    "node": Language("node", "main.js"),
    "perl": Language("perl", "main.pl"),
}


def write_plugin(
    folder: Path, name: str, language: str, action: str | None = None, description: str = ""
) -> list[Path]:
    """Write a plugin into ``folder``, which must not be there; return its files.

    The action is by default the name with dots for its dashes. Raises RequestError for a name or
    an action that the contract refuses, when the folder cannot be made, and where others could
    change what is in it (``untrusted_path``).
    """
    action = action or name.replace("-", ".").replace("_", ".")
    _check("moduleName", name, "NAME")
    _check("action", action, "--action")
    chosen = LANGUAGES[language]
    words = {
        "@NAME@": name,
        "@ACTION@": action,
        "@DESCRIPTION@": description or "Counts the names in a directory",
        "@RUNTIME@": chosen.runtime,
        "@ENTRYPOINT@": chosen.entrypoint,
    }
    templates = bundled_plugins() / "templates"
    try:
        folder.mkdir(parents=True)
        _refuse_foreign(folder)
        files = [
            _write(source, folder / source.relative_to(top), words)
            for top in (templates / "common", templates / language)
            for source in walk(top)
            if source.is_file()
        ]
    except FileExistsError:
        raise RequestError(
            "invalid_request", f"{folder} is already there; choose another name or --into"
        ) from None
    except OSError as error:
        why = f"cannot write {error.filename or folder}: {error.strerror}"
        raise RequestError("local_io_error", why) from None
    return sorted(files)


def _refuse_foreign(folder: Path) -> None:
    """Who can change the folder can lead what is written elsewhere, and have `make` run more."""
    try:
        refuse_foreign(folder)
    except RequestError:
        folder.rmdir()
        raise


def build(folder: Path, language: str) -> str | None:
    """Build a plugin of a compiled language with its Makefile.

    Returns why it is not built, None if it is, or needs no build.
    """
    compiler = LANGUAGES[language].compiler
    if compiler is None:
        return None
    missing = [program for program in ("make", compiler) if not shutil.which(program)]
    if missing:
        return f"{' and '.join(missing)} not found on this machine"
    try:
        done = subprocess.run(
            ["make", "--no-print-directory", "-C", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"make was still at it after {_BUILD_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return None
    said = done.stdout.decode(errors="replace").splitlines()
    return next((line for line in said if "error" in line), f"make ended with {done.returncode}")


def _check(kind: str, text: str, what: str) -> None:
    schema = {"$ref": f"{BASE_URI}common.json#/$defs/{kind}"}
    violations = validator_for(schema).violations(text)
    if violations:
        raise RequestError("invalid_request", f"{what}: {violations[0].message}")


def _write(source: Path, file: Path, words: Mapping[str, str]) -> Path:
    text = source.read_text(encoding="utf-8")
    for token, word in words.items():
        # what stands between the quotes of a manifest has to be JSON
        told = json.dumps(word, ensure_ascii=False)[1:-1] if file.name == MANIFEST else word
        text = text.replace(token, told)
    if file.name == "gitignore":
        file = file.with_name(".gitignore")
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    if text.startswith("#!"):
        os.chmod(file, 0o755)
    return file
