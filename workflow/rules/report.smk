# What people look at.


localrules:
    report_bundle,
    check,


rule contact_sheet:
    input:
        metrics=f"{RUN}/metrics.parquet",
        # Records tell when a picture changed; a picture linked anew keeps its old date or gets a
        # newer one without being another picture.
        images=ancient(cell_files()),
    output:
        png=report(
            f"{RUN}/sheets/{{page}}.png",
            caption="../report/contact_sheet.rst",
            category="Contact sheets",
            labels={"page": "{page}", "format": "PNG"},
        ),
        pdf=report(
            f"{RUN}/sheets/{{page}}.pdf",
            caption="../report/contact_sheet.rst",
            category="Contact sheets",
            labels={"page": "{page}", "format": "PDF"},
        ),
    log:
        f"{RUN}/logs/contact_sheet/{{page}}.log",
    conda:
        "../../environment.yml"
    # Several sheets are drawn side by side, a single one by several threads.
    threads: 1 if len(PAGES) > 1 else 4
    resources:
        mem_mb=light_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
        report=PLAN.config.report.model_dump(),
        inputs=inputs_in_order(),
    script:
        "../scripts/contact_sheet.py"


rule report:
    input:
        metrics=f"{RUN}/metrics.parquet",
        curves=f"{RUN}/loss_curves.parquet",
        grid=f"{RUN}/grid.tsv",
        images=ancient(cell_files()),
    output:
        f"{RUN}/report/index.html",
    log:
        f"{RUN}/logs/report.log",
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        mem_mb=light_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
        report=PLAN.config.report.model_dump(),
        inputs=inputs_in_order(),
    script:
        "../scripts/report.py"


# For `snakemake --report`, which takes a page in with its folder or not at all.
rule report_bundle:
    input:
        f"{RUN}/report/index.html",
    output:
        report(
            directory(f"{RUN}/snakemake/report"),
            caption="../report/report.rst",
            category="Report",
            labels={"report": "all cells"},
            htmlindex="index.html",
        ),
    log:
        f"{RUN}/logs/report_bundle.log",
    conda:
        "../../environment.yml"
    params:
        frozen=FROZEN,
    script:
        "../scripts/report_bundle.py"


# The last word: it fails when cells failed or limits were exceeded, after everything that can be shown
# has been made.
rule check:
    input:
        f"{RUN}/metrics.csv",
        f"{RUN}/report/index.html",
        f"{RUN}/snakemake/report",
        sheet_files(),
        refined_results(),
        compare_files(),
        records=cell_files(paths.RECORD_SUFFIX),
        refined=refined_files(paths.RECORD_SUFFIX),
    output:
        f"{RUN}/summary.json",
    log:
        f"{RUN}/logs/check.log",
    conda:
        "../../environment.yml"
    params:
        frozen=FROZEN,
        allow_failures=PLAN.config.allow_failures,
    script:
        "../scripts/check.py"
