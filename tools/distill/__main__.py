"""``python -m tools.distill``: the distillation from a command line."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import fields, replace
from pathlib import Path

from nstcore.core.encoders.vgg import download
from nstcore.errors import UserError
from tools.distill.program import distill
from tools.distill.training import Progress, TrainingPlan

log = logging.getLogger("tools.distill")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.distill", description=distill.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--teacher",
        default="vgg19",
        metavar="vgg19|FILE",
        help="VGG-19: torchvision's own (downloaded once), or a state dict (default: vgg19)",
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help=".safetensors file to write")
    parser.add_argument("--minutes", type=float, default=None, help="time budget")
    parser.add_argument("--steps", type=int, default=None, help="budget in steps")
    parser.add_argument("--folder", type=Path, default=None, help="checkpoint and replay")
    parser.add_argument("--init", type=Path, default=None, help="exported weights to start from")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-resume", action="store_true", help="ignore an existing checkpoint")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a number of the plan"
    )
    return parser


def make_plan(assignments: list[str]) -> TrainingPlan:
    """A plan with some of its numbers replaced: ``["rate=5e-4"]``.

    Raises:
        UserError: if a key is unknown or a value is no number.
    """
    plan = TrainingPlan()
    known = {f.name for f in fields(TrainingPlan) if isinstance(getattr(plan, f.name), int | float)}
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        if key not in known:
            raise UserError(f"--set {assignment}: no number {key!r}; there are {sorted(known)}")
        try:
            plan = replace(plan, **{key: type(getattr(plan, key))(value)})
        except ValueError as error:
            raise UserError(f"--set {assignment}: {value!r} is no number for {key}") from error
    return plan


def show(progress: Progress) -> None:
    """One line in the log for each report."""
    parts = " ".join(f"{name} {value:.4f}" for name, value in progress.parts.items())
    log.info(
        "step %d  %.1f %%  loss %.4f  %s", progress.step, 100 * progress.share, progress.loss, parts
    )
    if progress.validation is not None:
        log.info("validation %s", json.dumps(progress.validation.as_dict()))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = make_parser().parse_args(arguments)
    minutes = options.minutes if options.minutes is not None or options.steps is not None else 120.0
    try:
        distill(
            download() if options.teacher == "vgg19" else Path(options.teacher),
            options.photos,
            options.out,
            minutes=minutes,
            steps=options.steps,
            resume=not options.no_resume,
            device=options.device,
            seed=options.seed,
            folder=options.folder,
            init=options.init,
            plan=make_plan(options.set),
            progress=show,
        )
    except UserError as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
