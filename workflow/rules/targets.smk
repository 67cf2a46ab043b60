# The statistics of every style, once for each size and encoder.
TARGETS = target_requests(PLAN)


rule style_target:
    input:
        pictures=lambda wildcards: expand(
            in_run(paths.STYLE),
            style=wildcards.style,
            index=range(len(PLAN.styles[wildcards.style].paths)),
        ),
        facts=lambda wildcards: expand(
            in_run(paths.STYLE_FACTS),
            style=wildcards.style,
            index=range(len(PLAN.styles[wildcards.style].paths)),
        ),
        guides=lambda wildcards: style_guides([wildcards.style], paths.STYLE_GUIDE)
        + style_guides([wildcards.style], paths.STYLE_GUIDE_FACTS),
        encoders=expand(in_run(paths.ENCODER), encoder=encoders(PLAN)),
        encoder_facts=expand(in_run(paths.ENCODER_FACTS), encoder=encoders(PLAN)),
    output:
        expand(in_run(paths.TARGET), target=TARGETS, allow_missing=True),
    log:
        f"{RUN}/logs/style_target/{{style}}.log",
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        gpu=TARGET_GPU,
        mem_mb=target_memory,
        runtime=light_time,
    params:
        frozen=FROZEN,
        weights=lambda wildcards: list(PLAN.styles[wildcards.style].weights),
        regions=lambda wildcards: list(PLAN.styles[wildcards.style].regions),
        statistics=STATISTICS,
    script:
        "../scripts/style_target.py"
