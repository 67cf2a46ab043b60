# The statistics of every style, once for each size and encoder.


rule style_target:
    input:
        unpack(FILES.target_inputs),
    output:
        FILES.paths(paths.TARGET, target=PLAN.targets),
    log:
        f"{RUN}/logs/style_target/{{style}}.log",
    threads: 4
    resources:
        **TARGET_JOB,
        # A GPU is needed only where nothing else is allowed.
        gpu=1 if PLAN.config.device == "cuda" else 0,
    params:
        shares=lambda wildcards: FILES.shares([wildcards.style]),
        statistics=STATISTICS,
    script:
        "../scripts/style_target.py"
