"""A certificate for 127.0.0.1 that nobody has signed."""

import ssl
import subprocess
from pathlib import Path

_REQUEST = "-x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"


def self_signed(path: Path) -> ssl.SSLContext:
    """Write certificate and key to `path`; returns the context of a server that shows it."""
    command = ["openssl", "req", *_REQUEST.split(), "-keyout", path, "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
