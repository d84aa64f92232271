import runpy
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "evaluation_report.md"


def test_the_page_has_the_table_of_metrics_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("segprune.result", run_name="__main__")
    table = capsys.readouterr().out
    _, _, here = PAGE.read_text(encoding="utf-8").partition("| key | unit |")
    assert f"| key | unit |{here}" == table, (
        "put what `python -m segprune.result` prints at the end of the page"
    )
