"""All APIs of one emulator."""

from __future__ import annotations

from stoneware.emulator.apis import Api, Compute
from stoneware.emulator.dns.api import CloudDns
from stoneware.emulator.secret_manager.api import SecretManager
from stoneware.emulator.service import Service
from stoneware.emulator.storage.api import Storage
from stoneware.emulator.tokens.api import endpoints


class Cloud:
    """The APIs of an emulator whose records and faults are those of `service`."""

    def __init__(self, service: Service) -> None:
        self.storage = Storage(service)
        self.tokens = service.tokens
        issuing = endpoints(service, self.tokens)
        own = [Compute(service), self.storage, SecretManager(service), CloudDns(service)]
        self.apis: list[Api] = [*own, *issuing]
