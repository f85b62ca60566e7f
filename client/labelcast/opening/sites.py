"""Label sets whose fingerprints are with federated sites, and those of which they are not."""

from pathlib import Path

from labelcast.errors import InvalidRequestError
from labelcast.label_set import Manifest
from labelcast.label_set.fingerprints import SiteFingerprints


def check_not_for_sites(manifest: Manifest) -> None:
    """Refuse to say that nothing need be compared, where sites hold what it is compared with.

    Raises:
        InvalidRequestError: says how a site compares its images.
    """
    if manifest.site_fingerprints is not None:
        raise InvalidRequestError(
            "the fingerprints of this label set are with its sites, each has those of its own"
            " samples; give fingerprints=label_set.fingerprints_from(path) with the file that"
            " labelcast federate wrote for yours",
            field="fingerprints",
        )


def for_sites(sites: SiteFingerprints | None) -> SiteFingerprints:
    """What a label set says of its sites.

    Raises:
        InvalidRequestError: it says nothing.
    """
    if sites is None:
        raise InvalidRequestError(
            "the label set names no fingerprints of sites; make it with labelcast federate, or"
            " use label_set.fingerprints(), which has those of all samples",
            field="fingerprints",
        )
    return sites


def read_site_file(path: Path | str) -> bytes:
    """Read what `labelcast federate` wrote for a site.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequestError(
            f"{path} cannot be read ({error.strerror}); give the file that labelcast federate wrote"
            " for this site",
            field="fingerprints",
        ) from None
