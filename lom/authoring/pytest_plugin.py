"""The conformance kit for pytest: each check of each plugin is a test.

Name the folders of the plugins in the ini option ``rune_plugins`` (globs from the root directory)
or with ``--rune-plugin``. It costs nothing where neither is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lom.authoring.findings import Finding
    from lom.registry.manifest import Plugin

_MANIFEST = "plugin.json"
_RISKS = ("read", "change", "destructive")
_FOLDERS = pytest.StashKey[frozenset[Path]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rune", "plugins of RUNE")
    group.addoption(
        "--rune-plugin",
        action="append",
        default=[],
        metavar="FOLDER",
        help="run the conformance kit on the RUNE plugin in this folder; may be repeated",
    )
    group.addoption(
        "--rune-risk",
        choices=_RISKS,
        default="read",
        help="the greatest risk of an action that may be interrupted and given made-up parameters"
        " where nothing stands in for what it works on (default: read)",
    )
    parser.addini(
        "rune_plugins",
        "folders of RUNE plugins to run the conformance kit on: globs from the root directory",
        type="args",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    named = [config.invocation_params.dir / one for one in config.getoption("rune_plugin")]
    listed = [one for glob in config.getini("rune_plugins") for one in _matching(config, glob)]
    if not (named or listed):
        return
    config.stash[_FOLDERS] = frozenset(one.resolve() for one in (*named, *listed))
    everything = config.args_source is not pytest.Config.ArgsSource.ARGS
    for folder in (*named, *(listed if everything else ())):
        file = str(folder.resolve() / _MANIFEST)
        if file not in config.args:
            config.args.append(file)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    folders = parent.config.stash.get(_FOLDERS, frozenset())
    if file_path.name != _MANIFEST or file_path.parent.resolve() not in folders:
        return None
    return PluginFile.from_parent(parent, path=file_path)


class PluginFile(pytest.File):
    """The manifest of a plugin, whose tests are the checks of the kit."""

    def collect(self) -> Iterator[pytest.Item]:
        from lmm.errors import RequestError
        from lom.authoring.cases import load_cases
        from lom.authoring.kit import checks_of
        from lom.authoring.trials import Trials
        from lom.registry.manifest import load_plugin

        try:
            plugin = load_plugin(self.path.parent.resolve(), "tested")
            cases = load_cases(plugin)
        except RequestError as error:
            raise self.CollectError(error.message) from None

        def item(name: str, run: Callable[[], Finding]) -> pytest.Item:
            made: pytest.Item = PluginCheck.from_parent(self, name=name, run=run)
            return made

        yield item("check", lambda: _review(plugin))
        for check in checks_of(Trials(plugin), cases, self.config.getoption("rune_risk")):
            yield item(f"{check.action}[{check.name}]", check.run)


class PluginCheck(pytest.Item):
    """One check of a plugin."""

    def __init__(self, *, run: Callable[[], Finding], **given: Any) -> None:
        super().__init__(**given)
        self._run = run

    def runtest(self) -> None:
        finding = self._run()
        if finding.status == "failed":
            pytest.fail(f"{finding.what}\n{finding.remedy}".strip(), pytrace=False)
        if finding.status == "skipped":
            pytest.skip(finding.what)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.path.parent.name}: {self.name}"


def _matching(config: pytest.Config, glob: str) -> list[Path]:
    """Return the plugin folders that a glob finds. Raises UsageError for one that finds none."""
    files = sorted(config.rootpath.glob(f"{glob.rstrip('/')}/{_MANIFEST}"))
    if not files:
        raise pytest.UsageError(f"rune_plugins: there is no {_MANIFEST} in {glob}")
    return [file.parent for file in files]


def _review(plugin: Plugin) -> Finding:
    """Return one finding that tells all faults of the static check."""
    from lom.authoring.findings import failed, ok
    from lom.authoring.review import review

    faults = [one for one in review(plugin) if one.status == "failed"]
    if not faults:
        return ok("check")
    told = "\n".join(f"{one.check}: {one.what}\n{one.remedy}" for one in faults)
    return failed("check", told, "")
