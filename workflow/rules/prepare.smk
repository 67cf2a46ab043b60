# Images and weights become files that every later stage reads the same way.


# On a cluster these run where the run was started: one is small, the other may need the internet.
localrules:
    grid,
    prepare_encoder,


rule prepare_contents:
    input:
        FILES.content_sources,
    output:
        FILES.manifest("contents"),
    log:
        f"{RUN}/logs/prepare_contents/{{part}}.log",
    resources:
        **LIGHT_JOB,
    params:
        contents=lambda wildcards: FILES.contents[wildcards.part],
        background=PLAN.config.background,
        sizes=PLAN.sizes,
        preserve_alpha=PLAN.config.output.preserve_alpha,
        format=PLAN.config.output.format,
        sources=state_of(FILES.content_sources),
        refined=False,
    script:
        "../scripts/prepare_contents.py"


rule prepare_styles:
    input:
        FILES.style_sources,
    output:
        FILES.manifest("styles"),
    log:
        f"{RUN}/logs/prepare_styles/{{part}}.log",
    resources:
        **LIGHT_JOB,
    params:
        styles=lambda wildcards: FILES.styles[wildcards.part],
        background=PLAN.config.background,
        sources=state_of(FILES.style_sources),
    script:
        "../scripts/prepare_styles.py"


rule prepare_encoder:
    input:
        source=FILES.weights_source,
    output:
        weights=f"{RUN}/{paths.ENCODER}",
        info=f"{RUN}/{paths.ENCODER_METADATA}",
    log:
        f"{RUN}/logs/prepare_encoder/{{encoder}}.log",
    # It mostly waits for a disk or the internet.
    threads: 0
    resources:
        **TARGET_JOB,
    params:
        source=state_of(FILES.weights_source),
    script:
        "../scripts/prepare_encoder.py"


rule grid:
    input:
        unpack(lambda wildcards: FILES.grid_inputs()),
    output:
        f"{RUN}/grid.tsv",
    log:
        f"{RUN}/logs/grid.log",
    priority: 100
    # It takes less than a second: no batch waits for it.
    threads: 0
    params:
        cells=lambda wildcards: PLAN.digest_of(PLAN.cells()),
        batches=lambda wildcards: FILES.batch_digest(),
        inputs=FILES.order(),
        starts=state_of(lambda wildcards: FILES.starts(PLAN.cells())),
        algorithm=ALGORITHM,
    script:
        "../scripts/grid.py"
