"""What the README shows is what its code prints."""

import re
from pathlib import Path

from cases.pinned import shows_digits

README = Path(__file__).parents[1] / "README.md"


@shows_digits
def test_the_ten_lines_print_what_the_readme_says(capsys):
    """The first Python block prints the block that follows it."""
    blocks = re.findall(r"```(?:python)?\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(blocks[0], "README.md", "exec"), {})
    assert capsys.readouterr().out == blocks[1]
