"""The training loop: resumable, on a CPU or on CUDA, for a budget of minutes or steps."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nstcore.core.encoders import COMPACT_WIDTHS
from nstcore.core.encoders.base import Padding
from nstcore.core.encoders.compact import CompactEncoder, fill_compact, read_compact
from nstcore.store.files import atomic_path
from tools.distill.augment import jitter_colour, perturb
from tools.distill.export import export
from tools.distill.initial import fit_adapters, fit_layers, measure_teacher
from tools.distill.matching import Targets, Weights, make_targets, matching_loss
from tools.distill.muon import Muon
from tools.distill.replay import Replay, draw_run
from tools.distill.teacher import Teacher, set_padding
from tools.distill.training_images import Photos, Pool, draw_image, to_tensor
from tools.distill.validation import Validation, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """Every number of the training.  The schedule follows the share of the budget that is spent."""

    minutes: float | None = 120.0
    steps: int | None = None
    seed: int = 0
    widths: tuple[int, ...] = COMPACT_WIDTHS
    kernel_rate: float = 3e-3  # Muon's step for the kernels after warm-up
    rate: float = 2e-4  # Adam's for biases and adapters; 8e-4 made a good start worse
    final_rate: float = 1e-2  # share of it that is left at the end of the cosine
    warm_up_steps: int = 100
    average_decay: float = 0.998  # of the exponential average of the weights
    clip: float = 1.0  # largest norm of the gradient
    pixels: int = 8 * 128 * 128  # of one batch; CUDA takes 32 times as many
    # relu5_1 sees about 200 px: small crops would teach it the border more than the image.
    sizes: tuple[int, ...] = (128, 192, 256)
    size_shares: tuple[float, ...] = (0.35, 0.4, 0.25)
    reuse: int = 5  # times each answer of the teacher is used on a CPU, where it costs most
    reuse_batches: int = 300  # answers kept for that in memory, about 12 MB each
    replay_share: float = 0.5  # of a batch's images, once there are any
    replay_capacity: int = 1500
    replay_size: int = 192
    replay_first_step: int = 200
    replay_every: int = 250  # steps between two batches of stylizations
    replay_batch: int = 6  # CUDA: 32 times as many
    replay_iterations: int = 30
    pool_pictures: int = 12_000  # on CUDA, drawn once and kept there: 3 GB
    initial_batches: int = 60  # of 8 crops for the least-squares start
    validate_minutes: float = 15.0
    checkpoint_minutes: float = 2.0
    loss: Weights = field(default_factory=Weights)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32: CUDA, and CPUs with AVX512-BF16."""
    if device.type == "cpu":
        # Older versions of torch cannot tell, and go on in single precision.
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, bool)() for name in names)
    return device.type == "cuda"


@dataclass
class Lesson:
    """A batch with the teacher's answer."""

    batch: Tensor
    targets: Targets
    padding: Padding


@dataclass
class Progress:
    """What the callback hears: after every logged step and after each validation."""

    step: int
    share: float
    loss: float
    parts: dict[str, float]
    validation: Validation | None = None


class Training:
    """A student, its teacher, and everything between them.

    Args:
        teacher: VGG-19.
        photos: to train and to validate on.
        folder: for the checkpoint and the replay.
        plan: numbers.
        device: where to compute.
    """

    def __init__(
        self,
        teacher: Teacher,
        photos: Photos,
        folder: Path,
        plan: TrainingPlan,
        device: torch.device,
    ) -> None:
        self.plan, self.photos, self.folder, self.device = plan, photos, folder, device
        self.many = 32 if device.type == "cuda" else 1
        self.reuse = 1 if device.type == "cuda" else plan.reuse
        layout = torch.channels_last
        self.teacher = teacher.to(device)
        self.teacher.network.to(memory_format=layout)
        self.student = CompactEncoder(plan.widths).to(device)
        self.student.to(memory_format=layout)
        self.average = copy.deepcopy(self.student)
        kept = plan.replay_capacity * (1 if device.type == "cpu" else 10)
        self.replay = Replay(folder, kept, plan.replay_size, device)
        self.pool: Pool | None = None
        self.lessons: list[Lesson] = []
        self.step = 0
        self.elapsed = 0.0
        self.best: dict[str, Any] | None = None
        self.history: list[dict[str, Any]] = []
        self.kernel_optimizer, self.optimizer = self._make_optimizers()

    def _make_optimizers(self) -> tuple[Muon, torch.optim.Optimizer]:
        self.student.requires_grad_(True)
        kernels = [p for p in self.student.convolutions.parameters() if p.ndim > 1]
        others = [p for p in self.student.convolutions.parameters() if p.ndim == 1]
        others += self.student.lifts.parameters()
        muon = Muon(kernels, self.plan.kernel_rate, fast_half=has_fast_bfloat16(self.device))
        adam = torch.optim.AdamW(
            others, lr=self.plan.rate, betas=(0.9, 0.98), weight_decay=1e-5, fused=True
        )
        return muon, adam

    # ---- state -----------------------------------------------------------------------------

    @property
    def checkpoint_path(self) -> Path:
        """Where the training stands on disk."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "kernel_optimizer": self.kernel_optimizer.state_dict(),
            "scale": self.teacher.scale,
            "teacher": self.teacher.sha256,
            "widths": list(self.plan.widths),
            "step": self.step,
            "elapsed": self.elapsed,
            "best": self.best,
            "history": self.history,
        }
        with atomic_path(self.checkpoint_path) as temporary:
            torch.save(state, temporary)

    def resume(self) -> bool:
        """Take up the checkpoint; False if there is none that fits teacher and widths."""
        if not self.checkpoint_path.is_file():
            return False
        state = torch.load(self.checkpoint_path, map_location=self.device, weights_only=True)
        if state["teacher"] != self.teacher.sha256 or tuple(state["widths"]) != self.plan.widths:
            log.warning(
                "%s: of another teacher or other widths; starting anew", self.checkpoint_path
            )
            return False
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.kernel_optimizer.load_state_dict(state["kernel_optimizer"])
        for group in self.optimizer.param_groups:
            group["fused"] = True
        self.teacher.scale = dict(state["scale"])
        self.step, self.elapsed = int(state["step"]), float(state["elapsed"])
        self.best, self.history = state["best"], list(state["history"])
        log.info("resumed at step %d, %.1f minutes", self.step, self.elapsed / 60)
        return True

    def share(self) -> float:
        """Share of the budget that is spent, 0 to 1 (whichever of minutes and steps ends first)."""
        shares = [0.0]
        if self.plan.minutes is not None:
            shares.append(self.elapsed / 60 / self.plan.minutes)
        if self.plan.steps is not None:
            shares.append(self.step / self.plan.steps)
        return min(1.0, max(shares))

    # ---- images --------------------------------------------------------------------------

    def draw(self, step: int) -> tuple[np.random.Generator, int, Tensor]:
        """The images of a step before augmentation: a pure function of (seed, step)."""
        generator = np.random.default_rng((self.plan.seed, 1, step))
        size = int(generator.choice(self.plan.sizes, p=self.plan.size_shares))
        count = max(2, round(self.plan.pixels * self.many / size**2) // 2)
        if self.pool is not None:
            return generator, size, self.pool.draw(generator, count, size)
        images = [draw_image(self.photos, generator, size) for _ in range(count)]
        return generator, size, to_tensor(images)

    def complete(self, generator: np.random.Generator, size: int, images: Tensor) -> Tensor:
        """Colours, neighbours and replay: (N, 3, H, W), image i beside image i + N/2."""
        noise = torch.Generator(self.device).manual_seed(int(generator.integers(2**62)))
        images = images.to(self.device)
        images = jitter_colour(images, noise)
        neighbours = perturb(images, noise)
        old = round(len(images) * self.plan.replay_share)
        if len(self.replay) and size <= self.replay.size and old:
            first, second = self.replay.draw_pairs(generator, old, size)
            images = torch.cat([first, images[old:]])
            neighbours = torch.cat([second, neighbours[old:]])
        batch = torch.cat([images, neighbours])
        return batch.to(self.device).contiguous(memory_format=torch.channels_last)

    def initial_batches(self, first: int, count: int) -> list[Tensor]:
        """Batches of 8 crops for the closed-form start."""
        batches = []
        for index in range(first, first + count):
            generator = np.random.default_rng((self.plan.seed, 2, index))
            noise = torch.Generator().manual_seed(index)
            images = to_tensor([draw_image(self.photos, generator, 128) for _ in range(8)])
            images = jitter_colour(images, noise)
            images = torch.cat([images[:4], perturb(images[4:], noise)])
            batches.append(images.to(self.device).contiguous(memory_format=torch.channels_last))
        return batches

    # ---- training --------------------------------------------------------------------------

    def start(self) -> None:
        """Fit student and adapters in closed form."""
        count = self.plan.initial_batches
        self.student.requires_grad_(False)
        second = measure_teacher(self.teacher, self.initial_batches(0, max(2, count // 4)))
        fit_layers(
            self.student,
            self.teacher,
            second,
            self.initial_batches(1000, count),
            self.plan.seed,
            lambda layer: log.info("fitted %s", layer),
        )
        fit_adapters(self.student, self.teacher, self.initial_batches(2000, max(2, count // 4)))
        self.student.to(memory_format=torch.channels_last)
        self.average.load_state_dict(self.student.state_dict())
        self.student.requires_grad_(True)

    def warm_start(self, path: Path) -> None:
        """Start from exported weights in place of the closed form; widths must agree.

        Raises:
            WeightsError: if the file does not fit.
        """
        tensors, metadata = read_compact(path)
        self.teacher.scale = {k: float(v) for k, v in json.loads(metadata["scale"]).items()}
        with torch.no_grad():
            fill_compact(self.student, tensors, str(path))
            for layer in self.student.layers:
                for parameter in self.student.lift(layer).parameters():
                    parameter.div_(self.teacher.scale[layer])
        self.average.load_state_dict(self.student.state_dict())

    def rate(self) -> float:
        """Share of the full rates, 0 to 1: warm-up, then half a cosine over the budget."""
        warm = min(1.0, (self.step + 1) / self.plan.warm_up_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * self.share()))
        return warm * (self.plan.final_rate + (1 - self.plan.final_rate) * cosine)

    def lesson(self, drawn: tuple[np.random.Generator, int, Tensor]) -> Lesson:
        """Ask the teacher about new images."""
        generator = drawn[0]
        batch = self.complete(*drawn)
        padding: Padding = "replicate" if generator.random() < 0.25 else "zeros"
        offset = (float(generator.random()), float(generator.random()))
        set_padding(self.teacher.network, padding)
        with torch.no_grad(), self.autocast():
            answer = self.teacher.network(batch, self.student.layers)
        targets = make_targets(answer, self.teacher.scale, offset)
        set_padding(self.teacher.network, "zeros")
        lesson = Lesson(batch, targets, padding)
        if self.reuse > 1:
            self.lessons.append(lesson)
            if len(self.lessons) > self.plan.reuse_batches:
                # A random one goes, so that a lesson's age varies.
                del self.lessons[int(generator.integers(len(self.lessons) - 1))]
        return lesson

    def autocast(self) -> torch.autocast:
        """Half precision, where the device multiplies it faster than single precision."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=has_fast_bfloat16(self.device)
        )

    def train_step(self, lesson: Lesson) -> tuple[float, dict[str, float]]:
        """One step of Adam; returns the loss and its parts."""
        share = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.plan.rate
        for group in self.kernel_optimizer.param_groups:
            group["lr"] = share * self.plan.kernel_rate
        set_padding(self.student, lesson.padding)
        with self.autocast():
            found = self.student(lesson.batch, self.student.layers)
        loss, parts = matching_loss(self.student, found, lesson.targets, self.plan.loss)
        set_padding(self.student, "zeros")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), self.plan.clip)
        if not bool(torch.isfinite(norm)):
            log.warning("step %d: gradient is not finite; step left out", self.step)
        else:
            self.optimizer.step()
            self.kernel_optimizer.step()
        self.step += 1
        decay = min(self.plan.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for old, new in zip(self.average.parameters(), self.student.parameters(), strict=True):
                old.lerp_(new, 1 - decay)
        parts["norm"] = float(norm)
        return float(loss.detach()), parts

    def refresh_replay(self) -> None:
        """Stylize some images with the averaged student and keep them."""
        runs = draw_run(
            self.average,
            self.photos,
            (self.plan.seed, 3, self.step),
            size=self.plan.replay_size,
            count=self.plan.replay_batch * self.many,
            iterations=self.plan.replay_iterations,
            device=self.device,
        )
        self.replay.add(runs)

    def measure(self) -> Validation:
        """Validate the averaged student and remember it if it is the best so far."""
        found = validate(self.average, self.teacher, self.photos, self.device)
        self.history.append({"step": self.step, "minutes": self.elapsed / 60, **found.as_dict()})
        if self.best is None or found.score >= self.best["score"]:
            weights = {k: v.detach().cpu().clone() for k, v in self.average.state_dict().items()}
            self.best = {"score": found.score, "step": self.step, "weights": weights}
        return found

    def run(self, out: Path, callback: Callable[[Progress], None] | None = None) -> None:
        """Train until the budget is spent, then export the best weights to ``out``."""
        plan = self.plan
        began = time.monotonic() - self.elapsed
        validated = saved = time.monotonic()
        self.step -= self.step % self.reuse  # a resumed training has no lessons to repeat yet
        chance = np.random.default_rng((plan.seed, 4, self.step))
        smooth: dict[str, float] = {}
        if self.device.type == "cuda" and self.pool is None:
            side = max(plan.sizes) + 32
            self.pool = Pool(self.photos, plan.seed, plan.pool_pictures, side, self.device)
        with ThreadPoolExecutor(1) as workers:
            ahead: list[Future[tuple[np.random.Generator, int, Tensor]]] = []
            while self.share() < 1:
                while len(ahead) < 2:
                    ahead.append(workers.submit(self.draw, self.step // self.reuse + len(ahead)))
                if self.step % self.reuse == 0:
                    lesson = self.lesson(ahead.pop(0).result())
                else:
                    lesson = self.lessons[chance.integers(len(self.lessons))]
                loss, parts = self.train_step(lesson)
                for name, value in {"loss": loss, **parts}.items():
                    smooth[name] = (
                        value if name not in smooth else 0.95 * smooth[name] + 0.05 * value
                    )
                if self.step >= plan.replay_first_step and self.step % plan.replay_every == 0:
                    self.refresh_replay()
                self.elapsed = time.monotonic() - began
                validation = None
                if time.monotonic() - validated > 60 * plan.validate_minutes:
                    validation = self.measure()
                    validated = time.monotonic()
                if time.monotonic() - saved > 60 * plan.checkpoint_minutes or validation:
                    self.save()
                    saved = time.monotonic()
                if callback is not None and (self.step % 20 == 0 or validation):
                    shown = {k: v for k, v in smooth.items() if k != "loss"}
                    callback(Progress(self.step, self.share(), smooth["loss"], shown, validation))
        final = self.measure()
        self.save()
        self.export(out)
        if callback is not None:
            callback(Progress(self.step, 1.0, smooth.get("loss", math.nan), {}, final))

    def export(self, out: Path) -> str:
        """Write the best weights so far for use as an encoder; returns the file's sha256."""
        weights = self.average.state_dict() if self.best is None else self.best["weights"]
        notes: dict[str, Any] = {
            "teacher_sha256": self.teacher.sha256,
            "step": self.step if self.best is None else self.best["step"],
            "minutes": round(self.elapsed / 60, 1),
            "plan": asdict(self.plan),
        }
        return export(out, weights, self.teacher.scale, self.plan.widths, notes)
