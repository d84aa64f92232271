"""Which files serve which role, as the keys of ``dataset=folder`` say."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from segprune.dataset.augment import Fraction
from segprune.dataset.frames import in_a_row
from segprune.dataset.pair_file import ROLES, read_pairs
from segprune.dataset.pairing import Pair, Suffixes, files_below, list_pairs, pairs_of_list, require_root
from segprune.dataset.split import stratified
from segprune.errors import ConfigError, DataError

log = logging.getLogger(__name__)

Split = tuple[Annotated[Fraction, Field(gt=0)], Fraction, Fraction]
Roles = dict[str, tuple[Pair, ...]]
"""Role -> its pairs; a role that has none is left out."""
EXAMPLE = "'dataset.split=[0.7,0.15,0.15]'"


@with_config(ConfigDict(extra="forbid"))
class RoleFolders(TypedDict):
    """Where the files of one role are, relative to ``root``.

    Attributes:
        images: Folder of images.
        masks: Folder of masks; may be the same one.
        list: Text file of the names of the images that the role has, one a line; without it, it has all.
        only: Names of the images that the role has, with ``*`` for anything; without it, it has all.
    """

    images: str
    masks: str
    list: NotRequired[str | None]
    only: NotRequired[tuple[str, ...] | None]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the files of a dataset are and how they are shared out.

    Attributes:
        root: Folder that everything is relative to.
        folders: Role -> where its files are.
        suffixes: How names of images and of masks end.
        pairs: CSV that names all pairs instead; ``None``: there is none.
        split: Fractions of the pairs of ``fit`` that go to fit, select and report; a role of 0 has its own files.
        split_seed: Which images these are.
        limit: Only the first so many images of each role.
    """

    root: Path
    folders: Mapping[str, RoleFolders]
    suffixes: Suffixes
    pairs: Path | None
    split: Split | None
    split_seed: int
    limit: int | None

    def find(self, holds: Callable[[Sequence[Pair]], Sequence[Set[int]]]) -> Roles:
        """The pairs of each role.

        Args:
            holds: Pairs -> the classes that occur in the mask of each; asked only for a split.

        Raises:
            ConfigError: Keys contradict each other, or one image would serve two roles.
            DataError: A folder or file is missing or has no partner.
        """
        require_root(self.root, self.layout)
        self._tell_of_idle()
        found = self._listed() if self.pairs is None else self._named(self.root / self.pairs)
        if self.split:
            found |= self._divided(found["fit"], self.split, holds)
        if "select" not in self.folders and found.get("select"):
            log.warning(
                "dataset.select=null has no effect: %s gives the role select %d images, and these choose the epoch",
                f"dataset.split={list(self.split)}"
                if self.split
                else f"dataset.pairs={self.root / (self.pairs or '')}",
                len(found["select"]),
            )
        _refuse_shared(found, self._place)
        return {role: found[role][: self.limit] for role in ROLES if found.get(role)}

    @property
    def layout(self) -> str:
        """What is expected below ``root``, in words."""
        if self.pairs:
            return f"the files that {self.pairs} names"
        return "; ".join(_layout(role, self.folders[role], self.suffixes) for role in self._own)

    @property
    def _own(self) -> list[str]:
        """The roles that have files of their own."""
        taken = [role for role, part in zip(ROLES, self.split or (1, 0, 0), strict=True) if part]
        own = ("fit", "report", "select")
        return [role for role in own if role in self.folders and (role == "fit" or role not in taken)]

    def _tell_of_idle(self) -> None:
        """Say which lists and patterns are not looked at.

        They are not refused, since those that a YAML of a published layout has are meant for its own folders.
        """
        read = () if self.pairs else self._own
        idle = [
            f"dataset.{role}.{key}"
            for role, where in self.folders.items()
            for key in ("list", "only")
            if role not in read and where.get(key)
        ]
        if idle:
            log.warning(
                "%s is not looked at, since %s says which images serve that role",
                ", ".join(idle),
                f"dataset.pairs={self.root / self.pairs}"
                if self.pairs
                else f"dataset.split={list(self.split or ())}",
            )

    def _named(self, file: Path) -> Roles:
        found = dict(read_pairs(file, self.root))
        if "" in found:
            if not self.split:
                raise ConfigError(
                    f"dataset.pairs={file} has no column role; add one with fit, select or report, or have the "
                    f"images shared out by {EXAMPLE}"
                )
            if not self.split[2]:
                raise ConfigError(
                    f"dataset.split={list(self.split)} leaves no image to report; dataset.pairs has no roles, so "
                    f"the last fraction must be more than 0, as in {EXAMPLE}"
                )
            return {"fit": found[""]}
        if self.split:
            raise ConfigError(
                f"dataset.pairs={file} gives each image a role, and dataset.split={list(self.split)} would give it "
                "another; give dataset.split=null, or leave the column role out"
            )
        lacking = [role for role in ("fit", "report") if role not in found]
        if lacking:
            raise DataError(
                f"dataset.pairs={file} has no line with the role {lacking[0]}; give some images that role, or "
                f"leave the column role out and give {EXAMPLE}"
            )
        return found

    def _listed(self) -> Roles:
        folders = {role: self.folders[role] for role in self._own}
        for role, where in self.folders.items():
            if role not in folders and (self.root / where["images"]).is_dir() and not self._is_of_fit(where):
                raise ConfigError(
                    f"dataset.split={list(self.split or ())} takes the images of {role} out of those of fit, but "
                    f"{self.root / where['images']} is there as well. Give 0 for {role} in dataset.split to use "
                    f"that folder, or name a folder that is not there as dataset.{role}.images"
                )
        _refuse_overlap(self.root, folders, self.suffixes)
        return {role: self._files(role, where) for role, where in folders.items()}

    def _is_of_fit(self, where: RoleFolders) -> bool:
        return where["images"] == self.folders["fit"]["images"]

    def _files(self, role: str, where: RoleFolders) -> tuple[Pair, ...]:
        images, masks = self.root / where["images"], self.root / where["masks"]
        self._refuse_missing(role, images)
        if where.get("list") and where.get("only"):
            raise ConfigError(f"dataset.{role} has both list and only; give one of them")
        if file := where.get("list"):
            return pairs_of_list(images, masks, self.root / file, suffixes=self.suffixes, layout=self.layout)
        return list_pairs(
            images,
            masks,
            suffixes=self.suffixes,
            layout=self.layout,
            only=where.get("only"),
            where=f"dataset.{role}",
        )

    def _refuse_missing(self, role: str, images: Path) -> None:
        try:
            is_there = images.is_dir()
        except OSError:  # as for a name that is too long, which is told where the folder is listed
            return
        if role == "fit" or (is_there and any(files_below(images))):
            return
        others = [self.root / self.folders[one]["images"] for one in self._own if one not in ("fit", role)]
        split = (
            "[0.85,0.15,0]"
            if role == "select"
            else "[0.8,0,0.2]"
            if any(map(Path.is_dir, others))
            else "[0.7,0.15,0.15]"
        )
        none = (
            "go on without by dataset.select=null, then the last epoch counts, or "
            if role == "select"
            else ""
        )
        raise DataError(
            f"{images} is {'empty' if is_there else 'missing'}. Expected: {self.layout}. Name the folder by "
            f"dataset.{role}.images and .masks. If there are no such images, {none}take some out of the "
            f"training images by 'dataset.split={split}'"
        )

    def _divided(
        self,
        pairs: tuple[Pair, ...],
        split: Split,
        holds: Callable[[Sequence[Pair]], Sequence[Set[int]]],
    ) -> Roles:
        if abs(sum(split) - 1) > 1e-6:
            raise ConfigError(
                f"dataset.split={list(split)} has the sum {sum(split):g}; the fractions of fit, select and report "
                f"must have the sum 1, as in {EXAMPLE}"
            )
        parts = stratified(holds(pairs), split, self.split_seed)
        divided = {
            role: tuple(pair for pair, part in zip(pairs, parts, strict=True) if part == number)
            for number, role in enumerate(ROLES)
            if split[number]
        }
        log.info(
            "dataset.split: %s of %d images",
            ", ".join(f"{role} {len(found)}" for role, found in divided.items()),
            len(pairs),
        )
        if 2 * in_a_row([pair.name for pair in pairs]) > len(pairs):
            log.warning(
                "dataset.split: the images look like frames of a video, so nearly equal ones are now on both sides "
                "and the reported mIoU is too high; share out whole clips by 'dataset.fit.only=[clip1_*]' and so on"
            )
        return divided

    def _place(self, role: str) -> str:
        """Where a person takes an image out of a role."""
        if self.pairs:
            return str(self.root / self.pairs)
        return self.folders[role].get("list") or f"dataset.{role}.{_part(self.folders[role])}"


def _part(where: RoleFolders) -> str:
    return "only" if where.get("only") else "images"


def _layout(role: str, where: RoleFolders, suffixes: Suffixes) -> str:
    ours, theirs = ("|".join(endings) for endings in suffixes)
    names = f", the names in {where['list']}" if where.get("list") else ""
    names += f", the names {', '.join(where['only'] or ())}" if where.get("only") else ""
    return f"{role}: {where['images']}/*{ours} with {where['masks']}/*{theirs}{names}"


def _refuse_shared(found: Roles, place: Callable[[str], str]) -> None:
    """Refuse an image that serves two roles."""
    first: dict[str, str] = {}
    for role, pairs in found.items():
        for pair in pairs:
            other = first.setdefault(os.path.realpath(pair.image), role)
            if other != role:
                raise ConfigError(
                    f"{pair.image} is in dataset.{other} and in dataset.{role}: one image must not serve two "
                    f"roles; take it out of {place(role)}"
                )


def _refuse_overlap(root: Path, roles: Mapping[str, RoleFolders], suffixes: Suffixes) -> None:
    found: dict[str, Path] = {}
    for role, where in roles.items():
        images, masks = (Path(os.path.realpath(root / where[part])) for part in ("images", "masks"))
        for other, theirs in found.items():
            is_chosen = all(roles[one].get("list") or roles[one].get("only") for one in (role, other))
            if not is_chosen and (images.is_relative_to(theirs) or theirs.is_relative_to(images)):
                how = "are both" if images == theirs else "lie in one another:"
                raise ConfigError(
                    f"dataset.{role}.images and dataset.{other}.images {how} {where['images']} and "
                    f"{roles[other]['images']}: one image must not serve two roles; give dataset.{role} its own "
                    f"folder, give both a list of names, or share the images of one folder out by {EXAMPLE}"
                )
        found[role] = images
        if images == masks and {*suffixes[0]} & {*suffixes[1]}:
            raise ConfigError(
                f"dataset.{role}: images and masks are both {where['images']}/*{suffixes[0][0]}; set "
                "dataset.image_suffix and dataset.mask_suffix so that they can be told apart"
            )
