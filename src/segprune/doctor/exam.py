"""The examination of a data set: every step finds what is wrong and goes on as if it were mended."""

import glob
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from segprune.config.component import component
from segprune.config.places import CONF
from segprune.config.spelled import override
from segprune.dataset.contract import SegData
from segprune.dataset.shared_memory import unshared
from segprune.doctor.case import Case, folded, silent
from segprune.doctor.contents import look_into_files
from segprune.doctor.contract import Problem
from segprune.doctor.folders import look_for_folders
from segprune.doctor.layout import places
from segprune.doctor.pairs import found_pairs
from segprune.doctor.unused import tell_of_unused
from segprune.errors import SegpruneError

_FOLDERS = {
    "camvid": ("train/*.png", "trainannot/*.png", "test/*.png"),
    "cityscapes": ("leftImg8bit/train/*/*.png", "gtFine/train/*/*.png"),
}
"""Data sets whose folders no key names -> some of the files that they have."""


def examine(case: Case) -> SegData | None:
    """Find everything; the data set with all remedies, or None if some problem has none.

    It is loaded as a run loads it, so the remedies are known to work together.
    """
    root = Path(str(case.node.get("root", "")))
    has_root = str(case.node.get("_target_")).endswith("streets") or ("root" in case.node and root.is_dir())
    if not has_root:
        where = case.node.get("root", "missing")
        case.add(f"dataset.root is {where}, which is no folder: give dataset.root=/path/to/the/data")
        return None
    case.other = _asked_instead(case.node, root)
    is_folder = str(case.node.get("_target_")).endswith(".folder")
    if is_folder:
        look_for_folders(case, root)
        if pairs := found_pairs(case, root):
            look_into_files(case, root, pairs)
    try:
        load = component(case.node, "dataset")
        with silent(case.notes), unshared():  # so that the time of decoding can be told
            data: SegData = load()
    except SegpruneError as error:
        faults = getattr(error, "faults", ())
        if not faults or all(problem.keys for problem in case.problems):  # else the files were told above
            case.problems.append(Problem(text="\n   ".join(folded(faults or (str(error),)))))
        return None
    if is_folder:
        tell_of_unused(case, root, data.files)
        if case.other and "dataset=folder" not in case.other:
            case.notes.append(f"the folders are those of a data set whose classes are known: {case.other}")
    return data


def _patterns(node: Mapping[str, Any]) -> Iterator[str]:
    """What a data set needs below its root to train and to report; none: that is not known."""
    yield from _FOLDERS.get(str(node.get("_target_")).rpartition(".")[2], ())
    for role in ("fit", "report") if not (node.get("pairs") or node.get("split")) else ():
        where = node.get(role) or {}
        yield from (
            f"{glob.escape(str(where[part]))}/**/*{_ending(node, part)}"
            for part in ("images", "masks")
            if part in where
        )
        yield from [where["list"]] if where.get("list") else ()


def _ending(node: Mapping[str, Any], part: str) -> str:
    ending = node.get(f"{part[:-1]}_suffix")
    return ending if isinstance(ending, str) else ""


def _has(root: Path, patterns: list[str]) -> bool:
    inside = (os.path.join(glob.escape(str(root)), pattern) for pattern in patterns)
    return all(next(glob.iglob(one, recursive=True), None) for one in inside)


def _asked_instead(chosen: Mapping[str, Any], root: Path) -> str:
    """The command for the shipped data set that has such folders; empty where there is none, or the chosen one has.

    Where nothing of the chosen one is there, ``folder`` takes whatever has masks.
    """
    lacking = [not _has(root, [one]) for one in _patterns(chosen)]
    if not any(lacking):
        return ""
    usual = yaml.safe_load((CONF / "dataset" / "folder.yaml").read_text(encoding="utf-8"))
    given = shlex.quote(override("dataset.root", str(root)))
    for file in sorted((CONF / "dataset").glob("*.yaml"), key=lambda path: path.stem == "folder"):
        node = yaml.safe_load(file.read_text(encoding="utf-8"))
        patterns = [*_patterns({**usual, **node} if "fit" in node else node)]
        if patterns and _has(root, patterns):
            return f"segprune doctor dataset={file.stem} {given}"
    return f"segprune doctor dataset=folder {given}" if all(lacking) and places(root) else ""
