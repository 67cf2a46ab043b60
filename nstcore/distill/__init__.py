"""Distillation: how the compact encoder is made from VGG-19 and a folder of photographs."""

from nstcore.distill.program import distill
from nstcore.distill.training import Plan, Progress, Training

__all__ = ["Plan", "Progress", "Training", "distill"]
