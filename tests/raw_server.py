"""A web server that sends what a test tells it to, byte for byte, to clients of which it remembers what they asked."""

import socket
import threading

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
OK = b"HTTP/1.1 200 OK\r\n"


def whole(data=PNG, head=b""):
    return [OK + head + b"content-length: %d\r\n\r\n" % len(data) + data]


class Server:
    """Answers every path with pieces of bytes as they are, in a thread for each client."""

    def __init__(self, context=None):
        self.answers, self.asked, self.sent = {}, [], 0
        self._context, self._listening = context, socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def url(self, path="/", host="pictures.example", scheme="http"):
        return f"{scheme}://{host}:{self.port}{path}"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(line,)))
            self._threads[-1].start()

    def _serve(self, line):
        line.settimeout(20)
        try:
            with self._context.wrap_socket(line, server_side=True) if self._context else line as talking:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += talking.recv(4096)
                self.asked.append(request.decode())
                for piece in self.answers[request.split()[1].decode()]:
                    talking.sendall(piece)
                    self.sent += len(piece)
        except OSError:
            pass  # the client has left
