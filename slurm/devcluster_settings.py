"""The files of a development cluster: its daemons and their ports, slurm.conf and slurmdbd.conf. Starts nothing."""

from __future__ import annotations

import json
import os
import pwd
import random
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

# Debian keeps the daemons in /usr/sbin, which is on few users' PATH.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
# Below Linux's ephemeral ports, so that no outgoing connection takes the port of a daemon that is down for a moment.
PORTS = range(15_000, 32_000)
RECORD = "devcluster.json"

SLURM_CONF = """\
ClusterName=devcluster
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port[slurmctld]}
SlurmUser={user}
SlurmdUser={user}
{security}
CredType={credentials}
StateSaveLocation={folder}/state
SlurmdSpoolDir={sockets}/%n
SlurmctldPidFile={sockets}/slurmctld.pid
SlurmdPidFile={sockets}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
MaxArraySize=1001
MaxJobCount=10000
DefMemPerCPU=512
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmctldTimeout=10
SlurmdTimeout=10
KillWait=5
{accounting}
"""
NODE = "NodeName={name} NodeHostname=127.0.0.1 NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory_mb}\n"
PARTITIONS = """\
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
# cred_expire: SLURM holds a requeued job until the old credential has expired, by default for 121 s.
MUNGE = "AuthType=auth/munge\nAuthInfo=socket={sockets}/munge.sock,cred_expire=5"
NONE = "AuthType=auth/none\nAuthInfo=cred_expire=5"
# Otherwise SLURM listens on all addresses; on_loopback says where this would make it listen on the wrong one.
LOOPBACK = "\nCommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """\
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port[slurmdbd]}
AccountingStoragePass={sockets}/munge.sock"""
SLURMDBD_CONF = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port[slurmdbd]}
SlurmUser={user}
{security}
LogFile={folder}/slurmdbd.log
PidFile={sockets}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port[mariadbd]}
StorageUser=slurm
StoragePass={password}
"""
MARIADB_USER = """\
CREATE OR REPLACE USER slurm@localhost IDENTIFIED BY '{password}';
GRANT ALL ON slurm_acct_db.* TO slurm@localhost;
"""


class InputError(Exception):
    """What was asked for cannot be done; the text says what can."""


class ClusterError(Exception):
    """A daemon did not do what it should."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What devcluster.json records; `sockets` is a short folder, for a socket's path may have 107 bytes at most."""

    folder: str
    sockets: str
    daemons: dict[str, list[str]]
    ports: dict[str, int]

    @property
    def conf(self) -> str:
        """Path of slurm.conf."""
        return f"{self.folder}/slurm.conf"

    @property
    def nodes(self) -> list[str]:
        """Names of the slurmds."""
        return [name for name in self.daemons if re.fullmatch(r"n\d+", name)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What `start` is asked for; `settings` are lines of slurm.conf that override or add."""

    folder: Path
    nodes: int
    cpus: int
    auth: str
    accounting: bool
    settings: Sequence[str]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w./+@~-]+", str(self.folder)):
            raise InputError(f"{self.folder}: a path in slurm.conf may hold letters, digits and ./+@~_- only")
        if self.nodes < 1 or self.cpus < 1:
            raise InputError(f"--nodes {self.nodes} --cpus {self.cpus}: both must be at least 1")
        for line in self.settings:
            if not line.partition("=")[0].isidentifier() or not line.partition("=")[2] or "\n" in line:
                raise InputError(f"--set {line!r}: write KEY=VALUE, a line of slurm.conf, as in --set KillWait=30")


def user_name() -> str:
    """The user who runs this, and so the daemons. Raises InputError if the system knows no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise InputError(f"user id {os.geteuid()} has no name on this machine, and SLURM needs one") from None


def program(*names: str) -> str:
    """Path of the first of these programs that is installed. Raises InputError, naming Debian packages, if none is."""
    for name in names:
        if path := shutil.which(name, path=SEARCH_PATH):
            return path
    raise InputError(
        f"{names[0]} is not installed; on Debian: apt-get install slurm-wlm munge"
        " (for --accounting also: slurmdbd mariadb-server)"
    )


def has_munge(auth: str) -> bool:
    """Whether a private munged is to be used. Raises InputError if that or its absence is impossible here."""
    if auth == "munge" or (auth == "auto" and shutil.which("munged", path=SEARCH_PATH)):
        return bool(program("munged"))
    # Without munge whoever reaches a port may run jobs as anyone.
    if not on_loopback():
        raise InputError(
            "without munge the daemons must listen on 127.0.0.1 alone, and SLURM lets them only where the machine's"
            f" name ({socket.gethostname()}) means that address; install munge"
        )
    return False


def on_loopback() -> bool:
    """Whether this machine's name means 127.0.0.1, the address SLURM then can be told to listen on alone."""
    try:
        return socket.gethostbyname(socket.gethostname()) == "127.0.0.1"
    except OSError:
        return False


def free_ports() -> Iterator[int]:
    """Ports on 127.0.0.1 that nobody listens on, in random order so that clusters started together differ."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def command_lines(sockets: Path, options: Options) -> dict[str, list[str]]:
    """Name -> command line of every daemon, in the order in which they are to start; ports are filled in later."""
    folder = options.folder
    conf = ["-f", f"{folder}/slurm.conf"]
    daemons = {}
    if has_munge(options.auth):
        files = {"socket": "munge.sock", "key-file": "munge.key", "pid-file": "munged.pid", "seed-file": "munged.seed"}
        daemons["munged"] = [program("munged"), "--foreground", *(f"--{k}={sockets}/{v}" for k, v in files.items())]
    if options.accounting:
        server = [program("mariadbd", "mysqld"), "--no-defaults", f"--datadir={folder}/mariadb"]
        server += [f"--socket={sockets}/mariadbd.sock", f"--pid-file={sockets}/mariadbd.pid"]
        server += ["--bind-address=127.0.0.1", "--port={port}", f"--init-file={folder}/mariadb-user.sql"]
        daemons["mariadbd"] = [*server, f"--user={user_name()}", "--innodb-lock-wait-timeout=900"]
        daemons["slurmdbd"] = [program("slurmdbd")]
    daemons["slurmctld"] = [program("slurmctld"), *conf]
    daemons |= {f"n{i}": [program("slurmd"), "-N", f"n{i}", *conf] for i in range(1, options.nodes + 1)}
    return daemons


def create(options: Options) -> Cluster:
    """A cluster of which nothing runs yet: its files are written, with new ports and keys. Raises InputError."""
    if (options.folder / "slurm.conf").exists() and not (options.folder / RECORD).exists():
        raise InputError(f"{options.folder} holds a slurm.conf that is not devcluster's; choose another folder")
    sockets = Path(tempfile.mkdtemp(prefix="devcluster-", dir="/tmp"))
    # Jobs of other users talk to munged.
    sockets.chmod(0o755)
    try:
        cluster = settle(sockets, options)
    except BaseException:
        shutil.rmtree(sockets)
        raise
    (options.folder / RECORD).write_text(json.dumps(asdict(cluster), indent=1))
    return cluster


def read(folder: Path) -> Cluster:
    """The cluster of a folder. Raises InputError if it has none."""
    try:
        return Cluster(**json.loads((folder / RECORD).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} holds no cluster; slurm/devcluster start {folder} makes one") from None


def settle(sockets: Path, options: Options) -> Cluster:
    """Ports are chosen and the configuration is written. Raises InputError."""
    folder, daemons = options.folder, command_lines(sockets, options)
    port = dict(zip(daemons, free_ports(), strict=False))
    daemons = {name: [word.format(port=port[name]) for word in line] for name, line in daemons.items()}
    cluster = Cluster(folder=str(folder), sockets=str(sockets), daemons=daemons, ports=port)
    munge = "munged" in daemons
    words = {"folder": folder, "sockets": sockets, "port": port, "user": user_name()}
    words["credentials"] = "cred/munge" if munge else "cred/none"
    words["security"] = ((MUNGE if munge else NONE) + (LOOPBACK if on_loopback() else "")).format(**words)
    words["accounting"] = (ACCOUNTING if options.accounting else NO_ACCOUNTING).format(**words)
    # CR_Core does not count memory, so each node may have all of it.
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    nodes = [NODE.format(name=name, port=port[name], cpus=options.cpus, memory_mb=memory_mb) for name in cluster.nodes]
    text = overridden(SLURM_CONF.format(**words) + "".join(nodes) + PARTITIONS, options.settings)
    write(folder / "slurm.conf", text, 0o644)
    (folder / "state").mkdir(exist_ok=True)
    if munge:
        write(sockets / "munge.key", secrets.token_hex(64), 0o600)
    if options.accounting:
        words["password"] = secrets.token_hex(16)
        write(folder / "slurmdbd.conf", SLURMDBD_CONF.format(**words), 0o600)
        write(folder / "mariadb-user.sql", MARIADB_USER.format(**words), 0o600)
    return cluster


def overridden(text: str, settings: Sequence[str]) -> str:
    """These lines of slurm.conf, with the settings in place of the lines that set the same thing."""
    lines = {setting_name(line): line for line in [*text.splitlines(), *settings]}
    return "\n".join(lines.values()) + "\n"


def setting_name(line: str) -> str:
    """What a line sets: nodes and partitions are told apart by their name, SLURM's keys have no case."""
    key = line.partition("=")[0].lower()
    return line.split()[0].lower() if key in ("nodename", "partitionname") else key


def write(path: Path, text: str, mode: int) -> None:
    """The file holds the text; nobody could read it with other rights meanwhile."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
