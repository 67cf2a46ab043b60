"""How a run is shared out to the jobs of a cluster."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nstcore.config.given import Strict
from nstcore.encoders.layers import EncoderName

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Cluster(Strict):
    """Length and resources of jobs.  Nothing here changes a picture or its key."""

    target_minutes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="How long a job shall take on average, half of it at least: batches are made of as "
        "many cells as that needs, across styles and contents where `batch_by` is not given. Empty: "
        "batches as `batch_by` and `max_cells_per_batch` say.",
    )
    tflops: Rate | dict[EncoderName, Rate] | None = Field(
        None,
        description="How fast a job's device is: 10^12 operations a second that a descent makes on it, "
        "one number or one for each encoder. Length of batches and `runtime` of jobs follow from it. "
        "`nst plan --calibrate` measures it where it runs. Empty: 2 for a GPU, 0.1 for `device: cpu`, "
        "both cautious.",
    )
    max_minutes: int | None = Field(
        None,
        ge=5,
        description="Longest `runtime` that a job asks for, such as the limit of a partition; a batch "
        "that takes longer goes on from its last state in its next attempt. Empty: no limit.",
    )
    memory_gb: float = Field(
        8.0,
        gt=0,
        allow_inf_nan=False,
        description="Memory in GB, of the device that computes, into which a job tries to fit when it "
        "asks for memory: it decides how many pictures are optimized at a time. One picture that needs "
        "more gets more.",
    )
    scratch: str | None = Field(
        None,
        description="Folder on a node's own disk, `$TMPDIR` for example, where encoders' weights and "
        "prepared pictures are copied when a job starts and read from then on. Empty: they are read "
        "where the run stands.",
    )
