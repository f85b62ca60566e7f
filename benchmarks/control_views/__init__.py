"""Whether control views notice what goes wrong between a teacher and a student, and only that."""
