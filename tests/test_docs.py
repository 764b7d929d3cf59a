"""What the documents show works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from potstill import recipe_file
from potstill.losses.base import Loss
from potstill.search_space import Space

ROOT = Path(__file__).parents[1]


def test_the_loss_of_the_guide_is_one():
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "add_a_loss.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    namespace: dict = {"__name__": "embedding_l1"}
    exec(compile(code[1].replace("from __future__ import annotations\n", ""), "add_a_loss.md", "exec"), namespace)
    (kind,) = [value for value in namespace.values() if isinstance(value, type) and issubclass(value, Loss) and value is not Loss]
    assert kind(margin=0.5)(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.25]]), {}).item() == pytest.approx(0.25)
    with pytest.raises(ValueError, match="margin"):
        kind(margin=-1)


def test_the_recipes_and_spaces_of_the_readme_read(tmp_path):
    found = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found
    for number, content in enumerate(found):
        if "sampler:" in content:
            recipe_file.checked(Space, yaml.safe_load(content), "README.md")
            continue
        (tmp_path / f"{number}.yaml").write_text(content, encoding="utf-8")
        recipe_file.read(str(tmp_path / f"{number}.yaml"))
