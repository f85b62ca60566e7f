"""Teachers' heads: from the store into the files of this machine, where a decoder process reads."""

from labelcast.codec.latent import HeadSpec
from labelcast.errors import InvalidRequestError
from labelcast.label_set import Manifest
from labelcast_server.decoder.heads import HeadFiles
from labelcast_server.delivery.cache.chunks import ChunkCache


def shipped_head(manifest: Manifest) -> HeadSpec | None:
    """The head that a label set has; None where it has none, or only names it."""
    language = manifest.contract.language
    return None if manifest.head is None or language is None else language.head


async def head_files(chunks: ChunkCache, manifest: Manifest) -> HeadFiles:
    """Files that hold a label set's head, made where they are missing.

    Args:
        chunks: cache of this machine.
        manifest: of a label set that has a head.

    Raises:
        InvalidRequestError: it has none.
        As `ChunkCache.file_with`.
    """
    section, spec = manifest.head, shipped_head(manifest)
    if section is None or spec is None:
        raise InvalidRequestError("this label set has no head")
    parts = [(await chunks.file_with(section, shard), shard.rows) for shard in section.shards]
    return HeadFiles(spec, tuple(parts))
