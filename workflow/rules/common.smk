# The plan, and what several stages need of it.
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from nstcore.cli.workflow import share_checkout
from nstcore.errors import UserError
from nstcore.grid import paths
from nstcore.grid.freeze import freeze, frozen_path, open_plan
from nstcore.grid.plan import ID_PATTERN
from nstcore.grid.refine import refined_sizes, rows_of
from nstcore.run.prepare import (
    encoders,
    judge_target,
    refined_encoders,
    refined_requests,
    requests_of,
    target_requests,
)
from nstcore.run.promote import promoted_images, refined_cell
from nstcore.store.digests import ALGORITHM, EVALUATION, STATISTICS
from nstcore.sheet import page_names

try:
    PLAN = open_plan(config, starting=workflow.is_main_process)
    PAGES = page_names(PLAN.axis_values, PLAN.layout["pages"])
except UserError as error:
    raise WorkflowError(str(error)) from None

# With --software-deployment-method conda a job's own Python finds nstcore in this checkout.
share_checkout(Path(workflow.basedir))

RUN = PLAN.config.run_dir
FROZEN = str(frozen_path(PLAN.config))

# What refined cells need beyond the grid; nothing where nothing is refined.
REFINED_SIZES = refined_sizes(PLAN)
REFINED_TARGETS = refined_requests(PLAN)
REFINED_ENCODERS = {**encoders(PLAN), **refined_encoders(PLAN)}


wildcard_constraints:
    content=ID_PATTERN,
    style=ID_PATTERN,
    encoder=ID_PATTERN,
    target=ID_PATTERN,
    size=r"\d+",
    index=r"\d+",
    page=r"[^/]+",


def file_state(path):
    """Size and date of an input: a file replaced by an older one is another file too."""
    facts = Path(path).stat() if path and Path(path).is_file() else None
    return [facts.st_size, facts.st_mtime_ns] if facts else None


def inputs_in_order():
    """Contents and styles in their order, with the shares of blends."""
    return [
        list(PLAN.contents),
        [[n, s.paths, s.weights] for n, s in PLAN.styles.items()],
    ]


def starts(cells):
    """The pictures of `init: file`."""
    return sorted({cell.settings.init_file for cell in cells} - {None})


def in_run(pattern):
    """A pattern of nstcore.grid.paths as a path from the working directory."""
    return f"{RUN}/{pattern}"


def sheet_files():
    """Every contact sheet of the run."""
    return expand(
        f"{RUN}/sheets/{{page}}.{{suffix}}", page=PAGES, suffix=["png", "pdf"]
    )


def cell_files(suffix=None):
    """Every picture of the run, or the file beside it with another suffix."""
    images = (Path(RUN) / cell.image for cell in PLAN.cells())
    return [str(image.with_suffix(suffix) if suffix else image) for image in images]


def refined_files(suffix=None):
    """Every refined picture, once it is known which, or the file beside it with another suffix."""

    def files(wildcards):
        if PLAN.config.refine is None:
            return []
        table = checkpoints.promote.get().output[0]
        images = (Path(RUN) / image for image in promoted_images(table))
        return [str(image.with_suffix(suffix) if suffix else image) for image in images]

    return files


def refined_results():
    """What is made of all refined pictures together."""
    if PLAN.config.refine is None:
        return []
    sheets = expand(f"{RUN}/sheets/refined.{{suffix}}", suffix=["png", "pdf"])
    return [f"{RUN}/refined.csv", *sheets]


def refined_inputs(pattern):
    """Files of the size of one refined cell and of the size at which it is judged."""
    return lambda wildcards: expand(
        in_run(pattern),
        content=wildcards.content,
        size=sorted(
            {
                refined_cell(PLAN, **dict(wildcards)).settings.size,
                PLAN.evaluation["size"],
            }
        ),
    )


def refined_style(pattern):
    """Files of every picture of a refined cell's style."""
    return lambda wildcards: expand(
        in_run(pattern),
        style=wildcards.style,
        index=range(len(PLAN.styles[wildcards.style].paths)),
    )
