# The finished run beside others.

COMPARED_RUNS = paths.compared_runs(PLAN.config)


rule compare:
    input:
        metrics=f"{RUN}/metrics.parquet",
        grid=f"{RUN}/grid.tsv",
        others=[f"{folder}/grid.tsv" for folder in COMPARED_RUNS],
        batches=ancient(FILES.batches),
    output:
        page=f"{RUN}/{paths.COMPARE_FOLDER}/{paths.COMPARE_PAGE}",
        table=report(
            f"{RUN}/{paths.COMPARE_FOLDER}/{paths.COMPARE_TABLE}",
            caption="../report/compare.rst",
            category="Comparison",
            labels={"table": "comparison"},
        ),
        summary=f"{RUN}/{paths.COMPARE_FOLDER}/{paths.COMPARE_SUMMARY}",
    log:
        f"{RUN}/logs/compare.log",
    params:
        compare=PLAN.config.compare.model_dump(),
        # Made at the end of each run: a run that went on has others.
        states=[source_state(f"{folder}/metrics.csv") for folder in COMPARED_RUNS],
    script:
        "../scripts/compare.py"
