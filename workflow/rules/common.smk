# The plan, and what several stages need of it.
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from nstcore.cli.workflow import share_checkout
from nstcore.errors import UserError
from nstcore.plan import compared, paths
from nstcore.plan.snapshot import write_snapshot, snapshot_path, open_plan
from nstcore.store.files import digest
from nstcore.plan.plan import ID_PATTERN
from nstcore.plan.refine import refined_sizes, rows_of
from nstcore.plan.preparation import (
    encoders,
    evaluation_target,
    refined_encoders,
    refined_requests,
    requests_of,
    target_requests,
)
from nstcore.results.select_refined import promoted_images, refined_cell
from nstcore.resources.requests import (
    gpu_mb,
    host_mb,
    light_mb,
    light_minutes,
    runtime_minutes,
    target_mb,
)
from nstcore.plan.keys import ALGORITHM, EVALUATION, STATISTICS
from nstcore.contact_sheet import page_names

try:
    PLAN = open_plan(config, starting=workflow.is_main_process)
    PAGES = page_names(PLAN.axis_values, PLAN.layout["pages"])
except UserError as error:
    raise WorkflowError(str(error)) from None

# With --software-deployment-method conda a job's own Python finds nstcore in this checkout.
share_checkout(Path(workflow.basedir))

RUN = PLAN.config.run_dir
FROZEN = str(snapshot_path(PLAN.config))

# What refined cells need beyond the grid; nothing where nothing is refined.
REFINED_SIZES = refined_sizes(PLAN)
REFINED_TARGETS = refined_requests(PLAN)
REFINED_ENCODERS = {**encoders(PLAN), **refined_encoders(PLAN)}

COMPARED = f"{RUN}/{compared.FOLDER}"
OTHER_RUNS = compared.compared_runs(PLAN.config)


# What jobs ask for that only handle files, and those that compute style targets.
def light_memory(wildcards, attempt):
    return light_mb(attempt)


def light_time(wildcards, attempt):
    return light_minutes(attempt)


def target_memory(wildcards, attempt):
    return target_mb(attempt)


# A style target needs a GPU only where nothing else is allowed.
TARGET_GPU = 1 if PLAN.config.device == "cuda" else 0


wildcard_constraints:
    content=ID_PATTERN,
    style=ID_PATTERN,
    encoder=ID_PATTERN,
    target=ID_PATTERN,
    size=r"\d+(short|area)?",
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


def content_guides(contents, pattern, sizes=PLAN.sizes):
    """Prepared guides of those contents that have one, at some sizes."""
    guided = [name for name in contents if PLAN.contents[name].guide is not None]
    return expand(in_run(pattern), content=guided, size=sizes)


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
    """A pattern of nstcore.plan.paths as a path from the working directory."""
    return f"{RUN}/{pattern}"


def alpha_files(sizes=PLAN.sizes, **wildcards):
    """How opaque contents are, where that is kept; empty where it is not."""
    if not PLAN.config.output.preserve_alpha:
        return []
    return expand(
        in_run(paths.CONTENT_ALPHA), size=sizes, allow_missing=True, **wildcards
    )


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


def compare_files():
    """What is made of the run and others together."""
    if PLAN.config.compare is None:
        return []
    files = [compared.PAGE, compared.TABLE, compared.SUMMARY]
    return [f"{COMPARED}/{file}" for file in files]


def refined_labels(wildcards):
    """The size of one refined cell and the size at which it is judged, as in paths."""
    own = paths.size_label(refined_cell(PLAN, **dict(wildcards)).settings)
    return sorted({own, str(PLAN.evaluation["size"])})


def refined_inputs(pattern):
    """Files of a refined cell's content at the sizes that it needs."""
    return lambda wildcards: expand(
        in_run(pattern), content=wildcards.content, size=refined_labels(wildcards)
    )


def refined_guides(wildcards):
    """Prepared guides of a refined cell's content and style, with what is known of them."""
    sizes = refined_labels(wildcards)
    return [
        file
        for content, style in (
            (paths.CONTENT_GUIDE, paths.STYLE_GUIDE),
            (paths.CONTENT_GUIDE_FACTS, paths.STYLE_GUIDE_FACTS),
        )
        for file in (
            *content_guides([wildcards.content], content, sizes),
            *style_guides([wildcards.style], style),
        )
    ]


def refined_style(pattern):
    """Files of every picture of a refined cell's style."""
    return lambda wildcards: expand(
        in_run(pattern),
        style=wildcards.style,
        index=range(len(PLAN.styles[wildcards.style].paths)),
    )
