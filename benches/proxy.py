"""A TCP proxy that delays what passes, and counts it: bytes, and how often the client speaks after it has heard something."""

import asyncio
import threading


class Proxy:
    """Listens on a port of its own on loopback, in a thread. `delay` is the seconds that each direction takes."""

    def __init__(self, to_port, delay=0.0):
        self.to_port, self.delay, self.passed = to_port, delay, 0
        # Every round trip that somebody waits for is a turn; not every turn is waited for.
        self.turns, self.heard = 0, False
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self.serve, args=(ready,), daemon=True).start()
        ready.wait()

    def serve(self, ready):
        async def listen():
            server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await server.serve_forever()

        self.loop.run_until_complete(listen())

    async def connected(self, reader, writer):
        there = await asyncio.open_connection("127.0.0.1", self.to_port)
        await asyncio.gather(self.carry(reader, there[1], True), self.carry(there[0], writer, False))

    async def carry(self, reader, writer, from_client):
        """Delays every piece alike, so that a stream is late and not slow."""
        pieces = asyncio.Queue()

        async def deliver():
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due - self.loop.time()))
                if not piece:
                    break
                self.heard = self.heard or not from_client
                writer.write(piece)
                await writer.drain()
            writer.close()

        delivering = asyncio.ensure_future(deliver())
        try:
            while piece := await reader.read(1 << 16):
                self.passed += len(piece)
                if from_client and self.heard:
                    self.turns, self.heard = self.turns + 1, False
                pieces.put_nowait((self.loop.time() + self.delay, piece))
        except ConnectionError:
            pass
        pieces.put_nowait((self.loop.time() + self.delay, b""))
        try:
            await delivering
        except ConnectionError:
            pass
