"""What the files of a data set hold: damage, turned photos, what masks store, classes that are not there."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from segprune.dataset.decode import BandsError
from segprune.dataset.facts import Fact, FileKey, examined
from segprune.dataset.labels import LabelSpace, made_palette
from segprune.dataset.mask_code import Kind, MaskCode
from segprune.dataset.mask_options import Colours, mask_code
from segprune.dataset.pair_set import two_colours
from segprune.dataset.pairing import Pair
from segprune.doctor import meaning
from segprune.doctor.case import Case, Node, folded, unusable
from segprune.doctor.contract import Problem
from segprune.doctor.pairs import leave_out
from segprune.errors import DataError, SegpruneError


def look_into_files(case: Case, root: Path, pairs: dict[str, list[Pair]]) -> None:
    """Decode every file, and find what is wrong with it and with what the masks mean.

    Args:
        case: Gets the problems.
        root: Folder of the data set.
        pairs: Role -> its pairs.
    """
    every = [pair for role in pairs.values() for pair in role]
    index = Path(str(case.node["cache_dir"])) / "doctor.json"
    kind: Kind = "colours" if case.node.get("colours") else "numbers"
    images = _images(case, every, index)
    masks = examined([FileKey(kind, pair.label) for pair in every], index)
    coloured = [
        key for key, fact in masks.items() if isinstance(fact, DataError) and "dataset.colours" in str(fact)
    ]
    sound = [(key.path, fact) for key, fact in masks.items() if isinstance(fact, Fact)]
    torn = [] if case.node.get("values") else [*two_colours(sound)]
    if kind == "numbers" and (torn or 2 * len(coloured) > len(masks)):
        kind = "colours"
        masks = examined([FileKey(kind, pair.label) for pair in every], index)
    facts = {pair: (images[pair.image], masks[FileKey(kind, pair.label)]) for pair in every}
    _turned(case, facts)
    faults = {pair: fault for pair in every if (fault := _fault(case, pair, facts[pair]))}
    if faults:
        told = unusable(len(faults), "pair")
        kept = {role: [pair for pair in found if pair not in faults] for role, found in pairs.items()}
        if all(kept.values()):
            leave_out(case, root, kept, told, list(faults.values()))
        else:
            case.add(f"{told}:\n   " + "\n   ".join(folded([*faults.values()])))
        pairs = kept
    known = {
        pair: both[1] for pair, both in facts.items() if pair not in faults and isinstance(both[1], Fact)
    }
    stored: Counter[int] = Counter()
    for fact in known.values():
        stored.update(dict(fact.counts))
    if stored:
        _meaning(case, root, kind, stored, torn)
        _absent(case, root, [known[pair] for pair in pairs.get("fit", ()) if pair in known], kind)


def _images(case: Case, pairs: Sequence[Pair], index: Path) -> Mapping[Path, Fact | DataError]:
    """What is known of each image, read with the number of bands with which most can be read."""

    def read(bands: int) -> dict[Path, Fact | DataError]:
        found = examined([FileKey("image", pair.image, bands) for pair in pairs], index)
        return {key.path: fact for key, fact in found.items()}

    given = case.node.get("bands", 3)
    tried = {given: read(given)}
    others = Counter(fault.held for fault in tried[given].values() if isinstance(fault, BandsError))
    tried |= {
        bands: read(bands) for bands in (*others, 3) if others and bands != given
    }  # gray is read as 3 too
    best = max(tried, key=lambda bands: sum(isinstance(fact, Fact) for fact in tried[bands].values()))
    if best != given:
        case.add(f"the images have {best} bands, and dataset.bands is {given}", bands=best)
    return tried[best]


def _turned(case: Case, facts: Mapping[Pair, tuple[Fact | DataError, Fact | DataError]]) -> None:
    turned = [
        pair
        for pair, both in facts.items()
        if case.node.get("exif") is None
        and any(isinstance(fact, Fact) and fact.orientation > 1 for fact in both)
    ]
    if not turned:
        return
    votes = Counter(
        "apply" if image.seen_hw(upright=True) == mask.seen_hw(upright=True) else "ignore"
        for pair in turned
        for image, mask in [facts[pair]]
        if isinstance(image, Fact)
        and isinstance(mask, Fact)
        and image.seen_hw(upright=True) != image.size_hw
        and image.size_hw != (image.size_hw[1], image.size_hw[0])
    )
    chosen = votes.most_common(1)[0][0] if votes else "ignore"
    why = "the sizes of the masks say so" if votes else "a guess: look at data/masks.png, and try the other"
    case.add(
        f"{len(turned)} photos have an EXIF orientation, such as {turned[0].image}, so viewers turn them "
        f"({why})",
        exif=chosen,
    )


def _fault(case: Case, pair: Pair, facts: tuple[Fact | DataError, Fact | DataError]) -> str | None:
    for fact in facts:
        if isinstance(fact, DataError):
            return str(fact)
    image, mask = (fact.seen_hw(upright=case.node.get("exif") == "apply") for fact in facts)  # type: ignore[union-attr]
    if image == mask:
        return None
    return "{} is {}x{} but its label {} is {}x{}".format(pair.image, *image[::-1], pair.label, *mask[::-1])


def _meaning(case: Case, root: Path, kind: Kind, stored: Mapping[int, int], torn: Sequence[int]) -> None:
    classes, values, ignore = case.node.get("classes"), case.node.get("values"), case.node["ignore_index"]
    if classes and len(classes) == 1:
        classes = ["background", *classes]
        case.add(f"{classes[1]} is the only class, and what is not {classes[1]} is one too", classes=classes)
    if classes and ignore < len(classes) and kind == "numbers" and not values:
        _ignored_class(case, classes, ignore, stored)
        return
    if kind == "colours":
        found = meaning.of_colours(stored, classes, root, case.node.get("colours"), values)
        if torn and found:
            text = f"palettes show the number {torn[0]} in another colour from file to file, so the colours count"
            found = [Problem(text=text).joined(found[0]), *found[1:]]
    else:
        unfit = _unfit(case, root, stored) if values and classes else ""
        found = meaning.of_numbers(stored, classes, ignore, None if unfit else values)
        if unfit:
            more = Problem(text=f"dataset.values does not say what {unfit} is", keys={"values": None})
            found = [more.joined(found[0]), *found[1:]] if found else [more]
    case.take(found)


def _unfit(case: Case, root: Path, stored: Mapping[int, int]) -> str:
    """The numbers that ``dataset.values`` gives to no class, or by chance to one that another number has."""
    with contextlib.suppress(SegpruneError):  # loading says it
        space, code = _code(case, root)
        numbers = space.ignore_index, *range(len(space.classes))
        mapped = {label for label in code.labels.values() if label != space.ignore_index}
        return ", ".join(
            str(value)
            for value in sorted(stored)
            if (label := code.label_of(value)) not in numbers
            or (value not in code.labels and label in mapped)
        )
    return ""


def _code(case: Case, root: Path) -> tuple[LabelSpace, MaskCode]:
    """What the keys say of masks; raises as ``mask_code``."""
    classes, colours = case.node["classes"], case.node.get("colours")
    space = LabelSpace(
        classes=tuple(classes), palette=made_palette(len(classes)), ignore_index=case.node["ignore_index"]
    )
    given = TypeAdapter(Colours | Path | None).validate_python(colours)
    return space, mask_code(
        space, case.node.get("values") or {}, root / given if isinstance(given, Path) else given
    )


def _ignored_class(case: Case, classes: Sequence[str], ignore: int, stored: Mapping[int, int]) -> None:
    """``ignore_index`` is the number of a class."""
    others = [value for value in sorted(stored) if value != ignore]
    names = list(classes) if len(others) >= len(classes) else [n for n in classes if n != classes[ignore]]
    text = f"dataset.ignore_index is {ignore}, which is the number of the class {classes[ignore]}"
    keys: Node = {
        "ignore_index": 255,
        "values": {ignore: "ignore"} | {v: k for k, v in enumerate(others)},
    }
    case.add(text, **keys, **({"classes": names} if names != list(classes) else {}))


def _absent(case: Case, root: Path, fit: Sequence[Fact], kind: Kind) -> None:
    classes = case.node.get("classes")
    if not classes:
        return
    with contextlib.suppress(SegpruneError):  # loading says it
        _, code = _code(case, root)
        held = (
            {code.label_of(value) for fact in fit for value, _ in fact.counts} if code.kind == kind else set()
        )
        allowed = case.node.get("allow_absent") or []
        lacking = [name for label, name in enumerate(classes) if label not in held]
        if allowed != "all" and held and not {*lacking} <= {*allowed}:
            case.add(
                f"no training mask holds {', '.join(lacking[:8])}, so no network can learn it: take it out of "
                "dataset.classes, or go on without",
                allow_absent=lacking if len(lacking) <= 8 else "all",
            )
