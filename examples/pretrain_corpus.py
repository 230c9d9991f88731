"""The text that the embedded base model is pre-trained on: copying and extracting, from made-up conversations.

Nothing here is a clinical note, and no template of the SOAP generator is used, though everyday phrases ("Anything
else?") occur in both: keys are random words, values are random words,
ICD-10-CM descriptions (package `simple-icd-10-cm`, MIT; the classification is in the public domain), drug names
put together from syllables, numbers, doses and dates. What the model learns is to find a value in a conversation and to
write it down exactly, alone, in a list or in a JSON object. Conditions that soaptune holds out for its "unseen" split
are left out of the vocabulary.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import simple_icd_10_cm as icd
from wonderwords import RandomWord

HELD_OUT = re.compile(
    r"arteritis|rotator cuff|sinusitis|chronic obstructive|atrial fibrillation|restless legs|zoster|shingles|vertigo|"
    r"diverticul|psoria|otitis externa|fasciitis|fasciopathy",
    re.IGNORECASE,
)
SYLLABLES = (
    "ab al am an ar as ba be bi bo bra ca ce ci clo co cy da de di do dra el en ep er fa fe fi flo ga ge gli go he hy "
    "ib il in ka ke ko la le li lo lu ma me mi mo na ne ni no ol om or pa pe pi pra pro qui ra re ri ro sa se si so "
    "sta su ta te ti to tra u va ve vi xa xi za zo"
).split()
ENDINGS = (
    "pril sartan olol statin mycin cillin azole formin gliptin prazole dipine thiazide profen oxacin triptan setron "
    "mab parin tidine caine lukast phylline zepam vir sone lone dine mide fene"
).split()
SPEAKERS = [
    ("Doctor", "Patient"),
    ("Doctor", "Patient"),
    ("Doctor", "Mother"),
    ("Nurse", "Guest"),
    ("Agent", "Caller"),
    ("Teacher", "Student"),
    ("Clerk", "Customer"),
    ("Host", "Visitor"),
    ("A", "B"),
    ("Officer", "Driver"),
]
UNITS = ["mg", "days", "weeks", "percent", "miles", "out of 10", "degrees", "months", "years", "hours", "mcg", "pounds"]
OFTEN = ["once a day", "twice a day", "every 8 hours", "at night", "when needed", "three times a day", "every morning"]
ASKS = [
    "What is the {k}?",
    "Tell me about the {k}.",
    "Any {k}?",
    "And the {k}?",
    "How about the {k}?",
    "Could you give me the {k}?",
    "Is there a {k}?",
    "What about {k}?",
    "I need the {k}.",
    "Anything on the {k}?",
]
ANSWERS = [
    "It is {v}.",
    "That would be {v}.",
    "{v}.",
    "I would say {v}.",
    "My {k} is {v}.",
    "Yes, {v}.",
    "I have {v}.",
    "It has been {v}.",
    "Well, {v}.",
    "About {v}, I think.",
    "There is {v}.",
    "We wrote down {v}.",
    "For the {k}, {v}.",
]
STATES = [
    "I see the {k} is {v}.",
    "Your {k} shows {v}.",
    "The {k} reads {v}.",
    "On the sheet the {k} came back as {v}.",
    "Noted: {k}, {v}.",
    "So the {k} is {v}.",
    "I can tell you the {k}: {v}.",
    "Let me note {v} for the {k}.",
]
TELLS = [
    "My {k} is {v}.",
    "The {k} was {v}.",
    "About the {k}, it has been {v}.",
    "Oh, and the {k} is {v}.",
    "There was {v} for the {k}.",
    "I also got {v} as {k}.",
    "They said {v} about the {k}.",
]
PLANS = [
    "For the {k} we will use {v}.",
    "For the {k} please take {v}.",
    "I suggest {v} for the {k}.",
    "The {k} will be {v}.",
    "Let us go with {v} as {k}.",
]
NODS = [
    "Okay.",
    "I see.",
    "Thank you.",
    "Got it.",
    "Alright.",
    "Sure.",
    "Fine with me.",
    "Understood.",
    "Yes.",
    "Right.",
]
CHAT = [
    "Good morning.",
    "How are you today?",
    "Nice weather.",
    "Sorry I am late.",
    "Thanks for coming in.",
    "Anything else?",
    "No, that is all.",
    "Please take a seat.",
    "Let me see.",
    "One moment.",
    "I was not sure whom to ask.",
    "It is good that you came.",
    "We had to wait outside for a while.",
    "My sister told me to call you.",
    "I would rather do this today than next week.",
    "Could you say that again?",
    "Of course, take your time.",
    "That makes sense to me.",
    "I will write it down for you.",
    "You can ask me whenever something is not clear.",
    "It started when we came back from the trip.",
    "Has anything changed since then?",
    "Not really, it is about the same.",
    "It gets worse in the evening and better after some rest.",
    "She did not want to come at first.",
    "He has never done this before.",
    "They have been very kind to us.",
    "Is there something else that you would like to talk about?",
    "Let me look at your papers first.",
    "I have been here once before, with my father.",
    "Does it happen when you walk or only at home?",
    "Only when I carry something up the stairs.",
    "Then let us see what we can do about it.",
    "We should check that again in a few weeks.",
    "If it does not get better, please come back or call the office.",
    "How long has this been going on?",
    "And did you try anything yourself?",
    "I used what we had in the house, but it did not help much.",
    "Everything else seems to be in order.",
    "Do you have any questions for me?",
    "When would be a good time for your next visit?",
    "Thank you so much for your help.",
    "You are welcome, see you soon.",
]
NAMES = [
    "S",
    "O",
    "A",
    "P",
    "x",
    "y",
    "z",
    "summary",
    "plan",
    "facts",
    "one",
    "two",
    "three",
    "first",
    "second",
    "notes",
    "item",
    "details",
]


@dataclass(frozen=True)
class Vocabulary:
    """Words and longer phrases to make values of."""

    words: list[str]
    phrases: list[str]


def vocabulary() -> Vocabulary:
    """Loads the words; the same on every machine for the pinned package versions."""
    descriptions = sorted({icd.get_description(code) for code in icd.get_all_codes(with_dots=True)})
    phrases = [d for d in descriptions if 1 < len(d.split()) <= 6 and d.isascii() and not HELD_OUT.search(d)]
    random.Random(0).shuffle(phrases)
    phrases = phrases[:25_000]
    words = {w.lower() for d in phrases for w in re.findall(r"[A-Za-z]{4,}", d)}
    for kind in ("noun", "verb", "adjective"):
        words |= {w.lower() for w in RandomWord().filter(include_parts_of_speech=[kind]) if w.isascii() and w.isalpha()}
    return Vocabulary(sorted(w for w in words if not HELD_OUT.search(w)), phrases)


class Writer:
    """Writes one row. `ease` falls from 1 to 0 over the corpus: easy rows come first."""

    def __init__(self, seed: int, index: int, rows: int, vocab: Vocabulary) -> None:
        self.r = random.Random(f"{seed}-{index}")
        progress = index / max(1, rows)
        self.most_turns = 3 + round(6 * min(1.0, progress / 0.4))
        self.ease = max(0.0, 1 - progress / 0.15)
        self.vocab = vocab

    def row(self) -> dict[str, Any]:
        """A plain text, or a conversation whose last turn is the answer."""
        kind = self.r.random()
        if self.ease and kind < 0.5:
            kind = 0.1 if self.r.random() < 0.5 * self.ease + 0.2 else kind
        if kind < 0.04:
            return chat("Make up a conversation.", "About anything.", self.turns(4)[0])
        if kind < 0.18:
            return self.repeat()
        text, pairs = self.turns(self.r.randint(2, self.most_turns))
        if kind < 0.30:
            return self.recall(text, pairs)
        if kind < 0.38:
            return self.quote(text, pairs)
        return self.form(text, pairs)

    # -- values ------------------------------------------------------------------------------------------------

    def word(self) -> str:
        return self.r.choice(self.vocab.words)

    def number(self) -> str:
        r, kind = self.r, self.r.random()
        if kind < 0.3:
            return str(r.randint(1, 30))
        if kind < 0.6:
            return str(r.randint(10, 999))
        if kind < 0.78:
            return f"{r.randint(80, 190)}/{r.randint(45, 115)}"
        if kind < 0.92:
            return f"{r.randint(0, 110)}.{r.randint(0, 9)}"
        return str(r.randint(1000, 9999))

    def drug(self) -> str:
        return "".join(self.r.choice(SYLLABLES) for _ in range(self.r.randint(1, 3))) + self.r.choice(ENDINGS)

    def value(self) -> str:
        r, kind = self.r, self.r.random()
        if kind < 0.28:
            phrase = r.choice(self.vocab.phrases)
            return phrase if r.random() < 0.2 else phrase.lower()
        if kind < 0.5:
            joint = r.choice([" ", " ", " in the ", " of ", " and ", " with ", " on the "])
            return " ".join(self.word() for _ in range(r.randint(1, 2))) + joint + self.word()
        if kind < 0.64:
            return self.number() + r.choice(["", *(f" {u}" for u in UNITS)])
        if kind < 0.8:
            dose = r.choice([5, 10, 20, 25, 40, 50, 75, 100, 125, 150, 200, 250, 300, 400, 500, 600, 800, 850, 1000])
            often = f" {r.choice(OFTEN)}" if r.random() < 0.7 else ""
            return f"{self.drug()} {dose} {r.choice(['mg', 'mcg', 'units', 'ml'])}{often}"
        if kind < 0.9:
            return self.drug()
        if kind < 0.95:
            return self.word()
        return "".join(r.choice(SYLLABLES) for _ in range(r.randint(2, 5)))

    # -- conversations -----------------------------------------------------------------------------------------

    def turns(self, n: int) -> tuple[str, list[tuple[str, str]]]:
        """A conversation that states `n` values, and the pairs of key and value in their order."""
        r = self.r
        keys: list[str] = []
        while len(keys) < n:
            key = self.word() if r.random() < 0.7 else f"{self.word()} {self.word()}"
            if key not in keys:
                keys.append(key)
        pairs = [(key, self.value()) for key in keys]
        a, b = r.choice(SPEAKERS)
        lines: list[str] = []
        for k, v in pairs:
            kind = r.random()
            said = {"k": k, "v": v}
            if kind < 0.4:
                lines.append(f"{a}: {r.choice(ASKS).format(**said)}\n{b}: {capital(r.choice(ANSWERS).format(**said))}")
            elif kind < 0.62:
                lines.append(f"{a}: {r.choice(STATES).format(**said)}")
            elif kind < 0.82:
                lines.append(
                    f"{b}: {r.choice(TELLS).format(**said)}" + (f"\n{a}: {r.choice(NODS)}" if r.random() < 0.5 else "")
                )
            else:
                lines.append(
                    f"{a}: {r.choice(PLANS).format(**said)}" + (f"\n{b}: {r.choice(NODS)}" if r.random() < 0.5 else "")
                )
        for _ in range(r.choice([0, 0, 1, 2])):
            lines.insert(r.randint(0, len(lines)), f"{r.choice([a, b])}: {r.choice(CHAT)}")
        return "\n".join(lines), pairs

    # -- tasks -------------------------------------------------------------------------------------------------

    def repeat(self) -> dict[str, Any]:
        values = self.r.choice(["; ", "\n", ", ", " | "]).join(
            self.value() for _ in range(self.r.randint(2, self.most_turns))
        )
        return chat(self.r.choice(["Repeat the text.", "Copy what the user says.", "Say it again."]), values, values)

    def recall(self, text: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        key, value = self.r.choice(pairs)
        question = self.r.choice(["What is the {k}?", "Give the {k}.", "Find the {k}.", "Which {k} is named?"]).format(
            k=key
        )
        return chat("Answer from the text.", f"{text}\n\n{question}", value)

    def quote(self, text: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        _, value = self.r.choice(pairs)
        line = next(line for line in text.split("\n") if value.lower() in line.lower())
        return chat("Quote the line.", f"{text}\n\nWhich line says {value}?", line)

    def form(self, text: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        """Fill a JSON object with random keys, each field put together from some of the values."""
        r = self.r
        asked = list(pairs)
        if r.random() < 0.5:
            r.shuffle(asked)
        asked = asked[: r.randint(max(1, len(asked) // 2), len(asked))]
        fields: list[list[tuple[str, str]]] = []
        while asked:
            n = min(len(asked), r.choice([1, 1, 2, 3, 4]))
            fields.append(asked[:n])
            asked = asked[n:]
        names = r.sample(NAMES + [w for w in (self.word() for _ in range(6)) if w not in NAMES], len(fields))
        if set(names) == set("SOAP"):  # the keys of the task that the model is later fine-tuned on
            names[0] = "first"
        style = r.choice(["pairs", "sentences", "list", "plain"])
        answer = json.dumps({name: write(style, field) for name, field in zip(names, fields, strict=True)})
        wanted = ", ".join(
            f"{name}: {' + '.join(key for key, _ in field)}" for name, field in zip(names, fields, strict=True)
        )
        instruction = f"Return JSON ({style}) with {wanted}."
        if r.random() < 0.5:
            return chat(instruction, text, answer)
        return chat("Fill in the form.", f"{text}\n\n{instruction}", answer)


def write(style: str, field: list[tuple[str, str]]) -> str:
    if style == "pairs":
        return "; ".join(f"{k}: {v}" for k, v in field)
    if style == "sentences":
        return " ".join(f"{capital(k)} is {v}." for k, v in field)
    if style == "list":
        return ", ".join(v for _, v in field)
    return ". ".join(capital(v) for _, v in field) + "."


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def chat(system: str, user: str, answer: str) -> dict[str, Any]:
    turns = [("system", system), ("user", user), ("assistant", answer)]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def corpus(seed: int, rows: int) -> Iterator[dict[str, Any]]:
    """All rows, easy ones first; row i depends on the seed, i and the number of rows alone."""
    vocab = vocabulary()
    for index in range(rows):
        yield {"id": f"pretrain-{seed}-{index:07d}", **Writer(seed, index, rows, vocab).row()}
