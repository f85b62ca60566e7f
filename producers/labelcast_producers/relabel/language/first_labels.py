"""Whether an encoder keeps what it was given, watched over the first labels of a run.

An encoder that mixes rows up, or was calibrated for another model, writes labels that look like
any others. What tells is the probability of two tokens under the decoded label beside that under
the exact one: the text's own next token and the teacher's likeliest. Codecs that draw or cut off
tokens change single positions much and the mean hardly; codecs of states change no position much.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelValueError
from labelcast.label_set.language import NextTokenMeter

WATCHED = 1024
"""Labels that are watched."""
# Renormalised top-k raise a probability by the mass that they leave out, never by half.
_RELATIVE = 0.5
_STANDARD_ERRORS = 6.0
# Int8 states change it by a hundredth.
_RELATIVE_OF_STATES = 0.25


@dataclass
class FirstLabels:
    """Gathers probabilities of tokens under exact and decoded labels.

    Attributes:
        of_states: whether labels keep the teacher's states.
        watched: labels so far.
        next_token: how likely the teacher itself calls the next token of theirs.
    """

    of_states: bool = False
    watched: int = 0
    next_token: NextTokenMeter = field(default_factory=NextTokenMeter)
    _count: int = 0
    _exact: float = 0.0
    _gap: float = 0.0
    _squares: float = 0.0
    _distance: float = 0.0

    @property
    def done(self) -> bool:
        """Whether enough labels have been seen."""
        return self.watched >= WATCHED

    def add(self, exact: NDArray[np.float64], decoded: NDArray[np.float64], labels: int) -> None:
        """Take probabilities of the same tokens, then compare all so far.

        Args:
            exact: shape (n,): under the teacher's prediction.
            decoded: shape (n,): under the decoded label.
            labels: number of labels that they are of.

        Raises:
            LabelValueError: the decoded labels are not the encoded ones.
        """
        gaps = decoded - exact
        self.watched += labels
        self._count += len(gaps)
        self._exact += float(exact.sum())
        self._gap += float(gaps.sum())
        self._squares += float((gaps**2).sum())
        self._distance += float(np.abs(gaps).sum())
        mean, gap = self._exact / self._count, self._gap / self._count
        error = (max(self._squares / self._count - gap**2, 0) / self._count) ** 0.5
        far = self.of_states and not self._distance / self._count <= _RELATIVE_OF_STATES * mean
        if far or not abs(gap) <= _RELATIVE * mean + _STANDARD_ERRORS * error:
            raise LabelValueError(
                f"decoded labels give the next token and the likeliest one {mean + gap:.3g} on"
                f" average, the teacher gives them {mean:.3g}: the codec destroys these labels;"
                " choose another codec, such as hidden:fp16"
            )
