"""S3, CloudWatch Logs and STS for sandboxed services, by moto's server."""

from jobform.model.errors import UsageError


class Aws:
    """One server, empty at the start. url: its address."""

    def __init__(self) -> None:
        """Raises UsageError when the extra is not installed."""
        try:
            from moto.server import ThreadedMotoServer
        except ImportError as error:
            raise UsageError.of(
                "extra_missing", "the sandbox needs its extra", hint="pip install 'jobform[sandbox]'",
            ) from error
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"

    def stop(self) -> None:
        self._server.stop()
