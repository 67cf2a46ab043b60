# What people look at.


localrules:
    check,


rule contact_sheet:
    input:
        metrics=f"{RUN}/metrics.parquet",
    output:
        **sheet_outputs("{page}", caption="../report/contact_sheet.rst"),
    log:
        f"{RUN}/logs/contact_sheet/{{page}}.log",
    # Several sheets are drawn side by side, a single one by several threads.
    threads: 1 if len(PAGES) > 1 else SHARED_THREADS
    resources:
        **LIGHT_JOB,
    params:
        report=PLAN.config.report.model_dump(),
        inputs=FILES.order(),
    script:
        "../scripts/contact_sheet.py"


rule report:
    input:
        metrics=f"{RUN}/metrics.parquet",
        curves=f"{RUN}/loss_curves.parquet",
        grid=f"{RUN}/grid.tsv",
    output:
        page=f"{RUN}/report/index.html",
        # For `snakemake --report`, which takes a page in with its folder or not at all.
        bundle=report(
            directory(f"{RUN}/snakemake/report"),
            caption="../report/report.rst",
            category="Report",
            labels={"report": "all cells"},
            htmlindex="index.html",
        ),
    log:
        f"{RUN}/logs/report.log",
    threads: SHARED_THREADS
    resources:
        **LIGHT_JOB,
    params:
        report=PLAN.config.report.model_dump(),
        inputs=FILES.order(),
    script:
        "../scripts/report.py"


# The last word: it fails if cells failed or limits were exceeded, after everything else is made.
rule check:
    input:
        metrics=f"{RUN}/metrics.csv",
        report=f"{RUN}/report/index.html",
        bundle=f"{RUN}/snakemake/report",
        sheets=SHEETS,
        refined_results=FILES.refined_results(),
        comparison=FILES.comparison(),
        batches=FILES.batches,
        refined=refined_batches,
    output:
        f"{RUN}/summary.json",
    log:
        f"{RUN}/logs/check.log",
    params:
        allow_failures=PLAN.config.allow_failures,
    script:
        "../scripts/check.py"
