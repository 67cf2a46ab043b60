# Neural style transfer over a grid: content x style x setting x seed.
# What a configuration may hold: config/README.md. What the rules make: results/README.md.

from pathlib import Path

from snakemake.settings.types import SharedFSUsage

from nstcore.cli.run_command import share_checkout

# A --configfile replaces the demo's configuration; it does not build on it.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


# With --software-deployment-method conda a job's own Python finds nstcore in this checkout.
share_checkout(Path(workflow.basedir))

SHARED = SharedFSUsage.INPUT_OUTPUT in workflow.storage_settings.shared_fs_usage
# A node without the run's files knows only the rule whose job it does.
ON_NODE = not SHARED and not workflow.is_main_process

if not SHARED:
    # Files are where the run was started, unless a rule says that they are in the storage.
    workflow.modifier.path_modifier.apply_default_storage = lambda path: path

if not ON_NODE:

    include: "workflow/rules/common.smk"
    include: "workflow/rules/prepare.smk"
    include: "workflow/rules/targets.smk"
    include: "workflow/rules/stylize.smk"
    include: "workflow/rules/metrics.smk"
    include: "workflow/rules/report.smk"

    if PLAN.config.refine is not None:

        include: "workflow/rules/refine.smk"

    if PLAN.config.compare is not None:

        include: "workflow/rules/compare.smk"


if not SHARED:

    include: "workflow/rules/packed.smk"


# The environment of every rule so far. (`conda:` outside of a rule is about the main process.)
for made in workflow.rules:
    made.conda_env = "../../environment.yml"


if not ON_NODE:

    localrules:
        all,

    if not SHARED:
        workflow.localrules(
            *(made.name for made in workflow.rules if made.name != "stylize_packed")
        )

    rule all:
        default_target: True
        input:
            # A manifest that is gone makes its job run again only as a target.
            batches=FILES.batches,
            refined=refined_batches,
            grid=f"{RUN}/grid.tsv",
            metrics=f"{RUN}/metrics.parquet",
            metrics_csv=f"{RUN}/metrics.csv",
            curves=f"{RUN}/loss_curves.parquet",
            sheets=SHEETS,
            refined_results=FILES.refined_results(),
            comparison=FILES.comparison(),
            report=f"{RUN}/report/index.html",
            bundle=f"{RUN}/snakemake/report",
            summary=f"{RUN}/summary.json",

    # From here on jobs read the snapshot: editing the configuration does not change a run that has begun.
    onstart:
        note_owner(Path(RUN))
        write_snapshot(PLAN)

    onsuccess:
        end_timers()

    onerror:
        end_timers()
