"""Whole programs, each as short as it can be; `make examples` runs them.

plain_torch.py      a student in a loop of plain torch
edge_numpy.py       decoding with numpy alone
language_model.py   a language model from the labels of a larger one
staged_training.py  a staged label set (PDD), stage after stage
"""
