"""Label sets for federated sites: each site knows the fingerprints of its own samples alone."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import shows_partners
from labelcast.errors import InvalidRequestError, ManifestError
from labelcast.files import write_whole
from labelcast.label_set.control_views import CONTROL_PART
from labelcast.label_set.fingerprints import SITES_PART, SampleFingerprints, SiteFingerprints
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast_producers.encoding.add_stage import bring_blobs, without_fingerprints

_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def federate(
    label_set: LabelSetDirectory, sites: Mapping[str, NDArray[np.uint64]], out: Path
) -> LabelSetDirectory:
    """Take the fingerprints out of a label set, and give each site those of its own samples.

    Writes `out/label-set`, to be published, and for each site `out/NAME.fingerprints`, which is
    for that site alone. The label set names the digest of each. Control views are left out too:
    they are thumbnails of some sites' images.

    Args:
        label_set: with fingerprints; its blobs are linked, if the disk can, or copied.
        sites: uint64 sample IDs by name of the site; sites may share samples.
        out: directory to write.

    Raises:
        ManifestError: the label set has no fingerprints, or its views show other samples too.
        InvalidRequestError: no sites, an impossible name, or samples that the label set lacks.
    """
    if shows_partners(label_set.contract.policy):
        raise ManifestError(
            "views of this label set are mixed with other samples, which a site does not have;"
            ' make labels with "mix": "none" in the policy'
        )
    known = label_set.fingerprints()
    if known is None:
        raise ManifestError(
            "the label set has no fingerprints to give to sites; make it from images"
        )
    if not sites:
        raise InvalidRequestError("name at least one site, with --site NAME=FILE")
    parts = {name: _part(known, name, ids) for name, ids in sites.items()}
    digests = tuple(sorted({part.digest() for part in parts.values()}))
    told = SiteFingerprints(known.kind, known.reading, digests)
    directory = out / "label-set"
    (directory / "manifest.json").unlink(missing_ok=True)
    writer = LabelSetDirectoryWriter(directory)
    manifest = without_fingerprints(label_set.manifest)
    named = dict(manifest.parts) | {SITES_PART: writer.add_blob(told.to_bytes())}
    named.pop(CONTROL_PART, None)
    manifest = replace(manifest, parts=tuple(sorted(named.items())))
    bring_blobs(label_set, manifest, directory)
    for name, part in parts.items():
        write_whole(out / f"{name}.fingerprints", part.to_bytes())
    writer.finish(manifest)
    return LabelSetDirectory(directory)


def _part(
    known: SampleFingerprints, name: str, sample_ids: NDArray[np.uint64]
) -> SampleFingerprints:
    if _SITE.fullmatch(name) is None:
        raise InvalidRequestError(
            f"{name[:80]!r} is no name of a site; use up to 64 of A-Z a-z 0-9 _ -"
        )
    ids = np.unique(sample_ids)
    strangers = ids[~known.known(ids)]
    if len(strangers) or not len(ids):
        lacks = f"sample ID {strangers[0]} is not in the label set" if len(ids) else "no sample IDs"
        raise InvalidRequestError(f"site {name}: {lacks}; give IDs of the label set's samples")
    return known.only(ids)
