"""The files that settings stand in: the user's own and the machine's policy, found and read.

yaml is imported only when there is a file: it costs more than all the rest of a start-up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lmm.errors import RequestError
from lom.documents.places import CONFIG, user_folder
from lom.settings import values

if TYPE_CHECKING:
    from pathlib import Path

    from lom.documents.document import Document


def config_files(
    environ: Mapping[str, str],
    cwd: Path,
    home: str | os.PathLike[str] | None,
    unchecked: bool = False,
) -> Iterator[Path]:
    """Yield the files that are read, the weakest first; those that do not exist are left out.

    Raises RequestError (``untrusted_path``) for one that is not the user's own, or with
    ``unchecked`` leaves it out.
    """
    from pathlib import Path

    named = environ.get("RUNE_CONFIG")
    if named:
        path = cwd / os.path.expanduser(named)
        if not os.path.isfile(path):
            why = "which is no file, or not to be reached"
            raise RequestError("config_invalid", f"RUNE_CONFIG names {named}, {why}")
        yield path
        return
    folder = user_folder(CONFIG, environ, os.fspath(home) if home else None)
    own = (Path(folder, "config.yaml"),) if folder else ()
    if folder and os.path.isdir(folder) and not (unchecked or os.access(folder, os.X_OK)):
        raise RequestError("config_invalid", f"you may not look into {folder}, which is yours")
    for path in (*own, cwd / "rune.yaml"):
        if os.path.isfile(path):  # in a current folder where one may not look, there is nothing
            from lom.documents.trust import is_own, refuse_foreign

            if not unchecked:
                refuse_foreign(path)
            elif not is_own(path):
                continue
            yield path


def system_file(spec: str | None = "policy_v1") -> Document | None:
    """Return the machine's own policy as it stands there, None if there is none.

    Raises RequestError (``config_invalid``) if it cannot be read, or says nothing, or others than
    root and this user can change it, and it would bind nobody.
    """
    try:
        os.stat(values.SYSTEM_POLICY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RequestError(
            "config_invalid", f"cannot read {values.SYSTEM_POLICY}: {error.strerror}"
        ) from None
    from pathlib import Path

    from lom.documents.trust import refuse_foreign

    refuse_foreign(values.SYSTEM_POLICY, machine=True)
    file = read_config(Path(values.SYSTEM_POLICY), spec)
    if not file.data:  # as a full disk, or who has not written it to its end, leaves it
        raise RequestError(
            "config_invalid",
            f"{values.SYSTEM_POLICY} is empty; write `default: allow`, or remove it",
        )
    return file


def read_config(path: Path, spec: str | None, unchecked: bool = False) -> Document:
    """Return a file of settings as the schema of ``spec`` has it, ``data`` a mapping; without one,
    as it stands. ``unchecked`` lets small faults pass.

    Raises RequestError (``config_invalid``) naming file and line.
    """
    from lom.documents.document import refuse
    from lom.documents.read import read_document

    document = read_document(path, as_json=False)
    if not unchecked or document.data is None:
        refuse(document, "config_invalid")
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        raise RequestError("config_invalid", f"{path} must hold a mapping of settings")
    if spec and not unchecked and document.data:
        from lom.documents.schema import check

        check(document, spec)
        refuse(document, "config_invalid")
    return document
