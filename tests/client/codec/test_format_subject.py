"""FORMAT.md's golden subjects are what the code computes."""

import re
from importlib import resources

import numpy as np

from labelcast.answer_subject import LabelSubject, representation_bytes, resolution_checksum
from labelcast.identifiers import digest_from_hash
from labelcast.label_set import MissingViews
from labelcast.representation import Representation
from labelcast.views import Views

FORMAT = resources.files("labelcast.codec").joinpath("FORMAT.md").read_text("utf-8")
DIGEST = digest_from_hash(bytes(32))
VIEWS = Views.of([7, 2**63, 7], [0, 4294967295, 3])
FORMS = {
    "codes": Representation.codes(),
    "logits in fp16": Representation.logits(),
    "top-5 at T = 2": Representation.top_k(5, 2.0),
}


def test_golden_subjects() -> None:
    section = FORMAT.split("## 8. The subject of an answer")[1]
    table = re.findall(r"^\| ([^|]+) \| (.+) \| `([0-9a-f]{8})` \|$", section, re.MULTILINE)
    assert len(table) == len(FORMS) + 1
    for answer, form, checksum in table[:-1]:
        representation = FORMS[answer]
        assert representation_bytes(representation) == bytes.fromhex(form.strip("`"))
        assert f"{LabelSubject(DIGEST, representation).checksum(VIEWS):08x}" == checksum
    rows = np.array([0, 2])
    resolved = resolution_checksum(DIGEST, MissingViews.DROP, VIEWS, VIEWS[rows], rows)
    assert f"{resolved:08x}" == table[-1][2]
