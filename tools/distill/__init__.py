"""Distillation: how the compact encoder is made from VGG-19 and a folder of photographs."""

from tools.distill.program import distill
from tools.distill.training import Progress, Training, TrainingPlan

__all__ = ["Progress", "Training", "TrainingPlan", "distill"]
