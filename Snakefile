# Neural style transfer over a grid: content x style x setting x seed.
# What a configuration may hold: config/README.md. What the rules make: results/README.md.


# A --configfile replaces the demo's configuration; it does not build on it.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/batches.smk"
include: "workflow/rules/stylize.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/refine.smk"
include: "workflow/rules/compare.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        # Named here too: else one that is deleted would not be missed while the sheets stand.
        cell_files(),
        cell_files(paths.RECORD_SUFFIX),
        f"{RUN}/grid.tsv",
        f"{RUN}/metrics.csv",
        f"{RUN}/metrics.parquet",
        f"{RUN}/loss_curves.parquet",
        sheet_files(),
        refined_files(),
        refined_files(paths.RECORD_SUFFIX),
        refined_results(),
        compare_files(),
        f"{RUN}/report/index.html",
        f"{RUN}/snakemake/report",
        f"{RUN}/summary.json",


# From here on jobs read the frozen copy: editing the configuration changes nothing that has begun.
onstart:
    write_snapshot(PLAN)
