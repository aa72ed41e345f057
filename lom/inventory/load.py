"""Loads the inventory: the known targets and their groups, from files, folders and executables.

Reading files is in ``files``, what stands in them in ``settings`` and ``sources``, groups and
precedence in ``merge`` and ``layers``: all imported only when there is an inventory to load.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable
from pathlib import Path

from lom.documents.places import CONFIG, home, user_folder
from lom.inventory.model import Inventory

EXAMPLE = "targets: {web1: {host: 10.0.0.21, user: ops}}"  # for those who have none yet


def find_inventory(cwd: Path | None = None) -> tuple[Path, ...]:
    """Return the inventory that is used when none is named, or an empty tuple.

    The first that exists of ``inventory.yaml`` and ``inventory/`` in ``cwd`` and
    ``~/.config/rune/inventory.yaml`` (or where ``XDG_CONFIG_HOME`` is).
    """
    here = cwd or Path()
    places = [here / "inventory.yaml", here / "inventory"]
    if folder := user_folder(CONFIG, home=home()):
        places.append(Path(folder, "inventory.yaml"))
    return next(((place,) for place in places if os.path.exists(place)), ())


def load_inventory(paths: str | Path | Iterable[str | Path], *, found: bool = False) -> Inventory:
    """Read files, folders and executables and merge them into one inventory; none gives an
    empty one. Those that were ``found``, not named, must be the user's own (``documents.trust``),
    and so must the ``ssh.config_file`` of every target, with all that it includes, and its
    ``ssh.known_hosts``: a ProxyCommand is run here, and known_hosts are written as well.

    Raises RequestError (``untrusted_path``, ``aws_…`` from a source, or ``inventory_invalid`` whose
    ``validation_errors`` name every fault with file, line and ``$.path``).
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    if not paths:
        return Inventory()
    from lom.inventory.files import read
    from lom.inventory.merge import merge

    # Loading makes many objects and no garbage; the collector took more than half of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        inventory = merge(read([Path(path) for path in paths], found=found))
    finally:
        if collecting:
            gc.enable()
    _refuse_foreign_ssh_files(inventory)
    return inventory


def _refuse_foreign_ssh_files(inventory: Inventory) -> None:
    from lom.documents.trust import refuse_foreign

    settings = [one.ssh for one in (inventory.defaults, *inventory.targets.values())]
    for file in sorted({file for one in settings for file in one.known_hosts}):
        refuse_foreign(file)
    configs = {one.config_file for one in settings if one.config_file} - {"none"}
    if configs:
        from lmm.transports import config_files

        for file in sorted(configs):
            refuse_foreign(file)
            for included in config_files(file):
                refuse_foreign(included)
