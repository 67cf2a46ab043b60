# The statistics of every style, once for each size and encoder, where many batches need them.


rule style_targets:
    input:
        unpack(FILES.target_inputs),
    output:
        FILES.manifest("targets"),
    log:
        f"{RUN}/logs/style_targets/{{part}}.log",
    threads: 4
    resources:
        **TARGET_JOB,
        # A GPU is needed only where nothing else is allowed.
        gpu=1 if PLAN.config.device == "cuda" else 0,
    params:
        targets=list(PLAN.targets),
        shares=lambda wildcards: FILES.shares(FILES.styles[wildcards.part]),
        statistics=STATISTICS,
        refined=False,
    script:
        "../scripts/style_targets.py"
