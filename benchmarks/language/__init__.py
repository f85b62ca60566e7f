"""Students of a language model, by what is kept of its predictions.

    python -m benchmarks.language              all that is missing, then language.json
    python -m benchmarks.language --list       what is done and what is missing
    python -m benchmarks.language --quick      a tiny run, for a check

A teacher labels texts that machines carry once, exactly: states after the final norm, fp32, with
its head. Every other label set is encoded from those, which gives the bytes that the teacher itself
would have given. Students start from nothing, read their labels from a label set on disk, by sample
and position, and differ in the labels alone. All are tested on the text itself, held out.

What is not as usual, and why:
  * Students learn from labels alone, without a share of hard labels: what labels are worth shows.
  * Few tokens, several times: students of hard labels learn them by heart. They are given the best
    of their epochs, which the held-out text itself chooses; others are measured after the last.
"""
