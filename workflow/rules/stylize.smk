# The work itself: one job a batch, with every cell of the batch among its outputs.


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
            alphas=lambda wildcards, group=group: alpha_files(
                content=batch_contents(wildcards, group)
            ),
            guides=lambda wildcards, group=group: content_guides(
                batch_contents(wildcards, group), paths.CONTENT_GUIDE
            )
            + content_guides(
                batch_contents(wildcards, group), paths.CONTENT_GUIDE_FACTS
            )
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
            gpu_mem_mb=lambda wildcards, attempt, group=group: gpu_mb(
                PLAN, batch_cells(wildcards, group), attempt
            ),
            mem_mb=lambda wildcards, attempt, group=group: host_mb(
                PLAN, batch_cells(wildcards, group), attempt
            ),
            runtime=lambda wildcards, attempt, group=group: runtime_minutes(
                PLAN, batch_cells(wildcards, group), attempt
            ),
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
