"""Where the ranks of a team meet, and on which interface they listen: never on all of them.

``init_process_group("tcp://...")`` listens on every interface whatever address it is given. A store does not, whose
socket was bound by ourselves: to the loopback where all ranks are on one machine, else to the machine's own
address. Gloo and NCCL are told the interface of that address.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass

from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # exported only where torch was built with it

from nas.runtime.device import DeviceType, distributed_backend, planned_device

LOOPBACK = "127.0.0.1"
_GET_ADDRESS = 0x8915  # SIOCGIFADDR of <linux/sockios.h>


@dataclass(frozen=True)
class Rendezvous:
    """Where a team meets.

    Args:
        host: Address of the machine of rank 0 as the others reach it.
        port: TCP port of the store there.
    """

    host: str
    port: int


def common_host(hosts: list[str]) -> str:
    """Return the address at which ranks on these machines reach the first: the loopback where all are one."""
    return LOOPBACK if len(set(hosts)) == 1 else hosts[0]


def open_store(host: str, world: int) -> tuple[TCPStore, Rendezvous]:
    """Open the store of a team at a free port of one address of this machine."""
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    port = listener.getsockname()[1]
    store = TCPStore(
        host,
        port,
        world,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),  # the store closes it
    )
    return store, Rendezvous(host, port)


def join(device: DeviceType, rank: int, world: int, meeting: Rendezvous, own_host: str) -> None:
    """Make this process a rank of the team that meets there.

    Args:
        device: The device that was planned.
        rank: Number of this rank.
        world: Number of ranks.
        meeting: Where.
        own_host: Address of this machine as the others reach it.
    """
    loopback = meeting.host == LOOPBACK
    if interface := interface_of(LOOPBACK if loopback else own_host):
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            if loopback:
                os.environ[name] = interface
            else:
                os.environ.setdefault(name, interface)  # whoever runs a cluster may know better
    store = TCPStore(meeting.host, meeting.port, world, is_master=False)
    distributed.init_process_group(
        distributed_backend(planned_device(device)), store=store, rank=rank, world_size=world
    )


def interface_of(host: str) -> str | None:
    """Return the name of this machine's network interface with an IPv4 address, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe.fileno(), _GET_ADDRESS, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # it has no address
            if socket.inet_ntoa(answer[20:24]) == host:
                return name
    return None
