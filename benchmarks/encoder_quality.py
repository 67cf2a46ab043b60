"""What the compact encoder is worth: pictures made with it, judged by VGG-19.

For pairs of content and style, stylize with VGG-19, with the compact encoder and, if given, with
the reference encoder, on the same schedule and over a sweep of style weights.  Judge every picture
under VGG-19 by relative squared errors against content and style:

    content    relu4_2
    style      mean over relu1_1 … relu5_1, the layers that were optimized
    held out   mean over relu1_2, 2_2, 3_2, 4_3, which nobody optimized

An encoder's *recovered share* at VGG-19's content error E_c is

    (E(content image) - E(encoder at E_c)) / (E(content image) - E(vgg19 at E_c))

where E(encoder at E_c) is interpolated on its sweep, linear in log E_c.  1 means as good as VGG-19.

    python benchmarks/encoder_quality.py --teacher vgg19.pth --contents DIR --styles DIR

Four pairs at 256 px take some minutes on two cores, sixteen at 384 px hours; use ``--device cuda``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import RESULTS, machine_name, save, take_turns
from PIL import Image
from torch import Tensor, nn

from nstcore.core.batched import to_tensor
from nstcore.core.encoders import (
    COMPACT_FILE,
    EVAL_CONTENT_LAYER,
    EVAL_HELD_OUT_LAYERS,
    EVAL_STYLE_LAYERS,
    VGG19,
    EncoderSpec,
)
from nstcore.core.encoders.compact import load_compact
from nstcore.core.encoders.vgg import VGG, read_state
from nstcore.core.losses.base import relative_error
from nstcore.core.minimize import Problem
from nstcore.core.moments import style_moments
from nstcore.core.objective import build_objective
from nstcore.core.optimizers.lbfgs import LBFGSMinimizer
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments
from nstcore.images import fit_size, load_float, resize, write_image
from nstcore.plan.keys import ALGORITHM
from nstcore.store.files import file_sha256, write_json

SUFFIXES = (".jpg", ".jpeg", ".png")


class ReferenceEncoder(nn.Module):
    """The 16 times compressed VGG-19 of Wang et al. (CVPR 2020, *Collaborative Distillation*).

    Args:
        path: a state dict with ``conv0``, ``conv11`` … ``conv51`` and adapters ``convXY_aux``.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        state = {key: value.float() for key, value in read_state(path).items()}
        self.weights = nn.ParameterDict(
            {key.replace(".", "_"): nn.Parameter(value, False) for key, value in state.items()}
        )
        self.spec = VGG19  # the same layers
        self.adapters: dict[str, tuple[Tensor, Tensor]] = {}

    def _convolve(self, x: Tensor, name: str) -> Tensor:
        weight = self.weights[f"{name}_weight"]
        if weight.shape[-1] == 3:
            x = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return nn.functional.conv2d(x, weight, self.weights[f"{name}_bias"])

    def forward(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Activations (N, c, H', W') of the chosen layers, as ``VGG.forward``."""
        x = self._convolve(image, "conv0")
        found: dict[str, Tensor] = {}
        for stage, count in enumerate((2, 2, 4, 4, 1), start=1):
            if stage > 1:
                x = nn.functional.max_pool2d(x, 2)
            for index in range(1, count + 1):
                x = self._convolve(x, f"conv{stage}{index}").relu()
                if f"relu{stage}_{index}" in layers:
                    found[f"relu{stage}_{index}"] = x
        return found

    def lift(self) -> ReferenceEncoder:
        """Take all losses in VGG-19's space, through the adapters that come with the weights."""
        for key in list(self.weights):
            if key.endswith("_aux_weight"):
                layer = f"relu{key[4]}_{key[5]}"
                bias = self.weights[key.replace("weight", "bias")]
                self.adapters[layer] = (self.weights[key].flatten(1), bias)
        return self


@dataclass(frozen=True)
class Judged:
    """Relative squared errors under VGG-19."""

    content: float
    style: float
    held_out: float


class Judge:
    """VGG-19 as the judge of one pair.

    Args:
        teacher: VGG-19.
        content, style: (H, W, 3) in [0, 1] at the size of the result.
    """

    def __init__(self, teacher: VGG, content: np.ndarray, style: np.ndarray, device: str) -> None:
        self.teacher, self.device = teacher, device
        self.layers = [*EVAL_STYLE_LAYERS, *EVAL_HELD_OUT_LAYERS]
        with torch.no_grad():
            picture = to_tensor(content, device)
            self.content = teacher(picture, [EVAL_CONTENT_LAYER])[EVAL_CONTENT_LAYER]
            self.style = style_moments(teacher, to_tensor(style, device), self.layers)

    @torch.no_grad()
    def __call__(self, picture: np.ndarray) -> Judged:
        """Judge a picture (H, W, 3) in [0, 1]."""
        image = to_tensor(picture, self.device)
        content = relative_error(
            self.teacher(image, [EVAL_CONTENT_LAYER])[EVAL_CONTENT_LAYER], self.content
        )
        found = style_moments(self.teacher, image, self.layers)
        error = {
            layer: float(relative_error(found[layer].gram, self.style[layer].gram))
            for layer in self.layers
        }
        return Judged(
            float(content),
            statistics.fmean(error[layer] for layer in EVAL_STYLE_LAYERS),
            statistics.fmean(error[layer] for layer in EVAL_HELD_OUT_LAYERS),
        )


def _multiply_adds(spec: EncoderSpec) -> int:
    """Of the convolutions up to relu5_1, for a pixel of the image."""
    return round(spec.convolution_flops("relu5_1", 256, 256) / 2 / 256**2)


def interpolate(sweep: Sequence[Judged], content: float, which: str) -> float | None:
    """The error of a sweep at a given content error, or None outside of the sweep."""
    points = sorted(sweep, key=lambda judged: judged.content)
    logs = [float(np.log(judged.content)) for judged in points]
    if not logs[0] - 0.02 <= np.log(content) <= logs[-1] + 0.02:
        return None
    return float(np.interp(np.log(content), logs, [getattr(judged, which) for judged in points]))


def recovered(start: Judged, teacher: Judged, sweep: Sequence[Judged], which: str) -> float | None:
    """The recovered share at the teacher's content error."""
    reached = interpolate(sweep, teacher.content, which)
    if reached is None:
        return None
    before = getattr(start, which)
    return float((before - reached) / (before - getattr(teacher, which)))


def seconds_per_iteration(
    encoders: Mapping[str, Any], size: tuple[int, int], device: str, rounds: int
) -> dict[str, float]:
    """Median seconds of an iteration of one picture, all of it: losses, gradient, step of L-BFGS.

    The encoders take turns, after a few iterations that fill the history.
    """
    width, height = size
    settings = Settings()
    random = torch.Generator().manual_seed(0)
    content, style = torch.rand(2, 1, 3, height, width, generator=random).to(device)
    one = torch.ones(1, device=device)
    descents = {}
    for name, encoder in encoders.items():
        with torch.no_grad():
            features = encoder(content, [EVAL_CONTENT_LAYER])
            moments = style_moments(encoder, style, list(settings.style_layers))
        objective = build_objective(
            encoder,
            settings,
            content=features,
            style=moments,
            weights={
                "content_weight": one,
                "style_weight": settings.style_weight * one,
                "tv_weight": settings.tv_weight * one,
            },
        )
        problem = Problem(objective.evaluate, content, settings.history + rounds)
        descents[name] = LBFGSMinimizer(problem, settings, one)
        for _ in range(settings.history):
            descents[name].advance()
    turns = {name: descent.advance for name, descent in descents.items()}
    return take_turns(turns, rounds, device)


@torch.no_grad()
def unexplained_energy(
    encoder: Any, teacher: VGG, pictures: Sequence[np.ndarray], device: str
) -> dict[str, float]:
    """By layer, the share of VGG-19's energy that a linear map of an encoder's activations misses.

    The map is the encoder's own adapter, or else the best there is for these very pictures (least
    squares), which favours an encoder without.
    """
    layers = [*EVAL_STYLE_LAYERS, EVAL_CONTENT_LAYER]
    left: dict[str, float] = {}
    for layer in layers:
        seen, wanted = [], []
        for picture in pictures:
            image = to_tensor(picture, device)
            features = encoder(image, [layer])[layer][0].flatten(1)
            seen.append(torch.cat([features, features.new_ones(1, features.shape[1])]).double())
            wanted.append(teacher(image, [layer])[layer][0].flatten(1).double())
        rows, aim = torch.cat(seen, 1), torch.cat(wanted, 1)
        if layer in encoder.adapters:
            weight, bias = encoder.adapters[layer]
            linear = torch.cat([weight, bias[:, None]], 1).double()
        else:
            second = rows @ rows.T
            second += 1e-6 * second.diagonal().mean() * torch.eye(len(second)).to(second)
            linear = torch.linalg.solve(second, rows @ aim.T).T
        left[layer] = float((linear @ rows - aim).square().sum() / aim.square().sum())
    return left


def sweep_pair(
    encoder: Any,
    content: np.ndarray,
    style: np.ndarray,
    style_weights: Sequence[float],
    base: Settings,
    device: str,
) -> list[np.ndarray]:
    """Stylize one pair at several style weights in one batch; pictures (H, W, 3)."""
    layers = list(base.style_layers)
    targets = [
        image_moments(encoder, style, base.style_size(level), layers, device)
        for level in base.level_sizes()
    ]
    tasks = [
        StylizeTask(content, targets, base.model_copy(update={"style_weight": weight}))
        for weight in style_weights
    ]
    return [result.image for result in stylize(encoder, tasks, device=device)]


def find_pictures(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by name."""
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES}


def choose_pairs(
    contents: Sequence[str], styles: Sequence[str], count: int | None, named: Sequence[str]
) -> list[tuple[str, str]]:
    """Pairs by name ``content:style``, or ``count`` spread over the table's diagonals."""
    if named:
        return [(pair.partition(":")[0], pair.partition(":")[2]) for pair in named]
    table = [
        (content, styles[(i + shift) % len(styles)])
        for shift in range(len(styles))
        for i, content in enumerate(contents)
    ]
    return table[:count]


def measure_pair(
    names: tuple[str, str],
    paths: tuple[Path, Path],
    encoders: Mapping[str, Any],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Sweep one pair with every encoder, judge, compare."""
    content = load_float(paths[0])
    style = load_float(paths[1])
    height, width = content.shape[:2]
    content = resize(content, fit_size((width, height), options.size))
    seen = resize(style, fit_size((style.shape[1], style.shape[0]), options.size))
    judge = Judge(encoders["vgg19"], content, seen, options.device)
    start = judge(content)
    base = Settings(size=options.size, iterations=options.iterations, optimizer=options.optimizer)
    row: dict[str, Any] = {
        "content": names[0],
        "style": names[1],
        "start": asdict(start),
        "sweeps": {},
    }
    judged: dict[str, list[Judged]] = {}
    for name, encoder in encoders.items():
        weights = options.teacher_weights if name == "vgg19" else options.weights
        if name.startswith("reference"):
            weights = options.reference_weights or options.weights
        known = None if name == "compact" else find_sweep(options.reuse, row, name, weights)
        if known is not None:
            judged[name] = [Judged(p["content"], p["style"], p["held_out"]) for p in known]
            row["sweeps"][name] = known
            continue
        began = time.perf_counter()
        pictures = sweep_pair(encoder, content, style, weights, base, options.device)
        judged[name] = [judge(picture) for picture in pictures]
        row["sweeps"][name] = [
            {"style_weight": w, **asdict(j)} for w, j in zip(weights, judged[name], strict=True)
        ]
        print(f"{names[0]} x {names[1]}: {name} in {time.perf_counter() - began:.0f} s", flush=True)
        if options.pictures is not None:
            for point, picture in zip(row["sweeps"][name], pictures, strict=True):
                write_image(options.pictures / picture_name(*names, name, point), picture)
    row["same_content"] = {name: same_content(row, name) for name in encoders if name != "vgg19"}
    row["recovered"] = {
        name: {
            which: [recovered(start, t, judged[name], which) for t in judged["vgg19"]]
            for which in ("style", "held_out")
        }
        for name in encoders
        if name != "vgg19"
    }
    return row


def find_sweep(
    earlier: Mapping[str, Any] | None,
    row: Mapping[str, Any],
    name: str,
    weights: Sequence[float],
) -> list[dict[str, float]] | None:
    """What an earlier measurement found for a pair and an encoder, if it has all the weights."""
    for pair in [] if earlier is None else earlier["pairs"]:
        if (pair["content"], pair["style"]) == (row["content"], row["style"]):
            points = {p["style_weight"]: p for p in pair["sweeps"].get(name, [])}
            if all(weight in points for weight in weights):
                return [points[weight] for weight in weights]
    return None


def read_earlier(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """An earlier measurement, which must be of the same schedule and judge.

    Raises:
        SystemExit: if it is not.
    """
    earlier: dict[str, Any] = json.loads(path.read_text("utf-8"))
    now = {
        "size": options.size,
        "iterations": options.iterations,
        "optimizer": options.optimizer,
        "teacher_sha256": file_sha256(options.teacher),
        "algorithm": ALGORITHM,
    }
    for key, value in now.items():
        if earlier.get(key) != value:
            raise SystemExit(f"{path}: {key} is {earlier.get(key)}, here {value}; measure anew")
    return earlier


def same_content(row: Mapping[str, Any], name: str) -> list[float | None]:
    """For each of VGG-19's style weights, the weight at which an encoder has the same content error.

    Given as a share of VGG-19's: 1 means that one weight looks alike under both.
    """
    sweep = sorted(row["sweeps"][name], key=lambda point: float(point["content"]))
    content = np.log([point["content"] for point in sweep])
    weights = np.log([point["style_weight"] for point in sweep])
    found: list[float | None] = []
    for point in row["sweeps"]["vgg19"]:
        aim = float(np.log(point["content"]))
        inside = content[0] <= aim <= content[-1]
        value = float(np.exp(np.interp(aim, content, weights))) / point["style_weight"]
        found.append(value if inside else None)
    return found


def mean_share(rows: Sequence[Mapping[str, Any]], name: str, which: str) -> float | None:
    """Mean recovered share over pairs and over the teacher's weights that the sweep covers."""
    values = [v for row in rows for v in row["recovered"][name][which] if v is not None]
    return statistics.fmean(values) if values else None


def write_page(
    rows: Sequence[Mapping[str, Any]], folder: Path, page: Path, across: int = 2
) -> None:
    """Pairs side by side: VGG-19 left, compact right, each at VGG-19's first style weight.

    Of the compact encoder's sweep the picture whose content error is nearest to VGG-19's is shown.
    """
    tiles = []
    for row in rows:
        aim = row["sweeps"]["vgg19"][0]
        nearest = min(
            row["sweeps"]["compact"],
            key=lambda point: abs(float(np.log(point["content"] / aim["content"]))),
        )
        for name, point in (("vgg19", aim), ("compact", nearest)):
            tiles.append(folder / picture_name(row["content"], row["style"], name, point))
    pictures = [Image.open(tile).convert("RGB") for tile in tiles]
    width, height = max(p.width for p in pictures) + 4, max(p.height for p in pictures) + 4
    columns = 2 * across
    size = (width * columns + 8 * (across - 1), height * -(-len(pictures) // columns))
    sheet = Image.new("RGB", size, "white")
    for index, picture in enumerate(pictures):
        line, column = divmod(index, columns)
        sheet.paste(picture, (column * width + column // 2 * 8, line * height))
    page.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(page, quality=88)


def picture_name(content: str, style: str, encoder: str, point: Mapping[str, Any]) -> str:
    """File of one picture of a sweep."""
    return f"{content}_{style}_{encoder}_{point['style_weight']:g}.png"


def to_markdown(result: Mapping[str, Any]) -> list[str]:
    """The results as a table for people."""

    def show(value: float | None) -> str:
        return "outside" if value is None else f"{value:.3f}"

    lines = [
        "# Encoder quality",
        "",
        f"Machine: {result['machine']}. {result['size']} px, iterations {result['iterations']}, "
        f"{result['optimizer']}; judged by VGG-19 (sha256 {result['teacher_sha256'][:12]}…); "
        f"compact sha256 {result['compact_sha256'][:12]}….",
        "",
        "| encoder | seconds an iteration | times faster | recovered style | recovered held-out |",
        "|---|---|---|---|---|",
    ]
    seconds = result["seconds_per_iteration"]
    for name, value in seconds.items():
        shares = result["mean_recovered"].get(name, {"style": 1.0, "held_out": 1.0})
        lines.append(
            f"| {name} | {value:.4f} | {seconds['vgg19'] / value:.1f} | {show(shares['style'])} | "
            f"{show(shares['held_out'])} |"
        )
    layers = [*EVAL_STYLE_LAYERS, EVAL_CONTENT_LAYER]
    lines += [
        "",
        "Share of VGG-19's energy that a linear map of the activations misses, on all contents and "
        "styles (compact: its adapters; reference: the best map for these pictures):",
        "",
        "| encoder | " + " | ".join(layers) + " |",
        "|---" * (1 + len(layers)) + "|",
    ]
    for name, left in result["unexplained_energy"].items():
        lines.append(f"| {name} | " + " | ".join(f"{left[layer]:.3f}" for layer in layers) + " |")
    lines += [
        "",
        "Recovered share at VGG-19's content error, one row a pair and style weight. The last column of "
        "an encoder: the style weight with that content error, over VGG-19's (1: it looks alike).",
        "",
    ]
    names = list(result["mean_recovered"])
    lines.append(
        "| pair | weight | E content | E style vgg19 | "
        + " | ".join(f"{name} style | {name} held-out | {name} weight" for name in names)
        + " |"
    )
    lines.append("|---" * (4 + 3 * len(names)) + "|")
    for row in result["pairs"]:
        for i, point in enumerate(row["sweeps"]["vgg19"]):
            cells = [
                f"{row['content']} × {row['style']}",
                f"{point['style_weight']:g}",
                f"{point['content']:.3f}",
                f"{point['style']:.4f}",
            ]
            for name in names:
                cells += [show(row["recovered"][name][w][i]) for w in ("style", "held_out")]
                cells.append(show(row["same_content"][name][i]))
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Judge the compact encoder by VGG-19.")
    parser.add_argument("--teacher", type=Path, required=True, help="VGG-19 state dict")
    parser.add_argument("--contents", type=Path, required=True)
    parser.add_argument("--styles", type=Path, required=True)
    parser.add_argument("--compact", type=Path, default=COMPACT_FILE, help="weights to be judged")
    parser.add_argument("--reference", type=Path, help="the reference encoder's weights")
    parser.add_argument("--pairs", type=int, help="how many pairs (default: all)")
    parser.add_argument("--pair", action="append", default=[], metavar="CONTENT:STYLE")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--iterations", type=int, nargs="+", default=[200, 200, 150])
    parser.add_argument("--optimizer", choices=("lbfgs", "adam"), default="lbfgs")
    parser.add_argument("--teacher-weights", type=float, nargs="+", default=[3.0, 30.0])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.5, 2.0, 8.0, 30.0, 120.0])
    parser.add_argument(
        "--only-lifted",
        action="store_true",
        help="leave out the reference encoder with losses in its own channels",
    )
    parser.add_argument("--reference-weights", type=float, nargs="+", help="default: --weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15, help="timed iterations of each encoder")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures and a page of them")
    parser.add_argument(
        "--reuse", type=Path, help="encoder_quality.json whose VGG-19 and reference sweeps are kept"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def main() -> None:
    """Measure and write ``encoder_quality.json`` and ``.md``."""
    options = make_parser().parse_args()
    options.reuse = options.reuse and read_earlier(options.reuse, options)
    teacher = VGG(depth="relu5_1")
    teacher.load_torchvision(read_state(options.teacher))
    encoders: dict[str, Any] = {"vgg19": teacher, "compact": load_compact(options.compact)}
    if options.reference is not None:
        if not options.only_lifted:
            encoders["reference"] = ReferenceEncoder(options.reference)
        encoders["reference lifted"] = ReferenceEncoder(options.reference).lift()
    for encoder in encoders.values():
        encoder.to(device=options.device, memory_format=torch.channels_last)
    contents, styles = find_pictures(options.contents), find_pictures(options.styles)
    header = {
        "algorithm": ALGORITHM,
        "machine": machine_name(options.device),
        "size": options.size,
        "iterations": options.iterations,
        "optimizer": options.optimizer,
        "teacher_sha256": file_sha256(options.teacher),
        "compact_sha256": file_sha256(options.compact),
    }
    rows: list[dict[str, Any]] = []
    for content, style in choose_pairs(list(contents), list(styles), options.pairs, options.pair):
        paths = (contents[content], styles[style])
        rows.append(measure_pair((content, style), paths, encoders, options))
        # Hours of work: what is measured stays measured, for --reuse.
        write_json(options.out / "encoder_quality.partial.json", {**header, "pairs": rows})
    pictures = []
    for path in [*contents.values(), *styles.values()]:
        picture = load_float(path)
        size = fit_size((picture.shape[1], picture.shape[0]), options.size)
        pictures.append(resize(picture, size))
    linear: dict[str, Any] = {"compact": encoders["compact"]}
    if options.reference is not None:
        # Its own adapters lead to a VGG-19 of other scales: the best linear map stands in for them.
        linear["reference"] = ReferenceEncoder(options.reference).to(options.device)
    result = {
        **header,
        "multiply_adds_a_pixel": {
            "vgg19": _multiply_adds(VGG19),
            "compact": _multiply_adds(encoders["compact"].spec),
        },
        "seconds_per_iteration": seconds_per_iteration(
            encoders, (options.size, options.size * 3 // 4), options.device, options.rounds
        ),
        "unexplained_energy": {
            name: unexplained_energy(encoder, teacher, pictures, options.device)
            for name, encoder in linear.items()
        },
        "mean_recovered": {
            name: {which: mean_share(rows, name, which) for which in ("style", "held_out")}
            for name in encoders
            if name != "vgg19"
        },
        "pairs": rows,
    }
    save("encoder_quality", result, to_markdown(result), options.out)
    (options.out / "encoder_quality.partial.json").unlink(missing_ok=True)
    if options.pictures is not None:
        write_page(rows, options.pictures, options.pictures / "pairs.jpg")


if __name__ == "__main__":
    main()
