# The finished run beside others.


if PLAN.config.compare is not None:

    rule compare:
        input:
            metrics=f"{RUN}/metrics.parquet",
            grid=f"{RUN}/grid.tsv",
            others=[f"{folder}/grid.tsv" for folder in OTHER_RUNS],
            images=ancient(cell_files()),
        output:
            page=f"{COMPARED}/{compared.PAGE}",
            table=report(
                f"{COMPARED}/{compared.TABLE}",
                caption="../report/compare.rst",
                category="Comparison",
                labels={"table": "comparison"},
            ),
            summary=f"{COMPARED}/{compared.SUMMARY}",
        log:
            f"{RUN}/logs/compare.log",
        conda:
            "../../environment.yml"
        params:
            frozen=FROZEN,
            compare=PLAN.config.compare.model_dump(),
            # Made at the end of each run: a run that went on has others.
            states=[file_state(f"{folder}/metrics.csv") for folder in OTHER_RUNS],
        script:
            "../scripts/compare.py"
