"""Which folders, endings and roles a data set has, beside those that its keys say."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from segprune.dataset.frames import in_a_row
from segprune.dataset.pair_file import ROLES
from segprune.dataset.pairing import Pair, matched
from segprune.doctor import layout
from segprune.doctor.case import Case, Node, folded, several
from segprune.doctor.lists import Said, said_by_texts
from segprune.doctor.pairs import table

SPLIT = [0.7, 0.15, 0.15]


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
    if case.node.get("pairs"):
        return
    where = {role: case.node[role] for role in ("fit", "select", "report") if case.node.get(role)}
    _endings(case, root, [one for role, one in where.items() if _is_there(root, one)])


def _is_there(root: Path, where: Mapping[str, Any]) -> bool:
    return all(any(_names(root / str(where[part]))) for part in ("images", "masks"))


def _roles(case: Case, root: Path, found: Sequence[layout.Place]) -> None:
    by_role = _by_role(found)
    if case.node.get("select") is None and "report" in by_role:
        by_role.pop("select", None)
    if "fit" not in by_role or len(by_role) == 1:
        _undivided(case, root, by_role.get("fit") or [place for some in by_role.values() for place in some])
    elif _is_plain([place for some in by_role.values() for place in some], len(by_role)):
        places = {role: some[0] for role, some in by_role.items()}
        keys = {
            role: _folders(places[role])
            for role in ROLES
            if role in places and not _is_named(case, role, places[role])
        }
        if keys:
            listed = "; ".join(
                f"{role}: {where['images']} with {where['masks']}" for role, where in keys.items()
            )
            case.add(
                f"the folders have other names than those of dataset.fit, select and report: {listed}", **keys
            )
        _lacking(case, places)
    else:
        told = f"the images of a role are in several folders ({_listed(by_role)})"
        _add_table(case, root, _pairs(root, by_role), told)


def _is_named(case: Case, role: str, place: layout.Place) -> bool:
    """Whether the keys of a role name that place already."""
    return _folders(place).items() <= (case.node.get(role) or {}).items()


def _by_role(found: Sequence[layout.Place]) -> dict[str, list[layout.Place]]:
    """Role -> its places; what has none is for training, unless something else is, or is under ``""``."""
    by_role: dict[str, list[layout.Place]] = {}
    for place in {place.images: place for place in reversed(found)}.values():
        by_role.setdefault(place.role or "", []).append(place)
    if "" in by_role and len(by_role) > 1:
        rest = by_role.pop("")
        by_role.setdefault("fit", rest)
    return {role: sorted(places, key=lambda place: place.images) for role, places in by_role.items()}


def _listed(by_role: Mapping[str, Sequence[layout.Place]]) -> str:
    return "; ".join(
        f"{role}: {', '.join(place.images for place in by_role[role])}" for role in ROLES if role in by_role
    )


def _is_plain(places: Sequence[layout.Place], roles: int) -> bool:
    """Whether each role has one folder, and none lies in another."""
    return len(places) == roles and not any(
        one is not other and PurePath(one.images).is_relative_to(other.images)
        for one in places
        for other in places
    )


def _pairs(root: Path, by_role: Mapping[str, Sequence[layout.Place]]) -> dict[str, list[Pair]]:
    """Role -> the pairs of all its places; an image of a folder in another one counts for the inner one."""
    taken: dict[Path, str] = {}
    roles: dict[str, list[Pair]] = {role: [] for role in ROLES if role in by_role} or {"": []}
    every = [(role, place) for role, places in by_role.items() for place in places]
    for role, place in sorted(every, key=lambda one: -len(PurePath(one[1].images).parts)):
        found = matched(root / place.images, root / place.masks, (place.image_suffix, place.mask_suffix))
        roles[role] += [pair for pair in found if taken.setdefault(pair.image, place.images) == place.images]
    return {role: sorted(pairs, key=lambda pair: pair.image) for role, pairs in roles.items()}


def _add_table(
    case: Case, root: Path, roles: Mapping[str, Sequence[Pair]], text: str, more: str = ""
) -> None:
    """Solve it by a table of the pairs of roles."""
    keys: Node = {}
    if "report" not in roles:
        text += "; there are no images to report: those of val are reported, and choose no epoch then"
        roles, keys = {"fit": roles["fit"], "report": roles["select"]}, {"report_split": "val"}
    counts = ", ".join(f"{role} {len(pairs)}" for role, pairs in roles.items())
    written = table(case, root, roles, is_shared=False)
    case.add(f"{text}: a table of the pairs was written ({counts}){more}", pairs=written, **keys)


def _lacking(case: Case, by_role: Mapping[str, layout.Place]) -> None:
    """What serves the roles that have no folder."""
    if "report" not in by_role:
        case.add(
            "there are no images to report: those of val are reported, and choose no epoch then",
            report=_folders(by_role["select"]),
            report_split="val",
            select=None,
        )
    elif "select" not in by_role and case.node.get("select"):
        case.add("there are no images that choose the epoch, so the last one counts", select=None)


def _undivided(case: Case, root: Path, places: Sequence[layout.Place]) -> None:
    """Images whose folders say no roles: text files do, or they are shared out."""
    said, why = said_by_texts(root, places, case.folder)
    if said:
        _as_said(case, root, said, places)
        return
    cause = "no list or table that can be used says which is whose" if why else "nothing says which is whose"
    files = "\n   ".join([". These files name images:", *folded(why)]) if why else ""
    if len(places) == 1:
        (place,) = places
        where = f"all images are in {place.images} with masks in {place.masks}"
        keys = {} if _is_named(case, "fit", place) else {"fit": _folders(place)}
        case.add(f"{where}, and {cause}: they are shared out{files}", **keys, split=SPLIT)
        return
    pairs = _pairs(root, {"": places})[""]
    names = [pair.image.relative_to(root).with_suffix("").as_posix() for pair in pairs]
    if len(places) > 2 and 2 * in_a_row(names) > len(names):
        by_role = _whole_folders(case, places)
        told = f"the images look like frames of videos, and {cause}: whole folders are shared out"
        _add_table(case, root, _pairs(root, by_role), f"{told} ({_listed(by_role)})", files)
        return
    where = f"the images are in several folders ({', '.join(place.images for place in places)})"
    case.add(
        f"{where}, and {cause}: a table of the {len(pairs)} pairs was written, and they are shared out{files}",
        pairs=table(case, root, {"": pairs}, is_shared=True),
        split=SPLIT,
    )


def _whole_folders(case: Case, places: Sequence[layout.Place]) -> dict[str, Sequence[layout.Place]]:
    """Places shared out as near to ``SPLIT`` as they can be."""
    part = max(1, round(SPLIT[2] * len(places)))
    if case.node.get("select") is None:
        return {"fit": places[:-part], "report": places[-part:]}
    return {"fit": places[: -2 * part], "select": places[-2 * part : -part], "report": places[-part:]}


def _as_said(case: Case, root: Path, said: Said, places: Sequence[layout.Place]) -> None:
    """Roles as text files say."""
    files = list(dict.fromkeys(said.files.values()))
    told = f"{', '.join(files)} {'says' if len(files) == 1 else 'say'} which image is whose"
    if "" in said.roles:
        case.add(
            f"{files[0]} names the pairs and has no column role: they are shared out",
            pairs=files[0],
            split=SPLIT,
        )
    elif said.is_list:
        (place,) = places
        keys: Node = {role: {**_folders(place), "list": file} for role, file in said.files.items()}
        keys.setdefault("select", None)
        if "report" not in keys:
            keys |= {"report": keys["select"], "select": None, "report_split": "val"}
        case.add(f"all images are in {place.images}, and {told}", **keys)
    elif len(files) == 1 and "report" in said.roles:
        case.add(told, pairs=files[0])
    else:
        _add_table(case, root, said.roles, told)


def _loose(case: Case, root: Path) -> None:
    said, _ = said_by_texts(root, (), case.folder)
    if said:
        _as_said(case, root, said, ())
        return
    pairs = layout.loose_pairs(root)
    if not pairs:
        case.add(f"{root} holds no images with masks of nearly the same names; give a table as dataset.pairs")
        return
    found = [Pair(image, root / image, root / mask) for image, mask in pairs]
    case.add(
        f"the names of images and masks begin differently, as in {pairs[0][0]} and {pairs[0][1]}: a table of "
        f"the {len(pairs)} pairs was written",
        pairs=table(case, root, {"": found}, is_shared=True),
        split=SPLIT,
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
