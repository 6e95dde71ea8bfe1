"""The report as JSON, as text and as a page; text and page show the same cells."""

import html
import json
import textwrap
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Final

from models.spec.paper import COLUMNS
from service.report.table4 import PaperRow, Report

TITLE: Final = "Table 4, live"

_PAGE: Final = Path(__file__).with_name("report.html")


def table(report: Report) -> list[list[str]]:
    """The cells of the table: a row of headings, the paper's seven rows, and this deployment's."""
    here = report.deployment
    time_ms = f"{here.time.mean_ms:.1f} ± {here.time.deviation_ms:.1f} ({here.time.median_ms:.1f})"
    memory = f"{_whole(here.memory.total_mib)} ({_whole(here.memory.session_mib)})"
    return [
        ["Method", *COLUMNS, "Time, ms", "Memory, MiB"],
        *([row.method, *_percent(row.pckh.values()), *_efficiency(row)] for row in report.paper),
        [f"{here.model}, here", *_percent(here.pckh.values()), time_ms, memory],
    ]


def _percent(values: Iterable[float | None]) -> list[str]:
    return ["-" if value is None else f"{value:.1f}" for value in values]


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _efficiency(row: PaperRow) -> tuple[str, str]:
    if row.time_ms is None:
        return "-", "-"
    return f"{row.time_ms:.1f} ± {row.time_deviation_ms:.1f}", f"{row.memory_mib:.0f}"


def as_json(report: Report) -> str:
    """The report as a JSON document, in ASCII."""
    return json.dumps(report.model_dump(mode="json"), indent=2) + "\n"


def as_text(report: Report, encoding: str = "utf-8") -> str:
    """The report for a terminal, in letters that its encoding has."""
    cells = [[_spell(cell, encoding) for cell in row] for row in table(report)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        padded = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *padded]))
    lines.insert(-1, "-" * len(lines[0]))
    wrapper = textwrap.TextWrapper(len(lines[0]), "- ", "  ", break_on_hyphens=False)
    notes = [wrapper.fill(_spell(note, encoding)) for note in report.notes]
    return "\n".join([TITLE, "", *lines, "", *notes, ""])


def _spell(text: str, encoding: str) -> str:
    """A text as it is, or with `+-` for the plus-minus sign and other letters escaped where an encoding lacks one."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace("±", "+-").encode(encoding, "backslashreplace").decode(encoding)
    return text


def as_html(report: Report) -> str:
    """The report as a page that needs nothing else."""
    here, paper = report.deployment, report.paper[-1]
    headings, *rows = table(report)
    body = ["".join([_cell("th", row[0], "row"), *(_cell("td", cell) for cell in row[1:])]) for row in rows]
    texts = {
        "title": TITLE,
        "model": here.model,
        "time": f"{here.time.median_ms:.1f} ms",
        "paper_time": f"{paper.time_ms:.1f} ms",
        "memory": f"{_whole(here.memory.total_mib)} MiB",
        "memory_kind": here.memory.kind,
        "paper_memory": f"{paper.memory_mib:.0f} MiB",
        "pckh": _percent([here.pckh["Total"]])[0],
        "paper_pckh": f"{paper.pckh['Total']:.1f}",
    }
    return Template(_PAGE.read_text("utf-8")).substitute(
        {name: html.escape(text) for name, text in texts.items()},
        headings="".join(_cell("th", heading, "col") for heading in headings),
        paper_rows="\n".join(f"<tr>{row}</tr>" for row in body[:-1]),
        own_row=f"<tr>{body[-1]}</tr>",
        notes="\n".join(f"<li>{html.escape(note)}</li>" for note in report.notes),
    )


def _cell(tag: str, text: str, scope: str = "") -> str:
    start = f'{tag} scope="{scope}"' if scope else tag
    return f"<{start}>{html.escape(text)}</{tag}>"
