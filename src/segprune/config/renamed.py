"""Keys of earlier versions, as a recorded command or a person's habit still has them."""

RENAMED = {"weights": "init", "stage.prune.weights": "stage.prune.init"}
"""Key of an earlier version -> its name today."""
_VALUES = {"init": {"retrained": "scratch"}}
"""Last part of a key of today -> value of an earlier version -> the same today."""


def of_today(key: str, value: object) -> tuple[str, object]:
    """A key and its value as they are called today; those that kept their names come back as they are."""
    if key not in RENAMED:
        return key, value
    new = RENAMED[key]
    return new, _VALUES[new.rpartition(".")[2]].get(str(value), value)


def override_of_today(override: str) -> str:
    """A typed ``key=value`` as it is written today; values of a sweep may have commas between them."""
    signs = override[: len(override) - len(override.lstrip("+~"))]
    key, equals, value = override[len(signs) :].partition("=")
    values = [of_today(key, one)[1] for one in value.split(",")]
    return (
        f"{signs}{of_today(key, None)[0]}{equals}{','.join(map(str, values))}" if key in RENAMED else override
    )


def renamed(key: str) -> str:
    """What to type instead of a key of an earlier version; empty for any other key."""
    if key not in RENAMED:
        return ""
    new = RENAMED[key]
    values = ", ".join(f"{then} is now {now}" for then, now in _VALUES[new.rpartition(".")[2]].items())
    return f"it is called {new} now, and its value {values}."
