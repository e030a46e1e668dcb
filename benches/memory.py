"""The largest memory that processes had, watched from outside while they run."""

import pathlib
import threading
import time


class Peaks:
    """Watches processes of a workplace in a `with`; `mb` then has the peak of each part in MB."""

    PARTS = {"attach": "agent attach", "launch": None, "guard": "agent guard", "work": "agent work", "deploy": "ffe-deploy"}

    def __init__(self, place):
        self.place, self.mb, self.known, self.on = place, {}, {}, True

    def __enter__(self):
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.on = False
        self.thread.join()

    def watch(self):
        looked = 0.0
        while self.on:
            # New processes are looked for less often than the known ones are asked.
            if time.monotonic() - looked > 0.02:
                for process in self.place.processes():
                    # A shell may become an agent.
                    self.known[process] = self.known.get(process) or self.part(process)
                looked = time.monotonic()
            for process, part in list(self.known.items()):
                self.ask(process, part)
            time.sleep(0.003)

    def part(self, process):
        try:
            words = (pathlib.Path("/proc") / str(process) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return None
        is_ours = b"ffe-deploy" in words[0] or b"ffe-agent" in words[0]
        return self.PARTS.get(words[1].decode()) if is_ours and len(words) > 1 else None

    def ask(self, process, part):
        """The kernel keeps the peak, so that only the last answer counts."""
        try:
            status = (pathlib.Path("/proc") / str(process) / "status").read_text()
        except OSError:
            del self.known[process]
            return
        for line in status.splitlines():
            if part and line.startswith("VmHWM:"):
                self.mb[part] = max(self.mb.get(part, 0), int(line.split()[1]) * 1024 / 1e6)
