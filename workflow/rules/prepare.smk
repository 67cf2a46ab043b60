# Pictures and weights become files that every later stage reads the same way.


# On a cluster these run where the run was started: one is small, the other may need the internet.
localrules:
    grid,
    prepare_encoder,


rule prepare_content:
    input:
        lambda wildcards: PLAN.contents[wildcards.content].path,
    output:
        expand(in_run(paths.CONTENT), size=PLAN.sizes, allow_missing=True),
        expand(in_run(paths.CONTENT_FACTS), size=PLAN.sizes, allow_missing=True),
        alpha_files(),
    log:
        f"{RUN}/logs/prepare_content/{{content}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=light_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
        background=PLAN.config.background,
        sizes=list(PLAN.sizes),
        preserve_alpha=PLAN.config.output.preserve_alpha,
        format=PLAN.config.output.format,
        source=lambda wildcards: file_state(PLAN.contents[wildcards.content].path),
    script:
        "../scripts/prepare_content.py"


rule prepare_style:
    input:
        lambda wildcards: PLAN.styles[wildcards.style].paths[int(wildcards.index)],
    output:
        in_run(paths.STYLE),
        in_run(paths.STYLE_FACTS),
    log:
        f"{RUN}/logs/prepare_style/{{style}}-{{index}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=light_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
        background=PLAN.config.background,
        source=lambda wildcards: file_state(
            PLAN.styles[wildcards.style].paths[int(wildcards.index)]
        ),
    script:
        "../scripts/prepare_style.py"


rule prepare_content_guide:
    input:
        lambda wildcards: guide_files(PLAN.contents[wildcards.content].guide),
        expand(in_run(paths.CONTENT_FACTS), size=PLAN.sizes, allow_missing=True),
    output:
        expand(in_run(paths.CONTENT_GUIDE), size=PLAN.sizes, allow_missing=True),
        expand(in_run(paths.CONTENT_GUIDE_FACTS), size=PLAN.sizes, allow_missing=True),
    log:
        f"{RUN}/logs/prepare_content_guide/{{content}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=light_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
        source=lambda wildcards: [
            file_state(path)
            for path in guide_files(PLAN.contents[wildcards.content].guide)
        ],
    script:
        "../scripts/prepare_content_guide.py"


rule prepare_style_guide:
    input:
        lambda wildcards: guide_files(
            PLAN.styles[wildcards.style].guide(int(wildcards.index))
        ),
        in_run(paths.STYLE_FACTS),
    output:
        in_run(paths.STYLE_GUIDE),
        in_run(paths.STYLE_GUIDE_FACTS),
    log:
        f"{RUN}/logs/prepare_style_guide/{{style}}-{{index}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=light_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
        source=lambda wildcards: [
            file_state(path)
            for path in guide_files(
                PLAN.styles[wildcards.style].guide(int(wildcards.index))
            )
        ],
    script:
        "../scripts/prepare_style_guide.py"


rule prepare_encoder:
    input:
        lambda wildcards: REFINED_ENCODERS[wildcards.encoder][1] or [],
    output:
        in_run(paths.ENCODER),
        in_run(paths.ENCODER_FACTS),
    log:
        f"{RUN}/logs/prepare_encoder/{{encoder}}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=target_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
        source=lambda wildcards: file_state(REFINED_ENCODERS[wildcards.encoder][1]),
    script:
        "../scripts/prepare_encoder.py"


rule grid:
    input:
        content_facts=expand(
            in_run(paths.CONTENT_FACTS), content=PLAN.contents, size=PLAN.sizes
        ),
        style_facts=[
            in_run(paths.STYLE_FACTS).format(style=style, index=index)
            for style, source in PLAN.styles.items()
            for index in range(len(source.paths))
        ],
        guide_facts=content_guides(PLAN.contents, paths.CONTENT_GUIDE_FACTS)
        + style_guides(PLAN.styles, paths.STYLE_GUIDE_FACTS),
        encoder_facts=expand(in_run(paths.ENCODER_FACTS), encoder=encoders(PLAN)),
        starts=lambda wildcards: starts(PLAN.cells()),
    output:
        f"{RUN}/grid.tsv",
    log:
        f"{RUN}/logs/grid.log",
    priority: 100
    conda:
        "../../environment.yml"
    params:
        frozen=FROZEN,
        cells=PLAN.digest_of(PLAN.cells()),
        batches=digest([cell.batch for cell in PLAN.cells()]),
        inputs=inputs_in_order(),
        starts=[file_state(path) for path in starts(PLAN.cells())],
        algorithm=ALGORITHM,
    script:
        "../scripts/grid.py"
