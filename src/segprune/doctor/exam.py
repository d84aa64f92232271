"""The examination of a data set: every step finds what is wrong and goes on as if it were mended."""

from pathlib import Path

from segprune.config.component import component
from segprune.dataset.contract import SegData
from segprune.dataset.shared_memory import unshared
from segprune.doctor.case import Case, folded, silent
from segprune.doctor.contents import look_into_files
from segprune.doctor.contract import Problem
from segprune.doctor.folders import look_for_folders
from segprune.doctor.pairs import found_pairs
from segprune.doctor.unused import tell_of_unused
from segprune.errors import SegpruneError


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
    return data
