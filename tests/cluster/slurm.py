"""A real SLURM of two nodes on this machine, with two GPU slots on each, from Debian's packages.

    python tests/cluster/slurm.py         brings one up, says how to use it, and takes it down at Ctrl-C

Everything of it (configuration, keys, sockets, logs) lies in one folder; its daemons are ended by their process ids.
The nodes are two `slurmd` on ports of their own. Both believe in more CPUs than there are, and in GPUs that are
/dev/null and /dev/zero: SLURM hands them out, counts them, and sets CUDA_VISIBLE_DEVICES, as it does with those that
compute.

Nodes without cgroups cannot cap memory; `OverMemoryKill` samples it every second and kills a step that has too much.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PACKAGES = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
NODES = ("n1", "n2")
DEADLINE = 60.0  # seconds; a daemon that has not answered by then never will

# Short timers, so that a dead node is noticed and a requeued job starts again within seconds.
CONFIGURATION = """
ClusterName={name}
SlurmctldHost={host}
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=3
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=6
SlurmctldTimeout=5
MessageTimeout=10
KillWait=10
CompleteWait=0
InactiveLimit=0
MinJobAge=3600
LaunchParameters=send_gids
PropagateResourceLimits=NONE
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=8000 Gres=gpu:2"


def install() -> None:
    """Install what is missing of SLURM, from Debian's packages.

    Raises:
        SystemExit: it cannot be installed here.
    """
    missing = [package for program, package in PACKAGES.items() if program_path(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"These checks need a SLURM; as root on Debian or Ubuntu: apt-get install {' '.join(missing)}")
    around = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", "-qq", *command], env=around, check=True, stdout=subprocess.DEVNULL)


def program_path(name: str) -> str | None:
    """Where a program lies; daemons are not on every user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain: {what}")
        time.sleep(0.1)


@dataclass
class Slurm:
    """A running cluster."""

    folder: Path
    daemons: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def command(self, *words: str) -> str:
        """The output of one of SLURM's commands."""
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, encoding="utf-8")
        return done.stdout

    def start(self, name: str) -> None:
        """Start a daemon: "slurmctld", or a node by its name."""
        conf = ["-D", "-f", str(self.folder / "slurm.conf")]
        words = ["slurmctld", *conf] if name == "slurmctld" else ["slurmd", *conf, "-N", name]
        self._run(name, words)

    def _run(self, name: str, words: list[str]) -> None:
        path = program_path(words[0])
        assert path is not None, f"{words[0]} is not installed"
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                [path, *words[1:]], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a daemon and wait for its end."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        daemon.wait(DEADLINE)

    def save_jobs(self) -> None:
        """Have the controller write down the jobs of now; by itself it does so some seconds after they change."""
        before = time.time()
        for job in self.command("squeue", "--noheader", "--format=%i").split():
            self.command("scontrol", "update", f"JobId={job}", "AdminComment=to be saved")
        saved = self.folder / "state" / "job_state"
        wait_until(lambda: saved.exists() and saved.stat().st_mtime > before, "the jobs to be written down")

    def states(self) -> dict[str, str]:
        """Nodes by name: "idle", "mixed", "down" and so on; none while the controller does not answer."""
        words = ["sinfo", "--noheader", "--Node", "--format=%N %T"]
        done = subprocess.run(words, check=False, capture_output=True, encoding="utf-8")
        return dict(line.split() for line in done.stdout.splitlines()) if done.returncode == 0 else {}

    def wait_ready(self) -> None:
        """Wait until both nodes take jobs."""
        wait_until(lambda: set(self.states().values()) <= {"idle", "mixed"} and len(self.states()) == 2, "both nodes")

    def processes(self) -> list[psutil.Process]:
        """What runs in jobs of this cluster: slurmstepd and all that they have started."""
        found = []
        for process in psutil.process_iter(["name", "environ"]):
            around = process.info["environ"] or {}
            if around.get("SLURM_CLUSTER_NAME") == self.folder.name and process.pid != os.getpid():
                found.append(process)
        return found

    def stepds(self, jobs: Sequence[str]) -> list[psutil.Process]:
        """SLURM's own processes that watch over these jobs on their nodes."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            title = " ".join(process.info["cmdline"] or [])
            if any(title.startswith(f"slurmstepd: [{job}.") for job in jobs):
                found.append(process)
        return found


@contextmanager
def running() -> Iterator[Slurm]:
    """A cluster that is up; it goes down with the block, and nothing that it started stays."""
    install()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="slurm-test-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # munged wants its socket to be reachable
        configure(folder)
        stack.callback(announce(folder).unlink)
        slurm = Slurm(folder)
        stack.callback(stop, slurm)
        munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "key-file", "pid-file")]
        munge += [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("log-file", "seed-file")]
        slurm._run("munged", ["munged", "--foreground", "--force", *munge])
        wait_until((folder / "munge.socket").exists, "munged's socket")
        for name in ("slurmctld", *NODES):
            slurm.start(name)
        slurm.wait_ready()
        yield slurm


def configure(folder: Path) -> None:
    """Write the configuration of a cluster."""
    with ExitStack() as stack:  # all ports are taken before one is given back, so that they differ
        sockets = [stack.enter_context(socket.socket()) for _ in range(1 + len(NODES))]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        controller, *ports = [one.getsockname()[1] for one in sockets]
    host = socket.gethostname()
    nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports, strict=True)]
    text = CONFIGURATION.format(
        name=folder.name, folder=folder, host=f"{host}(127.0.0.1)", controller=controller, nodes="\n".join(nodes)
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File=/dev/null,/dev/zero\n")
    (folder / "state").mkdir()
    for node in NODES:
        (folder / f"spool-{node}").mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(secrets.token_bytes(128))


def announce(folder: Path) -> Path:
    """Link the configuration to where all of SLURM's commands look, also those within jobs; the link.

    The executor plugin takes SLURM_CONF away from its jobs.

    Raises:
        SystemExit: this machine has a SLURM of its own.
    """
    place = Path("/etc/slurm/slurm.conf")
    if place.is_symlink() and "slurm-test-" in str(place.readlink()):
        place.unlink()  # of a test that was killed
    if place.exists():
        sys.exit(f"{place} is there already; these checks bring up a SLURM of their own, on a machine that has none.")
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(folder / "slurm.conf")
    return place


def stop(slurm: Slurm) -> None:
    """End all jobs and daemons, by process id."""
    if "slurmctld" in slurm.daemons:
        subprocess.run(["scancel", "--full", "--user=root"], check=False)
    left = slurm.processes()
    _, alive = psutil.wait_procs(left, timeout=5)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)
    for name in reversed(list(slurm.daemons)):
        slurm.kill(name)


def main() -> None:
    """Bring a cluster up and keep it until an interrupt."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # go down all the same
    with running() as slurm:
        print(slurm.command("sinfo", "--Node", "--long"), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("going down")


if __name__ == "__main__":
    main()
