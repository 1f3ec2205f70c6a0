"""A TCP proxy that breaks connections, as networks do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from urllib.parse import urlsplit


class CuttingProxy:
    """Passes connections on to a server, and resets one after so many bytes in one direction, so many times.

    Args:
        url: of the server.
        after: bytes that pass before the cut.
        cuts: connections that are cut; later ones pass whole.
        upload: whether the bytes towards the server are counted, or those from it.
    """

    def __init__(self, url: str, *, after: int, cuts: int, upload: bool = False) -> None:
        target = urlsplit(url)
        self._target = (target.hostname, target.port)
        self._after = after
        self._left = cuts
        self._upload = upload
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._both_ways, args=(client, server), daemon=True).start()

    def _both_ways(self, client, server):
        up = threading.Thread(target=self._pass, args=(client, server, True), daemon=True)
        up.start()
        self._pass(server, client, False)
        up.join()
        client.close()
        server.close()

    def _pass(self, source, sink, upload):
        passed = 0
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                passed += len(piece)
                if upload == self._upload and passed > self._after and self._take_cut():
                    for end in (source, sink):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        end.shutdown(socket.SHUT_RDWR)
                    break
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _take_cut(self):
        with self._lock:
            if self._left == 0:
                return False
            self._left -= 1
            self.cut += 1
            return True
