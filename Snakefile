# Neural style transfer over a grid: content x style x setting x seed.
# What a configuration may hold: config/README.md. What the rules make: results/README.md.


# A --configfile replaces the demo's configuration; it does not build on it.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


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


# The environment of every rule so far. (`conda:` outside of a rule is about the main process.)
for made in workflow.rules:
    made.conda_env = "../../environment.yml"


localrules:
    all,


rule all:
    default_target: True
    input:
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
    write_snapshot(PLAN)
