"""``nst stylize``: one picture, by the same path as a cell of a grid."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import read_value
from nstcore.errors import ConfigError, UserError
from nstcore.jobs.prepare import prepare_inputs
from nstcore.jobs.stylize import make_image
from nstcore.plan.plan import Plan
from nstcore.results.reproduce import FORMATS
from nstcore.store.files import atomic_path

if TYPE_CHECKING:
    from nstcore.core.losses.base import Losses
    from nstcore.jobs.engine import Progress as ShowProgress


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Settings from ``KEY=VALUE`` words; values are read as YAML.

    Raises:
        ConfigError: for words without ``=``, with a value that is no YAML, or with the same key.
    """
    given: dict[str, Any] = {}
    problems: list[str] = []
    for pair in pairs:
        key, sign, text = pair.partition("=")
        key = key.strip()
        if not sign or not key:
            problems.append(f"--set {pair}: give KEY=VALUE, for example style_weight=30")
            continue
        if key in given:
            problems.append(f"--set {pair}: `{key}` is set twice; keep one")
        try:
            given[key] = read_value(text)
        except ConfigError as error:
            problems += [f"--set {pair}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return given


def stylize_one(arguments: argparse.Namespace) -> int:
    """Make one picture and say how it was measured."""
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
        with descent_bar(console) as progress:
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
def descent_bar(console: Console) -> Iterator[ShowProgress]:
    """A bar that shows how far a descent is and the losses; yields what has to be told."""
    with Progress(
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total} iterations  {task.description}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=None)

        def show(label: str, done: int, total: int, losses: Losses) -> None:
            content, style = float(losses.content.mean()), float(losses.style.mean())
            text = f"content {content:.4f}  style {style:.4f}"
            bar.update(task, completed=done, total=total, description=text)

        yield show
