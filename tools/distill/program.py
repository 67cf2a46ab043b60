"""The distillation as one function."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from tools.distill.teacher import load_teacher
from tools.distill.training import Progress, Training, TrainingPlan
from tools.distill.training_images import Photos

log = logging.getLogger(__name__)


def distill(
    teacher_weights: Path | str,
    photos: Path | str,
    out: Path | str,
    *,
    minutes: float | None = 120.0,
    steps: int | None = None,
    resume: bool = True,
    device: str = "auto",
    seed: int = 0,
    folder: Path | str | None = None,
    init: Path | str | None = None,
    plan: TrainingPlan | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Training:
    """Distil a compact encoder from VGG-19.

    Args:
        teacher_weights: VGG-19 in torchvision's layout (``.pth`` or ``.safetensors``).
        photos: folder of photographs, searched recursively; a thousand are enough to start with.
        out: where the ``.safetensors`` file shall stand.
        minutes: time budget, resumed sessions added up; the learning rate falls along it.
        steps: budget in steps; the sooner of the two ends the training.
        resume: go on from the checkpoint in ``folder`` if there is one.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of the held-out choice, the images and the regressions.
        folder: for the checkpoint and the replay (default: ``<out>.distill`` beside ``out``).
        init: exported weights to start from in place of the closed-form start.
        plan: all other numbers; its budget and seed are replaced by the arguments.
        progress: called every 20 steps and after each validation.

    Returns:
        the finished training.

    Raises:
        WeightsError: if the teacher or ``init`` cannot be used.
        ImageError: if there are too few photographs.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    out = Path(out)
    plan = replace(plan or TrainingPlan(), minutes=minutes, steps=steps, seed=seed)
    training = Training(
        load_teacher(teacher_weights),
        Photos(photos, seed),
        Path(folder) if folder is not None else out.with_name(out.name + ".distill"),
        plan,
        torch.device(device),
    )
    if not (resume and training.resume()):
        if init is not None:
            training.warm_start(Path(init))
        else:
            training.start()
        training.save()
    training.run(out, progress)
    return training
