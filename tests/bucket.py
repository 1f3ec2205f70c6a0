"""A real server that speaks S3's protocol, for tests of what lies in a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "artifacts"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Bucket:
    """The server on a free port of loopback, with one bucket; `with` starts and stops it.

    Attributes:
        url: of the server.
        client: boto3's own, to look past our stores at what is really there.
        environment: the variables that have our stores find it.
    """

    def __enter__(self) -> Self:
        import boto3
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        )
        self.client.create_bucket(Bucket=NAME)
        self.environment: Mapping[str, str] = {**CREDENTIALS, "PREFECT_ML_S3_ENDPOINT": self.url}
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.stop()
