"""The part of the page about language models that is about prompts and answers: its configs and commands, tiny."""

import json
import re
import shlex
from pathlib import Path

import pytest
from test_answers import CHATS
from tiny_writers import write
from typer.testing import CliRunner

from plora.cli import app
from plora.results import read_record

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "language-models.md"
TINY = ("training.epochs=1", "training.early_stop=null", "lora.rank=2")


def test_the_page_about_answers_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = write(tmp_path / "base", n_positions=256)
    (base / "chat_template.jinja").write_text(CHATS)
    (part,) = re.findall(r"## Prompts and answers\n(.*?)\n## ", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    configs = dict(re.findall(r'```yaml title="([^"]+)"\n(.*?)```', part, re.DOTALL))
    for name, text in configs.items():
        (tmp_path / name).write_text(text.replace("FOLDER", str(base)), encoding="utf-8")
    sums = [{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(30)]
    said = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "nobody"}]
    chats = [{"messages": [{"role": "system", "content": f"you are {n}"}, *said]} for n in range(30)]
    for name, rows in (("sums", sums), ("chats", chats)):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    mail = "".join(f"text {n},{('spam', 'ham')[n % 2]}\n" for n in range(30))
    (tmp_path / "mail.csv").write_text(f"text,label\n{mail}")
    (lines,) = re.findall(r"```sh\n(.*?)```", part, re.DOTALL)
    commands = [shlex.split(line, comments=True)[1:] for line in lines.splitlines()]
    outputs = {}
    for verb, *arguments in [*commands, ["run", "words.yaml"]]:
        result = CliRunner().invoke(app, [verb, *arguments, *(TINY if verb == "run" else ())])
        assert result.exit_code == 0, (verb, arguments, result.output)
        outputs[verb, *arguments] = result.output
    assert sorted(configs) == ["chats.yaml", "questions.yaml", "words.yaml"]
    assert "Answer:⟦ " in outputs["run", "questions.yaml", "--dry-run"]
    assert (
        "exact" in outputs["table", "runs/questions", "--metric", "exact_match", "--metric", "nats_per_token"].lower()
    )
    assert read_record(tmp_path / "runs/words/o_lora/seed-0").score.name == "exact_match"
    log = (tmp_path / "runs/chats/sequential/seed-0/log.txt").read_text()
    assert "⟦nobody<|end|>⟧" in log
