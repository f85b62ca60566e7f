"""The settings that DistillKit's files were written with, from the YAML file beside them.

Nothing in a Parquet file says how its byte strings are cut up: without the settings, no label can
be read. Keys and defaults are those of DistillKit's `DistributionQuantizationConfig`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from labelcast.codec.sparse.distillkit.settings import (
    FLOAT_BYTES,
    MAX_ELEMENT_BITS,
    SPECIAL_TERMS,
    ResidualBin,
    Settings,
)
from labelcast.errors import LabelFileError

SETTINGS_NAME = "compression_config.yaml"
_MAX_SETTINGS_BYTES = 2**20


def settings_beside(directory: Path) -> Settings | None:
    """Read the settings of the Parquet files in a directory.

    They come from `compression_config.yaml`, which DistillKit writes, else from the only YAML file
    that holds some: the configuration of a training run nests them.

    Returns:
        None if no file holds any.

    Raises:
        LabelFileError: they are malformed, of the legacy kind, or ambiguous.
    """
    written = directory / SETTINGS_NAME
    paths = [written]
    if not written.is_file():
        paths = sorted(
            path for path in directory.glob("*.y*ml") if path.suffix in {".yaml", ".yml"}
        )
    found = [(path, value) for path in paths for value in _settings_in(path)]
    if len(found) > 1:
        names = ", ".join(sorted({path.name for path, _ in found}))
        raise LabelFileError(
            f"{directory}: several compression settings in {names};"
            f" put the right ones alone into {SETTINGS_NAME}"
        )
    if found:
        return _parsed(*found[0])
    if written.is_file():
        raise LabelFileError(f"{written}: holds no mapping with d and k; is it DistillKit's?")
    return None


def _settings_in(path: Path) -> list[Mapping[str, Any]]:
    """Every mapping of a YAML file that looks like compression settings."""
    try:
        if path.stat().st_size > _MAX_SETTINGS_BYTES:
            return []
        content = yaml.safe_load(path.read_bytes())
    # Impossible dates are a ValueError, a deep nest a RecursionError.
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise LabelFileError(f"{path}: is no readable YAML: {error}; restore the file") from error
    mappings = list(_mappings(content))
    found = [each for each in mappings if "d" in each and "k" in each]
    if not found and any("polynomial_degree" in each for each in mappings):
        raise _legacy(path)
    return found


def _mappings(content: object) -> Iterator[Mapping[str, Any]]:
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        # YAML's aliases may name one value a billion times, or a value inside itself.
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _legacy(path: Path) -> LabelFileError:
    return LabelFileError(
        f"{path}: polynomial_degree marks DistillKit's legacy compression, which is not supported;"
        " write the labels again with the current one"
    )


_DEFAULTS: dict[str, Any] = {
    "exact_dtype": "float32",
    "polynomial_terms": None,
    "term_dtype": "float32",
    "residual_bins": None,
    "delta_encoding": True,
    "error_diffusion": False,
    "normalize_t": False,
}


def _parsed(path: Path, value: Mapping[str, Any]) -> Settings:
    if "polynomial_degree" in value:
        raise _legacy(path)
    fields = _Fields(path, value, required=("d", "k", "exact_k"), defaults=_DEFAULTS)
    k = fields.integer("k", 1)
    # How errors were diffused while writing makes no difference to reading.
    fields.flag("error_diffusion")
    settings = Settings(
        d=fields.integer("d", 2, 2**31),
        k=k,
        exact_k=fields.integer("exact_k", 0, k),
        exact_dtype=fields.float_name("exact_dtype"),
        polynomial_terms=tuple(_term(path, term) for term in fields.sequence("polynomial_terms")),
        term_dtype=fields.float_name("term_dtype"),
        residual_bins=tuple(_bin(path, each) for each in fields.sequence("residual_bins")),
        delta_encoding=fields.flag("delta_encoding"),
        normalize_t=fields.flag("normalize_t"),
    )
    if settings.k > settings.d:
        raise LabelFileError(f"{path}: k is {k}, more than the {settings.d} of d")
    if settings.tail and not (settings.polynomial_terms or settings.residual_bins):
        raise LabelFileError(
            f"{path}: exact_k is below k, but there are no polynomial_terms or residual_bins"
        )
    if sum(each.num_elements for each in settings.residual_bins) > settings.tail:
        raise LabelFileError(f"{path}: residual_bins hold more than k - exact_k elements")
    return settings


def _term(path: Path, term: object) -> int | str:
    if type(term) is int and 0 <= term < 64:
        return term
    if isinstance(term, str) and term in SPECIAL_TERMS:
        return term
    raise LabelFileError(
        f"{path}: polynomial term {term!r} is neither a power from 0 to 63 nor one of"
        f" {', '.join(SPECIAL_TERMS)}"
    )


def _bin(path: Path, value: object) -> ResidualBin:
    if not isinstance(value, dict):
        raise LabelFileError(f"{path}: residual_bins must be a list of mappings")
    fields = _Fields(path, value, required=("scale_dtype", "element_bits", "num_elements"))
    return ResidualBin(
        fields.float_name("scale_dtype"),
        fields.integer("element_bits", 1, MAX_ELEMENT_BITS),
        fields.integer("num_elements", 1),
    )


class _Fields:
    """Parses one mapping strictly.

    Args:
        path: path of the file, for messages.
        value: mapping to parse.
        required: keys that must exist.
        defaults: optional keys with their defaults.
    """

    def __init__(
        self,
        path: Path,
        value: Mapping[str, Any],
        required: tuple[str, ...],
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = path
        self._values = {**(defaults or {}), **value}
        unknown = sorted(map(str, set(value) - set(required) - set(defaults or {})))
        missing = sorted(set(required) - set(value))
        if unknown or missing:
            what = f"unknown keys {unknown}" if unknown else f"keys missing: {missing}"
            raise LabelFileError(f"{path}: {what}; expected DistillKit's compression settings")

    def integer(self, name: str, low: int, high: int = 2**24) -> int:
        """Take a whole number from low to high."""
        value = self._values[name]
        # YAML's true is an int to Python.
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(name, f"a whole number from {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        """Take true or false."""
        value = self._values[name]
        if type(value) is not bool:
            raise self._wrong(name, "true or false")
        return value

    def float_name(self, name: str) -> str:
        """Take a key of `FLOAT_BYTES`."""
        value = self._values[name]
        if not isinstance(value, str) or value not in FLOAT_BYTES:
            raise self._wrong(name, f"one of {', '.join(FLOAT_BYTES)}")
        return value

    def sequence(self, name: str) -> list[Any]:
        """Take a list; null is an empty one."""
        value = self._values[name]
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "a list or null")
        return value

    def _wrong(self, name: str, expected: str) -> LabelFileError:
        return LabelFileError(f"{self._path}: {name} is {self._values[name]!r}, not {expected}")
