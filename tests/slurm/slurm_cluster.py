"""A Slurm cluster of two nodes on this machine, with GPUs that are none.

Needs root and Debian's packages ``slurmctld slurmd slurm-client``.  The daemons are stopped by the ids of
their processes.  By hand: ``python tests/slurm/slurm_cluster.py FOLDER`` runs one until Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CLIENTS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
NODES = ("n1", "n2")
DEVICES = {"n1": ("/dev/null", "/dev/zero"), "n2": ("/dev/full", "/dev/random")}
"""What stands for a node's GPUs: Slurm wants files that exist, and only passes their numbers on."""

CONFIGURATION = """\
ClusterName=tiny
SlurmctldHost=localhost
SlurmctldPort={controller_port}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=10
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n1_port} CPUs=4 RealMemory=8000 Gres=gpu:2
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n2_port} CPUs=4 RealMemory=8000 Gres=gpu:2
PartitionName=cpu Nodes=n1,n2 Default=YES MaxTime=1440 DefMemPerCPU=500
PartitionName=gpu Nodes=n1,n2 MaxTime=1440 DefMemPerCPU=500
PartitionName=urgent Nodes=n1,n2 MaxTime=1440 DefMemPerCPU=500 PriorityTier=100 PreemptMode=OFF
"""


def missing() -> str | None:
    """What this machine lacks for a cluster, in one line, or None."""
    if os.geteuid() != 0:
        return "a Slurm cluster of one's own needs root"
    absent = [name for name in ("slurmctld", "slurmd", *CLIENTS) if shutil.which(name) is None]
    if absent:
        return (
            f"{', '.join(absent)} not found: "
            "apt-get install --no-install-recommends slurmctld slurmd slurm-client"
        )
    return None


@dataclass
class Cluster:
    """A cluster whose files are all in one folder."""

    folder: Path
    _pids: dict[str, int] = field(default_factory=dict)

    @property
    def bin(self) -> Path:
        """Slurm's commands, for this cluster."""
        return self.folder / "bin"

    def environment(self) -> dict[str, str]:
        """What makes Slurm's commands mean this cluster."""
        return {"PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]])}

    def start(self) -> Cluster:
        """Start the controller and both nodes; they are idle when this returns."""
        for name in ("bin", "run", "log", "state"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        ports = _free_ports(3)
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=self.folder,
                controller_port=ports[0],
                n1_port=ports[1],
                n2_port=ports[2],
            )
        )
        lines = [
            f"NodeName={node} Name=gpu File={device}"
            for node, devices in DEVICES.items()
            for device in devices
        ]
        (self.folder / "gres.conf").write_text("\n".join(["AutoDetect=off", *lines, ""]))
        for client in CLIENTS:
            # Jobs lose SLURM_CONF on their way to a node, so the commands bring it themselves.
            wrapper = self.bin / client
            wrapper.write_text(
                f"#!/bin/sh\nexport SLURM_CONF='{self.folder}/slurm.conf'\n"
                f'exec {shutil.which(client)} "$@"\n'
            )
            wrapper.chmod(0o755)
        self._daemon("slurmctld", ["slurmctld", "-c"])
        for node in NODES:
            self.start_node(node)
        self.wait(lambda: self.call("sinfo", "-h", "-o", "%T", "-p", "cpu").split() == ["idle"])
        return self

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._daemon(f"slurmd-{node}", ["slurmd", "-N", node])

    def _daemon(self, name: str, words: Sequence[str]) -> None:
        pid_file = self.folder / "run" / f"{name}.pid"
        pid_file.unlink(missing_ok=True)
        environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
        self.wait(lambda: pid_file.exists() and pid_file.read_text().strip() != "")
        self._pids[name] = int(pid_file.read_text())

    def kill_node(self, node: str) -> None:
        """What a power cut does: the node's daemon and all of its jobs are gone at once."""
        daemon = psutil.Process(self._pids.pop(f"slurmd-{node}"))
        # Whoever keeps a job's step is a child of nobody; its children know their node.
        keepers = [
            process
            for process in psutil.process_iter(["name"])
            if process.info["name"] == "slurmstepd"
            and any(self._is_on(child, node) for child in process.children(recursive=True))
        ]
        victims = [daemon]
        for keeper in keepers:
            victims += [keeper, *keeper.children(recursive=True)]
        for process in victims:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(victims, timeout=10)
        # The controller would notice by itself, after SlurmdTimeout (300 s). A node that is started
        # again comes back by itself (ReturnToService).
        self.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=power")

    def _is_on(self, process: psutil.Process, node: str) -> bool:
        try:
            own = process.environ()
        except psutil.Error:
            return False
        return own.get("SLURMD_NODENAME") == node and str(self.bin) in own.get("PATH", "")

    def call(self, *words: str) -> str:
        """Run one of Slurm's commands; returns what it said."""
        done = subprocess.run(
            [str(self.bin / words[0]), *words[1:]], capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, *states: str) -> dict[str, str]:
        """Id -> state of the jobs that the queue shows."""
        options = ["--states", ",".join(states)] if states else []
        lines = self.call("squeue", "-h", "-o", "%i %T", *options).splitlines()
        return dict(line.split() for line in lines)

    def facts(self, job: str) -> Mapping[str, str]:
        """What the controller knows of a job."""
        words = self.call("scontrol", "show", "job", "-o", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Until something holds; an error says that it came not."""
        end = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except RuntimeError:
                pass  # the controller is not there yet
            if time.monotonic() > end:
                raise TimeoutError(self.logs())
            time.sleep(0.1)

    def logs(self) -> str:
        """The ends of the daemons' logs, for a failed assertion."""
        files = sorted((self.folder / "log").glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def stop(self) -> None:
        """Cancel what runs, end the daemons, by their ids, and wait for that."""
        for job in self.jobs():
            self.call("scancel", "--full", job)
        processes = []
        for pid in self._pids.values():
            try:
                processes.append(psutil.Process(pid))
                os.kill(pid, signal.SIGTERM)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        _, alive = psutil.wait_procs(processes, timeout=20)
        for process in alive:
            process.kill()
        self._pids.clear()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main(folder: str) -> None:
    """Run a cluster until Ctrl-C."""
    reason = missing()
    if reason is not None:
        sys.exit(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    cluster = Cluster(Path(folder).resolve())
    try:
        cluster.start()
        sys.stdout.write(f"export PATH={cluster.bin}:$PATH    Ctrl-C stops the cluster\n")
        sys.stdout.flush()
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        cluster.stop()


if __name__ == "__main__":
    main(sys.argv[1])
