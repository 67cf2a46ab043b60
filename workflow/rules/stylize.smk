# The work itself: one job a batch, with every cell of the batch among its outputs.


def batch_cells(wildcards, group):
    return PLAN.batch(group.name, **dict(wildcards))


def batch_styles(wildcards, group):
    return list(dict.fromkeys(cell.style for cell in batch_cells(wildcards, group)))


def batch_contents(wildcards, group):
    return list(dict.fromkeys(cell.content for cell in batch_cells(wildcards, group)))


def style_pictures(pattern, group):
    """Files of every picture of the batch's styles."""
    return lambda wildcards: [
        in_run(pattern).format(style=style, index=index)
        for style in batch_styles(wildcards, group)
        for index in range(len(PLAN.styles[style].paths))
    ]


def is_paired(group):
    """Whether style and content are one wildcard: then not every style meets every content alike."""
    return not group.alone and {"style", "content"} <= set(PLAN.config.batch_by)


def batch_outputs(group, suffix):
    """Cells of a group's batches; the axes that make batches stay wildcards."""
    files = []
    for style, content, stem in group.places:
        pair = f"{style or '{style}'}/{content or '{content}'}"
        folder = "{pair}" if is_paired(group) else pair
        files.append(f"{RUN}/cells/{folder}/{stem}{suffix}")
    return files


def batch_log(group):
    """One log file a batch, below the axes that make batches."""
    by = [axis for axis in ("style", "content") if axis in PLAN.config.batch_by]
    axes = [f"{{{axis}}}" for axis in (["pair"] if is_paired(group) else by)]
    return str(Path(RUN, "logs", "stylize", *axes, f"{group.name or 'batch'}.log"))


def only_of(group, position, otherwise):
    """The styles (position 0) or contents (1) of a group's batches, where others are in another."""
    if group.alone or is_paired(group) or group.batches[0][position] is None:
        return otherwise
    return "|".join(re.escape(batch[position]) for batch in group.batches)


# Batches of one group differ in their wildcards only; a group with other settings is another rule.
for number, group in enumerate(PLAN.groups):

    rule:
        name:
            f"stylize_{number + 1}" if len(PLAN.groups) > 1 else "stylize"
        input:
            contents=lambda wildcards, group=group: expand(
                in_run(paths.CONTENT),
                content=batch_contents(wildcards, group),
                size=PLAN.sizes,
            ),
            content_facts=lambda wildcards, group=group: expand(
                in_run(paths.CONTENT_FACTS),
                content=batch_contents(wildcards, group),
                size=PLAN.sizes,
            ),
            styles=style_pictures(paths.STYLE, group),
            style_facts=style_pictures(paths.STYLE_FACTS, group),
            targets=lambda wildcards, group=group: expand(
                in_run(paths.TARGET),
                style=batch_styles(wildcards, group),
                target=TARGETS,
            ),
            encoders=expand(in_run(paths.ENCODER), encoder=encoders(PLAN)),
            encoder_facts=expand(in_run(paths.ENCODER_FACTS), encoder=encoders(PLAN)),
            starts=lambda wildcards, group=group: starts(batch_cells(wildcards, group)),
        output:
            images=batch_outputs(group, f".{PLAN.config.output.format}"),
            records=batch_outputs(group, paths.RECORD_SUFFIX),
        log:
            batch_log(group),
        wildcard_constraints:
            style=only_of(group, 0, ID_PATTERN),
            content=only_of(group, 1, ID_PATTERN),
            pair=(
                "|".join(
                    re.escape(f"{style}/{content}") for style, content in group.batches
                )
                if is_paired(group)
                else ID_PATTERN
            ),
        conda:
            "../../environment.yml"
        threads: 64
        resources:
            gpu=0 if PLAN.config.device == "cpu" else 1,
        params:
            frozen=FROZEN,
            group=group.name,
            # Changes when a cell of the batch does; the cells themselves would fill the metadata.
            cells=lambda wildcards, group=group: PLAN.digest_of(
                batch_cells(wildcards, group)
            ),
            starts=lambda wildcards, group=group: [
                file_state(path) for path in starts(batch_cells(wildcards, group))
            ],
            weights=lambda wildcards, group=group: [
                PLAN.styles[style].weights for style in batch_styles(wildcards, group)
            ],
            algorithm=[ALGORITHM, EVALUATION],
        script:
            "../scripts/stylize.py"
