"""Takes user names and passwords out of texts before they leave the process."""

import re

# User information ends at the last @ before white space or the next URL: passwords are typed with any character
# in them. The first form has a colon and may hold slashes; the second, a bare token, ends at the first slash.
_CREDENTIALS = re.compile(r"://(?:[^\s/:]*:(?!//)(?:(?!://)\S)*|[^\s/]*)@")


def redacted(text: str) -> str:
    """The text with ``***`` for the credentials of every URL: ``scheme://***@host``.

    In doubt too much is taken out: in ``http://host:80/a@b`` the password could be ``80/a``, so
    ``http://***@b`` is left.
    """
    return _CREDENTIALS.sub("://***@", text)
