# SPDX-License-Identifier: Apache-2.0
"""Mutates inputs and sends them through a target of targets.py, in child processes with limits.

    python fuzz/mutate.py tflite --cases 200000 --seed 1 --folder SEEDS

A mutation changes one place of a seed, or a few: bits, bytes, integers of 2, 4 and 8 bytes set to
values that break arithmetic, blocks copied, moved, cut or taken from another seed, the file's end.
Four-byte places are chosen twice as often at multiples of four, where a FlatBuffer has its offsets.
A case that takes more than 5 s of processor time or 1 GiB, ends the process, or raises anything but
an McudeployError is kept in fuzz/found/ and fails the run.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import random
import resource
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
CASE_SECONDS = 5
MEMORY_BYTES = 1 << 30
BATCH = 500
SEED_BYTES = 1 << 16
"""Larger seeds are left out: a case would take a second, and say no more."""
_CHANGES = (1, 1, 1, 1, 2, 2, 3, 8)
_VALUES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24,
           2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)  # fmt: skip


def mutated(seeds: list[bytes], random_: random.Random) -> bytes:
    """One case."""
    data = bytearray(random_.choice(seeds))
    for _ in range(random_.choice(_CHANGES)):
        if not data:
            break
        _change(data, seeds, random_)
    return bytes(data)


def _change(data: bytearray, seeds: list[bytes], random_: random.Random) -> None:
    kind = random_.randrange(9)
    at = random_.randrange(len(data))
    if kind == 0:
        data[at] ^= 1 << random_.randrange(8)
    elif kind == 1:
        data[at] = random_.randrange(256)
    elif kind <= 4:
        size = random_.choice((2, 4, 4, 4, 8))
        if random_.random() < 2 / 3:
            at -= at % 4
        value = random_.choice(_VALUES) * random_.choice((1, -1)) % 2 ** (8 * size)
        if random_.random() < 0.3 and at + size <= len(data):
            old = int.from_bytes(data[at : at + size], "little")
            value = (old + random_.randint(-16, 16)) % 2 ** (8 * size)
        data[at : at + size] = value.to_bytes(size, "little")
    elif kind == 5:
        length = random_.randrange(1, 65)
        other = random_.choice(seeds)
        start = random_.randrange(len(other) or 1)
        data[at : at + length] = other[start : start + length]
    elif kind == 6:
        del data[at : at + random_.randrange(1, 33)]
    elif kind == 7:
        data[at:at] = data[at : at + random_.randrange(1, 33)]
    elif random_.random() < 0.3:
        del data[at:]
    else:
        data[at : at + 4] = struct.pack("<f", random_.choice((0.0, -1.0, 1e38, 1e-38, float("nan"),
                                                              float("inf"))))  # fmt: skip


class _TooLongError(BaseException):
    """A case went over its time."""


def _alarm(number: int, frame: Any) -> None:
    raise _TooLongError


def _work(target: str, seeds: list[bytes], seed: int, count: int, queue: Any) -> None:
    """Run cases `0..count` of `seed`; (number, outcome, text) for each failure, then the counts."""
    sys.path.insert(0, str(ROOT))
    from targets import run_one

    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (base + MEMORY_BYTES, base + MEMORY_BYTES))
    signal.signal(signal.SIGPROF, _alarm)
    random_ = random.Random(seed)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in range(count):
        data = mutated(seeds, random_)
        queue.put(("at", number))
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)
        try:
            outcomes[run_one(target, data)] += 1
        except _TooLongError:
            queue.put(("failed", number, f"took more than {CASE_SECONDS} s"))
        except BaseException:
            queue.put(("failed", number, traceback.format_exc()))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - started)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base
    queue.put(("done", outcomes, slowest, used))


def _batch(target: str, seeds: list[bytes], seed: int, count: int) -> dict[str, Any]:
    """One batch in a child; a child that dies is a failure of the case that it was at."""
    context = multiprocessing.get_context("fork")
    queue: Any = context.SimpleQueue()
    child = context.Process(target=_work, args=(target, seeds, seed, count, queue))
    child.start()
    at, failures = -1, []
    result: dict[str, Any] = {"outcomes": Counter(), "slowest": 0.0, "used": 0, "cases": count}
    while True:
        while not queue.empty():
            message = queue.get()
            if message[0] == "at":
                at = message[1]
            elif message[0] == "failed":
                failures.append((message[1], message[2]))
            else:
                result |= {"outcomes": message[1], "slowest": message[2], "used": message[3]}
                child.join()
                return result | {"failures": failures}
        if not child.is_alive() and queue.empty():
            failures.append((at, f"the process ended with {child.exitcode}"))
            return result | {"failures": failures, "cases": at + 1}
        time.sleep(0.002)


def _case(seeds: list[bytes], seed: int, number: int) -> bytes:
    random_ = random.Random(seed)
    for _ in range(number):
        mutated(seeds, random_)
    return mutated(seeds, random_)


def seeds_of(target: str, folders: list[Path]) -> list[bytes]:
    """The corpus of a target and the files of other folders, small ones alone."""
    paths = [*(ROOT / "corpus" / target).glob("*")]
    for folder in folders:
        paths += folder.glob(f"*.{target}")
    return [p.read_bytes() for p in sorted(paths) if p.is_file() and p.stat().st_size <= SEED_BYTES]


def batches(cases: int, seconds: float | None, seed: int) -> Iterator[tuple[int, int]]:
    """(seed, number of cases) of each batch, until the cases or the seconds are over."""
    started = time.monotonic()
    done = 0
    while done < cases and (seconds is None or time.monotonic() - started < seconds):
        count = min(BATCH, cases - done)
        yield seed * 1_000_000 + done, count
        done += count


def main() -> int:
    """Run one target; exit status 1 when anything was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, help="at most that long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, action="append", default=[])
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import targets  # once here, so that every batch starts fast

    assert chosen.target in targets.TARGETS
    seeds = seeds_of(chosen.target, chosen.folder)
    total: Counter[str] = Counter()
    cases, slowest, used, found = 0, 0.0, 0, 0
    try:
        for seed, count in batches(chosen.cases, chosen.seconds, chosen.seed):
            result = _batch(chosen.target, seeds, seed, count)
            cases += result["cases"]
            total += result["outcomes"]
            slowest, used = max(slowest, result["slowest"]), max(used, result["used"])
            for number, text in result["failures"]:
                data = _case(seeds, seed, number)
                name = f"{chosen.target}-{hashlib.sha256(data).hexdigest()[:12]}"
                (ROOT / "found").mkdir(exist_ok=True)
                (ROOT / "found" / name).write_bytes(data)
                print(f"found/{name}: {text.strip()}", flush=True)
                found += 1
    except KeyboardInterrupt:
        print("interrupted")
    outcomes = ", ".join(f"{count:,} {name}" for name, count in total.most_common())
    print(f"{chosen.target}: {cases:,} cases from {len(seeds)} seeds: {outcomes}; slowest "
          f"{slowest:.2f} s, at most {used / 2**20:.0f} MiB more; {found} found")  # fmt: skip
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
