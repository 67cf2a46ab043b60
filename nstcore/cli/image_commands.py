"""``nst stylize`` and ``nst reproduce``: one image, without the workflow."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import read_value
from nstcore.errors import ConfigError, UserError
from nstcore.jobs.cell_inputs import RunInputs
from nstcore.jobs.prepare import prepare_inputs
from nstcore.jobs.stylize import make_batch_member, make_image
from nstcore.plan.plan import Plan
from nstcore.plan.record import CellRecord
from nstcore.results.reproduce import (
    FORMATS,
    Original,
    changed_circumstances,
    changed_inputs,
    changed_weights,
    compare,
    is_as_recorded,
    missing_inputs,
    output_of,
    plan_again,
    read_original,
)
from nstcore.store.files import atomic_path

if TYPE_CHECKING:
    from nstcore.core.losses.base import Losses
    from nstcore.jobs.engine import Progress as ShowProgress


DEVICES = ("auto", "cpu", "cuda", "mps")

IDENTICAL, DIFFERENT, MISTAKE = 0, 1, 2


def add_parsers(commands: Any) -> None:
    """Add the commands to ``nst``."""
    parser = commands.add_parser("stylize", help="make one image, without the workflow")
    parser.add_argument("content", type=Path, help="the image to stylize")
    parser.add_argument("style", type=Path, help="the image whose style is used")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="a .png, .jpg, .webp or .tif file"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting by its configuration key, for example --set style_weight=30 --set size=384",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="where to compute")
    parser.add_argument("--force", action="store_true", help="overwrite the output if it exists")
    parser.set_defaults(function=stylize)

    parser = commands.add_parser(
        "reproduce",
        help="make a finished image again from its record, and compare",
        description="Make an image again from the record in it, or from the JSON beside it, and say "
        "whether it is identical. Exit status: 0 identical, 1 different, 2 a mistake such as a missing "
        "or changed input.",
    )
    parser.add_argument("image", type=Path, help="a finished image, or its record (.json)")
    parser.add_argument(
        "-o", "--output", type=Path, help="the file to write (default: NAME.again.SUFFIX beside it)"
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("."),
        help="folder that the recorded paths start from (default: this one)",
    )
    parser.add_argument(
        "--device", choices=DEVICES, help="where to compute (default: where the image was made)"
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="without the images that were computed together with it: faster, but the last bits differ",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the output if it exists")
    parser.set_defaults(function=reproduce, mistake=MISTAKE)


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Settings from ``KEY=VALUE`` words; values are read as YAML."""
    given: dict[str, Any] = {}
    problems: list[str] = []
    for pair in pairs:
        key, sign, text = pair.partition("=")
        key = key.strip()
        if not sign or not key:
            problems.append(f"--set {pair}: give KEY=VALUE, for example style_weight=30")
            continue
        if key in given:
            problems.append(f"--set {pair}: `{key}` is set twice; remove one")
        try:
            given[key] = read_value(text)
        except ConfigError as error:
            problems += [f"--set {pair}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return given


def stylize(arguments: argparse.Namespace) -> int:
    """Make one image and print its losses."""
    output: Path = arguments.output
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"{output}: give a file ending in {', '.join(FORMATS)}")
    if output.exists() and not arguments.force:
        raise UserError(f"{output}: exists already; --force overwrites it")
    for name in ("content", "style"):
        path = getattr(arguments, name)
        if not path.is_file():
            raise UserError(f"{name}: there is no file {path}")
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="nst-") as folder:
        plan = Plan(
            parse_config(
                {
                    "run": "one",
                    "results": folder,
                    "contents": {"content": str(arguments.content)},
                    "styles": {"style": str(arguments.style)},
                    "settings": parse_settings(arguments.settings),
                    "sweep": {"seeds": [arguments.seed]},
                    "device": arguments.device,
                    "output": {"format": FORMATS[output.suffix.lower()]},
                }
            )
        )
        prepare_inputs(plan)
        with progress_bar(console) as progress:
            image, record = make_image(plan, progress=progress)
        with atomic_path(output) as temporary:
            shutil.copyfile(image, temporary)
    made, how, metrics = record.image, record.optimization, record.metrics
    assert made is not None
    console.print(
        f"{output}: {made.width} x {made.height} px, "
        f"content loss {metrics['content_loss']:.3f}, style loss {metrics['style_loss']:.4f}, "
        f"{how.seconds:.0f} s on {how.device}",
        soft_wrap=True,
        highlight=False,
    )
    return 0


@contextmanager
def progress_bar(console: Console) -> Iterator[ShowProgress]:
    """A bar with the iteration and the losses of an optimization; yields its progress callback."""
    with Progress(
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total} iterations  {task.description}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=None)

        def show(_labels: Sequence[str], done: int, total: int, losses: Losses) -> None:
            content, style = float(losses.content.mean()), float(losses.style.mean())
            text = f"content {content:.4f}  style {style:.4f}"
            bar.update(task, completed=done, total=total, description=text)

        yield show


def reproduce(arguments: argparse.Namespace) -> int:
    """Make an image again from unchanged inputs, and say whether it is identical."""
    original = read_original(arguments.image)
    output = _output_file(original, arguments.output)
    if output.exists() and not arguments.force:
        raise UserError(f"{output}: exists already; --force overwrites it, -o names another")
    record = original.record
    batch, place = ([record], 0) if arguments.alone else (record.members(), record.position)
    _raise_any(
        problem
        for one in batch
        for problem in (*missing_inputs(one, arguments.root), *changed_weights(one, arguments.root))
    )
    with tempfile.TemporaryDirectory(prefix="nst-") as folder:
        plans = [
            plan_again(
                replace(original, record=one),
                arguments.root,
                folder,
                run=f"again{number}",
                batch_size=len(batch),
                device=arguments.device,
            )
            for number, one in enumerate(batch)
        ]
        for plan in plans:
            prepare_inputs(plan)
        _raise_any(
            problem
            for one, plan in zip(batch, plans, strict=True)
            for cell in plan.cells()
            for problem in changed_inputs(one, RunInputs(plan).of(cell).record())
        )
        how = record.optimization
        from nstcore.resources.device import device_kind

        try:
            device_kind(plans[place].config.device)
        except UserError as error:
            raise UserError(
                f"{error}; the image was made on {how.device}: --device auto makes it here, but its last "
                "bits may differ"
            ) from None
        with progress_bar(Console(stderr=True)) as progress:
            made = make_batch_member(
                plans,
                place,
                threads=how.threads,
                target_threads=how.target_threads or how.threads,
                progress=progress,
            )
        with atomic_path(output) as temporary:
            shutil.copyfile(made.image, temporary)
    same, lines = verdict(original, output, CellRecord.parse(made.record, made.image))
    console = Console()
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return IDENTICAL if same else DIFFERENT


def _raise_any(problems: Iterable[str]) -> None:
    if found := list(dict.fromkeys(problems)):
        raise ConfigError(found)


def _output_file(original: Original, given: Path | None) -> Path:
    """Where the new image goes: never over the old one."""
    if given is None:
        return original.file.with_name(f"{original.file.stem}.again{original.suffix}")
    wanted = output_of(original)["format"]
    if FORMATS.get(given.suffix.lower()) != wanted:
        able = " or ".join(suffix for suffix, kind in FORMATS.items() if kind == wanted)
        raise UserError(f"{given}: the image is a {wanted}; give a file ending in {able}")
    if original.image is not None and given.exists() and given.samefile(original.image):
        raise UserError(f"{given}: is the image to compare with; give another file")
    return given


def verdict(original: Original, again: Path, record: CellRecord) -> tuple[bool, list[str]]:
    """Whether the image that was made now is identical to the original, and lines that say so."""
    then = original.record
    as_recorded = is_as_recorded(again, then)
    how = _circumstances(then, record)
    if original.image is None:
        if as_recorded is None:
            return False, [f"{again}: made again, but there is no image to compare it with", *how]
        if as_recorded:
            return True, [f"{again}: identical to the image that {original.file} describes"]
        return False, [f"{again}: differs from the image that {original.file} describes", *how]
    name = original.image
    found = compare(name, again)
    if found is not None and found.differing == 0:
        return True, [f"{again}: identical to {name}, all {found.pixels} pixels"]
    if found is None:
        lines = [f"{again}: has another size, depth or transparency than {name}"]
    else:
        lines = [
            f"{again}: differs from {name} in {found.differing} of {found.pixels} pixels, by at most "
            f"{found.largest} of {found.full} levels, {found.mean:.3g} on average"
        ]
    if as_recorded:
        return False, [*lines, f"it matches the record: {name} was changed after it was made"]
    if as_recorded is False and is_as_recorded(name, then) is False:
        lines.append(f"{name} was changed after it was made: its pixels do not match the record")
    return False, [*lines, *how]


def _circumstances(then: CellRecord, now: CellRecord) -> list[str]:
    """Possible reasons for a difference."""
    lines = ["versions, device and threads are the same as then, as far as the record says"]
    if different := changed_circumstances(then, now):
        lines = ["different from then: " + "; ".join(different)]
    was = then.optimization
    if was.batch_size != now.optimization.batch_size:
        lines.append(
            "the number of images computed together changes the last bits, and the optimization "
            "amplifies that: the images look the same"
        )
    if was.device != "cpu" and not was.deterministic:
        lines.append(
            "it was made without `deterministic: true`: a GPU then rounds differently each time"
        )
    if then.key != now.key and then.algorithm == now.algorithm and not was.degraded:
        lines.append(
            "the record is from an older version and does not hold everything that the image depends on"
        )
    return lines
