"""``nst init``: a first configuration for one's own images."""

from __future__ import annotations

import argparse
import shlex
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

from rich.console import Console

from nstcore.cli.plan_command import RunForecast, add_costs, measure_speed
from nstcore.config.loader import parse_config
from nstcore.config.yaml_files import dump_yaml
from nstcore.core.settings import Settings
from nstcore.errors import ImageError, UserError
from nstcore.images.reading import decode, upright_size
from nstcore.plan.inputs import make_id, natural_key
from nstcore.plan.plan import Plan
from nstcore.plan.values import format_count, format_duration
from nstcore.store.files import write_text

LONGEST = 600.0
"""Seconds that the first run may take by its estimate."""

STYLE_WEIGHTS = [1, 10, 100]

QUALITIES = ((256, [100, 70]), (192, [60, 40]), (128, [30]))
"""Sizes in pixels with iterations, best first. Fewer images are tried before the next of them."""

PAIRS = (12, 9, 6, 4, 2, 1)
"""How many pairs of a content and a style are tried."""


def add_parsers(commands: Any) -> None:
    """Add the command to ``nst``."""
    parser = commands.add_parser(
        "init",
        help="write a first configuration for your own images",
        description="Write a configuration with the images of some folders and a small first sweep, "
        "which should take less than ten minutes on this machine.",
    )
    parser.add_argument("contents", type=Path, help="a folder of images to stylize, or one image")
    text = "folders of images whose style is taken, or images"
    parser.add_argument("styles", type=Path, nargs="+", help=text)
    text = "the configuration to write (default: my.yaml); the run gets its name"
    parser.add_argument("-o", "--output", type=Path, default=Path("my.yaml"), help=text)
    parser.add_argument("--force", action="store_true", help="overwrite the output if it exists")
    parser.set_defaults(function=init)


def init(arguments: argparse.Namespace) -> int:
    """Write a configuration and say what to call next."""
    output: Path = arguments.output
    if output.suffix.lower() not in (".yaml", ".yml") or output.is_dir():
        raise UserError(f"{output}: give a file ending in .yaml")
    if output.exists() and not arguments.force:
        raise UserError(f"{output}: exists already; --force overwrites it")
    console = Console(soft_wrap=True, highlight=False, markup=False)
    contents = find_images([arguments.contents], console)
    styles = find_images(arguments.styles, console)
    # The results of another configuration of that name stay apart.
    runs = [] if arguments.force else [path.name for path in Path("results").glob("*")]
    plan, seconds = choose_sweep(unique_id(_plain_id(output.stem), runs), contents, styles)
    settings, cells = plan.settings[0], format_count(plan.cell_count, "image")
    duration, file = format_duration(seconds), shlex.quote(str(output))
    text = Path(__file__).with_name("init_template.yaml").read_text(encoding="utf-8")
    text = text.format(
        cells=cells,
        time=duration,
        file=file,
        run=plan.config.run,
        name=dump_yaml({"run": plan.config.run}),
        contents=_entries(contents, plan.contents),
        styles=_entries(styles, plan.styles),
        size=settings.size,
        times=round((512 / settings.size) ** 2),
        iterations=settings.iterations,
        default=Settings().iterations,
        weights=STYLE_WEIGHTS,
    )
    write_text(output, text)
    console.print(
        f"{output}: {cells} of {settings.size} px in about {duration}; contents: {len(plan.contents)} "
        f"of {len(contents)}, styles: {len(plan.styles)} of {len(styles)}\nnext: nst run {file}"
    )
    return 0


def _entries(found: Mapping[str, str], used: Iterable[str]) -> str:
    """Lines of a map, those of images that are not used as comments."""
    return "".join(
        textwrap.indent(dump_yaml({name: path}), "  " if name in used else "  # ")
        for name, path in found.items()
    )


def find_images(places: Sequence[Path], console: Console) -> dict[str, str]:
    """Id -> file of all images in some folders; what is none is named in one line and left out.

    Raises:
        UserError: a place does not exist, or no image is left.
    """
    found: dict[str, str] = {}
    for path in dict.fromkeys(path for place in places for path in _files(place)):
        try:
            str(path).encode()
            # Damage behind the header is not looked for where that may take minutes.
            (decode if len(found) < max(PAIRS) else upright_size)(path)
            found[unique_id(_plain_id(path.stem), found)] = path.as_posix()
        except UnicodeEncodeError:
            console.print(f"left out: {str(path)!a}: the name is not UTF-8; rename it")
        except ImageError as error:
            console.print(f"left out: {error}")
    if not found:
        where = ", ".join(map(str, places))
        raise UserError(f"{where}: no image was found; give PNG, JPEG, WebP or TIFF images")
    return found


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UserError(f"{place}: there is no such file or folder")
    return sorted((p for p in place.iterdir() if not p.name.startswith(".")), key=natural_key)


def _plain_id(name: str) -> str:
    """An id in which letters with accents are those without: ``ete`` for ``été``."""
    return make_id(unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode())


def unique_id(name: str, taken: Iterable[str]) -> str:
    """The id, or with a number if it is taken: ``cat``, ``Cat-2``, which some systems hold for one."""
    known, number, free = {other.lower() for other in taken}, 1, name
    while free.lower() in known:
        number += 1
        free = f"{name[:90]}-{number}"
    return free


def choose_sweep(
    run: str, contents: Mapping[str, str], styles: Mapping[str, str]
) -> tuple[Plan, float]:
    """The best first sweep that takes no longer than `LONGEST`, or else the smallest; and its seconds."""
    from nstcore.resources.estimate import InputSizes, Machine

    machine = speed = None
    for raw in _sweeps(run, contents, styles):
        plan = Plan(parse_config(raw))
        if machine is None or speed is None:
            machine = Machine.here(plan.config)
            speed = measure_speed(plan, machine)
        forecast = RunForecast(plan, new=list(plan.cells()))
        add_costs(forecast, InputSizes.of(plan), machine, speed)
        seconds = forecast.seconds_all or 0.0
        if seconds <= LONGEST:
            break
    return plan, seconds


def _sweeps(
    run: str, contents: Mapping[str, str], styles: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Configurations from the richest to the smallest."""
    for size, iterations in QUALITIES:
        for pairs in PAIRS:
            rows = min(len(contents), isqrt(pairs))
            columns = min(len(styles), pairs // rows)
            rows = min(len(contents), pairs // columns)
            yield {
                "run": run,
                "contents": dict(list(contents.items())[:rows]),
                "styles": dict(list(styles.items())[:columns]),
                "settings": {"size": size, "iterations": iterations},
                "sweep": {"axes": {"style_weight": STYLE_WEIGHTS}},
            }
