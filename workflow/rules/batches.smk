# How the cells of a batch become inputs and outputs of its rule.


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
    """Whether a group has one batch, like no other; it needs no wildcards, which take time."""
    return not group.alone and len(group.batches) == 1


def is_paired(group):
    """Whether style and content are one wildcard: not every style meets every content alike."""
    both = {"style", "content"} <= PLAN.division.layout.own
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
    axes = [axis for axis in ("style", "content") if axis in PLAN.division.layout.own]
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
