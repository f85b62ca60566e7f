"""Compressed files, which begin otherwise than what was compressed."""

# Magic numbers, and what unpacks such files.
_PROGRAMS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def how_packed(head: bytes) -> str | None:
    """Say what a file is compressed with, and what unpacks it.

    Args:
        head: first bytes of the file, at least six.

    Returns:
        The rest of a sentence that begins with the file's name; None if it is not compressed.
    """
    for magic, program in _PROGRAMS.items():
        if head.startswith(magic):
            # Whatever its name ends in, where gunzip and the like want one of their own.
            return f"is compressed with {program}; unpack it first ({program} -dc FILE > NEW)"
    return None
