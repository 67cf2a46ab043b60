# From records to tables.


rule metrics:
    input:
        grid=f"{RUN}/grid.tsv",
        batches=FILES.batches,
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
    resources:
        **LIGHT_JOB,
    script:
        "../scripts/metrics.py"
