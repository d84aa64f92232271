"""See and tidy the result store: ``segprune store list``, ``verify`` or ``prune``."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from segprune.console import command
from segprune.errors import StoreError
from segprune.store import manifest
from segprune.store.inventory import Found, damage_of, is_locked, references, remove, scan
from segprune.store.store import damage

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run the command; gives its exit code: 1 for a damaged entry or a command that cannot be done."""
    options = _options(arguments)
    try:
        found = list(scan(options.store))
        if options.command == "verify":
            return verify(found)
        if options.command == "prune":
            keep = references(options.outputs or options.store.parent) if options.unreferenced else None
            prune(found, older_than=options.older_than, keep=keep, is_real=options.yes)
        else:
            show(found)
    except StoreError as error:
        log.error("segprune: %s", error)
        return 1
    except OSError as error:
        log.error("segprune: %s: %s", error.filename or options.store, error.strerror)
        return 1
    return 0


def show(found: Sequence[Found]) -> None:
    """One line per folder, and the sum."""
    for one in found:
        state = "computing" if one.state == "unfinished" and is_locked(one.folder) else one.state
        stage, fingerprint = one.folder.parent.name, one.folder.stem
        log.info("%-10s %-24s %-10s %s %6.1f d", stage, fingerprint, state, _size(one.size), one.age_days)
    log.info("%d folders, %s", len(found), _size(sum(one.size for one in found)).strip())


def verify(found: Sequence[Found]) -> int:
    """Compare every finished entry with its manifest; 1 when one is damaged."""
    finished = [one for one in found if one.state == "finished"]
    sealed = [one for one in finished if manifest.is_sealed(one.folder)]
    wrong = {one.name: reason for one in sealed if (reason := damage_of(one))}
    for name, reason in wrong.items():
        log.info("%s is damaged: %s", name, reason)
    log.info("entries: %d intact, %d damaged", len(sealed) - len(wrong), len(wrong))
    if len(sealed) < len(finished):
        log.info(
            "not checked: %d, which an earlier version wrote without checksums",
            len(finished) - len(sealed),
        )
    return 1 if wrong else 0


def prune(found: Sequence[Found], *, older_than: float | None, keep: set[str] | None, is_real: bool) -> None:
    """Remove unfinished, damaged and left-over folders, and on request finished entries.

    Args:
        found: What there is.
        older_than: Age in days from which finished entries go; None for any.
        keep: Fingerprints that stay; None to keep all, unless ``older_than`` is given.
        is_real: Whether to remove, or only to print.
    """
    chosen = {one.name: reason for one in found if (reason := _reason(one, older_than, keep))}
    size = 0
    for one in found:
        if one.name in chosen and (remove(one.folder) if is_real else not is_locked(one.folder)):
            size += one.size
            word = "removed" if is_real else "would remove"
            log.info("%s %s %s (%s)", word, _size(one.size), one.name, chosen[one.name])
    log.info(
        "%s%s", _size(size).strip(), "" if is_real else " in all; nothing was removed yet: --yes removes it"
    )


def _reason(one: Found, older_than: float | None, keep: set[str] | None) -> str:
    """Why a folder should go; empty when it should stay."""
    if one.state != "finished":
        return one.state
    if reason := damage(one.folder):
        return f"damaged: {reason}"
    is_old = older_than is None or one.age_days >= older_than
    is_unnamed = keep is None or one.folder.name not in keep
    if (older_than is None and keep is None) or not is_old or not is_unnamed:
        return ""
    return f"finished {one.age_days:.1f} days ago" + ("" if keep is None else ", used by no run")


def _size(size: int) -> str:
    return f"{size / 1e6:9.2f} MB"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    outputs = Path(os.environ.get("SEGPRUNE_OUTPUTS", "outputs"))
    parser = argparse.ArgumentParser(prog="segprune store", description=__doc__)
    parser.add_argument(
        "--store", type=Path, default=outputs / "store", help="folder of the store (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every entry")
    commands.add_parser(
        "verify", help="compare every entry with its checksums; exit code 1 if one is damaged"
    )
    tidy = commands.add_parser("prune", help="list what is unfinished or damaged; with --yes, remove it")
    tidy.add_argument(
        "--older-than", type=float, metavar="DAYS", help="and finished entries of at least this age"
    )
    tidy.add_argument(
        "--unreferenced",
        action="store_true",
        help="and finished entries that no run uses; with --older-than, both must hold",
    )
    tidy.add_argument("--outputs", type=Path, help="folder of runs/ and sweeps/ (the store's parent)")
    tidy.add_argument("--yes", action="store_true", help="remove it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(command(main, sys.argv[1:]))
