"""Whole programs, each as short as it can be; `make examples` runs them.

plain_torch.py      a student in a loop of plain torch
edge_numpy.py       decoding with numpy alone
staged_training.py  a staged label set (PDD), stage after stage
"""
