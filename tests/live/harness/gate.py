# SPDX-License-Identifier: Apache-2.0
"""Clients in TLS without knowing it: what connects to the gate's port comes to
the interlay over a TLS connection of its own."""
import asyncio
import threading

from . import ports


class TlsGate:
    def __init__(self, to, ctx, patience=0.0):
        """`patience`: seconds that a client waits for a listener that is not there."""
        self.to, self.ctx, self.patience = to, ctx, patience
        self.port = ports.take()
        self.accepted = 0
        self.tasks = set()
        self.turns = asyncio.Semaphore(16)  # handshakes at a time; a listener waits 5 s for each
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.ready.wait(10), "the gate does not open"

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.serve, "127.0.0.1", self.port, backlog=500)
        )
        self.ready.set()
        self.loop.run_forever()
        self.server.close()
        self.loop.close()

    async def serve(self, reader, writer):
        # The loop itself knows its tasks by weak references alone.
        me = asyncio.current_task()
        self.tasks.add(me)
        try:
            await self.carry(reader, writer)
        finally:
            self.tasks.discard(me)

    async def carry(self, reader, writer):
        end = self.loop.time() + self.patience
        while True:
            try:
                async with self.turns:
                    far_reader, far_writer = await asyncio.open_connection(
                        "127.0.0.1", self.to, ssl=self.ctx, server_hostname="127.0.0.1"
                    )
                break
            except OSError:
                if self.loop.time() >= end or reader.at_eof():
                    writer.close()
                    return
                await asyncio.sleep(0.02)
        self.accepted += 1
        await asyncio.gather(self.pass_on(reader, far_writer), self.pass_on(far_reader, writer))

    @staticmethod
    async def pass_on(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def end(self):
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for t in tasks:
            t.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.loop.stop()

    def stop(self):
        if self.thread.is_alive():
            asyncio.run_coroutine_threadsafe(self.end(), self.loop)
            self.thread.join(10)
        ports.give(self.port)
