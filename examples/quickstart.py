"""The main job, end to end, on a laptop: generate, train, evaluate, deploy, ask.

    python examples/quickstart.py

It fine-tunes the embedded model ``soaptune/tiny`` on 1,000 synthetic dialogues with the real ArcticTraining, scores it
on dialogues that it has not seen against the model that it started from, serves it on this machine, and asks it for
a SOAP note over HTTP. The report is left in ``quickstart/report.json``. All text is synthetic: not for clinical use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

import soaptune as st

DIALOGUE = """\
Doctor: What brings you in today?
Patient: I have had a sore throat for 4 days.
Doctor: How bad is it from 0 to 10?
Patient: I would say 6.
Doctor: Anything else?
Patient: There is also a runny nose.
Doctor: Any allergies?
Patient: I am allergic to penicillin.
Doctor: Your temperature is 37.9 C and your heart rate is 84.
Doctor: This looks like viral pharyngitis.
Doctor: I suggest ibuprofen 400 mg every 8 hours.
Doctor: Come back in 1 week."""

parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
parser.add_argument("--train", type=int, default=1_000, help="examples to train on")
parser.add_argument("--test", type=int, default=100, help="examples to score")
parser.add_argument("--max-steps", type=int, default=None, help="stop training after so many steps")
parser.add_argument("--min-valid", type=float, default=0.90, help="lower confidence limit that a deployment asks for")
parser.add_argument("--out", type=Path, default=Path("quickstart"), help="folder for the report and all runs")
options = parser.parse_args()

say = Console().print
backend = st.LocalBackend(options.out / "runs")

say("[bold]1. Generate[/] synthetic dialogues, and notes that state only what the dialogues say")
sizes = {"train": options.train, "validation": 50, "test": options.test}
generator = st.DataGenerator(task=st.tasks.SOAP, num_samples=sum(sizes.values()), split=sizes, verbosity={"brief": 1})
data = generator.run(on=backend)
# Other conditions, drugs, allergies and other ways to say things: nothing here occurs in training.
unseen = generator.replace(pools="held_out", num_samples=options.test, split={"test": options.test}).run(on=backend)
say(data)

say("\n[bold]2. Train[/] an adapter for soaptune/tiny with ArcticTraining")
spec = st.TrainSpec.preset("tiny-lora").replace(max_steps=options.max_steps)
model = st.Trainer(spec=spec).run(data, on=backend)
say(model)

say("\n[bold]3. Evaluate[/] it on dialogues that it was not trained on, against the model it started from")
evaluator = st.Evaluator(judge=st.judges.Facts())
report = evaluator.run(model, data, on=backend)
report.save(options.out / "report.json")
say(report)
say("\n   The same on conditions, drugs and phrasings that occur nowhere in training:")
elsewhere = evaluator.replace(base=False).run(model, unseen, on=backend)
elsewhere.save(options.out / "report-unseen.json")
say(elsewhere)

say("\n[bold]4. Deploy[/] it as an OpenAI-compatible endpoint, and ask it")
gates = st.Gates(schema_valid=options.min_valid)
endpoint = st.Deployer(name="soap-notes", require=gates).run(model, report, on=backend)
say(f"{endpoint.url} answers; the dialogue:\n")
say(DIALOGUE, style="dim", highlight=False)
note = endpoint.generate(dialogue=DIALOGUE)
say("\nits note:\n")
for section in ("S", "O", "A", "P"):
    say(f"  [bold]{section}[/]  {getattr(note, section)}", highlight=False)
endpoint.stop()
say(f"\nThe report is in {options.out / 'report.json'}. Synthetic text: not for clinical decisions.")
