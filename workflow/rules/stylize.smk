# The work itself: one job a batch, with every cell of the batch among its outputs.


def batch_contents(wildcards):
    return (
        [wildcards.content]
        if "content" in PLAN.config.batch_by
        else list(PLAN.contents)
    )


def batch_styles(wildcards):
    return [wildcards.style] if "style" in PLAN.config.batch_by else list(PLAN.styles)


def style_pictures(pattern):
    """Files of every picture of the batch's styles."""
    return lambda wildcards: [
        in_run(pattern).format(style=style, index=index)
        for style in batch_styles(wildcards)
        for index in range(len(PLAN.styles[style].paths))
    ]


def batch_outputs(group, suffix):
    """Cells of a group's batches; the axes that make batches stay wildcards."""
    by = PLAN.config.batch_by
    return [
        f"{RUN}/cells/{style}/{content}/{point.stem}{suffix}"
        for style in (["{style}"] if "style" in by else PLAN.styles)
        for content in (["{content}"] if "content" in by else PLAN.contents)
        for point in group.points
    ]


def batch_log(group):
    """One log file a batch, below the axes that make batches."""
    axes = [
        f"{{{axis}}}" for axis in ("style", "content") if axis in PLAN.config.batch_by
    ]
    return str(Path(RUN, "logs", "stylize", *axes, f"{group.name or 'batch'}.log"))


# Batches of one group differ in their wildcards only; a group with other settings is another rule.
for number, group in enumerate(PLAN.groups):

    rule:
        name:
            f"stylize_{number + 1}" if len(PLAN.groups) > 1 else "stylize"
        input:
            contents=lambda wildcards: expand(
                in_run(paths.CONTENT),
                content=batch_contents(wildcards),
                size=PLAN.sizes,
            ),
            content_facts=lambda wildcards: expand(
                in_run(paths.CONTENT_FACTS),
                content=batch_contents(wildcards),
                size=PLAN.sizes,
            ),
            alphas=lambda wildcards: alpha_files(content=batch_contents(wildcards)),
            styles=style_pictures(paths.STYLE),
            style_facts=style_pictures(paths.STYLE_FACTS),
            targets=lambda wildcards: expand(
                in_run(paths.TARGET), style=batch_styles(wildcards), target=TARGETS
            ),
            encoders=expand(in_run(paths.ENCODER), encoder=encoders(PLAN)),
            encoder_facts=expand(in_run(paths.ENCODER_FACTS), encoder=encoders(PLAN)),
            starts=lambda wildcards, group=group: starts(group.points),
        output:
            images=batch_outputs(group, f".{PLAN.config.output.format}"),
            records=batch_outputs(group, paths.RECORD_SUFFIX),
        log:
            batch_log(group),
        conda:
            "../../environment.yml"
        threads: 64
        resources:
            gpu=0 if PLAN.config.device == "cpu" else 1,
        params:
            frozen=FROZEN,
            group=group.name,
            # Changes when a cell of the batch does; the cells themselves would fill the metadata.
            cells=group.digest,
            starts=[file_state(path) for path in starts(group.points)],
            weights=lambda wildcards: [
                PLAN.styles[style].weights for style in batch_styles(wildcards)
            ],
            algorithm=[ALGORITHM, EVALUATION],
        script:
            "../scripts/stylize.py"
