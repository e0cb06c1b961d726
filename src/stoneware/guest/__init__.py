from stoneware.guest.install import digest, install

__all__ = ["digest", "install"]
