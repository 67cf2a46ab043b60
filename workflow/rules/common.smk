# The plan, and what several stages need of it.
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from nstcore.cli.workflow import share_checkout
from nstcore.errors import UserError
from nstcore.grid import paths
from nstcore.grid.freeze import freeze, frozen_path, open_plan
from nstcore.grid.plan import ID_PATTERN
from nstcore.run.prepare import encoders, target_requests
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
        [[n, s.paths, s.weights, s.regions] for n, s in PLAN.styles.items()],
    ]


def guide_files(guide):
    """Files of a guide as the configuration has it: one in colours, or one for each region."""
    if guide is None:
        return []
    return [guide] if isinstance(guide, str) else list(guide.values())


def content_guides(contents, pattern):
    """Prepared guides of those contents that have one, at every size."""
    guided = [name for name in contents if PLAN.contents[name].guide is not None]
    return expand(in_run(pattern), content=guided, size=PLAN.sizes)


def style_guides(styles, pattern):
    """Prepared guides of those pictures of styles that have one."""
    return [
        in_run(pattern).format(style=style, index=index)
        for style in styles
        for index, guide in enumerate(PLAN.styles[style].guides)
        if guide is not None
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
