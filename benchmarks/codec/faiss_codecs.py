"""Product, optimised product and residual quantization by faiss, over principal components."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.codec.contract import BenchmarkCodec, FitInput, Packed, Values
from benchmarks.codec.features import Feature
from benchmarks.codec.fidelity import choose_best
from benchmarks.codec.pca import Basis, fit_basis, project
from labelcast_producers.fitting.sampling import RowNumbers

# What principal components leave out no code can bring back, and what they let in takes codewords.
COMPONENTS = (64, 128, 256, 512, 1000)
# Features are compared with these: some are best with few of them, others with many.
_COMPARED_COMPONENTS = (64, 256)
_BITS = 8
# faiss subsamples to 256 points a codeword for k-means; this is the same for the rest.
_TRAIN_ROWS = 65_536
# 64 a codeword, to choose by.
_CHOICE_TRAIN_ROWS = 16_384


class Method(StrEnum):
    """How a vector of coefficients becomes bytes."""

    PRODUCT = "pq"
    OPTIMISED_PRODUCT = "opq"
    RESIDUAL = "rq"


# Of roots of probabilities labels may be nearer by KL, and teach less: both have students.
FAMILIES = {str(method): (method, Feature.of_logits()) for method in Method} | {
    f"{method}-root": (method, (Feature.ROOT,)) for method in Method
}


class FaissCodec(BenchmarkCodec):
    """One byte a codebook.

    Args:
        basis: of the coefficients.
        rotation: float32 of fp16 values, shape (k, k), or None.
        quantizer: a trained faiss quantizer.
        codebook_values: numbers in its codebooks, stored in fp16.
    """

    def __init__(
        self, basis: Basis, rotation: Values | None, quantizer: Any, codebook_values: int
    ) -> None:
        super().__init__()
        self.basis = basis
        self._rotation = rotation
        self._quantizer = quantizer
        rotation_values = 0 if rotation is None else rotation.size
        self.codec_bytes = basis.stored_bytes + 2 * (rotation_values + codebook_values)

    def encode(self, labels: NDArray[Any], rows: RowNumbers) -> Packed:
        vectors = self.basis.project(labels)
        if self._rotation is not None:
            vectors = np.ascontiguousarray(vectors @ self._rotation.T)
        codes: Packed = self._quantizer.compute_codes(vectors)
        return codes

    def decode(self, packed: Packed, rows: RowNumbers) -> Values:
        vectors: Values = self._quantizer.decode(np.ascontiguousarray(packed))
        if self._rotation is not None:
            vectors = vectors @ self._rotation
        return self.basis.restore(vectors)


def fit_faiss(
    given: FitInput, *, method: Method, codes: int, features: Sequence[Feature]
) -> BenchmarkCodec:
    """The best of `features` under one method at `codes` bytes, with as many components as help."""
    task = given.task
    # Product quantization splits components evenly.
    compared, sizes = (
        {min(size, task.num_classes) // codes * codes for size in of}
        for of in (_COMPARED_COMPONENTS, COMPONENTS)
    )
    candidates: dict[str, FaissCodec] = {}
    bases = {feature: fit_basis(task, feature, max(sizes)) for feature in features}
    rows = task.rows_beside_choice(_CHOICE_TRAIN_ROWS)
    vectors = {feature: project(task, basis, rows) for feature, basis in bases.items()}

    def train(feature: Feature, size: int) -> None:
        few = np.ascontiguousarray(vectors[feature][:, :size])
        name = f"{feature}, {size} components"
        candidates[name] = _train(method, bases[feature].first(size), few, codes)

    for feature in features:
        for size in sorted(compared):
            train(feature, size)
    best = choose_best(candidates, task).basis.feature
    for size in sorted(sizes - compared):
        train(best, size)
    chosen = choose_best(candidates, task)
    all_vectors = project(task, chosen.basis, task.fitted_rows(_TRAIN_ROWS))
    trained = _train(method, chosen.basis, all_vectors, codes)
    trained.choice = chosen.choice
    return trained


def _train(method: Method, basis: Basis, vectors: Values, codes: int) -> FaissCodec:
    size = vectors.shape[1]
    if method is Method.RESIDUAL:
        residual = faiss.ResidualQuantizer(size, codes, _BITS)
        residual.train(vectors)
        _round_in_place(residual.codebooks)
        return FaissCodec(basis, None, residual, residual.codebooks.size())
    rotation: Values | None = None
    if method is Method.OPTIMISED_PRODUCT:
        optimised = faiss.OPQMatrix(size, codes)
        optimised.train(vectors)
        learned = faiss.vector_to_array(optimised.A).reshape(size, size)
        rotation = learned.astype(np.float16).astype(np.float32)
        vectors = np.ascontiguousarray(vectors @ rotation.T)
    product = faiss.ProductQuantizer(size, codes, _BITS)
    product.train(vectors)
    _round_in_place(product.centroids)
    return FaissCodec(basis, rotation, product, product.centroids.size())


def _round_in_place(values: Any) -> None:
    """Give a faiss vector the precision that a decoder would store."""
    rounded = faiss.vector_to_array(values).astype(np.float16).astype(np.float32)
    faiss.copy_array_to_vector(rounded, values)
