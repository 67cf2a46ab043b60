"""Distillation: how the compact encoder is made from VGG-19 and a folder of photographs."""

from nstcore.distill.program import distill
from nstcore.distill.training import Progress, Training, TrainingPlan

__all__ = ["Progress", "Training", "TrainingPlan", "distill"]
