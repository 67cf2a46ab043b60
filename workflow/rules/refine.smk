# A second pass: chosen cells of the finished grid are made again, larger, from their own pictures.

if PLAN.config.refine is not None:

    localrules:
        promote,
        refined_table,

    # The sheet's name would do for a page of the grid's sheets, too.
    ruleorder: refined_sheet > contact_sheet

    checkpoint promote:
        input:
            f"{RUN}/metrics.parquet",
        output:
            f"{RUN}/refined/promoted.tsv",
        log:
            f"{RUN}/logs/promote.log",
        conda:
            "../../environment.yml"
        params:
            frozen=FROZEN,
            refine=PLAN.config.refine.model_dump(),
            rows=rows_of(PLAN),
        script:
            "../scripts/promote.py"

    if REFINED_SIZES:

        rule refine_content:
            input:
                lambda wildcards: PLAN.contents[wildcards.content].path,
            output:
                expand(in_run(paths.CONTENT), size=REFINED_SIZES, allow_missing=True),
                expand(
                    in_run(paths.CONTENT_FACTS), size=REFINED_SIZES, allow_missing=True
                ),
                alpha_files(REFINED_SIZES),
            log:
                f"{RUN}/logs/refine_content/{{content}}.log",
            conda:
                "../../environment.yml"
            resources:
                mem_mb=light_memory,
                runtime=light_time,
            params:
                frozen=FROZEN,
                background=PLAN.config.background,
                sizes=list(REFINED_SIZES),
                preserve_alpha=PLAN.config.output.preserve_alpha,
                format=PLAN.config.output.format,
                source=lambda wildcards: file_state(
                    PLAN.contents[wildcards.content].path
                ),
            script:
                "../scripts/refine_content.py"

        rule refine_content_guide:
            input:
                lambda wildcards: guide_files(PLAN.contents[wildcards.content].guide),
                expand(
                    in_run(paths.CONTENT_FACTS), size=REFINED_SIZES, allow_missing=True
                ),
            output:
                expand(
                    in_run(paths.CONTENT_GUIDE), size=REFINED_SIZES, allow_missing=True
                ),
                expand(
                    in_run(paths.CONTENT_GUIDE_FACTS),
                    size=REFINED_SIZES,
                    allow_missing=True,
                ),
            log:
                f"{RUN}/logs/refine_content_guide/{{content}}.log",
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
                "../scripts/refine_content_guide.py"

    if REFINED_TARGETS:

        rule refine_target:
            input:
                pictures=refined_style(paths.STYLE),
                facts=refined_style(paths.STYLE_FACTS),
                guides=lambda wildcards: style_guides(
                    [wildcards.style], paths.STYLE_GUIDE
                )
                + style_guides([wildcards.style], paths.STYLE_GUIDE_FACTS),
                encoders=expand(in_run(paths.ENCODER), encoder=REFINED_ENCODERS),
                encoder_facts=expand(
                    in_run(paths.ENCODER_FACTS), encoder=REFINED_ENCODERS
                ),
            output:
                expand(in_run(paths.TARGET), target=REFINED_TARGETS, allow_missing=True),
            log:
                f"{RUN}/logs/refine_target/{{style}}.log",
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
                "../scripts/refine_target.py"

    rule refine:
        input:
            # As on sheets: the record tells when the picture changed.
            small=ancient(
                f"{RUN}/cells/{{style}}/{{content}}/{{stem}}.{PLAN.config.output.format}"
            ),
            record=f"{RUN}/cells/{{style}}/{{content}}/{{stem}}{paths.RECORD_SUFFIX}",
            contents=refined_inputs(paths.CONTENT),
            content_facts=refined_inputs(paths.CONTENT_FACTS),
            alphas=lambda wildcards: alpha_files(
                refined_labels(wildcards), content=wildcards.content
            ),
            guides=refined_guides,
            styles=refined_style(paths.STYLE),
            style_facts=refined_style(paths.STYLE_FACTS),
            targets=lambda wildcards: expand(
                in_run(paths.TARGET),
                style=wildcards.style,
                target=[
                    *requests_of(refined_cell(PLAN, **dict(wildcards)).settings),
                    evaluation_target(PLAN),
                ],
            ),
            encoders=expand(in_run(paths.ENCODER), encoder=REFINED_ENCODERS),
            encoder_facts=expand(in_run(paths.ENCODER_FACTS), encoder=REFINED_ENCODERS),
        output:
            image=f"{RUN}/refined/{{style}}/{{content}}/{{stem}}.{PLAN.config.output.format}",
            record=f"{RUN}/refined/{{style}}/{{content}}/{{stem}}{paths.RECORD_SUFFIX}",
        log:
            f"{RUN}/logs/refine/{{style}}/{{content}}/{{stem}}.log",
        wildcard_constraints:
            stem=r"[^/]+",
        conda:
            "../../environment.yml"
        threads: 64
        resources:
            gpu=0 if PLAN.config.device == "cpu" else 1,
            gpu_mem_mb=lambda wildcards, attempt: gpu_mb(
                PLAN, [refined_cell(PLAN, **dict(wildcards))], attempt
            ),
            mem_mb=lambda wildcards, attempt: host_mb(
                PLAN, [refined_cell(PLAN, **dict(wildcards))], attempt
            ),
            runtime=lambda wildcards, attempt: runtime_minutes(
                PLAN, [refined_cell(PLAN, **dict(wildcards))], attempt
            ),
        params:
            frozen=FROZEN,
            settings=lambda wildcards: refined_cell(
                PLAN, **dict(wildcards)
            ).settings.model_dump_json(),
            output=PLAN.config.output.model_dump(),
            evaluation=PLAN.evaluation,
            weights=lambda wildcards: list(PLAN.styles[wildcards.style].weights),
            algorithm=[ALGORITHM, EVALUATION],
        script:
            "../scripts/refine.py"

    rule refined_table:
        input:
            promoted=f"{RUN}/refined/promoted.tsv",
            records=refined_files(paths.RECORD_SUFFIX),
        output:
            csv=report(
                f"{RUN}/refined.csv",
                caption="../report/refined_table.rst",
                category="Metrics",
                labels={"table": "refined"},
            ),
            parquet=f"{RUN}/refined.parquet",
        log:
            f"{RUN}/logs/refined_table.log",
        conda:
            "../../environment.yml"
        params:
            frozen=FROZEN,
        script:
            "../scripts/refined_table.py"

    rule refined_sheet:
        input:
            metrics=f"{RUN}/metrics.parquet",
            refined=f"{RUN}/refined.parquet",
            images=ancient(refined_files()),
        output:
            png=report(
                f"{RUN}/sheets/refined.png",
                caption="../report/refined_sheet.rst",
                category="Contact sheets",
                labels={"page": "refined", "format": "PNG"},
            ),
            pdf=report(
                f"{RUN}/sheets/refined.pdf",
                caption="../report/refined_sheet.rst",
                category="Contact sheets",
                labels={"page": "refined", "format": "PDF"},
            ),
        log:
            f"{RUN}/logs/refined_sheet.log",
        conda:
            "../../environment.yml"
        resources:
            mem_mb=light_memory,
            runtime=light_time,
        params:
            frozen=FROZEN,
            report=PLAN.config.report.model_dump(),
            inputs=inputs_in_order(),
        script:
            "../scripts/refined_sheet.py"
