"""Tables as text, in the forms that spreadsheets save."""

import csv

_SEPARATORS = ",;\t"


def cells(text: str) -> list[list[str]]:
    """The cells of each line, stripped; what parts them, a comma, semicolon or tab, is told from the first line.

    Raises:
        csv.Error: The text is no table.
    """
    lines = text.splitlines()
    separator = max(_SEPARATORS, key=(lines or [""])[0].count)
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows]
