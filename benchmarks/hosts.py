"""Fits by processes on two hosts: what differs, bytes on the wire for a step, and a kill.

The hosts are network namespaces of this machine, joined by a cable of their own: Linux, root and
iproute2 are needed, and nothing else of the machine is touched. Run: python benchmarks/hosts.py
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch.distributed as dist
from distributed import N_COMPONENTS, SHAPE, cells, models

from sktf import CPCompletion

HOSTS, DEVICE, ADDRESS, PORT = ("sktf-a", "sktf-b"), "wire", "10.77.0.{}", 29_517
FEW, MANY = 20, 60  # steps of descent, whose difference is told


def main(n_cells):
    """Print what the fits of both hosts have found."""
    print(f"{n_cells} cells of {SHAPE}, half of them on each of two hosts")
    with tempfile.TemporaryDirectory() as folder, namespaces():
        known = fits(n_cells, distributed=False)
        for process in started("fit", folder, n_cells):
            process.wait()
        found = np.load(Path(folder, "found.npy"), allow_pickle=True).item()
        for name, (predicted, _) in found.items():
            error = np.abs(predicted - known[name][0]).max() / np.abs(known[name][0]).max()
            print(f"{name:10} largest difference from one process {error:.1e}")
        tell_bytes((found[f"{MANY} steps"][1] - found[f"{FEW} steps"][1]) / (MANY - FEW))
        first, second = started("kill", folder, n_cells)
        while not Path(folder, "began").exists():
            time.sleep(0.05)
        time.sleep(1)
        second.kill()
        began = time.time()
        first.wait()
        print(f"host b killed: a ends {time.time() - began:.1f} s later:")
        print(Path(folder, "ended").read_text())


def tell_bytes(measured):
    """Print the bytes of a step from each host, beside those computed.

    Host a sends all parameters; b returns its gradient with two sums, which gloo adds up by halves:
    each host sends the half that the other adds up, and then b sends its own.
    """
    n_parameters = sum(SHAPE) * N_COMPONENTS
    gradient = 8 * (n_parameters + 2)
    for host, bytes_, computed in zip(
        "ab", measured, (8 * n_parameters + gradient / 2, gradient), strict=True
    ):
        print(
            f"bytes of a step from host {host}: {bytes_:,.0f}, computed {computed:,.0f}, "
            f"{bytes_ / computed:.3f} times as many"
        )


@contextmanager
def namespaces():
    """Two hosts and the cable between them, which are gone afterwards."""
    try:
        for host in HOSTS:
            ip("netns", "add", host)
        a, b = HOSTS
        ip("-n", a, "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", b)
        for number, host in enumerate(HOSTS, 1):
            address = f"{ADDRESS.format(number)}/24"
            ip("-n", host, "addr", "add", address, "dev", DEVICE)
            ip("-n", host, "link", "set", DEVICE, "up")
            ip("-n", host, "link", "set", "lo", "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], check=False)


def ip(*arguments):
    """Run ip of iproute2."""
    subprocess.run(["ip", *arguments], check=True)


def started(what, folder, n_cells):
    """Return a process on each host, which does something."""
    environment = os.environ | {"GLOO_SOCKET_IFNAME": DEVICE}
    given = [sys.executable, __file__, "--cells", str(n_cells), what, folder]
    return [
        subprocess.Popen(
            ["ip", "netns", "exec", host, *given, "--rank", str(rank)], env=environment
        )
        for rank, host in enumerate(HOSTS)
    ]


def fits(n_cells, rank=0, size=1, distributed=True):
    """Return for each model what it predicts, and the bytes from and to this host."""
    X, y = cells(n_cells)
    mine, found = slice(rank * n_cells // size, (rank + 1) * n_cells // size), {}
    for name, how in models(FEW, MANY).items():
        before = bytes_carried() if distributed else 0
        with warnings.catch_warnings(action="ignore"):  # so few steps do not converge
            model = CPCompletion(shape=SHAPE, distributed=distributed, **how).fit(X[mine], y[mine])
        carried = bytes_carried() - before if distributed else 0
        found[name] = model.predict(X[:10_000]), carried
    return found


def bytes_carried():
    """Return how many bytes the cable has carried from this host, and to it."""
    counts = Path(f"/sys/class/net/{DEVICE}/statistics")
    return np.array([int((counts / name).read_text()) for name in ("tx_bytes", "rx_bytes")])


def work(what, folder, n_cells, rank):
    """Join the other host, then fit, or fit until the other is killed."""
    where = f"tcp://{ADDRESS.format(1)}:{PORT}"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=len(HOSTS))
    if what == "fit":
        found = fits(n_cells, rank, len(HOSTS))
        if rank == 0:
            np.save(Path(folder, "found.npy"), found, allow_pickle=True)
        dist.destroy_process_group()
        return
    X, y = cells(n_cells)
    Path(folder, "began").touch()
    try:
        CPCompletion(shape=SHAPE, distributed=True).fit(X[rank::2], y[rank::2])
    except RuntimeError as error:
        Path(folder, "ended").write_text(str(error))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=2_000_000, help="more than 2**20 stay apart")
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("work", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work, options.cells, options.rank)
    else:
        main(options.cells)
