"""How things are told: numbers and units as spoken and as written, lists, and the words that fit who is speaking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from soaptune.generation.arrays import Bools, Ints, numpy
from soaptune.generation.pools import Pool, Ragged
from soaptune.generation.random import Draws
from soaptune.soap.slots import KINDS, LISTS, visit_slots
from soaptune.soap.vocabulary import AgeGroup

__all__ = ["SlotColumns", "Speech"]

# Wording by who speaks and for whom: the patient, the mother or father of a girl, of a boy.
_WORDS = {
    "i": ("I", "she", "he"),
    "i_have": ("I have", "she has", "he has"),
    "i_am": ("I am", "she is", "he is"),
    "my": ("my", "her", "his"),
    "me": ("me", "her", "him"),
    "you": ("you", "she", "he"),
    "your": ("your", "her", "his"),
    "you_obj": ("you", "her", "him"),
    "you_have": ("you have", "she has", "he has"),
    "do_you": ("do you", "does she", "does he"),
    "are_you": ("are you", "is she", "is he"),
    "have_you": ("have you", "has she", "has he"),
    "we": ("I", "we", "we"),
    "we_have": ("I have", "my daughter has", "my son has"),
    "we_are": ("I am", "we are", "we are"),
}

_SAID_LABELS = (("blood pressure",), ("pulse", "heart rate"), ("temperature",), ("breathing rate",), ("oxygen level",))
_WRITTEN_LABELS = (("BP", "blood pressure"), ("HR", "heart rate"), ("temperature", "T"), ("RR",), ("SpO2",))
_SYSTOLIC, _DIASTOLIC = (60, 220), (30, 130)
_TENTHS = (340, 420)


class SlotColumns:
    """Collects the columns of slots.

    Args:
        n: How many rows there are.
    """

    def __init__(self, n: int) -> None:
        np = numpy()

        self._slots = visit_slots()
        self._said: Ints = np.zeros((n, len(KINDS)), dtype=np.int32)
        self._written: Ints = np.zeros((n, len(KINDS)), dtype=np.int32)

    def put(self, slot: str, said: Ints, written: Ints | None = None) -> None:
        """Fills a slot.

        Args:
            slot: Its name.
            said: How each dialogue says it, as ids; 0 where there is nothing to say.
            written: How each note writes it; None for the same words.
        """
        at = self._slots[slot]
        self._said[:, at] = said
        self._written[:, at] = said if written is None else written

    def columns(self) -> tuple[Ints, Ints]:
        """The slots as said and as written, each ``(n, slots)``."""
        return self._said, self._written


class Speech:
    """Ids of everything that is not in the lexicon.

    Args:
        pool: Where the strings go.
        age_groups: The age groups of the lexicon.
        extras: What ``phrases_pools.json`` holds.
    """

    def __init__(self, pool: Pool, age_groups: Sequence[AgeGroup], extras: dict[str, Any]) -> None:
        np = numpy()

        def ids(texts: Sequence[str]) -> Ints:
            return np.array(pool.add_all(texts))

        self.space = pool.add(" ")
        self._comma, self._and, self._or = pool.add(", "), pool.add(" and "), pool.add(" or ")
        self.no_allergy = pool.add(extras["no_allergy"])
        self.no_allergy_said = ids(extras["no_allergy_said"])
        self._pools = {name: ids(extras[name]) for name in ("family", "course", "course_later", "modifier", "remedy")}
        self._relations = Ragged([pool.add_all(extras["relations"][voice]) for voice in ("self", "carer")])
        self._vaccines, self._never = pool.add(extras["vaccines"]), pool.add(extras["never_smoked"])
        self._words = {slot: ids(ways) for slot, ways in _WORDS.items()}
        self._who, self._reporter = ids(("Patient", "Mother", "Father")), ids(("Patient", "Mother", "Father"))
        self._articles = ids(("a", "an"))
        nouns = extras["nouns"]
        self._persons = np.array([pool.add_all(nouns.get(g.name, nouns["adult"])) for g in age_groups])
        self._months = np.array([g.in_months for g in age_groups])
        self._ages = np.array([pool.add_all(f"{k}-{unit}-old" for k in range(100)) for unit in ("year", "month")])
        self._an = np.array([k in (8, 11, 18) or 80 <= k < 90 for k in range(100)])
        self._days_ago = ids([_plural(k, "day") + " ago" for k in range(30)])
        self._years_ago = ids([_plural(k, "year") + " ago" for k in range(60)])
        self._cigarettes = ids([f"{k} cigarettes a day" for k in range(41)])
        self._missed = np.array(
            [pool.add_all(f"{_plural(k, 'day')} of {what}" for k in range(8)) for what in ("work", "school")]
        )
        said = [[f"{k} out of 10", f"{k} out of 10", f"a {k}", f"{k}"] for k in range(11)]
        said[8][2] = "an 8"
        self._severity_said = np.array([pool.add_all(ways) for ways in said])
        self._severity_written = np.array([pool.add_all((f"{k}/10", f"{k} out of 10")) for k in range(11)])
        self._labels_said = Ragged([pool.add_all(f"{w} " for w in ways) for ways in _SAID_LABELS])
        self._labels_written = Ragged([pool.add_all(f"{w} " for w in ways) for ways in _WRITTEN_LABELS])
        pairs = [(s, d) for s in range(*_SYSTOLIC) for d in range(*_DIASTOLIC)]
        self._pressure = np.array([pool.add_all((f"{s}/{d}", f"{s} over {d}")) for s, d in pairs])
        self._number = ids([str(k) for k in range(260)])
        self._percent = np.array([pool.add_all((f"{k}%", f"{k} percent")) for k in range(101)])
        self._warmth = np.array([[_degrees(pool, k, unit) for k in range(*_TENTHS)] for unit in ("C", "F")])

    def put_list(self, sheet: SlotColumns, name: str, items: Ints, count: Ints, *, last: str) -> None:
        """Fills a list of slots and what stands between them.

        Args:
            sheet: Where to.
            name: The slots' common name.
            items: Ids, shape ``(n, most)``.
            count: How many of them each row uses, shape ``(n,)``.
            last: The word before the last item, ``and`` or ``or``.
        """
        np = numpy()

        for j in range(LISTS[name]):
            sheet.put(f"{name}{j + 1}", np.where(j < count, items[:, j], 0))
        self._gaps(sheet, name, LISTS[name], count, self._or if last == "or" else self._and)

    def _gaps(
        self, sheet: SlotColumns, name: str, most: int, count: Ints, last: int, written: int | None = None
    ) -> None:
        np = numpy()

        for j in range(1, most):
            inner = np.where(j < count, self._comma, 0)
            sheet.put(
                f"{name}_gap{j}",
                np.where(j == count - 1, last, inner),
                np.where(j == count - 1, written or last, inner),
            )

    def put_patient(self, sheet: SlotColumns, draws: Draws, age: Ints, sex: Ints, group: Ints, *, carer: Bools) -> None:
        """Fills who the patient is and how the one who speaks refers to them."""
        np = numpy()

        as_whom = np.where(carer, 1 + sex, 0)
        for slot, ways in self._words.items():
            sheet.put(slot, ways[as_whom])
        label = np.where(carer, 1 + draws.below("carer", 2), 0)
        sheet.put("who", self._who[label])
        sheet.put("reporter", self._reporter[label])
        sheet.put("a_age", self._articles[self._an[age].astype(np.int64)])
        sheet.put("age", self._ages[self._months[group].astype(np.int64), age])
        sheet.put("person", self._persons[group, sex])

    def put_story(
        self, sheet: SlotColumns, draws: Draws, days: Ints, *, later: Bools, carer: Bools, working: Bools, pupil: Bools
    ) -> None:
        """Fills severity, course, what changes it, what was tried, what it cost, the family and the hospital stay.

        No more days are missed than the complaint has lasted (``days``).
        """
        np = numpy()

        severity = draws.between("severity", 2, 9)
        said = self._severity_said[severity, draws.below("severity.said", 4)]
        sheet.put("severity", said, self._severity_written[severity, draws.below("severity.written", 2)])
        for slot in ("modifier", "remedy", "family"):
            sheet.put(slot, self._pools[slot][draws.below(slot, len(self._pools[slot]))])
        courses = np.stack([self._pools["course"], self._pools["course_later"]])
        sheet.put("course", courses[later.astype(np.int64), draws.below("course", courses.shape[1])])
        key = carer.astype(np.int64)
        sheet.put("relation", self._relations.take(key, draws.below("relation", self._relations.counts[key])))
        missed = self._missed[pupil.astype(np.int64), draws.between("impact", 1, np.minimum(days, 4))]
        sheet.put("impact", np.where(working | pupil, missed, 0))
        sheet.put("discharge", self._days_ago[draws.between("discharge", 2, 14)])
        sheet.put("vaccines", np.full(draws.n, self._vaccines))

    def put_smoking(self, sheet: SlotColumns, draws: Draws, age: Ints, *, adult: Bools) -> Ints:
        """Fills the smoking; people below 25 have at most begun.

        Returns:
            0 never, 1 former, 2 current, shape ``(n,)``.
        """
        np = numpy()

        habit = np.where(adult & (age >= 25), draws.weighted("smoking", (60, 22, 18)), 0)
        former = self._years_ago[draws.between("smoking.years", 1, np.clip(age - 22, 1, 30))]
        current = self._cigarettes[draws.between("smoking.amount", 3, 20)]
        sheet.put("smoking", np.choose(habit, [np.full(draws.n, self._never), former, current]))
        return habit

    def put_vitals(
        self, sheet: SlotColumns, draws: Draws, ranges: Ints, count: Ints, *, remote: Bools, young: Bools, grown: Bools
    ) -> None:
        """Fills the vital signs: at home those that people can measure, no blood pressure of the youngest.

        Args:
            sheet: Where to.
            draws: The rows' random numbers.
            ranges: Lowest and highest value of each vital sign, shape ``(n, 6, 2)``.
            count: How many to tell, shape ``(n,)``.
            remote: Whether they are measured at home.
            young: Whether the patient is an infant or a toddler.
            grown: Whether the patient is older than that.
        """
        np = numpy()

        n = draws.n
        drawn = [draws.between(f"vital.{k}", ranges[:, k, 0], ranges[:, k, 1]) for k in range(6)]
        tenths, pulse, systolic, diastolic, breaths, oxygen = drawn
        diastolic = np.minimum(diastolic, systolic - 20)
        pressure = (systolic - _SYSTOLIC[0]) * (_DIASTOLIC[1] - _DIASTOLIC[0]) + diastolic - _DIASTOLIC[0]
        unit = draws.below("unit", 2)
        percent, warmth = self._percent[oxygen], self._warmth[unit, tenths - _TENTHS[0]]
        rows, wordy = np.arange(n), draws.below("vital.wordy", 2)
        said = np.stack(
            [
                self._pressure[pressure, wordy],
                self._number[pulse],
                warmth[rows, draws.weighted("vital.degrees", (3, 1))],
                self._number[breaths],
                percent[rows, wordy],
            ],
            axis=1,
        )
        written = said.copy()
        written[:, 0], written[:, 2], written[:, 4] = self._pressure[pressure, 0], warmth[:, 0], percent[:, 0]
        labels_said = np.stack([self._label(draws, self._labels_said, k, "said") for k in range(5)], axis=1)
        labels_written = np.stack([self._label(draws, self._labels_written, k, "written") for k in range(5)], axis=1)
        possible = np.stack([grown & ~young, ~young | ~remote, np.ones(n, bool), ~remote, ~remote], axis=1)
        count = np.minimum(count, possible.sum(axis=1))
        order = self._picked(draws, possible, count)
        for j in range(5):
            kind, there = order[:, j], j < count
            sheet.put(f"vital{j + 1}", np.where(there, said[rows, kind], 0), np.where(there, written[rows, kind], 0))
            label = np.where(there, labels_said[rows, kind], 0)
            sheet.put(f"vlabel{j + 1}", label, np.where(there, labels_written[rows, kind], 0))
        self._gaps(sheet, "vital", 5, count, self._and, self._comma)

    @staticmethod
    def _picked(draws: Draws, possible: Bools, count: Ints) -> Ints:
        """Which vital signs are told, in which order: for half of the rows the usual one."""
        np = numpy()

        keys: Ints = np.stack([draws.bits("vital.order", k) >> np.uint64(2) for k in range(5)], axis=1)
        keys[~possible] = np.uint64(1) << np.uint64(63)
        order: Ints = np.argsort(keys, axis=1, kind="stable")
        usual: Ints = np.sort(np.where(np.arange(5)[None, :] < count[:, None], order, 9), axis=1)
        return np.where(draws.chance("vital.usual", 0.5)[:, None], np.minimum(usual, 4), order)

    @staticmethod
    def _label(draws: Draws, labels: Ragged, kind: int, side: str) -> Ints:
        np = numpy()

        key: Ints = np.full(draws.n, kind)
        return labels.take(key, draws.below(f"label.{side}.{kind}", labels.counts[key]))


def _plural(amount: int, unit: str) -> str:
    return f"{amount} {unit}{'' if amount == 1 else 's'}"


def _degrees(pool: Pool, tenths: int, unit: str) -> list[int]:
    """A temperature as written and as spoken, from tenths of a degree Celsius."""
    shown = tenths if unit == "C" else (tenths * 9 + 1602) // 5
    text = f"{shown // 10}.{shown % 10}"
    return pool.add_all((f"{text} {unit}", f"{text} degrees {'Celsius' if unit == 'C' else 'Fahrenheit'}"))
