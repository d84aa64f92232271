"""Which folders, endings and roles a data set has, beside those that its keys say."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segprune.doctor import layout
from segprune.doctor.case import Case, Node, several


def look_for_folders(case: Case, root: Path) -> None:
    """Folders, endings, roles."""
    if case.node.get("pairs"):
        return
    roles = {role: case.node[role] for role in ("fit", "select", "report") if case.node.get(role)}
    there = {role: _is_there(root, where) for role, where in roles.items()}
    split = case.node.get("split") or (1, 0, 0)
    taken = [role for role, part in zip(("fit", "select", "report"), split, strict=False) if part][1:]
    if all(is_there for role, is_there in there.items() if role not in taken):
        _endings(case, root, [where for role, where in roles.items() if role not in taken])
        return
    found = layout.places(root)
    if not found:
        _loose(case, root)
        return
    _roles(case, root, found)
    where = {role: case.node[role] for role in ("fit", "select", "report") if case.node.get(role)}
    _endings(case, root, [one for role, one in where.items() if _is_there(root, one)])


def _is_there(root: Path, where: Mapping[str, Any]) -> bool:
    return all(any(_names(root / str(where[part]))) for part in ("images", "masks"))


def _roles(case: Case, root: Path, found: Sequence[layout.Place]) -> None:
    by_role: dict[str, layout.Place] = {}
    for place in found:
        by_role.setdefault(place.role or "one", place)
    if "fit" not in by_role:
        _one_folder(case, root, found[0])
        return
    keys = {
        role: _folders(by_role[role])
        for role in ("fit", "select", "report")
        if role in by_role and not _is_named(case, role, by_role[role])
    }
    if keys:
        listed = "; ".join(f"{role}: {where['images']} with {where['masks']}" for role, where in keys.items())
        case.add(
            f"the folders have other names than those of dataset.fit, select and report: {listed}", **keys
        )
    _lacking(case, by_role)


def _is_named(case: Case, role: str, place: layout.Place) -> bool:
    """Whether the keys of a role name that place already."""
    return _folders(place).items() <= (case.node.get(role) or {}).items()


def _lacking(case: Case, by_role: Mapping[str, layout.Place]) -> None:
    """What serves the roles that have no folder."""
    if "report" not in by_role and "select" in by_role:
        case.add(
            "there are no images to report: those of val are reported, and choose no epoch then",
            report=_folders(by_role["select"]),
            report_split="val",
            select=None,
        )
    elif "report" not in by_role:
        case.add("there are no images but those for training: they are shared out", split=[0.7, 0.15, 0.15])
    elif "select" not in by_role and case.node.get("select"):
        case.add("there are no images that choose the epoch, so the last one counts", select=None)


def _one_folder(case: Case, root: Path, place: layout.Place) -> None:
    named = layout.lists(root, place)
    if "fit" in named and len(named) > 1:
        keys: Node = {role: {**_folders(place), "list": file} for role, file in named.items()}
        keys.setdefault("select", None)
        if "report" not in keys:
            keys |= {"report": keys["select"], "select": None, "report_split": "val"}
        case.add(
            f"all images are in {place.images}, and {', '.join(named.values())} say which is whose",
            **keys,
        )
        return
    case.add(
        f"all images are in {place.images} with masks in {place.masks}, and nothing says which is whose: they "
        "are shared out",
        fit=_folders(place),
        split=[0.7, 0.15, 0.15],
    )


def _loose(case: Case, root: Path) -> None:
    pairs = layout.loose_pairs(root)
    if not pairs:
        case.add(f"{root} holds no images with masks of nearly the same names; give a table as dataset.pairs")
        return
    lines = [f"{image},{mask}" for image, mask in pairs]
    case.add(
        f"the names of images and masks begin differently, as in {pairs[0][0]} and {pairs[0][1]}: a table of "
        f"the {len(pairs)} pairs was written",
        pairs=case.written("\n".join(["image,mask", *lines]) + "\n"),
        split=[0.7, 0.15, 0.15],
    )


def _endings(case: Case, root: Path, wheres: Sequence[Mapping[str, Any]]) -> None:
    ours, theirs = several(case.node.get("image_suffix")), several(case.node.get("mask_suffix"))
    images, masks = list[str](), list[str]()
    lacking = 0
    for where in wheres:
        held = [_names(root / where[part]) for part in ("images", "masks")]
        if where["images"] == where["masks"]:
            place = next((one for one in layout.places(root) if one.images == where["images"]), None)
            ends = (place.image_suffix, place.mask_suffix, 1) if place else ((), (), 0)
        else:
            ends = layout.endings(*held)
        images += ends[0]
        masks += ends[1]
        paired = {name.removesuffix(end) for end in ours for name in held[0] if name.endswith(end)}
        lacking += ends[2] > 0 and not paired & {
            name.removesuffix(end) for end in theirs for name in held[1] if name.endswith(end)
        }
        lacking += any(name.endswith(end) for end in {*ends[0]} - {*ours} for name in held[0])
        lacking += any(name.endswith(end) for end in {*ends[1]} - {*theirs} for name in held[1])
    keys: Node = {}
    for key, known, found in (("image_suffix", ours, images), ("mask_suffix", theirs, masks)):
        wanted = list(dict.fromkeys(found))
        if lacking and wanted and {*wanted} != {*known}:
            keys[key] = wanted[0] if len(wanted) == 1 else wanted
    if keys:
        told = " and ".join(
            f"{'images' if 'image' in key else 'masks'} end in {value}" for key, value in keys.items()
        )
        case.add(f"{told}, not as dataset.image_suffix and dataset.mask_suffix say", **keys)


def _folders(place: layout.Place) -> Node:
    return {"images": place.images, "masks": place.masks}


def _names(folder: Path) -> list[str]:
    files = (Path(place, name).relative_to(folder) for place, _, names in os.walk(folder) for name in names)
    return sorted(
        file.as_posix()
        for file in files
        if file.name.lower().endswith(layout.MASKS) and not any(part.startswith(".") for part in file.parts)
    )
