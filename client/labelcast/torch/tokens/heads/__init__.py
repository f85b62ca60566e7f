"""Heads of language models: the student's, the teacher's, and what models give theirs."""
