"""What Python, editors, desktops and version control leave in folders, which is nobody's work.

Whatever walks a folder (templates, plugins and their files, cases, inventories) asks here, so that
a backup of an editor is no plugin, no host sees a ``.git``, and no hash depends on bytecode.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_LEFT = re.compile(
    r"__pycache__|\.(?:git|hg|svn|bzr|idea|vscode|(?:mypy|pytest|ruff)_cache)|CVS"
    r"|.*\.py[co]|.*~|#.*#|\.#.*"  # bytecode; backups, autosaves and locks of Emacs and others
    r"|\..*\.sw[a-px]|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini"  # vim's swap files; desktops
)


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is nobody's work."""
    return _LEFT.fullmatch(name) is not None


def walk(folder: Path, on_error: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """Yield what is in a folder and its folders, without leftovers and in a fixed order.

    Links to folders are yielded and not followed. ``on_error`` gets what cannot be listed.
    """
    for top, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not is_leftover(name))
        yield from (Path(top, name) for name in folders)
        yield from (Path(top, name) for name in sorted(files) if not is_leftover(name))
