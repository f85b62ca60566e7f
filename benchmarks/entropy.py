"""Would entropy coding shrink the codes? Measured on real ones, chunk by chunk.

    python -m benchmarks.entropy LABEL_SET [LABEL_SET …]

Each codebook gets its own model, as an entropy stage would store it beside the codec: the frequency
of its codewords over the label set; a second one conditions each code on the code before it. Chunks
are coded apart with the range coder of constriction, so that any chunk could be read alone. The
stage is worth its complexity from 5 % on; docs/why/decisions.md says what came out.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from labelcast.codec import VqaeCodec
from labelcast.label_set.chunking import rows_per_chunk
from labelcast.label_set_directory import LabelSetDirectory

RESULT = Path(__file__).parent / "results" / "entropy.json"


def measure(directory: Path) -> dict[str, Any]:
    """Bytes of the codes of one label set, as they are and entropy-coded."""
    label_set = LabelSetDirectory(directory)
    codec = label_set.codec()
    if not isinstance(codec, VqaeCodec):
        raise SystemExit(f"{directory}: only codes of a vqae can be entropy-coded")
    parts = label_set.index().segments
    rows = np.concatenate([label_set.gather(part.views()) for part in parts])
    codes = codec.unpack(rows).astype(np.int32)
    K = codec.shape.codebook_size
    per_chunk = rows_per_chunk(codec.row_stride)
    chunks = [codes[at : at + per_chunk] for at in range(0, len(codes), per_chunk)]
    models = [
        _categorical(np.bincount(codes[:, book], minlength=K)) for book in range(codes.shape[1])
    ]
    coded = sum(_coded_bytes(chunk, models) for chunk in chunks)
    # One fp16 frequency a codeword is what a stored model costs at least.
    model_bytes = 2 * codes.shape[1] * K
    return {
        "labels": len(codes),
        "codes": codes.shape[1],
        "payload_bytes_per_label": codec.row_stride,
        "coded_bytes_per_label": coded / len(codes),
        "model_bytes": model_bytes,
        "saving": 1 - (coded + model_bytes) / rows.nbytes,
        "saving_of_pairs": _saving_of_pairs(codes, K),
    }


def _coded_bytes(chunk: NDArray[np.int32], models: list[Any]) -> int:
    coder = constriction.stream.queue.RangeEncoder()
    for book, model in enumerate(models):
        coder.encode(np.ascontiguousarray(chunk[:, book]), model)
    return int(coder.get_compressed().nbytes)


def _categorical(counts: NDArray[np.int64]) -> Any:
    shares = (counts + 1e-3) / (counts + 1e-3).sum()
    return constriction.stream.model.Categorical(shares.astype(np.float32), perfect=False)


def _saving_of_pairs(codes: NDArray[np.int32], K: int) -> float | None:
    """What conditioning each code on its predecessor would save, fitted on one half of the labels.

    The other half is coded: on the half that it is fitted on, a table of K x K entries learns the
    labels by heart.
    """
    if codes.shape[1] < 2:
        return None
    half = len(codes) // 2
    bits = _bits(
        np.bincount(codes[:half, 0], minlength=K)[None], codes[half:, :1] * 0, codes[half:, :1]
    )
    for book in range(1, codes.shape[1]):
        table = np.zeros((K, K))
        np.add.at(table, (codes[:half, book - 1], codes[:half, book]), 1)
        # Rare pairs borrow from the codeword's own frequency.
        own = np.bincount(codes[:half, book], minlength=K) / half
        table += K * own
        bits += _bits(table, codes[half:, book - 1 : book], codes[half:, book : book + 1])
    return float(1 - bits / (len(codes) - half) / (np.log2(K) * codes.shape[1]))


def _bits(table: NDArray[Any], before: NDArray[np.int32], codes: NDArray[np.int32]) -> float:
    shares = (table + 1e-3) / (table + 1e-3).sum(axis=1, keepdims=True)
    return float(-np.log2(shares[before[:, 0], codes[:, 0]]).sum())


def main() -> int:
    parser = argparse.ArgumentParser(description="What an entropy stage would save.")
    parser.add_argument("label_sets", nargs="+", type=Path, help="directories from encode")
    options = parser.parse_args()
    points = [measure(directory) for directory in options.label_sets]
    RESULT.write_text(json.dumps({"points": points}, indent=1) + "\n")
    for point in points:
        print(
            f"{point['payload_bytes_per_label']} B: {point['saving']:.2%} by codebook,"
            f" {point['saving_of_pairs'] or 0:.2%} by pairs of codes"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
