# SPDX-License-Identifier: Apache-2.0
"""Clients in TLS without knowing it: what connects to the gate's port comes to
the interlay over a TLS connection of its own."""
import asyncio
import threading

from . import ports


class TlsGate:
    def __init__(self, to, ctx):
        self.to, self.ctx = to, ctx
        self.port = ports.take()
        self.accepted = 0
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

    async def serve(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self.to, ssl=self.ctx, server_hostname="127.0.0.1"
            )
        except OSError:
            writer.close()
            return
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

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        ports.give(self.port)
