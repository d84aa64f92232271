"""What the files of a data set hold: damage, turned photos, what masks store, classes that are not there."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from segprune.dataset.facts import Fact, FileKey, examined
from segprune.dataset.labels import LabelSpace, made_palette
from segprune.dataset.mask_code import Kind
from segprune.dataset.mask_options import Colours, mask_code
from segprune.dataset.pairing import Pair
from segprune.doctor import meaning
from segprune.doctor.case import Case, Node
from segprune.doctor.pairs import SHOWN, leave_out
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
    images = examined([FileKey("image", pair.image) for pair in every], index)
    masks = examined([FileKey(kind, pair.label) for pair in every], index)
    coloured = [
        key for key, fact in masks.items() if isinstance(fact, DataError) and "dataset.colours" in str(fact)
    ]
    if kind == "numbers" and 2 * len(coloured) > len(masks):
        kind = "colours"
        masks = examined([FileKey(kind, pair.label) for pair in every], index)
    facts = {pair: (images[FileKey("image", pair.image)], masks[FileKey(kind, pair.label)]) for pair in every}
    _turned(case, facts)
    faults = {pair: fault for pair in every if (fault := _fault(case, pair, facts[pair]))}
    if faults:
        kept = {role: [pair for pair in found if pair not in faults] for role, found in pairs.items()}
        if all(kept.values()):
            leave_out(case, root, kept, f"{len(faults)} pairs are not usable", list(faults.values()))
        else:
            case.add(f"{len(faults)} pairs are not usable:\n   " + "\n   ".join([*faults.values()][:SHOWN]))
        pairs = kept
    known = {
        pair: both[1] for pair, both in facts.items() if pair not in faults and isinstance(both[1], Fact)
    }
    stored: Counter[int] = Counter()
    for fact in known.values():
        stored.update(dict(fact.counts))
    if stored:
        _meaning(case, root, kind, stored)
        _absent(case, [known[pair] for pair in pairs.get("fit", ()) if pair in known], kind)


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


def _meaning(case: Case, root: Path, kind: Kind, stored: Mapping[int, int]) -> None:
    classes, values, ignore = case.node.get("classes"), case.node.get("values"), case.node["ignore_index"]
    if classes and ignore < len(classes) and kind == "numbers" and not values:
        _ignored_class(case, classes, ignore, stored)
        return
    if kind == "colours":
        found = meaning.of_colours(stored, classes, root, case.node.get("colours"), values)
    else:
        found = meaning.of_numbers(stored, classes, ignore, values)
    case.take(found)


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


def _absent(case: Case, fit: Sequence[Fact], kind: Kind) -> None:
    classes = case.node.get("classes")
    if not classes:
        return
    with contextlib.suppress(SegpruneError):  # loading says it
        space = LabelSpace(
            classes=tuple(classes),
            palette=made_palette(len(classes)),
            ignore_index=case.node["ignore_index"],
        )
        given = TypeAdapter(Colours | Path | None).validate_python(case.node.get("colours"))
        code = mask_code(space, case.node.get("values") or {}, given)
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
