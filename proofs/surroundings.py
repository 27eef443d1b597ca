"""Where a figure was made: the commit, the state of the code, the machine."""

import hashlib
import os
import platform
import subprocess
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[1]


@attrs.frozen
class Surroundings:
    """A working tree of the repository, and the machine that it stands on."""

    root: Path = ROOT

    def commit(self) -> str | None:
        """Return the commit that is checked out, or None before the first."""
        return self._git("rev-parse", "--verify", "HEAD")

    def is_dirty(self) -> bool:
        """Say whether anything beside results differs from the commit."""
        return self._git("status", "--porcelain", "--", ".", ":(exclude)results") != ""

    def package_changed_since(self, commit: str | None) -> bool:
        """Say whether dht/ at HEAD differs from what it was; of an unknown commit, it does."""
        if commit is None:
            return True
        return self._git("diff", "--quiet", commit, "HEAD", "--", "dht") is None

    def fingerprint(self, *others: Path) -> str:
        """Hash the code that a piece runs: the package as it is now, and the files named."""
        digest = hashlib.sha256()
        for path in sorted((self.root / "dht").rglob("*.py")) + sorted(others):
            source = path.read_bytes()
            digest.update(f"{path.relative_to(self.root)} {len(source)}\n".encode())
            digest.update(source)
        return digest.hexdigest()

    def machine(self) -> dict[str, str | int | None]:
        """Describe the machine, as far as figures depend on it."""
        return {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
        }

    def _git(self, *arguments: str) -> str | None:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
