# What people look at.


localrules:
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
            labels={"page": "{page}"},
        ),
        pdf=f"{RUN}/sheets/{{page}}.pdf",
    log:
        f"{RUN}/logs/contact_sheet/{{page}}.log",
    conda:
        "../../environment.yml"
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
    resources:
        mem_mb=light_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
        report=PLAN.config.report.model_dump(),
        inputs=inputs_in_order(),
    script:
        "../scripts/report.py"


# The last word: it fails when cells failed, after everything that can be shown has been made.
rule check:
    input:
        f"{RUN}/metrics.csv",
        f"{RUN}/report/index.html",
        sheet_files(),
        refined_results(),
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
