# A second pass: chosen cells of the finished grid are made again, larger, from their own images.

REFINE = RefineRule(FILES)


localrules:
    promote,
    refined_table,


# The sheet's name could also be a page of the grid's sheets.
ruleorder: refined_sheet > contact_sheet


checkpoint promote:
    input:
        f"{RUN}/metrics.parquet",
    output:
        f"{RUN}/{SELECTION}",
    log:
        f"{RUN}/logs/promote.log",
    params:
        refine=PLAN.config.refine.model_dump(),
        rows=lambda wildcards: PLAN.refine_rows,
    script:
        "../scripts/promote.py"


# Inputs that the grid has already are not made a second time.
if PLAN.refined_sizes:

    use rule prepare_contents as refine_contents with:
        output:
            FILES.manifest("refined_contents"),
        log:
            f"{RUN}/logs/refine_contents/{{part}}.log",
        params:
            sizes=PLAN.refined_sizes,
            refined=True,


if PLAN.refined_targets:

    use rule style_targets as refine_targets with:
        input:
            unpack(lambda wildcards: FILES.target_inputs(wildcards, refined=True)),
        output:
            FILES.manifest("refined_targets"),
        log:
            f"{RUN}/logs/refine_targets/{{part}}.log",
        params:
            targets=list(PLAN.refined_targets),
            refined=True,


rule refine:
    input:
        unpack(REFINE.inputs),
    output:
        FILES.manifest("refined"),
    log:
        f"{RUN}/logs/refine/{{part}}.log",
    threads: 64
    resources:
        **REFINE.resources,
    params:
        cells=REFINE.digest,
        shares=REFINE.shares,
        algorithm=[ALGORITHM, EVALUATION],
        stage="refined",
    script:
        "../scripts/stylize.py"


rule refined_table:
    input:
        promoted=f"{RUN}/{SELECTION}",
        batches=refined_batches,
    output:
        csv=report(
            f"{RUN}/refined.csv",
            caption="../report/refined_table.rst",
            category="Metrics",
            labels={"table": "refined"},
        ),
        parquet=f"{RUN}/refined.parquet",
    log:
        f"{RUN}/logs/refined_table.log",
    script:
        "../scripts/refined_table.py"


rule refined_sheet:
    input:
        metrics=f"{RUN}/metrics.parquet",
        refined=f"{RUN}/refined.parquet",
    output:
        **sheet_outputs("refined", caption="../report/refined_sheet.rst"),
    log:
        f"{RUN}/logs/refined_sheet.log",
    resources:
        **LIGHT_JOB,
    params:
        report=PLAN.config.report.model_dump(),
        inputs=FILES.order(),
    script:
        "../scripts/refined_sheet.py"
