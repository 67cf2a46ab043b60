"""What a student is worth: on held-out photographs, and by what its gradients do to an image."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from nstcore.core.encoders import EVAL_HELD_OUT_LAYERS, EVAL_STYLE_LAYERS
from nstcore.core.encoders.compact import CompactEncoder
from nstcore.core.losses.base import relative_error
from nstcore.core.moments import gram_matrix
from tools.distill.augment import perturb
from tools.distill.matching import MAIN_LAYERS, lifted_gram, unexplained_energy
from tools.distill.replay import stylize
from tools.distill.teacher import Teacher
from tools.distill.training_images import Photos, procedural, to_tensor


@dataclass(frozen=True)
class Validation:
    """Figures of one validation; all but ``recovered`` are better when smaller.

    Attributes:
        energy: by layer, share of the teacher's energy left unexplained on held-out photographs.
        noisy_energy: the same on their noisy, blurred or tinted neighbours.
        moment: by layer, relative Frobenius error of the second moments, mean over images.
        recovered: by how much the teacher's style error falls from the content image to an image
            optimized with the student, as a share (1: to zero), mean over probe images.
        recovered_held_out: the same over layers that nobody optimized.
    """

    energy: dict[str, float]
    noisy_energy: dict[str, float]
    moment: dict[str, float]
    recovered: float
    recovered_held_out: float

    @property
    def loss(self) -> float:
        """Mean unexplained energy over the main layers, with and without perturbation."""
        clean = np.mean([self.energy[layer] for layer in MAIN_LAYERS])
        noisy = np.mean([self.noisy_energy[layer] for layer in MAIN_LAYERS])
        return float(clean + noisy) / 2

    @property
    def score(self) -> float:
        """One number to choose the best weights by; larger is better."""
        return (self.recovered + self.recovered_held_out) / 2

    def as_dict(self) -> dict[str, object]:
        """For a log or a file."""
        return {"loss": self.loss, "score": self.score, **asdict(self)}


@torch.no_grad()
def measure_features(
    student: CompactEncoder, teacher: Teacher, images: Tensor, batch: int = 8
) -> tuple[dict[str, float], dict[str, float]]:
    """Unexplained energy and moment error by layer over images (N, 3, H, W)."""
    energies: dict[str, list[float]] = {layer: [] for layer in student.layers}
    errors: dict[str, list[float]] = {layer: [] for layer in student.layers}
    for part in torch.split(images, batch):
        found, targets = student(part, student.layers), teacher(part, student.layers)
        for layer, target in targets.items():
            adapter = student.lift(layer)
            energies[layer].append(float(unexplained_energy(adapter(found[layer]), target)))
            error = relative_error(lifted_gram(adapter, found[layer]), gram_matrix(target))
            errors[layer].append(float(error.sqrt().mean()))
    return (
        {layer: float(np.mean(v)) for layer, v in energies.items()},
        {layer: float(np.mean(v)) for layer, v in errors.items()},
    )


@torch.no_grad()
def teacher_style_error(
    teacher: Teacher, image: Tensor, style: Tensor, layers: tuple[str, ...]
) -> Tensor:
    """||G - S||_F / ||S||_F under the teacher, mean over layers: (N,)."""
    found, target = teacher(image, layers), teacher(style, layers)
    return torch.stack(
        [relative_error(gram_matrix(found[layer]), gram_matrix(target[layer])) for layer in layers]
    ).mean(0)


def probe(
    student: CompactEncoder,
    teacher: Teacher,
    photos: Photos,
    device: torch.device,
    *,
    size: int = 112,
) -> tuple[float, float]:
    """Stylize a few held-out photographs under the student and evaluate them by the teacher.

    Returns:
        share of the style error that vanished, over the style layers and over the held-out layers.
    """
    generator = np.random.default_rng(20151508)
    count = 6
    content = to_tensor([photos.crop(generator, size, held_out=True) for _ in range(count)]).to(
        device
    )
    styles = [procedural(generator, size) for _ in range(count // 2)]
    styles += [photos.crop(generator, size, held_out=True) for _ in range(count - len(styles))]
    style = to_tensor(styles).to(device)
    result = stylize(
        student,
        content,
        content,
        style,
        style_weight=torch.full((count,), 100.0, device=device),
        layer_weights=torch.full(
            (len(EVAL_STYLE_LAYERS), count), 1 / len(EVAL_STYLE_LAYERS), device=device
        ),
        iterations=30,
        method="lbfgs",
        snapshots=1,
    )[-1]
    shares = []
    for layers in (EVAL_STYLE_LAYERS, EVAL_HELD_OUT_LAYERS):
        before = teacher_style_error(teacher, content, style, layers)
        after = teacher_style_error(teacher, result, style, layers)
        shares.append(float(1 - (after.sqrt() / before.sqrt().clamp_min(1e-6)).mean()))
    return shares[0], shares[1]


def validate(
    student: CompactEncoder,
    teacher: Teacher,
    photos: Photos,
    device: torch.device,
    *,
    count: int = 16,
) -> Validation:
    """Measure a student on ``count`` held-out crops of 128 px and on the probe images."""
    generator = np.random.default_rng(19740101)
    images = to_tensor([photos.crop(generator, 128, held_out=True) for _ in range(count)])
    neighbours = perturb(images[: count // 2], torch.Generator().manual_seed(7))
    energy, moment = measure_features(student, teacher, images.to(device))
    noisy_energy, _ = measure_features(student, teacher, neighbours.to(device))
    recovered, held_out = probe(student, teacher, photos, device)
    return Validation(energy, noisy_energy, moment, recovered, held_out)
