# The work itself: one job a batch, which ends with the manifest of the images and records it made.

STYLIZE = StylizeRule(FILES)


rule stylize:
    input:
        unpack(STYLIZE.inputs),
    output:
        FILES.manifest("batches"),
    log:
        f"{RUN}/logs/stylize/{{part}}.log",
    threads: THREADS
    resources:
        **STYLIZE.resources,
    params:
        cells=STYLIZE.digest,
        starts=state_of(STYLIZE.starts),
        shares=STYLIZE.shares,
        algorithm=[ALGORITHM, EVALUATION],
        stage="batches",
    script:
        "../scripts/stylize.py"
