# Images and weights become files that every later stage reads the same way.


# On a cluster these run where the run was started: one is small, the other may need the internet.
localrules:
    grid,
    prepare_encoder,


rule prepare_content:
    input:
        source=FILES.content_source,
    output:
        **FILES.contents(PLAN.sizes),
    log:
        f"{RUN}/logs/prepare_content/{{content}}.log",
    resources:
        **LIGHT_JOB,
    params:
        background=PLAN.config.background,
        sizes=PLAN.sizes,
        preserve_alpha=PLAN.config.output.preserve_alpha,
        format=PLAN.config.output.format,
        source=state_of(FILES.content_source),
    script:
        "../scripts/prepare_content.py"


rule prepare_style:
    input:
        source=FILES.style_source,
    output:
        image=f"{RUN}/{paths.STYLE}",
        info=f"{RUN}/{paths.STYLE_METADATA}",
    log:
        f"{RUN}/logs/prepare_style/{{style}}-{{index}}.log",
    resources:
        **LIGHT_JOB,
    params:
        background=PLAN.config.background,
        source=state_of(FILES.style_source),
    script:
        "../scripts/prepare_style.py"


rule prepare_content_guide:
    input:
        source=FILES.content_guide_source,
        info=FILES.contents(PLAN.sizes)["content_info"],
    output:
        **FILES.content_guides(PLAN.sizes),
    log:
        f"{RUN}/logs/prepare_content_guide/{{content}}.log",
    resources:
        **LIGHT_JOB,
    params:
        sizes=PLAN.sizes,
        source=state_of(FILES.content_guide_source),
    script:
        "../scripts/prepare_content_guide.py"


rule prepare_style_guide:
    input:
        source=FILES.style_guide_source,
        info=f"{RUN}/{paths.STYLE_METADATA}",
    output:
        guide=f"{RUN}/{paths.STYLE_GUIDE}",
        info=f"{RUN}/{paths.STYLE_GUIDE_METADATA}",
    log:
        f"{RUN}/logs/prepare_style_guide/{{style}}-{{index}}.log",
    resources:
        **LIGHT_JOB,
    params:
        source=state_of(FILES.style_guide_source),
    script:
        "../scripts/prepare_style_guide.py"


rule prepare_encoder:
    input:
        source=FILES.weights_source,
    output:
        weights=f"{RUN}/{paths.ENCODER}",
        info=f"{RUN}/{paths.ENCODER_METADATA}",
    log:
        f"{RUN}/logs/prepare_encoder/{{encoder}}.log",
    resources:
        **TARGET_JOB,
    params:
        source=state_of(FILES.weights_source),
    script:
        "../scripts/prepare_encoder.py"


rule grid:
    input:
        **FILES.grid_inputs(),
    output:
        f"{RUN}/grid.tsv",
    log:
        f"{RUN}/logs/grid.log",
    priority: 100
    params:
        cells=PLAN.digest_of(PLAN.cells()),
        batches=FILES.batches(),
        inputs=FILES.order(),
        starts=[source_state(file) for file in FILES.starts(PLAN.cells())],
        algorithm=ALGORITHM,
    script:
        "../scripts/grid.py"
