"""``nst reproduce``: a finished picture again from its record, and whether it is the same."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from nstcore.cli.stylize import descent_bar
from nstcore.errors import ConfigError, UserError
from nstcore.jobs.cell_inputs import RunInputs
from nstcore.jobs.prepare import prepare_inputs
from nstcore.jobs.stylize import make_batch_member
from nstcore.plan.record import CellRecord
from nstcore.results.reproduce import (
    FORMATS,
    Original,
    changed,
    changed_weights,
    compare,
    is_as_recorded,
    missing,
    output_of,
    plan_again,
    read_original,
    unlike,
)
from nstcore.store.files import atomic_path

IDENTICAL, DIFFERENT = 0, 1


def reproduce(arguments: argparse.Namespace) -> int:
    """Make a picture again and say whether it is identical.

    Returns:
        0 where it is, 1 where it is not or nothing can tell.

    Raises:
        UserError: before anything is computed, if an input is missing or has changed.
    """
    original = read_original(arguments.picture)
    output = _output(original, arguments.output)
    if output.exists() and not arguments.force:
        raise UserError(f"{output}: exists already; --force overwrites it, -o names another")
    record = original.record
    batch, place = ([record], 0) if arguments.alone else (record.members(), record.position)
    _complain(
        problem
        for one in batch
        for problem in (*missing(one, arguments.root), *changed_weights(one, arguments.root))
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
        _complain(
            problem
            for one, plan in zip(batch, plans, strict=True)
            for cell in plan.cells()
            for problem in changed(one, RunInputs(plan).of(cell).record())
        )
        how = record.optimization
        _check_device(plans[place].config.device, str(how.device))
        with descent_bar(Console(stderr=True)) as progress:
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


def _complain(problems: Iterable[str]) -> None:
    """Raise an error with a line for each problem, if there is any."""
    found = list(dict.fromkeys(problems))
    if found:
        raise ConfigError(found)


def _output(original: Original, given: Path | None) -> Path:
    """Where the new picture goes: never over the old one."""
    if given is None:
        return original.file.with_name(f"{original.file.stem}.again{original.suffix}")
    wanted = output_of(original)["format"]
    if FORMATS.get(given.suffix.lower()) != wanted:
        able = " or ".join(suffix for suffix, kind in FORMATS.items() if kind == wanted)
        raise UserError(f"{given}: the picture is a {wanted}; give a file ending in {able}")
    if original.image is not None and given.exists() and given.samefile(original.image):
        raise UserError(f"{given}: is the picture to be compared with; give another file")
    return given


def _check_device(device: str, then: str) -> None:
    from nstcore.resources.device import device_kind

    try:
        device_kind(device)
    except UserError as error:
        raise UserError(
            f"{error}; the picture was made on {then}: --device auto makes it here, perhaps not to the "
            "byte"
        ) from None


def verdict(original: Original, again: Path, record: CellRecord) -> tuple[bool, list[str]]:
    """Whether a picture is what it was, and what to say of it.

    Args:
        original: what was made once.
        again: the picture that was made now.
        record: of that one.
    """
    then = original.record
    as_told = is_as_recorded(again, then)
    how = _circumstances(then, record)
    if original.image is None:
        if as_told is None:
            return False, [f"{again}: made again; no picture is there to compare it with", *how]
        if as_told:
            return True, [f"{again}: identical to the picture that {original.file} tells of"]
        return False, [f"{again}: differs from the picture that {original.file} tells of", *how]
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
    if as_told:
        return False, [
            *lines,
            f"it is what the record tells of: {name} was changed after it was made",
        ]
    if as_told is False and is_as_recorded(name, then) is False:
        lines.append(f"{name} was changed after it was made: the record tells of other pixels")
    return False, [*lines, *how]


def _circumstances(then: CellRecord, now: CellRecord) -> list[str]:
    """What may be why a picture differs."""
    lines = []
    different = unlike(then, now)
    if different:
        lines.append("not as it was then: " + "; ".join(different))
    else:
        lines.append("versions, device and threads are as they were, as far as the record tells")
    was = then.optimization
    if was.batch_size != now.optimization.batch_size:
        lines.append(
            "how many are computed together decides the last bits, and a descent enlarges them: to the "
            "eye the same"
        )
    if was.device != "cpu" and not was.deterministic:
        lines.append(
            "it was made without `deterministic: true`: a GPU then rounds differently each time"
        )
    if then.key != now.key and then.algorithm == now.algorithm and not was.degraded:
        lines.append(
            "the record, of an older version, does not tell everything that the picture depends on"
        )
    return lines
