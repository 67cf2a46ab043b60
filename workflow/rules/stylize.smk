# The work itself: one job a batch, with every cell of the batch among its outputs.


def batch_of(wildcards, group):
    """Style and content of a batch, None where they make no batches."""
    if is_single(group):
        return group.batches[0]
    if is_paired(group):
        return wildcards.pair.split("/")
    return wildcards.get("style"), wildcards.get("content")


def batch_cells(wildcards, group):
    return PLAN.batch(group.name, *batch_of(wildcards, group))


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


def is_single(group):
    """Whether a rule has one batch that is like no other: it needs no wildcards, which take time."""
    return not group.alone and len(group.batches) == 1


def is_paired(group):
    """Whether style and content are one wildcard: not every style meets every content alike."""
    both = {"style", "content"} <= set(PLAN.config.batch_by)
    return both and not group.alone and len(group.batches) > 1


def folder_of(group, style, content):
    """Where pictures of a batch stand; what differs between the batches is a wildcard."""
    if is_single(group):
        own = group.batches[0]
        return f"{own[0] or style}/{own[1] or content}"
    if is_paired(group):
        return "{pair}"
    return f"{style or '{style}'}/{content or '{content}'}"


def batch_outputs(group, suffix):
    """Cells of a group's batches."""
    return [
        f"{RUN}/cells/{folder_of(group, style, content)}/{stem}{suffix}"
        for style, content, stem in group.places
    ]


def batch_log(group):
    """One log file a batch, below the axes that make batches."""
    axes = [axis for axis in ("style", "content") if axis in PLAN.config.batch_by]
    folders = [f"{{{axis}}}" for axis in axes]
    if is_single(group):
        folders = [name for name in group.batches[0] if name]
    elif is_paired(group):
        folders = ["{pair}"]
    return str(Path(RUN, "logs", "stylize", *folders, f"{group.name or 'batch'}.log"))


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
            guides=lambda wildcards, group=group: content_guides(
                batch_contents(wildcards, group), paths.CONTENT_GUIDE
            )
            + content_guides(batch_contents(wildcards, group), paths.CONTENT_GUIDE_FACTS)
            + style_guides(batch_styles(wildcards, group), paths.STYLE_GUIDE)
            + style_guides(batch_styles(wildcards, group), paths.STYLE_GUIDE_FACTS),
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
            batch=lambda wildcards, group=group: list(batch_of(wildcards, group)),
            # Changes when a cell of the batch does; the cells themselves would fill the metadata.
            cells=lambda wildcards, group=group: PLAN.digest_of(
                batch_cells(wildcards, group)
            ),
            starts=lambda wildcards, group=group: [
                file_state(path) for path in starts(batch_cells(wildcards, group))
            ],
            weights=lambda wildcards, group=group: [
                [PLAN.styles[style].weights, PLAN.styles[style].regions]
                for style in batch_styles(wildcards, group)
            ],
            algorithm=[ALGORITHM, EVALUATION],
        script:
            "../scripts/stylize.py"
