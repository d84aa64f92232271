"""Installed libraries: which distribution a package belongs to, its version, and what it requires."""

import functools
import importlib.metadata
import importlib.util
import json
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

GROUND = {"torch", "numpy"}


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the libraries with these packages, and of those built on torch or numpy that they require."""
    waiting = [name for package in packages for name in libraries(package)]
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _version(name)
            waiting += [
                other for other in _requirements(name) if other in GROUND or GROUND & {*_requirements(other)}
            ]
    return dict(sorted(found.items()))


@functools.cache
def is_of_python(top: str) -> bool:
    """Whether a module comes with Python; one of somebody may have the same name and be found before it."""
    if top not in sys.stdlib_module_names:
        return False
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:
        return True
    place = Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
    if place is None:  # built in
        return True
    is_inside = any(place.is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    return is_inside and "site-packages" not in place.parts


def libraries(package: str) -> Sequence[str]:
    """The installed distributions that a package to import belongs to; not those installed in place.

    A package of the same name that is found before the installed one belongs to none.
    """
    return [
        name for name in _distributions().get(package, ()) if not _is_in_place(name) and _holds(name, package)
    ]


@functools.cache
def _distributions() -> Mapping[str, Sequence[str]]:
    found = importlib.metadata.packages_distributions()
    return {package: sorted({_normal(name) for name in names}) for package, names in found.items()}


@functools.cache
def _is_in_place(name: str) -> bool:
    """Whether a distribution is a link to a folder that somebody may edit (``pip install -e``)."""
    origin = json.loads(importlib.metadata.distribution(name).read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


@functools.cache
def _holds(name: str, package: str) -> bool:
    """Whether what is imported lies where a distribution put its files."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        return True
    places = spec.submodule_search_locations or ([spec.origin] if spec.origin and spec.has_location else [])
    root = Path(str(importlib.metadata.distribution(name).locate_file(""))).resolve()
    return not places or any(Path(place).resolve().parent == root for place in places)


@functools.cache
def _requirements(name: str) -> Sequence[str]:
    """The installed distributions that one requires, without its extras."""
    texts = (text for text in importlib.metadata.requires(name) or () if "extra ==" not in text)
    names = (_normal(re.split(r"[^\w.-]", text)[0]) for text in texts)
    return [other for other in names if _is_installed(other)]


@functools.cache
def _is_installed(name: str) -> bool:
    return next(iter(importlib.metadata.distributions(name=name)), None) is not None


def _normal(name: str) -> str:
    """The one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def _version(name: str) -> str:
    """With the build that torch's own files tell and its metadata may not, as in ``2.9.0+cu130``."""
    if name != "torch":
        return importlib.metadata.version(name)
    import torch

    return str(torch.__version__)
