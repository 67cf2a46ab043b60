# From records to tables.


rule metrics:
    input:
        grid=f"{RUN}/grid.tsv",
        records=cell_files(paths.RECORD_SUFFIX),
    output:
        parquet=f"{RUN}/metrics.parquet",
        csv=report(
            f"{RUN}/metrics.csv",
            caption="../report/metrics.rst",
            category="Metrics",
            labels={"table": "metrics"},
        ),
        curves=f"{RUN}/loss_curves.parquet",
    log:
        f"{RUN}/logs/metrics.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=light_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
    script:
        "../scripts/metrics.py"
