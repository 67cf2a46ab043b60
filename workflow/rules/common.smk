# The plan of the run, its files, and what several rules share.
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from nstcore.contact_sheet.axes import page_names
from nstcore.errors import UserError
from nstcore.jobs.manifests import drop_stale_manifests
from nstcore.jobs.run_process import end_timers, note_owner, share_run_process
from nstcore.jobs.workflow_files import LIGHT_JOB, SELECTION, TARGET_JOB, WILDCARDS
from nstcore.jobs.workflow_files import RefineRule, RunFiles, StylizeRule
from nstcore.jobs.workflow_files import source_state, state_of
from nstcore.plan import paths
from nstcore.plan.keys import ALGORITHM, EVALUATION, STATISTICS
from nstcore.plan.snapshot import open_plan, write_snapshot
from nstcore.resources.workers import adapt_to_machine

try:
    PLAN = open_plan(config, starting=workflow.is_main_process)
    # On a cluster every job has a node of its own.
    CORES = workflow.resource_settings.cores
    if workflow.is_main_process and CORES:
        gpus = dict(workflow.global_resources.unwrapped_items()).get("gpu") or 1
        adapt_to_machine(PLAN, CORES, gpus)
    PAGES = page_names(PLAN.axis_values, PLAN.layout["pages"])
except UserError as error:
    raise WorkflowError(str(error)) from None

# A job runs again when one of the files of its manifest is missing or was changed.
if workflow.is_main_process:
    share_run_process()
    drop_stale_manifests(Path(PLAN.config.run_dir))

THREADS = max(1, (CORES or 64) // PLAN.config.workers)
# Of jobs that run beside another one.
SHARED_THREADS = min(4, max(1, (CORES or 64) // 2))

RUN = PLAN.config.run_dir
os.environ.update(NST_RUN=RUN)  # for the live view
FILES = RunFiles(PLAN)
SHEETS = expand(f"{RUN}/sheets/{{page}}.{{suffix}}", page=PAGES, suffix=["png", "pdf"])


wildcard_constraints:
    **WILDCARDS,


def sheet_outputs(page, caption):
    """Outputs of a rule that draws a sheet; the report of Snakemake shows them, too."""
    return {
        kind.lower(): report(
            f"{RUN}/sheets/{page}.{kind.lower()}",
            caption=caption,
            category="Contact sheets",
            labels={"page": page, "format": kind},
        )
        for kind in ("PNG", "PDF")
    }


def refined_batches(wildcards):
    """The manifests of all refined images, once it is known which."""
    if PLAN.config.refine is None:
        return []
    checkpoints.promote.get()
    return REFINE.manifests()
