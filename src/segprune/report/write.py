"""Writes a sweep's report from the results of its jobs; nothing is computed again."""

from pathlib import Path

from segprune.report.collect import SweepData
from segprune.report.gallery import gallery, save
from segprune.report.html import html
from segprune.report.note import parent_note
from segprune.report.summary import earlier_figures, summary_text
from segprune.report.table import write_csv
from segprune.report.verdict import contests

HTML, SUMMARY, ROWS, FIGURES = "report.html", "benchmark_summary.json", "rows.csv", "figures"
NOTE = "note.md"
"""The description of the sweep's tracked run."""


def write_report(data: SweepData, out: Path) -> list[Path]:
    """Write ``report.html``, ``benchmark_summary.json``, ``note.md``, ``rows.csv`` and ``figures/`` with data.

    Figures of an earlier report in the same folder that this one has not are removed.

    Args:
        data: The sweep.
        out: Folder for the report; created if missing.

    Returns:
        The written files, the page first.
    """
    found, pictures = contests(data), list(gallery(data))
    out.mkdir(parents=True, exist_ok=True)
    page, summary, note, rows = out / HTML, out / SUMMARY, out / NOTE, out / ROWS
    text = html(data, found, pictures)
    names = [name for picture in pictures for name in picture.files]
    for name in earlier_figures(summary) - {*names}:
        (out / FIGURES / name).unlink(missing_ok=True)
    page.write_text(text, encoding="utf-8")
    # after the page, which notes the files that it did not find
    summary.write_text(summary_text(data, found, names), encoding="utf-8")
    note.write_text(parent_note(data, found), encoding="utf-8")
    write_csv([row for job in data.jobs for row in job.outcome.rows], rows)
    return [page, summary, note, rows, *save(pictures, out / FIGURES)]
