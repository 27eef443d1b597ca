"""docs/security.md says against what each defence is; it lists all that ``defences.toml`` has."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
DEFENCES = ROOT / "proofs" / "defences.toml"


def test_the_page_lists_every_defence_with_its_file_and_its_tests() -> None:
    listed = PAGE.read_text().split("| against | where | noticed by |\n|---|---|---|\n")[1]
    rows = [
        f"| {entry['threat']} | `{entry['file']}` | "
        + ", ".join(f"`{test.removeprefix('tests/')}`" for test in entry["tests"])
        + " |"
        for entry in tomllib.loads(DEFENCES.read_text()).values()
    ]
    assert listed.split("\n\n")[0].splitlines() == rows
    assert len(rows) >= 20
