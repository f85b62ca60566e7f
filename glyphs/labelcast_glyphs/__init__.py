"""Glyphs-1000: the data set, networks, teacher and distilled set of demo and benchmarks."""

from labelcast_glyphs.dataset import GlyphDataset, LabelledImages
from labelcast_glyphs.distilled import DistilledSet, distil
from labelcast_glyphs.evaluation import top1_accuracy
from labelcast_glyphs.networks import GlyphNet, student_network, teacher_network
from labelcast_glyphs.teacher import (
    Teacher,
    TeacherSettings,
    load_teacher,
    train_or_load_teacher,
)

__all__ = [
    "DistilledSet",
    "GlyphDataset",
    "GlyphNet",
    "LabelledImages",
    "Teacher",
    "TeacherSettings",
    "distil",
    "load_teacher",
    "student_network",
    "teacher_network",
    "top1_accuracy",
    "train_or_load_teacher",
]
