"""The pairs that can be found although some files have no partner."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from segprune.dataset.pair_file import as_csv
from segprune.dataset.pairing import Pair, list_pairs, matched
from segprune.dataset.roles import Sources
from segprune.doctor.case import Case, folded, several, silent, unusable
from segprune.errors import DataError, SegpruneError


def found_pairs(case: Case, root: Path) -> dict[str, list[Pair]]:
    """Role -> the pairs that can be found; ``fit`` has all if they are shared out."""
    try:
        with silent():
            found = _sources(case, root).find(lambda pairs: [{0} for _ in pairs])
        return {role: list(pairs) for role, pairs in found.items()}
    except SegpruneError as error:
        partial = _partial(case, root) if getattr(error, "faults", ()) else {}
        if not partial:
            return {}  # loading says it
        faults = _faults(case, root)
        leave_out(case, root, partial, unusable(len(faults), "file"), faults)
        return partial


def _sources(case: Case, root: Path) -> Sources:
    folders = {role: case.node[role] for role in ("fit", "report", "select") if case.node.get(role)}
    pairs = case.node.get("pairs")
    return Sources(
        root=root,
        folders=folders,
        suffixes=(several(case.node["image_suffix"]), several(case.node["mask_suffix"])),
        pairs=Path(pairs) if pairs else None,
        split=case.node.get("split"),
        split_seed=case.node.get("split_seed", 0),
        limit=case.node.get("limit"),
    )


def _partial(case: Case, root: Path) -> dict[str, list[Pair]]:
    """The pairs of folders in which some files have no partner."""
    if case.node.get("pairs"):
        return {}
    sources = _sources(case, root)
    roles = ["fit"] if case.node.get("split") else list(sources.folders)
    found = {}
    for role in roles:
        where = sources.folders[role]
        if where.get("list") or where.get("only"):
            return {}
        found[role] = list(matched(root / where["images"], root / where["masks"], sources.suffixes))
    return found if all(found.values()) else {}


def _faults(case: Case, root: Path) -> list[str]:
    """Files of all roles that have no partner."""
    sources, faults = _sources(case, root), list[str]()
    for role, where in sources.folders.items():
        try:
            list_pairs(
                root / where["images"],
                root / where["masks"],
                suffixes=sources.suffixes,
                layout="",
                where=f"dataset.{role}",
            )
        except DataError as error:
            faults += error.faults
    return faults


def leave_out(
    case: Case, root: Path, kept: Mapping[str, Sequence[Pair]], what: str, faults: Sequence[str]
) -> None:
    """Write the pairs that are left as a table."""
    told = "\n   ".join(folded(faults))
    case.add(
        f"{what}; mend them, or go on without by a table of the others:\n   {told}",
        pairs=table(case, root, kept, is_shared=bool(case.node.get("split"))),
    )


def table(case: Case, root: Path, roles: Mapping[str, Sequence[Pair]], *, is_shared: bool) -> str:
    """The path of a new file of those pairs, without their roles if they are to be shared out."""
    text = as_csv(roles, root)
    if is_shared:
        text = "".join(f"{line.rpartition(',')[0]}\n" for line in text.splitlines())
    return case.written(text)
