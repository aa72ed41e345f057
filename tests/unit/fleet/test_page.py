"""The page of a report: complete in itself, and whatever hosts say stays text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from lom.fleet.paths import MOST_LINES, host_paths
from lom.ledger.measurements import History, Measurement, PastMetric
from lom.render.fleet import report_rows, report_text
from lom.render.fleet_html import MOST_PLOTTED, page
from lom.render.table import Screen

from .conftest import fleet, host, metric, past, report

STEADY = [100.0, 100.4, 99.6, 100.2, 99.8]
HOSTILE = "<script>alert(1)</script>\"'&$x_1$\\n\u202e\x1b[31m\ud800漢"


class Page(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)

    def images(self) -> list[str]:
        sources = [str(one["src"]) for one in self.all("img")]
        kind = "data:image/svg+xml;base64,"
        assert all(one.startswith(kind) for one in sources)
        return [base64.b64decode(one.removeprefix(kind)).decode() for one in sources]


@pytest.fixture(scope="session", autouse=True)
def _fonts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have matplotlib open its fonts, which it keeps open, before the first test here begins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        made([host("n0", metric(STEADY, unit="漢"))])
        yield


def made(hosts: list[Measurement], history: History | None = None) -> Page:
    document = report(hosts, history or {})
    return Page(page(document, host_paths(document, history or {})))


def test_the_page_holds_all_that_it_shows() -> None:
    hosts = fleet(30, {4: 0.2})
    shown = made(hosts, past(hosts, [1.0, 1.01, 0.99]))
    text = page(report(hosts), host_paths(report(hosts), {})).decode()
    assert not {"script", "link", "iframe", "object"} & {name for name, _ in shown.elements}
    addresses = [value for _, one in shown.elements for key, value in one.items() if key == "href"]
    assert addresses == []
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "url(" not in text
    images = shown.images()
    assert len(images) == 2
    for image in images:
        for element in ElementTree.fromstring(image).iter():
            for key, value in element.attrib.items():
                if key.rpartition("}")[2] in ("href", "src"):
                    assert value.startswith("#")
        assert "@import" not in image
        assert "n4" in image  # by name
    assert all("n4" in str(one["alt"]) for one in shown.all("img"))
    assert "slow" in shown.text
    assert all(host_.target in shown.text for host_ in hosts)


def test_the_same_report_gives_the_same_page() -> None:
    document = report(fleet(20, {4: 0.2}))
    assert page(document, host_paths(document, {})) == page(document, host_paths(document, {}))


def test_what_hosts_say_stays_text(capfd: pytest.CaptureFixture[str]) -> None:
    hosts = [
        host(f"n{i}", metric(STEADY if i else [50.0] * 5, unit="$m$</a>", labels={"g": HOSTILE}),
             facts={HOSTILE: HOSTILE})
        for i in range(8)
    ]  # fmt: skip
    hosts.append(host("n8", metric(STEADY), valid=False, invalid_reasons=[HOSTILE]))
    shown = made(hosts, past_of(hosts))
    assert not list(shown.all("script"))
    assert "<script>alert(1)</script>" in shown.text
    assert not {"\u202e", "\x1b", "\ud800"} & set(shown.text)
    for image in shown.images():
        assert "script" not in {one.tag for one in ElementTree.fromstring(image).iter()}
        assert "$m$</a>" in "".join(ElementTree.fromstring(image).itertext())
    assert capfd.readouterr() == ("", "")
    text = report_text(report(hosts), Screen())
    assert not {"\u202e", "\x1b", "\ud800"} & set(text)


def past_of(hosts: list[Measurement]) -> Any:
    """Return a past in which each host measured what it does now."""
    return {
        one.target: {
            m.series: [PastMetric(f"r{run}", f"2026-01-01T0{run}:00:00.0Z", m) for run in range(3)]
            for m in one.measured.metrics
        }
        for one in hosts
        if one.measured
    }


@pytest.mark.parametrize("count", [1, 5, 500])
def test_it_stays_readable_with_few_and_many(count: int) -> None:
    hosts = fleet(count, dict.fromkeys(range(20), 0.3) if count == 500 else {})
    shown = made(hosts, past(hosts, [1.0, 1.0, 1.0]))
    assert len(shown.images()) == 2
    assert all(len(str(one["alt"])) < 400 for one in shown.all("img"))
    document = report(hosts, past(hosts, [1.0]))
    [[paths]] = host_paths(document, past(hosts, [1.0]))
    assert len(paths["lines"]) == min(count, MOST_LINES)
    assert len(paths["times"]) == 2
    assert f"{count} host" in shown.text


def test_with_many_metrics_the_worst_are_plotted() -> None:
    names = [f"m{number}" for number in range(MOST_PLOTTED + 5)]
    hosts = [
        host(
            f"n{i}",
            *(metric([x / (2 if (i, n) == (3, "m44") else 1) for x in STEADY], n) for n in names),
        )
        for i in range(5)
    ]
    shown = made(hosts)
    assert len(shown.images()) == MOST_PLOTTED
    assert any(str(one["alt"]).startswith("m44 ") for one in shown.all("img"))
    assert "5 more metrics are in the tables alone" in shown.text


def test_rows_are_flat_and_one_for_each_host_and_metric() -> None:
    hosts = [*fleet(6), Measurement("gone", "unreachable", None, None)]
    rows = list(report_rows(report(hosts)))
    assert [row["target"] for row in rows] == [*(f"n{i}" for i in range(6)), "gone"]
    assert rows[0]["metric"] == "gemm"
    assert (rows[0]["verdict"], rows[0]["metric_verdict"]) == ("ok", "ok")
    assert rows[0]["facts"] == {"sku": "H200", "driver_version": "560.35"}
    assert rows[0]["peers"]["hosts"] == 6
    assert rows[-1]["verdict"] == "no_data"


def test_the_table_lists_all_of_a_few_and_the_blamed_of_many() -> None:
    many = report_text(report(fleet(60, {4: 0.3})), Screen())
    assert re.search(r"^n4 +slow +high +gemm ", many, re.MULTILINE)
    assert not re.search(r"^n7 ", many, re.MULTILINE)
    assert re.search(r"^60 hosts: [12] slow, 5[89] ok$", many, re.MULTILINE)
    few = report_text(report(fleet(6)), Screen())
    assert len(re.findall(r"^n\d ", few, re.MULTILINE)) == 6
