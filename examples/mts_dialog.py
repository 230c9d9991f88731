"""Real text, and a task of its own: fine-tunes the embedded model on MTS-Dialog, read from its CSV files.

    python examples/mts_dialog.py --data MTS-Dialog/Main-Dataset

MTS-Dialog (Ben Abacha et al., EACL 2023; CC BY 4.0; https://github.com/abachaa/MTS-Dialog) pairs 1,301 sections of
clinical notes with short conversations between a clinician and a patient that people wrote for them. The task goes the
other way: from the dialogue to the section's text. Expect a demonstration of the way, not a useful model: the notes
use words that the dialogues do not, and soaptune/tiny knows how to copy and little else.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel
from rich.console import Console

import soaptune as st
from soaptune.evaluate.metrics.rouge import rouge_l
from soaptune.handles.ledger import RowLedger

FILES = {"train": "MTS-Dialog-TrainingSet.csv", "validation": "MTS-Dialog-ValidationSet.csv"}
say = Console(highlight=False).print


class Section(BaseModel):
    """What the model writes."""

    section: str


TASK = st.Task(
    name="mts-dialog",
    system_prompt=(
        "Write the section of the clinical note that belongs to the dialogue: one JSON object with exactly the key "
        '"section", a plain-text string. State only what the dialogue says.'
    ),
    user_template="{dialogue}",
    output=Section,
    rubric={"section": "Gives everything that the dialogue says about the patient, and nothing that it does not say."},
)


def load(folder: Path) -> st.Dataset:
    """Reads the two files. The mapping says how their columns are named; `section_header` stays as metadata."""
    files = {split: folder / name for split, name in FILES.items()}
    return st.Dataset.load(files, task=TASK, columns={"id": "ID", "section": "section_text"})


def first_rows(data: st.Dataset, n: int) -> st.Dataset:
    """Leaves the first rows of each split; the ledger says so of the others."""
    kept = {split: data.table(split).slice(0, n) for split in data.splits}
    ledger = RowLedger()
    for split in data.splits:
        rest = data.table(split).slice(n).column("id").to_pylist()
        ledger.extend(rest, split=split, fate="dropped", reason="after --max-rows", step="first-rows")
    how = {"step": "first-rows", "rows": n, "from": data.fingerprint}
    return st.Dataset.write(None, kept, task=TASK, how=how, ledger=data.ledger.merge(ledger))


def mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3f} (n={len(values)})" if values else "none scored"


def show(row: dict[str, Any], dialogue: str) -> None:
    for title, text in (
        ("the dialogue", dialogue),
        ("the note of the data set", row["reference/section"]),
        ("the model's answer", row["answer"]),
    ):
        say(f"\n   [bold]{title}[/]")
        say("\n".join(f"     {line}" for line in text.splitlines()), markup=False)


def main() -> None:
    shared = os.environ.get("SOAPTUNE_SHARED")
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(shared, "data", "mts-dialog") if shared else None,
        required=not shared,
        help="folder with the CSV files (data/mts-dialog below $SOAPTUNE_SHARED when that is set)",
    )
    parser.add_argument("--max-rows", type=int, default=None, help="take only so many rows of each file")
    parser.add_argument("--max-steps", type=int, default=None, help="stop training after so many steps")
    parser.add_argument("--out", type=Path, default=Path("runs/mts-dialog"), help="folder for the report and the runs")
    options = parser.parse_args()
    backend = st.LocalBackend(options.out)

    say("[bold]1. Load[/] two CSV files; their columns are mapped to the fields of the task")
    loaded = load(options.data)
    say(f"   {loaded.counts}, columns {', '.join(loaded.table('train').column_names)}")

    say("\n[bold]2. Prepare[/]: what a public split does not tell")
    data = loaded.deduplicate()
    leaked = data.leakage("validation")
    say(f"   {len(leaked)} validation dialogues stand in training as well: {', '.join(leaked)}")
    say("   They stay where they are, so that the numbers compare with others'; below they are also told apart.")
    if options.max_rows:
        data = first_rows(data, options.max_rows)

    say("\n[bold]3. Train[/] all weights of soaptune/tiny; a dialogue with its note may have 1,024 tokens")
    # Batches by tokens and not by rows: most of these dialogues are short, and some are fifty times as long.
    spec = st.TrainSpec.preset("tiny-full").replace(
        max_length=1024, batch_tokens=3072, epochs=3, max_steps=options.max_steps
    )
    model = st.Trainer(spec=spec).run(data, on=backend)
    say(f"   {model}", markup=False)
    ledger = data.ledger.merge(RowLedger.read(model.path / "ledger.parquet"))
    ledger.reconcile(sum(loaded.counts.values()))
    say("   What became of every row of the two files:\n")
    say(str(ledger), markup=False)

    say("\n[bold]4. Evaluate[/] on the validation split, against the model it started from")
    report = st.Evaluator(split="validation").run(model, data, on=backend)
    report.save(options.out / "report.json")
    say(report)

    assert report.predictions_path is not None
    rows = [row for row in pq.read_table(report.predictions_path).to_pylist() if row["model"] == "model"]
    dialogues = dict(zip(data["validation"]["id"], data["validation"]["dialogue"], strict=True))
    scale = {
        "the model, rows that also stand in training": [r["score/rouge_l"] for r in rows if r["id"] in leaked],
        "the model, all other rows": [r["score/rouge_l"] for r in rows if r["id"] not in leaked],
        "the dialogue itself, taken for the note": [rouge_l(r["reference/section"], dialogues[r["id"]]) for r in rows],
    }
    say("\n   For scale, the ROUGE-L of")
    for what, values in scale.items():
        say(f"     {what:<45}{mean(values)}")

    # A middling one, neither the best nor the worst.
    ranked = sorted((r for r in rows if r["id"] not in leaked), key=lambda r: (r["score/rouge_l"], r["id"]))
    middle = ranked[len(ranked) // 2]
    say("\n   One of the answers, the median by ROUGE-L:")
    show(middle, dialogues[middle["id"]])
    say(f"\nThe report is in {options.out / 'report.json'}. Not for clinical decisions.", markup=False)


if __name__ == "__main__":
    main()
