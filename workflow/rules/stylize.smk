# The work itself: one job a batch, with every cell of the batch among its outputs.


# The batches of one group differ in their wildcards only; each group is a rule of its own.
for stylize in StylizeRule.all_of(FILES):

    rule:
        name:
            stylize.name
        input:
            unpack(stylize.inputs),
        output:
            images=stylize.images,
            records=stylize.records,
        log:
            stylize.log,
        wildcard_constraints:
            **stylize.constraints,
        threads: 64
        resources:
            **stylize.resources,
        params:
            group=stylize.group,
            batch=stylize.batch,
            cells=stylize.digest,
            starts=state_of(stylize.starts),
            shares=stylize.shares,
            algorithm=[ALGORITHM, EVALUATION],
        script:
            "../scripts/stylize.py"
