"""Whether two answers of a service say the same, as far as what they say must never change."""

from typing import Any

import numpy as np

from labelcast import DeliveredLabels, Representation, Views, wire
from labelcast.codec import TOLERANCES, Precision
from labelcast.representation import Form
from labelcast.v2 import labels_pb2 as pb
from tests.golden.conversation import Call
from tests.golden.expected import EXACT, NAMES, expected

_ASKED: dict[str, Any] = {
    "GetLabels": pb.GetLabelsRequest,
    "StreamLabels": pb.StreamLabelsRequest,
    "StreamPlan": pb.StreamPlanRequest,
}
_EXACT_SETS = {expected(name).digest for name in EXACT}
_CLASSES = {expected(name).digest: expected(name).labels.shape[1] for name in NAMES}


def assert_same_answer(answered: Call, recorded: Call) -> None:
    """Words for people may change, and how rows are cut into messages."""
    if recorded.status is not None:
        assert answered.status is not None
        assert answered.status.error == recorded.status.error
        return
    assert answered.status is None, answered.status
    if recorded.method in _ASKED:
        _assert_same_rows(answered, recorded)
    else:
        assert answered.parsed_replies == recorded.parsed_replies


def _assert_same_rows(answered: Call, recorded: Call) -> None:
    request = _ASKED[recorded.method].FromString(recorded.requests[0])
    form = wire.representation_from_proto(request.representation)
    first, known_first = _parts(answered)[0].first_row, _parts(recorded)[0].first_row
    assert first == known_first
    classes = _CLASSES[request.label_set]
    given, known = _delivered(answered, form, classes), _delivered(recorded, form, classes)
    multiplied = form.form is not Form.CODES and request.label_set not in _EXACT_SETS
    if form.form in (Form.CODES, Form.LOGITS) and not multiplied:
        np.testing.assert_array_equal(given.rows, known.rows)
    elif form.form is Form.TOP_K:
        (ids, values), (known_ids, known_values) = given.top_k(), known.top_k()
        np.testing.assert_array_equal(ids, known_ids)
        assert TOLERANCES[Precision.FP16].accepts(values, known_values)
    else:
        assert form.precision is not None
        values = given.values.astype(np.float32)
        assert TOLERANCES[form.precision].accepts(values, known.values.astype(np.float32))


def _delivered(call: Call, form: Representation, classes: int) -> DeliveredLabels:
    count = sum(part.count for part in _parts(call))
    payload = b"".join(part.payload for part in _parts(call))
    rows = np.frombuffer(payload, np.uint8).reshape(count, -1)
    return DeliveredLabels(Views.of(np.arange(count), 0), rows, form, classes)


def _parts(call: Call) -> list[Any]:
    if call.method == "GetLabels":
        return list(call.parsed_replies[0].parts)
    return [reply.rows for reply in call.parsed_replies]
