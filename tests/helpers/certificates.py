"""Two certificates that sign themselves, for servers of tests on this machine; valid until 2126.

They and their keys are public: trust them nowhere else. Made by
`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500
-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1`.
"""

from __future__ import annotations

import ssl
from pathlib import Path

LOCALHOST = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjVLABD07ydueqBQI
idHAAbMubvA8CayDqpuxkQ7xPiyhRANCAAS8RXr4l+iO7+m/3Zo2jqP6A8ix8zBV
/C6e7/63zbPtiYIUTxIoY+VSXysBTsCMN4uxHS1K4Vg/BZvaFPLWMZTc
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUah2MsScroFYiDPTgxMlteQ3tf2QwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDA4NDkzMloYDzIxMjYxMTA2
MDg0OTMyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAS8RXr4l+iO7+m/3Zo2jqP6A8ix8zBV/C6e7/63zbPtiYIUTxIoY+VS
XysBTsCMN4uxHS1K4Vg/BZvaFPLWMZTco28wbTAdBgNVHQ4EFgQU+Toklva9hI3/
ziO33xTB9xRjEoEwHwYDVR0jBBgwFoAU+Toklva9hI3/ziO33xTB9xRjEoEwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAN2IaTsUle/hTtwYsld3KQ5qDUCx+M2HKzTwhJ2YGBBEAiEA
tujWHDVwkIOcuFsjvvH1KPaPox65uXxIOhRiOM78mSk=
-----END CERTIFICATE-----
"""
"""Of localhost and 127.0.0.1: its key, and the certificate."""

OTHER = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4cnl/cv8C71/8dKa
Gyp1QTTgWQ2sWCqFdsBpD+dkJ1qhRANCAAR+Jj+ehmrVx7Hruv8aYKmypHCL8gHD
ZKQ8roQhmMu/lrXKGKkx6gvI6AaP7PLtwHV2a9LE5hGkyJCEKFmHaG+L
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBoTCCAUegAwIBAgIUSNvEANoKSAH7e+eWhe1UK2RzsO8wCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNb3RoZXIuZXhhbXBsZTAgFw0yNjExMzAwODQ5MzJaGA8yMTI2
MTEwNjA4NDkzMlowGDEWMBQGA1UEAwwNb3RoZXIuZXhhbXBsZTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABH4mP56GatXHseu6/xpgqbKkcIvyAcNkpDyuhCGYy7+W
tcoYqTHqC8joBo/s8u3AdXZr0sTmEaTIkIQoWYdob4ujbTBrMB0GA1UdDgQWBBQG
VUAitc6Vz0Q3h8YhRmz/8vZG/zAfBgNVHSMEGDAWgBQGVUAitc6Vz0Q3h8YhRmz/
8vZG/zAPBgNVHRMBAf8EBTADAQH/MBgGA1UdEQQRMA+CDW90aGVyLmV4YW1wbGUw
CgYIKoZIzj0EAwIDSAAwRQIgV8b0A2zDJ+Hje4x9ZKbiyWBujiaY/HKwSJIBHE7c
i0ACIQD6ZtEOV7ZKERCAu10037AtaWw3DP4WAbwmfGryLPssOg==
-----END CERTIFICATE-----
"""
"""Of other.example."""


def server_context(pem: str, folder: Path) -> ssl.SSLContext:
    """What a server in a test speaks TLS with; the certificate is left in `folder`/server.pem."""
    path = folder / "server.pem"
    path.write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
