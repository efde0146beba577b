"""A backend that misbehaves as its parameter `fault` says; installed by `install`."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xfusion_bluesky.backends.contract import BackendFactory, BackendInfo, FusedFrame
from xfusion_bluesky.backends.hookspecs import hookimpl

LIE = b'{"kind":"finished","made":5,"masked":0}\n'


def install(folder, name, code=None):
    """Make a plugin distribution in `folder`; this module by default."""
    information = folder / f"{name}-1.dist-info"
    information.mkdir(parents=True)
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code or Path(__file__).read_text())
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[xfusion_bluesky]\n{name} = {module}\n")


def other_pipes():
    return [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]


def write_to_pipes(data):
    for fd in other_pipes():
        try:
            os.write(fd, data)
        except OSError:
            continue


def start_sleepers(folder):
    """One child, and one that has left the session, as daemons do; their pids go to files."""
    sleep = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    for name, leave in (("child", False), ("daemon", True)):
        file = Path(folder, name)
        subprocess.Popen([sys.executable, "-c", sleep, str(file)], start_new_session=leave)
        while not (file.exists() and file.read_text()):
            time.sleep(0.01)


def eat_memory():
    eaten = []
    while True:
        eaten.append(np.ones(4 << 20, dtype=np.uint8))
        time.sleep(0.005)


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("even this fails")


@dataclass(frozen=True)
class Faulty:
    fault: str = "none"
    folder: str = ""
    number: int = 0
    pause_s: float = 0.0

    info = BackendInfo(id="faulty", version="1", summary="misbehaves", needs_hr=False)

    def reconstruct(self, sequence, targets):
        shape, dtype, value = sequence.shape, np.float32, 1.0
        for target in targets:
            if target == 3:
                self.misbehave()
                match self.fault:
                    case "shape":
                        shape = (3, 3)
                    case "dtype":
                        dtype = np.float64
                    case "nan":
                        value = np.nan
                    case "order":
                        target = 0
                    case "few":
                        return
            time.sleep(self.pause_s)
            yield FusedFrame(target, np.full(shape, value, dtype=dtype))
        if self.fault == "many":
            yield FusedFrame(target, np.full(shape, value, dtype=dtype))

    def misbehave(self):
        match self.fault:
            case "raise":
                raise ValueError("first line\nsecond line " + "x" * 10000)
            case "raise unspeakable":
                raise Unspeakable
            case "raise surrogate":
                raise ValueError("file \udcff")
            case "sys.exit":
                sys.exit(3)
            case "os._exit":
                os._exit(4)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                # Unlike time.sleep, this keeps every other thread of Python from running.
                ctypes.PyDLL(None).sleep(600)
            case "leak":
                eat_memory()
            case "leak in children":
                for _ in range(3):
                    if os.fork() == 0:
                        eat_memory()
                time.sleep(600)
            case "print":
                block = b"x" * 9999 + b"\n"
                for _ in range(10000):
                    os.write(1, block)
                print("last words", flush=True)
            case "print a lie":
                os.write(1, LIE)
                print(LIE.decode())
            case "lie":
                write_to_pipes(LIE)
            case "garbage":
                write_to_pipes(b"\x00\xff no JSON\n")
            case "endless line":
                write_to_pipes(b"x" * (6 << 20))
            case "lie later":
                threading.Thread(target=self.lie_later).start()
            case "close pipes":
                os.closerange(3, 1000)
            case "sleepers":
                start_sleepers(self.folder)
            case "sleepers and segfault":
                start_sleepers(self.folder)
                os.kill(os.getpid(), signal.SIGSEGV)
            case "fill disk":
                with open(Path(self.folder, "ballast"), "wb") as ballast:
                    while True:
                        try:
                            ballast.write(b"x" * 4096)
                            ballast.flush()
                        except OSError:
                            return

    def lie_later(self):
        # After the job: its folder then exists, and this is the only thing that still runs.
        while not Path(self.folder, "lie").exists():
            time.sleep(0.01)
        write_to_pipes(LIE)
        Path(self.folder, "lied").touch()


@hookimpl
def xfusion_backends():
    return [BackendFactory(Faulty.info, Faulty)]
