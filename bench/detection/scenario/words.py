"""Large pools from which names, addresses and values are drawn, so that no detector can know them."""

import random
import uuid

from scenario.pools import POOLS

__all__ = ["Draw"]

_ADJECTIVES = POOLS["adjectives"]
_NOUNS = POOLS["nouns"]
_ROLES = POOLS["roles"]
_COMPANIES = POOLS["companies"]
_TLDS = POOLS["tlds"]
_HEX = "0123456789abcdef"
_BASE36 = "bcdfghjklmnpqrstvwxz2456789"  # the letters of Kubernetes' own random names


class Draw(random.Random):
    """Chance with a vocabulary."""

    def word(self) -> str:
        """Return a noun."""
        return self.choice(_NOUNS)

    def service(self) -> str:
        """Return a name as people give to workloads."""
        first = self.choice((self.choice(_ADJECTIVES), self.choice(_NOUNS), self.choice(_COMPANIES)))
        last = self.choice(_NOUNS)
        return f"{first}-{last}" if self.random() < 0.7 else f"{last}-{self.choice(_ROLES)}"

    def domain(self) -> str:
        """Return a host name on the internet."""
        host = self.choice(("api", "cdn", "www", "hooks", "data", "edge", "ingest", "eu", self.word()))
        return f"{host}.{self.choice(_COMPANIES)}{self.choice(('', self.choice(_NOUNS)))}.{self.choice(_TLDS)}"

    def hex(self, length: int) -> str:
        """Return hexadecimal digits."""
        return "".join(self.choices(_HEX, k=length))

    def suffix(self, length: int = 5) -> str:
        """Return an ending as Kubernetes makes it."""
        return "".join(self.choices(_BASE36, k=length))

    def uuid(self) -> str:
        """Return a random UUID."""
        return str(uuid.UUID(int=self.getrandbits(128), version=4))

    def random_name(self) -> str:
        """Return a file name that nobody would remember."""
        kind = self.randrange(4)
        if kind == 0:
            return self.hex(self.randint(6, 12))
        if kind == 1:
            return self.word() + str(self.randint(1, 99))
        if kind == 2:
            return "".join(self.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=self.randint(5, 9)))
        return self.word()

    def noise_name(self) -> str:
        """Return a file name that imitates what machines write: for attackers who hide in the noise."""
        return self.choice((f"tmp{self.hex(8)}", f"tmp.{self.suffix(10)}", self.uuid(), str(self.randint(10_000, 999_999))))

    def public_address(self) -> str:
        """Return an IPv4 address of the internet."""
        while True:
            first, second = self.randint(1, 223), self.randint(0, 255)
            reserved = first in {10, 100, 127, 169, 172, 192, 198, 203}
            if not reserved:
                return f"{first}.{second}.{self.randint(0, 255)}.{self.randint(1, 254)}"

    def poisson(self, mean: float) -> int:
        """Return how often something rare happens; means above some dozens are rounded normal."""
        if mean > 50:
            return max(0, round(self.gauss(mean, mean**0.5)))
        count, product, limit = 0, self.random(), 2.718281828459045**-mean
        while product > limit:
            count += 1
            product *= self.random()
        return count
