"""Many threads that make the same call over and over, and how many calls a second that makes."""

import threading
import time
from collections.abc import Callable


def rate(call: Callable[[int], object], *, callers: int, seconds: float) -> float:
    """Calls a second of so many callers, each calling with its own number, for so long.

    Whatever a call raises is raised here, when all have ended.
    """
    counts = [0] * callers
    failed: list[Exception] = []
    stop = threading.Event()

    def caller(number: int) -> None:
        try:
            while not stop.is_set():
                call(number)
                counts[number] += 1
        except Exception as error:  # noqa: BLE001  raised again below
            failed.append(error)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sum(counts) / (time.perf_counter() - began)
