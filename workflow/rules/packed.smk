# Without a shared file system a batch travels to a node and back, in an archive each way.
# Everything else happens where the run was started, in its own files.

from nstcore.jobs.workflow_files import PackedRule
from nstcore.plan.keys import ALGORITHM, EVALUATION
from nstcore.plan.paths import MANIFEST
from nstcore.plan.snapshot import snapshot_of

if ON_NODE:
    RUN = str(snapshot_of(config).parent)
else:
    AT_HOME = {"stylize": STYLIZE}
    if PLAN.config.refine is not None:
        AT_HOME["refine"] = REFINE
    PACKED = PackedRule(*AT_HOME.values())
    workflow.ruleorder("unpack_batch", *AT_HOME)


def in_storage(name):
    settings = workflow.storage_settings
    provider = getattr(storage, settings.default_storage_provider)
    return provider(f"{settings.default_storage_prefix}/{RUN}/{name}")


wildcard_constraints:
    stage="batches|refined",
    part=".+",


rule pack_batch:
    input:
        [] if ON_NODE else unpack(PACKED.inputs),
    output:
        in_storage("{stage}/{part}.sent.tar"),
    log:
        f"{RUN}/logs/pack_batch/{{stage}}/{{part}}.log",
    params:
        batch=None if ON_NODE else PACKED.state,
    script:
        "../scripts/pack_batch.py"


rule stylize_packed:
    input:
        in_storage("{stage}/{part}.sent.tar"),
    output:
        in_storage("{stage}/{part}.made.tar"),
    log:
        in_storage("logs/{stage}/{part}.log"),
    threads: 64
    resources:
        **({} if ON_NODE else PACKED.resources),
    params:
        batch=None if ON_NODE else PACKED.state,
        algorithm=[ALGORITHM, EVALUATION],
    script:
        "../scripts/stylize_packed.py"


rule unpack_batch:
    input:
        in_storage("{stage}/{part}.made.tar"),
    output:
        f"{RUN}/{MANIFEST}",
    log:
        f"{RUN}/logs/unpack_batch/{{stage}}/{{part}}.log",
    script:
        "../scripts/unpack_batch.py"
